"""The parameters of a run that `score` and `sweep` share: processes, shares and the like."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

from jaxmap.errors import InputError


@dataclasses.dataclass(frozen=True)
class Job:
    """Whether this process is one of several, and which."""

    distributed: bool
    coordinator_address: str | None
    num_processes: int | None
    process_id: int | None

    def join(self) -> None:
        """Connects to the other processes of a run, if any, before JAX is used; has effect once."""
        given = (self.coordinator_address, self.num_processes, self.process_id)
        if not self.distributed and all(value is None for value in given):
            return
        from jaxmap import distributed

        if distributed.started():
            return
        distributed.start(*given)
        if not distributed.first():
            from absl import logging

            os.environ["TQDM_DISABLE"] = "1"  # one bar is enough
            logging.set_verbosity(logging.ERROR)


def of_the_run(
    save_every: float, cache_budget: int | str | None, mesh: str | None, batch: str | None
) -> dict[str, Any]:
    """These parameters as fields of Settings."""
    from jaxmap.byte_sizes import parse_size

    if cache_budget is not None:
        cache_budget = parse_size(cache_budget, "cache_budget")
    return dict(save_every=save_every, cache_budget=cache_budget, mesh=mesh, batch=batch or "")


def shard_of(index: int, count: int) -> tuple[int, int]:
    """The share of this process; raises InputError for an index that is not in 0 to count - 1."""
    if not 0 <= index < count:
        message = f"of `shard_count={count}` it is one from 0 to {count - 1}"
        raise InputError(message, field="shard_index", value=index)
    return index, count
