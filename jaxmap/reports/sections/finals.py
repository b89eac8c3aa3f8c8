"""How far apart the training runs end."""

from __future__ import annotations

from jaxmap.reports.section import Section, table, with_error
from jaxmap.reports.view import View
from jaxmap.reports.wording import RAW


def section(view: View) -> Section | None:
    """KL between the last checkpoints of every two runs; None for fewer than two."""
    finals = view.finals
    if finals is None:
        return None
    names = [run.name for run in finals.runs]
    measured = zip(finals.pairs_P2.tolist(), finals.kl, finals.standard_error, strict=True)
    rows = [
        (names[i], names[j], with_error(kl, error, digits=4))
        for (i, j), kl, error in sorted(measured, key=lambda row: row[1])
    ]
    compared = f" Only the first {len(names)} of {len(names) + finals.left_out} runs are compared."
    return Section(
        "<h2>Between the final models</h2>"
        "<p>KL divergence between the last checkpoints of every two runs, closest first, in bits "
        f"per byte (± one standard error over texts). {RAW}"
        + (compared if finals.left_out else "")
        + "</p>"
        + table(("model", "and", "KL, bits per byte"), rows, numbers_from=2)
    )
