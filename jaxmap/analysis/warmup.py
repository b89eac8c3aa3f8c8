"""The default for the step at which warmup of a run's learning rate ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from jaxmap.analysis.pythia import WARMUP
from jaxmap.analysis.runs import Run
from jaxmap.analysis.training_stages import Origin

LEAST = 3  # checkpoints after warmup: two neighbouring intervals


def with_warmup(
    runs: Sequence[Run], given: int | None, origins: Sequence[Origin | None]
) -> list[Run]:
    """Sets the warmups of runs, in steps; `given` is that of runs that do not continue another."""
    return [
        replace(run, warmup=0 if origin else default_warmup(run) if given is None else given)
        for run, origin in zip(runs, origins, strict=True)
    ]


def default_warmup(run: Run) -> int:
    """The end of warmup: 2,000 steps, as published for Pythia, or less for short runs.

    It is a tenth of the last step for a run with fewer than three checkpoints after step 2,000, and
    a hundredth of the last time for a run whose names have tokens only.
    """
    there = np.array([entry is not None for entry in run.entries])
    saved = run.steps[there]
    if run.named_unit == "token":
        return int(saved[-1]) // 100
    return WARMUP if (saved >= WARMUP).sum() >= LEAST else int(saved[-1]) // 10
