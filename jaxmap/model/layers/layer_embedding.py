"""Embeddings of a token for each layer by itself (`streams.LayerEmbedding`).

In array names, L is layers and P the channels of a layer's embedding.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import nnx

from jaxmap.model.inputs import Inputs, Positions
from jaxmap.model.layers.linear import Linear, activated, parameter
from jaxmap.model.layers.norms import Norm
from jaxmap.model.mlps.dense import ACTIVATIONS
from jaxmap.model.spec import Spec


class LayerEmbeddings(nnx.Module):
    """Tokens and their embedding x_BTD -> what each layer is given, [L, B, T, P].

    The sum of a row of a table and a normalised projection of the embedding, over sqrt(2).
    """

    def __init__(self, spec: Spec, *, dtype, rngs: nnx.Rngs):
        assert spec.layer_embedding is not None
        L, D, P = spec.L, spec.D, spec.layer_embedding.width
        V = spec.layer_embedding.V
        table = nnx.initializers.normal(0.02)(rngs.params(), (V, L, P), dtype)
        self.table = parameter(table, "vlp")
        self.project = Linear("btd,dlp->btlp", (D, L, P), dtype=dtype, rngs=rngs)
        self.norm = Norm("rms", (P,), eps=spec.eps, dtype=dtype)

    def __call__(self, inputs: Inputs, x_BTD: jax.Array) -> jax.Array:
        ids_BT = inputs.ids_BT
        table_VLP = self.table[...]
        V, _, P = table_VLP.shape
        row_BTLP = activated(table_VLP[jnp.where(ids_BT < V, ids_BT, 0)]) * math.sqrt(P)
        seen_BTLP = self.norm(self.project(x_BTD, inputs) * x_BTD.shape[-1] ** -0.5)
        return jnp.moveaxis((seen_BTLP + row_BTLP) * (1 / math.sqrt(2)), 2, 0)


class EmbeddingBranch(nnx.Module):
    """A layer's last branch: norm(project(act(gate(x)) * embedding)), x_BTD -> x_BTD."""

    def __init__(self, spec: Spec, *, dtype, rngs: nnx.Rngs):
        assert spec.layer_embedding is not None
        P, make = spec.layer_embedding.width, dict(dtype=dtype, rngs=rngs)
        self.act = spec.act
        self.gate = Linear("btd,dp->btp", (spec.D, P), **make)
        self.project = Linear("btp,pd->btd", (P, spec.D), **make)
        self.norm = Norm("rms", (spec.D,), eps=spec.eps, dtype=dtype)

    def __call__(
        self, x_BTD: jax.Array, embedding_BTP: jax.Array | None, where: Positions
    ) -> jax.Array:
        assert embedding_BTP is not None
        gated_BTP = ACTIVATIONS[self.act](self.gate(x_BTD, where)) * embedding_BTP
        return self.norm(self.project(gated_BTP, where))
