"""Names of tensors and keys of metadata, against the lists of the gguf package."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gguf import MODEL_ARCH_NAMES, MODEL_TENSORS, TENSOR_NAMES
from gguf.constants import Keys
from support.gguf_cases import CASES, config_of
from support.gguf_files import CONVERTERS

from jaxmap.architectures.config import Config
from jaxmap.architectures.registry import family_of
from jaxmap.architectures.specs import spec_of
from jaxmap.checkpoint import gguf
from jaxmap.checkpoint.gguf.architectures import ARCHITECTURES
from jaxmap.checkpoint.gguf.joined_tensors import JOINS
from jaxmap.checkpoint.gguf.tensors import _every, _Table

# Tensors of the package's lists that are not read, by architecture. Buffers of all, and:
BUFFERS = {"blk.attn_rot_embd", "rope_freqs", "rope_factors_long", "rope_factors_short"}
NOT_READ = {
    "phi2": {"blk.attn_qkv", "blk.ffn_norm"},  # of files from before the weights were renamed
    "phi3": {"blk.attn_q", "blk.attn_k", "blk.attn_v"},  # fused in all released models
    "mpt": {"blk.ffn", "position_embd"},  # replit's, of models without ALiBi
    "glm4": {"blk.attn_qkv"},  # fused in no released model
}
NEXT_TOKENS = "blk.nextn."  # layers that predict further tokens


class Everything(dict):
    """A file that has each tensor that it is asked for with a suffix."""

    def __contains__(self, name: object) -> bool:
        return str(name).endswith((".weight", ".bias"))


def plain(name: str) -> str:
    return re.sub(r"^blk\.\d+\.", "blk.", name).removesuffix(".weight").removesuffix(".bias")


def named(architecture: str) -> set[str]:
    """The tensors that are looked for in files of an architecture, without layers."""
    found = {plain(f"blk.0.{one}") for how in JOINS.get(architecture, ()) for one in how.names}
    for case in CASES:
        values = config_of(case)
        kind = values["model_type"]
        if CONVERTERS[kind].name != architecture:
            continue
        if architecture == "internlm2":  # its tensors are those of Llama
            values = {**config_of("llama"), "num_hidden_layers": 2}
        of = Config(values, case)
        spec, family = spec_of(of), family_of(of)
        table = _Table(architecture, spec.L)
        for row in _every(family.rows(spec).values()):
            for pattern in (row.name, *row.other_names):
                for layer in range(spec.L) if "{l}" in pattern else (None,):
                    if own := table.name(pattern, layer, Everything()):
                        found.add(plain(own))
    return found


@pytest.mark.parametrize("architecture", [one for one in ARCHITECTURES if one != "qwen2vl"])
def test_tensors_are_those_of_the_package(architecture):
    number = next(key for key, name in MODEL_ARCH_NAMES.items() if name == architecture)
    listed = {plain(TENSOR_NAMES[one].format(bid=0)) for one in MODEL_TENSORS[number]}
    have = named(architecture)
    assert have
    assert not have - listed
    left = listed - have - BUFFERS - NOT_READ.get(architecture, set())
    assert not {one for one in left if not one.startswith(NEXT_TOKENS)}


def test_another_architecture_has_other_tensors():
    number = next(key for key, name in MODEL_ARCH_NAMES.items() if name == "llama")
    listed = {plain(TENSOR_NAMES[one].format(bid=0)) for one in MODEL_TENSORS[number]}
    assert named("deepseek2") - listed


def constants(of: type) -> Iterator[str]:
    for name, value in vars(of).items():
        if isinstance(value, type):
            yield from constants(value)
        elif isinstance(value, str) and not name.startswith("__"):
            yield value.removeprefix("{arch}.")


def keys_read() -> set[str]:
    """The keys that are read anywhere, without the architecture's name before them."""
    found: set[Any] = set()
    for one in ARCHITECTURES.values():
        found |= {*one.keys, *one.inert}
    for path in Path(inspect.getfile(gguf)).parent.glob("*.py"):
        text = path.read_text("utf-8")
        found |= {*re.findall(r"\bf\.(?:get|need|require|number|list_of)\(\s*\"([\w.]+)\"", text)}
    return found


def test_keys_are_those_of_the_package():
    keys = keys_read()
    assert {"attention.head_count", "rope.scaling.factor", "attention.kv_lora_rank"} <= keys
    # The name that files of 2023 have for rope.scaling.factor.
    assert keys - set(constants(Keys)) == {"rope.scale_linear"}
