"""An adapter and its base, from folders, a Git clone and a hub: the weights that they stand for."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from support.checkpoints import GPT2, LLAMA, jaxmap, make_checkpoint, write_texts

from jaxmap.checkpoint import weights
from jaxmap.checkpoint.refs import Ref
from jaxmap.checkpoint.sources.files import fetch, resolve
from jaxmap.errors import InputError
from jaxmap.model import decoder

ATTENTION = [f"model.layers.{i}.self_attn.{p}_proj" for i in (0, 1) for p in "qv"]
UP = ["model.layers.1.mlp.up_proj"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def tensors_of(folder: Path) -> dict[str, np.ndarray]:
    return load_file(folder / "model.safetensors")


def make_adapter(
    folder: Path, base: Path, modules: list[str], *, r: int = 3, name: str = "", **facts: Any
) -> dict[str, np.ndarray]:
    """Random A and B for some modules; returns what it holds, under PEFT's names."""
    rng, held, stored = np.random.default_rng(5), tensors_of(base), {}
    turned = facts.get("fan_in_fan_out", False)
    for module in modules:
        weight = held[f"{module}.weight"]
        outs, ins = weight.shape[::-1] if turned else weight.shape
        rank = next((v for k, v in facts.get("rank_pattern", {}).items() if k in module), r)
        for part, shape in (("A", (rank, ins)), ("B", (outs, rank))):
            full = f"base_model.model.{module}.lora_{part}{name}.weight"
            stored[full] = rng.normal(0, 0.3, shape).astype(np.float32)
        if facts.get("use_dora"):
            full = f"base_model.model.{module}.lora_magnitude_vector"
            stored[full] = rng.uniform(0.5, 2, outs).astype(np.float32)
    write_adapter(folder, base, stored, r=r, **facts)
    return stored


def write_adapter(
    folder: Path, base: Path, stored: dict[str, np.ndarray], *, r: int = 3, **facts: Any
) -> None:
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(base),
        "revision": None,
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": 8,
        "lora_dropout": 0.1,
        "r": r,
        "target_modules": ["q_proj"],
        "a_new_switch": False,
        **facts,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(config))
    save_file(stored, folder / "adapter_model.safetensors")


def loaded(ref: Path | Ref) -> dict[str, np.ndarray]:
    files = fetch(resolve(ref if isinstance(ref, Ref) else Ref(str(ref))))
    params = weights.load(files.folder, dtype="float32").params
    return {path: np.asarray(leaf[...]) for path, leaf in decoder.named(params).items()}


