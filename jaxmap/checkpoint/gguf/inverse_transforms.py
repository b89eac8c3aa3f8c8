"""The inverses of the transforms that llama.cpp's converter applies to tensors.

Each rule takes a tensor as it is in the file and gives it as it is in Hugging Face's checkpoint.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np


class Heads(NamedTuple):
    """Heads of queries, and of keys and values."""

    queries: int
    keys: int


@dataclasses.dataclass(frozen=True)
class Rule:
    """What is undone in a tensor.

    Fields:
      undo: the tensor as it is in the file -> as it is in Hugging Face's checkpoint.
      of: what it changes: "rows", whose order alone changes, so that it can be done to rows in
        codes; "axes", which are exchanged; or "numbers".
    """

    undo: Callable[[np.ndarray, Heads], np.ndarray]
    of: str = "numbers"


def _halves(of_keys: bool) -> Rule:
    """Rotary pairs that were made neighbours, as the first and second half of a head again."""

    def undo(w: np.ndarray, heads: Heads) -> np.ndarray:
        count = heads.keys if of_keys else heads.queries
        pairs = w.reshape(count, w.shape[0] // count // 2, 2, *w.shape[1:])
        return pairs.swapaxes(1, 2).reshape(w.shape)

    return Rule(undo, "rows")


def _minus_one(w: np.ndarray, heads: Heads) -> np.ndarray:
    """Norms that multiply by 1 + weight hold the sum."""
    return w - np.ones((), w.dtype)


def _transposed(w: np.ndarray, heads: Heads) -> np.ndarray:
    """(in, out), as GPT-2's Conv1D has it."""
    return w.swapaxes(-1, -2)


def _each_head(w: np.ndarray, heads: Heads) -> np.ndarray:
    """All queries, all keys, all values: each head's three in turn again."""
    parts = w.reshape(3, heads.queries, -1, *w.shape[1:])
    return parts.swapaxes(0, 1).reshape(w.shape)


def _each_group(w: np.ndarray, heads: Heads) -> np.ndarray:
    """All queries, all keys, all values: of each group its queries, its key, its value again."""
    H, G = heads
    rows = w.reshape(H + 2 * G, -1, *w.shape[1:])
    queries = rows[:H].reshape(G, H // G, *rows.shape[1:])
    keys, values = rows[H : H + G, None], rows[H + G :, None]
    return np.concatenate([queries, keys, values], axis=1).reshape(w.shape)


def _log_rate(w: np.ndarray, heads: Heads) -> np.ndarray:
    """Mamba's A is stored as -exp(A_log)."""
    with np.errstate(all="ignore"):  # what is not finite is refused where it is loaded
        return np.log(-w)


def _depthwise(w: np.ndarray, heads: Heads) -> np.ndarray:
    """A convolution of each channel by itself: the axis of length one again."""
    return w[:, None] if w.ndim == 2 else w


def _one_row(w: np.ndarray, heads: Heads) -> np.ndarray:
    """A matrix of one row, which became a vector."""
    return w[None] if w.ndim == 1 else w


TRANSPOSED = Rule(_transposed, "axes")

_QK = {
    r"\.attn_q\.(weight|bias)$": _halves(of_keys=False),
    r"\.attn_k\.(weight|bias)$": _halves(of_keys=True),
}
_NORMS = {r"norm\.weight$": Rule(_minus_one)}
_HEADS = {r"\.attn_qkv\.": Rule(_each_head, "rows")}

RULES: Mapping[str, Mapping[str, Rule]] = {
    **dict.fromkeys(
        ("llama", "granite", "granitemoe", "olmo", "smollm3", "internlm2", "arcee"), _QK
    ),
    **dict.fromkeys(("gemma", "gemma2", "gemma3", "nemotron"), _NORMS),
    **dict.fromkeys(("bloom", "gptneox"), _HEADS),
    "falcon": {r"\.attn_qkv\.": Rule(_each_group, "rows")},
    "gpt2": {r"\.(attn_qkv|attn_output|ffn_up|ffn_down)\.weight$": TRANSPOSED},
    "mamba": {r"\.ssm_a$": Rule(_log_rate), r"\.ssm_conv1d\.weight$": Rule(_depthwise)},
    "qwen2moe": {r"\.ffn_gate_inp_shexp\.weight$": Rule(_one_row)},
}


def rule_of(architecture: str, tensor: str) -> Rule | None:
    """What is to be undone in a tensor; None where it is as Hugging Face has it."""
    rules: Mapping[str, Rule] = RULES.get(architecture, {})
    return next((rule for pattern, rule in rules.items() if re.search(pattern, tensor)), None)
