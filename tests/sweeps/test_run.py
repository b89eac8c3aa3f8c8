"""A run of `jaxmap score`: scores are those of PyTorch, and what is done is not done again."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from support import checkpoints
from support.checkpoints import (
    LLAMA,
    NEOX,
    TEXTS,
    change_tensors,
    jaxmap,
    make_checkpoint,
    read_config,
    read_tensors,
    score,
    watch,
    write_config,
    write_texts,
)
from support.reference import text_logp

from jaxmap.checkpoint import weights
from jaxmap.corpus import token_cache
from jaxmap.engine.scorer import Scorers
from jaxmap.store import Store

NORM = "gpt_neox.final_layer_norm.weight"

NATS = 2e-3


@pytest.fixture
def texts(tmp_path):
    return write_texts(tmp_path / "texts.jsonl")


def labels(store: Path) -> list[str]:
    return [entry.label.rpartition("/")[2] for entry in Store.open(store).records()]


def vectors(store: Path) -> dict[str, np.ndarray]:
    opened = Store.open(store)
    return {entry.label: opened.load(entry).log_likelihood for entry in opened.records()}


def identical(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return list(a) == list(b) and all(a[k].tobytes() == b[k].tobytes() for k in a)


def torch_scores(folder: Path, texts, prompts=None, context=256) -> list[float]:
    """By PyTorch and the folder's tokenizer, one text at a time."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    scores = []
    for n, text in enumerate(texts):
        given = tokenizer(prompts[n])["input_ids"] if prompts else []
        ids = (given + tokenizer(text)["input_ids"])[:context]
        scores.append(text_logp(model, ids, max(1, len(given))))
    return scores


@pytest.fixture
def loads(monkeypatch):
    """The folders that are loaded."""
    return watch(monkeypatch)


@pytest.mark.parametrize("config", [NEOX, LLAMA], ids=["gpt_neox-float16", "llama"])
def test_scores_are_those_of_pytorch(config, texts, tmp_path):
    stored = "float16" if config is NEOX else "float32"
    folder = make_checkpoint(tmp_path / "model", config, dtype=stored)
    assert score(tmp_path / "store", texts, folder).code == 0
    store = Store.open(tmp_path / "store")
    [entry] = store.records()
    record = store.load(entry)
    theirs_N = torch_scores(folder, TEXTS)
    assert min(theirs_N) < -50
    np.testing.assert_allclose(record.log_likelihood, theirs_N, rtol=0, atol=NATS)
    assert entry.provenance.model["stored_dtype"] == stored
    assert (entry.identity.variant.precision, entry.identity.special_rule) == ("float32", "none")
    assert record.num_tokens[3] == 0
    assert record.log_likelihood[3] == 0  # the empty text


def test_prompts_and_responses(tmp_path):
    pairs = [("Q: 2 + 2?\nA:", " 4"), ("", "no prompt at all"), ("a", ""), ("日本", "語 and more")]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps({"prompt": p, "response": r}) + "\n" for p, r in pairs))
    folder = make_checkpoint(tmp_path / "model")
    assert score(tmp_path / "store", path, folder).code == 0
    [scores_N] = vectors(tmp_path / "store").values()
    prompts, responses = zip(*pairs, strict=True)
    np.testing.assert_allclose(
        scores_N, torch_scores(folder, responses, prompts), rtol=0, atol=NATS
    )
    assert scores_N[2] == 0
    assert abs(scores_N[0] - torch_scores(folder, ["Q: 2 + 2?\nA: 4"])[0]) > 1


def test_texts_beyond_the_context_are_cut_and_counted(texts, tmp_path):
    folder = make_checkpoint(tmp_path / "model", max_position_embeddings=24)
    ran = score(tmp_path / "store", texts, folder)
    assert ran.code == 0
    store = Store.open(tmp_path / "store")
    [entry] = store.records()
    record = store.load(entry)
    cut = int((record.num_tokens == 24).sum())
    assert 0 < cut < len(TEXTS)
    [line] = ran.messages
    assert f"{cut} of 6 texts are longer than the model's context of 24 tokens" in line
    assert (entry.provenance.truncated, entry.provenance.context) == (cut, 24)
    np.testing.assert_allclose(
        record.log_likelihood, torch_scores(folder, TEXTS, context=24), rtol=0, atol=NATS
    )


def test_a_second_dtype_is_a_second_row(texts, tmp_path):
    folder = make_checkpoint(tmp_path / "model")
    ran = score(tmp_path / "store", texts, folder)
    assert (ran.code, "docs/precision.md" in ran.err) == (0, False)
    ran = score(tmp_path / "store", texts, folder, dtype="bfloat16")
    assert (ran.code, "docs/precision.md" in ran.err) == (0, True)
    assert labels(tmp_path / "store") == ["model", "model+bfloat16"]
    plain, rough = vectors(tmp_path / "store").values()
    assert 1e-3 < np.abs(plain - rough).max() < 5
    # What --dtype=auto gave is found under its own name too.
    again = score(tmp_path / "store", texts, folder, dtype="float32")
    assert again.out == "0 scored, 1 already done, 0 failed\n"


