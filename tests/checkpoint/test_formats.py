"""Which files make a checkpoint, and what is made of files that tools leave in odd shape."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import save_file
from support.cases import core, experts, llama_successors, recurrent, state_space
from support.checkpoints import LLAMA, NEOX, change_tensors, make_checkpoint, read_tensors

from jaxmap.architectures.config import Config
from jaxmap.architectures.registry import families
from jaxmap.architectures.rows import row_key_of
from jaxmap.architectures.specs import spec_of
from jaxmap.checkpoint import weights
from jaxmap.checkpoint.account import account, parameter_shapes
from jaxmap.checkpoint.checkpoint import Architecture
from jaxmap.checkpoint.formats import FORMATS, choose
from jaxmap.checkpoint.formats.base import Stored
from jaxmap.checkpoint.formats.tensor_names import without_wrappers
from jaxmap.errors import InputError
from jaxmap.model import decoder

ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


def same(a: weights.Model, b: weights.Model) -> bool:
    one, two = (decoder.named(model.params) for model in (a, b))
    return one.keys() == two.keys() and all(
        np.array_equal(one[path][...], two[path][...]) for path in one
    )


def sharded(folder: Path, lies: dict[str, str]) -> Path:
    """The checkpoint in two files, under an index that says something else besides."""
    tensors = read_tensors(folder)
    (folder / "model.safetensors").unlink()
    where = {}
    for shard, names in ((ONE, sorted(tensors)[:7]), (TWO, sorted(tensors)[7:])):
        save_file({name: tensors[name] for name in names}, folder / shard)
        where |= dict.fromkeys(names, shard)
    index = {"metadata": {}, "weight_map": {**where, **lies}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def test_preference_of_formats():
    names = ["config.json", "vocab.json", "README.md", "sub/tokenizer.json"]
    both = [*names, "pytorch_model.bin", "model.safetensors.index.json"]
    choice = choose(both, "here")
    assert choice.names == ["config.json", "model.safetensors.index.json", "vocab.json"]
    assert choice.index == "model.safetensors.index.json"
    assert choose([*names, "pytorch_model.bin"], "here").index is None
    for one in FORMATS:
        for name in one.looks_for:
            assert choose([*names, name], "here").format is one
    assert choose([*names, "a.gguf"], "here").names == ["a.gguf", "vocab.json"]
    assert choose([*names, "a.gguf", "model.safetensors"], "here").format.name == "safetensors"
    assert choose([*names, "a.gguf", "model.safetensors"], "here", "a.gguf").format.name == "GGUF"


# An index that disagrees with its shards: the shards count.


@pytest.mark.parametrize(
    "lies",
    [
        {"model.mtp.fc.weight": ONE},  # a layer that predicts further tokens, left out
        {"model.layers.1.self_attn.rotary_emb.inv_freq": TWO},
        {"lm_head.weight": TWO},  # the second name of a tied tensor
        {"model.norm.weight": ONE, "model.embed_tokens.weight": TWO},  # each in the other one
    ],
    ids=["absent", "absent buffer", "absent tied head", "wrong shards"],
)
def test_an_index_that_lies_where_nothing_is_lost(lies, tmp_path):
    model = weights.load(make_checkpoint(tmp_path, LLAMA, tie_word_embeddings=True))
    assert same(weights.load(sharded(tmp_path, lies)), model)


def test_what_an_index_promises_and_the_model_needs(tmp_path):
    make_checkpoint(tmp_path, LLAMA)
    change_tensors(tmp_path, lambda t: t.pop("model.norm.weight"))
    sharded(tmp_path, {"model.norm.weight": ONE})
    with pytest.raises(InputError, match=f"the index puts model.norm.weight in {ONE}, which lacks"):
        weights.load(tmp_path)


def test_a_shard_that_is_not_there(tmp_path):
    sharded(make_checkpoint(tmp_path, LLAMA), {})
    (tmp_path / TWO).unlink()
    with pytest.raises(InputError, match=f"shard {TWO} is missing"):
        weights.load(tmp_path)


# A tied pair of which one name is stored


def all_cases():
    found = {}
    for module in (core, experts, llama_successors, recurrent, state_space):
        found |= {name: config for name, config in module.CASES.items() if isinstance(config, dict)}
    return found


@pytest.mark.parametrize("name", all_cases())
def test_the_head_alone_serves_both(name):
    """By names and shapes only, so that every family can be asked."""
    config = {**all_cases()[name], "tie_word_embeddings": True}
    spec = spec_of(Config(dict(config), name))
    if not spec.tied:
        pytest.skip("this family never ties its head")
    family = families()[config["model_type"]]
    rows, tensors = family.rows(spec), {}
    for path, shape in parameter_shapes(spec).items():
        key, layers = row_key_of(path, spec)
        row, item = rows[key], shape if layers == (None,) else shape[1:]
        some = range(item[0]) if "{e}" in row.name else (None,)
        item = item[1:] if "{e}" in row.name else item
        for tensor in (row.name.format(l=i, e=e) for i in layers for e in some):
            kind, shape_ = np.dtype(np.float32), row.lies.stored_shape(item)
            tensors[tensor] = Stored(Path("x"), shape_, kind, "F32", np.zeros, np.zeros)
    tensors[rows["head"].name] = tensors.pop(rows["embed"].name)
    architecture = Architecture(family, spec, name)
    checkpoint = SimpleNamespace(architecture=architecture, folder=Path("x"), where="x")
    places, spec = account(checkpoint, tensors, {})
    assert spec.tied
    assert {place.path: place.names for place in places}["embed"] == (rows["head"].name,)
    del tensors[rows["head"].name]
    with pytest.raises(InputError, match="missing tensors"):
        account(checkpoint, tensors, {})


def test_numbers_of_a_head_alone(tmp_path):
    model = weights.load(make_checkpoint(tmp_path, LLAMA, tie_word_embeddings=True))
    change_tensors(
        tmp_path, lambda t: t.update({"lm_head.weight": t.pop("model.embed_tokens.weight")})
    )
    assert same(weights.load(tmp_path), model)


def test_an_untied_head_does_not_serve_for_the_embedding(tmp_path):
    make_checkpoint(tmp_path, LLAMA, tie_word_embeddings=False)
    change_tensors(tmp_path, lambda t: t.pop("model.embed_tokens.weight"))
    with pytest.raises(InputError, match=r"missing tensors: model\.embed_tokens\.weight"):
        weights.load(tmp_path)


# Names that tools leave


@pytest.mark.parametrize(
    "wrap",
    [
        lambda name: f"_orig_mod.{name}",
        lambda name: f"module.{name}",
        lambda name: f"base_model.model.{name}",
        lambda name: f"module._orig_mod.{name}",
        lambda name: name.replace("layers.1.", "layers.1._orig_mod."),
        lambda name: name.replace("layers.0.mlp", "layers.0._fsdp_wrapped_module.mlp"),
    ],
    ids=["compiled", "parallel", "peft", "both", "compiled layer", "fsdp"],
)
@pytest.mark.parametrize("config", [NEOX, LLAMA], ids=["gpt_neox", "llama"])
def test_wrappers_are_taken_off(wrap, config, tmp_path):
    model = weights.load(make_checkpoint(tmp_path, config))
    tensors = {wrap(name): value for name, value in read_tensors(tmp_path).items()}
    save_file(tensors, tmp_path / "model.safetensors")
    assert same(weights.load(tmp_path), model)


def test_names_that_become_one():
    with pytest.raises(InputError, match=r"x: a and _orig_mod\.a are two tensors of one name"):
        without_wrappers({"a": 1, "_orig_mod.a": 2}, "x")
    assert without_wrappers({"module.a": 1, "b": 2}, "x") == {"module.a": 1, "b": 2}
