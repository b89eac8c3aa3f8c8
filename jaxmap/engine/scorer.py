"""A model and packed texts to one log-likelihood a text."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxmap.checkpoint.memory import give_back
from jaxmap.checkpoint.weights import Model
from jaxmap.corpus.batches import Batch, Plan, batches, plan
from jaxmap.corpus.tokens import Tokens
from jaxmap.engine.readout import target_logp
from jaxmap.engine.translators import Translators, translated
from jaxmap.errors import InputError
from jaxmap.model.decoder import Decoder
from jaxmap.model.encodings.int8 import texts_apart
from jaxmap.model.inputs import Inputs
from jaxmap.model.layers.linear import computing_in
from jaxmap.model.mesh import ROWS, axes_of, gathered_ends, manual
from jaxmap.progress import progress
from jaxmap.sweeps.resume import Partial, Stopped

BATCH_TOKENS = {"cpu": 2048, "gpu": 16384, "tpu": 16384}
VOCABULARY_BLOCK = {"cpu": 1024, "gpu": 16384, "tpu": 16384}
QUERY_BLOCK = {"cpu": 64, "gpu": 256, "tpu": 256}  # queries that attention takes at a time
Lens = bool | Translators
# Batches dispatched before the first result is waited for. On CPU they would run side by side, on
# the same cores and each with temporaries of its own.
_IN_FLIGHT = {"cpu": 0, "gpu": 2, "tpu": 2}
_PROGRAMS = 8  # architectures whose compiled programs are kept


class Scorer:
    """Compiled programs of one architecture, reused for every checkpoint that shares it."""

    def __init__(
        self,
        graph: nnx.GraphDef,
        *,
        vocabulary_block: int,
        query_block: int = QUERY_BLOCK["cpu"],
        dtype: str = "float32",
        mesh: Mesh | None = None,
    ):
        self.compilations = 0  # one for each shape of batch
        self._programs: dict[tuple, jax.stages.Compiled] = {}
        self._last: tuple[Tokens, int, Plan] | None = None
        self.mesh = mesh

        def logp(
            params: nnx.State,
            inputs: Inputs,
            target_BT: jax.Array,
            translators: Translators | None,
            *,
            reach: int,
            lens: bool,
        ):
            self.compilations += 1  # runs only while JAX traces
            decoder: Decoder = nnx.merge(graph, params)
            if mesh is not None:
                decoder = nnx.merge(graph, gathered_ends(params, decoder.spec))
            spec = decoder.spec

            def read(x_BTD: jax.Array, translator: Translators | None = None) -> jax.Array:
                if translator is not None:
                    x_BTD = translated(x_BTD, translator)
                hidden_BTE = decoder.unembedded(x_BTD)
                logp_N = target_logp(
                    hidden_BTE.reshape(-1, hidden_BTE.shape[-1]),
                    decoder.head_VE,
                    target_BT.reshape(-1),
                    block=vocabulary_block,
                    size=spec.V if spec.held_V else None,
                    bias_V=None if decoder.head_bias is None else decoder.head_bias[...],
                    adjust=decoder.adjusted,
                )
                return logp_N.reshape(target_BT.shape)

            with texts_apart(inputs), computing_in(dtype):
                x_BTD, logp_LBT = decoder.residual(
                    inputs,
                    reach=reach,
                    block=query_block,
                    read=read if lens else None,
                    beside=translators,
                )
                logp_1BT = read(x_BTD)[None]
            return jnp.concatenate([logp_LBT, logp_1BT]) if lens else logp_1BT

        if mesh is None:
            self._logp = jax.jit(logp, static_argnames=("reach", "lens"))
            return

        def over_mesh(params, inputs, target_BT, translators, *, reach: int, lens: bool):
            spec = nnx.merge(graph, params).spec
            rows, everywhere = PartitionSpec(ROWS), PartitionSpec()
            return jax.shard_map(
                partial(logp, reach=reach, lens=lens),
                mesh=mesh,
                in_specs=(manual(params, spec, axes_of(mesh)), rows, rows, everywhere),
                out_specs=PartitionSpec(None, ROWS),
                axis_names=set(ROWS),
                check_vma=False,
            )(params, inputs, target_BT, translators)

        # One process sees all results anyhow; of several, each keeps them all.
        results = NamedSharding(mesh, PartitionSpec()) if jax.process_count() > 1 else None
        self._logp = jax.jit(over_mesh, static_argnames=("reach", "lens"), out_shardings=results)

    def logp_RBT(self, params: nnx.State, batch: Batch, *, lens: Lens = False) -> jax.Array:
        """log p(target) in nats at every place of a batch, float32 [R, B, T]; junk at padding.

        R is 1, the model's output; with the lens L + 1, from the embedding to the output. An
        earlier layer is read as the last one is: through the final norm, its statistics taken on
        that layer's state, and all that follows it (logit lens, nostalgebraist 2020); translators
        change its state first (tuned lens).
        """
        args = (params, *self._given(batch, lens))
        return self._program(args, batch.reach, lens is not False)(*args)

    def packed(self, tokens: Tokens, batch_tokens: int | None, width: int) -> Plan:
        """How texts lie in batches; the last answer is kept, for the checkpoints that follow."""
        batch_tokens = batch_tokens or BATCH_TOKENS[jax.default_backend()]
        last = self._last
        if last is None or last[0] is not tokens or last[1] != batch_tokens:
            pieces = 1 if self.mesh is None else axes_of(self.mesh).rows
            packed = plan(tokens, batch_tokens=batch_tokens, pieces=pieces, width=width)
            last = self._last = (tokens, batch_tokens, packed)
        return last[2]

    def lower(self, params: nnx.State, batch: Batch, *, lens: Lens = False) -> jax.stages.Lowered:
        """The program for batches of this shape before it is compiled, to look into."""
        static = dict(reach=batch.reach, lens=lens is not False)
        return self._logp.lower(params, *self._given(batch, lens), **static)

    def lower_shape(
        self, params: nnx.State, B: int, T: int, *, lens: bool = False
    ) -> jax.stages.Lowered:
        """The same for B rows of T tokens, texts as long as a row; params may be shapes."""
        return self._logp.lower(params, *self._shapes(B, T), reach=T, lens=lens)

    def compile(self, params: nnx.State, B: int, T: int, reach: int, *, lens: bool) -> None:
        """Makes the program for batches of this shape, if there is none; params may be shapes."""
        self._program((params, *self._shapes(B, T)), reach, lens)

    def _program(self, args: tuple, reach: int, lens: bool) -> jax.stages.Compiled:
        leaves, tree = jax.tree.flatten(args)
        key = (tree, tuple((leaf.shape, leaf.dtype) for leaf in leaves), reach, lens)
        if key not in self._programs:
            lowered = self._logp.lower(*args, reach=reach, lens=lens)
            self._programs[key] = lowered.compile()
            del lowered
            give_back()  # as much as a small model's weights
        return self._programs[key]

    def _shapes(self, B: int, T: int) -> tuple[Inputs, Any, None]:
        cut = None if self.mesh is None else NamedSharding(self.mesh, PartitionSpec(ROWS))
        tokens: Any = jax.ShapeDtypeStruct((B, T), jnp.int32, sharding=cut)
        return Inputs(tokens, tokens, tokens, tokens), tokens, None

    def _given(self, batch: Batch, lens: Lens) -> tuple[Inputs, jax.Array, Translators | None]:
        arrays = (batch.ids_BT, batch.segment_BT, batch.position_BT, batch.length_BT)
        translators = None if isinstance(lens, bool) else lens
        if self.mesh is None:
            return Inputs(*map(jnp.asarray, arrays)), jnp.asarray(batch.target_BT), translators
        cut = NamedSharding(self.mesh, PartitionSpec(ROWS))

        def placed(array: np.ndarray) -> jax.Array:  # a process's own rows only
            return jax.make_array_from_callback(array.shape, cut, array.__getitem__)

        if translators is not None:
            translators = jax.device_put(translators, NamedSharding(self.mesh, PartitionSpec()))
        return Inputs(*map(placed, arrays)), placed(batch.target_BT), translators


class Scorers:
    """Scorers by architecture and dtype; the longest unused is dropped, its programs with it."""

    def __init__(self, capacity: int = _PROGRAMS):
        self._capacity = capacity
        self._lock = threading.Lock()  # one thread loads while another scores
        self._scorers: OrderedDict[tuple, Scorer] = OrderedDict()

    def of(self, model: Model) -> Scorer:
        """The scorer for a model; models of one structure and dtype share one."""
        key = (model.graph, model.dtype, model.mesh)
        with self._lock:
            if key not in self._scorers:
                platform = jax.default_backend()
                self._scorers[key] = Scorer(
                    model.graph,
                    vocabulary_block=VOCABULARY_BLOCK[platform],
                    query_block=QUERY_BLOCK[platform],
                    dtype=model.dtype,
                    mesh=model.mesh,
                )
                while len(self._scorers) > self._capacity:
                    self._scorers.popitem(last=False)
            self._scorers.move_to_end(key)
            return self._scorers[key]


def compile_for(
    scorer: Scorer, model: Model, tokens: Tokens, *, lens: bool, batch_tokens: int | None
) -> None:
    """Makes the programs that `score_rows` will want; the model's params may be shapes."""
    packed = scorer.packed(tokens, batch_tokens, model.spec.D)
    for B, T, reach in packed.shapes:
        scorer.compile(model.params, B, T, reach, lens=lens)


