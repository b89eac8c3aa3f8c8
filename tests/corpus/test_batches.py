"""Packing: every token that has to be scored is, once; nothing overlaps; little room is wasted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.token_sets import make_tokens

from jaxmap.corpus.batches import batches, plan

LENGTHS = st.lists(st.one_of(st.integers(0, 6), st.integers(0, 300), st.integers(0, 2500)))


def _tokens(lengths, seed=0):
    random = np.random.default_rng(seed)
    texts = [random.integers(1, 97, n).astype(np.int32) for n in lengths]
    first = [int(random.integers(1, max(n, 1) + 1)) for n in lengths]
    return texts, make_tokens(texts, first)


@settings(max_examples=60, deadline=None)
@given(lengths=LENGTHS, batch_tokens=st.integers(1, 6000))
def test_every_scored_token_once(lengths, batch_tokens):
    texts, tokens = _tokens(lengths)
    packed = plan(tokens, batch_tokens=batch_tokens)
    seen = []
    for batch in batches(tokens, packed):
        used = np.zeros(batch.ids_BT.shape, int)
        for text, row, start, stop, first in zip(
            batch.text, batch.row, batch.start, batch.stop, batch.first, strict=True
        ):
            ids = texts[text]
            seen.append(int(text))
            used[row, start:stop] += 1
            np.testing.assert_array_equal(batch.ids_BT[row, start:stop], ids[:-1])
            np.testing.assert_array_equal(batch.target_BT[row, start:stop], ids[1:])
            np.testing.assert_array_equal(
                batch.position_BT[row, start:stop], np.arange(stop - start)
            )
            assert (batch.length_BT[row, start:stop] == len(ids)).all()
            assert len(set(batch.segment_BT[row, start:stop])) == 1
            assert stop - start <= batch.reach
            # The places whose targets are scored: first_scored .. the end.
            assert stop - first == tokens.num_scored[text]
            assert first - start == tokens.first_scored[text] - 1
        assert used.max() <= 1
        np.testing.assert_array_equal(batch.segment_BT > 0, used > 0)
        for row in range(len(used)):
            numbers = batch.segment_BT[row][batch.segment_BT[row] > 0]
            assert (np.diff(numbers) >= 0).all()
    assert sorted(seen) == [i for i in range(len(texts)) if tokens.num_scored[i] > 0]


@settings(max_examples=30, deadline=None)
@given(lengths=LENGTHS, batch_tokens=st.integers(1, 6000))
def test_few_shapes_and_the_promised_batches(lengths, batch_tokens):
    _, tokens = _tokens(lengths)
    packed = plan(tokens, batch_tokens=batch_tokens)
    made = list(batches(tokens, packed))
    assert len(made) == packed.num_batches
    assert sum(b.ids_BT.size for b in made) == packed.num_places
    shapes = {(*b.ids_BT.shape, b.reach) for b in made}
    assert shapes == set(packed.shapes)
    assert len(packed.shapes) <= 4


@pytest.mark.parametrize("batch_tokens", [2048, 4096, 16384])
@pytest.mark.parametrize("kind", ["like the Pile", "short", "few", "one long"])
def test_little_is_wasted(kind, batch_tokens):
    random = np.random.default_rng(1)
    lengths = {
        "like the Pile": random.normal(260, 50, 3000).clip(60, 900).astype(int),
        "short": random.normal(85, 15, 3000).clip(10, 250).astype(int),
        "few": random.integers(100, 300, 20),
        "one long": [*random.normal(260, 50, 1000).astype(int).tolist(), 1900],
    }[kind]
    _, tokens = _tokens([int(n) for n in lengths])
    packed = plan(tokens, batch_tokens=batch_tokens)
    places = int((tokens.lengths - 1).sum())
    # A last batch is rounded up: it may cost up to one batch on top of the 2 %.
    assert packed.num_places <= 1.02 * places + batch_tokens


def test_rows_are_shorter_where_attention_weighs_more():
    lengths = np.random.default_rng(1).normal(260, 50, 3000).clip(60, 900).astype(int)
    _, tokens = _tokens([int(n) for n in lengths])
    narrow, wide = (plan(tokens, batch_tokens=4096, width=width) for width in (512, 8192))
    assert max(T for _, T, _ in narrow.shapes) < max(T for _, T, _ in wide.shapes)
    assert wide.num_places < narrow.num_places < 1.05 * wide.num_places


def test_no_texts():
    _, tokens = _tokens([0, 1])
    assert plan(tokens, batch_tokens=128).num_batches == 0
