"""From final hidden states to statistics of each token, without a [tokens, vocabulary] array.

One scan over blocks of the vocabulary computes all statistics of `jaxmap.engine.statistics`. In
array names, N is tokens, E the channels of the unembedding, V the vocabulary, W the entries of a
block.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from jaxmap.engine.accumulators import ACCUMULATORS, VocabularyBlock, joined
from jaxmap.engine.blockwise_softmax import (
    BlockLogits,
    Distribution,
    Distributions,
    add_block,
    nothing_seen,
)
from jaxmap.engine.readout_kernels import scan_by
from jaxmap.engine.statistics import Found, chosen
from jaxmap.engine.unembedding import Columns, Reference, Unembedding, over_blocks
from jaxmap.errors import InputError
from jaxmap.model.mesh import model_devices


def read(
    hidden_NE: jax.Array,
    unembedding: Unembedding,
    target_N: jax.Array,
    statistics: Iterable[str],
    *,
    block: int,
    reference: Reference | None = None,
    platform: str = "",
    interpret: bool = False,
) -> dict[str, jax.Array]:
    """Statistics of a model's predictions at N tokens, by name, [N] each.

    Sums of exponentials are float32 and relative to a running maximum (Milakov and Gimelshein
    2018, arXiv:1805.02867). If the vocabulary is not a multiple of the block, the last block
    starts earlier and its overlap is masked. If a mesh divides the vocabulary, each device scans
    its own part, and the devices exchange a few numbers per token.

    Args:
      hidden_NE: final hidden states, any float dtype.
      unembedding: the map from hidden states to logits.
      target_N: int32 ids of the next tokens.
      statistics: names in STATISTICS.
      block: the number of vocabulary entries per step; memory is a few times N x block float32.
      reference: the model to compare with, for statistics that need one.
      platform: the platform whose kernel is used where it can be, see `Geometry`.
      interpret: whether the kernel's code is interpreted, slowly, on any platform.

    Raises:
      InputError: when a statistic needs a reference and there is none.
    """
    wanted = chosen(statistics)
    if not any(statistic.needs_reference for statistic in wanted):
        reference = None
    elif reference is None:
        raise InputError("a statistic that compares the model needs a reference", field="reference")
    else:
        heads = unembedding, reference.unembedding
        rows = max(head.head_VE.shape[0] for head in heads)
        unembedding = unembedding.of_rows(rows)
        reference = Reference(reference.states, reference.unembedding.of_rows(rows))
    needed = tuple(dict.fromkeys(name for s in wanted for name in s.accumulators))

    def read_part(hidden_NE, unembedding, target_N, reference, axis=None):
        """`read` for the unembedding's rows on this device, joined over the axis of a mesh."""
        first = 0
        if axis is not None:
            first = jax.lax.axis_index(axis) * unembedding.head_VE.shape[0]
        logit_N = _target_logit(hidden_NE, unembedding, target_N, first, axis)
        other_N = None
        if reference is not None:
            other_N = _target_logit(reference.states, reference.unembedding, target_N, first, axis)
        over, sums = scan(hidden_NE, unembedding, reference, target_N, logit_N, first)
        if axis is not None:
            over, sums = joined(over, sums, axis)
        found = Found(over, target_N, logit_N, other_N, sums)
        return {statistic.name: statistic.finish(found) for statistic in wanted}

    kernel = scan_by(platform, hidden_NE, unembedding, reference, needed, interpret=interpret)
    scan = kernel or partial(_scan, accumulators=needed, block=block)
    given = (hidden_NE, unembedding, target_N, reference)
    on_mesh = not jax.sharding.get_abstract_mesh().empty
    if model_devices() == 1 and not (kernel is not None and on_mesh):
        return read_part(*given)
    everywhere, cut = PartitionSpec(), PartitionSpec("model")
    of_reference: Any = None if reference is None else Reference(everywhere, cut)  # type: ignore
    return jax.shard_map(
        partial(read_part, axis="model"),
        in_specs=(everywhere, cut, everywhere, of_reference),
        out_specs=everywhere,
        axis_names={"model"},
        check_vma=False,
    )(*given)