def score_tokens(scorer: Scorer, model: Model, tokens: Tokens, **options: Any) -> np.ndarray:
    """Log-likelihood of each text in nats, float64 [N]; the options are those of `score_rows`."""
    return score_rows(scorer, model, tokens, **options)[0]


def score_rows(
    scorer: Scorer,
    model: Model,
    tokens: Tokens,
    *,
    lens: Lens = False,
    batch_tokens: int | None = None,
    desc: str = "score",
    partial: Partial | None = None,
    stop: Callable[[], bool] = lambda: False,
    tell: Callable[[int, int], object] = lambda done, of: None,
    same: Callable[[np.ndarray], np.ndarray] = lambda done_B: done_B,
) -> np.ndarray:
    """Log-likelihood of each text in nats, float64 [R, N], with a progress bar.

    A text's score is the float64 sum of its own tokens' float32 log-probabilities, so nothing of
    its neighbours in a row or a batch enters but rounding inside the model.

    Args:
      scorer: from `Scorers.of(model)`.
      model: the model.
      tokens: the text set, cut to the model's context.
      lens: whether to read every layer, or the translators to read them with: R is L + 1, the
        embedding first, the model's own output last; else R is 1.
      batch_tokens: tokens of a batch, or of the piece of it that a mesh gives each group of
        devices; None: a default for the device.
      desc: what the bar says.
      partial: keeps what is done, and may know what was done before.
      stop: asked before every batch; when true, what is under way is finished and saved.
      tell: is told after every batch how many texts are done, and of how many.
      same: of several processes that score together, makes what is done the same in all.

    Raises InputError if an id is outside the vocabulary or a score is not finite, Stopped when
    told to stop.
    """
    if tokens.ids.size and (largest := int(tokens.ids.max())) >= model.spec.V:
        raise InputError(
            f"the tokenizer gives id {largest}, but the model's vocabulary has {model.spec.V} "
            "entries: tokenizer and weights do not belong together"
        )
    packed = scorer.packed(tokens, batch_tokens, model.spec.D)
    rows = 1 if lens is False else model.spec.L + 1
    total_RN, done_B = np.zeros((rows, len(tokens))), np.zeros(packed.num_batches, bool)
    if partial is not None:
        partial.begin(packed, rows, len(tokens))
        total_RN, done_B = partial.total_RN, partial.done_B
    skip_B = same(done_B)
    waiting: deque[tuple[int, Batch, jax.Array]] = deque()
    num_tokens = 0
    with progress(len(tokens), desc, "text") as bar:

        def collect() -> None:
            nonlocal num_tokens
            i, batch, logp_RBT = waiting.popleft()
            for total_N, logp_BT in zip(total_RN, np.asarray(logp_RBT), strict=True):
                total_N[batch.text] = _sums(batch, logp_BT)
            num_tokens += batch.num_places
            if partial is not None:
                partial.note(i)
            bar.update(len(batch.text))
            tell(int(bar.n), len(tokens))
            elapsed = bar.format_dict["elapsed"] or 1e-9
            bar.set_postfix_str(f"{num_tokens / elapsed:,.0f} tokens/s", refresh=False)

        stopped = False
        for i, batch in enumerate(batches(tokens, packed)):
            if skip_B[i]:
                bar.update(len(batch.text))
                continue
            if stopped := stop():
                break
            waiting.append((i, batch, scorer.logp_RBT(model.params, batch, lens=lens)))
            if len(waiting) > _IN_FLIGHT[jax.default_backend()]:
                collect()
        while waiting:
            collect()
        if stopped:
            if partial is not None:
                partial.save()
            raise Stopped
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
            + ("; try `dtype=float32` or bfloat16" if dtype == "float16" else "")
        )


def _sums(batch: Batch, logp_BT: np.ndarray) -> np.ndarray:
    """Each text's sum over its scored places, float64 [P]."""
    T = logp_BT.shape[1]
    flat = np.append(logp_BT.astype(np.float64).reshape(-1), 0.0)
    bounds = np.stack([batch.row * T + batch.first, batch.row * T + batch.stop], axis=1)
    return np.add.reduceat(flat, bounds.reshape(-1))[::2]
