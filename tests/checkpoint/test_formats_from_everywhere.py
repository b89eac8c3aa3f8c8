"""Every format from a folder, a Git clone and the Hub: the same weights, and no file in vain.

What the scores are is tested in test_released_copies.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from support import encoders
from support.cases import experts
from support.checkpoints import LLAMA, add_tokenizer, make_checkpoint
from support.gguf_files import WIDE, converted, write_gguf
from support.hubs import fake_of, serve
from support.released import CASES, change_config, released, save_any

from jaxmap.checkpoint import weights
from jaxmap.checkpoint.refs import parse_ref
from jaxmap.checkpoint.sources import hub
from jaxmap.checkpoint.sources.files import fetch, resolve
from jaxmap.errors import InputError
from jaxmap.model import decoder

# Files that repositories have beside a checkpoint.
OTHERS = ("README.md", "training_args.bin", "model.fp16.safetensors", "original/consolidated.0.pth",
          "flax_model.msgpack", "onnx/model.onnx", "modeling_x.py")  # fmt: skip


def coded(name: str) -> Callable[[Path], Path]:
    return lambda folder: released(folder, **CASES[name])[0]


def mxfp4(folder: Path) -> Path:
    sizes = dict(hidden_size=32, intermediate_size=32)
    made = make_checkpoint(folder / "m", experts.CASES["gpt_oss"], **sizes)
    rng, stored = np.random.default_rng(3), load_file(made / "model.safetensors")
    for name in [name for name in stored if name.endswith(("gate_up_proj", "down_proj"))]:
        parts, _ = encoders.mxfp4(rng, stored.pop(name).shape)
        stored |= {f"{name}_{part}": value for part, value in parts.items()}
    save_any(stored, made / "model.safetensors")
    change_config(made, quantization_config={"quant_method": "mxfp4"})
    return made


def gguf(folder: Path) -> Path:
    source = make_checkpoint(folder / "hf", {**WIDE, "model_type": "llama"}, num_hidden_layers=1)
    write_gguf(folder / "m" / "tiny.gguf", *converted(source), kind="Q4_K")
    add_tokenizer(folder / "m")
    return folder / "m"


def pickled(folder: Path) -> Path:
    torch = pytest.importorskip("torch")
    made = make_checkpoint(folder / "m", LLAMA)
    path = made / "model.safetensors"
    tensors = {name: torch.from_numpy(value) for name, value in load_file(path).items()}
    path.unlink()
    torch.save(tensors, made / "pytorch_model.bin")
    return made


def adapter(folder: Path) -> Path:
    made, base = folder / "m", make_checkpoint(folder / "base", LLAMA)
    made.mkdir()
    facts = {"peft_type": "LORA", "base_model_name_or_path": str(base), "r": 2, "lora_alpha": 4}
    (made / "adapter_config.json").write_text(json.dumps(facts))
    up, rng = "base_model.model.model.layers.1.mlp.up_proj", np.random.default_rng(0)
    outs, ins = load_file(base / "model.safetensors")["model.layers.1.mlp.up_proj.weight"].shape
    factors = {"A": rng.normal(size=(2, ins)), "B": rng.normal(size=(outs, 2))}
    tensors = {f"{up}.lora_{n}.weight": x.astype(np.float32) for n, x in factors.items()}
    save_file(tensors, made / "adapter_model.safetensors")
    return made


FORMATS = {
    **{
        name: coded(name)
        for name in ("gptq", "awq", "fp8-block", "pack-quantized", "modelopt", "bnb-nf4")
    },
    "mxfp4": mxfp4,
    "gguf": gguf,
    "bin": pickled,
    "adapter": adapter,
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def leaves(ref: str) -> dict[str, np.ndarray]:
    folder = fetch(resolve(parse_ref(ref))).folder
    params = weights.load(folder, dtype="float32").params
    return {path: np.asarray(leaf[...]) for path, leaf in decoder.named(params).items()}


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[k], other[k]) for k in one)


def git(folder: Path, *arguments: str) -> None:
    options = ["-c", "user.email=a@b", "-c", "user.name=a"]
    subprocess.run(["git", *options, *arguments], cwd=folder, check=True, capture_output=True)


def online(monkeypatch, endpoint: str, folder: Path) -> None:
    ours = hub.Hub(endpoint=endpoint, cache=folder, offline=False)
    monkeypatch.setattr(hub, "Hub", lambda: ours)


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_weights_from_a_folder_a_clone_and_the_hub(name, tmp_path, monkeypatch):
    made = FORMATS[name](tmp_path)
    needed = {path.name for path in made.iterdir()}
    for other in OTHERS:
        (made / other).parent.mkdir(exist_ok=True)
        (made / other).write_bytes(b"not of the model")
    want = leaves(str(made))
    for arguments in (["init", "-b", "main"], ["add", "."], ["commit", "-m", "one"]):
        git(made, *arguments)
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--no-checkout", str(made), str(clone))
    assert same(leaves(f"{clone}@main"), want)
    shutil.rmtree(made / ".git")
    fake = fake_of({"main": made})
    with serve(fake) as endpoint:
        online(monkeypatch, endpoint, tmp_path / "hub")
        assert same(leaves("org/tiny"), want)
    fetched = {one.removeprefix("GET ") for one in fake.asked if one.startswith("GET ")}
    assert fetched - {"info", "README.md"} <= needed
    assert sum(fake.asked[f"GET {one}"] for one in needed) >= 1


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"quant_method": "hqq"}, "hqq"),
        ({"quant_method": "gptq", "bits": 4, "checkpoint_format": "marlin"}, "marlin"),
        ({"quant_method": "awq", "bits": 4, "version": "gemv"}, "gemv"),
        ({"quant_method": "compressed-tensors", "format": "marlin-24"}, "marlin-24"),
        ({"quant_method": "modelopt", "quant_algo": "W4A8_AWQ"}, "W4A8_AWQ"),
        ({"quant_method": "fp8", "weight_block_size": [0, 128]}, "weight_block_size"),
        ({"quant_method": "bitsandbytes", "new_rule": 1}, "new_rule=1"),
        ({"quant_method": "mxfp4", "new_rule": 1}, "new_rule=1"),
    ],
    ids=lambda one: one if isinstance(one, str) else None,
)
def test_what_the_config_rules_out_is_not_downloaded(facts, message, tmp_path, monkeypatch):
    made = make_checkpoint(tmp_path / "m", LLAMA)
    change_config(made, quantization_config=facts)
    fake = fake_of({"main": made})
    with serve(fake) as endpoint:
        online(monkeypatch, endpoint, tmp_path / "hub")
        with pytest.raises(InputError, match=message) as caught:
            leaves("org/tiny")
    assert "\n" not in str(caught.value)
    assert "GET config.json" in fake.asked
    assert not [one for one in fake.asked if "safetensors" in one]
