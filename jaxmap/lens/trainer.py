"""Trains a tuned lens: an affine map ("translator") per layer that predicts the model's output.

The loss of a layer is the mean over tokens of KL(final || lens) (Belrose et al. 2023,
arXiv:2303.08112, eq. 5). The layers share one forward pass and are trained independently; the
model itself is not changed. The data of a step depend on (seed, step) only and the optimiser's
state is saved with Orbax, so a training that was killed and resumed gives exactly the same
translators.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from jaxmap.checkpoint.training_states import load_state, newest_state, save_state
from jaxmap.checkpoint.weights import Model
from jaxmap.corpus.batches import Batch, batches, plan
from jaxmap.corpus.tokens import Tokens
from jaxmap.engine.translators import Translators, translated
from jaxmap.engine.unembedding import Unembedding, final_states
from jaxmap.errors import InputError, JaxmapError
from jaxmap.lens.loss import distribution, kl
from jaxmap.model.decoder import Decoder
from jaxmap.model.inputs import Inputs
from jaxmap.model.layers.linear import computing_in
from jaxmap.progress import progress

WEIGHT_DECAY = 1e-3  # towards the identity

Loss = Callable[[Translators], jax.Array]
State = tuple[Translators, optax.OptState]


@dataclasses.dataclass(frozen=True)
class Training:
    """The settings of a training; raises InputError for an impossible value.

    Fields:
      steps: the number of updates.
      learning_rate: the peak learning rate of AdamW, reached after a tenth of the steps; it then
        falls linearly to 0.
      batch_tokens: tokens per batch.
      seed: the seed of the held-out split and of the order of training texts.
      held_out: the share of the texts that is not trained on, for measuring the lens.
    """

    steps: int = 250
    learning_rate: float = 1e-3
    batch_tokens: int = 4096
    seed: int = 0
    held_out: float = 0.1

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise InputError(f"{self.steps} is too few", field="steps")
        if not 0 < self.learning_rate < float("inf"):
            raise InputError(
                f"{self.learning_rate} is not a positive number", field="learning_rate"
            )
        if self.batch_tokens < 1:
            raise InputError(f"{self.batch_tokens} is too few", field="batch_tokens")
        if not 0 < self.held_out < 1:
            raise InputError(f"{self.held_out} does not lie between 0 and 1", field="held_out")

    def optimiser(self) -> optax.GradientTransformation:
        """AdamW, which updates every number by itself, so layers do not influence each other."""
        warmup = max(1, self.steps // 10)
        rates = [
            optax.linear_schedule(self.learning_rate / warmup, self.learning_rate, warmup - 1),
            optax.linear_schedule(self.learning_rate, 0.0, max(1, self.steps - warmup)),
        ]
        schedule = optax.join_schedules(rates, [warmup])
        return optax.adamw(schedule, weight_decay=WEIGHT_DECAY)


class Tuner:
    """Compiled programs that train and measure the lens of one architecture.

    Fields:
      step: (params, state, inputs, real_BT, reach) -> state, mean KL of each layer, float32 [L].
      measure: (params, translators, inputs, real_BT, reach) -> sum of the KL of each layer [L].
    """

    def __init__(
        self,
        graph: nnx.GraphDef,
        optimiser: optax.GradientTransformation,
        *,
        vocabulary_block: int,
        dtype: str = "float32",
    ):
        self._graph = graph
        self._optimiser = optimiser
        self._block = vocabulary_block
        self._dtype = dtype
        self.step = jax.jit(self._step, static_argnames="reach", donate_argnums=1)
        self.measure = jax.jit(self._measure, static_argnames="reach")

    def _step(
        self, params: nnx.State, state: State, inputs: Inputs, real_BT: jax.Array, reach: int
    ) -> tuple[State, jax.Array]:
        translators, opt_state = state
        tokens = jnp.sum(real_BT)

        def mean_and_gradient(loss: Loss, translator: Translators) -> Any:
            return jax.value_and_grad(lambda given: loss(given) / tokens)(translator)

        loss_L, grads = self._by_layer(
            mean_and_gradient, params, translators, inputs, real_BT, reach
        )
        updates, opt_state = self._optimiser.update(grads, opt_state, translators)
        return (optax.apply_updates(translators, updates), opt_state), loss_L

    def _measure(
        self,
        params: nnx.State,
        translators: Translators,
        inputs: Inputs,
        real_BT: jax.Array,
        reach: int,
    ) -> jax.Array:
        def total(loss: Loss, translator: Translators) -> jax.Array:
            return loss(translator)

        return self._by_layer(total, params, translators, inputs, real_BT, reach)

    def _by_layer(
        self,
        take: Callable[[Loss, Translators], Any],
        params: nnx.State,
        translators: Translators,
        inputs: Inputs,
        real_BT: jax.Array,
        reach: int,
    ) -> Any:
        """`take(loss, translator)` for each layer, where the loss is the KL summed over tokens."""
        decoder: Decoder = nnx.merge(self._graph, params)
        with computing_in(self._dtype):
            unembedding = Unembedding.of(decoder)
            x_BTD, x_LBTD = decoder.residual(inputs, reach=reach, read=lambda x_BTD: x_BTD)
            final_NE = final_states(decoder, x_BTD, inputs)
            lse_N = distribution(final_NE, unembedding, self._block).log_sum_exp_N

            def layer(_: None, scanned: tuple[jax.Array, Translators]) -> tuple[None, Any]:
                x_BTD, translator = scanned

                def loss(translator: Translators) -> jax.Array:
                    hidden_NE = final_states(decoder, translated(x_BTD, translator), inputs)
                    kl_N = kl(hidden_NE, final_NE, lse_N, unembedding, self._block)
                    return jnp.sum(jnp.where(real_BT.reshape(-1), kl_N, 0))

                return None, take(loss, translator)

            return jax.lax.scan(layer, None, (x_LBTD, translators))[1]


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained lens and its quality on held-out texts.

    Fields:
      translators: the maps of every layer but the output.
      logit_L, tuned_L: mean KL(final || lens) of the logit lens and of this lens over the held-out
        tokens, nats per token, float64 [L].
      held_out_tokens: the number of these tokens.
      train_index: the indices of the texts that it was trained on, ascending.
      held_out_texts: the number of the texts that it was measured on.
    """

    translators: Translators
    logit_L: np.ndarray
    tuned_L: np.ndarray
    held_out_tokens: int
    train_index: np.ndarray
    held_out_texts: int

    @property
    def train_texts(self) -> int:
        """The number of texts that it was trained on."""
        return len(self.train_index)


