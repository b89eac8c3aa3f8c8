"""CodeGen: GPT-J with query, value and key in one tensor, for a quarter of the heads at a time."""

from __future__ import annotations

from jaxmap.architectures import gptj
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import Row, block_qkv
from jaxmap.errors import InputError
from jaxmap.model.spec import Spec

PAPER = "Nijkamp et al. 2022, arXiv:2203.13474"
PREFIX = gptj.PREFIX
INERT_TENSORS = (r"attn\.causal_mask$", r"attn\.bias$", r"attn\.embed_positions$")
_SHARES = 4  # the devices it was trained on, each with its share of the heads


def spec(c: Config) -> Spec:
    spec = gptj.spec(c)
    if spec.H % _SHARES:
        raise InputError(f"{c.where}: {spec.H} heads do not divide into {_SHARES} shares")
    return spec


def rows(spec: Spec) -> dict[str, Row]:
    own = spec.H // _SHARES
    where = {
        letter: tuple(3 * own * (h // own) + own * part + h % own for h in range(spec.H))
        for part, letter in enumerate("qvk")
    }
    rows = gptj.rows(spec)
    return {**rows, **block_qkv("transformer.h.{l}.attn.qkv_proj", where)}


FAMILIES = {"codegen": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
