"""One decoder for every causal family; the Spec says which."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxmap.model.attention import Attention
from jaxmap.model.inputs import Geometry, Inputs, LayerFacts
from jaxmap.model.linear import contract
from jaxmap.model.mlp import Mlp
from jaxmap.model.norms import Norm
from jaxmap.model.spec import NORM_SLOTS, Spec

QUERY_BLOCK = 64  # queries that attention takes at a time; measured in benchmarks/attention.py


class Block(nnx.Module):
    """One layer, x_BTD -> x_BTD. An absent norm slot is the identity."""

    def __init__(self, spec: Spec, *, dtype, rngs: nnx.Rngs):
        self.parallel = spec.parallel
        for slot in NORM_SLOTS:
            norm = _norm(spec, dtype) if slot in spec.norms else None
            setattr(self, slot, norm)
        self.attn = Attention(spec, dtype=dtype, rngs=rngs)
        self.mlp = Mlp(spec, dtype=dtype, rngs=rngs)

    def _normed(self, slot: str, x: jax.Array) -> jax.Array:
        norm = getattr(self, slot)
        return x if norm is None else norm(x)

    def __call__(self, x_BTD: jax.Array, geometry: Geometry, facts: LayerFacts) -> jax.Array:
        attn = self.attn(self._normed("attn_in", x_BTD), geometry, facts)
        attn = self._normed("attn_out", attn)
        u_BTD = x_BTD if self.parallel else x_BTD + attn
        mlp = self._normed("mlp_out", self.mlp(self._normed("mlp_in", u_BTD)))
        return x_BTD + attn + mlp if self.parallel else u_BTD + mlp


def _norm(spec: Spec, dtype) -> Norm:
    return Norm(spec.norm, spec.D, eps=spec.eps, bias=spec.norm_bias, dtype=dtype)


class Decoder(nnx.Module):
    """Embedding, L blocks stacked on a leading axis and scanned, final norm, head.

    Compiling takes as long for 80 layers as for 8, and a function of the residual stream can be
    read off at every layer in the same pass.
    """

    def __init__(self, spec: Spec, *, dtype=jnp.float32, rngs: nnx.Rngs):
        self.spec = spec
        table = nnx.initializers.normal(0.02)
        self.embed = nnx.Param(table(rngs.params(), (spec.V, spec.D), dtype))
        self.positions = (
            nnx.Param(table(rngs.params(), (spec.positions, spec.D), dtype))
            if spec.positions
            else None
        )

        @nnx.split_rngs(splits=spec.L)
        @nnx.vmap(in_axes=0, out_axes=0)
        def stack(rngs: nnx.Rngs) -> Block:
            return Block(spec, dtype=dtype, rngs=rngs)

        self.blocks = stack(rngs)
        self.final_norm = _norm(spec, dtype)
        self.head = None if spec.tied else nnx.Param(table(rngs.params(), (spec.V, spec.D), dtype))

    @property
    def head_VD(self) -> jax.Array:
        """The unembedding: logits are final_norm(x) @ head_VD.T."""
        return self.embed[...] if self.head is None else self.head[...]

    def residual(
        self,
        inputs: Inputs,
        *,
        reach: int | None = None,
        block: int = QUERY_BLOCK,
        read: Callable[[jax.Array], Any] | None = None,
    ) -> tuple[jax.Array, Any]:
        """The residual stream after the last block, x_BTD, and `read` of it after every block.

        Args:
          inputs: a batch of packed texts.
          reach: tokens of the longest text of the batch, or more; None: a whole row.
          block: queries that attention takes at a time.
          read: applied to x_BTD after each block, inside the scan; its results are stacked on a
            leading axis of L.
        """
        spec = self.spec
        T = inputs.ids_BT.shape[1]
        geometry = Geometry.of(spec, inputs, reach=reach or T, block=block)
        x_BTD = self.embed[...][inputs.ids_BT]
        if self.positions is not None:
            x_BTD = x_BTD + self.positions[...][inputs.position_BT]
        graph, weights = nnx.split(self.blocks)

        def layer(x_BTD, scanned):
            weights, facts = scanned
            x_BTD = nnx.merge(graph, weights)(x_BTD, geometry, facts)
            return x_BTD, None if read is None else read(x_BTD)

        return jax.lax.scan(layer, x_BTD, (weights, LayerFacts.of(spec)))

    def logits(self, ids_BT: jax.Array) -> jax.Array:
        """All logits at once, float32 [B, T, V], one text a row: for training and tests."""
        x_BTD, _ = self.residual(Inputs.from_ids(ids_BT))
        return contract("btd,vd->btv", self.final_norm(x_BTD), self.head_VD, out_dtype=jnp.float32)


def abstract(spec: Spec, dtype=jnp.float32) -> tuple[nnx.GraphDef, nnx.State]:
    """The decoder's structure and the shapes of its parameters, with nothing allocated."""
    return nnx.split(nnx.eval_shape(lambda: Decoder(spec, dtype=dtype, rngs=nnx.Rngs(0))))


def named(params: nnx.State) -> dict[str, nnx.Variable]:
    """The parameters by path, "blocks/attn/q/kernel", in a fixed order."""
    return {"/".join(map(str, path)): leaf for path, leaf in nnx.to_flat_state(params)}


def from_named(leaves: dict[str, nnx.Variable]) -> nnx.State:
    """`named` backwards."""
    return nnx.from_flat_state([(tuple(path.split("/")), leaf) for path, leaf in leaves.items()])
