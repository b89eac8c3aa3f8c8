"""`jaxmap tokens`: statistics of kept log-probabilities against their definitions."""

from __future__ import annotations

import csv
import itertools
import json
import math

import numpy as np
import pytest
from support.checkpoints import (
    LLAMA,
    TEXTS,
    bytes_tokenizer_json,
    jaxmap,
    make_checkpoint,
    write_texts,
)

import jaxmap as package
from jaxmap.comparison.estimates import ratio
from jaxmap.comparison.token_statistics import KL_OVER
from jaxmap.errors import InputError
from jaxmap.store import token_spans

WORDS = (*TEXTS, *(f"line {n}: {'abc ' * (n % 7)}é {n * n}" for n in range(24)))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A store of two models with one tokenizer and one with another, and no model left."""
    root = tmp_path_factory.mktemp("kept")
    rows = [{"text": text, "meta": {"set": "ab"[n % 2]}} for n, text in enumerate(WORDS)]
    (root / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for seed, name in enumerate(("a", "b", "bytes")):
        make_checkpoint(root / name, LLAMA, seed=seed, max_position_embeddings=48)
    (root / "bytes" / "tokenizer.json").write_text(bytes_tokenizer_json())
    models = [root / name for name in ("a", "b", "bytes")]
    scored = package.score(models, root / "texts.jsonl", root / "store", keep_tokens=True)
    scored.raise_for_failures()
    for model in models:
        (model / "model.safetensors").unlink()
    return root


def rows_of(found, model):
    """(subset, statistic) -> row."""
    chosen = [row for row in found.found if row.model.endswith(f"/{model}")]
    return {(row.subset, row.statistic): row for row in chosen}


def scores(store, name):
    [entry] = [one for one in store.records() if one.label.endswith(f"/{name}")]
    value_M, offsets_N1 = store.load_tokens(entry, "token_log_likelihood")
    spans = token_spans.read(token_spans.path_of(store.path, entry.identity, entry.provenance))
    return value_M.astype(float), offsets_N1, spans


def per_text(value_M, offsets_N1):
    return np.array([value_M[a:b].sum() for a, b in itertools.pairwise(offsets_N1)])


@pytest.mark.parametrize("other", ["b", "bytes"])
def test_statistics_are_their_definitions(place, tmp_path, other):
    store = package.open_store(place / "store")
    found = package.tokens(
        store, reference=str(place / "a"), texts=place / "texts.jsonl", by="meta.set", out=tmp_path
    )
    rows = rows_of(found, other)
    ours_M, ours_N1, spans = scores(store, other)
    theirs_M, theirs_N1, _ = scores(store, "a")
    ours_N, theirs_N = per_text(ours_M, ours_N1), per_text(theirs_M, theirs_N1)
    bytes_N = np.array([len(text.encode()) for text in WORDS])
    of_b = np.arange(len(WORDS)) % 2 == 1
    for subset, some_N in (("all", np.ones(len(WORDS), bool)), ("meta.set=b", of_b)):
        bits = bytes_N[some_N] * math.log(2)
        d_N = (ours_N - theirs_N)[some_N]
        expected = {
            "bits_per_byte": ratio(-ours_N[some_N], bits),
            "delta_bits_per_byte": ratio(-d_N, bits),
        }
        for name, one in expected.items():
            row = rows[subset, name]
            assert row.value == pytest.approx(one.value, rel=1e-12)
            assert row.standard_error == pytest.approx(one.standard_error, rel=0.2)
        kl = rows[subset, "kl_bits_per_byte"].value
        assert kl == pytest.approx(d_N.var() / (2 * bytes_N[some_N].mean() * math.log(2)))
    # The numbers of the store's own, which keeps sums of float32 log-probabilities.
    kls = package.kl(store, base=str(place / "a")).to_dataframe().set_index("model_b")
    label = next(name for name in kls.index if name.endswith(f"/{other}"))
    expected = kls.kl_bits_per_byte[label]
    assert rows["all", "kl_bits_per_byte"].value == pytest.approx(expected, rel=5e-3)
    if other == "b":  # the same tokens, each with bytes or not
        d_S = []
        for a, b in itertools.pairwise(ours_N1):
            parts, without = [], 0.0
            for m in range(a, b):
                without += ours_M[m] - theirs_M[m]
                if spans.end_M[m] > spans.start_M[m]:
                    parts, without = [*parts, without], 0.0
            if without:
                parts[-1] += without
            d_S += parts
        d_S = np.array(d_S)
        expected = d_S.var() * len(d_S) / (2 * bytes_N.sum() * math.log(2))
        assert rows["all", "kl_over_tokens"].value == pytest.approx(expected)
    with open(tmp_path / "tokens.csv", newline="") as file:
        read = list(csv.DictReader(file))
    assert len(read) == len(found.found) == len(found.to_dataframe())
    kinds = {row["subset"] for row in read if row["subset"].startswith("kind: ")}
    assert {"kind: digits", "kind: Latin letters"} <= kinds


def test_kinds_add_up(place):
    """Bits per byte of all tokens are those of the kinds, weighed by their bytes."""
    store = package.open_store(place / "store")
    texts = place / "texts.jsonl"
    one = rows_of(package.tokens(store, texts=texts, draws=2), "bytes")
    _, _, spans = scores(store, "bytes")
    letters = rows_of(package.tokens(store, texts=texts, draws=2, clip=1e-9), "bytes")
    assert letters["all", "bits_per_byte"].value == pytest.approx(
        1e-9 * len(spans.end_M) / (sum(len(t.encode()) for t in WORDS) * math.log(2))
    )
    assert one["kind: digits", "bits_per_byte"].value > 0
    # With one byte a token clipped to c nats, whole characters of one byte cost c / ln 2 a byte.
    assert letters["kind: digits", "bits_per_byte"].value == pytest.approx(1e-9 / math.log(2))


def test_units_and_clippings(place):
    store, base = package.open_store(place / "store"), str(place / "a")
    by_unit = {
        unit: rows_of(package.tokens(store, reference=base, unit=unit, block=16), "b")
        for unit in KL_OVER
    }
    values = {unit: rows["all", "delta_bits_per_byte"] for unit, rows in by_unit.items()}
    assert values["text"].value == values["block"].value == values["token"].value
    assert values["text"].units < values["block"].units < values["token"].units
    for unit, name in KL_OVER.items():
        for other, rows in by_unit.items():
            has = list(KL_OVER).index(other) <= list(KL_OVER).index(unit)
            assert math.isfinite(rows["all", name].standard_error) == has
    # Drawing tokens as if they were independent: the error of the mean of d over tokens.
    ours_M, _, _ = scores(store, "b")
    theirs_M, _, _ = scores(store, "a")
    error = (ours_M - theirs_M).std() * math.sqrt(len(ours_M))
    error /= sum(len(text.encode()) for text in WORDS) * math.log(2)
    assert values["token"].standard_error == pytest.approx(error, rel=0.25)

    short = rows_of(package.tokens(store, max_bytes=10, draws=2), "bytes")["all", "bits_per_byte"]
    ours_M, offsets_N1, spans = scores(store, "bytes")
    inside_M = spans.end_M <= 10
    text_M = np.repeat(np.arange(len(WORDS)), np.diff(offsets_N1))
    has_M = spans.end_M > spans.start_M
    # Parts of a character go with its last byte.
    for m in range(len(ours_M) - 2, -1, -1):
        if not has_M[m] and text_M[m] == text_M[m + 1]:
            inside_M[m] = inside_M[m + 1]
    num_bytes = sum(spans.end_M[(text_M == n) & inside_M].max(initial=0) for n in range(len(WORDS)))
    expected = -ours_M[inside_M].sum() / (num_bytes * math.log(2))
    assert short.value == pytest.approx(expected, rel=1e-9)


def test_bad_input(place, tmp_path):
    store, texts = place / "store", place / "texts.jsonl"
    for message, flags in {
        "unit: one of": ["--unit=word"],
        "reference": ["--reference=nobody"],
        "--block": ["--block=0"],
        "--clip": ["--clip=-1"],
        "--texts": ["--by=meta.set"],
        "no text has the field 'x'": ["--by=x", f"--texts={texts}"],
        "not the texts": [f"--texts={write_texts(tmp_path / 'other.jsonl')}"],
    }.items():
        ran = jaxmap("tokens", f"--store={store}", f"--out={tmp_path}", *flags)
        assert ran.code == 2, message
        assert message.split(":")[0] in ran.err
    plain = tmp_path / "plain"
    package.score(make_checkpoint(tmp_path / "m", LLAMA), texts, plain).raise_for_failures()
    with pytest.raises(InputError, match="no result has log-probabilities of tokens"):
        package.tokens(plain)
    assert jaxmap("tokens", f"--store={store}", f"--out={tmp_path}").code == 0
