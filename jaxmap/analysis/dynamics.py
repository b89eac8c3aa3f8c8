"""`jaxmap dynamics`: how runs move beyond the papers' figures, each number with an error."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jaxmap.analysis.context import Context
from jaxmap.analysis.diffusion import starts_and_window
from jaxmap.analysis.exponents import kl_exponents, weight_exponents
from jaxmap.analysis.notes import Note
from jaxmap.analysis.pretraining import Pretraining
from jaxmap.analysis.recipes import Recipe
from jaxmap.analysis.run_pairs import GROUP
from jaxmap.analysis.runs import Run
from jaxmap.analysis.trajectories import Trajectory, trajectories_of
from jaxmap.errors import InputError
from jaxmap.figures.figure import Figures, save_figures
from jaxmap.results import Result
from jaxmap.stats.diffusion import LEAST
from jaxmap.stats.dynamics import curvature, speed, turn
from jaxmap.stats.jackknife import LeftOut, kl_left_out, standard_error
from jaxmap.tables import to_frame, write_csv

if TYPE_CHECKING:
    import pandas

COLUMNS = ("measure", "trajectory", "time", "unit", "domain", "value", "standard_error")
FEWEST_TEXTS = 40  # of a domain: two for each group that is left out
MEASURES = (  # in the order of the table and the figure
    "speed",
    "turn",
    "curvature",
    "kl_to_final",
    "kl_between_seeds",
    "exponent",
    "exponent_weight",
    "exponent_difference",
)


@dataclass(frozen=True)
class Series:
    """One measure along one run: times int64 [S], in `unit`; values and their standard errors
    float64 [S]; NaN: none. `domain`: the texts that it is of; "": all."""

    measure: str
    run: str
    times: np.ndarray
    values: np.ndarray
    errors: np.ndarray
    unit: str = "step"
    domain: str = ""


@dataclass(frozen=True)
class Dynamics(Result):
    """How the runs of a store move, cleaned for pretraining.

    Fields:
      series: by measure (see MEASURES), then run.
      window: saved checkpoints after a start that enter an exponent.
      notes: what was left out.
      recipe, group: how scores were cleaned, and what was cleaned together.
      run_names: all runs, by whose order lines have their styles.
    """

    series: tuple[Series, ...]
    window: int
    notes: tuple[Note, ...]
    recipe: Recipe = "jaxmap"
    group: str = GROUP
    run_names: tuple[str, ...] = ()

    def to_dataframe(self) -> pandas.DataFrame:
        """One row per measure, run and time, with the columns of dynamics.csv."""
        return to_frame(COLUMNS, self._rows())

    def draw(self) -> Figures:
        """dynamics: a panel a measure; dynamics_domains: KL to the last checkpoint by domain."""
        from jaxmap.figures import dynamics

        return Figures(dynamics=dynamics.draw(self), dynamics_domains=dynamics.draw_domains(self))

    def save(self, folder: str | Path) -> list[Path]:
        """Writes dynamics.csv and the figures."""
        table = write_csv(Path(folder) / "dynamics.csv", COLUMNS, self._rows())
        return [table, *save_figures(self.draw(), folder)]

    def _rows(self) -> Iterator[tuple[object, ...]]:
        for one in self.series:
            columns = (one.times.tolist(), one.values.tolist(), one.errors.tolist())
            for time, value, error in zip(*columns, strict=True):
                yield (one.measure, one.run, time, one.unit, one.domain, value, error)


def measure_dynamics(
    context: Context,
    *,
    start_from: int | None = None,
    window: int | None = None,
    domains: Sequence[str] | None = None,
) -> Dynamics:
    """Speed, turns, curvature, KL to the last checkpoint and between seeds, exponents.

    Args:
      context: the store, and the axis of time.
      start_from, window: of exponents, as of `measure_diffusion`.
      domains: the domain of each text of the store; None: not known. Of each with texts enough, KL
        to the last checkpoint, KL between seeds and speed are measured on its texts alone.

    Errors are those of a jackknife over texts; of exponents of weights, which no texts enter, that
    of the fit; of the difference of both the root of their squares. Raises InputError for a store
    without runs, or domains that are not as many as its texts.
    """
    pre = context.timeline
    if pre is None:
        raise InputError(f"{context.store.path}: no two checkpoints of one training run")
    given = len(context.store.texts.text_bytes)
    if domains is not None and len(domains) != given:
        raise InputError(f"{len(domains)} domains for the {given} texts of the store")
    series = [*_paths(pre), *_seeds(pre)]
    found, chosen = _exponents(context, pre, start_from, window)
    series += found
    notes = [*(context.pretraining.notes if context.pretraining else ()), *context.timeline_notes]
    for domain, part in _parts(context, pre, domains, notes).items():
        only = ("speed", "kl_to_final", "kl_between_seeds")
        series += [
            replace(one, domain=domain)
            for one in (*_paths(part), *_seeds(part))
            if one.measure in only
        ]
    series.sort(key=lambda one: MEASURES.index(one.measure))
    group = GROUP
    if context.recipe == "published" and context.published_groups.together is not None:
        group = context.published_groups.together.name
    return Dynamics(tuple(series), chosen, tuple(notes), context.recipe, group, pre.run_names)


def _parts(
    context: Context, pre: Pretraining, domains: Sequence[str] | None, notes: list[Note]
) -> Mapping[str, Pretraining]:
    """The runs on the texts of each domain, the largest first."""
    if domains is None:
        return {}
    names = np.array(domains, object)[pre.texts]
    columns: dict[str, np.ndarray] = {
        str(name): np.flatnonzero(names == name) for name in dict.fromkeys(names.tolist())
    }
    parts = {}
    for name in sorted(columns, key=lambda one: (-len(columns[one]), one)):
        kept = columns[name]
        if len(kept) < FEWEST_TEXTS:
            notes.append(
                Note("domains", f"{name} has {len(kept)} texts, {FEWEST_TEXTS} are needed")
            )
            continue
        texts = pre.texts[kept]
        mean_bytes = float(context.store.texts.text_bytes[texts].mean())
        parts[name] = replace(pre, ll_KN=pre.ll_KN[:, kept], texts=texts, mean_bytes=mean_bytes)
    return parts


def _kl(pre: Pretraining, pairs: Sequence[tuple[int, int]] | np.ndarray) -> LeftOut:
    return kl_left_out(pre.ll_KN, np.array(pairs, np.int64).reshape(-1, 2), pre.mean_bytes)


def _series(
    measure: str, run: Run, places: Sequence[int], value: np.ndarray, without: np.ndarray
) -> Series:
    times = run.times[list(places)]
    return Series(measure, run.name, times, value, standard_error(without), run.unit)


def _paths(pre: Pretraining) -> Iterator[Series]:
    """The path of each run by itself."""
    for run, rows in zip(pre.runs, pre.rows, strict=True):
        there = np.flatnonzero(rows >= 0)
        # A checkpoint that was left out parts what lies on its sides.
        pairs = [(i, i + 1) for i in range(len(rows) - 1) if rows[i] >= 0 and rows[i + 1] >= 0]
        if len(there) < 2:
            continue
        if pairs:
            kl = _kl(pre, [(rows[i], rows[j]) for i, j in pairs])
            lasted = np.array([run.times[j] - run.times[i] for i, j in pairs], float)
            ends = [j for _, j in pairs]
            yield _series("speed", run, ends, speed(kl.kl, lasted), speed(kl.without, lasted))
        middles = [i for i in range(1, len(rows) - 1) if (rows[i - 1 : i + 2] >= 0).all()]
        if middles:
            legs = [
                _kl(pre, [(rows[i + a], rows[i + b]) for i in middles])
                for a, b in ((-1, 0), (0, 1), (-1, 1))
            ]
            for name, of in (("turn", turn), ("curvature", curvature)):
                value, without = (of(*(getattr(leg, f) for leg in legs)) for f in legs[0]._fields)
                yield _series(name, run, middles, value, without)
        to_final = _kl(pre, [(rows[i], rows[there[-1]]) for i in there[:-1]])
        yield _series("kl_to_final", run, there[:-1].tolist(), *to_final)


def _seeds(pre: Pretraining) -> Iterator[Series]:
    """Mean KL between all pairs of runs that differ in seed alone, at the times that all have."""
    groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for place, run in enumerate(pre.runs):
        if (pre.rows[place] >= 0).any():
            groups[*run.facts.series, run.facts.size_word].append(place)
    for places in groups.values():
        if len(places) < 2:
            continue
        at = [
            {
                int(t): int(row)
                for t, row in zip(pre.runs[p].times, pre.rows[p], strict=True)
                if row >= 0
            }
            for p in places
        ]
        common = sorted(set.intersection(*map(set, at)))
        pairs = [
            (one[time], other[time])
            for time in common
            for one, other in itertools.combinations(at, 2)
        ]
        if not pairs:
            continue
        kl = _kl(pre, pairs)
        count = len(pairs) // len(common)
        first = min((pre.runs[p] for p in places), key=lambda run: len(run.name))
        mean = kl.kl.reshape(-1, count).mean(axis=1)
        without = kl.without.reshape(len(kl.without), -1, count).mean(axis=2)
        name = f"{first.facts.base.rpartition('/')[2]}, {len(places)} runs"
        yield Series("kl_between_seeds", name, np.array(common, np.int64), mean,
                     standard_error(without), first.unit)  # fmt: skip


def _exponents(
    context: Context, pre: Pretraining, start_from: int | None, window: int | None
) -> tuple[list[Series], int]:
    """Diffusion exponents in both spaces and their difference, of starts with a whole window."""
    start_of, chosen = starts_and_window(pre.runs, start_from, window)
    if chosen < LEAST:
        return [], chosen
    weights = {
        one.run: one
        for one in trajectories_of(context.store, pre, start_of)
        if one.space == "weight"
    }
    found = []
    for run, rows in zip(pre.runs, pre.rows, strict=True):
        starts = [
            i
            for i in range(len(rows) - chosen)
            if run.steps[i] >= start_of(run) and (rows[i : i + chosen + 1] >= 0).all()
        ]
        if not starts:
            continue
        value, error = kl_exponents(pre, rows, run.times, starts, chosen)
        times = run.times[starts]
        found.append(Series("exponent", run.name, times, value, error, run.unit))
        if run.name in weights:
            found += _with_weights(run, weights[run.name], starts, chosen, value, error)
    return found, chosen


def _with_weights(
    run: Run, weights: Trajectory, starts: Sequence[int], window: int, value: np.ndarray,
    error: np.ndarray,
) -> list[Series]:  # fmt: skip
    """Exponents of weights, their errors by the fit, and how far they lie above those of
    log-likelihoods, errors of both added in squares."""
    own, own_error = weight_exponents(weights.distance, run.times, starts, window)
    times = run.times[list(starts)]
    return [
        Series("exponent_weight", run.name, times, own, own_error, run.unit),
        Series("exponent_difference", run.name, times, own - value, np.hypot(error, own_error),
               run.unit),
    ]  # fmt: skip
