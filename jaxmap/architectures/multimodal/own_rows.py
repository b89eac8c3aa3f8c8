"""Names and layouts of a language model's tensors that only the files of one type have.

NeMo exports Nemotron-H inside a model of speech (Nemotron 3.5 Transcribe) with some names of its
own, the experts of a layer as two tensors with inputs before outputs, and three parameters of
Mamba-2 in a module of their own. transformers 5.24 saves the layers of Kimi K2.5 and of Qianfan-OCR
under a name that their own files have for the layers of the vision tower.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

from jaxmap.architectures.rows import Row

_NAMES = {
    "backbone.embeddings.weight": "model.embed_tokens.weight",
    "backbone.norm_f.weight": "model.norm.weight",
}
_IN_FLOAT32 = ("A_log", "D", "dt_bias")
_EXPERTS = {
    "blocks/mlp/expert_up/kernel": ("gate_and_up_projs", "e d f -> e d f"),
    "blocks/mlp/expert_down/kernel": ("down_projs", "e f d -> e f d"),
}


def _name(own: str) -> str:
    """The name in NeMo's files, from that in Nemotron-H's."""
    module, _, end = own.rpartition(".mixer.")
    if module and end in _IN_FLOAT32:
        return f"{module}.mixer._fp32_params.{end}"
    return _NAMES.get(own, own)


def nemo_rows(own: Mapping[str, Row]) -> dict[str, Row]:
    """The rows of Nemotron-H with NeMo's names and layouts beside its own."""
    found = {}
    for path, row in own.items():
        if path in _EXPERTS:
            name, layout = _EXPERTS[path]
            start = "model.layers.{l}.mixer.experts."
            found[path] = Row(f"{start}{name}", layout, otherwise=row)
        else:
            names = dict.fromkeys(map(_name, (row.name, *row.other_names)))
            every = dict.fromkeys((*row.other_names, *names))
            found[path] = dataclasses.replace(row, other_names=tuple(every))
    return found


def also_named(usual: str, other: str, own: Mapping[str, Row]) -> dict[str, Row]:
    """The rows with, as a further name, each name in which `other` stands for `usual`."""

    def named(row: Row) -> Row:
        every = (row.name, *row.other_names)
        further = (name.replace(usual, other) for name in every if usual in name)
        otherwise = row.otherwise and named(row.otherwise)
        names = (*row.other_names, *further)
        return dataclasses.replace(row, other_names=names, otherwise=otherwise)

    return {path: named(row) for path, row in own.items()}


def renamed_by(replacements: tuple[tuple[str, str], ...], own: Mapping[str, Row]) -> dict[str, Row]:
    """The rows with, as a further name, each name after replacements of regular expressions."""

    def other(name: str) -> str:
        for old, new in replacements:
            name = re.sub(old, new, name)
        return name

    def named(row: Row) -> Row:
        every = (row.name, *row.other_names)
        otherwise = row.otherwise and named(row.otherwise)
        names = (*row.other_names, *map(other, every))
        return dataclasses.replace(row, other_names=names, otherwise=otherwise)

    return {path: named(row) for path, row in own.items()}
