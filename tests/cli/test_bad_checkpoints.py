"""A checkpoint with a fault: exit code 2, one line that names it, finished work untouched."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from support.checkpoints import (
    change_tensors,
    score,
)
from support.spoilt import EMBED, HEAD, NORM, config, put, refused, remove, tensors, write

from jaxmap.architectures.registry import families
from jaxmap.store import Store


def small_vocabulary(folder: Path) -> None:
    config(vocab_size=64)(folder)
    change_tensors(folder, lambda t: t.update({n: t[n][:64] for n in (HEAD, EMBED)}))


def float8_head(folder: Path) -> None:
    """Both tied tensors are there, and one is of a dtype that NumPy cannot hold."""
    config(tie_word_embeddings=True)(folder)
    change_tensors(folder, lambda t: t.update({HEAD: t[HEAD].astype(ml_dtypes.float8_e4m3fn)}))


SPOILT = {
    "no folder": (shutil.rmtree, ["no such folder"]),
    "no config": (remove("config.json"), ["no config.json"]),
    "no weights": (remove("model.safetensors"), ["no weights", "model.safetensors"]),
    "no tokenizer": (
        remove("tokenizer.json", "tokenizer_config.json"),
        ["no tokenizer", "save_pretrained"],
    ),
    "tokenizer not JSON": (write("tokenizer.json", b"{"), ["tokenizer"]),
    "tokenizer config not JSON": (write("tokenizer_config.json", b"{"), ["tokenizer_config.json"]),
    "other formats": (
        lambda folder: (folder / "model.safetensors").rename(folder / "flax_model.msgpack"),
        ["Flax"],
    ),
    "unknown type": (
        config(model_type="berty"),
        ["unknown model type 'berty'", ", ".join(sorted(families()))],
    ),
    "no type": (config(model_type="delete"), ["config.json", "model_type is missing"]),
    "not JSON": (write("config.json", b'{"model_type": '), ["config.json", "not JSON"]),
    "empty config": (write("config.json", b""), ["config.json", "not JSON"]),
    "config a list": (write("config.json", b"[]"), ["config.json", "not a JSON object"]),
    "config not UTF-8": (write("config.json", b'{"a": "\xff"}'), ["config.json", "not JSON"]),
    "config too deep": (write("config.json", b"[" * 100_000), ["config.json", "not JSON"]),
    "config too long a number": (
        write("config.json", b'{"a": ' + b"9" * 5000 + b"}"),
        ["config.json", "not JSON"],
    ),
    "quantised": (
        config(quantization_config={"quant_method": "gptq", "bits": 4}),
        ["config.json", "quantised (gptq)"],
    ),
    "unread key": (config(logit_cap=30.0), ["logit_cap=30.0", "--ignore_config_keys"]),
    "unread rope key": (
        config(rope_scaling={"type": "linear", "factor": 2.0, "wobble": 1}),
        ["rope_scaling", "wobble"],
    ),
    "unknown rope": (config(rope_scaling={"type": "wide", "factor": 2.0}), ["rope_type 'wide'"]),
    "unknown activation": (config(hidden_act="snake"), ["unknown activation 'snake'", "known:"]),
    "wrong shape": (
        tensors(lambda t: t.update({NORM: np.ones(15, np.float32)})),
        ["model.safetensors", NORM, "[15]", "[16]"],
    ),
    "transposed": (
        tensors(lambda t: t.update({EMBED: np.ascontiguousarray(t[EMBED].T)})),
        [EMBED, "[16, 300]", "[300, 16]"],
    ),
    "unclaimed": (
        tensors(lambda t: t.update({"gpt_neox.gate.weight": np.ones(3, np.float32)})),
        ["nothing claims: gpt_neox.gate.weight"],
    ),
    "missing tensor": (tensors(lambda t: t.pop(NORM)), [f"missing tensors: {NORM}"]),
    "renamed tensor": (
        tensors(lambda t: t.update({"gpt_neox.final_norm.weight": t.pop(NORM)})),
        ["missing", "nearest in the files: gpt_neox.final_norm.weight", "nothing claims"],
    ),
    "whole numbers": (
        tensors(lambda t: t.update({NORM: np.ones(16, np.int8)})),
        [NORM, "stored as I8"],
    ),
    "float8": (
        tensors(lambda t: t.update({NORM: t[NORM].astype(ml_dtypes.float8_e4m3fn)})),
        [NORM, "stored as F8_E4M3"],
    ),
    "float8 tied": (float8_head, [HEAD, "stored as F8_E4M3"]),
    "more layers": (config(num_hidden_layers=3), ["missing tensors: gpt_neox.layers.2."]),
    "fewer layers": (config(num_hidden_layers=1), ["nothing claims: gpt_neox.layers.1."]),
    "NaN": (put(NORM, 3, np.nan), ["NaN or infinite weights", NORM]),
    "infinite": (put(EMBED, (7, 2), -np.inf), ["NaN or infinite weights", EMBED]),
    "NaN in a layer": (
        put("gpt_neox.layers.1.mlp.dense_4h_to_h.bias", 0, np.nan),
        ["NaN or infinite weights in gpt_neox.layers.1.mlp.dense_4h_to_h.bias"],
    ),
    "NaN scores": (
        tensors(lambda t: t.update({n: np.full_like(t[n], 1e38) for n in (HEAD, NORM)})),
        ["scores are NaN or infinite"],
    ),
    "small vocabulary": (small_vocabulary, ["the model's vocabulary has 64 entries", "tokenizer"]),
    "Git LFS pointer": (
        write("model.safetensors", b"version https://git-lfs.github.com/spec/v1\n"),
        ["Git LFS pointer", "git lfs pull"],
    ),
    "index not JSON": (
        lambda folder: (
            remove("model.safetensors")(folder),
            write("model.safetensors.index.json", b"{")(folder),
        ),
        ["model.safetensors.index.json"],
    ),
    "shard outside": (
        lambda folder: (
            (folder / "model.safetensors").rename(folder.parent / "stolen.safetensors"),
            write(
                "model.safetensors.index.json",
                json.dumps({"weight_map": {NORM: "../stolen.safetensors"}}).encode(),
            )(folder),
        ),
        ["outside the folder"],
    ),
    "missing shard": (
        lambda folder: (
            (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors"),
            write(
                "model.safetensors.index.json",
                json.dumps({"weight_map": {NORM: "model-00002-of-00002.safetensors"}}).encode(),
            )(folder),
        ),
        ["model-00002-of-00002.safetensors"],
    ),
    "index lies": (
        lambda folder: (
            change_tensors(folder, lambda t: t.pop(EMBED)),
            (folder / "model.safetensors").rename(folder / "a.safetensors"),
            write(
                "model.safetensors.index.json",
                json.dumps({"weight_map": {EMBED: "a.safetensors"}}).encode(),
            )(folder),
        ),
        [EMBED, "the index puts", "a.safetensors"],
    ),
}


@pytest.mark.parametrize("case", SPOILT)
def test_spoilt_checkpoint(case, place):
    spoil, words = SPOILT[case]
    spoil(place / "bad")
    refused(place, *words)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden_size", "16"),
        ("hidden_size", -16),
        ("hidden_size", 16.0),
        ("hidden_size", 10**30),
        ("num_attention_heads", 0),
        ("num_attention_heads", [2]),
        ("num_attention_heads", True),
        ("num_hidden_layers", 10**12),
        ("vocab_size", None),
        ("model_type", ["gpt_neox"]),
        ("model_type", None),
        ("rotary_pct", 3.0),
        ("rotary_emb_base", float("nan")),
        ("layer_norm_eps", None),
        ("layer_norm_eps", -1e-5),
        ("rope_scaling", "linear"),
        ("max_position_embeddings", {}),
        ("tie_word_embeddings", "no"),
        ("use_parallel_residual", 1),
    ],
)
def test_wrong_value_is_named(key, value, place):
    config(**{key: value})(place / "bad")
    line = refused(place, "config.json", key)
    assert re.search(f"{key}( = .+: (must be|null)| is )", line)


def test_ignored_config_key_lets_it_through(place):
    config(logit_cap=30.0)(place / "bad")
    where = place / "store", place / "texts.jsonl", place / "bad"
    assert score(*where, ignore_config_keys="other").code == 2
    assert score(*where, ignore_config_keys="other,logit_cap").code == 0
    assert Store.open(place / "store").failures() == []


def test_float16_overflow(place):
    put(EMBED, (0, 0), 1e6)(place / "bad")
    refused(place, "overflow float16", EMBED, "--dtype=float32", dtype="float16")


def test_float16_overflow_of_activations(place):
    """Every weight fits into float16, the products do not; float32 holds them."""
    change_tensors(
        place / "bad",
        lambda t: t.update({n: np.full_like(a, 6e4) for n, a in t.items() if "layers.1.mlp" in n}),
    )
    assert score(place / "other", place / "texts.jsonl", place / "bad").code == 0
    refused(place, "scores are NaN or infinite", "try --dtype=float32", dtype="float16")


def test_tokenizer_that_is_code_never_runs(place):
    trap = place / "ran"
    bad = place / "bad"
    facts = {"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["evil.Evil", None]}}
    (bad / "tokenizer_config.json").write_text(json.dumps(facts))
    (bad / "tokenizer.json").rename(bad / "vocab.json")
    (bad / "evil.py").write_text(f"open({str(trap)!r}, 'w').close()\n")
    refused(place, "code of the checkpoint (evil.Evil)", "never run")
    assert not trap.exists()
