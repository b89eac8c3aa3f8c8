"""`jaxmap compare` against full logits of PyTorch in float64, and what it keeps and refuses."""

from __future__ import annotations

import csv
import errno
import os
import shutil

import numpy as np
import pytest
from support.checkpoints import (
    add_tokenizer,
    change_tensors,
    jaxmap,
    watch,
    write_config,
    write_texts,
)
from support.reference import logits, make_model

import jaxmap as package
from jaxmap.comparison.estimates import mean_per_token
from jaxmap.comparison.table import COLUMNS
from jaxmap.corpus.tokens import load_tokenizer
from jaxmap.errors import InputError

LLAMA = dict(
    model_type="llama",
    vocab_size=331,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    intermediate_size=48,
    max_position_embeddings=64,
)
# Another head (a soft cap), another width, tied, and a vocabulary with more rows.
GEMMA = dict(
    model_type="gemma2",
    vocab_size=340,
    hidden_size=24,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=12,
    intermediate_size=40,
    max_position_embeddings=64,
    sliding_window=16,
    query_pre_attn_scalar=12,
    final_logit_softcapping=3.0,
)
# A bias at the head.
PHI = dict(
    model_type="phi",
    vocab_size=331,
    hidden_size=32,
    num_hidden_layers=1,
    num_attention_heads=4,
    intermediate_size=48,
    max_position_embeddings=64,
    partial_rotary_factor=0.5,
)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folder and PyTorch model of each."""
    pytest.importorskip("torch")
    made = {}
    for seed, (name, config) in enumerate(dict(llama=LLAMA, gemma=GEMMA, phi=PHI).items()):
        folder = tmp_path_factory.mktemp("compare") / name
        made[name] = folder, make_model(config, folder, seed=seed)
        add_tokenizer(folder)
    return made


@pytest.fixture
def texts(tmp_path):
    return write_texts(tmp_path / "texts.jsonl")


def log_softmax(model, ids, size):
    logits_TV = logits(model, ids)[:-1, :size].astype(np.float64)
    top_T1 = logits_TV.max(-1, keepdims=True)
    return logits_TV - top_T1 - np.log(np.exp(logits_TV - top_T1).sum(-1, keepdims=True))


def by_hand(models, reference, model, texts):
    """Per-token arrays from full logits, float64."""
    folder, theirs = models[reference]
    _, ours = models[model]
    tokens = load_tokenizer(folder).encode(texts, 64)
    size = min(theirs.config.vocab_size, ours.config.vocab_size)
    kl, reverse, same, logp, count = [], [], [], [], []
    for n in range(len(tokens)):
        ids = tokens.ids[tokens.offsets[n] : tokens.offsets[n + 1]]
        count.append(max(0, len(ids) - 1))
        if len(ids) < 2:
            continue
        p_TV, q_TV = log_softmax(theirs, ids, size), log_softmax(ours, ids, size)
        kl += (np.exp(p_TV) * (p_TV - q_TV)).sum(-1).tolist()
        reverse += (np.exp(q_TV) * (q_TV - p_TV)).sum(-1).tolist()
        same += (p_TV.argmax(-1) == q_TV.argmax(-1)).tolist()
        whole_TV = log_softmax(ours, ids, ours.config.vocab_size)
        logp += whole_TV[np.arange(len(ids) - 1), ids[1:]].tolist()
    return np.array(kl), np.array(reverse), np.array(same), np.array(logp), np.array(count)


@pytest.mark.parametrize(
    ("reference", "model"), [("llama", "gemma"), ("gemma", "llama"), ("llama", "phi")]
)
def test_against_full_logits(models, texts, tmp_path, reference, model):
    found = package.compare(models[model][0], texts, tmp_path / "s", reference=models[reference][0])
    [row] = found.found
    kl_M, reverse_M, same_M, logp_M, count_N = by_hand(
        models, reference, model, package.load_texts(texts)
    )
    assert row.tokens == len(kl_M)
    assert row.token_kl_nats == pytest.approx(kl_M.mean(), rel=2e-5)
    assert row.token_kl_reverse_nats == pytest.approx(reverse_M.mean(), rel=2e-5)
    assert row.token_kl_median == pytest.approx(np.median(kl_M), rel=5e-5)
    assert row.token_kl_p99 == pytest.approx(np.quantile(kl_M, 0.99), rel=5e-5)
    assert row.same_top_token == same_M.mean()
    num_bytes = package.load_texts(texts).num_bytes.sum()
    assert row.token_kl_bits_per_byte == pytest.approx(kl_M.sum() / num_bytes / np.log(2), rel=2e-5)
    assert row.bits_per_byte == pytest.approx(-logp_M.sum() / num_bytes / np.log(2), rel=2e-5)
    ends_N = np.cumsum(count_N)
    sum_N = np.array([kl_M[end - n : end].sum() for end, n in zip(ends_N, count_N, strict=True)])
    expected = mean_per_token(sum_N, count_N).standard_error
    assert row.token_kl_standard_error == pytest.approx(expected, rel=1e-4)


def test_the_estimate_of_the_papers_is_that_of_kl(models, texts, tmp_path):
    """`jaxmap kl` of the two gives the same number."""
    llama, phi = models["llama"][0], models["phi"][0]
    store = tmp_path / "store"
    [row] = package.compare(phi, texts, store, reference=llama).found
    package.score([llama, phi], texts, store).raise_for_failures()
    scores = package.open_store(store).dataset()["log_likelihood"].values.astype(np.float64)
    num_bytes = package.load_texts(texts).num_bytes
    expected = (scores[0] - scores[1]).var() / (2 * num_bytes.mean() * np.log(2))
    assert row.kl_bits_per_byte == pytest.approx(expected, rel=1e-4)


def test_a_model_beside_itself_is_the_same(models, texts, tmp_path):
    llama = models["llama"][0]
    [row] = package.compare(llama, texts, tmp_path / "s", reference=llama).found
    assert row.token_kl_nats == pytest.approx(0, abs=1e-6)
    assert row.same_top_token == 1
    assert row.delta_bits_per_byte == row.kl_bits_per_byte == 0


def test_copies_their_files_and_what_is_kept(models, texts, tmp_path, monkeypatch):
    llama, store, out = models["llama"][0], tmp_path / "store", tmp_path / "card"
    flags = [
        f"--store={store}", f"--texts={texts}", f"--reference={llama}", f"--models={llama}",
        "--quantize=int8,nf4", f"--out={out}",
    ]  # fmt: skip
    assert jaxmap("compare", *flags).code == 0
    with (out / "compare.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [row["format"] for row in rows] == ["int8", "nf4"]
    assert [row["model"] for row in rows] == [f"{llama}+int8", f"{llama}+nf4"]
    assert 0 < float(rows[0]["token_kl_nats"]) < float(rows[1]["token_kl_nats"])
    assert float(rows[1]["gib"]) < float(rows[0]["gib"])
    page = (out / "compare.md").read_text()
    assert page.count("\n| ") == 3
    with (out / "compare_statistics.csv").open() as file:
        details = [row for row in csv.DictReader(file) if row["subset"] == "all"]
    assert {row["model"] for row in details} == {f"{llama}+int8", f"{llama}+nf4"}
    assert {row["statistic"] for row in details} >= {"token_kl_q999", "perplexity_ratio"}
    assert "±" in page
    assert "jaxmap compare" in page
    assert "| llama+int8 | int8 |" in page
    assert "Compared with llama on 6 texts" in page
    assert "Scores: raw" in page
    loads = watch(monkeypatch)
    (out / "compare.csv").unlink()
    again = jaxmap("compare", *flags)
    assert again.code == 0
    assert loads == []
    with (out / "compare.csv").open() as file:
        assert list(csv.DictReader(file)) == rows


def test_floors(models, texts, tmp_path, monkeypatch):
    """The reference and each copy beside themselves in bfloat16, as `jaxmap floor` measures it."""
    llama, store, out = models["llama"][0], tmp_path / "store", tmp_path / "card"
    asked = dict(reference=llama, quantize="none,nf4", dtype="float32", floor_dtype="bfloat16")
    found = package.compare(llama, texts, store, out=out, **asked)
    own, nf4 = found.compared
    assert own.floor == found.reference_floor
    assert 1e-7 < own.floor.token_kl.value < nf4.row.token_kl_nats / 20
    assert nf4.floor.token_kl.value != own.floor.token_kl.value
    floor = package.floor(llama, texts, tmp_path / "floors", dtypes="bfloat16")
    [(_, dtype, kl, error)] = floor.rows()
    assert (own.floor.dtype, dtype) == ("bfloat16", "bfloat16")
    assert own.floor.kl.value == pytest.approx(kl, rel=1e-2)
    assert own.floor.kl.standard_error == pytest.approx(error, rel=1e-2)
    with (out / "compare_statistics.csv").open() as file:
        rows = list(csv.DictReader(file))
    floors = {(r["model"], r["statistic"]) for r in rows if r["subset"] == "floor bfloat16"}
    assert {(f"{llama}+nf4", "token_kl"), (str(llama), "kl")} <= floors
    page = (out / "compare.md").read_text()
    assert "| floor of token KL | floor of KL |" in page
    assert "The reference's own, in bfloat16: token KL" in page
    assert found.text().count("  itself in bfloat16: token KL") == 3
    loads = watch(monkeypatch)
    again = package.compare(llama, texts, store, **asked)
    assert again.found == found.found
    assert [one.floor for one in again.compared] == [one.floor for one in found.compared]
    assert loads == []


@pytest.mark.parametrize(
    ("dtype", "floor_dtype", "message"),
    [
        ("float32", "float8", "floor_dtype: 'float8' is unknown; known: float32"),
        ("bfloat16", "bfloat16", "floor_dtype: bfloat16 is the arithmetic compared in"),
        ("auto", "float32", "floor_dtype: float32 is the arithmetic compared in"),
    ],
)
def test_a_floor_in_no_other_arithmetic(models, texts, tmp_path, dtype, floor_dtype, message):
    llama = models["llama"][0]
    with pytest.raises(InputError, match=message):
        package.compare(
            llama, texts, tmp_path / "s", reference=llama, dtype=dtype, floor_dtype=floor_dtype
        ).raise_for_failures()


@pytest.mark.parametrize("bits", [16, 32])
def test_kept_states(models, texts, tmp_path, monkeypatch, bits):
    """The same numbers, and the reference is read once for its states and once for its head."""
    llama, gemma, phi = (models[name][0] for name in ("llama", "gemma", "phi"))
    store = tmp_path / "kept"
    plain = package.compare([gemma, phi], texts, tmp_path / "plain", reference=llama, page=True)
    asked = dict(reference=llama, keep_states=bits, page=True)
    loads = watch(monkeypatch)
    kept = package.compare([gemma, phi], texts, store, **asked)
    assert loads.count("llama") == loads.count("gemma") == loads.count("phi")
    [states] = (store / "comparisons").glob("*.npy")
    tokens = kept.found[0].tokens
    assert 0 <= states.stat().st_size - tokens * 32 * bits // 8 < 200
    for one, other in zip(kept.compared, plain.compared, strict=True):
        bound = 2e-3 if bits == 16 else 1e-6
        assert one.row.token_kl_nats == pytest.approx(other.row.token_kl_nats, rel=bound)
        assert one.row.bits_per_byte == pytest.approx(other.row.bits_per_byte, rel=1e-6)
        theirs = [view.tokens[0].reference_likeliest[0][1] for view in other.views]
        ours = [view.tokens[0].reference_likeliest[0][1] for view in one.views]
        assert ours == pytest.approx(theirs, rel=2e-3)
    # Without what was found at these texts it is found again, in a pass over them alone.
    for path in (store / "comparisons").glob("*.likeliest.npz"):
        path.unlink()
    [again] = package.compare(gemma, texts, store, **asked).compared
    for view, before in zip(again.views, kept.compared[0].views, strict=True):
        for token, earlier in zip(view.tokens, before.tokens, strict=True):
            assert [text for text, _ in token.likeliest] == [t for t, _ in earlier.likeliest]
            for side in ("likeliest", "reference_likeliest"):
                said = [p for _, p in getattr(token, side)]
                assert said == pytest.approx([p for _, p in getattr(earlier, side)], rel=1e-4)
    # Another model later: the states are there.
    written = states.stat().st_mtime_ns
    package.compare(llama, texts, store, **asked).raise_for_failures()
    assert states.stat().st_mtime_ns == written


def test_states_that_are_too_large_or_of_a_reference_that_changed(models, texts, tmp_path):
    llama, phi = models["llama"][0], models["phi"][0]
    folder = tmp_path / "reference"
    shutil.copytree(llama, folder)
    store = tmp_path / "store"
    small = package.compare(
        phi, texts, store, reference=folder, keep_states=32, states_budget="2KB"
    )
    [(_, error)] = small.failures
    assert str(error).startswith("states_budget=2 kB: the reference's states take 15.9 kB")
    first = package.compare(phi, texts, store, reference=folder, keep_states=32)
    change_tensors(folder, lambda tensors: tensors["lm_head.weight"].__imul__(2))
    second = package.compare(phi, texts, store, reference=folder, keep_states=32)
    assert len(list((store / "comparisons").glob("*.npy"))) == 2
    assert second.found[0].token_kl_nats != first.found[0].token_kl_nats
    with pytest.raises(InputError, match="keep_states=8: is 16 or 32"):
        package.compare(phi, texts, store, reference=folder, keep_states=8)


def test_a_full_disk_is_named(models, texts, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(np.lib.format, "write_array_header_1_0", full)
    llama, store = models["llama"][0], tmp_path / "store"
    found = package.compare(llama, texts, store, reference=llama, keep_states=32)
    [(_, error)] = found.failures
    assert "the disk is full" in str(error)
    assert not [path for path in (store / "comparisons").glob("*") if ".npy" in path.name]


def test_a_card_of_what_was_compared(models, texts, tmp_path, monkeypatch):
    llama, phi = models["llama"][0], models["phi"][0]
    store, out = tmp_path / "store", tmp_path / "card"
    shared = [f"--store={store}", f"--texts={texts}", f"--out={tmp_path / 'c'}"]
    one = jaxmap(
        "compare", *shared, f"--reference={llama}", f"--models={llama}", "--quantize=int8,nf4,fp4",
        "--dtype=float32", "--floor_dtype=bfloat16",
    )  # fmt: skip
    assert one.code == jaxmap("compare", *shared, f"--reference={llama}", f"--models={phi}").code
    loads = watch(monkeypatch)
    ran = jaxmap("card", f"--store={store}", f"--out={out}")
    assert ran.code == 0
    assert loads == []
    with (out / "card.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [row["format"] for row in rows[:3]] in (["fp4", "nf4", "int8"], ["nf4", "fp4", "int8"])
    sizes = [float(row["gib"]) for row in rows]
    assert sizes == sorted(sizes)
    assert rows[3]["model"] == str(phi)
    page = (out / "card.md").read_text()
    assert ran.out == page
    assert page.count("\n| ") == 5
    assert "jaxmap compare --store" in page
    [line] = [line for line in page.splitlines() if "+nf4" in line]
    assert line.count("±") == 5  # both KLs, both floors, the change in bits per byte
    svg = (out / "kl_and_size.svg").read_text()
    assert "floor, bfloat16" in svg
    assert (out / "kl_and_size.png").stat().st_size > 5000
    same = package.compare(llama, texts, store, reference=llama, quantize="nf4", dtype="float32")
    kept = {one.row.model: one for one in package.card(store).compared}
    assert kept[f"{llama}+nf4"].row == same.found[0]
    # Another reference: it has to be named.
    jaxmap("compare", *shared, f"--reference={phi}", f"--models={llama}")
    both = jaxmap("card", f"--store={store}", f"--out={out}")
    assert both.code == 2
    assert f"--reference: is one of {llama}, {phi}; name it" in both.err
    named = jaxmap("card", f"--store={store}", f"--out={out}", f"--reference={phi}")
    assert named.code == 0
    assert len((out / "card.csv").read_text().splitlines()) == 2
    none = jaxmap("card", f"--store={store}", f"--out={out}", "--reference=gpt")
    assert "--reference: nothing was compared with gpt, only with" in none.err


def test_no_card_without_a_comparison(models, texts, tmp_path):
    store = tmp_path / "store"
    package.score(models["llama"][0], texts, store)
    with pytest.raises(InputError, match="nothing was compared in it: run `jaxmap compare` first"):
        package.card(store)


def test_other_tokens_are_told_and_the_others_go_on(models, texts, tmp_path):
    llama, phi = models["llama"][0], models["phi"][0]
    other = tmp_path / "other"
    make_model(LLAMA, other)
    add_tokenizer(other)
    path = other / "tokenizer.json"
    path.write_text(path.read_text().replace('"add_prefix_space":false', '"add_prefix_space":true'))
    out = tmp_path / "card"
    ran = jaxmap(
        "compare", f"--store={tmp_path / 's'}", f"--texts={texts}", f"--reference={llama}",
        f"--models={other},{phi}", f"--out={out}",
    )  # fmt: skip
    assert ran.code == 0
    assert "  no token KL: reads text 0 ('The quick" in ran.out
    assert "(5 of 6 texts differ)" in ran.out
    with (out / "compare.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["model"] for row in rows] == [str(other), str(phi)]
    assert [row["token_kl_nats"] == "" for row in rows] == [True, False]


def test_a_damaged_comparison_is_named(models, texts, tmp_path):
    llama, store = models["llama"][0], tmp_path / "store"
    package.compare(llama, texts, store, reference=llama)
    [path] = (store / "comparisons").glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:100])
    found = package.compare(llama, texts, store, reference=llama)
    [(_, error)] = found.failures
    assert f"{path}: damaged; delete it" in str(error)
    with pytest.raises(InputError, match="damaged"):
        found.raise_for_failures()


def test_a_reference_that_cannot_be_read_ends_it(models, texts, tmp_path):
    folder = tmp_path / "broken"
    folder.mkdir()
    write_config(folder, {**LLAMA, "model_type": "llamo"})
    with pytest.raises(InputError, match=r"llamo|weights"):
        package.compare(models["llama"][0], texts, tmp_path / "s", reference=folder)


def test_the_error_of_a_mean_per_token():
    """Against the spread of the mean in samples of texts from a known population."""
    random = np.random.default_rng(0)
    values, errors = [], []
    for _ in range(2000):
        tokens_N = random.integers(5, 60, 40)
        level_N = random.gamma(2.0, 0.1, 40)  # a text's tokens share it
        sum_N = level_N * tokens_N + random.normal(0, 0.05, 40) * np.sqrt(tokens_N)
        found = mean_per_token(sum_N, tokens_N)
        values.append(found.value)
        errors.append(found.standard_error)
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.06)
