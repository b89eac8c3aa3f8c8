"""Families as data: one page each, with the facts, the tensor names and the inert keys."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from jaxmap.architectures import (
    arcee,
    baichuan,
    bamba,
    bloom,
    camelidae,
    codegen,
    cohere,
    cohere2,
    deci,
    deepseek,
    deepseek_v2,
    deepseek_v3,
    dots1,
    ernie4_5,
    ernie4_5_moe,
    exaone,
    exaone4,
    falcon,
    falcon_h1,
    falcon_mamba,
    gemma,
    gemma2,
    gemma3,
    gemma3_text,
    glm,
    glm4,
    glm4_moe,
    gpt2,
    gpt_bigcode,
    gpt_neo,
    gpt_neox,
    gpt_oss,
    gptj,
    granite,
    granitemoe,
    granitemoehybrid,
    helium,
    hyperclovax,
    internlm2,
    jamba,
    llama,
    llama_alikes,
    mamba,
    mamba2,
    minicpm,
    ministral,
    mistral,
    mixtral,
    mpt,
    nemotron,
    nemotron_h,
    olmo,
    olmo2,
    olmo3,
    olmoe,
    opt,
    phi,
    phi3,
    phimoe,
    qwen,
    qwen2,
    qwen2_moe,
    qwen3,
    qwen3_5,
    qwen3_moe,
    qwen3_next,
    recurrent_gemma,
    rwkv,
    seed_oss,
    smollm3,
    stablelm,
    stablelm_alpha,
    starcoder2,
    xglm,
)
from jaxmap.architectures.config import Config
from jaxmap.architectures.rows import Row
from jaxmap.errors import InputError
from jaxmap.model.mlps.dense import ACTIVATIONS
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
    "arcee": _family(arcee),
    "baichuan": _family(baichuan),
    "bamba": _family(bamba),
    "bloom": _family(bloom),
    "camelidae": _family(camelidae),
    "codegen": _family(codegen),
    "cohere": _family(cohere),
    "cohere2": _family(cohere2),
    "deci": _family(deci),
    "deepseek": _family(deepseek),
    "deepseek_v2": _family(deepseek_v2),
    "deepseek_v3": _family(deepseek_v3),
    "dots1": _family(dots1),
    "ernie4_5": _family(ernie4_5),
    "ernie4_5_moe": _family(ernie4_5_moe),
    "exaone": _family(exaone),
    "exaone4": _family(exaone4),
    "falcon": _family(falcon),
    "falcon_h1": _family(falcon_h1),
    "falcon_mamba": _family(falcon_mamba),
    "gemma": _family(gemma),
    "gemma2": _family(gemma2),
    "gemma3": _family(gemma3),
    "gemma3_text": _family(gemma3_text),
    "glm": _family(glm),
    "glm4": _family(glm4),
    "glm4_moe": _family(glm4_moe),
    "gpt2": _family(gpt2),
    "gpt_bigcode": _family(gpt_bigcode),
    "gpt_neo": _family(gpt_neo),
    "gpt_neox": _family(gpt_neox),
    "gpt_oss": _family(gpt_oss),
    "gptj": _family(gptj),
    "granite": _family(granite),
    "granitemoe": _family(granitemoe),
    "granitemoehybrid": _family(granitemoehybrid),
    "helium": _family(helium),
    "hyperclovax": _family(hyperclovax),
    "internlm2": _family(internlm2),
    "jamba": _family(jamba),
    "llama": _family(llama),
    "mamba": _family(mamba),
    "mamba2": _family(mamba2),
    "minicpm": _family(minicpm),
    "ministral": _family(ministral),
    "mistral": _family(mistral),
    "mixtral": _family(mixtral),
    "mpt": _family(mpt),
    "nemotron": _family(nemotron),
    "nemotron_h": _family(nemotron_h),
    "olmo": _family(olmo),
    "olmo2": _family(olmo2),
    "olmo3": _family(olmo3),
    "olmoe": _family(olmoe),
    "opt": _family(opt),
    "phi": _family(phi),
    "phi3": _family(phi3),
    "phimoe": _family(phimoe),
    "qwen": _family(qwen),
    "qwen2": _family(qwen2),
    "qwen2_moe": _family(qwen2_moe),
    "qwen3": _family(qwen3),
    "qwen3_moe": _family(qwen3_moe),
    "qwen3_next": _family(qwen3_next),
    "recurrent_gemma": _family(recurrent_gemma),
    "rwkv": _family(rwkv),
    "seed_oss": _family(seed_oss),
    "smollm3": _family(smollm3),
    "stablelm": _family(stablelm),
    "stablelm_alpha": _family(stablelm_alpha),
    "starcoder2": _family(starcoder2),
    "xglm": _family(xglm),
    # DeepSeek-V3 under another name; Moonlight calls itself deepseek_v3.
    "kimi_k2": _family(deepseek_v3)._replace(paper="Kimi Team 2025, arXiv:2507.20534"),
    # Several types in one page: Llama under other names, Qwen3.5.
    **{kind: _family(page) for kind, page in {**llama_alikes.PAGES, **qwen3_5.PAGES}.items()},
}


def family_of(config: Config) -> Family:
    """The page for a config.json; InputError lists the known types, the nearest first."""
    kind = config["model_type"]
    if kind not in FAMILIES:
        known = sorted(FAMILIES)
        near = difflib.get_close_matches(str(kind), known, 3, 0.4)
        nearest = f"; nearest: {', '.join(near)}" if near else ""
        raise InputError(
            f"{config.where}: unknown model type {kind!r}{nearest}; known: {', '.join(known)}"
        )
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
    for act in (spec.act, *(part.act for part in (spec.experts, spec.ssm) if part and part.act)):
        if act not in ACTIVATIONS:
            known = ", ".join(sorted(ACTIVATIONS))
            raise InputError(f"{config.where}: unknown activation {act!r}; known: {known}")
    config.inert(*ignore)
    config.check_all_read()
    return spec
