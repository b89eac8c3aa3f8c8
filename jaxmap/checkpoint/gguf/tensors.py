"""The tensors of a GGUF file under the names of the family's page, decoded when they are read."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from jaxmap.architectures.rows import Row
from jaxmap.checkpoint.formats.base import Coded, Stored
from jaxmap.checkpoint.gguf.blocks import dtype_of, raw, read_blocks, read_floats
from jaxmap.checkpoint.gguf.header import Header, TensorInfo
from jaxmap.checkpoint.gguf.inverse_transforms import TRANSPOSED, Heads, Rule, rule_of
from jaxmap.checkpoint.gguf.joined_tensors import JOINS, joined
from jaxmap.checkpoint.gguf.metadata import Metadata
from jaxmap.errors import InputError
from jaxmap.model.encodings.codes import BLOCK_TYPES, KINDS, Blocks
from jaxmap.model.spec import Spec

# Tensors that stand for settings (`config.py` reads them).
_SETTINGS = ("rope_freqs.weight", "rope_factors_short.weight", "rope_factors_long.weight")
_SUFFIXES = (".weight", ".bias")
# Names that the package's table lacks, by architecture and Hugging Face's name without layers.
_MORE_NAMES = {
    ("gpt-oss", "model.layers.{l}.mlp.experts.down_proj"): "ffn_down_exps.weight",
    ("gpt-oss", "model.layers.{l}.mlp.experts.down_proj_bias"): "ffn_down_exps.bias",
    ("command-r", "model.layers.{l}.self_attn.q_norm.weight"): "attn_q_norm.weight",
    ("command-r", "model.layers.{l}.self_attn.k_norm.weight"): "attn_k_norm.weight",
    ("deepseek2", "model.layers.{l}.mlp.gate.e_score_correction_bias"): "exp_probs_b.bias",
}
_STACKED = {"gpt-oss": r"\.ffn_(gate|up|down)_exps\.weight$"}  # (out, in) there, (in, out) here


def tensors_of(header: Header, rows: Mapping[str, Row], spec: Spec) -> dict[str, Stored]:
    """Name -> tensor, under Hugging Face's names; what no row knows keeps the file's name.

    Args:
      header: of the file.
      rows, spec: of the family's page.

    Raises InputError for tensors of a type that cannot be decoded.
    """
    architecture = header.architecture
    heads = _heads(header)
    found: dict[str, Stored] = {}
    used: set[str] = set(_SETTINGS)
    for how in JOINS.get(architecture, ()):
        for number in range(spec.L):
            several = [f"blk.{number}.{name}" for name in how.names]
            if all(name in header.tensors for name in several):
                found[how.target.format(l=number)] = joined(header, several, how)
                used |= {*several}
    table = _Table(architecture, spec.L)
    for row in _every(rows.values()):
        for pattern in (row.name, *row.other_names):
            layers = range(spec.L) if "{l}" in pattern else (None,)
            for layer in layers:
                own = table.name(pattern, layer, header.tensors)
                if own is None and "{e}" in pattern:
                    for e, one in table.each_expert(pattern, layer, header.tensors):
                        used.add(one)
                        found[pattern.format(l=layer, e=e)] = _stored(
                            header.tensors[one], one, None, heads
                        )
                if own is None or own in used or pattern.format(l=layer, e=0) in found:
                    continue
                used.add(own)
                info, rule = header.tensors[own], rule_of(architecture, own)
                if re.search(_STACKED.get(architecture, r"(?!)"), own):
                    rule = TRANSPOSED
                if "{e}" not in pattern:
                    found[pattern.format(l=layer)] = _stored(info, own, rule, heads)
                    continue
                for e in range(info.shape[0]):
                    found[pattern.format(l=layer, e=e)] = _stored(info, own, rule, heads, e, 1)
    for name, info in header.tensors.items():
        if name not in used:
            found[name] = _stored(info, name, None, heads)
    return found


class _Table:
    """The gguf package's table of names."""

    def __init__(self, architecture: str, layers: int):
        from gguf import MODEL_ARCH_NAMES, get_tensor_name_map

        self._architecture = architecture
        number = next(key for key, name in MODEL_ARCH_NAMES.items() if name == architecture)
        self._map = get_tensor_name_map(number, layers)

    def name(self, pattern: str, layer: int | None, tensors: Mapping[str, Any]) -> str | None:
        """What the file calls a tensor of Hugging Face's; None where it has none."""
        if own := _MORE_NAMES.get((self._architecture, pattern)):
            own = f"blk.{layer}.{own}"
            return own if own in tensors else None
        own = self._usual(pattern, layer)
        names = () if own is None else (own, f"{own}.weight")
        return next((name for name in names if name in tensors), None)

    def each_expert(
        self, pattern: str, layer: int | None, tensors: Mapping[str, Any]
    ) -> Iterator[tuple[int, str]]:
        """The tensors of a file from before experts were stacked: blk.0.ffn_up.3.weight."""
        own = self._usual(pattern, layer) or ""
        if "_exps" not in own:
            return
        for e in itertools.count():
            name = own.removesuffix(".weight").replace("_exps", f".{e}") + ".weight"
            if name not in tensors:
                return
            yield e, name

    def _usual(self, pattern: str, layer: int | None) -> str | None:
        plain = re.sub(r"\.\{e\}|\.norms\.\{e\}", "", pattern).format(l=layer)
        for one in (plain, plain.removeprefix("transformer.")):  # the table has BLOOM's without
            if own := self._map.get_name(one, try_suffixes=_SUFFIXES):
                return own
        return None


