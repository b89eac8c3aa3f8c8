"""Families as data: one page each, with the facts, the tensor names and the inert keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from jaxmap.errors import InputError
from jaxmap.model.families import (
    bloom,
    codegen,
    cohere,
    cohere2,
    ernie4_5,
    exaone4,
    falcon,
    gemma,
    gemma2,
    gemma3_text,
    glm,
    glm4,
    gpt2,
    gpt_bigcode,
    gpt_neo,
    gpt_neox,
    gptj,
    granite,
    hyperclovax,
    llama,
    mistral,
    mpt,
    nemotron,
    olmo,
    olmo2,
    olmo3,
    opt,
    phi,
    phi3,
    qwen2,
    qwen3,
    smollm3,
    stablelm,
    starcoder2,
    xglm,
)
from jaxmap.model.families.config import Config
from jaxmap.model.families.rows import Row
from jaxmap.model.mlp import ACTIVATIONS
from jaxmap.model.spec import Spec


class Family(NamedTuple):
    """What a page says.

    Fields:
      spec: config.json -> Spec.
      rows: Spec -> parameter path -> where it stands in a checkpoint.
      prefix: what the names of a whole model's tensors begin with; a file that was saved from the
        bare transformer lacks it.
      inert_tensors: regular expressions for tensors that hold nothing learnt.
      paper: whom to cite.
    """

    spec: Callable[[Config], Spec]
    rows: Callable[[Spec], Mapping[str, Row]]
    prefix: str
    inert_tensors: tuple[str, ...]
    paper: str


def _family(page) -> Family:
    return Family(page.spec, page.rows, page.PREFIX, page.INERT_TENSORS, page.PAPER)


# model_type in config.json -> page
FAMILIES: dict[str, Family] = {
    "bloom": _family(bloom),
    "codegen": _family(codegen),
    "cohere": _family(cohere),
    "cohere2": _family(cohere2),
    "ernie4_5": _family(ernie4_5),
    "exaone4": _family(exaone4),
    "falcon": _family(falcon),
    "gemma": _family(gemma),
    "gemma2": _family(gemma2),
    "gemma3_text": _family(gemma3_text),
    "glm": _family(glm),
    "glm4": _family(glm4),
    "gpt2": _family(gpt2),
    "gpt_bigcode": _family(gpt_bigcode),
    "gpt_neo": _family(gpt_neo),
    "gpt_neox": _family(gpt_neox),
    "gptj": _family(gptj),
    "granite": _family(granite),
    "hyperclovax": _family(hyperclovax),
    "llama": _family(llama),
    "mistral": _family(mistral),
    "mpt": _family(mpt),
    "nemotron": _family(nemotron),
    "olmo": _family(olmo),
    "olmo2": _family(olmo2),
    "olmo3": _family(olmo3),
    "opt": _family(opt),
    "phi": _family(phi),
    "phi3": _family(phi3),
    "qwen2": _family(qwen2),
    "qwen3": _family(qwen3),
    "smollm3": _family(smollm3),
    "stablelm": _family(stablelm),
    "starcoder2": _family(starcoder2),
    "xglm": _family(xglm),
}


def family_of(config: Config) -> Family:
    """The page for a config.json; InputError lists the known types."""
    kind = config["model_type"]
    if kind not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise InputError(f"{config.where}: unknown model type {kind!r}; known: {known}")
    return FAMILIES[kind]


def spec_of(config: Config, ignore: tuple[str, ...] = ()) -> Spec:
    """The Spec of a config.json, every key of which was read or is known to be inert.

    Raises InputError for an unknown model type, a missing, contradictory or unread key, and for a
    checkpoint that is stored quantised.
    """
    if quantised := config.get("quantization_config"):
        method = quantised.get("quant_method", "unknown") if isinstance(quantised, dict) else "?"
        raise InputError(
            f"{config.where}: the checkpoint is stored quantised ({method}), which cannot be read; "
            "use the model that it was made from"
        )
    try:
        with np.errstate(divide="raise", over="raise", invalid="raise"):
            spec = family_of(config).spec(config)
    except ArithmeticError as error:
        raise InputError(f"{config.where}: its numbers do not fit together: {error}") from error
    except (ValueError, TypeError) as error:
        raise InputError(f"{config.where}: {error}") from error
    if spec.act not in ACTIVATIONS:
        known = ", ".join(sorted(ACTIVATIONS))
        raise InputError(f"{config.where}: unknown activation {spec.act!r}; known: {known}")
    config.inert(*ignore)
    config.check_all_read()
    return spec
