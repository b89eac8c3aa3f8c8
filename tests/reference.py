"""Hugging Face PyTorch as the reference: tiny models with every parameter random."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def make_model(config: dict[str, Any], folder: Path, *, seed: int = 0, dtype: str = "float32"):
    """A model of `config` (with its model_type), every weight, bias and norm random, saved.

    Returns the PyTorch model in float32 and evaluation mode, attention by
    scaled_dot_product_attention, or eager where the library's class cannot do without (a soft cap).
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = dict(config)
    hf_config = AutoConfig.for_model(config.pop("model_type"), **config)
    can_sdpa = AutoModelForCausalLM._model_mapping[type(hf_config)]._supports_sdpa
    attention = "sdpa" if can_sdpa else "eager"
    torch.manual_seed(seed)  # of the initialisation that the numbers below are added to
    model = AutoModelForCausalLM.from_config(
        hf_config, attn_implementation=attention, dtype=torch.float32
    )
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            # Zeros and ones hide bugs: a bias that is not read, a norm that is skipped.
            spread = 0.3 if parameter.ndim == 1 else 1.2 / parameter.shape[-1] ** 0.5
            parameter.add_(torch.randn(parameter.shape, generator=generator) * spread)
        # Some models keep learnt numbers in buffers (the correction of a router).
        for name, buffer in model.named_buffers():
            if name in model.state_dict() and buffer.is_floating_point():
                buffer.add_(torch.randn(buffer.shape, generator=generator) * 0.3)
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    # Read back in float32: a round trip of the model itself would round rotary buffers too.
    return AutoModelForCausalLM.from_pretrained(
        folder, attn_implementation=attention, dtype=torch.float32
    ).eval()


def save_config(config: dict[str, Any], folder: Path) -> None:
    """Writes config.json as it is given, in whatever spelling."""
    (folder / "config.json").write_text(json.dumps(config))


def logits(model, ids: list[int] | np.ndarray) -> np.ndarray:
    """float32 [T, V] of one text, a batch of one without padding."""
    import torch

    with torch.no_grad():
        return model(torch.as_tensor(np.asarray(ids))[None].long()).logits[0].float().numpy()


def text_logp(model, ids: list[int] | np.ndarray, first: int = 1) -> float:
    """Sum of log p(id | earlier ids) over ids[first:], nats, softmax in float64."""
    import torch

    if len(ids) <= first:
        return 0.0
    rows = torch.from_numpy(logits(model, ids)).double().log_softmax(-1).numpy()
    return float(sum(rows[t - 1, ids[t]] for t in range(max(first, 1), len(ids))))


def lens_logp(model, ids: list[int] | np.ndarray) -> list[float]:
    """Each layer's score of a text, embedding to output, nats: the logit lens on hidden_states.

    Layers before the last are normed and unembedded here; the last is the model's own output.
    """
    import torch

    L = model.config.num_hidden_layers
    if len(ids) < 2:
        return [0.0] * (L + 1)
    base = model.base_model
    names = ("final_layer_norm", "ln_f", "norm")
    final_norm = next(getattr(base, name) for name in names if hasattr(base, name))
    with torch.no_grad():
        states = model(
            torch.as_tensor(np.asarray(ids))[None].long(), output_hidden_states=True
        ).hidden_states
        rows = [model.get_output_embeddings()(final_norm(states[i][0])) for i in range(L)]
    every = [*(row.double() for row in rows), torch.from_numpy(logits(model, ids)).double()]
    targets = np.asarray(ids)[1:]
    at = np.arange(len(targets))
    return [float(one.log_softmax(-1).numpy()[at, targets].sum()) for one in every]
