"""Scores checkpoints into a store, for `jaxmap score`, `jaxmap sweep`, the demo and notebooks."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from absl import logging

from jaxmap import distributed
from jaxmap.checkpoint.refs import Ref
from jaxmap.corpus.texts import TextSet
from jaxmap.errors import InputError
from jaxmap.store import Store
from jaxmap.store.identical_checkpoints import identical_checkpoints
from jaxmap.store.weight_distances import DistanceRequest, DistanceTable
from jaxmap.sweeps.checkpoint_scorer import CheckpointScorer
from jaxmap.sweeps.folder_identity import as_known
from jaxmap.sweeps.hosts import Follower, Leader
from jaxmap.sweeps.limits import DEFAULT, Limits
from jaxmap.sweeps.loaded_checkpoint import LoadedCheckpoint
from jaxmap.sweeps.outcome import Ending, Outcome
from jaxmap.sweeps.schedule import in_order, share
from jaxmap.sweeps.settings import PLAIN, Settings
from jaxmap.sweeps.sweep import Sweep
from jaxmap.sweeps.tasks import plan_tasks, requested_distances
from jaxmap.variant import JAX

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
    """Scores every model that is not in the store yet; each result is stored when it is done.

    If a model fails, the reason is stored and the others are scored. Finished results are
    recognised by the model's commit (or a folder's contents), the texts, the variant and the
    statistics. A checkpoint is loaded once for all its items. Several processes may work on one
    store: items that another worker has claimed are left to it and waited for. If several processes
    score each model together (`jaxmap.distributed`), the first does all this and the others follow.

    Args:
      refs: the models; they are scored by size, run and step, otherwise in the order given.
      texts: the text set of the store.
      store: the store, open for writing.
      settings: how each model is scored.
      shard: (index, count): score only this share of the models, out of so many.
      stop: called before every batch; if it returns true, the run saves its results and stops.
      command: the command line that resumes the run, for `jaxmap status`.
      limits: waiting times and limits.

    Raises:
      InputError: for an impossible shard.
      JaxmapError: if the store cannot be written or the disk is full.
    """
    index, count = shard
    if not 0 <= index < count:
        message = f"of `shard_count={count}` it is one from 0 to {count - 1}"
        raise InputError(message, field="shard_index", value=index)
    scorer_type = _scorer_of(settings.engine)
    names = store.names
    refs = in_order(as_known(refs, store), names)

    def items_of(ref: Ref):
        return settings.items(ref.name, ref.revision)

    if not distributed.first():
        follower = Follower()
        scorer = scorer_type(texts, store, settings, follower)
        return Outcome(follows=follower.follow(scorer.load_part, scorer.score_part))
    if settings.tuned_lens:
        from jaxmap.lens.training_texts import warn_of_seen_texts

        models = [(ref.name, ref.revision) for ref in refs]
        warn_of_seen_texts(Path(settings.tuned_lens), models, texts)
    store.ask((item for ref in refs for item in items_of(ref)), command)
    tasks = plan_tasks(
        refs, share(refs, index, count, names), items_of, settings.weight_distance, names
    )
    rows = DistanceTable(store.path)
    for run, steps in requested_distances(refs, settings.weight_distance, names).items():
        rows.ask(DistanceRequest(run, steps, settings.weight_distance))
    if not distributed.several():
        scorer = scorer_type(texts, store, settings)
        outcome = Sweep(scorer, tasks, stop=stop, command=command, limits=limits).run()
        _warn_of_identical(store, refs, outcome)
        return outcome
    leader: Leader[LoadedCheckpoint] = Leader()
    scorer = scorer_type(texts, store, settings, leader)
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


def _scorer_of(engine: str) -> type[CheckpointScorer]:
    """The class that scores checkpoints by an engine; InputError where it cannot be used."""
    if engine == JAX:
        return CheckpointScorer
    if distributed.several():
        raise InputError(
            "torch: scores each model in one process; give each process models of its own with "
            "`shard_index` and `shard_count`",
            field="engine",
        )
    from jaxmap.sweeps.torch_scorer import TorchScorer

    return TorchScorer


def _warn_of_identical(store: Store, refs: Sequence[Ref], outcome: Outcome) -> None:
    """Warns of checkpoints of one run that were scored now and are identical."""
    asked = {(ref.name, ref.revision) for ref in refs}
    if not outcome.scored or all(store.names.parse(*one).time is None for one in asked):
        return
    for group in identical_checkpoints(store.records()):
        if any((one.identity.ref, one.identity.revision) in asked for one in group.entries):
            logging.warning("%s", group)


@contextmanager
def told_to_stop() -> Iterator[Callable[[], bool]]:
    """Yields a function that returns whether SIGTERM was received; a second one ends at once.

    Schedulers send SIGTERM before preemption and at time limits. SIGHUP, the end of a terminal or
    an ssh connection, counts as well unless it is ignored (nohup).
    """
    told = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield told.is_set  # the main thread handles signals
        return
    before: dict[signal.Signals, Any] = {}

    def handle(number: int, frame: object) -> None:
        told.set()
        for handled, handler in before.items():  # a terminal may hang up twice
            signal.signal(handled, signal.SIG_IGN if handled == signal.SIGHUP else handler)
        logging.warning("told to stop: finishing the batch and saving; run again to resume")

    def pass_on(number: int, frame: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    together = distributed.several()  # JAX handles SIGTERM
    if not together:
        before[signal.SIGTERM] = signal.signal(signal.SIGTERM, handle)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, pass_on if together else handle)
    try:
        yield told.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
