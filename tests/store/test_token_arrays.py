"""`--keep_tokens`: log-probabilities of tokens in 16 bits, and the bytes that tokens stand for."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from support.checkpoints import TEXTS, jaxmap, make_checkpoint, write_texts

import jaxmap as package
from jaxmap.corpus.token_spans import byte_spans
from jaxmap.corpus.tokens import load_tokenizer
from jaxmap.errors import JaxmapError
from jaxmap.store import token_spans
from jaxmap.store.statistics import in_16_bits

LLAMA = dict(
    model_type="llama",
    vocab_size=331,
    hidden_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=24,
    max_position_embeddings=32,
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("tokens")
    make_checkpoint(root / "model", LLAMA, seed=3)
    write_texts(root / "texts.jsonl", (*TEXTS, "é東京 " * 30))
    return root


def test_rounding_to_16_bits():
    rng = np.random.default_rng(0)
    value_M = -(10.0 ** rng.uniform(-9, 4, 20_000)).astype(np.float32)
    rounded_M = in_16_bits(value_M)
    assert rounded_M.dtype == np.float16
    error_M = np.abs(rounded_M.astype(np.float64) - value_M)
    bound_M = np.where(value_M > -(2.0**-14), 2.0**-25, np.abs(value_M) * 2.0**-11)
    assert (error_M <= bound_M).all()
    assert (error_M > bound_M / 3).any()  # the bound is near
    large_M = np.array([-1.0, -1e5], np.float32)
    assert in_16_bits(large_M) is large_M
    assert in_16_bits(large_M[:0]).dtype == np.float16


def test_kept_beside_a_finished_record(place, tmp_path):
    store, exact = tmp_path / "store", tmp_path / "exact"
    flags = f"--texts={place / 'texts.jsonl'}", f"--models={place / 'model'}"
    assert jaxmap("score", f"--store={store}", *flags).code == 0
    [before] = (store / "records").iterdir()
    content = before.read_bytes()
    ran = jaxmap("score", f"--store={store}", *flags, "--keep_tokens")
    assert (ran.code, ran.out.split(",")[0]) == (0, "1 scored")
    ran = jaxmap("score", f"--store={store}", *flags, "--keep_tokens")
    assert ran.out.startswith("0 scored, 1 already done")
    assert [path.read_bytes() for path in (store / "records").iterdir()] == [content]

    asked = dict(statistics="token_log_likelihood")
    package.score(place / "model", place / "texts.jsonl", exact, **asked).raise_for_failures()
    kept, whole = package.open_store(store), package.open_store(exact)
    [entry] = kept.records()
    value_M, offsets_N1 = kept.load_tokens(entry, "token_log_likelihood")
    exact_M, _ = whole.load_tokens(whole.records()[0], "token_log_likelihood")
    assert (value_M.dtype, exact_M.dtype) == (np.float16, np.float32)
    assert not np.array_equal(value_M, exact_M)
    assert (np.abs(value_M.astype(float) - exact_M) <= np.abs(exact_M) * 2.0**-11 + 2**-25).all()
    vector_N = kept.load(entry).vector
    sums_N = [value_M[a:b].astype(float).sum() for a, b in itertools.pairwise(offsets_N1)]
    np.testing.assert_allclose(sums_N, vector_N, rtol=2.0**-11)

    spans = token_spans.read(token_spans.path_of(store, entry.identity, entry.provenance))
    texts, tokenizer = package.load_texts(place / "texts.jsonl"), load_tokenizer(place / "model")
    tokens = tokenizer.encode(texts, 32)
    assert tokens.truncated.any()
    start_M, end_M = byte_spans(tokenizer, texts, tokens)
    np.testing.assert_array_equal(spans.start_M, start_M)
    np.testing.assert_array_equal(spans.end_M, end_M)
    np.testing.assert_array_equal(spans.offsets_N1, offsets_N1)


def test_spans_of_pairs(tmp_path):
    """What stands before a response's first token is not zero, and a text may have no token."""
    start_M, end_M = np.array([3, 7, 0]), np.array([7, 90_000, 2])
    offsets_N1 = np.array([0, 0, 2, 3, 3])
    path = tmp_path / "spans.safetensors"
    token_spans.write(path, token_spans.Spans(start_M, end_M, offsets_N1))
    for found, made in zip(token_spans.read(path), (start_M, end_M, offsets_N1), strict=True):
        np.testing.assert_array_equal(found, made)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(JaxmapError, match="damaged; delete it"):
        token_spans.read(path)
    assert token_spans.read(tmp_path / "none") is None
