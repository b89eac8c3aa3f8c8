"""Stretches between bytes where tokens of two tokenisations end, against a search byte by byte."""

from __future__ import annotations

import itertools

import numpy as np

from jaxmap.stats.alignment import Spans, align


def cut(rng, length, *, whole):
    """Spans of a text: some without bytes; from 0 to its end if `whole`."""
    if length == 0:
        return np.zeros((0, 2), int)
    first = 0 if whole else int(rng.integers(0, length))
    last = length if whole else int(rng.integers(first, length)) + 1
    ends = np.sort(rng.integers(first, last + 1, rng.integers(0, 9)))
    ends = [*ends.tolist(), last, *[last] * int(rng.integers(0, 2))]
    return np.array([*zip([first, *ends], ends, strict=False)])


def spans_of(parts):
    flat = np.concatenate(parts).reshape(-1, 2)
    offsets_N1 = np.concatenate([[0], np.cumsum([len(part) for part in parts])])
    return Spans(flat[:, 0], flat[:, 1], offsets_N1)


def test_against_a_search_by_bytes():
    rng = np.random.default_rng(0)
    seen = {True: 0, False: 0}
    for round_ in range(60):
        lengths = [0, 1, 3, *rng.integers(1, 30, 5).tolist()]
        whole = round_ % 2 == 0
        parts = [[cut(rng, n, whole=whole) for n in lengths] for _ in range(2)]
        if round_ % 3 == 0:
            parts[1][4] = parts[1][4][:0]  # the other model scores nothing of it
        spans = [spans_of(one) for one in parts]
        found = align(*spans)
        for of, one in zip((found.of_M, found.of_L), spans, strict=True):
            assert len(of) == len(one.start_M)
            assert (np.diff(of) >= 0).all()
            text_M = np.repeat(np.arange(len(lengths)), np.diff(one.offsets_N1))
            np.testing.assert_array_equal(found.text_S[of], text_M)
            # A token lies in its stretch, or has no bytes.
            inside = (found.start_S[of] <= one.start_M) & (one.end_M <= found.end_S[of])
            assert (inside | (one.end_M == one.start_M)).all()
        for n, (a, b) in enumerate(zip(*parts, strict=True)):
            here = found.text_S == n
            bounds = [{*one[:1, 0].tolist(), *one[:, 1].tolist()} for one in (a, b)]
            common = sorted(bounds[0] & bounds[1])
            expected = [*itertools.pairwise(common)]
            shared = here & found.shared_S
            got = list(zip(found.start_S[shared], found.end_S[shared], strict=True))
            assert got == expected
            for start, end in got:  # each model has tokens there that make up just these bytes
                [place] = np.flatnonzero(shared & (found.start_S == start))
                for of, one in zip((found.of_M, found.of_L), spans, strict=True):
                    inside = of == place
                    assert (one.end_M - one.start_M)[inside].sum() == end - start
            seen[True] += shared.sum()
            seen[False] += (here & ~found.shared_S).sum()
    assert min(seen.values()) > 50


def test_a_tokenisation_with_itself():
    spans = spans_of([np.array([[2, 2], [2, 5], [5, 5], [5, 6], [6, 6]]), np.zeros((0, 2), int)])
    found = align(spans, spans)
    np.testing.assert_array_equal(found.start_S, [2, 5])
    np.testing.assert_array_equal(found.end_S, [5, 6])
    np.testing.assert_array_equal(found.of_M, [0, 0, 1, 1, 1])
    assert found.shared_S.all()
    np.testing.assert_allclose(found.sums(np.arange(5.0), found.of_L), [1, 9])
