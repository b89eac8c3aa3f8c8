"""`jaxmap scale`: the KL in ten settings; a table, every pair, and figure 3."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jaxmap.analysis.context import Context
from jaxmap.analysis.floor import Floors, is_near, measure_floors
from jaxmap.analysis.model_pairs import settings_of_models
from jaxmap.analysis.notes import Note
from jaxmap.analysis.pair_settings import NAMES, OF_RUNS, Setting
from jaxmap.analysis.published import settings_of_groups
from jaxmap.analysis.published_models import ReleasedModels, settings_of_released
from jaxmap.analysis.recipes import Recipe
from jaxmap.analysis.run_pairs import settings_of_runs
from jaxmap.errors import InputError
from jaxmap.figures.figure import Figures, save_figures
from jaxmap.progress import progress
from jaxmap.results import Result
from jaxmap.stats.bootstrap import bootstrap_pairs, bootstrap_shares
from jaxmap.stats.divergence import Divergence, kl_pairs
from jaxmap.stats.scale import Summary, summarise
from jaxmap.tables import to_frame, write_csv

if TYPE_CHECKING:
    import pandas

COLUMNS = (
    "setting", "median", "mean", "q25", "q75", "n", "standard_error", "floor", "near_floor",
    "recipe", "group", "scores",
)  # fmt: skip
PAIR_COLUMNS = (
    "setting", "model_a", "model_b", "kl_bits_per_byte", "standard_error", "format_b",
    "bits_per_weight_b",
)  # fmt: skip
DRAWS = 200  # resamples of the texts for the standard error of a median


@dataclass(frozen=True)
class Scaled:
    """One setting: the KL of its pairs (bits per byte), and their summary."""

    setting: Setting
    divergence: Divergence
    summary: Summary
    floor: float | None = None  # the precision floor, if the store has one

    @property
    def near_floor(self) -> bool:
        """Whether the median may be rounding, that is, is less than ten times the floor."""
        return is_near(self.summary.median, self.floor)


@dataclass(frozen=True)
class Scale(Result):
    """The ten settings in order, and notes about what was dropped and chosen."""

    rows: tuple[Scaled, ...]
    notes: tuple[Note, ...]
    recipe: Recipe = "jaxmap"

    def row(self, name: str) -> Scaled:
        """The setting of this name."""
        return self.rows[NAMES.index(name)]

    @property
    def filled(self) -> tuple[Scaled, ...]:
        """The settings that have pairs."""
        return tuple(row for row in self.rows if row.summary.n)

    def to_dataframe(self) -> pandas.DataFrame:
        """One row per setting, with the columns of scale.csv."""
        return to_frame(COLUMNS, self._summary_rows())

    def pairs_dataframe(self) -> pandas.DataFrame:
        """One row per pair, with the columns of scale_pairs.csv."""
        return to_frame(PAIR_COLUMNS, self._pair_rows())

    def draw(self) -> Figures:
        """scale: figure 3, the distribution of KL in each setting."""
        from jaxmap.figures import scale

        return Figures(scale=scale.draw(self))

    def save(self, folder: str | Path) -> list[Path]:
        """Writes scale.csv, scale_pairs.csv and figure 3 (scale.png, .svg and .pdf)."""
        return [*self.write_tables(folder), *save_figures(self.draw(), folder)]

    def write_tables(self, folder: str | Path) -> list[Path]:
        """Writes scale.csv and scale_pairs.csv."""
        folder = Path(folder)
        return [
            write_csv(folder / "scale.csv", COLUMNS, self._summary_rows()),
            write_csv(folder / "scale_pairs.csv", PAIR_COLUMNS, self._pair_rows()),
        ]

    def text(self) -> str:
        """The table as text, with the reasons of absent settings, and the notes."""
        known = any(row.floor is not None for row in self.rows)
        floor = f" {'floor':>9}" if known else ""
        lines = [
            f"{'setting':<11} {'median':>9} {'+-':>8} {'mean':>9} {'n':>6}{floor}  bits per byte "
            f"({self.recipe} recipe)"
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
        return "".join(f"{line}\n" for line in (*lines, *self.notes))

    def _summary_rows(self) -> Iterator[tuple[object, ...]]:
        for row in self.rows:
            scores = "cleaned" if row.setting.cleaned else "raw"
            how = (row.setting.group, scores) if row.summary.n else (None, None)
            yield (*_summary_row(row), self.recipe, *how)

    def _pair_rows(self) -> Iterator[tuple[object, ...]]:
        for row in self.rows:
            entries, pairs_P2 = row.setting.entries, row.setting.pairs_P2
            values = (column.tolist() for column in row.divergence)
            for (i, j), kl, error in zip(pairs_P2.tolist(), *values, strict=True):
                a, b = entries[i], entries[j]
                yield row.setting.name, a.label, b.label, kl, error, b.file_type, b.bits_per_weight


def find_settings(context: Context) -> tuple[tuple[Setting, ...], tuple[Note, ...]]:
    """The ten settings in order, with their pairs, and what was dropped or chosen on the way.

    Settings 1 to 4 are about training runs, cleaned by the recipe for pretraining; settings 5 to 10
    are about models, whose scores are raised to the lower limit of all models that are not
    quantised. For settings 1, 2 and 4, each size has one run: the one without a seed in its name,
    otherwise that with the lowest seed. The published recipe is different: see `published` and
    `published_models`.
    """
    if context.recipe == "published":
        return _published_settings(context)
    pre = context.pretraining
    if pre is None:
        reason = "the store holds no two checkpoints of one training run"
        of_runs = {name: Setting(name, reason=reason) for name in OF_RUNS}
    else:
        of_runs = settings_of_runs(pre)
    models = settings_of_models(context)
    notes = [*(pre.notes if pre else ()), *(note for s in of_runs.values() for note in s.notes)]
    found = of_runs | models.settings
    return tuple(found[name] for name in NAMES), (*notes, *models.notes)


def _published_settings(context: Context) -> tuple[tuple[Setting, ...], tuple[Note, ...]]:
    groups = context.published_groups
    models = ReleasedModels(context)
    found = settings_of_groups(groups) | settings_of_released(models)
    notes = [note for group in (groups.sizes, groups.seeds) if group for note in group.notes]
    settings = tuple(found[name] for name in NAMES)
    return settings, (*notes, *(note for one in settings for note in one.notes))


def measure_scale(context: Context, *, draws: int = DRAWS) -> Scale:
    """Measures the KL of every pair of the ten settings of `find_settings`.

    The texts are the sample for standard errors: those of a KL have a closed form, those of medians
    come from `draws` resamples. Raises InputError if the store has pairs for no setting.
    """
    settings, notes = find_settings(context)
    if not any(len(setting.pairs_P2) for setting in settings):
        reasons = "; ".join(f"{one.name}: {one.reason}" for one in settings)
        raise InputError(f"{context.store.path}: none of the ten settings can be filled: {reasons}")
    floors = measure_floors(context)
    with progress(sum(len(s.pairs_P2) for s in settings), "scale", "pair") as bar:
        rows = []
        for setting in settings:
            rows.append(_measured(setting, floors, draws))
            bar.update(len(setting.pairs_P2))
    return Scale(tuple(rows), notes, context.recipe)


def _measured(setting: Setting, floors: Floors, draws: int) -> Scaled:
    divergence = Divergence(np.empty(0), np.empty(0))
    draws_PR = np.empty((0, draws))
    if len(setting.pairs_P2):
        divergence = kl_pairs(setting.ll_KN, setting.pairs_P2, setting.mean_bytes)
        share_RN = bootstrap_shares(setting.ll_KN.shape[1], draws)
        draws_PR = bootstrap_pairs(setting.ll_KN, setting.pairs_P2, share_RN, setting.mean_bytes)
    used = [setting.entries[i] for i in np.unique(setting.pairs_P2)]
    return Scaled(setting, divergence, summarise(divergence.kl, draws_PR), floors.of(used))


def _summary_row(row: Scaled) -> tuple[object, ...]:
    one = row.summary
    if not one.n:
        return (row.setting.name, None, None, None, None, 0, None, None, None)
    near = None if row.floor is None else "yes" if row.near_floor else "no"
    numbers = (one.median, one.mean, one.q25, one.q75, one.n, one.standard_error)
    return (row.setting.name, *numbers, row.floor, near)