def test_other_files_of_the_same_weights_give_the_same_bits(texts, tmp_path):
    import torch
    from transformers import AutoModelForCausalLM

    folder = make_checkpoint(tmp_path / "a")
    shutil.copytree(folder, tmp_path / "bin")
    state = {n: torch.from_numpy(t) for n, t in read_tensors(folder).items()}
    torch.save(state, tmp_path / "bin" / "pytorch_model.bin")
    (tmp_path / "bin" / "model.safetensors").unlink()
    shutil.copytree(folder, tmp_path / "shards")
    (tmp_path / "shards" / "model.safetensors").unlink()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.save_pretrained(tmp_path / "shards", max_shard_size="10KB")
    assert (tmp_path / "shards" / "model.safetensors.index.json").exists()

    names = ["a", "bin", "shards"]
    assert score(tmp_path / "store", texts, *(tmp_path / name for name in names)).code == 0
    one, two, three = vectors(tmp_path / "store").values()
    assert one.tobytes() == two.tobytes() == three.tobytes()
    assert one.any()


def test_names_with_spaces_and_other_alphabets(texts, tmp_path):
    folder = make_checkpoint(tmp_path / "ein Ordner" / "模型 π~#1")
    store = tmp_path / "mein Lager é"
    assert score(store, texts, folder).code == 0
    assert [entry.label for entry in Store.open(store).records()] == [str(folder)]
    assert jaxmap("export", f"--store={store}", f"--out={tmp_path}/aus gäbe.npz").code == 0
    assert np.load(tmp_path / "aus gäbe.npz")["model"].tolist() == [str(folder)]


def test_finished_work_is_not_loaded_again(texts, tmp_path, loads):
    for i in range(3):
        make_checkpoint(tmp_path / f"m{i}", seed=i)
    models = [tmp_path / f"m{i}" for i in range(3)]
    assert score(tmp_path / "store", texts, *models[:2]).out.startswith("2 scored, 0 already")
    before = vectors(tmp_path / "store")
    assert loads == ["m0", "m1"]
    ran = score(tmp_path / "store", texts, *models)
    assert (ran.code, ran.out) == (0, "1 scored, 2 already done, 0 failed\n")
    assert loads == ["m0", "m1", "m2"]
    # The contents count: a touched file is hashed, found the same, and not scored.
    os.utime(models[0] / "model.safetensors")
    assert score(tmp_path / "store", texts, *models, models[0]).code == 0
    assert loads == ["m0", "m1", "m2"]
    after = vectors(tmp_path / "store")
    assert all(after[label].tobytes() == vector.tobytes() for label, vector in before.items())


def test_other_weights_under_the_same_name_are_scored(texts, tmp_path, loads):
    folder = make_checkpoint(tmp_path / "model")
    assert score(tmp_path / "store", texts, folder).code == 0
    old = vectors(tmp_path / "store")
    change_tensors(folder, lambda t: t.update({NORM: t[NORM] * 1.5}))
    assert score(tmp_path / "store", texts, folder).out.startswith("1 scored")
    new = vectors(tmp_path / "store")
    assert list(new) == list(old)
    assert np.abs(new[str(folder)] - old[str(folder)]).max() > 0.1
    assert loads == ["model", "model"]
    ran = jaxmap("status", f"--store={tmp_path}/store")
    assert "superseded  1" in ran.out
    assert "done        1 of 1" in ran.out


def test_a_failure_is_noted_and_the_others_go_on(texts, tmp_path, loads):
    for name in ("a", "b", "c"):
        make_checkpoint(tmp_path / name, seed=ord(name))
    good = read_config(tmp_path / "b")
    write_config(tmp_path / "b", {**good, "num_attention_heads": 3})
    models = [tmp_path / name for name in ("a", "b", "c")]
    ran = score(tmp_path / "store", texts, *models)
    assert ran.code == 2
    assert ran.out.splitlines()[0] == "2 scored, 0 already done, 1 failed"
    assert labels(tmp_path / "store") == ["a", "c"]
    status = jaxmap("status", f"--store={tmp_path}/store").out
    assert "failed      1" in status
    assert "a width of 16 does not divide into 3 heads" in status

    # A repaired checkpoint is tried again, the others are not, and the failure is forgotten.
    write_config(tmp_path / "b", good)
    loads.clear()
    ran = score(tmp_path / "store", texts, *models)
    assert (ran.code, ran.out) == (0, "1 scored, 2 already done, 0 failed\n")
    assert loads == ["b"]
    assert labels(tmp_path / "store") == ["a", "b", "c"]
    status = jaxmap("status", f"--store={tmp_path}/store").out
    assert "failed      0" in status
    assert "done        3 of 3" in status


