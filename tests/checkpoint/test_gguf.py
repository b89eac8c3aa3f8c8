"""GGUF: tensors, settings and scores against the checkpoint that a file was converted from."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFReader, quants
from support.checkpoints import V, add_tokenizer, change_tensors, make_checkpoint
from support.gguf_cases import CASES, RMS, config_of
from support.gguf_files import converted, write_gguf
from support.parity import random_texts
from support.token_sets import make_tokens

from jaxmap.checkpoint import weights
from jaxmap.checkpoint.checkpoint import Checkpoint
from jaxmap.checkpoint.refs import parse_ref
from jaxmap.checkpoint.sources.files import fetch, resolve
from jaxmap.engine.scorer import Scorers
from jaxmap.engine.scores import score_tokens
from jaxmap.model import decoder
from jaxmap.verification.pytorch import TransformersModel


def made(folder: Path, name: str = "model.gguf", **changes: Any) -> Path:
    """The file of a folder's checkpoint, in a folder of its own, with its tokenizer beside it."""
    architecture, metadata, tensors = converted(folder)
    path = folder.with_name(folder.name + "-gguf") / name
    write_gguf(path, architecture, metadata, tensors, **changes)
    for one in ("tokenizer.json", "tokenizer_config.json"):
        (path.parent / one).write_bytes((folder / one).read_bytes())
    return path


def opened(path: Path) -> Path:
    return fetch(resolve(parse_ref(str(path)))).folder


@pytest.mark.parametrize("name", CASES)
def test_tensors_and_settings_are_those_of_the_checkpoint(name, tmp_path):
    config = config_of(name)
    folder = make_checkpoint(tmp_path / "hf", config)
    found = opened(made(folder))
    want, have = Checkpoint(folder).architecture.spec, Checkpoint(found).architecture.spec
    for one in dataclasses.fields(want):
        ours, theirs = getattr(have, one.name), getattr(want, one.name)
        if one.name == "context" and name == "mamba":
            continue
        assert ours == theirs, one.name
    ours, theirs = (weights.load(one, dtype="float32") for one in (found, folder))
    theirs_by_path = dict(decoder.named(theirs.params))
    for path, leaf in decoder.named(ours.params).items():
        wanted = np.asarray(theirs_by_path.pop(path)[...])
        np.testing.assert_allclose(np.asarray(leaf[...]), wanted, rtol=0, atol=1e-6, err_msg=path)
        assert wanted.size == 1 or wanted.std() > 0
    assert not theirs_by_path


def test_mixtral_from_before_experts_were_stacked(tmp_path):
    folder = make_checkpoint(tmp_path / "hf", CASES["mixtral"])
    architecture, metadata, tensors = converted(folder)
    for name in [name for name in tensors if "_exps" in name]:
        for e, one in enumerate(tensors.pop(name)):
            tensors[name.replace("_exps", f".{e}")] = one
    assert "blk.1.ffn_down.3.weight" in tensors
    path = tmp_path / "old" / "model.gguf"
    write_gguf(path, architecture, metadata, tensors)
    add_tokenizer(path.parent)
    with weights.opened(opened(path)) as ours, weights.opened(folder) as theirs:
        want = dict(theirs.read())
        for key, have in ours.read():
            np.testing.assert_array_equal(have, want.pop(key), err_msg=key)
        assert not want


WIDE = dict(RMS, model_type="qwen3", hidden_size=256, intermediate_size=256, head_dim=64,
            num_attention_heads=4, num_hidden_layers=1)  # fmt: skip
KINDS = sorted(kind.name for kind in quants._type_traits)


def as_decoded(folder: Path, path: Path, target: Path) -> Path:
    """The checkpoint of a folder with the numbers that a file's codes stand for, by the package."""
    stored = {one.name: one for one in GGUFReader(path).tensors}
    numbers = {
        name: np.array(quants.dequantize(one.data, one.tensor_type), np.float32)
        for name, one in stored.items()
    }
    _, _, original = converted(folder)
    back = {id_of(w): name for name, w in original.items()}
    shutil.copytree(folder, target)

    def change(tensors: dict[str, np.ndarray]) -> None:
        for name, w in tensors.items():
            own = back[id_of(w)]
            tensors[name] = numbers[own].reshape(w.shape)

    change_tensors(target, change)
    return target


def id_of(w: np.ndarray) -> bytes:
    return np.ascontiguousarray(w.squeeze(), np.float32).tobytes()


