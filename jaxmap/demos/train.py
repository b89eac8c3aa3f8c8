"""Trains the demo's runs, several at a time, and saves their checkpoints as Hugging Face folders.

A step's data depend only on (seed, step) and the optimiser's state is saved at checkpoints, so a
run that was killed and resumed gives exactly the same weights.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from tqdm import tqdm

from jaxmap.checkpoint.save import save_checkpoint
from jaxmap.checkpoint.training_states import load_state, newest_state, save_state
from jaxmap.demos.corpus import copy_tokenizer
from jaxmap.demos.folders import build_folder, remove_unfinished
from jaxmap.demos.model import hf_config, init_params, optimiser, spec_for
from jaxmap.demos.settings import DemoConfig
from jaxmap.environment import cores
from jaxmap.errors import JaxmapError
from jaxmap.model.decoder import abstract
from jaxmap.model.spec import Spec
from jaxmap.progress import progress

PIECE = 32  # steps between two updates of the progress bar, when a stop is noticed

State = tuple[nnx.State, optax.OptState]
# (state, ids [tokens], starts [steps, rows], first step, end step) -> state, loss of the last step
Advance = Callable[..., tuple[State, jax.Array]]


class RunStopped(Exception):
    """Raised in a run that stops because another run failed."""


@dataclass(frozen=True)
class TrainingProgram:
    """The data that all runs of one size share."""

    spec: Spec
    hf_config: dict[str, Any]
    optimiser: optax.GradientTransformation
    advance: Advance


@dataclass(frozen=True)
class Session:
    """The data that runs which train in parallel share."""

    out: Path
    corpus: Path
    config: DemoConfig
    ids: jax.Array  # int32 [tokens]
    bar: tqdm
    stop: threading.Event  # set when a run failed
    saving: threading.Lock  # states are saved and loaded by one thread at a time


def train_runs(out: Path, corpus: Path, config: DemoConfig) -> bool:
    """Train every run to its end, saving OUT/models/RUN/stepN; return whether any was left to do.

    As many runs are trained at a time as there are CPU cores, since matrices this small use only
    one core. Raises JaxmapError if a loss is not finite or the disk cannot be written.
    """
    begins = {}  # the step from which each unfinished run resumes
    for run in config.runs:
        remove_unfinished(out / "models" / run)
        missing = [s for s in config.checkpoints if not checkpoint(out, run, s).is_dir()]
        if missing:
            begins[run] = newest_state(out / "state" / run, missing[0])
    if not begins:
        shutil.rmtree(out / "state", ignore_errors=True)
        return False
    ids = jnp.asarray(np.load(corpus / "train.npy"))
    stop = threading.Event()
    # The longest run first, so that the cores finish at about the same time.
    order = sorted(begins, key=lambda run: _cost(config, run), reverse=True)
    sizes = dict.fromkeys(config.runs[run][0] for run in order)
    left = sum(config.steps - step for step in begins.values())
    with (
        progress(total=left, desc="train", unit="step") as bar,
        ThreadPoolExecutor(max_workers=min(len(order), cores())) as pool,
    ):
        session = Session(out, corpus, config, ids, bar, stop, threading.Lock())
        programs = {size: pool.submit(_program, config, size, len(ids)) for size in sizes}
        running = [
            pool.submit(_run, session, run, begins[run], programs[config.runs[run][0]])
            for run in order
        ]
        try:
            for future in running:
                future.result()
        except BaseException:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            # The first to stop is not always the one that failed.
            for future in running:
                if future.done() and not future.cancelled():
                    error = future.exception()
                    if error is not None and not isinstance(error, RunStopped):
                        raise error from None
            raise
    shutil.rmtree(out / "state", ignore_errors=True)
    return True


def checkpoint(out: Path, run: str, step: int) -> Path:
    """The folder of a checkpoint."""
    return out / "models" / run / f"step{step}"


def window_starts(config: DemoConfig, seed: int, num_ids: int) -> np.ndarray:
    """The first id of the windows of each step in the training ids, int32 [steps, rows].

    Every epoch has each window once, in an order of its own. As with Pythia, runs of one seed and
    different sizes read the same windows at the same step, and seeds read the same corpus in
    different orders.
    """
    windows = num_ids // config.window
    needed = config.steps * config.rows
    passes = -(-needed // windows)
    order = np.concatenate(
        [np.random.default_rng([seed, epoch]).permutation(windows) for epoch in range(passes)]
    )
    starts = order[:needed].astype(np.int32) * config.window
    return starts.reshape(config.steps, config.rows)


def _program(config: DemoConfig, size: str, num_ids: int) -> TrainingProgram:
    spec = spec_for(config, config.sizes[size])
    tx = optimiser(config, config.sizes[size])
    advance = compiled(spec, tx, num_ids, config.steps, config)
    return TrainingProgram(spec, hf_config(config, config.sizes[size]), tx, advance)


def compiled(
    spec: Spec,
    tx: optax.GradientTransformation,
    num_ids: int,
    steps: int,
    config: DemoConfig,
    *,
    trained: Any = None,
    whole: Callable[[Any], nnx.State] = lambda params: params,
) -> Advance:
    """The program of some steps of training on `num_ids` tokens.

    Args:
      spec, tx, steps, config: the model, its optimiser, and the length of the schedule.
      trained: what is trained, any tree of arrays; None: all parameters.
      whole: makes the model's parameters of what is trained.
    """
    graphdef, params = abstract(spec)
    params = params if trained is None else jax.eval_shape(lambda: trained)
    offsets_T = np.arange(config.window)

    def loss_of(params: Any, ids_BT: jax.Array) -> jax.Array:
        logits_BTV = nnx.merge(graphdef, whole(params)).logits(ids_BT)
        return optax.softmax_cross_entropy_with_integer_labels(
            logits_BTV[:, :-1], ids_BT[:, 1:]
        ).mean()

    def advance(
        state: State, ids: jax.Array, starts_SB: jax.Array, first: jax.Array, end: jax.Array
    ) -> tuple[State, jax.Array]:
        def step(
            i: jax.Array, carry: tuple[nnx.State, optax.OptState, jax.Array]
        ) -> tuple[nnx.State, optax.OptState, jax.Array]:
            params, opt_state, _ = carry
            ids_BT = ids[starts_SB[i][:, None] + offsets_T]
            loss, grads = jax.value_and_grad(loss_of)(params, ids_BT)
            updates, opt_state = tx.update(grads, opt_state, params)
            return optax.apply_updates(params, updates), opt_state, loss

        params, opt_state, loss = jax.lax.fori_loop(first, end, step, (*state, jnp.float32(0)))
        return (params, opt_state), loss

    def shape(*dims: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(dims, jnp.int32)

    state = (params, jax.eval_shape(tx.init, params))
    return (
        jax.jit(advance, donate_argnums=0)
        .lower(state, shape(num_ids), shape(steps, config.rows), shape(), shape())
        .compile()
    )


def _run(session: Session, run: str, step: int, made: Future[TrainingProgram]) -> None:
    """Train one run from a step to its end."""
    out, config = session.out, session.config
    size, seed = config.runs[run]
    program = made.result()
    states = out / "state" / run
    params = init_params(program.spec, seed)
    state: State = (params, program.optimiser.init(params))
    if step:
        with session.saving:
            state = load_state(states, step, state)
    starts_SB = jnp.asarray(window_starts(config, seed, len(session.ids)))
    saved = time.monotonic()
    for target in (s for s in config.checkpoints if s >= step):
        while step < target:
            if session.stop.is_set():
                raise RunStopped(run)
            end = min(target, step + PIECE)
            state, loss = program.advance(
                state, session.ids, starts_SB, jnp.int32(step), jnp.int32(end)
            )
            if not np.isfinite(loss):
                session.stop.set()
                raise JaxmapError(
                    f"{run}: the loss is {float(loss)} at step {end}: lower learning_rate of "
                    f"sizes.{size}"
                )
            session.bar.update(end - step)
            step = end
        folder = checkpoint(out, run, step)
        if not folder.is_dir():
            build_folder(folder, partial(write_checkpoint, session.corpus, program, state[0]))
        if step < config.steps and time.monotonic() - saved >= config.state_seconds:
            with session.saving:
                save_state(states, step, state)
            saved = time.monotonic()


def write_checkpoint(
    corpus: Path, program: TrainingProgram, params: nnx.State, folder: Path
) -> None:
    """Writes a Hugging Face folder with the tokenizer of the corpus."""
    save_checkpoint(params, program.spec, program.hf_config, folder)
    copy_tokenizer(corpus, folder)


def _cost(config: DemoConfig, run: str) -> int:
    size = config.sizes[config.runs[run][0]]
    return 12 * size.layers * size.width**2 + size.width * config.vocabulary
