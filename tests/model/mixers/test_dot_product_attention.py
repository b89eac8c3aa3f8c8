"""Attention on packed rows against a loop over texts and queries in NumPy float64."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from jaxmap.model.attention_facts import Alibi
from jaxmap.model.inputs import Geometry, LayerFacts
from jaxmap.model.mixers.dot_product_attention import _blocks, attend

H, G, C = 4, 2, 6
TEXTS = ([5, 1, 30], [17, 9])  # lengths of the texts of each row; the rest is padding
T = 40


def places():
    """Row, first and last token of each text."""
    for row, lengths in enumerate(TEXTS):
        start = 0
        for length in lengths:
            yield row, start, start + length
            start += length


def drawn(channels=C):
    random = np.random.default_rng(3)
    shapes = (len(TEXTS), T, H, C), (len(TEXTS), T, G, C), (len(TEXTS), T, G, channels)
    return [random.normal(0, 1.5, shape).astype(np.float32) for shape in shapes]


def geometry(block, reach, adaptive=True):
    segment_BT, position_BT = np.zeros((2, len(TEXTS), T), np.int32)
    for number, (row, start, stop) in enumerate(places(), start=1):
        segment_BT[row, start:stop] = number
        position_BT[row, start:stop] = np.arange(stop - start)
    arrays = map(jnp.asarray, (segment_BT, position_BT))
    return Geometry(*arrays, None, None, reach, block, adaptive=adaptive)


def by_hand(q, k, v, *, scale, window=0, softcap=0.0, slopes=None, sink=None):
    """[B, T, H, C]; padding is NaN."""
    q, k, v = (x.astype(np.float64) for x in (q, k, v))
    out = np.full((*q.shape[:3], v.shape[-1]), np.nan)
    for row, start, stop in places():
        for t in range(start, stop):
            first = start if window == 0 else max(start, t - window + 1)
            for h in range(H):
                g = h // (H // G)
                score = np.array([q[row, t, h] @ k[row, s, g] for s in range(first, t + 1)]) * scale
                if softcap:
                    score = softcap * np.tanh(score / softcap)
                if slopes is not None:
                    score = score - slopes[h] * np.arange(t - first, -1, -1)
                share = np.exp(score - score.max())
                total = share.sum()
                if sink is not None:
                    total += np.exp(sink[h] - score.max())
                out[row, t, h] = share @ v[row, first : t + 1, g] / total
    return out


def check(ours, expected, bound=1e-5):
    real = ~np.isnan(expected)
    assert real.any(axis=(2, 3)).sum() == sum(map(sum, TEXTS))
    np.testing.assert_allclose(np.asarray(ours)[real], expected[real], rtol=0, atol=bound)
    assert np.isfinite(np.asarray(ours)).all()


def facts(scale=0.4, window=0):
    one = jnp.float32(1)
    return LayerFacts(jnp.float32(scale), jnp.int32(window), jnp.int32(-1), one, one)


SLOPES = (0.5, 0.25, 0.07, 0.01)
SINK = np.array([0.3, -1.0, 2.0, 0.0], np.float32)


@pytest.mark.parametrize(
    ("block", "reach"), [(T, T), (8, T), (8, 30), (7, 31), (16, 30), (1, 30), (64, 30)]
)
@pytest.mark.parametrize("window", [0, 1, 4, 100])
def test_segments_windows_and_reach(window, block, reach):
    q, k, v = drawn()
    for adaptive in (True, False):
        where = geometry(block, reach, adaptive)
        ours = attend(*map(jnp.asarray, (q, k, v)), where, facts(window=window))
        check(ours, by_hand(q, k, v, scale=0.4, window=window))


@pytest.mark.parametrize(
    "how",
    [
        dict(softcap=1.5),
        dict(alibi=Alibi(SLOPES)),
        dict(sink_H=jnp.asarray(SINK)),
        dict(softcap=2.0, alibi=Alibi(SLOPES)),
        dict(softcap=2.0, sink_H=jnp.asarray(SINK)),
    ],
    ids=["softcap", "alibi", "sinks", "softcap and alibi", "softcap and sinks"],
)
def test_what_is_done_to_scores(how):
    q, k, v = drawn()
    ours = attend(*map(jnp.asarray, (q, k, v)), geometry(8, 30), facts(window=9), **how)
    given = dict(
        softcap=how.get("softcap", 0.0),
        slopes=SLOPES if "alibi" in how else None,
        sink=SINK if "sink_H" in how else None,
    )
    check(ours, by_hand(q, k, v, scale=0.4, window=9, **given))


def test_values_of_another_width():
    q, k, v = drawn(channels=3)
    ours = attend(*map(jnp.asarray, (q, k, v)), geometry(8, 30), facts())
    check(ours, by_hand(q, k, v, scale=0.4))


def test_neighbours_and_padding_change_no_bit():
    q, k, v = drawn()
    other = [x.copy() for x in (q, k, v)]
    row, start, stop = list(places())[1]
    for x in other:
        x[row, :start], x[row, stop:], x[1 - row] = 9.0, -9.0, 5.0
    one, two = (
        np.asarray(attend(*map(jnp.asarray, given), geometry(8, 30), facts()))
        for given in ((q, k, v), other)
    )
    np.testing.assert_array_equal(one[row, start:stop], two[row, start:stop])
    assert np.abs(one[row, stop:] - two[row, stop:]).max() > 1


def test_a_block_reads_as_few_keys_as_its_texts_need():
    """Keys out of reach of every query of a block are not read: NaN there would spread."""
    q, k, v = drawn()
    first = np.zeros(T, bool)
    first[:8] = True  # two texts that end, a third that begins in a block of 8
    texts = geometry(8, T)
    position_BT = np.tile(np.concatenate([np.arange(8), np.arange(T - 8)]).astype(np.int32), (2, 1))
    segment_BT = np.tile(np.where(first, 1, 2).astype(np.int32), (2, 1))
    texts = dataclasses.replace(
        texts, position_BT=jnp.asarray(position_BT), segment_BT=jnp.asarray(segment_BT)
    )
    v[:, :8] = np.nan
    ours = np.asarray(attend(*map(jnp.asarray, (q, k, v)), texts, facts()))
    assert np.isfinite(ours[:, 8:]).all()


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize(
    ("tokens", "block", "reach"),
    [(2048, 64, 384), (2048, 64, 2048), (100, 64, 30), (40, 7, 31), (5, 8, 5)],
)
def test_blocks_cover_every_query_once_with_all_its_keys(tokens, block, reach, adaptive):
    covered, numbers = [], set()
    for start, count, queries, widths in _blocks(tokens, block, reach, adaptive):
        numbers |= set(widths)
        for first in range(start, start + count * queries, queries):
            covered += range(first, first + queries)
            assert widths[-1] >= min(first + queries, queries + reach - 1)
    assert covered == list(range(tokens))
    assert len(numbers) <= 9
