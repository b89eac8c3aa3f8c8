"""Models made from the demo's last checkpoints: releases, fine-tuned ones, GGUF files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from jaxmap.atomic import write_atomic
from jaxmap.checkpoint.save import save_checkpoint
from jaxmap.checkpoint.weights import load
from jaxmap.demos.corpus import TOKENIZER_FILES, copy_tokenizer
from jaxmap.demos.folders import build_folder
from jaxmap.demos.gguf_copy import write_gguf
from jaxmap.demos.model import hf_config, leaf_name, optimiser, spec_for
from jaxmap.demos.settings import DemoConfig
from jaxmap.demos.train import checkpoint, compiled, window_starts
from jaxmap.errors import JaxmapError

SEED = 2000  # of the order of the data
SHARE = 10  # the last tenth of the training text is what is fine-tuned on
RANK, ALPHA = 4, 8
# Learning rates as shares of the peak of pretraining; adapters take larger ones.
RATE, RATE_OF_ADAPTER = 1 / 8, 1.0
GGUF_TYPES = ("Q8_0", "Q4_0")
# Parameter of the decoder, [L, in, out] -> the linear layer in GPT-NeoX's names.
ADAPTED = {
    "blocks/0/mlp/up/kernel": "gpt_neox.layers.{l}.mlp.dense_h_to_4h",
    "blocks/0/mlp/down/kernel": "gpt_neox.layers.{l}.mlp.dense_4h_to_h",
}


def make_derived(out: Path, corpus: Path, config: DemoConfig) -> None:
    """Makes those of the derived models that do not exist yet.

    The last checkpoint of every run is released as the folder of the run itself, as `main` is on
    the Hub. The largest model has two children, fine-tuned on a tenth of the training text: one
    with all its weights, one as a LoRA adapter. The smallest has two GGUF files. Each child's card
    names its parent. Raises JaxmapError if a loss is not finite.
    """
    if not config.finetune_steps:
        return
    models = out / "models"
    for run in config.runs:
        _release(models / run, checkpoint(out, run, config.checkpoints[-1]))
    first, last = _ends(config)
    for name, train in ((f"{last}-finetuned", _finetune), (f"{last}-lora", _train_adapter)):
        if not (models / name).is_dir():
            build_folder(models / name, partial(train, corpus, config, last, models / last))
    for kind in GGUF_TYPES:
        path = _gguf(models, first, kind)
        if not path.is_file():
            path.parent.mkdir(exist_ok=True)
            _write_card(path.parent, models / first, "quantized")
            write_gguf(models / first, path, kind)


def derived_models(out: Path, config: DemoConfig) -> list[str]:
    """The references of the derived models."""
    if not config.finetune_steps:
        return []
    models = out / "models"
    first, last = _ends(config)
    names = [*config.runs, f"{last}-finetuned", f"{last}-lora"]
    paths = [models / name for name in names]
    paths += [_gguf(models, first, kind) for kind in GGUF_TYPES]
    return [str(path) for path in paths]


def _ends(config: DemoConfig) -> tuple[str, str]:
    """The runs of the smallest and of the largest model."""
    runs = list(config.runs)
    return runs[0], runs[-1]


def _gguf(models: Path, run: str, kind: str) -> Path:
    return models / f"{run}-GGUF" / f"{run}-{kind}.gguf"


def _release(folder: Path, last: Path) -> None:
    """The files of a checkpoint, at the top of the folder of its run; config.json comes last."""
    if (folder / "config.json").is_file():
        return
    for name in (*TOKENIZER_FILES, "model.safetensors", "config.json"):
        with open(last / name, "rb") as source:
            write_atomic(folder / name, partial(shutil.copyfileobj, source))


def _write_card(folder: Path, parent: Path, relation: str) -> None:
    """A model card that names the parent."""
    text = f"---\nbase_model: {json.dumps(str(parent))}\nbase_model_relation: {relation}\n---\n"
    write_atomic(folder / "README.md", text.encode())


def _finetune(corpus: Path, config: DemoConfig, run: str, parent: Path, folder: Path) -> None:
    params = _train(corpus, config, run, parent)
    size = config.sizes[config.runs[run][0]]
    save_checkpoint(params, spec_for(config, size), hf_config(config, size), folder)
    copy_tokenizer(corpus, folder)
    _write_card(folder, parent, "finetune")


def _train_adapter(corpus: Path, config: DemoConfig, run: str, parent: Path, folder: Path) -> None:
    """LoRA (Hu et al. 2021, arXiv 2106.09685), saved as PEFT saves it."""
    from safetensors.numpy import save_file

    lora = _train(corpus, config, run, parent, adapter=True)
    tensors = {}
    for name, module in ADAPTED.items():
        for part in ("A", "B"):
            for layer, matrix in enumerate(np.asarray(lora[name][part])):
                where = f"base_model.model.{module.format(l=layer)}.lora_{part}.weight"
                tensors[where] = np.ascontiguousarray(matrix)
    facts = {
        "base_model_name_or_path": str(parent),
        "bias": "none",
        "fan_in_fan_out": False,
        "lora_alpha": ALPHA,
        "lora_dropout": 0.0,
        "peft_type": "LORA",
        "r": RANK,
        "target_modules": sorted(name.rpartition(".")[2] for name in ADAPTED.values()),
        "task_type": "CAUSAL_LM",
    }
    folder.joinpath("adapter_config.json").write_text(json.dumps(facts, indent=2) + "\n")
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    _write_card(folder, parent, "adapter")


def _train(
    corpus: Path, config: DemoConfig, run: str, parent: Path, *, adapter: bool = False
) -> Any:
    """What was trained: all parameters, or the matrices of an adapter."""
    size, steps = config.sizes[config.runs[run][0]], config.finetune_steps
    spec = spec_for(config, size)
    ids = np.load(corpus / "train.npy")
    ids = jnp.asarray(ids[-max(len(ids) // SHARE, config.window) :])
    base = load(parent, dtype="float32").params
    start: Any = _first_adapter(base) if adapter else base
    whole: Callable[[Any], nnx.State] = partial(_adapted, base) if adapter else (lambda p: p)
    rate = size.learning_rate * (RATE_OF_ADAPTER if adapter else RATE)
    tx = optimiser(config, size, optax.linear_schedule(rate, 0.0, steps))
    advance = compiled(spec, tx, len(ids), steps, config, trained=start, whole=whole)
    windows = window_starts(replace(config, steps=steps, warmup=1), SEED + adapter, len(ids))
    state, loss = advance(
        (start, tx.init(start)), ids, jnp.asarray(windows), jnp.int32(0), jnp.int32(steps)
    )
    if not np.isfinite(loss):
        raise JaxmapError(
            f"{run}: the loss of fine-tuning is {float(loss)}: lower learning_rate of its size"
        )
    return state[0]


def _first_adapter(params: nnx.State) -> dict[str, dict[str, jax.Array]]:
    """A drawn at random and B zero, so that the adapter changes nothing yet."""
    kernels = {leaf_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
    first = {}
    for number, name in enumerate(ADAPTED):
        L, ins, outs = kernels[name].shape
        a_LRI = np.random.default_rng([SEED, number]).standard_normal((L, RANK, ins))
        first[name] = {
            "A": jnp.asarray(a_LRI / np.sqrt(ins), jnp.float32),
            "B": jnp.zeros((L, outs, RANK), jnp.float32),
        }
    return first


def _adapted(params: nnx.State, lora: dict[str, dict[str, jax.Array]]) -> nnx.State:
    """The parameters with (B A) alpha / rank added."""

    def add(path: tuple[Any, ...], leaf: jax.Array) -> jax.Array:
        parts = lora.get(leaf_name(path))
        if parts is None:
            return leaf
        change_LIO = jnp.einsum("LOR,LRI->LIO", parts["B"], parts["A"])
        return leaf + change_LIO * (ALPHA / RANK)

    return jax.tree_util.tree_map_with_path(add, params)
