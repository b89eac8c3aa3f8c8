"""`jaxmap scale`: how large a KL is, in ten settings; a table, every pair, and figure 3."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxmap.analysis.context import Reading
from jaxmap.analysis.floor import is_near, measure_floors
from jaxmap.analysis.model_pairs import of_models
from jaxmap.analysis.run_pairs import NAMES, Setting, of_runs
from jaxmap.errors import InputError
from jaxmap.progress import progress
from jaxmap.stats.bootstrap import bootstrap_pairs, bootstrap_shares
from jaxmap.stats.clean import WARMUP
from jaxmap.stats.divergence import Divergence, kl_pairs
from jaxmap.stats.scale import Summary, summarise
from jaxmap.store import Store
from jaxmap.tables import write_csv

COLUMNS = ("setting", "median", "mean", "q25", "q75", "n", "standard_error", "floor", "near_floor")
PAIR_COLUMNS = ("setting", "model_a", "model_b", "kl_bits_per_byte", "standard_error")
DRAWS = 200  # resamples of the texts for the standard error of a median


@dataclass(frozen=True)
class Settings:
    """The ten settings in order, and what was dropped or chosen on the way, a line each."""

    settings: tuple[Setting, ...]
    notes: tuple[str, ...]


def find_settings(
    store: Store,
    *,
    warmup: int = WARMUP,
    parents: str | os.PathLike[str] | None = None,
    ask: Callable[[str], tuple[str, ...]] | None = None,
    reading: Reading | None = None,
) -> Settings:
    """Pairs for all settings.

    1 to 4 are about training runs, cleaned by the recipe for pretraining; 5 to 10 about models,
    clipped at the floor of all unquantised models. `parents` is a file that overrides model cards,
    `ask` replaces the Hub (see `genealogy.parents_of`). Of each size one run counts for 1, 2 and
    4: the one without a seed in its name, else the lowest seed. `reading` is of this store with
    this warmup, where the caller has one.
    """
    reading = reading or Reading(store, warmup)
    pretraining = reading.pretraining
    notes: list[str] = []
    if pretraining is None:
        reason = "the store holds no two checkpoints of one training run"
        found = {name: Setting(name, reason=reason) for name in NAMES[:4]}
    else:
        notes += pretraining.describe()
        found = of_runs(pretraining, notes)
    found |= of_models(reading, parents, ask, notes)
    return Settings(tuple(found[name] for name in NAMES), tuple(notes))


@dataclass(frozen=True)
class Scaled:
    """One setting: the KL of its pairs (bits per byte), and their summary."""

    setting: Setting
    divergence: Divergence
    summary: Summary
    floor: float | None = None  # of the precision that it was scored in, where the store tells

    @property
    def near_floor(self) -> bool:
        """Whether the median may be rounding: it is less than ten times the floor."""
        return is_near(self.summary.median, self.floor)


@dataclass(frozen=True)
class Scale:
    """The ten settings in order, and notes on what was dropped and chosen."""

    rows: tuple[Scaled, ...]
    notes: tuple[str, ...]

    def text(self) -> str:
        """A table for people, reasons for what is absent, and the notes."""
        known = any(row.floor is not None for row in self.rows)
        floor = f" {'floor':>9}" if known else ""
        lines = [
            f"{'setting':<11} {'median':>9} {'+-':>8} {'mean':>9} {'n':>6}{floor}  bits per byte"
        ]
        for row in self.rows:
            one, name = row.summary, row.setting.name
            if one.n:
                lines.append(
                    f"{name:<11} {one.median:9.4g} {one.standard_error:8.2g} {one.mean:9.4g} "
                    f"{one.n:6d}"
                    + (f" {'-' if row.floor is None else f'{row.floor:.2g}':>9}" if known else "")
                    + ("  near its floor: may be rounding" if row.near_floor else "")
                )
            else:
                lines.append(f"{name:<11} absent: {row.setting.reason}")
        return "\n".join([*lines, *self.notes]) + "\n"


def measure_scale(
    store: Store,
    *,
    warmup: int = WARMUP,
    parents: str | os.PathLike[str] | None = None,
    ask: Callable[[str], tuple[str, ...]] | None = None,
    draws: int = DRAWS,
    reading: Reading | None = None,
) -> Scale:
    """KL of every pair of the ten settings; see `find_settings` for the arguments.

    Standard errors are over texts: of each KL in closed form, of the medians by `draws` resamples.
    Raises InputError for a store in which no setting can be filled.
    """
    found = find_settings(store, warmup=warmup, parents=parents, ask=ask, reading=reading)
    if not any(len(setting.pairs_P2) for setting in found.settings):
        reasons = "; ".join(f"{one.name}: {one.reason}" for one in found.settings)
        raise InputError(f"{store.path}: none of the ten settings can be filled: {reasons}")
    floors = measure_floors(store, store.records() if reading is None else reading.entries)
    rows = []
    with progress(sum(len(s.pairs_P2) for s in found.settings), "scale", "pair") as bar:
        for setting in found.settings:
            divergence = Divergence(np.empty(0), np.empty(0))
            draws_PR = np.empty((0, draws))
            if len(setting.pairs_P2):
                divergence = kl_pairs(setting.ll_KN, setting.pairs_P2, setting.mean_bytes)
                share_RN = bootstrap_shares(setting.ll_KN.shape[1], draws)
                draws_PR = bootstrap_pairs(
                    setting.ll_KN, setting.pairs_P2, share_RN, setting.mean_bytes
                )
            used = [setting.entries[i] for i in np.unique(setting.pairs_P2)]
            summary = summarise(divergence.kl, draws_PR)
            rows.append(Scaled(setting, divergence, summary, floors.of(used)))
            bar.update(len(setting.pairs_P2))
    return Scale(tuple(rows), found.notes)


def write_scale(
    store: Store,
    out: str | os.PathLike[str],
    *,
    warmup: int = WARMUP,
    parents: str | os.PathLike[str] | None = None,
) -> Scale:
    """Writes OUT/scale.csv, OUT/scale_pairs.csv and figure 3 (OUT/scale.png, .svg, .pdf)."""
    from jaxmap.figures import scale as figure
    from jaxmap.figures import style

    out = Path(out)
    scale = measure_scale(store, warmup=warmup, parents=parents)
    write_csv(out / "scale.csv", COLUMNS, (_summary_row(row) for row in scale.rows))
    write_csv(
        out / "scale_pairs.csv", PAIR_COLUMNS, (r for row in scale.rows for r in _pair_rows(row))
    )
    drawn = [(row.setting.name, row.divergence.kl) for row in scale.rows]
    style.save(figure.draw(drawn), out / "scale")
    return scale


def _summary_row(row: Scaled) -> tuple[object, ...]:
    one = row.summary
    if not one.n:
        return (row.setting.name, "", "", "", "", 0, "", "", "")
    numbers = (repr(value) for value in (one.median, one.mean, one.q25, one.q75))
    floor = ("", "") if row.floor is None else (repr(row.floor), "yes" if row.near_floor else "no")
    return (row.setting.name, *numbers, one.n, repr(one.standard_error), *floor)


def _pair_rows(row: Scaled) -> Iterable[tuple[str, ...]]:
    entries = row.setting.entries
    values = (column.tolist() for column in row.divergence)
    for (i, j), kl, error in zip(row.setting.pairs_P2.tolist(), *values, strict=True):
        yield row.setting.name, entries[i].label, entries[j].label, repr(kl), repr(error)
