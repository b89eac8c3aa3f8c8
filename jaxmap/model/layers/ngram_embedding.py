"""Embeddings of the last few tokens together, by hashes, which a layer adds to its streams.

Their tables hold far fewer rows than there are pairs and triples of tokens, so that several share
a row. In array names, P is streams, E the channels of all embeddings of a token, N the hashes.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import nnx

from jaxmap.model.inputs import Geometry
from jaxmap.model.layers.gated_residual import norm_of_streams
from jaxmap.model.layers.linear import Linear, activated, parameter
from jaxmap.model.spec import Spec
from jaxmap.model.streams import NGrams

_Word = tuple[jax.Array, jax.Array]  # high and low 32 bits of whole numbers of 64, uint32


def _product(x: jax.Array, factor: int) -> _Word:
    """x times a number of 63 bits, modulo 2^64; x is uint32."""
    high, low = (jnp.uint32(factor >> 32), jnp.uint32(factor & 0xFFFFFFFF))
    (x1, x0), (f1, f0) = ((z >> 16, z & 0xFFFF) for z in (x, low))
    middle = (x0 * f0 >> 16) + (x0 * f1 & 0xFFFF) + (x1 * f0 & 0xFFFF)
    carried = x1 * f1 + (x0 * f1 >> 16) + (x1 * f0 >> 16) + (middle >> 16)
    return carried + x * high, x * low


def _remainder(word: _Word, modulus: int) -> jax.Array:
    """A number of 64 bits modulo one below 2^31, uint32."""
    high, low = word
    step = 32 - modulus.bit_length()  # bits that a remainder can be shifted by
    rest, left = high % modulus, 32
    while left:
        taken = min(step, left)
        left -= taken
        bits = (low >> left) & ((1 << taken) - 1)
        rest = ((rest << taken) | bits) % modulus
    return rest


def rows_of(facts: NGrams, ids_BT: jax.Array, position_BT: jax.Array) -> jax.Array:
    """The row of the table of each hash of each token, int32 [B, T, N].

    A token's n-gram ends with it. Tokens before the text, and before the last end of a text inside
    it, count as such an end.
    """
    T, end = ids_BT.shape[1], facts.end_id
    ids_BT = ids_BT.astype(jnp.uint32)
    words: list[_Word] = []
    same_BT = jnp.ones(ids_BT.shape, bool)
    for i, factor in enumerate(facts.factors):
        earlier_BT = jnp.pad(ids_BT, ((0, 0), (i, 0)))[:, :T]
        earlier_BT = jnp.where(same_BT & (position_BT >= i), earlier_BT, end)
        words.append(_product(earlier_BT, factor))
        if i:
            same_BT = same_BT & (earlier_BT != end)
    found, start = [], 0
    mixed = words[0]
    per_length = len(facts.moduli) // (len(words) - 1)
    for i, word in enumerate(words[1:]):
        mixed = (mixed[0] ^ word[0], mixed[1] ^ word[1])
        for modulus in facts.moduli[i * per_length : (i + 1) * per_length]:
            found.append(_remainder(mixed, modulus).astype(jnp.int32) + start)
            start += modulus
    return jnp.stack(found, axis=-1)


class NGramBranch(nnx.Module):
    """x_BTPD -> x_BTPD: the streams and what the embeddings of a token's n-grams add to them.

    A projection of the embeddings is gated for each stream by how well another projection agrees
    with the stream, and convolved over tokens that are the longest n-gram's length apart.
    """

    def __init__(self, spec: Spec, facts: NGrams, streams: int, *, dtype, rngs: nnx.Rngs):
        self.facts = facts
        make = dict(dtype=dtype, rngs=rngs)
        N, D, P, E = len(facts.moduli), spec.D, streams, facts.width
        shape = (facts.parts, facts.rows // facts.parts, E // N)
        self.table = parameter(nnx.initializers.normal(0.02)(rngs.params(), shape, dtype))
        self.key = Linear("bte,epd->btpd", (E, P, D), **make)
        self.value = Linear("bte,ed->btd", (E, D), **make)
        self.key_norm, self.query_norm, self.conv_norm = (
            norm_of_streams(spec, P, dtype) for _ in range(3)
        )
        self.taps = parameter(jnp.zeros((P, D, facts.taps), dtype))

    def __call__(self, x_BTPD: jax.Array, geometry: Geometry) -> jax.Array:
        facts, (B, T, _, D) = self.facts, x_BTPD.shape
        assert geometry.ids_BT is not None
        row_BTN = rows_of(facts, geometry.ids_BT, geometry.position_BT)
        table_RC = self.table[...].reshape(facts.rows, -1)
        embedding_BTE = activated(table_RC[row_BTN]).reshape(B, T, -1)
        key_BTPD = self.key_norm(self.key(embedding_BTE, geometry))
        value_BTD = self.value(embedding_BTE, geometry)
        agreed_BTP = jnp.sum(key_BTPD * self.query_norm(x_BTPD), axis=-1) / math.sqrt(D)
        size_BTP = jnp.sqrt(jnp.maximum(jnp.abs(agreed_BTP), 1e-6))
        gate_BTP = jax.nn.sigmoid(size_BTP * jnp.sign(agreed_BTP))
        gated_BTPD = gate_BTP[..., None] * value_BTD[:, :, None]
        return x_BTPD + gated_BTPD + self._convolved(self.conv_norm(gated_BTPD), geometry)

    def _convolved(self, x_BTPD: jax.Array, geometry: Geometry) -> jax.Array:
        """Each channel of each stream convolved over tokens of its text, then activated."""
        T, apart = x_BTPD.shape[1], len(self.facts.factors)
        total = jnp.zeros(x_BTPD.shape, jnp.float32)
        taps_PDW = self.taps[...].astype(jnp.float32)
        for w in range(self.facts.taps):
            back = (self.facts.taps - 1 - w) * apart
            earlier_BTPD = jnp.pad(x_BTPD, ((0, 0), (back, 0), (0, 0), (0, 0)))[:, :T]
            seen_BT11 = (geometry.position_BT >= back)[..., None, None]
            earlier_BTPD = jnp.where(seen_BT11, earlier_BTPD, 0)
            total = total + taps_PDW[..., w] * earlier_BTPD.astype(jnp.float32)
        return jax.nn.silu(total).astype(x_BTPD.dtype)
