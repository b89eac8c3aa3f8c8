"""Hugging Face PyTorch as the reference: tiny models with every parameter random."""

from __future__ import annotations

import contextlib
import copy
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


# Stored buffers that are functions of config.json and of one another.
_COMPUTED = ("slope_rate", "query_decay", "key_decay", "diagonal_decay")


# Types of which a part has eager attention alone, whatever the class of the whole says.
_EAGER = {"vibevoice_asr"}


@contextlib.contextmanager
def _without_timm():
    """Towers of the library timm, which is no part of the tests, are one small layer."""
    import torch
    from transformers import AutoModel

    real = AutoModel.from_config

    def from_config(config: Any, **options: Any) -> Any:
        timm = "timm" in type(config).__name__.lower() or config.model_type == "gemma3n_vision"
        return torch.nn.Linear(2, 2) if timm else real(config, **options)

    AutoModel.from_config = from_config
    try:
        yield
    finally:
        del AutoModel.from_config  # the method of its base class is seen again


def make_model(config: dict[str, Any], folder: Path, *, seed: int = 0, dtype: str = "float32"):
    """A model of `config` (with its model_type), every weight, bias and norm random, saved.

    Returns the PyTorch model in float32 and evaluation mode, attention by
    scaled_dot_product_attention, or eager where the library's class cannot do without (a soft cap).
    """
    import torch
    from transformers import (
        AutoConfig,
        AutoModelForCausalLM,
        AutoModelForMultimodalLM,
        AutoModelForSeq2SeqLM,
    )

    config = copy.deepcopy(config)  # the library's classes change objects inside it
    hf_config = AutoConfig.for_model(config.pop("model_type"), **config)
    # Of a config around a text model's, AutoModelForCausalLM would make the text model alone.
    around = {"text_config", "thinker_config"} & set(config)
    causal = type(hf_config) in AutoModelForCausalLM._model_mapping and not around
    seq2seq = type(hf_config) not in AutoModelForMultimodalLM._model_mapping  # as it is listed
    whole = AutoModelForSeq2SeqLM if seq2seq else AutoModelForMultimodalLM
    auto = AutoModelForCausalLM if causal else whole
    can_sdpa = auto._model_mapping[type(hf_config)]._supports_sdpa
    can_sdpa = can_sdpa and hf_config.model_type != "apertus1p5"  # whose other parts cannot
    can_sdpa = can_sdpa and hf_config.model_type not in _EAGER
    attention = "sdpa" if can_sdpa else "eager"
    torch.manual_seed(seed)  # of the initialisation that the numbers below are added to
    with _without_timm():
        model = auto.from_config(hf_config, attn_implementation=attention, dtype=torch.float32)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            # Zeros and ones hide bugs: a bias that is not read, a norm that is skipped.
            spread = 0.3 if parameter.ndim == 1 else 1.2 / parameter.shape[-1] ** 0.5
            parameter.add_(torch.randn(parameter.shape, generator=generator) * spread)
        # Some models keep learnt numbers in buffers (the correction of a router).
        for name, buffer in model.named_buffers():
            learnt = name in model.state_dict() and not name.endswith(_COMPUTED)
            if learnt and buffer.is_floating_point():
                buffer.add_(torch.randn(buffer.shape, generator=generator) * 0.3)
    if dtype != "float32":  # a cast, even to the same dtype, spoils Llama 4's complex buffer
        model.to(getattr(torch, dtype))
    model.save_pretrained(folder)
    if hf_config.model_type == "molmo2":
        _cut_embedding(folder / "model.safetensors", hf_config.text_config.vocab_size)
    if "thinker_config" in config:  # the part that reads text is a class of its own
        hf_config = hf_config.thinker_config
    # Read back in float32: a round trip of the model itself would round rotary buffers too.
    with _without_timm():
        read = auto.from_pretrained(
            folder, config=hf_config, attn_implementation=attention, dtype=torch.float32
        )
    read.eval()
    # Llama 4 with a vision tower fails when it is called (transformers 5.24), Kosmos-2 without a
    # picture: their text models are.
    inside = {"llama4": "language_model", "kosmos-2": "text_model"}.get(hf_config.model_type)
    return read if inside is None else getattr(read, inside)


