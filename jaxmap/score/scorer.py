"""A model and packed texts to one log-likelihood a text."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxmap.checkpoint.weights import Model
from jaxmap.corpus.batches import Batch, batches, plan
from jaxmap.corpus.tokens import Tokens
from jaxmap.errors import InputError
from jaxmap.model.decoder import Decoder
from jaxmap.model.inputs import Inputs
from jaxmap.model.quantised import texts_apart
from jaxmap.progress import progress
from jaxmap.score.readout import target_logp

BATCH_TOKENS = {"cpu": 4096, "gpu": 16384, "tpu": 16384}
VOCABULARY_BLOCK = {"cpu": 4096, "gpu": 16384, "tpu": 16384}
_IN_FLIGHT = 2  # batches dispatched before the first result is waited for
_PROGRAMS = 8  # architectures whose compiled programs are kept


class Scorer:
    """Compiled programs of one architecture, reused for every checkpoint that shares it."""

    def __init__(self, graph: nnx.GraphDef, *, vocabulary_block: int):
        self.compilations = 0  # one for each shape of batch

        def logp(
            params: nnx.State, inputs: Inputs, target_BT: jax.Array, *, reach: int, lens: bool
        ):
            self.compilations += 1  # runs only while JAX traces
            decoder: Decoder = nnx.merge(graph, params)

            def read(x_BTD: jax.Array) -> jax.Array:
                hidden_BTE = decoder.unembedded(x_BTD)
                logp_N = target_logp(
                    hidden_BTE.reshape(-1, hidden_BTE.shape[-1]),
                    decoder.head_VE,
                    target_BT.reshape(-1),
                    block=vocabulary_block,
                    bias_V=None if decoder.head_bias is None else decoder.head_bias[...],
                    adjust=decoder.adjusted,
                )
                return logp_N.reshape(target_BT.shape)

            with texts_apart(inputs):
                x_BTD, logp_LBT = decoder.residual(inputs, reach=reach, read=read if lens else None)
                logp_1BT = read(x_BTD)[None]
            return jnp.concatenate([logp_LBT, logp_1BT]) if lens else logp_1BT

        self._logp = jax.jit(logp, static_argnames=("reach", "lens"))

    def logp_RBT(self, params: nnx.State, batch: Batch, *, lens: bool = False) -> jax.Array:
        """log p(target) in nats at every place of a batch, float32 [R, B, T]; junk at padding.

        R is 1, the model's output; with the lens L + 1, from the embedding to the output. An
        earlier layer is read as the last one is: through the final norm, its statistics taken on
        that layer's state, and all that follows it (logit lens, nostalgebraist 2020).
        """
        return self._logp(params, *_on_device(batch), reach=batch.reach, lens=lens)

    def lower(self, params: nnx.State, batch: Batch, *, lens: bool = False) -> jax.stages.Lowered:
        """The program for batches of this shape before it is compiled, to look into."""
        return self._logp.lower(params, *_on_device(batch), reach=batch.reach, lens=lens)


def _on_device(batch: Batch) -> tuple[Inputs, jax.Array]:
    arrays = (batch.ids_BT, batch.segment_BT, batch.position_BT, batch.length_BT)
    return Inputs(*map(jnp.asarray, arrays)), jnp.asarray(batch.target_BT)


class Scorers:
    """Scorers by architecture and dtype; the longest unused is dropped, its programs with it."""

    def __init__(self, capacity: int = _PROGRAMS):
        self._capacity = capacity
        self._scorers: OrderedDict[tuple, Scorer] = OrderedDict()

    def of(self, model: Model) -> Scorer:
        """The scorer for a model; models of one structure and dtype share one."""
        key = (model.graph, model.dtype)
        if key not in self._scorers:
            block = VOCABULARY_BLOCK[jax.default_backend()]
            self._scorers[key] = Scorer(model.graph, vocabulary_block=block)
            while len(self._scorers) > self._capacity:
                self._scorers.popitem(last=False)
        self._scorers.move_to_end(key)
        return self._scorers[key]


def score_tokens(scorer: Scorer, model: Model, tokens: Tokens, **options: Any) -> np.ndarray:
    """Log-likelihood of each text in nats, float64 [N]; the options are those of `score_rows`."""
    return score_rows(scorer, model, tokens, **options)[0]


def score_rows(
    scorer: Scorer,
    model: Model,
    tokens: Tokens,
    *,
    lens: bool = False,
    batch_tokens: int | None = None,
    desc: str = "score",
) -> np.ndarray:
    """Log-likelihood of each text in nats, float64 [R, N], with a progress bar.

    A text's score is the float64 sum of its own tokens' float32 log-probabilities, so nothing of
    its neighbours in a row or a batch enters but rounding inside the model.

    Args:
      scorer: from `Scorers.of(model)`.
      model: the model.
      tokens: the text set, cut to the model's context.
      lens: whether to read every layer: R is L + 1, the embedding first, the model's own output
        last; else R is 1.
      batch_tokens: tokens of a batch; None: a default for the device.
      desc: what the bar says.

    Raises InputError if an id is outside the vocabulary or a score is not finite.
    """
    if tokens.ids.size and (largest := int(tokens.ids.max())) >= model.spec.V:
        raise InputError(
            f"the tokenizer gives id {largest}, but the model's vocabulary has {model.spec.V} "
            "entries: tokenizer and weights do not belong together"
        )
    batch_tokens = batch_tokens or BATCH_TOKENS[jax.default_backend()]
    total_RN = np.zeros((model.spec.L + 1 if lens else 1, len(tokens)), np.float64)
    packed = plan(tokens, batch_tokens=batch_tokens)
    waiting: deque[tuple[Batch, jax.Array]] = deque()
    num_tokens = 0
    with progress(len(tokens), desc, "text") as bar:

        def collect() -> None:
            nonlocal num_tokens
            batch, logp_RBT = waiting.popleft()
            for total_N, logp_BT in zip(total_RN, np.asarray(logp_RBT), strict=True):
                total_N[batch.text] = _sums(batch, logp_BT)
            num_tokens += batch.num_places
            bar.update(len(batch.text))
            elapsed = bar.format_dict["elapsed"] or 1e-9
            bar.set_postfix_str(f"{num_tokens / elapsed:,.0f} tokens/s", refresh=False)

        for batch in batches(tokens, packed):
            waiting.append((batch, scorer.logp_RBT(model.params, batch, lens=lens)))
            if len(waiting) > _IN_FLIGHT:
                collect()
        while waiting:
            collect()
        bar.update(len(tokens) - bar.n)  # texts with nothing to score
    _check_finite(total_RN, model.dtype)
    return total_RN


def _check_finite(total_RN: np.ndarray, dtype: str) -> None:
    bad_RN = ~np.isfinite(total_RN)
    if bad_RN.any():
        row, text = (int(i) for i in np.argwhere(bad_RN)[0])
        layer = f" at layer {row}" if len(total_RN) > 1 else ""
        raise InputError(
            f"{bad_RN.any(0).sum()} of {total_RN.shape[1]} scores are NaN or infinite "
            f"(first: text {text}, from 0{layer})"
            + ("; try --dtype=float32 or bfloat16" if dtype == "float16" else "")
        )


def _sums(batch: Batch, logp_BT: np.ndarray) -> np.ndarray:
    """Each text's sum over its scored places, float64 [P]."""
    T = logp_BT.shape[1]
    flat = np.append(logp_BT.astype(np.float64).reshape(-1), 0.0)
    bounds = np.stack([batch.row * T + batch.first, batch.row * T + batch.stop], axis=1)
    return np.add.reduceat(flat, bounds.reshape(-1))[::2]
