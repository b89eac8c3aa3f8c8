"""Language models inside checkpoints of several modalities, scored as the text models they are.

Of config.json its `text_config` says what the language model is, under a type of its own; whatever
stands beside it is about pictures and how they become tokens. So are all tensors but the language
model's, whose names begin otherwise in every library and version; older Qwen2-VL files have
everything at the top level. aya_vision and cohere2_vision multiply logits by logit_scale, as their
language model does; transformers 5.23 leaves that out for these two types.

Where text_config does not say what the language model is, _PAGES does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from jaxmap.architectures import llama, qwen3_moe
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.registry import families
from jaxmap.architectures.rows import Row
from jaxmap.errors import InputError
from jaxmap.model.spec import Spec

# Everything that is not of the language model.
_OTHER_PARTS = (
    r"^(model\.)?(vision_tower|vision_model|visual|multi_modal_projector|connector|qformer)\.",
    r"^(model\.)?image_newline$",
    r"^(model\.)?(audio_tower|embed_vision|embed_audio)\.",
    r"^(model\.)?(vision_encoder|vision_proj\w*|vision_embed_tokens|high_res_vision_\w+)\b",
    r"^(model\.)?(aligner|merger|projector|visual_embeddings_table)\.",
    r"^(model\.)?(image_tower|video_tower|vqmodel|generation_(aligner|embeddings|head))\.",
    r"^(model\.)?(acoustic|semantic)_\w+\.",
)
# Beside a language model at the top level of config.json.
_OF_PICTURES = """
    image_token_id video_token_id vision_config vision_end_token_id vision_start_token_id
    vision_token_id