@pytest.mark.parametrize("kind", ["F16", *KINDS])
def test_every_type_is_what_the_package_decodes(kind, tmp_path):
    folder = make_checkpoint(tmp_path / "hf", WIDE, spread=0.05)
    path = made(folder, kind=kind)
    plain = as_decoded(folder, path, tmp_path / "plain")
    with weights.opened(opened(path)) as ours, weights.opened(plain) as theirs:
        want = dict(theirs.read())
        for key, have in ours.read():
            np.testing.assert_array_equal(np.float32(have), want.pop(key), err_msg=key)
        assert not want


def test_scores_are_those_of_the_decoded_model(tmp_path):
    folder = make_checkpoint(tmp_path / "hf", WIDE, spread=0.05)
    path = made(folder, kind="Q4_K", file_type=15)
    plain = as_decoded(folder, path, tmp_path / "plain")
    reference = TransformersModel(plain, "float32")
    texts = random_texts(V)
    model = weights.load(opened(path), dtype="float32")
    ours_N = score_tokens(Scorers().of(model), model, make_tokens(texts), batch_tokens=512)
    theirs_N = [reference.score(ids, 1) for ids in texts]
    assert np.ptp(theirs_N) > 50
    np.testing.assert_allclose(ours_N, theirs_N, rtol=0, atol=2e-3)
    original = weights.load(folder, dtype="float32")
    other_N = score_tokens(Scorers().of(original), original, make_tokens(texts), batch_tokens=512)
    assert np.abs(ours_N - other_N).max() > 2e-3
    assert model.storage.format == "gguf"
    assert (model.storage.file_type, model.storage.bits) == ("Q4_K_M", 4)
    assert model.storage.num_bytes == path.stat().st_size


@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3", "gemma2", "gemma3", "phi3",
                                  "gpt2", "starcoder2", "falcon 7b", "bloom", "stablelm",
                                  "nemotron", "mamba"])  # fmt: skip
def test_transformers_reads_the_same_tensors(name, tmp_path):
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    config = config_of(name)
    folder = make_checkpoint(tmp_path / "hf", config)
    path = made(folder)
    with torch.device("meta"):
        empty = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    theirs = load_gguf_checkpoint(str(path), return_tensors=True, model_to_load=empty)["tensors"]
    with weights.opened(opened(path)) as found:
        named = {name for place in found.assignments for name in place.names}
        same = named & set(theirs)
        assert len(same) > 0.6 * len(named)
        for one in same:
            want = theirs[one].numpy()
            assert want.std() > 0
            if name == "falcon 7b" and "query_key_value" in one:
                want = want.reshape(found.tensors[one].shape)  # one group: the order is the same
            np.testing.assert_allclose(found.tensors[one].read(), want, atol=1e-6, err_msg=one)


def test_llama_3_has_a_factor_for_each_frequency(tmp_path):
    scaling = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
               "high_freq_factor": 4.0, "original_max_position_embeddings": 64}  # fmt: skip
    config = dict(RMS, model_type="llama", head_dim=16, rope_scaling=scaling)
    folder = make_checkpoint(tmp_path / "hf", config)
    [scaled] = Checkpoint(folder).architecture.spec.ropes
    plain = 20_000.0 ** -(np.arange(0, 16, 2) / 16)
    factors = (plain / np.array(scaled.inv_freq)).astype(np.float32)
    assert np.ptp(factors) > 5
    architecture, metadata, tensors = converted(folder)
    path = tmp_path / "gguf" / "llama3.gguf"
    write_gguf(path, architecture, metadata, {**tensors, "rope_freqs.weight": factors})
    add_tokenizer(path.parent)
    [rope] = Checkpoint(opened(path)).architecture.spec.ropes
    np.testing.assert_allclose(rope.inv_freq, scaled.inv_freq, rtol=3e-7)
    assert (rope.gain, rope.long_gain or 1.0) == (1.0, 1.0)


def test_phi_3_has_two_lists_of_factors(tmp_path):
    short, long = [1.0, 1.5], [2.0, 9.0]
    scaling = {"rope_type": "longrope", "short_factor": short, "long_factor": long,
               "attention_factor": 1.25}  # fmt: skip
    config = dict(RMS, model_type="phi3", sliding_window=16, rope_scaling=scaling,
                  original_max_position_embeddings=64)  # fmt: skip
    folder = make_checkpoint(tmp_path / "hf", config)
    architecture, metadata, tensors = converted(folder)
    for name, factors in (("short", short), ("long", long)):
        tensors[f"rope_factors_{name}.weight"] = np.array(factors, np.float32)
    metadata["rope.scaling.attn_factor"] = 1.25
    path = tmp_path / "gguf" / "phi3.gguf"
    write_gguf(path, architecture, metadata, tensors)
    add_tokenizer(path.parent)
    want, have = (Checkpoint(one).architecture.spec for one in (folder, opened(path)))
    assert want.ropes == have.ropes