def plain_with(base: Path, folder: Path, change: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The parameters of a plain checkpoint with some tensors changed."""
    shutil.copytree(base, folder)
    save_file({**tensors_of(base), **change}, folder / "model.safetensors")
    params = weights.load(folder, dtype="float32").params
    return {path: np.asarray(leaf[...]) for path, leaf in decoder.named(params).items()}


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    assert a.keys() == b.keys()
    for path in a:
        np.testing.assert_allclose(a[path], b[path], rtol=2e-6, atol=2e-7, err_msg=path)


def by_hand(
    base: Path, stored: dict[str, np.ndarray], scale: dict[str, float], *, turned: bool = False
) -> dict[str, np.ndarray]:
    """The changed weights in float64, an output feature at a time."""
    held, changed = tensors_of(base), {}
    for module, by in scale.items():
        full = f"base_model.model.{module}.lora_"
        a, b = (
            next(v for k, v in stored.items() if k.startswith(f"{full}{part}")).astype(float)
            for part in "AB"
        )
        weight = held[f"{module}.weight"].astype(float)
        rows = weight.T.copy() if turned else weight.copy()
        for o in range(len(rows)):
            rows[o] += by * sum(b[o, k] * a[k] for k in range(len(a)))
            if (lengths := stored.get(f"{full}magnitude_vector")) is not None:
                rows[o] *= lengths[o] / np.sqrt((rows[o] ** 2).sum())
        changed[f"{module}.weight"] = (rows.T if turned else rows).astype(np.float32).copy()
    return changed


@pytest.mark.parametrize(
    ("facts", "scale"),
    [
        ({}, 8 / 3),
        ({"name": ".default"}, 8 / 3),
        ({"use_rslora": True}, 8 / 3**0.5),
        ({"use_dora": True}, 8 / 3),
        ({"r": 2, "lora_alpha": 5}, 5 / 2),
    ],
    ids=str,
)
def test_sums(facts, scale, tmp_path):
    base = make_checkpoint(tmp_path / "base", LLAMA)
    stored = make_adapter(tmp_path / "adapter", base, ATTENTION + UP, **facts)
    change = by_hand(base, stored, dict.fromkeys(ATTENTION + UP, scale))
    ours = loaded(tmp_path / "adapter")
    same(ours, plain_with(base, tmp_path / "merged", change))
    plain = loaded(base)
    assert any(np.abs(ours[path] - plain[path]).max() > 0.1 for path in plain)


def test_patterns(tmp_path):
    base = make_checkpoint(tmp_path / "base", LLAMA)
    facts = {"rank_pattern": {"up_proj": 1}, "alpha_pattern": {"1.self_attn.v_proj": 2}}
    stored = make_adapter(tmp_path / "adapter", base, ATTENTION + UP, **facts)
    scale = {**dict.fromkeys(ATTENTION, 8 / 3), **dict.fromkeys(UP, 8.0)}
    scale["model.layers.1.self_attn.v_proj"] = 2 / 3
    change = by_hand(base, stored, scale)
    same(loaded(tmp_path / "adapter"), plain_with(base, tmp_path / "merged", change))


def test_weights_stored_inputs_first(tmp_path):
    base = make_checkpoint(tmp_path / "base", GPT2)
    modules = ["transformer.h.0.attn.c_attn", "transformer.h.1.mlp.c_fc"]
    stored = make_adapter(tmp_path / "adapter", base, modules, fan_in_fan_out=True)
    change = by_hand(base, stored, dict.fromkeys(modules, 8 / 3), turned=True)
    same(loaded(tmp_path / "adapter"), plain_with(base, tmp_path / "merged", change))


def test_embeddings_and_whole_tensors(tmp_path):
    base = make_checkpoint(tmp_path / "base", LLAMA, tie_word_embeddings=False)
    held, rng = tensors_of(base), np.random.default_rng(1)
    embed, head = held["model.embed_tokens.weight"], held["lm_head.weight"]
    a = rng.normal(size=(2, len(embed))).astype(np.float32)
    b = rng.normal(size=(embed.shape[1], 2)).astype(np.float32)
    stored = {
        "base_model.model.model.embed_tokens.lora_embedding_A": a,
        "base_model.model.model.embed_tokens.lora_embedding_B": b,
        "base_model.model.lm_head.weight": head + 1,
        "base_model.model.model.norm.modules_to_save.weight": np.full(16, 0.7, np.float32),
    }
    write_adapter(tmp_path / "adapter", base, stored, r=2, modules_to_save=["lm_head"])
    change = {
        "model.embed_tokens.weight": (embed + (b @ a).T * 4).astype(np.float32),
        "lm_head.weight": head + 1,
        "model.norm.weight": np.full(16, 0.7, np.float32),
    }
    same(loaded(tmp_path / "adapter"), plain_with(base, tmp_path / "merged", change))


def test_identity(tmp_path):
    """Of both: another base, or another adapter, is another checkpoint."""
    base = make_checkpoint(tmp_path / "base", LLAMA)
    make_adapter(tmp_path / "adapter", base, UP)
    ref, seen = Ref(str(tmp_path / "adapter")), set()
    first = resolve(ref).commit
    assert resolve(ref).commit == first
    seen.add(first)
    make_adapter(tmp_path / "adapter", base, UP, lora_alpha=9)
    seen.add(resolve(ref).commit)
    make_checkpoint(base, LLAMA, seed=1)
    seen.add(resolve(ref).commit)
    assert len(seen) == 3
    assert resolve(ref).num_bytes > (base / "model.safetensors").stat().st_size


def test_from_a_clone(tmp_path):
    base = make_checkpoint(tmp_path / "base", LLAMA)
    make_adapter(tmp_path / "adapter", base, UP)
    expected = loaded(tmp_path / "adapter")

    def git(*arguments: str) -> None:
        options = ["-c", "user.email=a@b", "-c", "user.name=a"]
        subprocess.run(
            ["git", *options, *arguments], cwd=tmp_path / "adapter", check=True, capture_output=True
        )

    git("init", "-b", "main")
    git("add", ".")
    git("commit", "-m", "one")
    same(loaded(Ref(str(tmp_path / "adapter"), "main")), expected)


def test_from_a_hub(tmp_path, monkeypatch):
    from support.hubs import fake_of, serve

    base = make_checkpoint(tmp_path / "base", LLAMA)
    make_adapter(tmp_path / "adapter", base, UP)
    expected = loaded(tmp_path / "adapter")
    fake = fake_of({"main": tmp_path / "adapter"}, "org/tiny")
    with serve(fake) as endpoint:
        from jaxmap.checkpoint.sources import hub

        ours = hub.Hub(endpoint=endpoint, cache=tmp_path / "hub", offline=False)
        monkeypatch.setattr(hub, "Hub", lambda: ours)
        same(loaded(Ref("org/tiny")), expected)


@pytest.mark.parametrize(
    ("facts", "plan", "message"),
    [
        ({"peft_type": "IA3"}, [], r"peft_type = 'IA3'; only LORA is"),
        ({"base_model_name_or_path": "org/none"}, [], r"org/none: no such model on the Hub"),
        (
            {"base_model_name_or_path": "org/closed"},
            [None, (403, {"X_Error_Code": "GatedRepo"})],
            r"^org/tiny: the adapter's base org/closed: gated; accept its licence",
        ),
    ],
)
def test_nothing_is_downloaded_in_vain(facts, plan, message, tmp_path, monkeypatch):
    """What the adapter's settings, or its base, rule out: one line, and no weights."""
    from support.hubs import fake_of, serve

    base = make_checkpoint(tmp_path / "base", LLAMA)
    stored = make_adapter(tmp_path / "adapter", base, UP)
    write_adapter(tmp_path / "adapter", base, stored, **facts)
    fake = fake_of({"main": tmp_path / "adapter"}, "org/tiny")
    fake.plans["GET info"] = list(plan)
    with serve(fake) as endpoint:
        from jaxmap.checkpoint.sources import hub

        ours = hub.Hub(endpoint=endpoint, cache=tmp_path / "hub", offline=False)
        monkeypatch.setattr(hub, "Hub", lambda: ours)
        with pytest.raises(InputError, match=message) as caught:
            fetch(resolve(Ref("org/tiny")))
        assert "\n" not in str(caught.value)
    assert not [one for one in fake.asked if one.endswith(".safetensors")]


def test_scored_by_the_command(tmp_path):
    """With the base's tokenizer, or its own where it has one; asked twice, done once."""
    base = make_checkpoint(tmp_path / "base", LLAMA)
    stored = make_adapter(tmp_path / "adapter", base, UP)
    plain_with(base, tmp_path / "merged", by_hand(base, stored, dict.fromkeys(UP, 8 / 3)))
    texts, out = write_texts(tmp_path / "texts.jsonl"), tmp_path / "x.npz"
    both = f"--models={tmp_path / 'adapter'},{tmp_path / 'merged'}"
    for done in ("2 scored", "2 already done"):
        ran = jaxmap("score", f"--store={tmp_path}/s", f"--texts={texts}", both)
        assert ran.code == 0, ran.err
        assert done in ran.out
    assert jaxmap("export", f"--store={tmp_path}/s", f"--out={out}").code == 0
    one, other = np.load(out)["log_likelihood"]
    np.testing.assert_allclose(one, other, rtol=0, atol=2e-3)


A = "base_model.model.model.layers.1.mlp.up_proj.lora_A.weight"


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"peft_type": "IA3"}, "peft_type = 'IA3'; only LORA is read"),
        ({"target_parameters": ["a"]}, "target_parameters = .* is not read"),
        ({"layer_replication": [[0, 1]]}, "layer_replication = .* is not read"),
        ({"lora_bias": True}, "lora_bias = True is not read"),
        ({"init_lora_weights": "pissa_niter_4"}, "changed the base"),
        ({"a_new_switch": True}, "a_new_switch=True"),
        ({"r": 0}, "r = 0: must be a number above 0"),
        ({"r": 5}, "lora A has rank 3, adapter_config.json says 5"),
        ({"base_model_name_or_path": None}, "names no base model"),
        ({"base_model_name_or_path": "./no such"}, r"the adapter's base ./no such: no such folder"),
    ],
    ids=str,
)
def test_settings_that_are_refused(facts, message, tmp_path):
    base = make_checkpoint(tmp_path / "base", LLAMA)
    stored = make_adapter(tmp_path / "adapter", base, UP)
    write_adapter(tmp_path / "adapter", base, stored, **facts)
    with pytest.raises(InputError, match=message):
        loaded(tmp_path / "adapter")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop(A), "lacks its lora_A"),
        (lambda t: t.update({A: t[A][:, :-1]}), "do not fit a weight"),
        (lambda t: t.update({A.replace("1.mlp", "7.mlp"): t[A]}), "the base has no"),
        (lambda t: t.update({A: np.zeros((), np.float32)}), r"lora A \[\] and B .* do not fit"),
        (lambda t: t[A].fill(np.nan), "NaN or infinite weights in .*up_proj"),
        (lambda t: t.update({"x.lora_Q": t[A]}), "a part of LoRA that is not"),
        (lambda t: t.update({"base_model.model.score.weight": t[A]}), "nothing claims"),
    ],
)
def test_tensors_that_are_refused(change, message, tmp_path):
    base = make_checkpoint(tmp_path / "base", LLAMA)
    stored = make_adapter(tmp_path / "adapter", base, UP)
    change(stored)
    write_adapter(tmp_path / "adapter", base, stored)
    with pytest.raises(InputError, match=message) as caught:
        loaded(tmp_path / "adapter")
    assert str(tmp_path / "adapter") in str(caught.value)  # not a folder of the cache


