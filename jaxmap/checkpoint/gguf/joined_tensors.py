"""Tensors of a GGUF file that together are one tensor of Hugging Face's checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxmap.checkpoint.formats.base import Stored
from jaxmap.checkpoint.gguf.blocks import dtype_of, raw, read_floats
from jaxmap.checkpoint.gguf.header import Header
from jaxmap.errors import InputError


class Join(NamedTuple):
    """One way to join tensors, which have the same first axis: experts, or heads.

    Fields:
      names: the tensors of a layer in the file.
      target: the name of the joined tensor, with `{l}` for the layer.
      joined: the entries of the tensors at one place of the first axis -> that of the joined one.
      flat: whether the first axis is merged with the next.
      axes: 0 for tensors that are joined whole, without such an axis.
    """

    names: tuple[str, ...]
    target: str
    joined: Callable[[Sequence[np.ndarray]], np.ndarray]
    flat: bool = False
    axes: int = 1


def _in_turn(parts: Sequence[np.ndarray]) -> np.ndarray:
    """gpt-oss: gate and up (out, in) as (in, out) with their outputs in turn; biases (out,)."""
    return np.stack([part.T for part in parts], axis=-1).reshape(*parts[0].T.shape[:-1], -1)


def _one_after_another(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts)


def _latent(parts: Sequence[np.ndarray]) -> np.ndarray:
    """DeepSeek: a head's keys, transposed in the file, and its values, from the latent."""
    keys, values = parts
    return np.concatenate([keys.T, values])


_EXPERTS = "model.layers.{l}.mlp.experts"
JOINS: Mapping[str, tuple[Join, ...]] = {
    "gpt-oss": (
        Join(("ffn_gate_exps.weight", "ffn_up_exps.weight"), f"{_EXPERTS}.gate_up_proj", _in_turn),
        Join(("ffn_gate_exps.bias", "ffn_up_exps.bias"), f"{_EXPERTS}.gate_up_proj_bias", _in_turn),
    ),
    "granitemoe": (
        Join(("ffn_gate_exps.weight", "ffn_up_exps.weight"),
             "model.layers.{l}.block_sparse_moe.input_linear.weight", _one_after_another),
        Join(("ffn_gate_shexp.weight", "ffn_up_shexp.weight"),
             "model.layers.{l}.shared_mlp.input_linear.weight", _one_after_another, axes=0),
    ),
    "deepseek2": (
        Join(("attn_k_b.weight", "attn_v_b.weight"),
             "model.layers.{l}.self_attn.kv_b_proj.weight", _latent, flat=True),
    ),
}  # fmt: skip


def joined(header: Header, names: Sequence[str], how: Join) -> Stored:
    """The joined tensor, which is read one entry of the first axis at a time.

    Args:
      header: of the file.
      names: the whole names of the tensors.
      how: the way to join them.

    Raises InputError for tensors whose shapes do not go together.
    """
    infos = [header.tensors[name] for name in names]
    first = infos[0]
    dtype = np.dtype(np.result_type(*(dtype_of(i, n) for i, n in zip(infos, names, strict=True))))
    try:
        (count,) = {info.shape[0] for info in infos} if how.axes else {1}
        empty = [np.broadcast_to(np.ones((), dtype), info.shape[how.axes :]) for info in infos]
        item = how.joined(empty).shape
    except ValueError:
        shapes = " and ".join(f"{name} {list(header.tensors[name].shape)}" for name in names)
        raise InputError(f"{first.file}: shapes do not go together: {shapes}") from None
    shape = (count * item[0], *item[1:]) if how.flat or not how.axes else (count, *item)

    def read() -> np.ndarray:
        into = np.empty((count, *item), dtype)
        for at in range(count):
            parts = [read_floats(i, n, at, how.axes) for i, n in zip(infos, names, strict=True)]
            into[at] = how.joined(parts)
        return into.reshape(shape)

    parts = tuple(raw(info, info.num_bytes) for info in infos)
    return Stored(first.file, shape, dtype, first.kind, read, read, parts)
