"""Tiny checkpoints with a tokenizer, made without PyTorch, and the command line in this process."""

from __future__ import annotations

import atexit
import contextlib
import functools
import io
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from absl import logging

from jaxmap import cli
from jaxmap.architectures.config import Config
from jaxmap.architectures.specs import spec_of
from jaxmap.checkpoint import weights
from jaxmap.checkpoint.save import save_checkpoint
from jaxmap.model import decoder

V = 300
TEXTS = (
    "The quick brown fox jumps over the lazy dog.",
    "A map of models: one point for each, near where they agree.",
    "naïve café, 東京, and an emoji 🦊",
    "",
    "def f(x):\n    return x * x\n" * 3,
    "x",
)
NEOX: dict[str, Any] = dict(
    model_type="gpt_neox",
    vocab_size=V,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=24,
    max_position_embeddings=256,
)
GPT2: dict[str, Any] = dict(
    model_type="gpt2", vocab_size=V, n_embd=16, n_layer=2, n_head=2, n_positions=256
)
LLAMA: dict[str, Any] = {**NEOX, "model_type": "llama", "num_key_value_heads": 1}

# A program's first lines that make it run as where torch is not installed.
NO_TORCH = """
import sys

class WithoutTorch:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] == "torch" else self.finder.find_spec(name, path, target)

sys.meta_path[:] = map(WithoutTorch, sys.meta_path)
"""


@functools.cache
def caches() -> str:
    """XDG_CACHE_HOME for what the program keeps between runs, of this test process alone."""
    folder = tempfile.mkdtemp(prefix="jaxmap-tests-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@functools.cache
def tokenizer_json() -> str:
    """A byte-level BPE of at most V entries."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=V,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    return tokenizer.to_str()


def add_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text(tokenizer_json())
    facts = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(facts))


@functools.cache
def bytes_tokenizer_json() -> str:
    """One id for each byte, and one before every text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate(["<s>", *letters])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.add_special_tokens(["<s>"])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 0)]
    )
    return tokenizer.to_str()


def make_checkpoint(
    folder: Path,
    config: dict[str, Any] = NEOX,
    *,
    seed: int = 0,
    dtype: str = "float32",
    spread: float = 0.3,
    **changes: Any,
) -> Path:
    """A folder with random weights, as `save_checkpoint` writes it, and a tokenizer."""
    config = {**config, **changes}
    spec = spec_of(Config(config, str(folder)))
    _, shapes = decoder.abstract(spec)
    random = np.random.default_rng(seed)
    leaves = {
        path: leaf.replace(
            jnp.asarray(random.normal(0, spread, leaf.shape).astype(np.float32), dtype)
        )
        for path, leaf in decoder.named(shapes).items()
    }
    save_checkpoint(decoder.from_named(leaves), spec, config, folder)
    add_tokenizer(folder)
    return folder


def read_tensors(folder: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(folder / "model.safetensors")


def write_tensors(folder: Path, tensors: dict[str, np.ndarray]) -> None:
    from safetensors.numpy import save_file

    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def change_tensors(folder: Path, change: Callable[[dict[str, np.ndarray]], object]) -> None:
    """Applies `change` to the tensors of a checkpoint, in place."""
    tensors = read_tensors(folder)
    change(tensors)
    write_tensors(folder, tensors)


def read_config(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text())


def write_config(folder: Path, config: Any) -> None:
    (folder / "config.json").write_text(json.dumps(config))


def write_texts(path: Path, texts: Sequence[str] = TEXTS) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def watch(monkeypatch: pytest.MonkeyPatch, name: str = "load") -> list[str]:
    """The folders, without their parents, that `weights.load` (or another) gets from now on."""
    seen: list[str] = []
    real = getattr(weights, name)

    def watched(folder: Path, *arguments: Any, **options: Any) -> Any:
        seen.append(folder.name)
        return real(folder, *arguments, **options)

    monkeypatch.setattr(weights, name, watched)
    return seen


@dataclass(frozen=True)
class Ran:
    """What a command line gave."""

    code: int
    out: str
    err: str

    @property
    def messages(self) -> list[str]:
        """What the program says on stderr besides bars, without what it says of a normal run."""
        assert "Traceback" not in self.err
        lines = [line.strip() for line in self.err.splitlines()]
        said = [line.removeprefix("jaxmap: ") for line in lines if line and "text/s" not in line]
        return [line for line in said if not line.startswith("scoring in ")]


def jaxmap(*arguments: object) -> Ran:
    """Runs the program in this process as `jaxmap ARGUMENTS` would; other exceptions pass."""
    out, err = io.StringIO(), io.StringIO()
    handler = logging.get_absl_handler().python_handler
    stream, argv, cache = handler.stream, sys.argv, os.environ.get("XDG_CACHE_HOME")
    sys.argv = ["jaxmap", *map(str, arguments)]
    os.environ["XDG_CACHE_HOME"] = caches()
    handler.setStream(err)
    code: Any = None
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            cli.main()
    except SystemExit as exit:
        code = exit.code
    finally:
        sys.argv = argv
        handler.setStream(stream)
        os.environ.pop("XDG_CACHE_HOME")
        if cache is not None:
            os.environ["XDG_CACHE_HOME"] = cache
    return Ran(code, out.getvalue(), err.getvalue())


def score(store: Path, texts: Path, *models: object, **flags: object) -> Ran:
    """`jaxmap score`."""
    extra = [f"--{name}={value}" for name, value in flags.items()]
    listed = ",".join(map(str, models))
    return jaxmap("score", f"--store={store}", f"--texts={texts}", f"--models={listed}", *extra)
