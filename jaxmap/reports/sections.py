"""Parts of the page that come from the analyses: the scale, diffusion, what was dropped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

import numpy as np

from jaxmap.analysis.context import Reading
from jaxmap.analysis.diffusion import measure_diffusion
from jaxmap.analysis.learning import Finals
from jaxmap.analysis.map_files import FIGURES, PathRow
from jaxmap.analysis.maps import Atlas
from jaxmap.analysis.runs import Run
from jaxmap.analysis.scale import Scale, measure_scale
from jaxmap.analysis.trajectories import START
from jaxmap.errors import InputError, JaxmapError
from jaxmap.figures import diffusion as diffusion_figure
from jaxmap.figures import scale as scale_figure
from jaxmap.figures.learning import Learning
from jaxmap.reports.figures import Picture, saved_svg
from jaxmap.stats.clean import WARMUP
from jaxmap.stats.diffusion import WINDOW

MOST_LINES = 200


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], numbers_from: int = 1) -> str:
    """A table of plain text; columns from `numbers_from` on are numbers."""

    def line(cells: Sequence[str], tag: str) -> str:
        return "".join(
            f'<{tag} class="number">{cell}</{tag}>'
            if i >= numbers_from
            else f"<{tag}>{cell}</{tag}>"
            for i, cell in enumerate(map(escape, cells))
        )

    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    return (
        f'<div class="wide"><table><thead><tr>{line(heads, "th")}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def ask_nobody(model: str) -> tuple[str, ...]:
    """In place of the Hub: a page is made without a network."""
    raise JaxmapError(
        "a report asks no Hub for parents; `jaxmap scale` does, and the store keeps the answers"
    )


def scale_of(reading: Reading) -> Scale | None:
    """The ten settings; None where the store fills none."""
    try:
        return measure_scale(reading.store, ask=ask_nobody, reading=reading)
    except InputError:
        return None


def scale_section(scale: Scale | None, folder: Path) -> tuple[str, Picture | None, list[str]]:
    """Table and figure of the ten settings, and notes; empty where there is no scale."""
    if scale is None:
        return "", None, []
    known = any(row.floor is not None for row in scale.rows)
    rows, absent = [], []
    for row in scale.rows:
        one, name = row.summary, row.setting.name
        if one.n:
            median = f"{one.median:.3g}"
            if np.isfinite(one.standard_error):
                median += f" ± {one.standard_error:.1g}"
            rest = (f"{value:.3g}" for value in (one.mean, one.q25, one.q75))
            floor = "–" if row.floor is None else f"{row.floor:.1g}" + " *" * row.near_floor
            rows.append((name, median, *rest, f"{one.n:,}", *([floor] if known else [])))
        else:
            absent.append(f"scale, {name}: absent: {row.setting.reason}")
    figure = scale_figure.draw([(row.setting.name, row.divergence.kl) for row in scale.rows])
    html = (
        "<h2>How large is a KL?</h2><p>KL divergence in ten settings, in bits per byte "
        "(± one standard error of the median over texts).</p>"
        + table(
            ("setting", "median", "mean", "25 %", "75 %", "pairs", *(["floor"] if known else [])),
            rows,
        )
        + ("<p>Floor: what rounding alone makes of it, see below.</p>" if known else "")
        + (
            "<p>* The median is less than ten times its floor: it may be rounding.</p>"
            if any(row.near_floor for row in scale.rows)
            else ""
        )
    )
    picture = Picture(
        "The scale of KL",
        saved_svg(figure, folder / "scale"),
        "Distribution of KL in each setting, on an axis that is linear below 0.1 and logarithmic "
        "above; the line is the median. Later and early: neighbouring checkpoints at the end and "
        "after the warmup of training; ft: a model and its only parent; layer: adjacent layers.",
    )
    return html, picture, absent


def diffusion_section(reading: Reading, folder: Path) -> tuple[str, Picture | None, list[str]]:
    """Exponents by run and figure 5, and notes; empty where no run is long enough."""
    # As published for Pythia; a run with a shorter warmup has few checkpoints after it.
    warmup = reading.warmup
    start, window = (START, WINDOW) if warmup >= WARMUP else (warmup // 4, WINDOW // 2)
    try:
        found = measure_diffusion(reading.store, start_from=start, window=window, reading=reading)
    except InputError as error:
        return "", None, [f"diffusion: absent: {str(error).partition(': ')[2]}"]
    spaces = {"log_likelihood": "log-likelihoods", "weight": "weights"}
    rows = []
    for one in found.diffusion:
        exponent = one.exponent[np.isfinite(one.exponent)]
        if len(exponent):
            q25, median, q75 = np.quantile(exponent, (0.25, 0.5, 0.75))
            rows.append(
                (
                    one.trajectory.run,
                    spaces[one.trajectory.space],
                    f"{median:.2f}",
                    f"{q25:.2f} to {q75:.2f}",
                    f"{np.nanmedian(one.r2):.2f}",
                    f"{len(exponent)}",
                )
            )
    html = (
        "<h2>Diffusion</h2><p>How the distance from a checkpoint grows with the number of steps "
        f"over the {window} checkpoints after it: distance ∝ lag<sup>c</sup>. c = 1 is Brownian "
        "motion, less is slower (subdiffusive), more is faster. Medians over starts.</p>"
        + table(("run", "space", "exponent c", "quartiles", "R²", "starts"), rows, 2)
    )
    picture = Picture(
        "Diffusion along training",
        saved_svg(diffusion_figure.draw(found.diffusion, window), folder / "diffusion"),
        "Left: distance from one checkpoint against the steps since, both axes logarithmic; the "
        "dotted guide is c = 1. Right: the exponent c by start. Solid: log-likelihoods (KL); "
        "dashed: weights, where they were compared.",
    )
    notes = [note for note in found.notes if note.startswith("weight space")]
    return html, picture, notes


def learning_section(curves: Sequence[Learning], reading: Reading) -> str:
    """What the first and the last checkpoint of each run cost, in bits per byte."""
    runs = reading.pretraining.runs if reading.pretraining else ()
    run_of = {run.name: run for run in runs}
    rows = []
    for curve in curves:
        first, last = curve.there[[0, -1]]
        rows.append(
            (
                curve.run,
                with_error(curve.bits_I[first], curve.error_I[first]),
                with_error(curve.bits_I[last], curve.error_I[last]),
                f"{curve.step_I[first]:,} to {curve.step_I[last]:,}",
                f"{len(curve.there)}",
                _parameters(run_of[curve.run]),
            )
        )
    heads = ("run", "first", "last", "steps", "checkpoints", "parameters")
    return (
        "<h2>What was learnt</h2>"
        "<p>Bits that a byte of the texts costs the first and the last checkpoint of each run "
        "(± one standard error over texts).</p>" + table(heads, rows)
    )


def _parameters(run: Run) -> str:
    """As recorded, or about what the name says."""
    if any(e and e.provenance.model.get("num_parameters") for e in run.entries):
        return f"{run.parameters:,.0f}"
    return f"≈ {run.facts.size_word.upper()}" if np.isfinite(run.parameters) else "–"


def finals_section(finals: Finals, left_out: int) -> str:
    """KL between the last checkpoints of every two runs; `left_out` runs are not compared."""
    names = [run.name for run in finals.runs]
    rows = [
        (names[i], names[j], with_error(kl, error, digits=4))
        for (i, j), kl, error in sorted(
            zip(finals.pairs_P2.tolist(), *finals.divergence, strict=True), key=lambda row: row[1]
        )
    ]
    compared = f" Only the first {len(names)} of {len(names) + left_out} runs are compared."
    return (
        "<h2>Between the final models</h2>"
        "<p>KL divergence between the last checkpoints of every two runs, closest first, in bits "
        "per byte (± one standard error over texts)."
        + (compared if left_out else "")
        + "</p>"
        + table(("model", "and", "KL, bits per byte"), rows, numbers_from=2)
    )


def with_error(value: float, error: float, digits: int = 3) -> str:
    """`1.234 ± 0.005`."""
    return f"{value:.{digits}f} ± {error:.{digits}f}"


def paths_section(paths: Sequence[PathRow]) -> str:
    """The shapes of training paths."""
    if not paths:
        return ""

    def number(value: float | None, form: str) -> str:
        return "–" if value is None or not np.isfinite(value) else format(value, form)

    rows = [
        (
            one.run,
            f"{one.from_step:,}",
            *(
                number(value, form)
                for value, form in zip(
                    one.numbers[:5], (".2f", ".2f", ".2f", ".2f", ".3f"), strict=True
                )
            ),
        )
        for one in paths
    ]
    heads = ("run", "from step", "length", "net", "straightness", "turns", "p")
    return (
        "<h2>Shapes of training paths</h2><p>Length and net displacement in √(bits/byte); "
        "straightness is their ratio. Turns: how often a run goes around its own mean in its "
        "leading principal plane; p: how often a Brownian path with steps of the same sizes winds "
        "at least as far, in the same projection. Only a small p is a spiral.</p>"
        + table(heads, rows)
    )


def dropped_section(atlas: Atlas, notes: Sequence[str]) -> str:
    """What cleaning left out and changed, and what the store cannot fill."""
    lines = [f"map, {FIGURES[name]}: absent: {why}" for name, why in atlas.absent.items()]
    for one in atlas.maps:
        lines += [f"map, {one.name}: {e.note}" for e in one.embeddings if e.note]
    lines = list(dict.fromkeys([*atlas.notes, *lines, *notes]))
    if not lines:
        return ""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines[:MOST_LINES])
    if len(lines) > MOST_LINES:
        items += f"<li>and {len(lines) - MOST_LINES} more</li>"
    return f'<h2>What was left out, and why</h2><ul class="plain">{items}</ul>'
