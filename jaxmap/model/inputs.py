"""What a decoder is given: a batch of packed texts, and facts that differ by layer."""

from __future__ import annotations

import dataclasses
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxmap.model.layers import rope
from jaxmap.model.spec import Spec


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Inputs:
    """Rows of texts lying one after another; all int32 [B, T].

    Fields:
      ids_BT: token ids; anything valid at padding.
      segment_BT: which text of the row a token belongs to, from 1; 0 is padding.
      position_BT: the token's place in its own text, from 0.
      length_BT: tokens of the text that the token belongs to.
    """

    ids_BT: jax.Array
    segment_BT: jax.Array
    position_BT: jax.Array
    length_BT: jax.Array

    @classmethod
    def from_ids(cls, ids_BT: jax.Array) -> Inputs:
        """One text a row, no padding."""
        B, T = ids_BT.shape
        position_BT = jnp.broadcast_to(jnp.arange(T, dtype=jnp.int32), (B, T))
        return cls(ids_BT, jnp.ones((B, T), jnp.int32), position_BT, jnp.full((B, T), T, jnp.int32))


class Positions(Protocol):
    """What says where the tokens of a batch stand: `Inputs` or `Geometry`."""

    @property
    def position_BT(self) -> jax.Array: ...


def first_of_text(where: Positions) -> jax.Array:
    """The place in the batch of the first token of each token's text, int32 [B x T].

    Every place of padding has position 0: it is a text of its own.
    """
    B, T = where.position_BT.shape
    place_BT = jnp.arange(B * T, dtype=jnp.int32).reshape(B, T)
    return (place_BT - where.position_BT).reshape(-1)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LayerFacts:
    """Facts of one layer (or, with a leading axis, of all), scanned beside the weights.

    Fields:
      scale: float32, factor on q·k.
      window: int32, tokens that a query sees, itself included; 0: all.
      rope: int32, which of the spec's ropes turns queries and keys; -1: none.
      branch, after: float32, factors on what is added to the residual stream, and on the stream
        after the layer (`Spec.halve_every`).
    """

    scale: jax.Array
    window: jax.Array
    rope: jax.Array
    branch: jax.Array
    after: jax.Array

    @classmethod
    def of(cls, spec: Spec, start: int, stop: int) -> LayerFacts:
        """Arrays over the layers start..stop-1."""
        L = spec.L
        scale = np.asarray(spec.scale or (spec.C**-0.5,) * L, np.float32)
        window = np.asarray(spec.window or (0,) * L, np.int32)
        of = np.asarray(spec.rope_of or ((0 if spec.ropes else -1),) * L, np.int32)
        every = spec.halve_every or L + 1
        branch = np.asarray([0.5 ** (i // every) for i in range(L)], np.float32)
        after = np.asarray([1 if (i + 1) % every else 0.5 for i in range(L)], np.float32)
        arrays = (scale, window, of, branch, after)
        return cls(*(jnp.asarray(fact[start:stop]) for fact in arrays))


@dataclasses.dataclass(frozen=True)
class Geometry:
    """Where the tokens of a batch stand: computed once, read by every layer.

    Fields:
      segment_BT, position_BT: see `Inputs`.
      cos, sin: float32 [ropes, B, T, 1, rotated/2], or None without rotary positions.
      reach: tokens of the longest text of the batch, or more.
      block: queries that attention takes at a time.
    """

    segment_BT: jax.Array
    position_BT: jax.Array
    cos: jax.Array | None
    sin: jax.Array | None
    reach: int
    block: int

    @classmethod
    def of(cls, spec: Spec, inputs: Inputs, *, reach: int, block: int) -> Geometry:
        cos = sin = None
        if spec.ropes:
            # [ropes, B, T, 1, rotated/2]
            angles = jnp.stack(
                [rope.angles(r, inputs.position_BT, inputs.length_BT) for r in spec.ropes]
            )[..., None, :]
            gain = jnp.stack([rope.gain(r, inputs.length_BT) for r in spec.ropes])[..., None, None]
            cos, sin = jnp.cos(angles) * gain, jnp.sin(angles) * gain
        return cls(inputs.segment_BT, inputs.position_BT, cos, sin, reach, block)