def _target_logit(
    hidden_NE: jax.Array,
    unembedding: Unembedding,
    target_N: jax.Array,
    first: jax.Array | int,
    axis: str | None,
) -> jax.Array:
    """The target's logit, float32 [N].

    `first` is the id of the first row of this device's part of the unembedding; without an axis,
    the part is the whole.
    """
    head_VE, bias_V = unembedding.head_VE, unembedding.bias_V
    if axis is None:
        bias_N = None if bias_V is None else bias_V[target_N]
        return unembedding.adjust(_dot(hidden_NE, head_VE[target_N]), bias_N)
    here_N = (target_N >= first) & (target_N < first + head_VE.shape[0])
    row_N = jnp.where(here_N, target_N - first, 0)
    logit_N = jnp.where(here_N, _dot(hidden_NE, head_VE[row_N]), 0)
    bias_N = None
    if bias_V is not None:
        bias_N = jnp.where(here_N, bias_V[row_N].astype(jnp.float32), 0)
    # The sum is exact because all but one of the numbers are zero.
    logit_N, bias_N = jax.lax.psum((logit_N, bias_N), axis)
    return unembedding.adjust(logit_N, bias_N)


def _dot(hidden_NE: jax.Array, wanted_NE: jax.Array) -> jax.Array:
    """The dot product of each row, float32 [N]."""
    return jnp.sum(hidden_NE.astype(jnp.float32) * wanted_NE.astype(jnp.float32), axis=-1)


def _scan(
    hidden_NE: jax.Array,
    unembedding: Unembedding,
    reference: Reference | None,
    target_N: jax.Array,
    target_logit_N: jax.Array,
    first: jax.Array | int,
    *,
    accumulators: tuple[str, ...],
    block: int,
) -> tuple[Distributions, dict[str, Any]]:
    """The distributions and the final state of each accumulator over this device's rows.

    Args:
      accumulators: names in ACCUMULATORS.
      first: the id of the first row of the unembedding.
      hidden_NE, unembedding, reference, target_N, target_logit_N, block: see `read`; the reference
        has the same number of rows as the unembedding.
    """
    size = unembedding.size
    other_size = None if reference is None else reference.unembedding.size
    # How many rows are tokens of both; None: all.
    shared = size if reference is None else _smaller(size, other_size)

    def fold(state: tuple[Distributions, dict[str, Any]], columns: Columns) -> Any:
        over, sums = state

        def added(
            logit_NW: jax.Array, whole: Distribution, cut: Distribution | None, size: int | None
        ) -> tuple[BlockLogits, BlockLogits]:
            """A model's logits, and those over the tokens that both have."""
            block = add_block(whole, columns.masked(logit_NW, size))
            if cut is None:
                return block, block
            return block, add_block(cut, columns.masked(logit_NW, shared))

        logit_NW = columns.of(unembedding).logits(hidden_NE)
        mine = added(logit_NW, over.model, over.model_cut, size)
        theirs: tuple[BlockLogits | None, BlockLogits | None] = (None, None)
        if reference is not None and over.reference is not None:
            logit_NW = columns.of(reference.unembedding).logits(reference.states)
            theirs = added(logit_NW, over.reference, over.reference_cut, other_size)
        block = VocabularyBlock(
            mine[0], theirs[0], mine[1], theirs[1], columns.id_W, target_N, target_logit_N
        )
        sums = {name: ACCUMULATORS[name].update(sums[name], block) for name in accumulators}
        over = Distributions(
            mine[0].now,
            None if theirs[0] is None else theirs[0].now,
            None if over.model_cut is None else mine[1].now,
            None if over.reference_cut is None or theirs[1] is None else theirs[1].now,
        )
        return over, sums

    N = hidden_NE.shape[0]

    def nothing(size: int | None) -> Distribution:
        return nothing_seen(N, padded=size is not None)

    over = Distributions(
        nothing(size),
        None if reference is None else nothing(other_size),
        None if shared == size else nothing(shared),
        None if reference is None or shared == other_size else nothing(shared),
    )
    sums = {name: ACCUMULATORS[name].start(N) for name in accumulators}
    return over_blocks(fold, (over, sums), unembedding.head_VE.shape[0], block, first)


def _smaller(a: int | None, b: int | None) -> int | None:
    known = [size for size in (a, b) if size is not None]
    return min(known) if known else None
