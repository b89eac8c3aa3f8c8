"""The continuations of the demo's first run: a second stage, and a branch from its middle."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import optax

from jaxmap.checkpoint.weights import load
from jaxmap.demos.folders import build_folder
from jaxmap.demos.model import hf_config, optimiser, spec_for
from jaxmap.demos.settings import DemoConfig
from jaxmap.demos.train import (
    TrainingProgram,
    checkpoint,
    compiled,
    window_starts,
    write_checkpoint,
)
from jaxmap.errors import JaxmapError
from jaxmap.naming import Names, names_of

SAVED = 4  # checkpoints of each
SEED = 1000  # of the order of their data; runs have small ones


@dataclass(frozen=True)
class Stage:
    """Training that continues step `at` of a run for some steps, saved at `checkpoints`."""

    run: str
    name: str
    at: int
    checkpoints: tuple[int, ...]

    def folder(self, out: Path, step: int) -> Path:
        """The name of a checkpoint, such as stage2-step32."""
        return out / "models" / self.run / self.revision(step)

    def revision(self, step: int) -> str:
        """The name of a checkpoint of this stage, such as "stage2-step40"."""
        return f"{self.name}-step{step}"


def stages_of(config: DemoConfig) -> tuple[Stage, ...]:
    """Stage 2 from the end of the first run, and a branch from its middle.

    There are none if the run is less than twice as long as they are.
    """
    steps = config.stage_steps
    if steps < SAVED or config.steps < 2 * steps:
        return ()
    first = next(iter(config.runs))
    half = max(step for step in config.checkpoints if 2 * step <= config.steps)
    saved = tuple(steps * i // SAVED for i in range(1, SAVED + 1))
    return (
        Stage(first, "stage2", config.steps, saved),
        Stage(first, "branch", half, saved),
    )


def names(config: DemoConfig) -> Names:
    """The facts that the names of runs lack: tokens per step, and where the stages begin."""
    stages = stages_of(config)
    facts = [{"model": one.run, "run": one.name, "continues": "", "at": one.at} for one in stages]
    tokens = float(config.rows * config.window)
    return names_of([*facts, *({"model": run, "tokens_per_step": tokens} for run in config.runs)])


def train_stages(out: Path, corpus: Path, config: DemoConfig) -> None:
    """Trains the stages that do not exist yet.

    They start from the run's weights, with a fresh optimiser, other data, and a learning rate that
    falls to 0 from its present value. Raises JaxmapError if a loss is not finite.
    """
    for number, stage in enumerate(stages_of(config)):
        if not all(stage.folder(out, step).is_dir() for step in stage.checkpoints):
            _train(out, corpus, config, stage, SEED + number)


def _train(out: Path, corpus: Path, config: DemoConfig, stage: Stage, seed: int) -> None:
    size = config.sizes[config.runs[stage.run][0]]
    steps = stage.checkpoints[-1]
    rate = optimiser_rate(config, size.learning_rate, stage.at)
    schedule = optax.linear_schedule(rate, 0.0, steps)
    tx = optimiser(config, size, schedule)
    spec = spec_for(config, size)
    ids = jnp.asarray(np.load(corpus / "train.npy"))
    advance = compiled(spec, tx, len(ids), steps, config)
    program = TrainingProgram(spec, hf_config(config, size), tx, advance)
    params = load(checkpoint(out, stage.run, stage.at), dtype="float32").params
    state = params, tx.init(params)
    data = replace(config, steps=steps)
    starts_SB = jnp.asarray(window_starts(data, seed, len(ids)))
    step = 0
    for target in stage.checkpoints:
        state, loss = advance(state, ids, starts_SB, jnp.int32(step), jnp.int32(target))
        if not np.isfinite(loss):
            raise JaxmapError(
                f"{stage.run}: the loss is {float(loss)} at {stage.revision(target)}: lower "
                f"learning_rate of its size"
            )
        step = target
        build_folder(stage.folder(out, step), partial(write_checkpoint, corpus, program, state[0]))


def optimiser_rate(config: DemoConfig, peak: float, step: int) -> float:
    """The learning rate of a run at a step: half a cosine after warmup, down to its final value."""
    last = config.final_learning_rate
    done = min(max(step - config.warmup, 0) / max(config.steps - config.warmup, 1), 1.0)
    return peak * float(last + (1 - last) * (1 + np.cos(np.pi * done)) / 2)
