"""`jaxmap sweep`: the models of a config file to a store."""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import sys
import threading
from typing import TYPE_CHECKING, Any

from absl import flags

from jaxmap.cli.command import Command, define_store, integer, required, string
from jaxmap.cli.config_flag import define_config
from jaxmap.cli.devices import OF_THE_PROCESS, define_devices, start
from jaxmap.errors import InputError

if TYPE_CHECKING:
    from jaxmap.checkpoint.refs import Ref
    from jaxmap.sweeps.run import Outcome
    from jaxmap.sweeps.settings import Settings

# What a run is told beside what it does: not a part of the command that does it again.
_OF_THE_RUN = ("shard_index", "shard_count", *OF_THE_PROCESS)


def define_run(values: flags.FlagValues) -> None:
    """The flags of a run that `score` and `sweep` share."""
    flags.DEFINE_float(
        "save_every",
        60.0,
        "Seconds between two saves of a model's unfinished scores, which a killed run goes on "
        "with; 0: after every batch.",
        lower_bound=0.0,
        flag_values=values,
    )
    string(
        values,
        "cache_budget",
        None,
        "Most bytes of downloaded weights to keep, as 200GB or 1.5TB: what was scored is deleted "
        "when room is needed, but never what was in the cache before.",
    )
    flags.DEFINE_enum(
        "batch",
        None,
        ["auto"],
        "auto: as many tokens a batch as memory holds, found by compiling ahead of time.",
        flag_values=values,
    )
    integer(values, "shard_index", 0, "Which share of the models to do, from 0.")
    integer(values, "shard_count", 1, "How many shares there are: one for each worker.")
    define_devices(values)


def _define_sweep(values: flags.FlagValues) -> None:
    define_config(
        values,
        "The config, configs/NAME.py or configs/NAME.py:VARIANT; --config.FIELD=VALUE sets one of "
        "its fields.",
        _check_config,
    )
    define_store(values, made=True)
    define_run(values)


def _check_config(where: str, values: dict[str, Any], given: list[str]) -> None:
    from jaxmap.sweeps.config_schema import config_dict, read_config
    from jaxmap.sweeps.settings import refuse_unknown

    read_config(values, where)
    refuse_unknown(given, config_dict(), where)
    refuse_unknown(given, values, f"{where} sets fewer fields than it may")


def _sweep(values: flags.FlagValues) -> int:
    required(values, "config", "store")
    from jaxmap.sweeps.config_schema import read_config

    config = read_config(dict(values.config), "--config")
    refs = config.refs()
    settings = config.settings(**run_options(values))
    return score_all(values, refs, config.texts, config.limit or None, settings)


def score_all(
    values: flags.FlagValues,
    refs: list[Ref],
    texts_file: str,
    limit: int | None,
    settings: Settings,
) -> int:
    """Scores the models of a run, with the flags of `define_run`; returns the exit code."""
    from jaxmap.corpus.texts import load_texts
    from jaxmap.store import Store

    shard = shard_of(values)
    texts = load_texts(texts_file, limit)
    store = Store.create(values.store, texts)
    from jaxmap import runtime

    runtime.prepare()
    start(values)
    from jaxmap.sweeps.run import score_models, told_to_stop

    with told_to_stop() as stop:
        outcome = score_models(
            refs,
            texts,
            store,
            shard=shard,
            stop=stop,
            command=command_line(),
            **dataclasses.asdict(settings),
        )
    return report(outcome)


def run_options(values: flags.FlagValues) -> dict[str, Any]:
    """save_every, cache_budget, mesh and batch, as Settings has them."""
    from jaxmap.sweeps.settings import parse_size

    budget = values.cache_budget
    size = None if budget is None else parse_size(budget, "--cache_budget")
    return {
        "save_every": values.save_every,
        "cache_budget": size,
        "mesh": values.mesh,
        "batch": values.batch or "",
    }


def shard_of(values: flags.FlagValues) -> tuple[int, int]:
    """(index, count) of the worker's share."""
    index, count = values.shard_index, values.shard_count
    if not index < count:
        raise InputError(f"--shard_index={index}: of --shard_count={count} it is 0 to {count - 1}")
    return index, count


def command_line() -> str:
    """What to type, and where, to do the same again; for all shares of it."""
    names = "|".join(_OF_THE_RUN)
    kept, skip = [], False
    for argument in sys.argv[1:]:
        if skip:
            skip = False
        elif re.fullmatch(rf"--?({names})", argument):
            skip = True
        elif not re.match(rf"--?({names})=", argument):
            kept.append(argument)
    return f"cd {shlex.quote(os.getcwd())} && jaxmap {shlex.join(kept)}"


def report(outcome: Outcome) -> int:
    """Prints what a run did; returns its exit code."""
    from jaxmap.sweeps.prefetch import NAME as AHEAD

    if outcome.follows is not None:
        return outcome.exit_code  # the process that led says it
    print(
        f"{len(outcome.scored)} scored, {len(outcome.found)} already done, "
        f"{len(outcome.failed)} failed"
    )
    for failure in outcome.failed:
        print(f"  {failure.item.label}: {failure.reason}")
    for name in outcome.unmeasured:
        print(f"  {name}: scored, but its weight distances are missing")
    if outcome.stopped:
        print("stopped before the end: run the same command again to go on")
        if any(thread.name == AHEAD for thread in threading.enumerate()):
            # A download or a load that would not end; its end is not to be waited for.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(outcome.exit_code)
    return outcome.exit_code


COMMANDS = {
    "sweep": Command(
        "the models of a config file, any number, on any number of workers",
        """Scores all that a config file names, and goes on wherever it was stopped: run the same
command again after a crash, a preemption, a full disk. Every checkpoint is downloaded and loaded
once for all that is asked of it (scores, lens, quantised copies, weight distances), the next ones
meanwhile. One that fails is noted in the store and the others go on.

Exit codes: 0 all is done; 75 stopped by SIGTERM after saving: run it again; 2 bad input; 1 else.

  jaxmap sweep --config=configs/pythia.py --store=runs
  jaxmap sweep --config=configs/pythia.py:seeds --store=runs --cache_budget=200GB
  jaxmap sweep --config=configs/finetuning.py --store=map --config.models_file=model_list.json
  jaxmap sweep --config=configs/pythia.py --store=/shared/runs \\
      --shard_index=$SLURM_ARRAY_TASK_ID --shard_count=$SLURM_ARRAY_TASK_COUNT
""",
        _define_sweep,
        _sweep,
    ),
}
