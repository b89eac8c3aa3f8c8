"""`jaxmap compare` between tokenizers, place by place, against full logits of PyTorch."""

from __future__ import annotations

import csv
import itertools
import json
import math

import numpy as np
import pytest
from support.browser import CHROMIUM, Browser
from support.checkpoints import TEXTS, add_tokenizer, bytes_tokenizer_json, jaxmap, watch
from support.reference import logits, make_model

import jaxmap as package
from jaxmap.comparison.subsets import CAPITALISED, KINDS
from jaxmap.corpus.token_spans import byte_spans
from jaxmap.corpus.tokens import load_tokenizer

LLAMA = dict(
    model_type="llama",
    vocab_size=331,
    hidden_size=24,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=32,
    max_position_embeddings=40,  # some texts are cut, elsewhere by each
)
WORDS = [
    {"text": text, "meta": {"set": "ab"[n % 2]}}
    for n, text in enumerate((*TEXTS, "12 + 34 = 46, \u6771\u4eac", "</script> & <b> " * 3))
]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A reference, a model that reads bytes after a first token, and the texts."""
    pytest.importorskip("torch")
    root = tmp_path_factory.mktemp("aligned")
    made = {}
    for seed, name in enumerate(("reference", "other")):
        made[name] = root / name, make_model(LLAMA, root / name, seed=seed)
        add_tokenizer(root / name)
    (root / "other" / "tokenizer.json").write_text(bytes_tokenizer_json())
    (root / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in WORDS))
    return root, made


def by_hand(folder, model, texts):
    """Of each text: (log-probability, first byte, last + 1) of each scored token, float64."""
    tokenizer = load_tokenizer(folder)
    tokens = tokenizer.encode(texts, 40)
    start_M, end_M = byte_spans(tokenizer, texts, tokens)
    found, at = [], 0
    for n in range(len(texts)):
        ids = tokens.ids[tokens.offsets[n] : tokens.offsets[n + 1]]
        rows = []
        if len(ids) > 1:
            logits_TV = logits(model, ids)[:-1].astype(np.float64)
            top_T1 = logits_TV.max(-1, keepdims=True)
            total_T = top_T1[:, 0] + np.log(np.exp(logits_TV - top_T1).sum(-1))
            logp_T = logits_TV[np.arange(len(ids) - 1), ids[1:]] - total_T
            for logp in logp_T:
                rows.append((float(logp), int(start_M[at]), int(end_M[at])))
                at += 1
        found.append(rows)
    assert at == len(start_M)
    return found


def bounds(rows):
    return {row[1] for row in rows[:1]} | {row[2] for row in rows}


def with_bytes(rows):
    """(log-probability, end) of each token; of one without bytes that of the next."""
    found, end_of_next = [], None
    for logp, start, end in reversed(rows):
        end_of_next = end if end > start or end_of_next is None else end_of_next
        found.append((logp, end_of_next))
    return found


def test_places_and_totals(models, tmp_path):
    root, made = models
    texts = package.load_texts(root / "texts.jsonl")
    found = package.compare(
        root / "other", texts, tmp_path, reference=root / "reference", page=True, by="meta.set"
    )
    found.raise_for_failures()
    [one] = found.compared
    theirs, ours = (by_hand(*made[name], texts) for name in ("reference", "other"))
    num_bytes = int(texts.num_bytes.sum())
    totals = [np.array([sum(row[0] for row in rows) for rows in of]) for of in (theirs, ours)]
    bits = [-total.sum() / num_bytes / math.log(2) for total in totals]
    assert one.row.bits_per_byte == pytest.approx(bits[1], rel=1e-5)
    assert one.row.delta_bits_per_byte == pytest.approx(bits[1] - bits[0], rel=1e-4)
    variance = (totals[1] - totals[0]).var() / (2 * texts.num_bytes.mean() * math.log(2))
    assert one.row.kl_bits_per_byte == pytest.approx(variance, rel=1e-4)
    assert math.isnan(one.row.token_kl_nats)
    assert one.row.tokens == sum(map(len, ours))
    # Each model's own total, as `score` has it.
    store = tmp_path / "scores"
    package.score([root / "reference", root / "other"], texts, store).raise_for_failures()
    scores = package.open_store(store).dataset()["log_likelihood"].sum("text").values
    kept = -scores / num_bytes / math.log(2)  # in the order of names: other, reference
    assert one.row.bits_per_byte == pytest.approx(kept[0], rel=1e-6)
    assert one.row.bits_per_byte - one.row.delta_bits_per_byte == pytest.approx(kept[1], rel=1e-6)

    shown = {view.text: view for view in one.views}
    assert len(shown) >= 5
    cut = 0
    for n, view in shown.items():
        common = sorted(bounds(ours[n]) & bounds(theirs[n]))
        data = texts.texts[n].encode()
        pairs = list(itertools.pairwise(common))
        assert [token.text for token in view.tokens] == [data[a:b].decode() for a, b in pairs]
        cut += len(data) > common[-1]
        assert view.before == data[: common[0]].decode()
        for (a, b), token in zip(pairs, view.tokens, strict=True):
            for rows, said in ((ours[n], token.logp), (theirs[n], token.reference_logp)):
                inside = sum(logp for logp, end in with_bytes(rows) if a < end <= b)
                assert said == pytest.approx(inside, rel=1e-4)
            assert token.kl == pytest.approx(token.reference_logp - token.logp)
    assert cut  # a text of which one model reads more than the other
    worst = one.worst[0]
    view = shown[worst.text]
    sums = [sum(t.kl for t in view.tokens[i : i + 8]) for i in range(len(view.tokens) - 7)]
    assert worst.span_delta_nats == pytest.approx(max(sums, key=abs))
    assert worst.delta_nats == pytest.approx(sum(token.kl for token in view.tokens))

    details = {(d.subset, d.statistic): d for d in one.details}
    assert details["all", "bits_per_byte"].value == pytest.approx(one.row.bits_per_byte)
    chosen = np.arange(len(texts)) % 2 == 1
    expected = -totals[1][chosen].sum() / texts.num_bytes[chosen].sum() / math.log(2)
    assert details["meta.set=b", "bits_per_byte"].value == pytest.approx(expected, rel=1e-5)
    kinds = {f"token: {kind}" for kind in set(KINDS) - {CAPITALISED, "other letters"}}
    assert kinds <= {subset for subset, _ in details}


def test_files_page_and_card(models, tmp_path, monkeypatch):
    root, _ = models
    store, out = tmp_path / "store", tmp_path / "out"
    flags = [
        f"--store={store}", f"--texts={root / 'texts.jsonl'}", f"--reference={root / 'reference'}",
        f"--models={root / 'other'},{root / 'reference'}", "--page",
        "--by=meta.set", f"--out={out}", "--floor_dtype=bfloat16", "--dtype=float32",
    ]  # fmt: skip
    ran = jaxmap("compare", *flags)
    assert (ran.code, "no token KL: reads text 0 (" in ran.out) == (0, True)
    with (out / "compare.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    empty = [[name for name, value in row.items() if value == ""] for row in rows]
    assert set(empty[0]) == {"same_top_token"} | {n for n in rows[0] if n.startswith("token_kl")}
    assert empty[1:] == [[]]
    card = (out / "compare.md").read_text()
    assert "other has no token KL: it reads text 0" in card
    assert "nan" not in card
    with (out / "compare_texts.csv").open(newline="") as file:
        first = next(csv.DictReader(file))
    assert (first["token_kl_nats"], first["span_kl_nats"]) == ("", "")
    assert float(first["span_delta_nats"])
    page = (out / "compare.html").read_text()
    assert "difference, nats:" in page
    assert "nan" not in page.split("<h2>Models</h2>")[1].split("<script")[0]
    loads = watch(monkeypatch)
    assert jaxmap("compare", *flags).code == 0
    assert loads == []
    with (out / "compare.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == rows
    found = package.card(store)
    kept = {one.row.model: one for one in found.compared}
    assert kept[str(root / "other")].other_tokens.startswith("reads text 0")
    assert "has no token KL" in found.markdown()


def test_a_part_of_the_report(models, tmp_path):
    """What was compared stands in the report of the same store, before the methods."""
    root, _ = models
    names = [root / "other", root / "reference"]
    package.score(names, root / "texts.jsonl", tmp_path).raise_for_failures()
    before = package.report(tmp_path).html
    package.compare(names, root / "texts.jsonl", tmp_path, reference=root / "reference")
    page = package.report(tmp_path, out=tmp_path / "report.html").html
    assert "Token by token" not in before
    heading = page.index('<section id="token-by-token-beside-reference">')
    assert heading < page.index("other has no token KL: it reads text 0") < page.rindex("<h2>")
    assert page.count("<h2>") == before.count("<h2>") + 1


@pytest.mark.skipif(not CHROMIUM, reason="needs chromium")
def test_the_page_tells_of_stretches(models, tmp_path):
    root, _ = models
    package.compare(
        root / "other", root / "texts.jsonl", tmp_path / "s", reference=root / "reference",
        page=True, out=tmp_path,
    )  # fmt: skip
    with Browser(tmp_path / "profile", width=390, height=800) as browser:
        browser.open(tmp_path / "compare.html")
        assert browser.run("document.documentElement.scrollWidth") <= 390
        browser.run("document.querySelector('.token').click()")
        told = browser.run("document.getElementById('token-tip').innerText")
        assert "difference" in told
        assert told.count("%") == 2
        assert browser.errors == []