def _every(rows: Any) -> Iterator[Row]:
    for row in rows:
        yield row
        if row.otherwise is not None:
            yield row.otherwise


def _heads(header: Header) -> Heads:
    f = Metadata(header)
    heads = f.get("attention.head_count", 0)
    return Heads(heads, f.get("attention.head_count_kv", heads) or heads)


def _stored(
    info: TensorInfo, name: str, rule: Rule | None, heads: Heads, at: int = 0, axes: int = 0
) -> Stored:
    """A tensor, or the entry `at` of its first axis."""
    dtype = dtype_of(info, name)
    shape = info.shape[axes:]
    if rule is not None:
        try:
            shape = rule.undo(np.broadcast_to(np.ones((), dtype), shape), heads).shape
        except (ValueError, ZeroDivisionError):
            raise InputError(
                f"{info.file}: {name} has shape {list(info.shape)}, which does not go with "
                f"{heads.queries} heads and {heads.keys} of keys"
            ) from None

    def read() -> np.ndarray:
        numbers = read_floats(info, name, at, axes)
        return numbers if rule is None else np.ascontiguousarray(rule.undo(numbers, heads))

    size = info.num_bytes // (info.shape[0] if axes else 1)
    return Stored(
        *(info.file, shape, dtype, info.kind, read, read, (raw(info, size),)),
        codes=_coded(info, name, rule, heads, at, axes),
    )


def _coded(
    info: TensorInfo, name: str, rule: Rule | None, heads: Heads, at: int, axes: int
) -> Coded | None:
    """The blocks of a matrix; None where a device cannot hold them."""
    if info.kind not in BLOCK_TYPES or len(info.shape) - axes != 2:
        return None
    if rule is not None and rule.of not in ("rows", "axes"):
        return None

    def read() -> dict[str, np.ndarray]:
        blocks = read_blocks(info, name, at, axes)
        if rule is not None and rule.of == "rows":
            blocks = np.ascontiguousarray(rule.undo(blocks, heads))
        return {"blocks": blocks, "kind": np.asarray(KINDS.index(info.kind))}

    rows, inputs = info.shape[axes:]
    turned = rule is not None and rule.of == "axes"
    return Coded(Blocks((rows, inputs), (info.kind,)), read, turned)