def test_exit_code_tells_input_from_failure(texts, tmp_path, monkeypatch):
    make_checkpoint(tmp_path / "a")
    make_checkpoint(tmp_path / "b")
    real = weights.load

    def load(folder, **options):
        if folder.name == "b":
            raise RuntimeError("RESOURCE_EXHAUSTED: out of memory\nwhile allocating\nmuch")
        return real(folder, **options)

    monkeypatch.setattr(weights, "load", load)
    ran = score(tmp_path / "store", texts, tmp_path / "b", tmp_path / "none", tmp_path / "a")
    assert ran.code == 1
    assert ran.out.startswith("1 scored, 0 already done, 2 failed\n")
    reasons = {f.kind: f.reason for f in Store.open(tmp_path / "store").failures()}
    assert reasons["failure"] == "RuntimeError: RESOURCE_EXHAUSTED: out of memory"
    assert "no such folder" in reasons["input"]
    assert score(tmp_path / "store", texts, tmp_path / "none").code == 2
    assert score(tmp_path / "store", texts, tmp_path / "b").code == 1
    assert score(tmp_path / "store", texts, tmp_path / "a").code == 0


def test_checkpoints_of_a_shape_are_compiled_once(texts, tmp_path, monkeypatch):
    for i in range(4):
        make_checkpoint(tmp_path / f"m{i}", seed=i)
    compiled: list[str] = []
    loaded: list[int] = []
    scorers = []
    real_load, real_of = weights.load, Scorers.of

    def load(folder, **options):
        loaded.append(len(compiled))
        return real_load(folder, **options)

    def of(self, model):
        scorers.append(real_of(self, model))
        return scorers[-1]

    def listen(event, duration, **facts):
        if "backend_compile" in event or "jaxpr_to_mlir" in event:
            compiled.append(event)

    monkeypatch.setattr(weights, "load", load)
    monkeypatch.setattr(Scorers, "of", of)
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        models = [tmp_path / f"m{i}" for i in range(4)]
        assert score(tmp_path / "store", texts, *models).code == 0
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert len(scorers) == 8, "each to compile, before its weights, and to score"
    assert len(set(map(id, scorers))) == 1
    assert scorers[0].compilations == 1
    assert loaded[0] > 0, "the first is compiled for before it is loaded"
    assert loaded[1] == loaded[2] == loaded[3] == len(compiled), "nothing is compiled after it"


def test_tokenizer_is_read_once_for_a_run(texts, tmp_path, monkeypatch):
    for i in range(3):
        make_checkpoint(tmp_path / f"m{i}", seed=i)
    seen = []
    monkeypatch.setattr(checkpoints, "caches", lambda: str(tmp_path / "cache"))  # none kept yet
    real = token_cache.load_tokenizer
    monkeypatch.setattr(
        token_cache, "load_tokenizer", lambda folder: seen.append(folder) or real(folder)
    )
    assert score(tmp_path / "store", texts, *(tmp_path / f"m{i}" for i in range(3))).code == 0
    assert len(seen) == 1
    change = json.loads((tmp_path / "m1" / "tokenizer.json").read_text())
    change["post_processor"] = None
    change["normalizer"] = {"type": "Lowercase"}
    (tmp_path / "m1" / "tokenizer.json").write_text(json.dumps(change))
    seen.clear()
    assert score(tmp_path / "other", texts, *(tmp_path / f"m{i}" for i in range(3))).code == 0
    assert [folder.name for folder in seen] == ["m1"]  # the others' is kept for all stores


def test_steps_of_a_run(texts, tmp_path):
    for step in (0, 1, 2, 10):
        make_checkpoint(tmp_path / "run" / f"step{step}", seed=step)
    ran = score(tmp_path / "store", texts, f"{tmp_path}/run@step{{0,1,2,10}}")
    assert (ran.code, ran.out) == (0, "4 scored, 0 already done, 0 failed\n")
    assert labels(tmp_path / "store") == [f"run@step{step}" for step in (0, 1, 2, 10)]
    store = f"--store={tmp_path}/store"
    assert jaxmap("kl", store, f"--out={tmp_path}/kl.csv", "--pairs=consecutive").code == 0
    rows = list(csv.DictReader((tmp_path / "kl.csv").read_text().splitlines()))
    pairs = [tuple(r[m].rpartition("step")[2] for m in ("model_a", "model_b")) for r in rows]
    assert {frozenset(pair) for pair in pairs} == {frozenset(p) for p in ("01", "12", ("2", "10"))}
    # KL(a, b) = Var(l_a - l_b) / (2 x mean bytes x ln 2)
    ll = vectors(tmp_path / "store")
    mean_bytes = np.mean([len(text.encode()) for text in TEXTS])
    for row in rows:
        difference = ll[row["model_a"]] - ll[row["model_b"]]
        wanted = difference.var() / (2 * mean_bytes * np.log(2))
        assert float(row["kl_bits_per_byte"]) == pytest.approx(wanted, rel=1e-9)
