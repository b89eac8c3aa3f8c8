"""Texts by field, tokens by kind, the worst texts and spans, and the page that shows them."""

from __future__ import annotations

import csv
import json
import re

import numpy as np
import pytest
from support.browser import CHROMIUM, Browser
from support.checkpoints import LLAMA, TEXTS, jaxmap, make_checkpoint, watch

import jaxmap as package
from jaxmap.comparison.subsets import by_fields, by_kind, worst_texts
from jaxmap.comparison.token_comparison import STATISTICS, TokenComparison
from jaxmap.corpus.texts import TextSet
from jaxmap.corpus.token_spans import byte_spans
from jaxmap.corpus.tokens import load_tokenizer
from jaxmap.errors import InputError

ROWS = [
    {"text": text, "source": "code" if "def" in text else "prose", "meta": {"part": n % 2}}
    for n, text in enumerate((*TEXTS, "1234 56 ... </script><b>&amp;"))
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("parts")
    (root / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    for seed, name in enumerate(("reference", "model")):
        make_checkpoint(root / name, LLAMA, seed=seed)
    return root


def test_texts_by_field(folders):
    texts = package.load_texts(folders / "texts.jsonl")
    masks = by_fields(texts, ("source", "meta.part"))
    assert list(masks) == ["source=prose", "source=code", "meta.part=0", "meta.part=1"]
    np.testing.assert_array_equal(masks["source=code"], ["def" in row["text"] for row in ROWS])
    np.testing.assert_array_equal(masks["meta.part=1"], [row["meta"]["part"] for row in ROWS])
    with pytest.raises(InputError, match="no text has the field 'lang'"):
        by_fields(texts, ("lang",))
    with pytest.raises(InputError, match="they have none"):
        by_fields(TextSet(("a",)), ("lang",))


def test_tokens_by_kind(folders):
    text = "a\nwest of 12 -- na\u00efve \u6771\u4eac, \U0001f98a x1"
    texts = TextSet((text,))
    data = text.encode()
    tokenizer = load_tokenizer(folders / "model")
    tokens = tokenizer.encode(texts)
    spans = byte_spans(tokenizer, texts, tokens)
    masks = by_kind(texts, spans, np.array([0, len(spans[0])]))
    assert sum(masks.values()).tolist() == [1] * len(spans[0])  # each is of one kind
    said = {
        name: [data[a:b].decode(errors="ignore") for a, b in zip(*(s[m] for s in spans))]  # noqa: B905
        for name, m in masks.items()
    }
    assert "".join(said["token: digits"]).replace(" ", "") == "121"
    assert {"\u6771", "\u4eac"} & {"".join(said["token: other letters"])[i] for i in (0, -1)}
    assert set(said["token: part of a character or special"]) == {""}
    assert "\U0001f98a" in "".join(said["token: punctuation"])


def test_code_and_capitalised_words_by_frequency():
    """Cut by hand into words with the space before them."""
    words = [
        "Anna", " met", " Bob", " and", " Anna", " read", " get_name", "();", " fooBar", " (",
        "see", ")", " x", " ==", " y", ".", " \u00c9mile", " 3", *[" Zed"] * 12, " NASA", " don't",
    ]  # fmt: skip
    ends = np.cumsum([len(word.encode()) for word in words])
    spans = np.concatenate([[0], ends[:-1]]), ends
    masks = by_kind(TextSet(("".join(words),)), spans, np.array([0, len(words)]))
    of = {name: [words[i] for i in np.flatnonzero(mask)] for name, mask in masks.items()}
    assert of["token: code"] == [" get_name", "();", " fooBar", " =="]
    assert of["token: capitalised, seen once"] == [" Bob", " \u00c9mile"]
    assert of["token: capitalised, seen 2 to 9 times"] == ["Anna", " Anna"]
    assert of["token: capitalised, seen 10 times or more"] == [" Zed"] * 12
    assert of["token: punctuation"] == [" (", ")", "."]
    assert {" NASA", " don't", " met"} <= set(of["token: Latin letters"])
    assert sum(masks.values()).tolist() == [1] * len(words)


def test_the_worst_texts_and_spans():
    """Of numbers that are known: one text is worse, and in it eight tokens are."""
    counts = [30, 40, 3]
    offsets_N1 = np.concatenate([[0], np.cumsum(counts)])
    kl_M = np.full(73, 0.1, np.float32)
    kl_M[30 + 12 : 30 + 20] = 2.0
    kl_M[70:] = 9.0  # of a text that is too short to say much
    arrays = dict.fromkeys(STATISTICS, np.zeros(73, np.float32)) | {"kl_M": kl_M}
    arrays["log_likelihood_M"] = np.full(73, -0.5, np.float32)
    found = TokenComparison(**arrays, offsets_N1=offsets_N1)
    texts = TextSet(tuple("".join(chr(97 + i % 26) for i in range(n + 1)) for n in counts))
    starts = np.concatenate([np.arange(1, n + 1) for n in counts])
    first, second, third = worst_texts(found, texts, (starts, starts + 1))
    assert (first.text, second.text, third.text) == (1, 0, 2)
    assert (first.first_byte, first.last_byte) == (13, 21)
    assert first.span == texts.texts[1][13:21]
    assert first.span_kl_nats == pytest.approx(2.0)
    assert first.token_kl_nats == pytest.approx((32 * 0.1 + 16) / 40)
    assert first.delta_nats == pytest.approx(20.0)
    assert third.tokens == 3


def test_files_and_page(folders, tmp_path, monkeypatch):
    store, out = tmp_path / "store", tmp_path / "out"
    flags = [
        f"--store={store}", f"--texts={folders / 'texts.jsonl'}", f"--out={out}",
        f"--reference={folders / 'reference'}", f"--models={folders / 'model'}",
        "--quantize=none,nf4", "--by=source", "--page",
    ]  # fmt: skip
    assert jaxmap("compare", *flags).code == 0
    with (out / "compare_statistics.csv").open() as file:
        rows = list(csv.DictReader(file))
    subsets = {row["subset"] for row in rows}
    assert {"source=code", "source=prose", "token: digits", "token: Latin letters"} <= subsets
    with (out / "compare_texts.csv").open() as file:
        worst = list(csv.DictReader(file))
    assert len(worst) == 2 * sum(len(text) > 1 for text in (row["text"] for row in ROWS))
    page = (out / "compare.html").read_text()
    assert "</script><b>" not in page
    data = json.loads(re.search(r'<script type="application/json">(.*?)</script>', page)[1])
    assert data.pop("names") == ["KL", "KL"]
    data = data["views"]
    assert len(data) == 2
    text = "".join(token[0] for token in data[0][0])
    assert any(row["text"].endswith(text) for row in ROWS)
    for _, kl, logp, _, own, reference in data[0][0]:
        assert len(own) == len(reference) == 5
        assert own[0][1] >= own[4][1] > 0
        assert logp <= np.log(own[0][1]) + 1e-3
        assert kl >= 0
    loads = watch(monkeypatch)
    (out / "compare.html").unlink()
    assert jaxmap("compare", *flags).code == 0
    assert loads == []
    assert (out / "compare.html").read_text() == page
    bad = jaxmap("compare", *flags[:-2], "--by=language")
    assert bad.code == 2
    assert "--by: no text has the field 'language'; they have meta.part, source" in bad.err


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_the_page_in_a_browser(folders, tmp_path):
    package.compare(
        folders / "model",
        folders / "texts.jsonl",
        tmp_path / "store",
        reference=folders / "reference",
        quantize="none,nf4",
        page=True,
        out=tmp_path,
    )
    with Browser(tmp_path / "profile", width=390, height=800) as browser:
        browser.open(tmp_path / "compare.html")
        assert browser.run("document.documentElement.scrollWidth") <= 390
        shown = "[...document.querySelectorAll('[data-model]')].map(s => s.hidden)"
        assert browser.run(shown) == [False, True]
        browser.run("document.querySelector('.token').click()")
        told = browser.run("document.getElementById('token-tip').innerText")
        assert "nats" in told
        assert told.count("%") == 12
        browser.run(
            "{const s = document.querySelector('.coloured select'); s.value = 1;"
            "s.dispatchEvent(new Event('change'));}"
        )
        assert browser.run(shown) == [True, False]
        assert browser.run("document.getElementById('token-tip').hidden")
        assert browser.errors == []
        assert browser.requests == [(tmp_path / "compare.html").as_uri()]
