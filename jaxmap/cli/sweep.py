"""`jaxmap sweep`: the models of a config file to a store."""

from __future__ import annotations

import os
import re
import shlex
import sys
import threading
from typing import TYPE_CHECKING, Any

from absl import flags

from jaxmap.cli import exit_codes
from jaxmap.cli.command import (
    Command,
    define_engine,
    define_store,
    integer,
    string,
)
from jaxmap.cli.config_flag import define_config
from jaxmap.cli.devices import OF_THE_PROCESS, define_devices
from jaxmap.cli.output import as_flags

if TYPE_CHECKING:
    from jaxmap.api.scoring import Scored

# Flags that do not change the results: no part of the command that repeats the run.
_OF_THE_RUN = ("shard_index", "shard_count", *OF_THE_PROCESS)


def define_run(values: flags.FlagValues) -> None:
    """The flags of a run that `score` and `sweep` share."""
    flags.DEFINE_float(
        "save_every",
        60.0,
        "Seconds between two saves of a model's unfinished scores, which a killed run resumes "
        "with; 0: after every batch.",
        lower_bound=0.0,
        flag_values=values,
    )
    string(
        values,
        "cache_budget",
        None,
        "The most downloaded weights to keep, as 200GB or 1.5TB: what was scored is deleted when "
        "room is needed, but never what was in the cache before.",
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


def define_statistics(values: flags.FlagValues, default: list[str] | None) -> None:
    """--statistics and --keep_tokens."""
    flags.DEFINE_list(
        "statistics",
        default,
        "Comma-separated: what to keep of every text beside its log-likelihood: entropy; "
        "token_log_likelihood, token_entropy: the value of every token. Only what the store lacks "
        "is computed.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "keep_tokens",
        False,
        "Keep the log-probability of every token, in 16 bits (about 5 MB a model for 10,000 texts "
        "of 1 KB), for `jaxmap tokens`. Results that lack it are scored again.",
        flag_values=values,
    )


def _define_sweep(values: flags.FlagValues) -> None:
    define_config(
        values,
        "The config, configs/NAME.py or configs/NAME.py:VARIANT; --config.FIELD=VALUE sets one of "
        "its fields.",
        _check_config,
    )
    define_store(values, made=True)
    define_statistics(values, None)
    define_engine(values, None)
    define_run(values)


def _check_config(where: str, values: dict[str, Any], given: list[str]) -> None:
    from jaxmap.sweeps.config_schema import config_dict, read_config
    from jaxmap.sweeps.settings import refuse_unknown

    read_config(values, where)
    refuse_unknown(given, config_dict(), where)
    refuse_unknown(given, values, f"{where} sets fewer fields than it may")


def _sweep(values: flags.FlagValues) -> int:
    from jaxmap.api.scoring import sweep

    options = dict(
        statistics=values.statistics,
        keep_tokens=values.keep_tokens,
        engine=values.engine,
        **run_options(values),
    )
    return report(sweep(values.config, values.store, **options), values)


def run_options(values: flags.FlagValues) -> dict[str, Any]:
    """The flags of `define_run`, as parameters."""
    return dict(
        save_every=values.save_every,
        cache_budget=values.cache_budget,
        batch=values.batch,
        shard_index=values.shard_index,
        shard_count=values.shard_count,
        mesh=values.mesh,
        distributed=values.distributed,
        coordinator_address=values.coordinator_address,
        num_processes=values.num_processes,
        process_id=values.process_id,
        command=command_line(),
    )


def command_line() -> str:
    """The command line that resumes the run, with its folder, without this process's share."""
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


def report(scored: Scored, values: flags.FlagValues) -> int:
    """Prints what a run did; returns its exit code.

    The reasons of failures went to stderr when they arose, and are in the store.
    """
    from jaxmap.sweeps.prefetch import THREAD_NAME

    outcome, code = scored.outcome, exit_codes.of_outcome(scored.outcome)
    if outcome.follows is not None:
        return code  # the process that led says it
    print(as_flags(scored.text(failures=False), list(values)), end="")
    if outcome.stopped and any(thread.name == THREAD_NAME for thread in threading.enumerate()):
        # A download or a load that would not end; its end is not to be waited for.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


COMMANDS = {
    "sweep": Command(
        "the models of a config file, any number, on any number of workers",
        """Scores everything that a config file names, and resumes wherever it was stopped: run
the same command again after a crash, a preemption, a full disk. Every checkpoint is downloaded and
loaded once for all that is asked of it (scores, lens, quantised copies, weight distances), the next
ones meanwhile. One that fails is recorded with the reason while the others continue.

Exit codes: 0 all is done; 75 stopped by SIGTERM after saving: run it again; 2 bad input; 1 else.

  jaxmap sweep --config=configs/pythia.py --store=runs
  jaxmap sweep --config=configs/pythia.py:seeds --store=runs --cache_budget=200GB
  jaxmap sweep --config=configs/finetuning.py --store=map --config.models_file=model_list.json
  jaxmap sweep --config=configs/pythia.py --store=/shared/runs \\
      --shard_index=$SLURM_ARRAY_TASK_ID --shard_count=$SLURM_ARRAY_TASK_COUNT
""",
        _define_sweep,
        _sweep,
        required=("config", "store"),
    ),
}
