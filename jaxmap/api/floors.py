"""How much of a difference between scores is due to arithmetic alone: floor."""

from __future__ import annotations

import dataclasses
from pathlib import Path as FilePath
from typing import TYPE_CHECKING

from jaxmap.api.arguments import (
    Models,
    Names,
    Path,
    StoreLike,
    Texts,
    check_new_store,
    models_of,
    names_of,
    open_for_writing,
    texts_of,
)
from jaxmap.api.outcomes import raise_for
from jaxmap.output_paths import check_file
from jaxmap.precision import COMPARED, REFERENCE, parse_precisions
from jaxmap.results import Table
from jaxmap.store import Failure, Store

if TYPE_CHECKING:
    from jaxmap.analysis.floor import Floors
    from jaxmap.sweeps.outcome import Outcome


@dataclasses.dataclass(frozen=True)
class PrecisionFloor(Table):
    """The KL of each checkpoint to itself in float32, bits per byte, in each other precision.

    Fields:
      store: where the scores are.
      floors: the floors, the largest first.
      outcome: what was scored for it, and what failed.
    """

    file = "floor.csv"
    columns = ("model", "dtype", "kl_bits_per_byte", "standard_error")

    store: Store
    floors: Floors
    outcome: Outcome

    @property
    def failures(self) -> tuple[Failure, ...]:
        """What could not be scored, each with its reason in one line."""
        return tuple(self.outcome.failed)

    def raise_for_failures(self) -> None:
        """Raises JaxmapError, InputError where only bad input stood in the way, if any failed."""
        raise_for(self.failures)

    def rows(self) -> list[tuple[object, ...]]:
        """One row per model and precision."""
        return self.floors.rows()

    def text(self, *, failures: bool = True) -> str:
        """A table, and one line for each failure if `failures`."""
        table = self.floors.text() if self.floors.found else ""
        if not failures:
            return table
        failed = "".join(f"failed: {one.item.label}: {one.reason}\n" for one in self.failures)
        return table + failed


def floor(
    models: Models | None,
    texts: Texts,
    store: StoreLike,
    *,
    models_file: Path | None = None,
    dtypes: Names = COMPARED,
    out: Path | None = None,
    batch_tokens: int | None = None,
    ignore_config_keys: Names = (),
    command: str = "",
) -> PrecisionFloor:
    """Measures the precision floor: what the arithmetic alone does to a model's scores, as a KL.

    Each checkpoint is scored in float32 and in each of `dtypes`, and fetched once. A difference
    between models that is not ten times larger than the floor may be rounding. What the store
    holds already is not scored again; failures are returned, as by `score`.

    Args:
      models, models_file, texts, store, batch_tokens, ignore_config_keys, command: as of `score`.
      dtypes: the precisions to compare with float32.
      out: a .csv file for the table.

    Raises InputError for a parameter, texts or a store that cannot be used, and JaxmapError where
    the store cannot be written.
    """
    precisions = parse_precisions(list(names_of(dtypes)))
    if out is not None:
        check_file(out, ".csv")
    check_new_store(store)
    refs, text_set = models_of(models, models_file), texts_of(texts)
    opened = open_for_writing(store, text_set)
    from jaxmap import runtime

    runtime.prepare()
    runtime.check_platform()
    from jaxmap.analysis.context import Context
    from jaxmap.analysis.floor import measure_floors
    from jaxmap.sweeps.precision_floor import score_precisions
    from jaxmap.sweeps.run import told_to_stop
    from jaxmap.sweeps.settings import Settings

    settings = Settings(batch_tokens=batch_tokens, ignore_config_keys=names_of(ignore_config_keys))
    with told_to_stop() as stop:
        outcome = score_precisions(
            refs,
            text_set,
            opened,
            (REFERENCE, *precisions),
            settings,
            stop=stop,
            command=command,
        )
    names = {(ref.name, ref.revision) for ref in refs}
    floors = measure_floors(Context(opened), models=names, dtypes=precisions)
    if out is not None:
        floors.write(FilePath(out))
    return PrecisionFloor(opened, floors, outcome)
