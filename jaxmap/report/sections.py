"""Parts of the page that come from the analyses: the scale, diffusion, floors, what was dropped."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

import numpy as np

from jaxmap.analysis.atlas import Atlas
from jaxmap.analysis.diffusion import measure_diffusion
from jaxmap.analysis.mapping import FIGURES, PathRow
from jaxmap.analysis.scale import measure_scale
from jaxmap.analysis.trajectories import START
from jaxmap.errors import InputError, JaxmapError
from jaxmap.figures import diffusion as diffusion_figure
from jaxmap.figures import scale as scale_figure
from jaxmap.figures import style
from jaxmap.map.clean import WARMUP
from jaxmap.map.diffusion import WINDOW
from jaxmap.map.divergence import kl_pairs
from jaxmap.report.pictures import Picture
from jaxmap.store import Store
from jaxmap.store.record import Entry

MOST_FLOORS = 20
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


def scale_section(store: Store, folder: Path, warmup: int) -> tuple[str, Picture | None, list[str]]:
    """Table and figure of the ten settings, and notes; empty where the store fills none."""
    try:
        scale = measure_scale(store, warmup=warmup, ask=ask_nobody)
    except InputError:
        return "", None, []
    rows, absent = [], []
    for row in scale.rows:
        one, name = row.summary, row.setting.name
        if one.n:
            median = f"{one.median:.3g}"
            if np.isfinite(one.standard_error):
                median += f" ± {one.standard_error:.1g}"
            rest = (f"{value:.3g}" for value in (one.mean, one.q25, one.q75))
            rows.append((name, median, *rest, f"{one.n:,}"))
        else:
            absent.append(f"scale, {name}: absent: {row.setting.reason}")
    figure = scale_figure.draw([(row.setting.name, row.divergence.kl) for row in scale.rows])
    html = (
        "<h2>How large is a KL?</h2><p>KL divergence in ten settings, in bits per byte "
        "(± one standard error of the median over texts).</p>"
        + table(("setting", "median", "mean", "25 %", "75 %", "pairs"), rows)
    )
    picture = Picture(
        "The scale of KL",
        _saved(figure, folder / "scale"),
        "Distribution of KL in each setting, on an axis that is linear below 0.1 and logarithmic "
        "above; the line is the median. Later and early: neighbouring checkpoints at the end and "
        "after the warmup of training; ft: a model and its only parent; layer: adjacent layers.",
    )
    return html, picture, absent


def diffusion_section(
    store: Store, folder: Path, warmup: int
) -> tuple[str, Picture | None, list[str]]:
    """Exponents by run and figure 5, and notes; empty where no run is long enough."""
    # As published for Pythia; a run with a shorter warmup has few checkpoints after it.
    start, window = (START, WINDOW) if warmup >= WARMUP else (warmup // 4, WINDOW // 2)
    try:
        found = measure_diffusion(store, warmup=warmup, start_from=start, window=window)
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
        _saved(diffusion_figure.draw(found.diffusion, window), folder / "diffusion"),
        "Left: distance from one checkpoint against the steps since, both axes logarithmic; the "
        "dotted guide is c = 1. Right: the exponent c by start. Solid: log-likelihoods (KL); "
        "dashed: weights, where they were compared.",
    )
    notes = [note for note in found.notes if note.startswith("weight space")]
    return html, picture, notes


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


def floor_section(store: Store, entries: Sequence[Entry]) -> str:
    """KL of a precision against float32 of the same checkpoint, where the store has both."""
    groups: dict[tuple[str, str | None], dict[str, Entry]] = defaultdict(dict)
    for entry in entries:
        one = entry.identity
        if one.quantisation == "none" and one.layer is None:
            groups[one.ref, one.revision][one.dtype] = entry
    pairs = [
        (found["float32"], other)
        for found in groups.values()
        if "float32" in found
        for dtype, other in sorted(found.items())
        if dtype != "float32"
    ]
    if not pairs:
        return ""
    ll_KN = store.log_likelihoods(entry for pair in pairs for entry in pair)
    pairs_P2 = np.arange(2 * len(pairs)).reshape(-1, 2)
    kl_P, error_P = kl_pairs(ll_KN, pairs_P2, store.texts.mean_bytes)
    order = np.argsort(-kl_P)[:MOST_FLOORS]
    rows = [
        (pairs[k][1].label, pairs[k][1].identity.dtype, f"{kl_P[k]:.3g} ± {error_P[k]:.1g}")
        for k in order
    ]
    left_out = len(pairs) - len(rows)
    return (
        "<h2>Precision floor</h2><p>KL of a checkpoint against itself in float32, bits per byte: "
        "what lies near it is rounding. The largest first"
        + (f"; {left_out} smaller ones are not listed" if left_out else "")
        + ".</p>"
        + table(("checkpoint", "precision", "KL, bits per byte"), rows, 2)
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


def _saved(figure: object, base: Path) -> str:
    paths = style.save(figure, base)  # type: ignore[arg-type]
    return next(path for path in paths if path.suffix == ".svg").read_text(encoding="utf-8")
