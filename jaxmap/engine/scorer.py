"""Compiled programs that score batches, one for each architecture and shape of a batch."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxmap.checkpoint.host_memory import give_back
from jaxmap.checkpoint.weights import Model
from jaxmap.corpus.batches import Batch, BatchPlan, plan
from jaxmap.corpus.tokens import Tokens
from jaxmap.engine.forward import Forward
from jaxmap.engine.statistics import DEFAULT
from jaxmap.engine.translators import Translators
from jaxmap.engine.unembedding import Reference, Unembedding
from jaxmap.model.inputs import Inputs
from jaxmap.model.mesh import ROWS, axes_of

BATCH_TOKENS = {"cpu": 2048, "gpu": 16384, "tpu": 16384}
VOCABULARY_BLOCK = {"cpu": 1024, "gpu": 16384, "tpu": 16384}
QUERY_BLOCK = {"cpu": 64, "gpu": 256, "tpu": 256}  # queries that attention computes at a time
Lens = bool | Translators


def kernels_for(platform: str) -> dict[str, Any]:
    """How a platform's programs are cut, as `Scorer` takes it."""
    return dict(
        vocabulary_block=VOCABULARY_BLOCK[platform],
        query_block=QUERY_BLOCK[platform],
        platform="" if platform == "cpu" else platform,
    )


Compiling: TypeAlias = Callable[[], AbstractContextManager[object]]
_PROGRAMS = 8  # the number of architectures whose compiled programs are kept


