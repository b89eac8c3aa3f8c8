"""Adapters that PEFT itself saves, beside what PEFT computes: the score of every text."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.checkpoints import GPT2, LLAMA, make_checkpoint

from jaxmap.benchmarking.programs import as_tokens
from jaxmap.checkpoint import weights
from jaxmap.checkpoint.refs import Ref
from jaxmap.checkpoint.sources.files import fetch, resolve
from jaxmap.engine.scorer import Scorers
from jaxmap.engine.scores import score_tokens

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")

SCORERS = Scorers()
Q_V = ["q_proj", "v_proj"]
UNTIED = {**LLAMA, "attention_bias": True, "tie_word_embeddings": False}
TIED = {**UNTIED, "tie_word_embeddings": True}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "lora": (UNTIED, dict(r=3, lora_alpha=7, target_modules=Q_V)),
    "rslora": (UNTIED, dict(r=3, lora_alpha=2, use_rslora=True, target_modules="all-linear")),
    "patterns": (
        UNTIED,
        dict(
            r=3,
            lora_alpha=5,
            target_modules=[*Q_V, "up_proj", "down_proj"],
            rank_pattern={"up_proj": 2, r"layers\.1\.self_attn\.q_proj": 4},
            alpha_pattern={"v_proj": 1, "^model.layers.0.mlp.down_proj": 9},
        ),
    ),
    "dora": (UNTIED, dict(r=2, lora_alpha=3, use_dora=True, target_modules=[*Q_V, "up_proj"])),
    "bias": (UNTIED, dict(r=2, lora_alpha=3, bias="all", target_modules=Q_V)),
    "bias-lora": (UNTIED, dict(r=2, lora_alpha=3, bias="lora_only", target_modules=Q_V)),
    "embeddings": (UNTIED, dict(r=2, lora_alpha=3, target_modules=["embed_tokens", "lm_head"])),
    "whole": (
        UNTIED,
        dict(r=2, lora_alpha=3, target_modules=Q_V, modules_to_save=["lm_head", "norm"]),
    ),
    "tied-embeddings": (TIED, dict(r=2, lora_alpha=3, target_modules=["embed_tokens", "q_proj"])),
    "tied-both": (
        TIED,
        dict(r=2, lora_alpha=3, target_modules=["embed_tokens"], ensure_weight_tying=True),
    ),
    "tied-head": (TIED, dict(r=2, lora_alpha=3, target_modules=["lm_head", "q_proj"])),
    "tied-whole": (
        TIED,
        dict(r=2, lora_alpha=3, target_modules=Q_V, modules_to_save=["embed_tokens"]),
    ),
    "tied-whole-head": (
        TIED,
        dict(r=2, lora_alpha=3, target_modules=Q_V, modules_to_save=["lm_head"]),
    ),
    "dora-embedding": (
        LLAMA,
        dict(r=3, lora_alpha=7, use_dora=True, target_modules=["embed_tokens", "q_proj"]),
    ),
    "fan-in-fan-out": (
        GPT2,
        dict(r=3, lora_alpha=7, fan_in_fan_out=True, target_modules=["c_attn", "c_proj", "c_fc"]),
    ),
    "fan-in-dora": (
        GPT2,
        dict(r=3, lora_alpha=7, fan_in_fan_out=True, use_dora=True, target_modules=["c_attn"]),
    ),
    "fan-in-tied": (
        GPT2,
        dict(r=3, lora_alpha=7, fan_in_fan_out=True, target_modules=["wte", "c_attn"]),
    ),
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def ids_of_texts() -> list[np.ndarray]:
    random = np.random.default_rng(1)
    return [random.integers(0, 300, length, np.int32) for length in (50, 4, 23)]


def adapted(base: Path, folder: Path, settings: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """PEFT's scores of an adapter with random numbers, which it saves; and the base's."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    plain = scored(model)
    generator = torch.Generator().manual_seed(0)
    with contextlib.redirect_stderr(io.StringIO()):
        model = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", **settings))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                spread = 0.3 * torch.randn(parameter.shape, generator=generator)
                parameter.copy_(spread + (1 if "magnitude" in name else 0))
    model.save_pretrained(str(folder))
    return scored(model.eval()), plain


def scored(model: Any) -> np.ndarray:
    found = []
    for ids in ids_of_texts():
        tensor = torch.from_numpy(ids.astype(np.int64))[None]
        with torch.no_grad():
            logits = model(tensor).logits[0].double().log_softmax(-1)
        found.append(float(logits[:-1].gather(1, tensor[0, 1:, None]).sum()))
    return np.array(found)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore")  # PEFT's own
def test_the_scores_are_those_of_peft(name, tmp_path):
    config, settings = CASES[name]
    base = make_checkpoint(tmp_path / "base", config, seed=2)
    theirs, plain = adapted(base, tmp_path / "adapter", settings)
    model = weights.load(fetch(resolve(Ref(str(tmp_path / "adapter")))).folder, dtype="float32")
    ours = score_tokens(SCORERS.of(model), model, as_tokens(ids_of_texts()))
    assert np.abs(theirs - plain).max() > 0.1
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-3)
