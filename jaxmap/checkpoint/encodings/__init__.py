"""Encodings of published weights, one file each, independent of the file format.

`quantization_config` of config.json names the encoding. Each weight is decoded when it is read, one
tensor at a time.
"""

from __future__ import annotations

from collections.abc import Mapping

from jaxmap.architectures.config import Config
from jaxmap.checkpoint.encodings.awq import Awq
from jaxmap.checkpoint.encodings.base import Encoding
from jaxmap.checkpoint.encodings.bitsandbytes import BitsAndBytes
from jaxmap.checkpoint.encodings.compressed_tensors import CompressedTensors
from jaxmap.checkpoint.encodings.fp4 import ModelOpt
from jaxmap.checkpoint.encodings.fp8 import Fp8
from jaxmap.checkpoint.encodings.gptq import Gptq
from jaxmap.checkpoint.encodings.mxfp4 import Mxfp4
from jaxmap.checkpoint.formats import FORMATS
from jaxmap.checkpoint.formats.base import Stored
from jaxmap.errors import InputError

ENCODINGS: tuple[type[Encoding], ...] = (
    Fp8,
    Gptq,
    Awq,
    Mxfp4,
    CompressedTensors,
    BitsAndBytes,
    ModelOpt,
)


def encoding_of(config: Config) -> Encoding | None:
    """The encoding that a config.json names; None for plain floats.

    Raises InputError for an encoding, or a setting of it, that is not supported.
    """
    facts = config.child("quantization_config")
    if facts is None:
        return None
    method = facts.get("quant_method")
    for kind in ENCODINGS:
        if method in kind.methods:
            try:
                encoding = kind(facts)
            except (TypeError, ValueError, LookupError, AttributeError) as error:
                raise InputError(
                    f"{facts.where}: a setting has an unexpected form: {error}"
                ) from error
            facts.check_all_read()
            return encoding
    known = ", ".join(sorted(name for kind in ENCODINGS for name in kind.methods))
    raise InputError(
        f"{config.where}: the checkpoint is stored quantised ({method or 'unknown'}), which cannot "
        f"be read (read are {known}); use the model that it was made from"
    )


def decoded(encoding: Encoding | None, tensors: Mapping[str, Stored]) -> Mapping[str, Stored]:
    """The tensors, with every encoded weight replaced by one tensor of floats.

    Raises InputError for parts that do not fit together, and if no weight has the encoding.
    """
    if encoding is None:
        return tensors
    found = encoding.decoded(tensors)
    if all(tensors.get(name) is one for name, one in found.items()):
        method = encoding.facts.peek("quant_method")
        raise InputError(
            f"{encoding.facts.where}: the weights are said to be quantised ({method}), but none in "
            "the files is; take quantization_config out of config.json if that is right"
        )
    return found


def formats_of_weights() -> str:
    """Sentences for documents: the formats and encodings in which weights are read."""
    from jaxmap.checkpoint.gguf.architectures import ARCHITECTURES

    *first, last = (one.name for one in FORMATS)
    methods = sorted(name for kind in ENCODINGS for name in kind.methods)
    return (
        f"weights are read from {', '.join(first)} and {last} files: floats, or stored as "
        f"{', '.join(methods)}; with LoRA adapters (docs/formats.md). A GGUF file is named as "
        "folder/name.gguf or org/name/file.gguf; general.architecture is one of "
        f"{', '.join(sorted(ARCHITECTURES))}"
    )
