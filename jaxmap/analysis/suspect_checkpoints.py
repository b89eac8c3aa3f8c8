"""Finds suspect checkpoints of a run, which a user should check.

off: a checkpoint b between a and c is off if KL(a, b) and KL(b, c) are both more than four times
KL(a, c). On a path that moves on, KL(a, c) is the largest of the three; on a path that fluctuates
about a point, the three are similar. Step 116,000 of Pythia-1b is an example.
restart: a run went back if a checkpoint is four times nearer to an earlier one than to the one
before it, which itself is not off: training was resumed from the earlier one, and the checkpoints
between were abandoned.
same: a checkpoint whose KL, or weight distance, to the one before is 0.

The inequalities must hold by three standard errors. Nothing is left out unless the user requests
it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from jaxmap.errors import InputError
from jaxmap.figures.digits import number
from jaxmap.stats.divergence import kl_pairs

if TYPE_CHECKING:
    from jaxmap.analysis.runs import Run
    from jaxmap.store.weight_distances import WeightDistances

Kind = Literal["off", "restart", "same"]
KINDS: tuple[Kind, ...] = ("off", "restart", "same")
FACTOR = 4.0
SIGMAS = 3.0
BACK = 10  # the number of earlier checkpoints to which a run may have gone back


@dataclass(frozen=True)
class Suspect:
    """A suspect checkpoint.

    Fields:
      kind: off, restart or same.
      run: the full name of its run.
      step: its step in the run.
      said: the finding in words.
      left_out: the steps to leave out if this kind is left out.
    """

    kind: Kind
    run: str
    step: int
    said: str
    left_out: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.run}, step {self.step}: {self.said}"


def kinds_of(names: Iterable[str]) -> tuple[Kind, ...]:
    """The kinds with these names; raises InputError for an unknown one."""
    found = []
    for name in names:
        kind = next((one for one in KINDS if one == name), None)
        if kind is None:
            known = ", ".join(KINDS)
            raise InputError(f"{name!r} is unknown; known: {known}", field="leave_out")
        found.append(kind)
    return tuple(found)


def find_suspects(
    runs: Sequence[Run],
    rows: Sequence[np.ndarray],
    ll_KN: np.ndarray,
    mean_bytes: float,
    weights: Mapping[str, WeightDistances] | None = None,
) -> tuple[Suspect, ...]:
    """The suspects of all runs, run by run in time; arguments as of `Pretraining`, and distances
    between weights by the full name of a run, where there are any."""
    found: list[Suspect] = []
    for run, row_I in zip(runs, rows, strict=True):
        there = np.flatnonzero(row_I >= 0)
        if len(there) > 1:
            steps = run.steps[there].tolist()
            own = weights.get(run.full_name) if weights else None
            distance_II = None if own is None else own.at(run.steps[there])
            found += _of_run(run.full_name, steps, ll_KN[row_I[there]], mean_bytes, distance_II)
    return tuple(found)


def _of_run(
    name: str,
    steps: Sequence[int],
    ll_IN: np.ndarray,
    mean_bytes: float,
    distance_II: np.ndarray | None,
) -> list[Suspect]:
    count = len(steps)
    pairs = [(i - back, i) for i in range(1, count) for back in range(1, min(BACK, i) + 1)]
    values = kl_pairs(ll_IN, np.array(pairs), mean_bytes)
    kl, error = (dict(zip(pairs, one.tolist(), strict=True)) for one in values)

    def farther(far: tuple[int, int], near: tuple[int, int]) -> bool:
        """Whether a KL is more than FACTOR times another, by SIGMAS standard errors."""
        slack = SIGMAS * float(np.hypot(error[far], FACTOR * error[near]))
        return kl[far] - FACTOR * kl[near] > slack

    found: list[Suspect] = []
    off: set[int] = set()
    for b in range(1, count - 1):
        across = (b - 1, b + 1)
        if all(farther(side, across) for side in ((b - 1, b), (b, b + 1))):
            off.add(b)
            said = (
                f"off both neighbours: KL {number(kl[b - 1, b])} and {number(kl[b, b + 1])} to "
                f"them, {number(kl[across])} between them"
            )
            found.append(Suspect("off", name, steps[b], said, (steps[b],)))
    for t in range(2, count):
        near = min(range(max(0, t - BACK), t - 1), key=lambda s: kl[s, t])
        if t - 1 not in off and farther((t - 1, t), (near, t)):
            said = (
                f"goes back to step {steps[near]}: KL {number(kl[near, t])} to it, "
                f"{number(kl[t - 1, t])} to step {steps[t - 1]}"
            )
            found.append(Suspect("restart", name, steps[t], said, tuple(steps[near + 1 : t])))
    for t in range(1, count):
        same_weights = distance_II is not None and distance_II[t - 1, t] == 0
        if kl[t - 1, t] == 0 or same_weights:
            what = "distance of weights" if same_weights else "KL"
            said = f"the same as step {steps[t - 1]} ({what} 0)"
            found.append(Suspect("same", name, steps[t], said, (steps[t],)))
    return sorted(found, key=lambda one: one.step)
