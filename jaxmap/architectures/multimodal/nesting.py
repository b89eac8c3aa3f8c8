"""The page of a checkpoint of several modalities, from those of it and of its language model."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from functools import partial

from jaxmap.architectures import llama
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.multimodal.containers import Container
from jaxmap.architectures.multimodal.left_out import LEFT_OUT
from jaxmap.architectures.multimodal.text_types import text_types
from jaxmap.architectures.registry import families
from jaxmap.architectures.rows import Row
from jaxmap.errors import InputError
from jaxmap.model.spec import Spec

# Everything that is not of the language model.
_OTHER_PARTS = (
    r"^(model\.)?(vision_tower|vision_model|visual|multi_modal_projector|connector|qformer)\.",
    r"^(model\.)?(vit|vit_large_projector|mlp_AR|image_to_text_projection|(layerwise|spatial)_projectors)\.",
    r"^(model\.)?(vision|audio)_tokenizer\.",
    r"^(model\.)?(sam_model|qwen2_model|view_sep[ae]rator|density_router|vision_adapter)\b",
    r"^(model\.)?image_newline$",
    r"^(model\.)?(audio_tower|embed_vision|embed_audio)\.",
    r"^(model\.)?(vision_encoder|vision_proj\w*|vision_embed_tokens|high_res_vision_\w+)\b",
    r"^(model\.)?(aligner|merger|projector|visual_embeddings_table)\.",
    r"^(model\.)?(image_tower|video_tower|vqmodel|generation_(aligner|embeddings|head))\.",
    r"^(model\.)?(acoustic|semantic)_\w+\.",
)
# Keys beside a language model's at the top level of config.json.
_OF_PICTURES = """
    image_token_id video_token_id vision_config vision_end_token_id vision_start_token_id
    vision_token_id
""".split()


# What stands for the beginning of a language model's names of its own, such as `model.`, in files
# and in the memory of transformers; releases 5.10 to 5.23 doubled a part for models of sound.
_INSIDE = (
    "model.language_model.",
    "model.text_model.",
    "model.language_model.model.",
    "language_model.model.model.",
)


def _nested(prefix: str, within: tuple[str, ...], row: Row) -> Row:
    """A row of a language model under every name that it has beside other parts."""
    names: list[str] = []
    for name in (row.name, *row.other_names):
        rest = name.removeprefix(prefix)
        inside = [f"{start}{rest}" for start in _INSIDE] if rest != name else []
        names += [*inside, name, f"language_model.{name}", f"text_model.{name}"]
    names += [f"{start}{name}" for start in within for name in names]
    otherwise = None if row.otherwise is None else _nested(prefix, within, row.otherwise)
    return dataclasses.replace(
        row, name=names[0], other_names=tuple(names[1:]), otherwise=otherwise
    )


def _anywhere(pattern: str, within: tuple[str, ...]) -> str:
    """A regular expression for a language model's tensors, where these are beside other parts."""
    if not pattern.startswith("^"):
        return pattern
    starts = "|".join(re.escape(start) for start in (*_INSIDE, "language_model.", *within))
    own = pattern.removeprefix("^").removeprefix(r"model\.")
    return rf"^({starts})?(model\.)?{own}"


def _spec(text: Family, kind: str, container: Container, c: Config) -> Spec:
    objects = next((found for keys in container.text_keys if (found := c.path(keys))), [])
    if not objects:
        made = text.spec(c)
        c.inert(*_OF_PICTURES, *container.other_keys)
        return dataclasses.replace(made, tied=c.get("tie_word_embeddings", container.tied))
    *outer, nested = (c, *objects)
    said = [one.get("tie_word_embeddings") for one in reversed(outer)]
    tied = next((one for one in said if one is not None), container.tied)
    tied = tied or bool(nested.peek("tie_word_embeddings"))
    nested.inert("quantization_config")  # describes the numbers, not the architecture
    for key, value in {**LEFT_OUT.get(kind, {}), **container.left_out}.items():
        nested.assume(key, value)
    made = text.spec(nested)
    nested.check_all_read()
    c.inert(*c)
    return dataclasses.replace(made, tied=tied)


def _around(outer: str, container: Container, kind: str) -> Family:
    """The page of a checkpoint of type `outer` around a language model of type `kind`."""
    text = text_types().get(kind) or families().get(kind)
    if text is None or text.around is not None:
        raise InputError(f"{outer} around a language model of unknown type {kind!r}")
    within = container.within

    def rows(spec: Spec) -> Mapping[str, Row]:
        own = text.rows(spec)
        own = own if container.rows is None else container.rows(own)
        return {path: _nested(text.prefix, within, row) for path, row in own.items()}

    other_parts = (*_OTHER_PARTS, *container.other_parts)
    if within:
        starts = "|".join(re.escape(start) for start in within)
        other_parts = tuple(f"^({starts})?{part.removeprefix('^')}" for part in other_parts)
    return Family(
        text.paper,
        partial(_spec, text, kind, container),
        rows,
        text.prefix,
        (*(_anywhere(pattern, within) for pattern in text.inert_tensors), *other_parts),
        inert_by_size=text.inert_by_size,
        text_type=kind,
        text_keys=container.text_keys,
    )


def page(outer: str, container: Container) -> Family:
    """The page of checkpoints of type `outer`; `Family.around` completes it."""

    def spec(c: Config) -> Spec:
        raise AssertionError("a page of several modalities is asked through `around`")

    def rows(spec: Spec) -> Mapping[str, Row]:
        raise AssertionError("a page of several modalities is asked through `around`")

    return Family(
        container.paper,
        spec,
        rows,
        llama.PREFIX,
        (),
        text_type=container.text_type,
        text_keys=container.text_keys,
        around=partial(_around, outer, container),
    )
