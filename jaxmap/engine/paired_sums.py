"""The sums of two models over the vocabulary, in a kernel that has a tile of the logits of both.

They are those of `blockwise_softmax` and `accumulators`, over tokens that both models have. The
functions are used inside kernels: arrays of a tile have an axis of tokens and one of the
vocabulary, and arrays of tokens have an axis of length 1 in place of the latter.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jaxmap.engine.blockwise_softmax import Distribution

# The running maximum before the first token. Logits are far above it, so that columns that do not
# count, which get the lowest number, have an exponential of 0 from the first tile on.
START = -1e30
LOWEST = float(jnp.finfo(jnp.float32).min)
_LAST = jnp.iinfo(jnp.int32).max

SOFTMAX = ("max", "sum", "max_of_reference", "sum_of_reference")
TOPS = {"top_shared": "max", "top_of_reference": "max_of_reference"}
LISTS = ("likeliest", "likeliest_of_reference")
# The accumulators that the kernels compute.
SUMS = ("centred", "centred_of_reference", "gap_of_reference", "gap_of_model", "above", *TOPS)
# Operations of the vector unit for each entry of the vocabulary: masks, maxima, differences and
# sums of both models, and of each accumulator. A list takes six for each token that is put into
# it; three tokens a tile are more than are found in tiles of logits in random order.
_OPERATIONS = {
    **dict.fromkeys(("centred", "centred_of_reference"), 2),
    **dict.fromkeys(("gap_of_reference", "gap_of_model"), 3),
    **dict.fromkeys(("above", *TOPS), 3),
    **dict.fromkeys(LISTS, 18),
}
_SOFTMAX_OPERATIONS = 2 * 11
_EXPONENTIAL = 11  # operations for which the cost model counts an exponential

State = dict[str, Any]


def integer(name: str) -> bool:
    """Whether the state of this name is int32 and not float32."""
    return name in TOPS or name == "above"


def exponentials(accumulators: tuple[str, ...], adjusts: list[Any]) -> float:
    """What an entry of the vocabulary costs beside its products, in exponentials.

    Args:
      accumulators: names in SUMS and LISTS.
      adjusts: the functions of the two models' logits (`Unembedding.adjust`).
    """
    operations = _SOFTMAX_OPERATIONS + sum(_OPERATIONS[name] for name in accumulators)
    capped = sum(bool(getattr(adjust, "softcap", 0)) for adjust in adjusts)
    return max(2, operations / _EXPONENTIAL) + capped


def outputs(accumulators: tuple[str, ...]) -> tuple[tuple[str, ...], list[Any], list[str]]:
    """What a kernel computes: names of sums of one number a token, their dtypes, and lists."""
    lists = [name for name in accumulators if name in LISTS]
    names = (*SOFTMAX, *(name for name in accumulators if name not in lists))
    return names, [jnp.int32 if integer(name) else jnp.float32 for name in names], lists


def start(name: str, shape: tuple[int, ...]) -> jax.Array:
    """The state of a name in SOFTMAX or SUMS before the first tile."""
    if integer(name):
        return jnp.zeros(shape, jnp.int32)
    return jnp.full(shape, START if name.startswith("max") else 0.0, jnp.float32)


@dataclasses.dataclass(frozen=True)
class Tile:
    """A tile of the logits of two models.

    Fields:
      model, reference: the logits, float32; LOWEST in columns that do not count.
      id: the token of each column, int32, in the shape of the logits.
      axis: the axis of the vocabulary.
    """

    model: jax.Array
    reference: jax.Array
    id: jax.Array
    axis: int

    def largest(self, x: jax.Array) -> jax.Array:
        """The maximum over the vocabulary."""
        return jnp.max(x, axis=self.axis, keepdims=True)

    def total(self, x: jax.Array) -> jax.Array:
        """The sum over the vocabulary."""
        return jnp.sum(x, axis=self.axis, keepdims=True)

    def first(self, x: jax.Array, value: jax.Array) -> jax.Array:
        """The lowest token id at which x has this value."""
        return jnp.min(jnp.where(x == value, self.id, _LAST), axis=self.axis, keepdims=True)


def updated(state: State, tile: Tile, target: jax.Array, target_logit: jax.Array) -> State:
    """The state after one more tile.

    Args:
      state: by name, those of SOFTMAX and of the accumulators in SUMS that are wanted.
      target, target_logit: the next token, and its logit in the model.
    """
    new, top, centred, exp, shrunk, shift, before = {}, {}, {}, {}, {}, {}, {}
    for end, logits in (("", tile.model), ("_of_reference", tile.reference)):
        top[end] = tile.largest(logits)
        before[end] = state[f"max{end}"], state[f"sum{end}"]
        largest = new[f"max{end}"] = jnp.maximum(before[end][0], top[end])
        centred[end] = logits - largest
        exp[end] = jnp.exp(centred[end])
        shift[end] = before[end][0] - largest
        shrunk[end] = jnp.exp(shift[end])
        new[f"sum{end}"] = before[end][1] * shrunk[end] + tile.total(exp[end])

    def moved(end: str, name: str, change: jax.Array, weights: jax.Array) -> jax.Array:
        """A sum of exp x weights, when the weights of earlier tiles change by a number."""
        earlier = shrunk[end] * (state[name] + change * before[end][1])
        return earlier + tile.total(exp[end] * weights)

    for name in state:
        if name.startswith("centred"):
            end = name.removeprefix("centred")
            new[name] = moved(end, name, shift[end], centred[end])
        elif name.startswith("gap"):
            end, other = (
                ("_of_reference", "") if name == "gap_of_reference" else ("", "_of_reference")
            )
            change = shift[end] - shift[other]
            new[name] = moved(end, name, change, centred[end] - centred[other])
        elif name in TOPS:
            end = "" if name == "top_shared" else "_of_reference"
            logits = tile.model if name == "top_shared" else tile.reference
            best = tile.first(logits, top[end])
            new[name] = jnp.where(top[end] > before[end][0], best, state[name])
        elif name == "above":
            above = (tile.model > target_logit) & (tile.id != target)
            new[name] = state[name] + tile.total(jnp.where(above, 1, 0))
    return new


def found(
    state: State, lists: dict[str, tuple[jax.Array, jax.Array]], accumulators: tuple[str, ...]
) -> tuple[Distribution, Distribution, dict[str, Any]]:
    """The distributions of both models, and the final states as `accumulators` has them.

    Args:
      state: what the kernel computed, by name.
      lists: by name in LISTS, the ids and the logits of the likeliest tokens, [..., LIKELIEST].
      accumulators: the names that are wanted.
    """
    model = Distribution(state["max"], state["sum"])
    reference = Distribution(state["max_of_reference"], state["sum_of_reference"])
    sums: dict[str, Any] = {}
    for name in accumulators:
        if name in LISTS:
            id_NK, logit_NK = lists[name]
            sums[name] = id_NK, jnp.where(id_NK < 0, -jnp.inf, logit_NK)
        elif name in TOPS:
            sums[name] = state[name], state[TOPS[name]]
        else:
            sums[name] = state[name]
    return model, reference, sums
