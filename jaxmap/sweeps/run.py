"""Checkpoints to a store: what `jaxmap score`, `jaxmap sweep`, the demo and notebooks call."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from absl import logging

from jaxmap import distributed
from jaxmap.checkpoint.refs import Ref
from jaxmap.corpus.texts import TextSet
from jaxmap.errors import InputError
from jaxmap.store import Store
from jaxmap.store.identical import identical_checkpoints
from jaxmap.sweeps.checkpoint_scorer import CheckpointScorer
from jaxmap.sweeps.hosts import Follower, Leader
from jaxmap.sweeps.limits import DEFAULT, Limits
from jaxmap.sweeps.loaded_checkpoint import LoadedCheckpoint
from jaxmap.sweeps.one_identity import as_known
from jaxmap.sweeps.outcome import Ending, Outcome
from jaxmap.sweeps.schedule import in_order, share
from jaxmap.sweeps.settings import PLAIN, Settings
from jaxmap.sweeps.sweep import Sweep
from jaxmap.sweeps.tasks import plan_tasks

__all__ = ["Outcome", "score_models", "told_to_stop"]


def score_models(
    refs: Sequence[Ref],
    texts: TextSet,
    store: Store,
    settings: Settings = PLAIN,
    *,
    shard: tuple[int, int] = (0, 1),
    stop: Callable[[], bool] = lambda: False,
    command: str = "",
    limits: Limits = DEFAULT,
) -> Outcome:
    """Scores every model that the store does not have yet and keeps each as soon as it is done.

    A model that fails leaves its reason in the store and the others go on. What is finished is
    recognised by the model's commit (a folder's contents), the texts, the variant and the
    statistics. A checkpoint is loaded once for all that is asked of it. Several processes may
    work on one store: what another one is at is left to it, and waited for. Where this is one of
    several that score each model together, the first does all this and the others help it.

    Args:
      refs: the models; they are taken by size, run and step, else in the order given.
      texts: the text set of the store.
      store: open for writing.
      settings: what is asked of each model, and how it is scored.
      shard: (index, count): only this share of the models, of so many.
      stop: asked before every batch; when true, the run saves what it has and ends.
      command: what to type to do the same again, for `jaxmap status`.
      limits: waits and sizes.

    Raises InputError for a share that cannot be, else JaxmapError only where the store itself
    cannot be written or the disk is full.
    """
    index, count = shard
    if not 0 <= index < count:
        message = f"of `shard_count={count}` it is one from 0 to {count - 1}"
        raise InputError(message, field="shard_index", value=index)
    names = store.names
    refs = in_order(as_known(refs, store), names)

    def items_of(ref: Ref):
        return settings.items(ref.name, ref.revision)

    if not distributed.first():
        follower = Follower()
        scorer = CheckpointScorer(texts, store, settings, follower)
        return Outcome(follows=follower.follow(scorer.load_part, scorer.score_part))
    store.ask((item for ref in refs for item in items_of(ref)), command)
    tasks = plan_tasks(
        refs, share(refs, index, count, names), items_of, settings.weight_distance, names
    )
    if not distributed.several():
        scorer = CheckpointScorer(texts, store, settings)
        outcome = Sweep(scorer, tasks, stop=stop, command=command, limits=limits).run()
        _warn_of_identical(store, refs, outcome)
        return outcome
    leader: Leader[LoadedCheckpoint] = Leader()
    scorer = CheckpointScorer(texts, store, settings, leader)
    ending: Ending = "failure"
    try:
        outcome = Sweep(
            scorer, tasks, stop=lambda: leader.stopped, command=command, limits=limits
        ).run()
        ending = outcome.ending
        _warn_of_identical(store, refs, outcome)
        return outcome
    finally:
        leader.end(ending)


def _warn_of_identical(store: Store, refs: Sequence[Ref], outcome: Outcome) -> None:
    """Warns of checkpoints of one run that were just scored and are one and the same."""
    asked = {(ref.name, ref.revision) for ref in refs}
    if not outcome.scored or all(store.names.parse(*one).time is None for one in asked):
        return
    for group in identical_checkpoints(store.records()):
        if any((one.identity.ref, one.identity.revision) in asked for one in group.entries):
            logging.warning("%s", group)


@contextmanager
def told_to_stop() -> Iterator[Callable[[], bool]]:
    """Whether a SIGTERM has come (a preempted machine, a time limit); a second one ends at once."""
    told = threading.Event()
    if distributed.several() or threading.current_thread() is not threading.main_thread():
        yield told.is_set  # JAX listens for all of several processes; signals are the main thread's
        return

    def handle(number: int, frame: object) -> None:
        told.set()
        signal.signal(signal.SIGTERM, before)
        logging.warning("told to stop: finishing the batch and saving; run again to go on")

    before = signal.signal(signal.SIGTERM, handle)
    try:
        yield told.is_set
    finally:
        signal.signal(signal.SIGTERM, before)
