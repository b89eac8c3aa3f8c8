"""Until which step the learning rate of a run is warmed up, where nobody says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from jaxmap.analysis.pythia import WARMUP
from jaxmap.analysis.runs import Run
from jaxmap.analysis.stages import Origin

LEAST = 3  # checkpoints after warmup: two neighbouring intervals


def with_warmup(
    runs: Sequence[Run], given: int | None, origins: Sequence[Origin | None]
) -> list[Run]:
    """The runs with the ends of their warmups; `given` is that of all that begin by themselves."""
    return [
        replace(run, warmup=0 if origin else default_warmup(run) if given is None else given)
        for run, origin in zip(runs, origins, strict=True)
    ]


def default_warmup(run: Run) -> int:
    """2,000 steps, as published for Pythia; of a run that has fewer than three checkpoints from
    there on, a tenth of its last step; of one that counts tokens alone, a hundredth of its last."""
    there = np.array([entry is not None for entry in run.entries])
    saved = run.steps[there]
    if run.named_unit == "token":
        return int(saved[-1]) // 100
    return WARMUP if (saved >= WARMUP).sum() >= LEAST else int(saved[-1]) // 10
