"""A text_config without a key means what transformers' class has as its default."""

from __future__ import annotations

import dataclasses
import json

import pytest
from transformers import AutoConfig

from jaxmap.architectures.config import Config
from jaxmap.architectures.registry import families
from jaxmap.architectures.specs import spec_of
from jaxmap.model.spec import Spec

_CONTAINERS = {kind: page for kind, page in families().items() if page.around is not None}
# transformers 5 has another default than 4, but writes the key always: 4 left it out.
_OTHER_THETA = {"qwen3_vl", "qwen3_vl_moe"}


def _compared(spec: Spec, kind: str) -> Spec:
    if kind in _OTHER_THETA:
        spec = dataclasses.replace(spec, ropes=())
    return dataclasses.replace(spec, scale=spec.scale or (spec.C**-0.5,) * spec.L)


@pytest.mark.parametrize("kind", sorted(_CONTAINERS))
def test_a_key_left_out_has_the_default_of_its_class(kind):
    text = {"model_type": _CONTAINERS[kind].text_type}
    written = AutoConfig.for_model(kind, text_config=dict(text)).to_dict()
    if "tie_word_embeddings" in written:  # says it of the head, whatever the language model's says
        written["text_config"].pop("tie_word_embeddings", None)
    whole = Config(json.loads(json.dumps(written)), "whole")
    short = Config({"model_type": kind, "text_config": text}, "short")
    assert _compared(spec_of(short), kind) == _compared(spec_of(whole), kind)
