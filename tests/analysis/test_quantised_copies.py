"""Released copies and adapters: what their records know, and where they count."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from support import encoders
from support.checkpoints import LLAMA, change_tensors, jaxmap, make_checkpoint, score, write_texts
from support.stores import filled, record, texts

from jaxmap.analysis.context import Context
from jaxmap.analysis.quantised_copies import released_copies
from jaxmap.analysis.scale import measure_scale
from jaxmap.checkpoint.sources.model_card import ModelCard, parse_card
from jaxmap.checkpoint.storage import bits_of_file_type
from jaxmap.store import Store

SIZES = dict(hidden_size=16, intermediate_size=16)


def table(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def make_gptq(folder: Path, base: Path) -> Path:
    make_checkpoint(folder, LLAMA, dtype="float16", **SIZES)
    rng, tensors = np.random.default_rng(7), load_file(base / "model.safetensors")
    stored = dict(tensors)
    for name in [name for name in tensors if name.endswith("_proj.weight")]:
        parts, _ = encoders.gptq(stored.pop(name).astype(np.float32), rng, bits=4, group=16)
        stored |= {f"{name.removesuffix('weight')}{part}": value for part, value in parts.items()}
    save_file(stored, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    facts = {"quant_method": "gptq", "bits": 4, "group_size": 16, "sym": False}
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": facts}))
    return folder


def make_adapter(folder: Path, base: str) -> Path:
    rng, module = np.random.default_rng(3), "base_model.model.model.layers.1.mlp.up_proj.lora"
    shapes = {"A": (2, 16), "B": (16, 2)}
    folder.mkdir()
    stored = {
        f"{module}_{part}.weight": rng.normal(0, 0.1, shape).astype(np.float32)
        for part, shape in shapes.items()
    }
    save_file(stored, folder / "adapter_model.safetensors")
    facts = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "base_model_name_or_path": base}
    (folder / "adapter_config.json").write_text(json.dumps(facts))
    return folder


def test_from_files_to_the_scale(tmp_path, monkeypatch):
    """A copy that its card names the base of, one that its settings do, and an adapter."""
    monkeypatch.chdir(tmp_path)
    base = make_checkpoint(Path("base"), LLAMA, dtype="float16", **SIZES)
    one, other = make_gptq(Path("one"), base), make_gptq(Path("other"), base)
    change_tensors(other, lambda t: t.update({"model.norm.weight": t["model.norm.weight"] * 1.1}))
    card = f"---\nlicense: mit\nbase_model:\n- {tmp_path / 'base'}\n---\n# One\n"
    (one / "README.md").write_text(card)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "_name_or_path": "./base"}))
    make_adapter(Path("adapter"), "./base")
    write_texts(Path("texts.jsonl"))
    ran = score("store", "texts.jsonl", "base", "one", "other", "adapter")
    assert ran.code == 0, ran.err

    entries = {entry.label: entry for entry in Store.open("store").records()}
    gptq, size = entries["one"], (one / "model.safetensors").stat().st_size
    assert (gptq.format, gptq.bits, gptq.num_bytes) == ("gptq-4bit", 4, size)
    count = sum(x.size for x in load_file(base / "model.safetensors").values())
    assert gptq.bits_per_weight == pytest.approx(8 * size / count)
    assert (entries["base"].format, entries["base"].bits) == ("float16", None)
    adapter = entries["adapter"]
    sizes = [path.stat().st_size for path in (base / "model.safetensors",
             Path("adapter/adapter_model.safetensors"))]  # fmt: skip
    assert (adapter.format, adapter.num_bytes) == ("float16+lora", sum(sizes))

    told = jaxmap("status", "--store=store").out
    assert "copies      2 in fewer than 16 bits" in told
    assert f"one: gptq-4bit, {gptq.bits_per_weight:.3g} bits per weight" in told
    import jaxmap as package

    package.status("store").save("out")
    rows = {row["model"]: row for row in table(Path("out/status.csv"))}
    assert float(rows["one"]["gib"]) == pytest.approx(size / 2**30)
    dataset = package.open_store("store").dataset()
    assert dataset.format.values.tolist() == ["float16+lora", "float16", "gptq-4bit", "gptq-4bit"]

    package.scale("store").save("out")
    found = {row["setting"]: row for row in table(Path("out/scale.csv"))}
    assert found["4-bit"]["n"] == "2"
    assert found["ft"]["n"] == "1"
    pairs = [row for row in table(Path("out/scale_pairs.csv")) if row["setting"] == "4-bit"]
    assert [(row["model_a"], row["model_b"]) for row in pairs] == [
        ("base", "one"),
        ("base", "other"),
    ]
    assert pairs[0]["format_b"] == "gptq-4bit"


def copies_of(tmp_path, *records, parents=None):
    store, _ = filled(tmp_path, texts(), *records)
    return [(a.label, b.label) for a, b in released_copies(store.records(), parents)]


def test_which_count(tmp_path):
    of = texts()

    def one(name: str, **model: object):
        return record(of, name, model={"num_parameters": 100, **model})

    def copy(name: str, size: int, **model: object):
        return one(name, format="gguf", bits=4, num_bytes=size, **model)

    found = copies_of(
        tmp_path,
        one("org/base", format="float16", num_bytes=200),
        copy("org/large", 70, base=["org/base"], base_relation="quantized"),
        copy("org/small", 60, base=["org/base@main"]),
        copy("org/merge", 60, base=["org/base", "org/small"]),
        copy("org/tuned", 60, base=["org/base"], base_relation="finetune"),
        copy("org/of_a_copy", 60, base=["org/small"]),
        copy("org/unknown", 60),
        copy("org/elsewhere", 60, base=["org/nowhere"]),
        one("org/child", format="float16", base=["org/base"]),
        parents={"org/unknown": ("org/base",)},
    )
    assert found == [
        ("org/base", "org/small"),
        ("org/base", "org/unknown"),
        ("org/base", "org/large"),
    ]


def test_beside_copies_that_were_made_here(tmp_path):
    """Rows of both; the floor of the models, and ft, leave released copies out."""
    of, rng = texts(), np.random.default_rng(2)
    scores = -3.0 * rng.uniform(100, 200, len(of))

    def near(name: str, quantisation: str = "none", **model: object):
        noise = rng.normal(size=len(of))
        one = record(of, name, quantisation=quantisation, scores=scores + noise)
        return replace(one, provenance=replace(one.provenance, model=dict(model)))

    low = near("org/low", bits=8, base=["org/a"], num_bytes=9, num_parameters=9, format="x")
    low.arrays["log_likelihood"][0] = -1e5
    store, _ = filled(
        tmp_path,
        of,
        near("org/a"),
        near("org/b", base=["org/a"]),
        near("org/a", "int8"),
        near("org/a", "nf4"),
        low,
    )
    scale = measure_scale(Context(store, ask=lambda name: ()))
    assert [scale.row(name).summary.n for name in ("8-bit", "4-bit", "ft")] == [2, 1, 1]
    assert "8-bit: one released copy: x" in scale.text()
    floor = scale.row("8-bit").setting.ll_KN.min()
    assert floor > -1e4


@pytest.mark.parametrize(
    ("text", "card"),
    [
        ("---\nbase_model: org/a\n---\n", ModelCard(("org/a",))),
        (
            "---\nbase_model: [org/a]\nbase_model_relation: quantized\n---\nx",
            ModelCard(("org/a",), "quantized"),
        ),
        ("---\nbase_model:\n- org/a\n- org/b\n- 3\n---", ModelCard(("org/a", "org/b"))),
        ("\ufeff---\r\nbase_model: org/a\r\n---\r\n", ModelCard(("org/a",))),
        ("# no facts\n---\nbase_model: org/a\n---\n", ModelCard()),
        ("---\nbase_model: org/a\n", ModelCard()),
        ("---\n: [\n---\n", ModelCard()),
        ("---\n- a\n---\n", ModelCard()),
        ("", ModelCard()),
        ("---\nbase_model: org/a\nbase_model_relation: cousin\n---\n", ModelCard(("org/a",))),
    ],
)
def test_cards(text, card):
    assert parse_card(text) == card


@pytest.mark.parametrize(
    ("name", "bits"),
    [("Q4_K_M", 4), ("IQ2_XXS", 2), ("Q8_0", 8), ("TQ1_0", 1), ("MXFP4_MOE", 4), ("BF16", None)],
)
def test_file_types(name, bits):
    assert bits_of_file_type(name) == bits