def train_lens(
    model: Model,
    tokens: Tokens,
    training: Training,
    states: Path,
    *,
    vocabulary_block: int,
    save_every: float = 60.0,
    desc: str = "lens",
    on_step: Callable[[int, np.ndarray], object] = lambda step, loss_L: None,
) -> Trained:
    """Trains the lens of a model on a text set, with a progress bar.

    Args:
      model: the model; it is not changed.
      tokens: the text set, cut to the model's context.
      training: the settings.
      states: a folder, used by this training only, for the state from which it resumes.
      vocabulary_block: the number of vocabulary entries computed at a time.
      save_every: seconds between two saves of the state; 0: after every step.
      desc: the label of the progress bar.
      on_step: called after every step with the number of steps done and each layer's mean KL, [L].

    Raises:
      InputError: when there are too few texts.
      JaxmapError: when the KL is not finite.
    """
    usable = np.flatnonzero(tokens.num_scored > 0)
    order = np.random.default_rng([training.seed, 0]).permutation(usable)
    num_held_out = max(1, round(training.held_out * len(usable)))
    if num_held_out >= len(usable):
        raise InputError(
            f"{len(usable)} texts of two tokens or more cannot be split into training and "
            f"held-out ones at `held_out={training.held_out:g}`: give more texts"
        )
    train_index = np.sort(order[num_held_out:])
    train = _batches(_only(tokens, train_index), training.batch_tokens)
    optimiser = training.optimiser()
    tuner = Tuner(model.graph, optimiser, vocabulary_block=vocabulary_block, dtype=model.dtype)
    translators = Translators.identity(model.spec.L, model.spec.D)
    # A copy, because the step donates its state.
    state: State = (jax.tree.map(jnp.copy, translators), optimiser.init(translators))
    begin = newest_state(states)
    if begin:
        state = load_state(states, begin, state)
    saved = time.monotonic()
    with progress(training.steps, desc, "step") as bar:
        bar.update(begin)
        for step in range(begin, training.steps):
            batch = train[_which(training.seed, step, len(train))]
            state, loss_L = tuner.step(model.params, state, *on_device(batch), reach=batch.reach)
            now_L = np.asarray(loss_L)
            if not np.isfinite(now_L).all():
                raise JaxmapError(
                    f"the KL of layer {int(np.flatnonzero(~np.isfinite(now_L))[0])} is not finite "
                    f"at step {step + 1}: lower `learning_rate`"
                )
            bar.set_postfix_str(f"KL {now_L.mean():.3f} nats per token", refresh=False)
            bar.update()
            if time.monotonic() - saved >= save_every and step + 1 < training.steps:
                save_state(states, step + 1, state)
                saved = time.monotonic()
            on_step(step + 1, now_L)
    found = _batches(_only(tokens, np.sort(order[:num_held_out])), training.batch_tokens)
    count = sum(batch.num_places for batch in found)
    logit_L, tuned_L = np.zeros((2, model.spec.L))
    for batch in found:
        given = (*on_device(batch), batch.reach)
        logit_L += np.asarray(tuner.measure(model.params, translators, *given))
        tuned_L += np.asarray(tuner.measure(model.params, state[0], *given))
    return Trained(state[0], logit_L / count, tuned_L / count, count, train_index, num_held_out)


def _which(seed: int, step: int, count: int) -> int:
    """The index of a step's batch: every epoch has each batch once, in an order of its own."""
    epoch, place = divmod(step, count)
    return int(np.random.default_rng([seed, 1, epoch]).permutation(count)[place])


def _only(tokens: Tokens, texts: np.ndarray) -> Tokens:
    parts = [tokens.ids[tokens.offsets[i] : tokens.offsets[i + 1]] for i in texts]
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])])
    # The tokens of a prompt count as well: the lens learns from every token's prediction.
    first = np.ones(len(texts), np.int32)
    alike = tokens.truncated[texts], tokens.apart[texts]
    return Tokens(np.concatenate(parts), offsets, first, *alike)


def _batches(tokens: Tokens, batch_tokens: int) -> list[Batch]:
    return list(batches(tokens, plan(tokens, batch_tokens=batch_tokens)))


def on_device(batch: Batch) -> tuple[Inputs, jax.Array]:
    """The inputs of a batch on the default device, and which tokens are no padding, bool [B, T]."""
    arrays = (batch.ids_BT, batch.segment_BT, batch.position_BT, batch.length_BT)
    return Inputs(*map(jnp.asarray, arrays)), jnp.asarray(batch.segment_BT > 0)
