"""A text_config without a key means what transformers' class has as its default."""

from __future__ import annotations

import copy
import dataclasses
import json
from typing import Any

import pytest
from transformers import AutoConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

from jaxmap.architectures.config import Config
from jaxmap.architectures.multimodal.left_out import LEFT_OUT
from jaxmap.architectures.registry import families
from jaxmap.architectures.specs import spec_of
from jaxmap.model.spec import Spec

_CONTAINERS = {
    kind: page
    for kind, page in families().items()
    if page.around is not None and page.text_type in LEFT_OUT and kind in CONFIG_MAPPING_NAMES
}
# transformers 5 has another default than 4, but writes the key always: 4 left it out.
_OTHER_THETA = {"cosmos3_omni", "qwen3_vl", "qwen3_vl_moe"}
# The defaults of these are no model: the layers of Nemotron-H are written always, Qwen3-Omni's
# width does not divide into its heads.
_NO_MODEL = {"nemo_speechlm", "nemotron_h_omni", "qwen3_omni_moe", "qwen3_omni_moe_thinker"}
# Parts whose sizes must be the language model's.
_BESIDE = {"fun_asr_nano": {"adaptor_config": {"hidden_size": 4096, "intermediate_size": 1024}}}


def _compared(spec: Spec, kind: str) -> Spec:
    if kind in _OTHER_THETA:
        spec = dataclasses.replace(spec, ropes=())
    return dataclasses.replace(spec, scale=spec.scale or (spec.C**-0.5,) * spec.L)


@pytest.mark.parametrize("kind", sorted(set(_CONTAINERS) - _NO_MODEL))
def test_a_key_left_out_has_the_default_of_its_class(kind):
    page = _CONTAINERS[kind]
    text = {"model_type": page.text_type}
    short: dict[str, Any] = text
    for key in reversed(page.text_keys[0].split(".")):
        short = {key: short}
    written = AutoConfig.for_model(kind, **copy.deepcopy(short), **_BESIDE.get(kind, {})).to_dict()
    outer, inner = written, written
    for key in page.text_keys[0].split("."):
        outer, inner = inner, inner[key]
    if "tie_word_embeddings" in outer:  # says it of the head, whatever the language model's says
        inner.pop("tie_word_embeddings", None)
    whole = Config(json.loads(json.dumps(written)), "whole")
    short = {"model_type": kind, **short}
    assert _compared(spec_of(Config(short, "short")), kind) == _compared(spec_of(whole), kind)


@pytest.mark.parametrize(
    "kind", ["aria_text", "flint", "gemma4_text", "gemma4_unified_text", "lara_mini"]
)
def test_the_sizes_alone_mean_what_transformers_writes(kind):
    """It writes which layers have a window or experts, so parity sees no default of these."""
    sizes = dict(
        vocab_size=97,
        hidden_size=64,
        num_hidden_layers=11,
        num_attention_heads=8,
        max_position_embeddings=128,
    )
    if kind != "lara_mini":
        sizes["intermediate_size"] = 24
    short = Config({"model_type": kind, **sizes}, "short")
    written = AutoConfig.for_model(kind, **sizes).to_dict()
    whole = Config(json.loads(json.dumps(written)), "whole")
    assert spec_of(short) == spec_of(whole)