class Scorer:
    """Compiled programs of one architecture, which all checkpoints of it share.

    Args:
      graph: the structure of the models.
      vocabulary_block, query_block, dtype, mesh, platform: see `Forward`.
      compiling: returns a context in which each program is compiled.

    Fields:
      compilations: the number of compiled programs, one for each batch shape and set of statistics.
    """

    def __init__(
        self,
        graph: nnx.GraphDef,
        *,
        vocabulary_block: int,
        query_block: int = QUERY_BLOCK["cpu"],
        dtype: str = "float32",
        mesh: Mesh | None = None,
        platform: str = "",
        compiling: Compiling = nullcontext,
    ):
        self.mesh = mesh
        self._compiling = compiling
        self.compilations = 0
        self._programs: dict[tuple, jax.stages.Compiled] = {}
        self._last: tuple[Tokens, int, BatchPlan] | None = None
        forward = Forward(graph, vocabulary_block, query_block, dtype, mesh, platform)

        def score(params, inputs, target_BT, translators, reference, **static):
            self.compilations += 1  # runs only while JAX traces
            return forward.statistics(params, inputs, target_BT, translators, reference, **static)

        # With several processes, each gets all results.
        everywhere = None
        if mesh is not None and jax.process_count() > 1:
            everywhere = NamedSharding(mesh, PartitionSpec())
        self._score = jax.jit(
            score,
            static_argnames=("reach", "lens", "statistics"),
            out_shardings=everywhere,
        )
        self._states = jax.jit(forward.states, static_argnames="reach")
        self._unembedding = jax.jit(forward.unembedding)

    def score_batch(
        self,
        params: nnx.State,
        batch: Batch,
        *,
        lens: Lens = False,
        statistics: tuple[str, ...] = DEFAULT,
        reference: Reference | None = None,
    ) -> dict[str, jax.Array]:
        """The statistics of every token of a batch by name, [R, B, T]; meaningless at padding.

        R is 1, the model's output, or with the lens L + 1, from the embedding to the output. The
        lens applies the final norm and the head to an earlier layer's state (logit lens,
        nostalgebraist 2020); translators are applied to the state first (tuned lens). Statistics
        that compare with a reference do so at each layer; without a reference, the lens compares
        with the model's own output.
        """
        args = (params, *self._on_devices(batch, lens), reference)
        return self._program(args, batch.reach, lens is not False, statistics)(*args)

    def packed(self, tokens: Tokens, batch_tokens: int | None, width: int) -> BatchPlan:
        """The arrangement of texts in batches; the last one is kept for the next checkpoints."""
        batch_tokens = batch_tokens or BATCH_TOKENS[jax.default_backend()]
        last = self._last
        if last is None or last[0] is not tokens or last[1] != batch_tokens:
            pieces = 1 if self.mesh is None else axes_of(self.mesh).rows
            packed = plan(tokens, batch_tokens=batch_tokens, pieces=pieces, width=width)
            last = self._last = (tokens, batch_tokens, packed)
        return last[2]

    def lower(
        self,
        params: nnx.State,
        batch: Batch,
        *,
        lens: Lens = False,
        statistics: tuple[str, ...] = DEFAULT,
    ) -> jax.stages.Lowered:
        """The program for batches of this shape before it is compiled, for inspection."""
        static = dict(reach=batch.reach, lens=lens is not False, statistics=statistics)
        return self._score.lower(params, *self._on_devices(batch, lens), None, **static)

    def states(self, params: nnx.State, batch: Batch) -> jax.Array:
        """The final hidden states of a batch, [B, T, E], for a `Reference`."""
        inputs, _, _ = self._on_devices(batch, False)
        return self._states(params, inputs, reach=batch.reach)

    def unembedding(self, params: nnx.State) -> Unembedding:
        """The map from `states` to logits."""
        return self._unembedding(params)

    def trace_shape(
        self,
        params: nnx.State,
        B: int,
        T: int,
        *,
        reach: int | None = None,
        lens: bool = False,
        statistics: tuple[str, ...] = DEFAULT,
    ) -> jax.stages.Traced:
        """The program for B rows of T tokens; the parameters may be shapes.

        Texts have at most `reach` tokens; None: a row is one text.
        """
        shapes = self.shapes(B, T)
        return self.traced(params, *shapes, reach=reach or T, lens=lens, statistics=statistics)

    def traced(self, *args: Any, reach: int, lens: bool, statistics: tuple[str, ...]) -> Any:
        """The program for these arguments, which may be shapes."""
        return self._score.trace(*args, reach=reach, lens=lens, statistics=statistics)

    def compile(
        self,
        params: nnx.State,
        B: int,
        T: int,
        reach: int,
        *,
        lens: bool,
        statistics: tuple[str, ...] = DEFAULT,
    ) -> None:
        """Compiles the program for batches of this shape, once; the parameters may be shapes."""
        self._program((params, *self.shapes(B, T)), reach, lens, statistics)

    def _program(
        self, args: tuple, reach: int, lens: bool, statistics: tuple[str, ...]
    ) -> jax.stages.Compiled:
        leaves, tree = jax.tree.flatten(args)
        key = (tree, tuple((leaf.shape, leaf.dtype) for leaf in leaves), reach, lens, statistics)
        if key not in self._programs:
            lowered = self._score.lower(*args, reach=reach, lens=lens, statistics=statistics)
            with self._compiling():
                self._programs[key] = lowered.compile()
            del lowered
            give_back()  # the compiler's memory, as much as the weights of a small model
        return self._programs[key]

    def shapes(self, B: int, T: int) -> tuple[Inputs, Any, None, None]:
        """The program's arguments beside the parameters, as shapes, for B rows of T tokens."""
        cut = None if self.mesh is None else NamedSharding(self.mesh, PartitionSpec(ROWS))
        tokens: Any = jax.ShapeDtypeStruct((B, T), jnp.int32, sharding=cut)
        return Inputs(tokens, tokens, tokens, tokens), tokens, None, None

    def _on_devices(self, batch: Batch, lens: Lens) -> tuple[Inputs, jax.Array, Translators | None]:
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
    """Scorers by architecture and dtype; the least recently used is dropped with its programs.

    Args:
      capacity: the number of scorers that are kept.
      compiling: returns a context in which each program is compiled.
    """

    def __init__(self, capacity: int = _PROGRAMS, *, compiling: Compiling = nullcontext):
        self._capacity = capacity
        self._compiling = compiling
        self._lock = threading.Lock()  # one thread loads while another scores
        self._scorers: OrderedDict[tuple, Scorer] = OrderedDict()

    def of(self, model: Model) -> Scorer:
        """The scorer for a model; models of equal structure and dtype share one."""
        key = (model.graph, model.dtype, model.mesh)
        with self._lock:
            if key not in self._scorers:
                self._scorers[key] = Scorer(
                    model.graph,
                    dtype=model.dtype,
                    mesh=model.mesh,
                    compiling=self._compiling,
                    **kernels_for(jax.default_backend()),
                )
                while len(self._scorers) > self._capacity:
                    self._scorers.popitem(last=False)
            self._scorers.move_to_end(key)
            return self._scorers[key]
