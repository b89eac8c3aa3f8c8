"""Checkpoint files to parameters and back: everything accounted for, nothing read twice."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter

import jax.numpy as jnp
import numpy as np
import pytest
from support.cases.core import CASES
from support.checkpoints import (
    GPT2,
    NEOX,
    change_tensors,
    make_checkpoint,
    read_tensors,
    write_config,
)
from support.reference import logits, make_model

from jaxmap.checkpoint import weights
from jaxmap.checkpoint.account import parameter_shapes
from jaxmap.checkpoint.save import save_checkpoint
from jaxmap.errors import InputError
from jaxmap.model import decoder
from jaxmap.precision import default_dtype


def same(a, b) -> bool:
    """Whether two models have bit-identical parameters under the same names."""
    a, b = (decoder.named(model.params) for model in (a, b))
    return a.keys() == b.keys() and all(
        np.array_equal(np.asarray(a[path][...]), np.asarray(b[path][...])) for path in a
    )


def account(folder):
    """The places of every parameter, and the names of the tensors in the files."""
    with weights.opened(folder) as found:
        family = found.checkpoint.architecture.family
        return found.assignments, found.spec, set(found.tensors), family


@pytest.mark.parametrize("name", CASES)
def test_round_trip_of_what_transformers_writes(name, tmp_path):
    """One test a configuration, so that the reference is made once.

    Each parameter has one place, each stored tensor is claimed; every number of the file arrives;
    what `save_checkpoint` writes has the same tensors, and transformers gives the same logits.
    """
    from transformers import AutoModelForCausalLM

    reference = make_model(CASES[name], tmp_path / "a")
    places, spec, stored, _ = account(tmp_path / "a")
    assert Counter(place.path for place in places) == Counter(list(parameter_shapes(spec)))
    assert {name for place in places for name in place.names} == stored
    parts = Counter(
        (n, place.row.part, place.row.cut, place.row.blocks)
        for place in places
        for n in place.names
    )
    assert set(parts.values()) == {1}, "two parameters are filled from the same numbers"

    model = weights.load(tmp_path / "a", dtype="float32")
    assert model.spec == spec
    files = read_tensors(tmp_path / "a")
    assert model.num_parameters == sum(tensor.size for tensor in files.values())
    ours = np.concatenate([np.ravel(x[...]) for x in decoder.named(model.params).values()])
    theirs = np.concatenate([tensor.ravel() for tensor in files.values()])
    np.testing.assert_array_equal(np.sort(ours), np.sort(theirs))

    config = json.loads((tmp_path / "a" / "config.json").read_text())
    save_checkpoint(model.params, model.spec, config, tmp_path / "b")
    again = read_tensors(tmp_path / "b")
    assert again.keys() == files.keys()
    for key, tensor in files.items():
        np.testing.assert_array_equal(again[key], tensor, err_msg=key)
    assert same(weights.load(tmp_path / "b", dtype="float32"), model)

    ids = np.arange(1, 30)
    loaded = AutoModelForCausalLM.from_pretrained(
        tmp_path / "b",
        attn_implementation=reference.config._attn_implementation,
        dtype=reference.dtype,
    ).eval()
    np.testing.assert_array_equal(logits(loaded, ids), logits(reference, ids))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_round_trip_in_sixteen_bits(dtype, tmp_path):
    make_checkpoint(tmp_path / "a", dtype=dtype)
    model = weights.load(tmp_path / "a", dtype=dtype)
    assert (model.dtype, model.stored_dtype) == (dtype, dtype)
    save_checkpoint(model.params, model.spec, NEOX, tmp_path / "b")
    a, b = read_tensors(tmp_path / "a"), read_tensors(tmp_path / "b")
    assert {str(tensor.dtype) for tensor in b.values()} == {dtype}
    assert all(np.array_equal(a[name], b[name]) for name in a)
    assert same(weights.load(tmp_path / "b", dtype=dtype), model)


@pytest.mark.parametrize("config", [NEOX, GPT2], ids=["gpt_neox", "gpt2"])
def test_each_tensor_is_read_once(config, tmp_path, monkeypatch):
    """Fused tensors fill three parameters from one read."""
    make_checkpoint(tmp_path / "a", config)
    change_tensors(tmp_path / "a", lambda t: t.update(more_inert(config)))
    reads: Counter[str] = Counter()
    real = weights.open_tensors

    def counted(folder):
        manager = real(folder)

        class Counted:
            def __enter__(self):
                tensors = manager.__enter__()

                def count(name, one):
                    def read():
                        reads[name] += 1
                        return one.read()

                    return dataclasses.replace(one, read=read)

                return {name: count(name, one) for name, one in tensors.items()}

            def __exit__(self, *error):
                return manager.__exit__(*error)

        return Counted()

    monkeypatch.setattr(weights, "open_tensors", counted)
    weights.load(tmp_path / "a")
    wanted = set(read_tensors(tmp_path / "a")) - set(more_inert(config))
    assert reads == Counter(dict.fromkeys(wanted, 1))


def more_inert(config) -> dict[str, np.ndarray]:
    """Buffers that old files carry: masks and rotary frequencies, in odd dtypes."""
    if config["model_type"] == "gpt2":
        names = {"transformer.h.{l}.attn.bias": bool, "transformer.h.{l}.attn.masked_bias": "f4"}
    else:
        names = {
            "gpt_neox.layers.{l}.attention.bias": bool,
            "gpt_neox.layers.{l}.attention.masked_bias": "f2",
            "gpt_neox.layers.{l}.attention.rotary_emb.inv_freq": "f4",
        }
    return {n.format(l=i): np.ones((1, 1, 2, 2), k) for n, k in names.items() for i in range(2)}


@pytest.mark.parametrize("config", [NEOX, GPT2], ids=["gpt_neox", "gpt2"])
def test_mask_buffers_of_old_files_are_inert(config, tmp_path):
    model = weights.load(make_checkpoint(tmp_path / "a", config))
    assert len(more_inert(config)) in (4, 6)
    change_tensors(tmp_path / "a", lambda t: t.update(more_inert(config)))
    assert same(weights.load(tmp_path / "a"), model)
    # Of the same name elsewhere, nothing is known.
    change_tensors(tmp_path / "a", lambda t: t.update({"extra.inv_freq": np.ones(3, np.float32)}))
    with pytest.raises(InputError, match=r"nothing claims: extra\.inv_freq"):
        weights.load(tmp_path / "a")


@pytest.mark.parametrize("config", [NEOX, GPT2], ids=["gpt_neox", "gpt2"])
def test_files_of_the_bare_transformer(config, tmp_path):
    """Saved from GPT2Model, a file lacks the prefix; tied, it lacks nothing else."""
    config = {**config, "tie_word_embeddings": True}
    model = weights.load(make_checkpoint(tmp_path / "a", config))
    prefix = "transformer." if config["model_type"] == "gpt2" else "gpt_neox."

    def strip(tensors):
        for name in list(tensors):
            assert name.startswith(prefix)
            tensors[name.removeprefix(prefix)] = tensors.pop(name)

    change_tensors(tmp_path / "a", strip)
    assert same(weights.load(tmp_path / "a"), model)
    write_config(tmp_path / "a", {**config, "tie_word_embeddings": False})
    with pytest.raises(InputError, match=r"missing tensors: (lm_head|embed_out)"):
        weights.load(tmp_path / "a")


def test_files_that_transformers_writes_of_the_bare_transformer(tmp_path):
    from transformers import AutoModelForCausalLM, GPT2Model

    make_model(CASES["gpt2"], tmp_path / "a")
    GPT2Model.from_pretrained(tmp_path / "a").save_pretrained(tmp_path / "b")
    assert "wte.weight" in read_tensors(tmp_path / "b")
    model = weights.load(tmp_path / "b")
    assert same(model, weights.load(tmp_path / "a"))
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "b") is not None


def test_head_of_the_later_name(tmp_path):
    model = weights.load(make_checkpoint(tmp_path / "a"))
    change_tensors(
        tmp_path / "a", lambda t: t.update({"lm_head.weight": t.pop("embed_out.weight")})
    )
    assert same(weights.load(tmp_path / "a"), model)


def test_tied_checkpoint_with_both_tensors(tmp_path):
    """Equal: tied. Different: two tensors, whatever config.json says."""
    model = weights.load(make_checkpoint(tmp_path / "a", tie_word_embeddings=True))
    embed = np.asarray(decoder.named(model.params)["embed"][...])
    assert model.spec.tied
    change_tensors(tmp_path / "a", lambda t: t.update({"embed_out.weight": embed}))
    both = weights.load(tmp_path / "a")
    assert both.spec.tied
    assert same(both, model)

    other = embed.copy()
    other[17, 3] += 1
    change_tensors(tmp_path / "a", lambda t: t.update({"embed_out.weight": other}))
    untied = weights.load(tmp_path / "a")
    assert not untied.spec.tied
    named = decoder.named(untied.params)
    np.testing.assert_array_equal(named["embed"][...], embed)
    np.testing.assert_array_equal(named["head"][...], other)


@pytest.mark.parametrize("form", ["bin", "legacy bin", "sharded bin", "sharded safetensors"])
def test_other_files_give_the_same_parameters(form, tmp_path):
    import torch
    from transformers import AutoModelForCausalLM

    make_checkpoint(tmp_path / "a")
    model = weights.load(tmp_path / "a")
    if form == "sharded safetensors":
        reference = AutoModelForCausalLM.from_pretrained(tmp_path / "a", dtype=torch.float32)
        reference.save_pretrained(tmp_path / "b", max_shard_size="10KB")
        assert len(list((tmp_path / "b").glob("model-*-of-*.safetensors"))) > 2
    else:
        (tmp_path / "b").mkdir()
        write_config(tmp_path / "b", NEOX)
        state = {n: torch.from_numpy(a) for n, a in read_tensors(tmp_path / "a").items()}
        if form == "sharded bin":
            where = {n: f"pytorch_model-{i % 2}.bin" for i, n in enumerate(state)}
            for file in set(where.values()):
                part = {n: t for n, t in state.items() if where[n] == file}
                torch.save(part, tmp_path / "b" / file)
            index = {"weight_map": where}
            (tmp_path / "b" / "pytorch_model.bin.index.json").write_text(json.dumps(index))
        else:
            path = tmp_path / "b" / "pytorch_model.bin"
            torch.save(state, path, _use_new_zipfile_serialization=form == "bin")
    assert not (tmp_path / "b" / "model.safetensors").exists()
    assert same(weights.load(tmp_path / "b"), model)


def test_bin_of_bfloat16(tmp_path):
    import torch

    make_checkpoint(tmp_path / "a", dtype="bfloat16")
    model = weights.load(tmp_path / "a", dtype="bfloat16")
    state = {
        name: torch.from_numpy(tensor.view(np.int16)).view(torch.bfloat16)
        for name, tensor in read_tensors(tmp_path / "a").items()
    }
    (tmp_path / "a" / "model.safetensors").unlink()
    torch.save(state, tmp_path / "a" / "pytorch_model.bin")
    again = weights.load(tmp_path / "a", dtype="bfloat16")
    assert again.stored_dtype == "bfloat16"
    assert same(again, model)


def test_stored_dtype_is_that_of_most_numbers(tmp_path):
    make_checkpoint(tmp_path / "a", dtype="float16")
    change_tensors(
        tmp_path / "a",
        lambda t: t.update({n: a.astype(np.float32) for n, a in t.items() if "norm" in n}),
    )
    assert weights.load(tmp_path / "a").stored_dtype == "float16"
    change_tensors(
        tmp_path / "a", lambda t: t.update({n: a.astype(np.float64) for n, a in t.items()})
    )
    model = weights.load(tmp_path / "a")
    assert (model.stored_dtype, model.dtype) == ("float32", "float32")
    assert {leaf[...].dtype for leaf in decoder.named(model.params).values()} == {jnp.dtype("f4")}


def test_float64_beyond_float32(tmp_path):
    make_checkpoint(tmp_path / "a")
    name = "gpt_neox.final_layer_norm.weight"
    change_tensors(tmp_path / "a", lambda t: t.update({name: np.full(16, 1e300)}))
    with pytest.raises(InputError, match=f"infinite weights in {name}"):
        weights.load(tmp_path / "a")


def test_auto_dtype():
    assert default_dtype("cpu", "float16") == "float32"
    assert default_dtype("gpu", "float16") == "float16"
    assert default_dtype("tpu", "float16") == "bfloat16_3x"
