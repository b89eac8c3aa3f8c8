"""Formats of published checkpoints, one file each: which files belong to them, how they are read.

`choose` selects the files of a checkpoint from the names in a folder or repository.
"""

from __future__ import annotations

import contextlib
import fnmatch
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from jaxmap.checkpoint.formats.adapter import ADAPTERS
from jaxmap.checkpoint.formats.base import Format, Stored
from jaxmap.checkpoint.formats.gguf import Gguf, models_in, parts_of
from jaxmap.checkpoint.formats.index import SUFFIX, read_index
from jaxmap.checkpoint.formats.safetensors import Safetensors
from jaxmap.checkpoint.formats.tensor_names import without_wrappers
from jaxmap.checkpoint.formats.torch_bin import TorchBin
from jaxmap.corpus.tokenizer_files import tokenizer_files
from jaxmap.errors import InputError

# In order of preference: where a checkpoint is there in several, the first is read.
GGUF = Gguf()
FORMATS: tuple[Format, ...] = (Safetensors(), TorchBin(), GGUF)
ALL = (*FORMATS, *ADAPTERS)

# Where tools said how weights are encoded before config.json did, and the `quant_method` of each.
QUANTISATION_FILES = {
    "quantize_config.json": "gptq",
    "quant_config.json": "awq",
    "hf_quant_config.json": "modelopt",
}

# Names of files in other formats, for the error about a folder that has only these.
_OTHER_FORMATS = {
    "flax_model*": "Flax",
    "tf_model*": "TensorFlow",
    "*.onnx": "ONNX",
    "adapter_model*": "adapter (LoRA)",
    "consolidated*": "original, unconverted",
    "rust_model.ot": "Rust",
    "model.*.safetensors": "variant",
    "pytorch_model.*.bin": "variant",
}


_SHOWN = 8  # names in an error


@dataclass(frozen=True)
class ChosenFiles:
    """The files of a listing that form a checkpoint.

    Fields:
      format: the format that reads them.
      weights: the file with the weights, or the index of several files.
      tokenizer: the files that can change a token id.
      beside: files that name the encoding of the weights if config.json does not.
    """

    format: Format
    weights: str
    tokenizer: tuple[str, ...]
    beside: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """config.json first, then the weights (one file, or an index), then the others."""
        if self.format is GGUF:  # which says itself what config.json would
            return [*parts_of(self.weights), *self.tokenizer]
        return [self.format.config_file, self.weights, *self.tokenizer, *self.beside]

    @property
    def index(self) -> str | None:
        """The index that names the files with the weights; None without an index."""
        return self.weights if self.weights.endswith(SUFFIX) else None


def choose(names: Collection[str], where: str, file: str = "") -> ChosenFiles:
    """Chooses, among the file names of a checkpoint, those that matter.

    Args:
      names: of the files.
      where: for messages.
      file: the GGUF file that is meant, where one was named.

    Raises InputError, which names `where`, for what is no checkpoint, or one in no known format.
    """
    top = {name for name in names if "/" not in name}
    if file:
        return _gguf(top, where, file)
    for one in ALL:
        if one is GGUF:
            continue
        if one.config_file in top and (weights := one.choose(top)):
            beside = tuple(name for name in QUANTISATION_FILES if name in top)
            return ChosenFiles(one, weights, tuple(tokenizer_files(top)), beside)
    if models_in(top):
        return _gguf(top, where, "")
    if "config.json" not in top:
        raise InputError(f"{where}: no config.json, so it is no Hugging Face checkpoint")
    raise InputError(f"{where}: {_no_weights(names)}")


def _gguf(top: Collection[str], where: str, file: str) -> ChosenFiles:
    """A GGUF file: the one that is named, or the only one."""
    models = models_in(top)
    some = ", ".join(models[:_SHOWN]) + (", ..." if len(models) > _SHOWN else "")
    if not file and len(models) > 1:
        raise InputError(
            f"{where}: holds {len(models)} GGUF files; name one of them, as in "
            f"{where}/{models[0]}: {some}"
        )
    if file and file not in models:
        if file in top:
            raise InputError(f"{where}: a later part of a model; name the first, of {some}")
        raise InputError(f"{where}: no such file; GGUF files there: {some or 'none'}")
    chosen = file or models[0]
    if missing := [name for name in parts_of(chosen) if name not in top]:
        raise InputError(f"{where}: part {missing[0]} of the model is missing")
    return ChosenFiles(GGUF, chosen, tuple(tokenizer_files(top)))


def _no_weights(names: Collection[str]) -> str:
    looked = "model.safetensors, pytorch_model.bin or their .index.json"
    shards = sorted(name for name in names if re.fullmatch(r"[\w.]+-\d+-of-\d+\.\w+", name))
    if shards:
        return f"has shards ({shards[0]}, ...) but no index (looked for {looked})"
    for name in sorted(names):
        for pattern, kind in _OTHER_FORMATS.items():
            if fnmatch.fnmatch(name.rsplit("/", 1)[-1], pattern):
                return f"has only {kind} weights ({name}); looked for {looked}"
    return f"no weights (looked for {looked})"


def weights_of(folder: Path) -> tuple[Format, str]:
    """The format of a folder, and the name of its file with the weights or of the index."""
    try:
        names = {path.name for path in folder.iterdir()}
    except OSError as error:
        raise InputError(f"{folder}: cannot be read: {error.strerror}") from None
    for one in FORMATS:
        if weights := one.choose(names):
            return one, weights
    raise InputError(f"{folder}: {_no_weights(names)}")


def index_of(folder: Path) -> Mapping[str, str]:
    """The file of each tensor according to the index; empty if there is no index."""
    _, chosen = weights_of(folder)
    return read_index(folder / chosen, str(folder)) if chosen.endswith(SUFFIX) else {}


def num_bytes(folder: Path) -> int:
    """The bytes of a folder's files with weights."""
    one, chosen = weights_of(folder)
    return sum((folder / name).stat().st_size for name in one.files(folder, chosen))


def adapter_bytes(folder: Path) -> int:
    """The bytes of an adapter's file."""
    names = [name for one in ADAPTERS for name in one.looks_for if (folder / name).is_file()]
    return sum((folder / name).stat().st_size for name in names[:1])


@contextlib.contextmanager
def open_adapter(folder: Path) -> Iterator[Mapping[str, Stored]]:
    """The tensors of an adapter's folder by name; the files are open inside the context."""
    names = {path.name for path in folder.iterdir()}
    with contextlib.ExitStack() as stack:
        for one in ADAPTERS:
            if chosen := one.choose(names):
                yield MappingProxyType(dict(one.open(folder, chosen, stack)))
                return
        raise InputError(f"{folder}: no adapter_model.safetensors or adapter_model.bin")


@contextlib.contextmanager
def open_tensors(folder: Path) -> Iterator[Mapping[str, Stored]]:
    """The tensors of a checkpoint folder by name; the files are open inside the context.

    Raises InputError for missing, truncated, corrupt or executable files.
    """
    with contextlib.ExitStack() as stack:
        one, chosen = weights_of(folder)
        yield MappingProxyType(without_wrappers(one.open(folder, chosen, stack), str(folder)))