""".split()
# What files leave out because their writer's class has it as a default.
_LEFT_OUT: dict[str, dict[str, Any]] = {
    "llama": dict(
        hidden_size=4096,
        intermediate_size=11_008,
        num_hidden_layers=32,
        num_attention_heads=32,
        vocab_size=32_000,
        max_position_embeddings=2048,
    ),
    "mistral": dict(
        hidden_size=4096,
        intermediate_size=14_336,
        num_hidden_layers=32,
        num_attention_heads=32,
        vocab_size=32_000,
        max_position_embeddings=131_072,
    ),
}


def _qwen(kind: str, theta: float, eps: float, c: Config) -> Spec:
    """A Qwen text model with the defaults of its multimodal config."""
    c.assume("rope_theta", theta)
    c.assume("rms_norm_eps", eps)
    if kind == "qwen3_moe":
        c.require("norm_topk_prob", (True,), True)  # the reference does so whatever it says
        c.assume("norm_topk_prob", True)
    return families()[kind].spec(c)


def _transposed(spec: Spec) -> dict[str, Row]:
    """Qwen3-MoE with its experts in two tensors, inputs first, or last as transformers 5 saves."""
    experts = "model.layers.{l}.mlp.experts"
    found = qwen3_moe.rows(spec)
    for i, part in enumerate(("gate", "up")):
        name = f"{experts}.gate_up_proj"
        last = Row(name, "e (p f) d -> p e d f", (i, 2))
        row = Row(name, "e d (p f) -> p e d f", (i, 2), otherwise=last)
        found[f"blocks/mlp/expert_{part}/kernel"] = row
    last = Row(f"{experts}.down_proj", "e d f -> e f d")
    found["blocks/mlp/expert_down/kernel"] = Row(f"{experts}.down_proj", otherwise=last)
    return found


def _text(kind: str, spec: Callable[[Config], Spec], rows=None) -> Family:
    page = families()[kind]
    return dataclasses.replace(page, spec=spec, rows=rows or page.rows)


def _texts() -> dict[str, Family]:
    """Language models that exist inside these checkpoints only."""
    return {
        "qwen2_vl_text": _text("qwen2", partial(_qwen, "qwen2", 1e6, 1e-5)),
        "qwen2_5_vl_text": _text("qwen2", partial(_qwen, "qwen2", 1e6, 1e-5)),
        "qwen3_vl_text": _text("qwen3", partial(_qwen, "qwen3", 5e6, 1e-6)),
        "qwen3_vl_moe_text": _text(
            "qwen3_moe", partial(_qwen, "qwen3_moe", 5e6, 1e-6), _transposed
        ),
    }


def _nested(prefix: str, row: Row) -> Row:
    """A row of a language model under every name that it has beside other parts."""
    names: list[str] = []
    for name in (row.name, *row.other_names):
        rest = name.removeprefix(prefix)
        inside = [f"model.language_model.{rest}", f"model.text_model.{rest}"]
        names += [*(inside if rest != name else []), name, f"language_model.{name}"]
    otherwise = None if row.otherwise is None else _nested(prefix, row.otherwise)
    return dataclasses.replace(
        row, name=names[0], other_names=tuple(names[1:]), otherwise=otherwise
    )


def _spec(text: Family, kind: str, tied: bool, c: Config) -> Spec:
    nested = c.child("text_config")
    if nested is None:
        made = text.spec(c)
        c.inert(*_OF_PICTURES)
        return dataclasses.replace(made, tied=c.get("tie_word_embeddings", tied))
    tied = c.get("tie_word_embeddings", tied) or bool(nested.peek("tie_word_embeddings"))
    for key, value in _LEFT_OUT.get(kind, {}).items():
        nested.assume(key, value)
    made = text.spec(nested)
    nested.check_all_read()
    c.inert(*c)
    return dataclasses.replace(made, tied=tied)


def _around(outer: str, tied: bool, kind: str) -> Family:
    """The page of a checkpoint of type `outer` around a language model of type `kind`."""
    text = _texts().get(kind) or families().get(kind)
    if text is None or text.around is not None:
        raise InputError(f"{outer} around a language model of unknown type {kind!r}")

    def rows(spec: Spec) -> Mapping[str, Row]:
        return {path: _nested(text.prefix, row) for path, row in text.rows(spec).items()}

    return Family(
        text.paper,
        partial(_spec, text, kind, tied),
        rows,
        text.prefix,
        (*text.inert_tensors, *_OTHER_PARTS),
    )


def _page(paper: str, outer: str, text_type: str, *, tied: bool) -> Family:
    def spec(c: Config) -> Spec:
        raise AssertionError("a page of several modalities is asked through `around`")

    def rows(spec: Spec) -> Mapping[str, Row]:
        raise AssertionError("a page of several modalities is asked through `around`")

    around = partial(_around, outer, tied)
    return Family(paper, spec, rows, llama.PREFIX, (), text_type=text_type, around=around)


# type -> (paper, its language model, whether the head is the embedding unless config.json says)
_PAGES = {
    "aya_vision": ("Dash et al. 2025, arXiv:2505.08751", "cohere2", True),
    "cohere2_vision": ("Cohere 2025, Command A Vision", "cohere2", True),
    "deepseek_vl": ("Lu et al. 2024, arXiv:2403.05525", "llama", True),
    "deepseek_vl_hybrid": ("Lu et al. 2024, arXiv:2403.05525", "llama", True),
    "exaone4_5": ("LG AI Research 2026, EXAONE 4.5", "exaone4", False),
    "fast_vlm": ("Vasu et al. 2024, arXiv:2412.13303", "qwen2", False),
    "fuyu": ("Adept 2023, Fuyu-8B", "persimmon", False),
    "gemma3n": ("Google DeepMind 2025, Gemma 3n", "gemma3n_text", True),
    "gemma4": ("Google DeepMind 2026, Gemma 4", "gemma4_text", True),
    "glmasr": ("Z.ai 2025, GLM-ASR", "llama", True),
    "got_ocr2": ("Wei et al. 2024, arXiv:2409.01704", "qwen2", True),
    "hyperclovax_vision_v2": ("NAVER Cloud 2026, HyperCLOVA X", "hyperclovax", True),
    "idefics2": ("Laurençon et al. 2024, arXiv:2405.02246", "mistral", False),
    "idefics3": ("Laurençon et al. 2024, arXiv:2408.12637", "llama", False),
    "internvl": ("Zhu et al. 2025, arXiv:2504.10479", "qwen2", True),
    "janus": ("Chen et al. 2025, arXiv:2501.17811", "llama", True),
    "lfm2_vl": ("Liquid AI 2025, arXiv:2511.23404", "lfm2", True),
    "lighton_ocr": ("LightOn 2026, arXiv:2601.14251", "qwen3", True),
    "llama4": ("Meta 2025, Llama 4", "llama4_text", False),
    "llava": ("Liu et al. 2023, arXiv:2304.08485", "llama", False),
    "llava_next": ("Liu et al. 2024, LLaVA-NeXT", "llama", False),
    "llava_next_video": ("Zhang et al. 2024, LLaVA-NeXT-Video", "llama", False),
    "llava_onevision": ("Li et al. 2024, arXiv:2408.03326", "qwen2", False),
    "minicpm_ocr": ("OpenBMB 2026, MiniCPM-OCR", "qwen3_5_text", True),
    "minicpmv4_6": ("OpenBMB 2026, MiniCPM-V 4.6", "qwen3_5_text", False),
    "minicpmv4_7": ("OpenBMB 2026, MiniCPM-V 4.7", "qwen3_5_text", False),
    "mistral3": ("Mistral AI 2025, Mistral Small 3.1", "mistral", True),
    "moss_transcribe_diarize": ("MOSI 2026, MOSS Transcribe Diarize", "qwen3", True),
    "omniasr": ("Meta 2025, arXiv:2511.09690", "llama", False),
    "ovis2": ("Lu et al. 2024, arXiv:2405.20797", "qwen2", True),
    "pp_chart2table": ("PaddlePaddle 2025, PP-Chart2Table", "qwen2", True),
    "qwen2_5_vl": ("Bai et al. 2025, arXiv:2502.13923", "qwen2_5_vl_text", False),
    "qwen2_audio": ("Chu et al. 2024, arXiv:2407.10759", "qwen2", False),
    "qwen2_vl": ("Wang et al. 2024, arXiv:2409.12191", "qwen2_vl_text", False),
    "qwen3_asr": ("Shi et al. 2026, arXiv:2601.21337", "qwen3", True),
    "qwen3_vl": ("Bai et al. 2025, arXiv:2511.21631", "qwen3_vl_text", False),
    "qwen3_vl_moe": ("Bai et al. 2025, arXiv:2511.21631", "qwen3_vl_moe_text", False),
    "smolvlm": ("Marafioti et al. 2025, arXiv:2504.05299", "llama", False),
    "vibevoice_asr": ("Peng et al. 2026, arXiv:2601.18184", "qwen2", False),
    "video_llama_3": ("Zhang et al. 2025, arXiv:2501.13106", "qwen2", False),
    "video_llava": ("Lin et al. 2023, arXiv:2311.10122", "llama", False),
    "vipllava": ("Cai et al. 2023, arXiv:2312.00784", "llama", False),
    "voxtral": ("Liu et al. 2025, arXiv:2507.13264", "llama", False),
}
FAMILIES = {
    kind: _page(paper, kind, text_type, tied=tied)
    for kind, (paper, text_type, tied) in _PAGES.items()
}
