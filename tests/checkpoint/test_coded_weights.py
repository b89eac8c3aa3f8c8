"""Layers that stay in the codes of a file: the same weights, the same scores, less memory."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from support import REPOSITORY, encoders
from support.cases import experts
from support.checkpoints import make_checkpoint, read_tensors
from support.released import CASES, change_config, released, save_any

from jaxmap.benchmarking.programs import as_tokens
from jaxmap.checkpoint import weights
from jaxmap.checkpoint.quantize import quantised
from jaxmap.engine.scorer import Scorers
from jaxmap.engine.scores import score_tokens
from jaxmap.errors import InputError
from jaxmap.model.encodings.dequantised import DequantisedLinear
from jaxmap.model.encodings.grouped import Grouped, GroupedExperts
from jaxmap.model.encodings.int8 import Int8Linear

IN_CODES = ("codes", "scale", "zero", "index", "weight", "absmax")  # attributes of the layers
SCORERS = Scorers()  # one program of floats for all


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> Callable[[str], tuple[Path, Path]]:
    """Of each case a checkpoint in codes and one of floats, made once."""

    @functools.cache
    def made(name: str) -> tuple[Path, Path]:
        return released(tmp_path_factory.mktemp(name), **CASES[name])

    return made


def scores_of(model: weights.Model) -> np.ndarray:
    random = np.random.default_rng(0)
    ids = [random.integers(0, model.spec.V, length, np.int32) for length in (40, 3, 21)]
    return score_tokens(SCORERS.of(model), model, as_tokens(ids))


@pytest.mark.parametrize("name", CASES)
def test_the_weights_are_the_decoded_ones(name, checkpoints):
    """To the bit, in every layer; nothing that could be in codes is in floats."""
    coded, _ = checkpoints(name)
    with weights.opened(coded) as found:
        model = weights.load(found, dtype="float32", in_codes=True)
        assert model.in_codes
        module = nnx.merge(model.graph, model.params)
        linears = [m for _, m in nnx.iter_modules(module) if isinstance(m, DequantisedLinear)]
        eight = [m for _, m in nnx.iter_modules(module) if isinstance(m, Int8Linear)]
        assert len(linears) + len(eight) == 7  # each holds both layers
        assert bool(eight) == (name == "bnb-int8")
        for path, one in nnx.iter_modules(module):
            if not isinstance(one, Grouped):
                continue
            graph, state = nnx.split(one)
            floats = jax.vmap(lambda layer, graph=graph: nnx.merge(graph, layer)())(state)
            part = path[3] if path[2] == "attn" else path[-2]
            names = {"q": "self_attn.q_proj", "k": "self_attn.k_proj", "v": "self_attn.v_proj"}
            names |= {"o": "self_attn.o_proj", "gate": "mlp.gate_proj", "up": "mlp.up_proj"}
            names |= {"down": "mlp.down_proj"}
            for layer, values in enumerate(np.asarray(floats)):
                stored = found.tensors[f"model.layers.{layer}.{names[part]}.weight"].read()
                np.testing.assert_array_equal(values, stored.astype(np.float32), err_msg=part)


@pytest.mark.parametrize("name", CASES)
def test_what_the_device_holds(name, checkpoints):
    """Of layers in codes no more than 1.6 times the file: 3 bits are 4, and scales wider."""
    coded, _ = checkpoints(name)
    with weights.opened(coded) as found:
        model = weights.load(found, dtype="float32", in_codes=True)
        stored = sum(one.file_bytes for one in found.tensors.values() if one.codes)
    leaves = nnx.to_flat_state(model.params)
    held = sum(leaf[...].nbytes for path, leaf in leaves if path[-1] in IN_CODES)
    assert 0 < held <= 1.6 * stored


@pytest.mark.slow
def test_the_peak_of_loading(tmp_path):
    """The file and one tensor, not 32 bits a weight; measured in a process of its own."""
    script, out = REPOSITORY / "benchmarks" / "released_memory.py", tmp_path / "found.json"
    options = ["--width=2048", "--layers=2", "--formats=gptq,bnb-int8,fp8", f"--out={out}"]
    subprocess.run([sys.executable, script, *options], check=True)
    for row in json.loads(out.read_text()):
        assert row["load"] < 1.3 * row["file"] + 60e6, row
        assert row["decoded"] > 0.9 * row["float32"], row


def test_eight_bit_quantises_activations_as_the_copy_that_is_made_here(checkpoints):
    coded, plain = checkpoints("bnb-int8")
    ours = scores_of(weights.load(coded, dtype="float32", in_codes=True))
    floats = weights.load(plain, dtype="float32")
    theirs = scores_of(quantised(floats, "int8"))
    assert np.abs(theirs - scores_of(floats)).max() > 0.02
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-3)


def test_experts_in_codes(tmp_path):
    """A matrix an expert, as in Mixtral: each is made floats alone."""
    config = {**experts.CASES["mixtral"], "hidden_size": 64, "intermediate_size": 32}
    make_checkpoint(tmp_path, config)
    rng, stored = np.random.default_rng(3), read_tensors(tmp_path)
    for name in [name for name in stored if ".experts." in name]:
        parts, _ = encoders.fp8(stored.pop(name), rng, block=(24, 40))
        stored |= {name: parts["codes"], f"{name}_scale_inv": parts["scales"]}
    save_any(stored, tmp_path / "model.safetensors")
    facts = {"quant_method": "fp8", "weight_block_size": [24, 40]}
    change_config(tmp_path, quantization_config=facts)
    coded = weights.load(tmp_path, dtype="float32", in_codes=True)
    module = nnx.merge(coded.graph, coded.params)
    there = [m for _, m in nnx.iter_modules(module) if isinstance(m, GroupedExperts)]
    assert len(there) == 3
    floats = weights.load(tmp_path, dtype="float32")
    np.testing.assert_allclose(scores_of(coded), scores_of(floats), rtol=0, atol=2e-3)


def test_no_copy_is_made_of_codes(checkpoints):
    coded, _ = checkpoints("awq")
    model = weights.load(coded, dtype="float32", in_codes=True)
    with pytest.raises(InputError, match=r"stored in codes \(awq\): a copy in nf4 is made"):
        quantised(model, "nf4")


def test_shapes_before_loading(checkpoints):
    coded, _ = checkpoints("gptq")
    with weights.opened(coded) as found:
        before = weights.shapes(found, "float32", in_codes=True)
    model = weights.load(coded, dtype="float32", in_codes=True)
    assert before.graph == model.graph

    def facts(params: nnx.State) -> list[tuple]:
        return [(path, leaf.shape, leaf.dtype) for path, leaf in nnx.to_flat_state(params)]

    assert facts(before.params) == facts(model.params)


@pytest.mark.parametrize(
    ("name", "part"), [("gptq", "scales"), ("fp8-block", "weight_scale_inv"), ("nvfp4", "_scale")]
)
def test_scales_that_are_no_numbers(name, part, tmp_path):
    coded, _ = released(tmp_path, **CASES[name])
    with weights.open_tensors(coded) as found:
        tensors = {one: stored.read() for one, stored in found.items()}
    bad = next(one for one in tensors if "1.mlp.up" in one and one.endswith(part))
    tensors[bad] = tensors[bad].copy()
    tensors[bad].reshape(-1)[0] = np.nan
    save_any(tensors, coded / "model.safetensors")
    with pytest.raises(InputError, match=r"NaN or infinite weights in model.layers.1.mlp.up_proj"):
        weights.load(coded, dtype="float32", in_codes=True)


def test_rounding_is_not_lost_in_a_program():
    from jaxmap.model.encodings.codes import Grouping
    from jaxmap.model.encodings.grouped import floats

    table = tuple(np.linspace(-1, 1, 16, dtype=np.float32).tolist())
    meaning = Grouping((2, 8), "uint4", 1, table=table, rounded="float16")
    codes = jnp.asarray(np.random.default_rng(0).integers(0, 256, (2, 4)), jnp.uint8)
    scale = jnp.full((2, 1), 0.3, jnp.float32)
    found = np.asarray(jax.jit(lambda c, s: floats(meaning, c, s))(codes, scale))
    assert (found == found.astype(np.float16).astype(np.float32)).all()
    assert len(np.unique(found)) > 4
