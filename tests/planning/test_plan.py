"""`jaxmap plan`: counts against hand arithmetic and the compiler, memory against what is held."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from support.cases.gemmas import CASES as GEMMAS
from support.cases.newer import CASES as NEWER
from support.checkpoints import (
    GPT2,
    LLAMA,
    NEOX,
    TEXTS,
    make_checkpoint,
    score,
    write_config,
    write_texts,
)
from support.device_compilers import run_for
from support.gguf_files import WIDE, made_of
from support.released import CASES, released

from jaxmap.architectures.config import Config
from jaxmap.architectures.specs import spec_of
from jaxmap.checkpoint import weights
from jaxmap.cli import run
from jaxmap.engine import batch_size, scorer
from jaxmap.engine.batch_size import largest
from jaxmap.engine.device_memory import USABLE, Memory
from jaxmap.errors import InputError
from jaxmap.hardware import chips, gpus
from jaxmap.hardware import topology as topologies
from jaxmap.model.decoder import Decoder
from jaxmap.planning.cost import count
from jaxmap.planning.plan import passes_of, plan_for, reach_of
from jaxmap.planning.planned_model import planned_model
from jaxmap.store import Store

MIXTRAL = {
    **NEOX,
    "model_type": "mixtral",
    "num_key_value_heads": 1,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
}
PYTHIA_410M = {
    **NEOX,
    "vocab_size": 50304,
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "max_position_embeddings": 2048,
    "torch_dtype": "float16",
}


def spec(config):
    return spec_of(Config(config, "test"))


def test_counts_are_those_of_pythia_410m():
    work = count(spec(PYTHIA_410M), weight_bytes=2, activation_bytes=4)
    assert work.parameters == 405_334_016  # as its model card has it
    D, L, V = 1024, 24, 50304
    assert work.weight_flops == 2 * (12 * D * D * L + V * D)
    assert work.key_flops == 4 * D * L
    assert work.weight_bytes == 2 * work.parameters


def test_of_experts_only_the_chosen_ones_work():
    dense, sparse = (
        count(spec({**MIXTRAL, "num_experts_per_tok": k}), weight_bytes=4, activation_bytes=4)
        for k in (4, 2)
    )
    assert dense.parameters == sparse.parameters
    expert = 3 * 16 * 24  # gate, up and down
    assert dense.weight_flops - sparse.weight_flops == 2 * 2 * 2 * expert  # layers, experts


def test_heads_that_differ_and_tables_that_are_read():
    """Values of their own width (MiMo), heads by layer and embeddings for each layer (Gemma 4)."""
    bytes_each = dict(weight_bytes=2, activation_bytes=2)
    mimo = NEWER["mimo_v2_flash"]
    wide, narrow = (count(spec({**mimo, "v_head_dim": C}), **bytes_each) for C in (10, 4))
    heads = [
        kind.H or spec(mimo).H
        for _, kind, start, stop in spec(mimo).runs()
        for _ in range(start, stop)
    ]
    assert wide.key_flops - narrow.key_flops == 2 * 6 * sum(heads)
    assert narrow.key_flops == 2 * (spec(mimo).C + 4) * sum(heads)
    gemma = GEMMAS["gemma4_text"]
    few, many = (
        count(spec({**gemma, "vocab_size_per_layer_input": V}), **bytes_each) for V in (97, 197)
    )
    assert few.key_flops == 4 * 4 * (4 * 14 + 3 * 20)  # 4 heads, windowed layers and others
    assert many.parameters - few.parameters == 100 * 7 * 6  # layers, channels
    assert many.weight_flops == few.weight_flops


@pytest.mark.parametrize("config", [NEOX, GPT2, LLAMA], ids=lambda c: c["model_type"])
def test_counts_agree_with_the_compilers(config):
    """Of one layer and one block of queries: it counts the body of a loop once."""
    config = {**config, **{k: 1 for k in ("num_hidden_layers", "n_layer") if k in config}}
    own, T = spec(config), 64
    model = nnx.eval_shape(lambda: Decoder(own, dtype=jnp.float32, rngs=nnx.Rngs(0)))
    graph, params = nnx.split(model)
    program = jax.jit(lambda params, ids_BT: nnx.merge(graph, params).logits(ids_BT))
    ids = jax.ShapeDtypeStruct((1, T), jnp.int32)
    found = program.lower(params, ids).compile().cost_analysis()["flops"]
    counted = count(own, weight_bytes=4, activation_bytes=4).flops(T, T)
    assert counted < found < 1.35 * counted  # norms, softmax and the like are on top


def test_memory_is_the_compilers_and_the_largest_batch_fits(tmp_path, monkeypatch):
    write_config(tmp_path, {**NEOX, "hidden_size": 64})
    monkeypatch.setattr("jaxmap.planning.plan.device_memory", lambda device: 40_000_000)
    plan = plan_for(str(tmp_path), mesh="data=1", batch_tokens=1024)
    assert plan.fits
    assert plan.parameter_bytes == 4 * plan.work.parameters
    assert plan.memory is not None
    assert plan.memory.arguments > plan.parameter_bytes
    largest = plan.largest_batch_tokens
    assert largest is not None
    assert largest > 1024

    def total(batch: int) -> int:
        again = plan_for(str(tmp_path), mesh="data=1", batch_tokens=batch, largest_batch=False)
        assert again.memory is not None
        return again.memory.total

    assert total(largest) <= USABLE * 40_000_000 < total(2 * largest)


@pytest.mark.parametrize("limit", [600, 1100, 1500, 3500, 40_000, 1_000_000])
def test_the_largest_batch_where_too_much_does_not_compile(limit):
    """As for a TPU, whose compiler refuses what its memory does not hold; a byte a token."""
    tried = []

    def memory(tokens: int) -> Memory | None:
        tried.append(tokens)
        return Memory(0, tokens, 0) if tokens <= 0.98 * limit else None

    room = 0.9 * limit
    found = largest(memory, memory(1000), 1000, 100, room)
    assert found is not None
    assert 0.6 * min(room, 64_000) < found <= room
    assert len(tried) < 8
    assert largest(lambda tokens: None, None, 1000, 100, room) is None


def test_passes():
    assert passes_of("bfloat16_3x", "float16", "tpu") == (3, 3)
    assert passes_of("bfloat16_3x", "bfloat16", "tpu") == (2, 3)
    assert passes_of("float32", "float32", "tpu") == (6, 6)
    assert passes_of("float32", "float32", "cpu") == passes_of("bfloat16", "bfloat16", "tpu")


def test_what_does_not_fit_says_so_and_exits_with_1(tmp_path, monkeypatch, capsys):
    write_config(tmp_path, NEOX)
    monkeypatch.setattr("jaxmap.planning.plan.device_memory", lambda device: 10_000)
    assert run(["plan", f"--model={tmp_path}"]) == 1
    assert "does not fit: the parameters alone are too many" in capsys.readouterr().out


def test_plans_are_added_to_a_file(tmp_path, capsys):
    write_config(tmp_path, NEOX)
    out = tmp_path / "plans.jsonl"
    for _ in range(2):
        command = ["plan", f"--model={tmp_path}", "--nolargest_batch", f"--out={out}"]
        assert run(command) == 0
    assert "GFLOP" in capsys.readouterr().out
    first, second = map(json.loads, out.read_text().splitlines())
    assert {**first, "limit": 0} == {**second, "limit": 0}  # of a CPU: what is free now
    assert first["fits"]
    assert first["work"]["parameters"] > 0


def test_the_stored_dtype_is_read_in_both_spellings(tmp_path):
    for key in ("dtype", "torch_dtype"):
        write_config(tmp_path, {**NEOX, key: "bfloat16"})
        assert planned_model(str(tmp_path)).stored == "bfloat16"


@pytest.mark.parametrize("kind", ["gguf", "gptq"])
def test_a_copy_in_codes_is_sized_by_what_the_devices_hold(kind, tmp_path):
    if kind == "gguf":
        folder = made_of(tmp_path, dict(WIDE, model_type="llama"))
        named, label = tmp_path / "gguf" / "model.gguf", "gguf"
    else:
        folder, _ = released(tmp_path, **CASES["gptq"])
        named, label = folder, "gptq-4bit"
    plan = plan_for(str(named), mesh="data=1", dtype="float32", largest_batch=False)
    model = weights.load(folder, dtype="float32", in_codes=True)
    leaves = jax.tree.leaves(model.params)
    assert any(leaf.dtype == np.uint8 for leaf in leaves)
    assert plan.stored == label
    assert plan.parameter_bytes == sum(leaf.nbytes for leaf in leaves)
    assert plan.memory.arguments >= plan.parameter_bytes
    if kind == "gptq":  # with config.json alone nothing tells the shapes
        for path in folder.glob("*.safetensors"):
            path.unlink()
        assert "its files are not there" in planned_model(str(folder)).label
    else:
        with pytest.raises(InputError, match="download it"):
            planned_model("org/name/model.gguf")


@pytest.mark.parametrize(
    ("topology", "message"),
    [
        ("v5e", "write a TPU and its grid"),
        ("v5e:4", "write a TPU and its grid"),
        ("v5e:4x0", "write a TPU and its grid"),
        ("v5e:2x2x2x2", "write a TPU and its grid"),
        ("a770:1", "write a TPU and its grid"),
        ("h100:8x1", "as in h100:8"),
        ("h100:0", "as in h100:8"),
        ("h200:16", "as in h200:8"),
        ("b200", "as in b200:8"),
    ],
)
def test_topologies_that_are_not_understood_are_refused(topology, message):
    with pytest.raises(InputError, match=message):
        topologies.parse(topology)


def test_what_a_topology_is():
    tpu, gpu = topologies.parse("v5p:2x2x4"), topologies.parse("h100:8")
    assert (tpu.device, tpu.is_gpu, tpu.float32_flops) == ("TPU v5p", False, None)
    assert (gpu.device, gpu.is_gpu) == ("GPU h100", True)
    assert gpu.float32_flops < gpu.flops
    assert gpu.memory < topologies.parse("h200:1").memory < topologies.parse("b200:1").memory
    assert topologies.parse("a100:8").flops == 312e12


@pytest.mark.parametrize("name", gpus.GPUS)
def test_no_gpu_is_modelled_faster_than_its_data_sheet(name):
    gpu = gpus.GPUS[name]
    assert 0.5 * gpu.peak < gpu.flops < gpu.peak
    assert 0.5 * gpu.peak_bandwidth < gpu.bandwidth < gpu.peak_bandwidth
    assert gpu.flops_by_dtype["f32"] < gpu.float32_peak
    # A multiply-add a lane and cycle is what the data sheet's float32 rate is.
    assert gpu.vector == pytest.approx(gpu.float32_peak / 2, rel=0.15)


def test_texts_reach_a_third_beyond_their_mean():
    assert [reach_of(tokens) for tokens in (1, 96, 97, 270)] == [128, 128, 256, 384]


def test_several_models_and_folders_without_a_config_are_refused(tmp_path):
    with pytest.raises(InputError, match="plan for one"):
        planned_model("a/b,c/d")
    with pytest.raises(InputError, match=r"has no config\.json"):
        planned_model(str(tmp_path))


def test_without_libtpu_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'jax\[tpu\]'"):
        chips.prepare()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("topology", "platform", "device"),
    [
        ("v5e:2x2", "tpu", "4 x TPU v5e"),
        ("h100:4", "gpu", "4 x GPU h100"),
        ("a100:4", "gpu", "4 x GPU a100"),
        ("b200:4", "gpu", "4 x GPU b200"),
    ],
)
def test_devices_are_compiled_for_without_any(tmp_path: Path, topology, platform, device):
    write_config(tmp_path, {**PYTHIA_410M, "num_hidden_layers": 2})
    command = ["plan", f"--model={tmp_path}", f"--topology={topology}", "--mesh=data=2,model=2"]
    code = (
        f"import sys; from jaxmap.cli import run; sys.exit(run({[*command, '--nolargest_batch']}))"
    )
    done = run_for(platform, "-c", code)
    assert done.returncode == 0, done.stderr
    assert device in done.stdout
    least, modelled = (
        float(re.search(rf"{name} +([\d.]+) s", done.stdout)[1])
        for name in ("roofline", "modelled")
    )
    assert 0 < least <= modelled < 100 * least
    for noise in ("persistent compilation cache", "host bounds"):
        assert noise not in done.stderr


def test_scoring_takes_the_largest_batch_and_gives_the_same_scores(tmp_path, monkeypatch):
    model = make_checkpoint(tmp_path / "model")
    texts = write_texts(tmp_path / "texts.jsonl", [text * 40 for text in TEXTS])
    monkeypatch.setitem(batch_size.BATCH_TOKENS, "cpu", 256)
    monkeypatch.setattr(batch_size, "device_memory", lambda device: 8_000_000)
    planned, plan = [], scorer.plan

    def watched(tokens, *, batch_tokens, **options):
        planned.append(batch_tokens)
        return plan(tokens, batch_tokens=batch_tokens, **options)

    monkeypatch.setattr(scorer, "plan", watched)
    found = []
    for name, flags in (("auto", {"batch": "auto"}), ("set", {"batch_tokens": 256})):
        assert score(tmp_path / name, texts, model, **flags).code == 0
        store = Store.open(tmp_path / name)
        found.append(store.log_likelihoods(store.records()))
    np.testing.assert_allclose(*found, rtol=0, atol=1e-4)
    auto, given = dict.fromkeys(planned)  # each to compile, and to score
    assert auto > given == 256


def test_batch_auto_and_a_number_exclude_each_other(tmp_path):
    ran = score(
        tmp_path / "s", write_texts(tmp_path / "t.jsonl"), "m", batch="auto", batch_tokens=1
    )
    assert ran.code == 2
    assert "exclude each other" in ran.err
