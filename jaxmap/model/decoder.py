"""One decoder for every causal language model; a `Spec` says which architecture it has."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxmap.model.block import Block, KeysValues, norm_of
from jaxmap.model.hierarchy import Hierarchy
from jaxmap.model.inputs import Geometry, Inputs, LayerFacts
from jaxmap.model.layer_kind import Kind
from jaxmap.model.layers.altup import Expansion
from jaxmap.model.layers.gated_residual import GatedEnds
from jaxmap.model.layers.hyper_connections import StreamEnds
from jaxmap.model.layers.layer_embedding import LayerEmbeddings
from jaxmap.model.layers.linear import Linear, activated, activations_dtype, contract, parameter
from jaxmap.model.layers.logits import LogitAdjustment
from jaxmap.model.layers.residual_affine import shifted
from jaxmap.model.mesh import gathered
from jaxmap.model.mlps.dense import ACTIVATIONS
from jaxmap.model.shared_block import Adapters, SharedBlock
from jaxmap.model.spec import Spec

# The residual stream, and the state of the last layer's router where routers have one.
Carry = tuple[jax.Array, jax.Array | None]

QUERY_BLOCK = 64  # queries that attention takes at a time


class Decoder(nnx.Module):
    """Embedding, L blocks, final norm, head.

    Neighbouring blocks of one kind are stacked on a leading axis and scanned: compiling takes as
    long for 80 layers as for 8, and a function of the residual stream can be read off at every
    layer in the same pass.
    """

    def __init__(self, spec: Spec, *, dtype=jnp.float32, rngs: nnx.Rngs):
        self.spec = spec
        table = nnx.initializers.normal(0.02)
        E = spec.embed_D or spec.D
        make = dict(dtype=dtype, rngs=rngs)
        rows, letters = spec.padded_V or spec.V, "ve" if spec.embed_D else "vd"
        self.embed = parameter(table(rngs.params(), (rows, E), dtype), letters)
        self.embed_in = Linear("bte,ed->btd", (E, spec.D), **make) if spec.embed_D else None
        affine = spec.embed_affine
        self.embed_scale = parameter(jnp.ones((spec.D,), dtype), "d") if affine else None
        shift = affine or spec.embed_bias
        self.embed_shift = parameter(jnp.zeros((spec.D,), dtype), "d") if shift else None
        own = dict(scale=spec.embed_norm_scale)
        self.embed_norm = norm_of(spec, spec.D, dtype, **own) if spec.embed_norm else None
        self.positions = (
            parameter(table(rngs.params(), (spec.positions, spec.D), dtype), "pd")
            if spec.positions
            else None
        )

        self.layer_embeddings = LayerEmbeddings(spec, **make) if spec.layer_embedding else None
        self.streams = _ends_of_streams(spec, dtype, rngs)

        def stack(kind: Kind, count: int) -> Block:
            @nnx.split_rngs(splits=count)
            @nnx.vmap(in_axes=0, out_axes=0)
            def blocks(rngs: nnx.Rngs) -> Block:
                return Block(spec, kind, dtype=dtype, rngs=rngs)

            return blocks(rngs)

        self.blocks = nnx.List([stack(kind, stop - start) for kind, start, stop in spec.stacks()])
        self.hierarchy = Hierarchy(spec, dtype=dtype) if spec.hierarchical else None
        count = (0, 0) if spec.shared is None else (spec.shared.blocks, spec.shared.layers)
        self.shared = nnx.List([SharedBlock(spec, **make) for _ in range(count[0])])
        adapted = count[1] if spec.shared is not None and spec.shared.rank else 0
        self.adapters = nnx.List([Adapters(spec, **make) for _ in range(adapted)])
        self.final_norm = (
            norm_of(
                spec,
                spec.D,
                dtype,
                spec.final_eps,
                bias=spec.final_bias,
                offset=spec.final_offset,
            )
            if spec.final_norm
            else None
        )
        self.embed_out = Linear("...d,de->...e", (spec.D, E), **make) if spec.embed_D else None
        in_bias = (spec.D,) if spec.head_in_bias else None
        self.head_in = (
            Linear("...d,dz->...z", (spec.D, spec.D), bias=in_bias, **make)
            if spec.head_in_act
            else None
        )
        self.head_norm = norm_of(spec, spec.D, dtype) if spec.head_in_act else None
        self.head = (
            None if spec.tied else parameter(table(rngs.params(), (rows, E), dtype), letters)
        )
        self.head_bias = parameter(jnp.zeros((rows,), dtype), "v") if spec.head_bias else None

    @property
    def head_VE(self) -> jax.Array:
        """The unembedding matrix, by which states from `unembedded` are multiplied, [V, E]."""
        head_VE = self.embed[...] if self.head is None else self.head[...]
        if self.spec.head_normed:
            square_VE = jnp.square(head_VE.astype(jnp.float32))
            length_V1 = jnp.sqrt(jnp.sum(square_VE, axis=-1, keepdims=True))
            head_VE = activated(head_VE) / jnp.maximum(length_V1, 1e-12)
            head_VE = head_VE.astype(activations_dtype(self.embed[...]))
        return head_VE

    def _shared(
        self,
        embedded_BTD: jax.Array,
        number: int,
        x_BTD: jax.Array,
        geometry: Geometry,
        facts: LayerFacts,
    ) -> jax.Array:
        """The shared block of the layer with this number, see `Geometry.shared`."""
        block = self.shared[number % len(self.shared)]
        adapters = self.adapters[number] if self.adapters else None
        return block(x_BTD, embedded_BTD, adapters, geometry, facts)

    def embedded(self, inputs: Inputs) -> jax.Array:
        """The residual stream before the first block, x_BTD."""
        spec = self.spec
        x_BTD = activated(self.embed[...][inputs.ids_BT])
        if spec.embed_scale != 1:
            x_BTD = x_BTD * jnp.asarray(spec.embed_scale, x_BTD.dtype)
        if self.embed_in is not None:
            x_BTD = self.embed_in(x_BTD, inputs)
        if self.embed_scale is not None and self.embed_shift is not None:
            x_BTD = shifted(x_BTD, self.embed_scale, self.embed_shift)
        elif self.embed_shift is not None:
            x_BTD = x_BTD + self.embed_shift[...].astype(x_BTD.dtype)
        if self.positions is not None:
            x_BTD = x_BTD + self.positions[...][inputs.position_BT + spec.position_offset]
        if spec.sinusoids:
            place_BT = (inputs.position_BT + spec.position_offset).astype(jnp.float32)
            angle_BTX = place_BT[..., None] * jnp.asarray(spec.sinusoids, jnp.float32)
            waves_BTD = jnp.concatenate([jnp.sin(angle_BTX), jnp.cos(angle_BTX)], axis=-1)
            x_BTD = x_BTD + waves_BTD.astype(x_BTD.dtype)
        return x_BTD if self.embed_norm is None else self.embed_norm(x_BTD)

    def residual(
        self,
        inputs: Inputs,
        *,
        reach: int | None = None,
        block: int = QUERY_BLOCK,
        platform: str = "",
        adaptive: bool = False,
        read: Callable[..., Any] | None = None,
        beside: Any = None,
    ) -> tuple[jax.Array, Any]:
        """Runs the blocks over a batch.

        Returns the residual stream after the last block, x_BTD (x_BTPD with several streams), and
        the results of `read`.

        Args:
          inputs: a batch of packed texts.
          reach: an upper bound on the number of tokens of a text; None: the length of a row.
          block: the number of queries that attention computes at a time.
          platform, adaptive: see `Geometry`.
          read: a function of x_BTD that is called before each block, inside the scan. Its results
            are stacked on a leading axis of L; entry 0 comes from the embedding.
          beside: arrays with a leading axis of L. `read` gets each layer's slice as its second
            argument.
        """
        geometry = self._geometry(inputs, reach, block, platform, adaptive)
        x_BTD, embedding_LBTP = self._start(inputs)
        taps = []
        kept: dict[str, KeysValues] = {}
        state_BTR = None
        if self.spec.router_width:
            state_BTR = jnp.zeros((*x_BTD.shape[:2], self.spec.router_width), jnp.float32)
        states = None if self.hierarchy is None else self.hierarchy.start(x_BTD)
        for stack, kind, start, stop in self.spec.runs():
            if self.hierarchy is not None and states is not None:
                if start:  # after the run before
                    states = self.hierarchy.left(self.spec.kinds[start - 1].stack, x_BTD, states)
                x_BTD = self.hierarchy.entered(states)
            facts, of = LayerFacts.of(self.spec, start, stop), slice(start, stop)
            if embedding_LBTP is not None:
                facts = dataclasses.replace(facts, embedding_BTP=embedding_LBTP[of])
            own = () if beside is None else (jax.tree.map(operator.itemgetter(of), beside),)
            earlier = kept[kind.reads] if kind.reads else None
            (x_BTD, state_BTR), (tap, keys_values) = self._through(
                self.blocks[stack], (x_BTD, state_BTR), geometry, facts, read, own, earlier
            )
            if kind.keeps:
                kept[kind.keeps] = jax.tree.map(operator.itemgetter(-1), keys_values)
            taps.append(tap)
        if read is None:
            return x_BTD, None
        return x_BTD, jax.tree.map(lambda *parts: jnp.concatenate(parts), *taps)

    def residual_start(self, inputs: Inputs) -> jax.Array:
        """The residual stream before the first block in its own dtype, x_BTD."""
        return self._start(inputs)[0]

    def _start(self, inputs: Inputs) -> tuple[jax.Array, jax.Array | None]:
        """The residual stream before the first block, and each layer's embedding of each token.

        Their shapes are x_BTD (x_BTPD with several streams) and [L, B, T, P]; None instead of the
        second in models without such embeddings.
        """
        x_BTD = self.embedded(inputs)
        if self.spec.residual_float32:
            x_BTD = x_BTD.astype(jnp.float32)
        embedding_LBTP = None
        if self.layer_embeddings is not None:
            embedding_LBTP = self.layer_embeddings(inputs, x_BTD)
        if self.streams is not None:
            x_BTD = self.streams.expanded(x_BTD, inputs)
        return x_BTD, embedding_LBTP

    def residual_through(
        self,
        stack: int,
        x_BTD: jax.Array,
        inputs: Inputs,
        facts: LayerFacts,
        *,
        reach: int,
        block: int = QUERY_BLOCK,
        platform: str = "",
    ) -> jax.Array:
        """The residual stream after layers of one stack, x_BTD.

        The stack's parameters may be those of some of its layers only.

        Args:
          stack: an index of `blocks`.
          x_BTD: the residual stream before them.
          inputs, reach, block, platform: see `residual`.
          facts: of these layers.
        """
        geometry = self._geometry(inputs, reach, block, platform)
        return self._through(self.blocks[stack], (x_BTD, None), geometry, facts)[0][0]

    def _geometry(
        self,
        inputs: Inputs,
        reach: int | None,
        block: int,
        platform: str,
        adaptive: bool = False,
    ) -> Geometry:
        T = inputs.ids_BT.shape[1]
        geometry = Geometry.of(
            self.spec,
            inputs,
            reach=min(reach or T, T),
            block=block,
            platform=platform,
            adaptive=adaptive,
        )
        if not self.shared:
            return geometry
        return dataclasses.replace(geometry, shared=partial(self._shared, self.embedded(inputs)))

    def _through(
        self,
        blocks: Block,
        before: Carry,
        geometry: Geometry,
        facts: LayerFacts,
        read: Callable[..., Any] | None = None,
        own: tuple = (),
        earlier: KeysValues | None = None,
    ) -> tuple[Carry, Any]:
        """Runs stacked blocks; returns the carry and, per layer, `read`'s result and what is kept.

        Args:
          before: the residual stream and the router's state before these blocks.
          own: the part of `beside` that belongs to these blocks.
          earlier: keys and values of an earlier layer that these blocks use (`Kind.reads`).
        """
        graph, weights = nnx.split(blocks)

        def layer(carry: Carry, scanned):
            weights, facts, beside = scanned
            x_BTD, state_BTR = carry
            facts = dataclasses.replace(facts, keys_values=earlier, router_BTR=state_BTR)
            tap = None if read is None else read(x_BTD, *beside)
            block = nnx.merge(graph, gathered(weights, self.spec))
            x_BTD, passed = block(x_BTD, geometry, facts)
            return (x_BTD, passed.router_BTR), (tap, passed.keys_values)

        return jax.lax.scan(layer, before, (weights, facts, own))

    def unembedded(self, x_BTD: jax.Array, inputs: Inputs) -> jax.Array:
        """The states that the head multiplies: the residual stream, normalised and projected."""
        if self.streams is not None:
            x_BTD = self.streams.averaged(x_BTD, inputs)
        h_BTD = x_BTD if self.final_norm is None else self.final_norm(x_BTD)
        # A float32 residual stream ends here.
        h_BTD = h_BTD.astype(activations_dtype(self.embed[...]))
        if self.head_in is not None and self.head_norm is not None:
            h_BTD = self.head_norm(ACTIVATIONS[self.spec.head_in_act](self.head_in(h_BTD, inputs)))
        return h_BTD if self.embed_out is None else self.embed_out(h_BTD, inputs)

    @property
    def adjust(self) -> LogitAdjustment:
        """The function that the model applies to its logits after the head."""
        return LogitAdjustment(self.spec.logit_scale, self.spec.logit_softcap)

    def logits(self, ids_BT: jax.Array) -> jax.Array:
        """All logits at once, float32 [B, T, V], one text per row: for training and tests."""
        inputs = Inputs.from_ids(ids_BT)
        x_BTD, _ = self.residual(inputs)
        logits_BTV = contract(
            "bte,ve->btv", self.unembedded(x_BTD, inputs), self.head_VE, out_dtype=jnp.float32
        )
        return self.adjust(logits_BTV, None if self.head_bias is None else self.head_bias[...])


def _ends_of_streams(
    spec: Spec, dtype, rngs: nnx.Rngs
) -> Expansion | StreamEnds | GatedEnds | None:
    """What makes several residual streams of one before the first layer, and one after the last."""
    if spec.altup is not None:
        return Expansion(spec, dtype=dtype, rngs=rngs)
    if spec.gated_streams is not None:
        return GatedEnds(spec, dtype=dtype, rngs=rngs)
    return None if spec.hyper is None else StreamEnds(spec, rngs=rngs)


def abstract(spec: Spec, dtype=jnp.float32) -> tuple[nnx.GraphDef, nnx.State]:
    """The decoder's structure and the shapes of its parameters, with nothing allocated."""
    return nnx.split(nnx.eval_shape(lambda: Decoder(spec, dtype=dtype, rngs=nnx.Rngs(0))))


def named(params: nnx.State) -> dict[str, nnx.Variable]:
    """The parameters by path, such as "blocks/0/attn/q/kernel", in a fixed order."""
    return {"/".join(map(str, path)): leaf for path, leaf in nnx.to_flat_state(params)}


def from_named(leaves: dict[str, nnx.Variable]) -> nnx.State:
    """The inverse of `named`."""
    return nnx.from_flat_state(
        [
            (tuple(int(part) if part.isdigit() else part for part in path.split("/")), leaf)
            for path, leaf in leaves.items()
        ]
    )
