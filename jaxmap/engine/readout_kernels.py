"""Chooses the kernels of a platform that scan the vocabulary, for one model and for two.

Of two models one kernel scans the tokens that both have, with the heads of both. Where one of them
has more, the kernel for one model scans the rest of its head.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp

from jaxmap.engine.accumulators import joined_parts
from jaxmap.engine.blockwise_softmax import Distributions
from jaxmap.engine.unembedding import Reference, Unembedding

Scan = Callable[..., tuple[Distributions, dict[str, Any]]]

_PLATFORMS = ("tpu", "gpu")
# The accumulators of a model's own tokens, and those of two models to which they are added.
_OF_MODEL = {"centred": "centred", "above": "above", "top": "top"}
_OF_REFERENCE = {"centred": "centred_of_reference"}
_SHARED = {"top": "top_shared"}


def scan_by(
    platform: str,
    hidden_NE: jax.Array,
    unembedding: Unembedding,
    reference: Reference | None,
    accumulators: tuple[str, ...],
    *,
    interpret: bool = False,
) -> Scan | None:
    """The scan by a platform's kernel, or None where it has none that can.

    Args:
      platform: see `Geometry`.
      hidden_NE, unembedding, reference, accumulators, interpret: see `readout.read`; the reference
        has as many rows as the unembedding.

    Returns a function of (hidden_NE, unembedding, reference, target_N, target_logit_N, first),
    which returns the distributions and the final state of each accumulator over the rows of this
    device. `first` is the id of the first row, which is not 0 on all devices if a mesh divides the
    vocabulary.
    """
    if platform not in _PLATFORMS:
        return None
    # Imported at its first use: importing Pallas takes a while.
    kernel = importlib.import_module(f"jaxmap.engine.readout_{platform}")
    if reference is None:
        if not kernel.supported(hidden_NE, unembedding, accumulators):
            return None
        return partial(_of_one, kernel, accumulators, interpret)
    paired = importlib.import_module(f"jaxmap.engine.paired_readout_{platform}")
    if not paired.supported(hidden_NE, unembedding, reference, _of_both(accumulators)):
        return None
    rows = unembedding.head_VE.shape[0]
    return partial(_of_two, kernel, paired, accumulators, rows, interpret)


def _of_one(
    kernel: ModuleType,
    accumulators: tuple[str, ...],
    interpret: bool,
    hidden_NE: jax.Array,
    unembedding: Unembedding,
    _: None,
    target_N: jax.Array,
    target_logit_N: jax.Array,
    first: jax.Array | int,
) -> tuple[Distributions, dict[str, Any]]:
    model, sums = kernel.scan(
        hidden_NE, unembedding, target_N, target_logit_N, accumulators, first, interpret=interpret
    )
    return Distributions(model), sums


def _of_two(
    kernel: ModuleType,
    paired: ModuleType,
    accumulators: tuple[str, ...],
    rows: int,
    interpret: bool,
    hidden_NE: jax.Array,
    unembedding: Unembedding,
    reference: Reference,
    target_N: jax.Array,
    target_logit_N: jax.Array,
    first: jax.Array | int,
) -> tuple[Distributions, dict[str, Any]]:
    """`rows` is the number of rows of the whole unembeddings."""
    head = reference.unembedding
    size, other_size = unembedding.size or rows, head.size or rows
    count = (unembedding if size <= other_size else head).tokens_from(first)
    model, other, found = paired.scan(
        hidden_NE, unembedding, reference, count, target_N, target_logit_N,
        _of_both(accumulators), first, interpret=interpret,
    )  # fmt: skip
    sums = {name: found[_SHARED.get(name, name)] for name in accumulators}
    if size == other_size:
        return Distributions(model, other), sums
    larger, states, shared, of = unembedding, hidden_NE, model, _OF_MODEL
    if size < other_size:
        larger, states, shared, of = head, reference.states, other, _OF_REFERENCE
    names = {own: name for own, name in of.items() if name in accumulators}
    rest, more = kernel.scan(
        states, larger, target_N, target_logit_N, tuple(names), first,
        begin=count, most=abs(size - other_size), interpret=interpret,
    )  # fmt: skip
    added = {own: _stacked(sums[name], more[own]) for own, name in names.items()}
    over, added = joined_parts(Distributions(_stacked(shared, rest)), added)
    sums |= {name: added[own] for own, name in names.items()}
    whole = over.model
    if size > other_size:
        return Distributions(whole, other, model_cut=model), sums
    return Distributions(model, whole, reference_cut=other), sums


def _of_both(accumulators: tuple[str, ...]) -> tuple[str, ...]:
    """The accumulators over the tokens of both models from which those wanted are computed."""
    return tuple(dict.fromkeys(_SHARED.get(name, name) for name in accumulators))


def _stacked(one: Any, two: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.stack([a, b]), one, two)
