"""The cutting recipe: no character cut, sizes bounded, nothing lost; and the published draw."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxmap.corpus.chunks import chunk, sample_chunks
from jaxmap.errors import InputError, JaxmapError

# Characters of 1 to 4 bytes in every mixture, so that splits fall inside each kind.
DOCUMENT = st.text(st.sampled_from("aé€😀\n") | st.characters(exclude_categories=["Cs"]))
WORDS = ("stone", "água", "河", "🦉", "tide", "moor")


def make_documents(count: int, seed: int = 0) -> list[tuple[str, str]]:
    rng = random.Random(seed)
    return [
        (f"doc{i}", " ".join(rng.choices(WORDS, k=rng.choice([0, 1, 20, 60, 200]))))
        for i in range(count)
    ]


@given(document=DOCUMENT, max_bytes=st.integers(4, 40))
def test_pieces_are_bounded_whole_and_joined_give_the_document(document, max_bytes):
    pieces = list(chunk(document, max_bytes))
    assert "".join(pieces) == document
    assert all(0 < len(piece.encode()) <= max_bytes for piece in pieces)
    # As long as can be: the next character would not have fitted.
    for piece, after in itertools.pairwise(pieces):
        assert len((piece + after[0]).encode()) > max_bytes


def test_a_split_moves_back_to_the_characters_start():
    assert list(chunk("abc😀d", 4)) == ["abc", "😀", "d"]
    assert list(chunk("abcé€", 4)) == ["abc", "é", "€"]
    assert list(chunk("x" * 2049)) == ["x" * 1024, "x" * 1024, "x"]
    assert list(chunk("")) == []


def test_bad_sizes_are_refused_at_the_call():
    for max_bytes in (3, 0, -1):
        with pytest.raises(InputError, match="max_bytes"):
            chunk("abc", max_bytes)
    for sizes in ({"min_bytes": 64, "max_bytes": 64}, {"min_bytes": -1}, {"n": 0}):
        with pytest.raises(InputError, match=next(iter(sizes))):
            sample_chunks([("a", "b" * 3000)], **sizes)
    with pytest.raises(InputError, match=r"a\.txt: character 1 is a lone surrogate"):
        sample_chunks([("a.txt", "x\ud800")])


def test_the_draw_is_the_published_one():
    """Against the recipe word for word, with its global generator and its list of chunks."""
    documents = [(f"d{i}", f"{i} " + "ab é " * 1000) for i in range(9000)]
    published = []
    for doc_idx, (name, text) in enumerate(documents):
        for chunk_idx, piece in enumerate(chunk(text, 1024)):
            if len(piece.encode("utf-8")) > 256:
                published.append((piece, name, doc_idx, chunk_idx))
    assert len(published) > 40_000
    state = random.getstate()
    random.seed(42)
    expected = random.sample(published, 40_000)[:10_000]
    random.setstate(state)
    ours = sample_chunks(iter(documents))
    assert [(c.text, c.document, c.doc_idx, c.chunk_idx) for c in ours] == expected
    assert sample_chunks(iter(documents), n=10_000) == ours


@given(seed=st.integers(0, 5), n=st.integers(1, 60), count=st.integers(0, 30))
def test_small_corpora_draw_all_there_is(seed, n, count):
    documents = make_documents(count, seed)
    kept = [
        (piece, name, d, i)
        for d, (name, text) in enumerate(documents)
        for i, piece in enumerate(chunk(text, 128))
        if len(piece.encode()) > 50
    ]
    options = {"min_bytes": 50, "max_bytes": 128, "seed": seed}
    if n > len(kept):
        with pytest.raises(InputError, match=f"only {len(kept)} chunks .* {n} wanted"):
            sample_chunks(documents, n, **options)
    else:
        expected = random.Random(seed).sample(kept, min(4 * n, len(kept)))[:n]
        ours = sample_chunks(documents, n, **options)
        assert [(c.text, c.document, c.doc_idx, c.chunk_idx) for c in ours] == expected
    if kept:
        everything = sample_chunks(documents, **options)
        assert sorted((c.doc_idx, c.chunk_idx) for c in everything) == [k[2:] for k in kept]
    else:
        with pytest.raises(InputError, match="only 0 chunks"):
            sample_chunks(documents, **options)


def test_chunks_of_exactly_min_bytes_are_dropped():
    [only] = sample_chunks([("a", "x" * 256), ("b", "y" * 257)])
    assert (only.text, only.document, only.doc_idx, only.chunk_idx) == ("y" * 257, "b", 1, 0)


def test_large_corpora_go_through_a_file(tmp_path):
    documents = make_documents(300)
    expected = sample_chunks(documents, 50)
    assert sample_chunks(documents, 50, scratch=tmp_path, in_memory=1000) == expected
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(JaxmapError, match="scratch file"):
        sample_chunks(documents, 50, scratch=tmp_path / "missing", in_memory=1000)
