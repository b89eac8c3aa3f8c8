"""The inputs of a decoder: a batch of packed texts, and the facts that differ by layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxmap.model.layers import rope
from jaxmap.model.spec import Spec


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Inputs:
    """A batch of rows, each with several texts one after another; all arrays are int32 [B, T].

    Fields:
      ids_BT: token ids; any valid id at padding.
      segment_BT: the number of the token's text in its row, from 1; 0 is padding.
      position_BT: the token's index in its own text, from 0.
      length_BT: the number of tokens of the token's text.
    """

    ids_BT: jax.Array
    segment_BT: jax.Array
    position_BT: jax.Array
    length_BT: jax.Array

    @classmethod
    def from_ids(cls, ids_BT: jax.Array) -> Inputs:
        """A batch with one text per row and no padding."""
        B, T = ids_BT.shape
        position_BT = jnp.broadcast_to(jnp.arange(T, dtype=jnp.int32), (B, T))
        return cls(ids_BT, jnp.ones((B, T), jnp.int32), position_BT, jnp.full((B, T), T, jnp.int32))


class Positions(Protocol):
    """Anything that has the tokens' positions: `Inputs` or `Geometry`."""

    @property
    def position_BT(self) -> jax.Array:
        """The position of each token in its text, int32 [B, T]."""


def first_of_text(where: Positions) -> jax.Array:
    """The index in the flattened batch of the first token of each token's text, int32 [B * T].

    Padding has position 0, so every padded entry counts as a text of its own.
    """
    B, T = where.position_BT.shape
    place_BT = jnp.arange(B * T, dtype=jnp.int32).reshape(B, T)
    return (place_BT - where.position_BT).reshape(-1)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LayerFacts:
    """Facts of one layer (or, with a leading axis, of all), scanned together with the weights.

    Fields:
      scale: float32, the factor on q·k.
      window: int32, the number of tokens that a query sees, itself included; 0: all.
      rope: int32, the index in Spec.ropes of the rotation of queries and keys; -1: none.
      branch: float32, the factor on what the layer adds to the residual stream.
      after: float32, the factor on the residual stream after the layer (`Spec.halve_every`).
      chunk: int32, tokens of the pieces of a text that do not see each other; 0: one piece; None
        if no layer has pieces.
      decay: float32 [H], the decay rates of lightning attention; None in models without it.
      cutoff: float32, see `Spec.cutoff`; None if no layer has one.
      embedding_BTP: the layer's embedding of each token (`Spec.layer_embedding`); None: none.
      keys_values: those of an earlier layer (`Kind.reads`); None: the layer's own.
      subtracted: float32, `Spec.subtracted`; None in models without differential attention.
      router_BTR: float32, the state of the router of the layer before; None in models without.
      residual: float32 [4], the fields of `ResidualFactors`; None without `Spec.residual`.
    """

    scale: jax.Array
    window: jax.Array
    rope: jax.Array
    branch: jax.Array
    after: jax.Array
    chunk: jax.Array | None = None
    decay: jax.Array | None = None
    cutoff: jax.Array | None = None
    embedding_BTP: jax.Array | None = None
    keys_values: tuple[jax.Array, jax.Array] | None = None
    subtracted: jax.Array | None = None
    residual: jax.Array | None = None
    router_BTR: jax.Array | None = None

    @classmethod
    def of(cls, spec: Spec, start: int, stop: int) -> LayerFacts:
        """The facts of layers start to stop - 1, as arrays with a leading axis."""
        L = spec.L
        scale = np.asarray(spec.scale or (spec.C**-0.5,) * L, np.float32)
        window = np.asarray(spec.window or (0,) * L, np.int32)
        of = np.asarray(spec.rope_of or ((0 if spec.ropes else -1),) * L, np.int32)
        every = spec.halve_every or L + 1
        branch = np.asarray([0.5 ** (i // every) for i in range(L)], np.float32)
        after = np.asarray([1 if (i + 1) % every else 0.5 for i in range(L)], np.float32)
        chunk = jnp.asarray(spec.chunk[start:stop], jnp.int32) if any(spec.chunk) else None
        of_these = slice(start, stop)
        facts = cls(
            scale=jnp.asarray(scale[of_these]),
            window=jnp.asarray(window[of_these]),
            rope=jnp.asarray(of[of_these]),
            branch=jnp.asarray(branch[of_these]),
            after=jnp.asarray(after[of_these]),
        )
        decay = None
        if spec.lightning is not None:
            decay = jnp.asarray(spec.lightning.rates[start:stop], jnp.float32)
        cutoff = jnp.asarray(spec.cutoff[start:stop], jnp.float32) if spec.cutoff else None
        subtracted = None
        if spec.subtracted:
            subtracted = jnp.asarray(spec.subtracted[start:stop], jnp.float32)
        residual = None
        if spec.residual:
            of_layers = [dataclasses.astuple(factors) for factors in spec.residual[start:stop]]
            residual = jnp.asarray(of_layers, jnp.float32)
        return dataclasses.replace(
            facts,
            chunk=chunk,
            decay=decay,
            cutoff=cutoff,
            subtracted=subtracted,
            residual=residual,
        )


@dataclasses.dataclass(frozen=True)
class Geometry:
    """The positions of a batch's tokens, computed once and read by every layer.

    Fields:
      segment_BT, position_BT: see `Inputs`.
      cos, sin: float32 [ropes, B, T, 1, rotated/2], or None without rotary positions.
      reach: an upper bound on the number of tokens of a text.
      block: the number of queries that attention computes at a time.
      platform: the platform whose kernels are used where they can be, "tpu" or "gpu"; "": none.
      adaptive: whether blocks of queries choose while the program runs how many keys they read. Not
        on a mesh: devices that compute one block together could not wait for each other.
      shared: (number of the layer, x_BTD, geometry, facts) -> x_BTD, the shared block of a layer;
        None in models without shared blocks.
      ids_BT: see `Inputs`; None in models whose layers do not read them (`Spec.ngrams`).
    """

    segment_BT: jax.Array
    position_BT: jax.Array
    cos: jax.Array | None
    sin: jax.Array | None
    reach: int
    block: int
    platform: str = ""
    adaptive: bool = False
    shared: Callable[..., jax.Array] | None = None
    ids_BT: jax.Array | None = None

    @classmethod
    def of(
        cls,
        spec: Spec,
        inputs: Inputs,
        *,
        reach: int,
        block: int,
        platform: str = "",
        adaptive: bool = False,
    ) -> Geometry:
        """The angles, masks and block sizes that all layers of a batch share."""
        cos = sin = None
        if spec.ropes:
            # [ropes, B, T, 1, rotated/2]
            most = max(r.dims for r in spec.ropes) // 2
            turned = [rope.angles(r, inputs.position_BT, inputs.length_BT) for r in spec.ropes]
            own = [jnp.pad(x, ((0, 0), (0, 0), (0, most - x.shape[-1]))) for x in turned]
            angles = jnp.stack(own)[..., None, :]
            gain = jnp.stack([rope.gain(r, inputs.length_BT) for r in spec.ropes])[..., None, None]
            cos, sin = jnp.cos(angles) * gain, jnp.sin(angles) * gain
        return cls(
            *(inputs.segment_BT, inputs.position_BT, cos, sin, reach, block, platform, adaptive),
            ids_BT=inputs.ids_BT if spec.ngrams else None,
        )
