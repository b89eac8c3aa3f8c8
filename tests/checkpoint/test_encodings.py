"""Weights in released encodings: decoded to the numbers that they stand for, or refused by name.

The encoders of tests/support/encoders.py are the oracle, and the packages that people use where
they are at hand.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from support import encoders
from support.cases import experts
from support.checkpoints import LLAMA, jaxmap, make_checkpoint, write_texts
from support.released import (
    GPTQ,
    change_config,
    groups_of,
    in_place_of_weight,
    linears,
    released,
    save_any,
    with_suffix,
)

from jaxmap.checkpoint import weights
from jaxmap.checkpoint.checkpoint import Checkpoint
from jaxmap.errors import InputError
from jaxmap.model import decoder


def same(one: Path, other: Path, *, tolerance: float = 0.0) -> None:
    a, b = (decoder.named(weights.load(folder, dtype="float32").params) for folder in (one, other))
    assert a.keys() == b.keys()
    for path in a:
        x, y = np.asarray(a[path][...]), np.asarray(b[path][...])
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=0, err_msg=path)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("act_order", [False, True])
def test_gptq(bits, version, act_order, tmp_path):
    facts = {**GPTQ, "bits": bits, "desc_act": act_order}
    facts |= {"checkpoint_format": "gptq_v2"} if version == 2 else {}
    coded, plain = released(
        tmp_path,
        encoders.gptq,
        in_place_of_weight,
        facts,
        bits=bits,
        group=32,
        plus=2 - version,
        act_order=act_order,
    )
    same(coded, plain, tolerance=1e-6)


@pytest.mark.parametrize("plus", [0, 1])
@pytest.mark.parametrize("label", ["gptq", "gptq_v2", None])
def test_symmetric_gptq_goes_by_its_zeros(plus, label, tmp_path, caplog):
    """Files exist that are labelled as one version and are the other."""
    facts = {**GPTQ, "bits": 4, "sym": True, "checkpoint_format": label}
    coded, plain = released(
        tmp_path,
        encoders.gptq,
        in_place_of_weight,
        facts,
        **dict(bits=4, group=32, plus=plus, symmetric=True),
    )
    same(coded, plain, tolerance=1e-6)
    assert ("read as that" in caplog.text) == ((label == "gptq_v2") == bool(plus))


@pytest.mark.parametrize(
    ("facts", "label"),
    [
        ({**GPTQ, "bits": 3}, "gptq-3bit"),
        ({"quant_method": "awq"}, "awq"),
        ({"quant_method": "fp8"}, "fp8"),
        (
            {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
            "bnb-nf4",
        ),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "bnb-int8"),
        ({"quant_method": "compressed-tensors", "format": "pack-quantized"}, "pack-quantized"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "nvfp4"),
        (None, ""),
    ],
)
def test_what_a_table_calls_it(facts, label, tmp_path):
    make_checkpoint(tmp_path, LLAMA)
    change_config(tmp_path, quantization_config=facts)
    assert Checkpoint(tmp_path).encoding == label


def test_awq(tmp_path):
    facts = {"quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemm"}
    facts |= {"zero_point": True, "modules_to_not_convert": None}
    coded, plain = released(tmp_path, encoders.awq, in_place_of_weight, facts, group=32)
    same(coded, plain, tolerance=1e-6)


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("quantize_config.json", {"bits": 4, "group_size": 32, "desc_act": False, "sym": False}),
        ("quant_config.json", {"w_bit": 4, "q_group_size": 32, "version": "GEMM"}),
    ],
)
def test_settings_in_a_file_of_their_own(name, facts, tmp_path):
    """As tools wrote them before config.json had a place for them; it is part of the model."""
    from jaxmap.checkpoint.refs import Ref
    from jaxmap.checkpoint.sources.files import resolve

    encode, options = (
        (encoders.gptq, dict(bits=4, group=32))
        if "bits" in facts
        else (encoders.awq, dict(group=32))
    )
    coded, plain = released(tmp_path, encode, in_place_of_weight, {}, **options)
    (coded / name).write_text(json.dumps(facts))
    same(coded, plain, tolerance=1e-6)
    assert name in [file.name for file in resolve(Ref(str(coded))).files]


@pytest.mark.parametrize("block", [(32, 32), (48, 40), (1, 32), None])
@pytest.mark.parametrize("e8m0", [False, True])
def test_fp8(block, e8m0, tmp_path):
    facts = {"quant_method": "fp8", "activation_scheme": "dynamic", "fmt": "e4m3"}
    facts |= {"weight_block_size": list(block)} if block else {}
    suffix = "_scale_inv" if block else "_scale"
    coded, plain = released(
        tmp_path, encoders.fp8, with_suffix(suffix), facts, block=block, e8m0=e8m0
    )
    same(coded, plain, tolerance=1e-6)


def test_fp8_agrees_with_transformers(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file as load_torch
    from transformers.integrations.finegrained_fp8 import Fp8Dequantize

    facts = {"quant_method": "fp8", "weight_block_size": [32, 32], "activation_scheme": "dynamic"}
    coded, _ = released(tmp_path, encoders.fp8, with_suffix("_scale_inv"), facts, block=(32, 32))
    stored = load_torch(coded / "model.safetensors")
    with weights.opened(coded) as found:
        for name in linears(stored):
            both = stored[name], stored[f"{name}_scale_inv"]
            theirs = Fp8Dequantize(None)._dequantize_one(*both, torch.float32)
            np.testing.assert_array_equal(found.tensors[name].read(), theirs.numpy())


def test_mxfp4(tmp_path):
    config = experts.CASES["gpt_oss"]
    D, F = 64, 32
    sizes = dict(hidden_size=D, intermediate_size=F)
    plain, coded = make_checkpoint(tmp_path / "plain", config, **sizes), tmp_path / "coded"
    make_checkpoint(coded, config, **sizes)
    rng, tensors = np.random.default_rng(3), load_file(plain / "model.safetensors")
    stored = dict(tensors)
    for name in [n for n in tensors if n.endswith(("gate_up_proj", "down_proj"))]:
        parts, exact = encoders.mxfp4(rng, stored.pop(name).shape)
        tensors[name] = exact.astype(np.float32)
        stored |= {f"{name}_{part}": value for part, value in parts.items()}
    save_file(tensors, plain / "model.safetensors")
    save_any(stored, coded / "model.safetensors")
    change_config(coded, quantization_config={"quant_method": "mxfp4"})
    same(coded, plain)
    torch = pytest.importorskip("torch")
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors

    for name in [n for n in tensors if n.endswith("down_proj")]:
        both = (torch.from_numpy(stored[f"{name}_{part}"]) for part in ("blocks", "scales"))
        theirs = convert_moe_packed_tensors(*both, dtype=torch.float32)
        np.testing.assert_array_equal(tensors[name], theirs.numpy())


@pytest.mark.parametrize(
    "options",
    [
        *(dict(bits=bits, groups=4) for bits in (2, 3, 4, 5, 6, 7, 8)),
        *(dict(bits=bits, groups=4, crossing=False) for bits in (3, 5, 6, 7)),
        dict(bits=4, groups=1),
        dict(bits=4, groups=4, zeros=True),
        dict(bits=3, groups=4, zeros=True),
        dict(bits=8, groups=4, act_order=True),
    ],
    ids=str,
)
def test_packed_compressed_tensors(options, tmp_path):
    coded, plain = released(
        tmp_path,
        encoders.packed_numbers,
        in_place_of_weight,
        groups_of(options["bits"]),
        **options,
    )
    same(coded, plain, tolerance=1e-6)


def test_other_compressed_tensors(tmp_path, caplog):
    more = {"input_activations": {"num_bits": 8, "dynamic": True}}
    coded, plain = released(
        tmp_path / "int", encoders.whole_numbers, in_place_of_weight, groups_of(8, **more)
    )
    weights._say_once.cache_clear()
    same(coded, plain, tolerance=1e-6)
    assert caplog.text.count("only the weights are read") == 1
    coded, plain = released(
        tmp_path / "float", encoders.fp8, with_suffix("_scale"), groups_of(8), block=None
    )
    same(coded, plain, tolerance=1e-6)
    coded, plain = released(
        tmp_path / "nvfp4", encoders.nvfp4, in_place_of_weight, groups_of(4), divided=True
    )
    same(coded, plain, tolerance=1e-6)


def test_blocks_of_compressed_tensors_are_those_of_its_groups(tmp_path):
    """64 rows are two blocks of 48 rows, not of 32."""
    facts = groups_of(8)
    facts["config_groups"]["group_0"]["weights"] |= {
        "strategy": "block",
        "block_structure": [48, 40],
    }
    coded, plain = released(tmp_path, encoders.fp8, with_suffix("_scale"), facts, block=(48, 40))
    same(coded, plain, tolerance=1e-6)


def test_modelopt(tmp_path):
    facts = {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["lm_head"]}
    coded, plain = released(
        tmp_path / "4", encoders.nvfp4, in_place_of_weight, facts, divided=False
    )
    same(coded, plain, tolerance=1e-6)
    facts = {**facts, "quant_algo": "FP8"}
    coded, plain = released(
        tmp_path / "8", encoders.fp8, with_suffix("_scale"), facts, block=(1024, 1024)
    )
    same(coded, plain, tolerance=1e-6)


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_four_bit_of_bitsandbytes(kind, nested, dtype, tmp_path):
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("bitsandbytes").functional

    def encode(weight, rng):
        half = torch.from_numpy(weight).to(getattr(torch, dtype))
        codes, state = functional.quantize_4bit(half, quant_type=kind, compress_statistics=nested)
        parts = {f"weight.{name}": part for name, part in state.as_dict(packed=True).items()}
        exact = functional.dequantize_4bit(codes, state)
        return {n: p.numpy() for n, p in {"weight": codes, **parts}.items()}, exact.float().numpy()

    facts = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": kind}
    sizes = dict(hidden_size=64, intermediate_size=128)
    coded, plain = released(tmp_path, encode, in_place_of_weight, facts, sizes=sizes)
    same(coded, plain)
    with weights.opened(coded) as found:
        assert found.tensors["model.layers.0.mlp.up_proj.weight"].dtype == np.dtype(
            ml_dtypes.bfloat16 if dtype == "bfloat16" else np.float16
        )


def test_eight_bit_of_bitsandbytes(tmp_path):
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("bitsandbytes").functional

    def encode(weight, rng):
        codes, scales, _ = functional.int8_vectorwise_quant(torch.from_numpy(weight).half())
        exact = functional.int8_vectorwise_dequant(codes, scales).float()
        parts = {"weight": codes, "SCB": scales, "weight_format": torch.tensor(0).to(torch.uint8)}
        return {n: p.numpy() for n, p in parts.items()}, exact.numpy()

    facts = {"quant_method": "bitsandbytes", "load_in_8bit": True, "llm_int8_threshold": 6.0}
    coded, plain = released(tmp_path, encode, in_place_of_weight, facts)
    same(coded, plain, tolerance=1e-6)


# What is refused


def spoil(coded: Path, change: Callable[[dict[str, np.ndarray]], object]) -> None:
    with weights.open_tensors(coded) as found:
        tensors = {name: one.read() for name, one in found.items()}
    change(tensors)
    save_any(tensors, coded / "model.safetensors")


UP = "model.layers.1.mlp.up_proj"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop(f"{UP}.qzeros"), rf"{UP}\.weight lacks its {UP}\.qzeros"),
        (lambda t: t.pop(f"{UP}.qweight"), "missing tensors"),
        (lambda t: t.update({f"{UP}.scales": t[f"{UP}.scales"][:1]}), r"qzeros has shape"),
        (lambda t: t.update({f"{UP}.qweight": t[f"{UP}.qweight"][:-1]}), "config.json makes it"),
        (lambda t: t[f"{UP}.scales"].fill(np.nan), f"NaN or infinite weights in {UP}"),
        (lambda t: t.update({f"{UP}.g_idx": np.full(64, 9, np.int32)}), "names groups beyond"),
    ],
)
def test_gptq_that_is_spoilt(change, message, tmp_path):
    facts = {**GPTQ, "bits": 4}
    coded, _ = released(tmp_path, encoders.gptq, in_place_of_weight, facts, bits=4, group=32)
    spoil(coded, change)
    with pytest.raises(InputError, match=message):
        weights.load(coded)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"quant_method": "hqq"}, r"quantised \(hqq\), which cannot be read"),
        ({}, r"quantised \(unknown\)|none in the files"),
        ({**GPTQ, "bits": 5}, "bits = 5"),
        ({**GPTQ, "bits": 4, "new_rule": True}, "new_rule=True"),
        ({**GPTQ, "bits": 4, "checkpoint_format": "marlin"}, "checkpoint_format = 'marlin'"),
        ({"quant_method": "awq", "bits": 4, "version": "gemv"}, "version = 'gemv'"),
        ({**groups_of(4), "sparsity_config": {"format": "sparse-24"}}, "sparsity_config is not"),
        ({**groups_of(4), "transform_config": {"a": 1}}, "transform_config is not read"),
        (groups_of(9), "num_bits"),
        ({**groups_of(6), "format": "mxfp6-pack-quantized"}, "format = 'mxfp6-pack-quantized' is"),
        (groups_of(4, format="marlin-24"), "format = 'marlin-24' is not read"),
        (groups_of(8, weights={"num_bits": 8, "block_structure": [0, 128]}), "must be two sizes"),
        ({"quant_method": "compressed-tensors", "config_groups": [1]}, "unexpected form"),
        ({"quant_method": "modelopt", "quant_algo": "W4A8_AWQ"}, "quant_algo = 'W4A8_AWQ'"),
        ({"quant_method": "gptq", "bits": 4}, r"said to be quantised \(gptq\), but none"),
    ],
)
def test_what_is_not_read(facts, message, tmp_path):
    make_checkpoint(tmp_path, LLAMA)
    change_config(tmp_path, quantization_config=facts or {"bits": 4})
    with pytest.raises(InputError, match=message):
        weights.load(tmp_path)


def test_fp8_without_a_scale(tmp_path):
    facts = {"quant_method": "fp8", "weight_block_size": [32, 32]}
    coded, _ = released(tmp_path, encoders.fp8, with_suffix("_scale_inv"), facts, block=(32, 32))
    spoil(coded, lambda t: t.pop(f"{UP}.weight_scale_inv"))
    with pytest.raises(InputError, match=rf"{UP}\.weight lacks its"):
        weights.load(coded)
    change_config(coded, quantization_config=None)
    with pytest.raises(InputError, match="nothing claims"):
        weights.load(coded)


def test_scored_by_the_command(tmp_path):
    """The same scores as of the floats that the codes stand for."""
    facts = {**GPTQ, "bits": 4}
    coded, plain = released(tmp_path, encoders.gptq, in_place_of_weight, facts, bits=4, group=32)
    texts = write_texts(tmp_path / "texts.jsonl")
    out = tmp_path / "x.npz"
    ran = jaxmap("score", f"--store={tmp_path}/s", f"--texts={texts}", f"--models={coded},{plain}")
    assert ran.code == 0
    assert jaxmap("export", f"--store={tmp_path}/s", f"--out={out}").code == 0
    one, other = np.load(out)["log_likelihood"]
    np.testing.assert_allclose(one, other, rtol=0, atol=2e-3)


def test_layers_that_predict_further_tokens_are_passed_over(tmp_path):
    make_checkpoint(tmp_path, experts.CASES["deepseek_v3"])
    tensors = load_file(tmp_path / "model.safetensors")
    number = json.loads((tmp_path / "config.json").read_text())["num_hidden_layers"]
    further = {f"model.layers.{number}.eh_proj.weight": np.ones((3, 4), np.float32)}
    save_file({**tensors, **further}, tmp_path / "model.safetensors")
    change_config(tmp_path, num_nextn_predict_layers=0)
    with pytest.raises(InputError, match="nothing claims"):
        weights.load(tmp_path)
    change_config(tmp_path, num_nextn_predict_layers=1)
    weights.load(tmp_path)


def test_what_is_read_is_listed():
    said = jaxmap("families", "--find=gpt2").out
    one_line = " ".join(said.split())
    for name in ("safetensors", "gptq", "awq", "fp8", "mxfp4", "bitsandbytes", "LoRA adapters"):
        assert name in one_line
