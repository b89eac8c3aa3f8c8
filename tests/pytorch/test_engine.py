"""`engine=torch` through the commands: records, labels, resuming, refusals."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys

import numpy as np
import pytest
from support.checkpoints import (
    GPT2,
    NO_TORCH,
    add_tokenizer,
    caches,
    jaxmap,
    make_checkpoint,
    score,
    write_config,
    write_texts,
)
from support.stores import record
from support.stores import texts as fake_texts

from jaxmap.analysis.runs import single_models
from jaxmap.checkpoint.refs import parse_ref
from jaxmap.corpus.texts import load_texts
from jaxmap.errors import InputError
from jaxmap.store import Store
from jaxmap.store.labels import of_one_engine
from jaxmap.store.requests import Item
from jaxmap.sweeps.config_schema import config_dict, read_config
from jaxmap.sweeps.run import score_models
from jaxmap.sweeps.settings import Settings
from jaxmap.variant import Variant

ROBERTA = dict(  # as a decoder: causal, with positions of its own
    model_type="roberta",
    vocab_size=300,
    hidden_size=64,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=24,
    max_position_embeddings=258,
    is_decoder=True,
)


@pytest.fixture(scope="module")
def roberta(tmp_path_factory):
    """A model without a page."""
    pytest.importorskip("torch")
    from support.reference import make_model

    folder = tmp_path_factory.mktemp("models") / "roberta"
    make_model(ROBERTA, folder)
    add_tokenizer(folder)
    return folder


@pytest.fixture
def texts(tmp_path):
    return write_texts(tmp_path / "texts.jsonl")


def test_a_type_without_a_page(roberta, texts, tmp_path, caplog):
    store = tmp_path / "store"
    ran = score(store, texts, roberta)
    assert ran.code == 2
    assert "model type 'roberta' has no page" in caplog.text
    assert "engine=torch" in caplog.text
    flags = dict(engine="torch", lens=True, quantize="none,nf4", statistics="token_entropy")
    assert score(store, texts, roberta, **flags).code == 0
    opened = Store.open(store)
    assert [entry.label.removeprefix(str(roberta)) for entry in opened.records()] == [
        *("+torch", "+torch#layer00", "+torch#layer01", "+torch#layer02", "+nf4+torch")
    ]
    plain, *layers, copy = opened.records()
    assert "torch" in plain.provenance.versions
    assert plain.provenance.device.endswith("PyTorch")
    assert plain.provenance.model["model_type"] == "roberta"
    assert plain.variant.is_plain
    assert plain.identity.facts["engine"] == "torch"
    assert (copy.bits, plain.bits) == (4, None)
    values, offsets_N1 = opened.load_tokens(plain, "token_entropy")
    assert len(values) == offsets_N1[-1] == opened.load(plain).num_scored.sum()
    np.testing.assert_array_equal(opened.load(plain).vector, opened.load(layers[-1]).vector)
    assert abs(opened.load(plain).vector - opened.load(copy).vector).max() > 1e-3
    again = score(store, texts, roberta, **flags)
    assert "0 scored, 2 already done" in again.out
    assert "missing     0" in jaxmap("status", f"--store={store}").out


def test_both_engines_stand_side_by_side(texts, tmp_path):
    pytest.importorskip("torch")
    folder, store = make_checkpoint(tmp_path / "gpt2", GPT2), tmp_path / "store"
    assert score(store, texts, folder).code == 0
    assert score(store, texts, folder, engine="torch").code == 0
    out = tmp_path / "scores.npz"
    assert jaxmap("export", f"--store={store}", f"--out={out}").code == 0
    with np.load(out) as exported:
        assert exported["model"].tolist() == [str(folder), f"{folder}+torch"]
        ours_N, theirs_N = exported["log_likelihood"]
        np.testing.assert_array_equal(*exported["num_tokens"])
    np.testing.assert_allclose(ours_N, theirs_N, atol=2e-3)
    assert not np.array_equal(ours_N, theirs_N)
    assert Store.open(store).dataset()["engine"].values.tolist() == ["jax", "torch"]
    # Analyses that count models take one of them.
    [one] = single_models(Store.open(store).records())
    assert one.variant.engine == "jax"


def test_an_interrupted_model_is_resumed(roberta, texts, tmp_path, monkeypatch):
    from jaxmap.pytorch import scores

    loaded = load_texts(texts)
    settings = Settings(engine="torch", save_every=0, batch_tokens=16)
    store = Store.create(tmp_path / "store", loaded)
    score_models([parse_ref(str(roberta))], loaded, store, settings)
    [whole] = [store.load(entry).vector for entry in store.records()]
    batches = []
    real = scores._states
    monkeypatch.setattr(scores, "_states", lambda *a: batches.append(None) or real(*a))
    other = Store.create(tmp_path / "other", loaded)
    outcome = score_models(
        [parse_ref(str(roberta))], loaded, other, settings, stop=lambda: len(batches) == 2
    )
    assert outcome.stopped
    assert not other.records()
    outcome = score_models([parse_ref(str(roberta))], loaded, other, settings)
    assert len(outcome.scored) == 1
    [resumed] = [other.load(entry).vector for entry in other.records()]
    np.testing.assert_array_equal(resumed, whole)
    # Every batch once: the one that was done before the stop is not done again.
    rest = len(batches)
    score_models(
        [parse_ref(str(roberta))], loaded, Store.create(tmp_path / "third", loaded), settings
    )
    assert len(batches) - rest == rest


def test_what_the_engine_cannot_do_is_refused(tmp_path):
    pytest.importorskip("torch")
    for refused in (
        dict(dtype="bfloat16_3x"),
        dict(tuned_lens="lenses"),
        dict(weight_distance=10),
        dict(mesh="data=2"),
        dict(batch="auto"),
        dict(ignore_config_keys=("key",)),
    ):
        with pytest.raises(InputError) as caught:
            Settings(engine="torch", **refused)
        assert caught.value.field == next(iter(refused))
    with pytest.raises(InputError, match="'flax' is unknown; known: jax, torch"):
        Settings(engine="flax")


def test_a_repositorys_own_code_is_never_run(texts, tmp_path, caplog):
    pytest.importorskip("torch")
    folder = make_checkpoint(tmp_path / "own", GPT2)
    trap = tmp_path / "ran"
    (folder / "modeling_own.py").write_text(f"open({str(trap)!r}, 'w')\n")
    auto = {"AutoConfig": "modeling_own.Config", "AutoModelForCausalLM": "modeling_own.Model"}
    write_config(folder, {**GPT2, "model_type": "own", "auto_map": auto})
    ran = score(tmp_path / "store", texts, folder, engine="torch")
    assert ran.code == 2
    assert "transformers cannot" in caplog.text
    assert not trap.exists()


def test_a_config_names_the_engine():
    config = config_dict(models="a/b", engine="torch")
    pytest.importorskip("torch")
    assert read_config(dict(config)).settings.engine == "torch"
    assert read_config({"models": "a/b"}).settings.engine == "jax"


def test_without_torch_one_line_says_what_to_install(texts, tmp_path):
    code = f"{NO_TORCH}\nfrom jaxmap.cli import main; main()"
    flags = [f"--store={tmp_path / 'store'}", f"--texts={texts}", "--models=a/b", "--engine=torch"]
    ran = subprocess.run(
        [sys.executable, "-c", code, "score", *flags],
        capture_output=True,
        text=True,
        env={**os.environ, "XDG_CACHE_HOME": caches()},
    )
    assert ran.returncode == 2
    assert ran.stderr.strip().splitlines()[-1].endswith("pip install torch")
    assert "Traceback" not in ran.stderr


def test_items_and_identities_of_the_other_engine():
    item = Item("a/b", variant=Variant(engine="torch"))
    assert Item.of_facts(item.facts) == item
    assert item.key != Item("a/b").key
    assert item.label == "a/b+torch"
    of = fake_texts()
    one = record(of, "a/b").identity
    assert type(one).of_facts(one.facts) == one
    assert "engine" not in one.facts  # stores of earlier versions have the same keys


def test_one_result_of_a_model_is_counted(tmp_path):
    of = fake_texts()
    store = Store.create(tmp_path, of)
    for ref, engine in (("a/b", "torch"), ("a/b", "jax"), ("a/c", "torch")):
        made = record(of, ref)
        variant = dataclasses.replace(made.identity.variant, engine=engine)
        identity = dataclasses.replace(made.identity, variant=variant)
        store.add(dataclasses.replace(made, identity=identity))
    entries = store.records()
    assert [entry.label for entry in entries] == ["a/b", "a/b+torch", "a/c+torch"]
    assert [entry.label for entry in of_one_engine(entries)] == ["a/b", "a/c+torch"]