def _cut_embedding(file: Path, vocabulary: int) -> None:
    """Molmo 2's embedding cut after the vocabulary, as released; the library saves two halves."""
    from safetensors.torch import load_file, save_file

    tensors, where = load_file(file), "model.transformer.wte."
    names = [f"{where}embedding", f"{where}new_embedding"]
    rows = np.concatenate([tensors[name].float().numpy() for name in names])
    for name, part in zip(names, np.split(rows, [vocabulary]), strict=True):
        dtype = tensors[name].dtype
        tensors[name] = tensors[name].new_tensor(part).to(dtype)
    save_file(tensors, file, metadata={"format": "pt"})


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


# Their hidden_states do not begin with the embedding, are not [B, T, D], or lack a sum before it.
_OTHER_STATES = {"falcon_mamba", "gemma3n", "gemma3n_text", "hrm_text", "mamba", "mamba2", "rwkv"}


def lens_logits(
    model,
    ids: list[int] | np.ndarray,
    translate: Callable[[int, Any], Any] = lambda layer, state: state,
) -> np.ndarray:
    """What each layer predicts, embedding to output, float32 [L + 1, T, V]: the logit lens.

    One run of the model over L + 1 copies of the text: what the last block gives is replaced, in
    copy i, by what the stream was before block i. Whatever the model does after its last block it
    so does itself. The streams are checked against hidden_states.

    Args:
      model: of transformers, or one that has `lens_logits` of its own.
      ids: one text.
      translate: a change to the stream [T, D] before layer i is read, such as a tuned lens.
    """
    import torch

    if hasattr(model, "lens_logits"):
        return model.lens_logits(torch.as_tensor(np.asarray(ids)).long()).numpy()
    config = model.config.get_text_config()
    # LongCat-Flash counts its attentions in num_hidden_layers, two in each layer.
    longcat = config.model_type == "longcat_flash"
    L = config.num_layers if longcat else config.num_hidden_layers
    if config.model_type == "hrm_text":  # each run of a layer counts
        stacks = (model.model.L_module, model.model.H_module)
        layers = [layer for stack in stacks for layer in stack.layers]
    else:
        inner = getattr(getattr(model, "model", model), "language_model", model)
        lists = [m for m in inner.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == L]
        # Layers of attention to a picture are skipped without one (Llama 3.2 Vision).
        skipped = set(getattr(config, "cross_attention_layers", None) or ())
        layers = [layer for i, layer in enumerate(lists[0]) if i not in skipped]
        L = len(layers)
    states = []

    def before(module, args, kwargs):
        state = args[0] if args else kwargs["hidden_states"]
        if hasattr(module, "pre_ln"):  # RWKV's embedding norm, inside its first block
            state = module.pre_ln(state)
        states.append(state.clone())

    def after(module, args, output):
        if len(states) < L:  # it runs again
            return output
        stream = output if isinstance(output, torch.Tensor) else output[0]
        # Gemma 3n stacks several streams on an axis before the batch, others after the tokens.
        batch = stream.ndim - 3 if config.model_type.startswith("gemma3n") else 0
        read = [translate(i, state.select(batch, -1)) for i, state in enumerate(states)]
        stream = torch.stack([*read, stream.select(batch, -1)], dim=batch)
        return stream if isinstance(output, torch.Tensor) else (stream, *output[1:])

    hooks = [layer.register_forward_pre_hook(before, with_kwargs=True) for layer in layers]
    hooks.append(layers[-1].register_forward_hook(after))
    try:
        with torch.no_grad():
            copies = torch.as_tensor(np.asarray(ids))[None].long().repeat(L + 1, 1)
            output = model(copies, output_hidden_states=True)
    finally:
        for hook in hooks:
            hook.remove()
    if model.config.model_type not in _OTHER_STATES:
        assert len(output.hidden_states) == L + 1
        for state, theirs in zip(states, output.hidden_states, strict=False):
            torch.testing.assert_close(state, theirs, rtol=0, atol=0)
    return output.logits.float().numpy()


def lens_logp(model, ids: list[int] | np.ndarray, **options: Any) -> np.ndarray:
    """Each layer's score of a text of two ids or more, embedding to output, nats [L + 1]."""
    import torch

    logp_LTV = torch.from_numpy(lens_logits(model, ids, **options)).double().log_softmax(-1)
    targets_T = torch.as_tensor(np.asarray(ids))[1:].long()
    return logp_LTV[:, torch.arange(len(targets_T)), targets_T].sum(-1).numpy()
