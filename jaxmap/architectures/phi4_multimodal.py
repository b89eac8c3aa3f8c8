"""Phi-4-multimodal: Phi-3 beside encoders of pictures and speech, given text alone.

Its adapters work on pictures and speech only. Microsoft's own files, of type phi4mm, have them in
the tensors of the language model; transformers' files do not.
"""

from __future__ import annotations

import dataclasses

from jaxmap.architectures import llama, phi3
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import Row
from jaxmap.model.spec import Spec

PAPER = "Abouelenin et al. 2025, arXiv:2503.01743"
_INERT = (*llama.INERT_TENSORS, r"^model\.embed_tokens_extend\.", r"\.lora_[AB]\.")
_OF_OTHER_PARTS = """
    audio_config audio_processor audio_token_id embd_layer image_token_id img_processor speech_lora
    vision_config vision_lora
""".split()


def spec(c: Config) -> Spec:
    c.inert(*_OF_OTHER_PARTS)
    return phi3.spec(c)


def rows(spec: Spec) -> dict[str, Row]:
    return {path: _with_adapters(row) for path, row in phi3.rows(spec).items()}


def _with_adapters(row: Row) -> Row:
    """The row with the tensor's name where adapters stand beside it."""
    stem, _, last = row.name.rpartition(".")
    return dataclasses.replace(row, other_names=(f"{stem}.base_layer.{last}",))


_FAMILY = Family(PAPER, spec, rows, llama.PREFIX, _INERT)
FAMILIES = {"phi4_multimodal": _FAMILY, "phi4mm": _FAMILY}