class Runs:
    """Unpickled, it would leave a file."""

    def __init__(self, file: Path):
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


def test_pickled_adapters(tmp_path):
    """adapter_model.bin is read as the same tensors are; what would run is not run."""
    torch = pytest.importorskip("torch")
    base, adapter = make_checkpoint(tmp_path / "base", LLAMA), tmp_path / "adapter"
    stored = make_adapter(adapter, base, UP)
    want = loaded(adapter)
    (adapter / "adapter_model.safetensors").unlink()
    path, mark = adapter / "adapter_model.bin", tmp_path / "ran"
    tensors = {name: torch.from_numpy(value) for name, value in stored.items()}
    torch.save(tensors, path)
    same(loaded(adapter), want)
    for content, message in (
        (Runs(mark), "refused, it holds more than tensors"),
        ({**tensors, "x": Runs(mark)}, "refused, it holds more than tensors"),
        ({**tensors, 1: tensors[A]}, "1 is not the name of a tensor"),
        ({**tensors, "x": 1}, "x is a int, not a tensor"),
        ([1], "holds a list, not named tensors"),
    ):
        torch.save(content, path)
        with pytest.raises(InputError, match=message) as caught:
            loaded(adapter)
        assert str(caught.value).startswith(f"{path}: ") or "adapter_model.bin" in str(caught.value)
        assert not mark.exists()


def test_lengths_of_another_number(tmp_path):
    base = make_checkpoint(tmp_path / "base", LLAMA)
    stored = make_adapter(tmp_path / "adapter", base, UP)
    name = A.replace("lora_A.weight", "lora_magnitude_vector")
    stored[name] = np.ones(3, np.float32)
    write_adapter(tmp_path / "adapter", base, stored, use_dora=True)
    with pytest.raises(InputError, match=r"up_proj.lora_magnitude_vector has shape \[3\]: must be"):
        loaded(tmp_path / "adapter")
