"""From the metadata of a GGUF file to the config.json that the family's page reads."""

from __future__ import annotations

import difflib

from jaxmap.checkpoint.gguf.architectures import ARCHITECTURES, WINDOW, GgufArchitecture
from jaxmap.checkpoint.gguf.header import Header
from jaxmap.checkpoint.gguf.metadata import Metadata
from jaxmap.checkpoint.gguf.rope_settings import Values
from jaxmap.errors import InputError

_OPTIONAL = ("attention.head_count_kv", "rope.freq_base", *WINDOW)
_MAY_BE_NULL = ("sliding_window", "q_lora_rank")  # null is not the same as their default
_INERT = ("vocab_size", "rope.scaling.finetuned", "tensor_data_layout")


def architecture_of(header: Header) -> GgufArchitecture:
    """The entry of a file's architecture.

    Raises InputError for one that is not read, and for files that hold no language model.
    """
    kind = header.metadata.get("general.type", "model")
    if kind != "model":
        raise InputError(f"{header.file}: general.type is {kind!r}: no language model")
    name = header.architecture
    if name not in ARCHITECTURES:
        near = difflib.get_close_matches(name, ARCHITECTURES, 3, 0.4)
        nearest = f"; nearest: {', '.join(near)}" if near else ""
        raise InputError(
            f"{header.file}: general.architecture {name!r} is not read{nearest}; known: "
            f"{', '.join(sorted(ARCHITECTURES))}"
        )
    return ARCHITECTURES[name]


def config_of(header: Header, *, is_here: bool = True) -> Values:
    """The config.json that a file's metadata stand for.

    is_here: whether the file's tensors are on disk, of which some are settings; else these are 1.

    Raises InputError for an unknown architecture, and for metadata that are missing, contradictory
    or not understood.
    """
    f = Metadata(header, is_here)
    try:
        return _values(architecture_of(header), f)
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        raise InputError(
            f"{header.file}: its metadata have an unexpected form, near {f.last_key}: {error}"
        ) from error


def _values(one: GgufArchitecture, f: Metadata) -> Values:
    layers, tensors = f.need("block_count"), len(f.header.tensors)
    if not 0 < layers <= tensors:
        raise InputError(f"{f.where}: {f.last_key} = {layers}, but it has {tensors} tensors")
    values: Values = {"model_type": one.model_type, "vocab_size": f.vocabulary}
    for key, own in one.keys.items():
        value = f.get(key) if key in _OPTIONAL else f.need(key)
        if value is not None or key in WINDOW:
            values[own] = value
    values["tie_word_embeddings"] = not f.has("output.weight")
    f.require("attention.causal", True)
    values |= one.fixed
    for more in one.more:
        values |= more(f)
    f.inert((*_INERT, *one.inert))
    f.check_all_read()
    return {key: value for key, value in values.items() if value is not None or key in _MAY_BE_NULL}
