"""The place of a parameter in a checkpoint: the stored tensor's name and the layout in it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import NamedTuple

from jaxmap.model.attention_facts import OutGate
from jaxmap.model.layout import Layout
from jaxmap.model.spec import Spec


class RowKey(NamedTuple):
    """The key of a parameter's row, and the layers that are stacked in the parameter.

    `layers` has the numbers, or names, by which a checkpoint names them; it is (None,) for a
    parameter outside the blocks, which has no leading axis of layers.
    """

    key: str
    layers: tuple[int | str | None, ...]


def row_key_of(path: str, spec: Spec) -> RowKey:
    """ "blocks/1/attn/q/kernel" -> "blocks/attn/q/kernel" and the layers of the second stack."""
    stack = re.fullmatch(r"blocks/(\d+)/(.*)", path)
    if stack is None:
        return RowKey(path, (None,))
    _, start, stop = list(spec.stacks())[int(stack[1])]
    numbers = spec.layer_numbers or range(spec.L)
    return RowKey(f"blocks/{stack[2]}", tuple(numbers[start:stop]))


@dataclasses.dataclass(frozen=True)
class Row:
    """The place of one parameter in a checkpoint.

    Fields:
      name: the name of the stored tensor, with {l} for the layer, and {e} if each entry of the
        parameter's first axis (experts, heads) is a tensor of its own.
      layout, part, cut, blocks: the layout in this tensor, see `Layout`.
      other_names: alternative names of the tensor.
      otherwise: the place in files that have none of these names, or the layout in files whose
        tensor of that name has its axes in another order.
    """

    name: str
    layout: str = ""
    part: tuple[int, int] | None = None
    cut: tuple[int, int, int] | None = None
    blocks: tuple[tuple[int, ...], int] | None = None
    other_names: tuple[str, ...] = ()
    otherwise: Row | None = None

    @property
    def lies(self) -> Layout:
        """The layout of the parameter in the stored tensor."""
        return Layout(self.layout, self.part, self.cut, self.blocks)


def embedding(name: str, spec: Spec) -> Row:
    """The embedding, in checkpoints where it may have more rows than the head."""
    cut = (0, spec.V, spec.embed_V) if spec.embed_V > spec.V else None
    return Row(name, cut=cut)


# Layouts of torch's Linear, which stores (out, in).
QUERY, QUERY_BIAS = "(h c) d -> d h c", "(h c) -> h c"
KEY_VALUE, KEY_VALUE_BIAS = "(g c) d -> d g c", "(g c) -> g c"
OUT = "d (h c) -> h c d"
UP, DOWN = "f d -> d f", "d f -> f d"


def linear(path: str, name: str, layout: str) -> dict[str, Row]:
    """Kernel and bias of one Linear."""
    return {f"{path}/kernel": Row(f"{name}.weight", layout), f"{path}/bias": Row(f"{name}.bias")}


def norm(path: str, name: str) -> dict[str, Row]:
    """Scale and bias of one norm."""
    return {f"{path}/scale": Row(f"{name}.weight"), f"{path}/bias": Row(f"{name}.bias")}


def output_gate(path: str, name: str, gate: OutGate | None) -> dict[str, Row]:
    """Kernel and bias of the Linear that gives the gates of an attention at `path`."""
    if gate is None:
        return {}
    if gate.per == "head":
        return linear(path, name, "h d -> d h")
    return {f"{path}/kernel": Row(f"{name}.weight", QUERY)} | (
        {f"{path}/bias": Row(f"{name}.bias", QUERY_BIAS)} if gate.bias == "channel" else {}
    )


def renamed(rows: Mapping[str, Row], old: str, new: str) -> dict[str, Row]:
    """Rows whose tensors may also have names with `new` in them instead of `old`."""
    return {
        path: dataclasses.replace(row, other_names=(*row.other_names, row.name.replace(old, new)))
        for path, row in rows.items()
    }


def split_qkv(name: str) -> dict[str, Row]:
    """Query, key and value as three Linears `{name}.q_proj`, `k_proj`, `v_proj`."""
    rows = {}
    for letter in "qkv":
        kernel, bias = (QUERY, QUERY_BIAS) if letter == "q" else (KEY_VALUE, KEY_VALUE_BIAS)
        rows[f"blocks/attn/{letter}/kernel"] = Row(f"{name}.{letter}_proj.weight", kernel)
        rows[f"blocks/attn/{letter}/bias"] = Row(f"{name}.{letter}_proj.bias", bias)
    return rows


def fused_qkv(name: str, kernel: str, bias: str) -> dict[str, Row]:
    """Query, key and value in one tensor; both layouts have a leading axis p of three."""
    rows = {}
    for i, letter in enumerate("qkv"):
        rows[f"blocks/attn/{letter}/kernel"] = Row(f"{name}.weight", kernel, (i, 3))
        rows[f"blocks/attn/{letter}/bias"] = Row(f"{name}.bias", bias, (i, 3))
    return rows


def grouped_qkv(name: str, heads: int, groups: int) -> dict[str, Row]:
    """Query, key and value in one Linear, ordered by group: query heads, then key, then value.

    With one group, these are all queries, the key and the value; with as many groups as heads,
    query, key and value of each head in turn.
    """
    own = heads // groups
    every = range(heads + 2 * groups)
    where = {
        "q": tuple(i for i in every if i % (own + 2) < own),
        "k": tuple(i for i in every if i % (own + 2) == own),
        "v": tuple(i for i in every if i % (own + 2) == own + 1),
    }
    return block_qkv(name, where)


def block_qkv(name: str, where: dict[str, tuple[int, ...]]) -> dict[str, Row]:
    """Query, key and value in one Linear whose outputs are heads; `where` has those of q, k, v."""
    of = sum(map(len, where.values()))
    rows: dict[str, Row] = {}
    for letter, which in where.items():
        kernel, bias = (QUERY, QUERY_BIAS) if letter == "q" else (KEY_VALUE, KEY_VALUE_BIAS)
        path = f"blocks/attn/{letter}"
        rows[f"{path}/kernel"] = Row(f"{name}.weight", kernel, blocks=(which, of))
        rows[f"{path}/bias"] = Row(f"{name}.bias", bias, blocks=(which, of))
    return rows


def cut_qkv(name: str, spec: Spec) -> dict[str, Row]:
    """Query, key and value in one Linear, one after another: H, G and G heads."""
    q, kv = spec.H * spec.C, spec.G * spec.C
    cuts = {"q": (0, q), "k": (q, q + kv), "v": (q + kv, q + 2 * kv)}
    rows = {}
    for letter, (start, stop) in cuts.items():
        kernel, bias = (QUERY, QUERY_BIAS) if letter == "q" else (KEY_VALUE, KEY_VALUE_BIAS)
        cut = (start, stop, q + 2 * kv)
        rows[f"blocks/attn/{letter}/kernel"] = Row(f"{name}.weight", kernel, cut=cut)
        rows[f"blocks/attn/{letter}/bias"] = Row(f"{name}.bias", bias, cut=cut)
    return rows


def cut_gate_up(name: str, spec: Spec) -> dict[str, Row]:
    """Gate and up projection in one Linear, one after another."""
    F = spec.F
    return {
        "blocks/mlp/gate/kernel": Row(f"{name}.weight", UP, cut=(0, F, 2 * F)),
        "blocks/mlp/up/kernel": Row(f"{name}.weight", UP, cut=(F, 2 * F, 2 * F)),
    }


ROUTER = "e d -> d e"


def each_expert(
    name: str,
    *,
    fused: str,
    gate: str = "gate_proj",
    up: str = "up_proj",
    down: str = "down_proj",
    path: str = "blocks/mlp",
    cut: tuple[int, int, int] | None = None,
) -> dict[str, Row]:
    """Experts `{name}.0`, `{name}.1`, ... with three Linears each.

    transformers 5 has them in two tensors, `{fused}.gate_up_proj` and `{fused}.down_proj`, and some
    files are saved in this form.

    Args:
      name: the beginning of the names of tensors, one per expert.
      fused: the beginning of the names of the two tensors.
      gate, up, down: the names of an expert's Linears.
      path: of the `RoutedExperts`.
      cut: set if gate_up_proj has entries beside the experts, see `Row.cut`.
    """
    rows = {}
    for i, (part, own) in enumerate((("gate", gate), ("up", up))):
        together = Row(f"{fused}.gate_up_proj", "e (p f) d -> p e d f", (i, 2), cut)
        rows[f"{path}/expert_{part}/kernel"] = Row(
            f"{name}.{{e}}.{own}.weight", UP, otherwise=together
        )
    rows[f"{path}/expert_down/kernel"] = Row(
        f"{name}.{{e}}.{down}.weight", DOWN, otherwise=Row(f"{fused}.down_proj", "e d f -> e f d")
    )
    return rows


def shared_expert(name: str) -> dict[str, Row]:
    """The rows of the shared MLP, which is applied to every token."""
    rows: dict[str, Row] = {}
    for part, layout in (("gate", UP), ("up", UP), ("down", DOWN)):
        rows |= linear(f"blocks/mlp/shared/{part}", f"{name}.{part}_proj", layout)
    return rows
