"""The result of a demo: its runs, figures and files."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jaxmap.demos.comparison import FILES as COMPARED
from jaxmap.demos.comparison import PAGE
from jaxmap.results import Result
from jaxmap.store import Store

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

    from jaxmap.analysis.learning import Learning
    from jaxmap.sweeps.outcome import Outcome

FIGURES = tuple(
    f"figures/{name}.{suffix}"
    for name in ("consecutive", "learning")
    for suffix in ("png", "svg", "pdf")
)
OUTPUTS = ("kl_consecutive.csv", "kl_final.csv", *FIGURES, "report.html")


@dataclass(frozen=True)
class DemoRun(Result):
    """The result of a demo in its folder.

    Fields:
      out: the folder; `report.html` in it is the page about all of it.
      store: the scores.
      warmup: the step until which training counts as warmup.
      outcomes: the outcome of each part of the scoring.
      learning: the bits per byte of every run in training.
    """

    out: Path
    store: Store
    warmup: int
    outcomes: tuple[Outcome, ...]
    learning: Learning

    def text(self) -> str:
        """One line per run, and the path of the report."""
        lines = [
            f"{curve.name}: {curve.bits_I[0]:.3f} bits per byte at step {curve.step_I[0]}, "
            f"{curve.bits_I[-1]:.3f} at step {curve.step_I[-1]}"
            for curve in self.learning.curves
        ]
        if failed := len(self.store.failures()):
            lines.append(f"{failed} checkpoints could not be scored; the report says why")
        if (self.out / PAGE).is_file():
            lines.append(f"token by token in {self.out / PAGE}")
        return "\n".join([*lines, f"report in {self.out / 'report.html'}", ""])

    def to_dataframe(self) -> pandas.DataFrame:
        """One row per checkpoint: trajectory, step, bits_per_byte, standard_error."""
        return self.learning.to_dataframe()

    def draw(self) -> dict[str, Figure]:
        """What the runs learn, and how far each interval of training moves them."""
        from jaxmap.analysis.consecutive import measure_consecutive
        from jaxmap.analysis.context import Context
        from jaxmap.figures.figure import Figures

        pretraining = Context(self.store, warmup_steps=self.warmup, stages="joined").timeline
        if not self.learning.curves or pretraining is None:
            return Figures()
        return Figures(self.learning.draw() | measure_consecutive(pretraining).draw())

    def save(self, folder: str | Path) -> list[Path]:
        """Copies the tables, the figures and the report into `folder`, which is made."""
        paths = []
        for name in (*OUTPUTS, *COMPARED):
            if (self.out / name).is_file():
                path = Path(folder) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                paths.append(Path(shutil.copy(self.out / name, path)))
        return paths
