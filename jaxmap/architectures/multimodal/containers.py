"""Types of whole checkpoints that contain a language model beside other parts.

aya_vision and cohere2_vision multiply logits by logit_scale, and granite_speech divides them by
logits_scaling, as their language models do; transformers 5.24 leaves that out for these types.
Older Qwen2-VL files have the keys of the language model at the top level of config.json.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from jaxmap.architectures.multimodal.own_rows import also_named, nemo_rows, renamed_by
from jaxmap.architectures.rows import Row


@dataclasses.dataclass(frozen=True)
class Container:
    """One `model_type` of a config.json that describes a language model beside other parts.

    Fields:
      paper: the paper to cite.
      text_type: the type of the language model where text_config names none.
      tied: whether the head is the embedding where config.json does not say.
      other_parts: regular expressions for names of tensors that are not the language model's,
        beside those that `nesting` knows for all containers.
      left_out: values of keys that text_config lacks, where they are not those of `LEFT_OUT`.
      other_keys: further keys beside a language model's at the top level of config.json.
      text_keys: where config.json has the language model's object, see `Family`.
      within: beginnings that all names of tensors, or none, may have.
      rows: from the rows of the language model's page to those of this type, where its own files
        lay tensors out differently.
    """

    paper: str
    text_type: str
    tied: bool = True
    other_parts: tuple[str, ...] = ()
    left_out: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    other_keys: tuple[str, ...] = ()
    text_keys: tuple[str, ...] = ("text_config",)
    within: tuple[str, ...] = ()
    rows: Callable[[Mapping[str, Row]], Mapping[str, Row]] | None = None


# Files of these two leave out what the whole checkpoint's class has as a default.
_GLM_ASR = dict(
    vocab_size=59_264,
    hidden_size=2048,
    intermediate_size=6144,
    num_hidden_layers=28,
    num_attention_heads=16,
    num_key_value_heads=4,
    max_position_embeddings=8192,
    rms_norm_eps=1e-5,
)
_VOXTRAL = dict(
    vocab_size=131_072,
    hidden_size=3072,
    intermediate_size=8192,
    num_hidden_layers=30,
    num_key_value_heads=8,
    max_position_embeddings=131_072,
    rms_norm_eps=1e-5,
    rope_theta=1e8,
    head_dim=128,
)


# PaddleOCR-VL's own config.json, which has the language model's keys at the top level.
_OF_PADDLEOCR = tuple(
    """
    compression_ratio hidden_dropout_prob ignored_index rope_is_neox_style use_3d_rope
    weight_share_add_bias
    """.split()
)


def _granite(paper: str) -> Container:
    """Granite with an encoder of speech; the adapter beside it is only active with sound."""
    return Container(paper, "granite", other_parts=(r"^(model\.)?encoder\.",))


def _omni(paper: str, text_type: str) -> Container:
    """The thinker of a model that also speaks; whatever makes sound is left out."""
    return Container(
        paper,
        text_type,
        tied=False,
        other_parts=(r"^(talker|token2wav|code2wav)\.",),
        text_keys=("thinker_config.text_config", "text_config"),
        within=("thinker.",),
    )


# Cosmos 3's files have the names of diffusers, at the top level.
_COSMOS_NAMES = (
    (r"^model\.", ""),
    (r"\.self_attn\.([qkv])_proj\.", r".self_attn.to_\1."),
    (r"\.self_attn\.o_proj\.", ".self_attn.to_out."),
    (r"\.self_attn\.([qk])_norm\.", r".self_attn.norm_\1."),
    (r"\.mlp\.fc1\.", ".mlp.up_proj."),
    (r"\.mlp\.fc2\.", ".mlp.down_proj."),
)
# Generators of pictures, sound and movements, which share the language model's layers.
_COSMOS_PARTS = (
    r"_moe_gen\.|\.(add_[qkv]_proj|to_add_out|norm_added_[qk]|k_norm_und_for_gen)\.",
    r"^((audio|action)_)?proj_(in|out)\.|^time_embedder\.|^(audio|action)_modality_embed$",
    r"^(blocks|merger|patch_embed|pos_embed|deepstack_merger_list)\.",
)
CONTAINERS = {
    "audioflamingo3": Container("Goel et al. 2025, arXiv:2507.08128", "qwen2", tied=False),
    "aria": Container("Li et al. 2024, arXiv:2410.05993", "aria_text", tied=False),
    "apertus1p5": Container("Swiss AI Initiative 2026, Apertus 1.5", "apertus1p5_text", tied=False),
    "aya_vision": Container("Dash et al. 2025, arXiv:2505.08751", "cohere2"),
    "cohere_compass": Container("Cohere 2026, Compass", "cohere_compass_text", tied=False),
    "cosmos3_edge": Container(
        "NVIDIA 2026, Cosmos 3",
        "cosmos3_edge_text",
        tied=False,
        other_parts=_COSMOS_PARTS,
        rows=partial(renamed_by, _COSMOS_NAMES),
    ),
    "cosmos3_omni": Container(
        "NVIDIA 2026, Cosmos 3",
        "qwen3_vl_text",
        tied=False,
        other_parts=_COSMOS_PARTS,
        rows=partial(renamed_by, _COSMOS_NAMES),
    ),
    "cohere2_vision": Container("Cohere 2025, Command A Vision", "cohere2"),
    "deepseek_ocr2": Container(
        "DeepSeek-AI 2026, arXiv:2601.20552", "deepseek_ocr2_text", tied=False
    ),
    "emu3": Container("Wang et al. 2024, arXiv:2409.18869", "emu3_text_model", tied=False),
    "ernie4_5_vl_moe": Container(
        "ERNIE Team, Baidu 2025, ERNIE 4.5",
        "ernie4_5_vl_moe_text",
        other_parts=(r"^model\.resampler_model\.",),
    ),
    "deepseek_vl": Container("Lu et al. 2024, arXiv:2403.05525", "llama"),
    "deepseek_vl_hybrid": Container("Lu et al. 2024, arXiv:2403.05525", "llama"),
    "exaone4_5": Container("LG AI Research 2026, EXAONE 4.5", "exaone4", tied=False),
    "fast_vlm": Container("Vasu et al. 2024, arXiv:2412.13303", "qwen2", tied=False),
    "fuyu": Container("Adept 2023, Fuyu-8B", "persimmon", tied=False),
    "fun_asr_nano": Container("An et al. 2025, arXiv:2509.12508", "qwen3"),
    "gemma3n": Container("Google DeepMind 2025, Gemma 3n", "gemma3n_text"),
    "gemma4": Container("Google DeepMind 2026, Gemma 4", "gemma4_text"),
    "gemma4_unified": Container(
        "Google DeepMind 2026, Gemma 4",
        "gemma4_unified_text",
        True,
        (r"^(model\.)?vision_embedder\.",),
    ),
    "glm5_next": Container("GLM-5 Team 2026, GLM-5.3-Flash", "glm5_next_text", tied=False),
    "glmasr": Container("Z.ai 2025, GLM-ASR", "llama", left_out=_GLM_ASR),
    "glm46v": Container("Z.ai 2025, GLM-4.6V", "glm4v_text", tied=False),
    "glm4v": Container("Z.ai 2025, arXiv:2507.01006", "glm4v_text", tied=False),
    "glm4v_moe": Container("Z.ai 2025, arXiv:2507.01006", "glm4v_moe_text", tied=False),
    "glm_ocr": Container("Z.ai 2026, GLM-OCR", "glm_ocr_text", tied=False),
    "got_ocr2": Container("Wei et al. 2024, arXiv:2409.01704", "qwen2"),
    "glmga": Container("Z.ai 2026, GLM-GA", "glm4v_text", tied=False),
    "granite4_vision": Container(
        "Granite Team 2026, Granite 4 Vision", "granite4_vision_text", tied=False
    ),
    "granite_docling": Container("Granite Team 2026, Granite Docling", "granite_docling_text"),
    "hunyuan_vl": Container("Tencent Hunyuan Team 2025, HunyuanOCR", "hunyuan_vl_text"),
    "granite_speech": _granite("Saon et al. 2025, arXiv:2505.08699"),
    "granite_speech_plus": _granite("IBM 2026, Granite Speech Plus"),
    "hy_v4_vl": Container(
        "Tencent Hunyuan 2026, Hy4", "hy_v4_vl_text", tied=False, other_parts=(r"^(model\.)?vit\.",)
    ),
    "hyperclovax_vision_v2": Container("NAVER Cloud 2026, HyperCLOVA X", "hyperclovax"),
    "idefics2": Container("Laurençon et al. 2024, arXiv:2405.02246", "mistral", tied=False),
    "idefics3": Container("Laurençon et al. 2024, arXiv:2408.12637", "llama", tied=False),
    "internvl": Container("Zhu et al. 2025, arXiv:2504.10479", "qwen2"),
    "internvl_chat": Container(  # OpenGVLab's own files, from InternVL-Chat to InternVL 3.5
        "Zhu et al. 2025, arXiv:2504.10479",
        "qwen2",
        tied=False,
        other_parts=(r"^mlp1\.",),
        text_keys=("llm_config",),
    ),
    "janus": Container("Chen et al. 2025, arXiv:2501.17811", "llama"),
    "kimi_k25": Container(
        "Kimi Team 2026, arXiv:2602.02276",
        "deepseek_v3",
        other_parts=(r"^(model\.)?mm_projector\.",),
        rows=partial(also_named, "model.layers.", "model.blocks."),
    ),
    "kosmos-2": Container("Peng et al. 2023, arXiv:2306.14824", "kosmos_2_text_model"),
    "kosmos-2.5": Container("Lv et al. 2023, arXiv:2309.11419", "kosmos_2_5_text_model"),
    "lfm2_vl": Container("Liquid AI 2025, arXiv:2511.23404", "lfm2"),
    "lfm3_vl": Container("Liquid AI 2026, LFM3-VL", "lfm3"),
    "lighton_ocr": Container("LightOn 2026, arXiv:2601.14251", "qwen3"),
    "llama4": Container("Meta 2025, Llama 4", "llama4_text", tied=False),
    "llava": Container("Liu et al. 2023, arXiv:2304.08485", "llama", tied=False),
    "llava_next": Container("Liu et al. 2024, LLaVA-NeXT", "llama", tied=False),
    "llava_next_video": Container("Zhang et al. 2024, LLaVA-NeXT-Video", "llama", tied=False),
    "llava_onevision": Container("Li et al. 2024, arXiv:2408.03326", "qwen2", tied=False),
    "minicpm_ocr": Container("OpenBMB 2026, MiniCPM-OCR", "qwen3_5_text"),
    "minicpmv4_6": Container("OpenBMB 2026, MiniCPM-V 4.6", "qwen3_5_text", tied=False),
    "minicpmv4_7": Container("OpenBMB 2026, MiniCPM-V 4.7", "qwen3_5_text", tied=False),
    "minimax_m3_vl": Container(
        "MiniMax 2026, MiniMax-M3", "minimax_m3_vl_text", False, (r"^patch_merge_mlp\.",)
    ),
    "mistral3": Container("Mistral AI 2025, Mistral Small 3.1", "mistral"),
    "mllama": Container(
        "Grattafiori et al. 2024, arXiv:2407.21783", "mllama_text_model", tied=False
    ),
    "molmo2": Container(
        "Clark et al. 2026, arXiv:2601.10611",
        "molmo2_text",
        tied=False,
        other_parts=(r"^model\.vision_backbone\.",),
    ),
    "moss_transcribe_diarize": Container("MOSI 2026, MOSS Transcribe Diarize", "qwen3"),
    "musicflamingo": Container("Ghosh et al. 2025, arXiv:2511.10289", "qwen2", tied=False),
    "nemo_speechlm": Container(
        "NVIDIA 2026, Nemotron 3.5 Transcribe",
        "nemotron_h",
        tied=False,
        other_parts=(
            r"^(perception|ctc_timestamp|(model\.)?word_timestamp_(encoder|head))\.",
            r"\._extra_state$",
        ),
        within=("llm.",),
        rows=nemo_rows,
    ),
    "nemotron_h_omni": Container(
        "NVIDIA 2026, Nemotron 3 Nano Omni",
        "nemotron_h",
        tied=False,
        other_parts=(r"^(mlp1|sound_encoder|sound_projection|vision_final_layernorm)\.",),
        text_keys=("text_config", "llm_config"),
    ),
    "muse_glimmer": Container("Meta 2026, Muse Glimmer", "muse_glimmer_text", tied=False),
    "omniasr": Container("Meta 2025, arXiv:2511.09690", "llama", tied=False),
    "ovis2": Container("Lu et al. 2024, arXiv:2405.20797", "qwen2"),
    "paddleocr_vl": Container(
        "Cui et al. 2025, arXiv:2510.14528",
        "paddleocr_vl_text",
        other_keys=_OF_PADDLEOCR,
    ),
    "perception_lm": Container("Cho et al. 2025, arXiv:2504.13180", "llama", tied=False),
    "pp_chart2table": Container("PaddlePaddle 2025, PP-Chart2Table", "qwen2"),
    "qianfan_ocr": Container(
        "Baidu 2026, Qianfan-OCR",
        "qwen3",
        tied=False,
        other_parts=(r"^mlp1\.",),
        text_keys=("text_config", "llm_config"),
        rows=partial(also_named, "model.layers.", "model.encoder.layers."),
    ),
    "qwen2_5_omni": _omni("Xu et al. 2025, arXiv:2503.20215", "qwen2_5_omni_text"),
    "qwen2_5_omni_thinker": _omni("Xu et al. 2025, arXiv:2503.20215", "qwen2_5_omni_text"),
    "qwen2_5_vl": Container("Bai et al. 2025, arXiv:2502.13923", "qwen2_5_vl_text", tied=False),
    "qwen2_audio": Container("Chu et al. 2024, arXiv:2407.10759", "qwen2", tied=False),
    "qwen2_vl": Container("Wang et al. 2024, arXiv:2409.12191", "qwen2_vl_text", tied=False),
    "qwen3_asr": Container(
        "Shi et al. 2026, arXiv:2601.21337",
        "qwen3",
        text_keys=("text_config", "thinker_config.text_config"),
        within=("thinker.",),
    ),
    "qwen3_omni_moe": _omni("Xu et al. 2025, arXiv:2509.17765", "qwen3_omni_moe_text"),
    "qwen3_omni_moe_thinker": _omni("Xu et al. 2025, arXiv:2509.17765", "qwen3_omni_moe_text"),
    "qwen3_vl": Container("Bai et al. 2025, arXiv:2511.21631", "qwen3_vl_text", tied=False),
    "qwen4_exp": Container("Qwen Team 2026, Qwen4-Exp", "qwen4_exp_text", tied=False),
    "qwen3_vl_moe": Container("Bai et al. 2025, arXiv:2511.21631", "qwen3_vl_moe_text", tied=False),
    "smolvlm": Container("Marafioti et al. 2025, arXiv:2504.05299", "llama", tied=False),
    "step3p7": Container("StepFun 2026, Step 3.7", "step3p5", tied=False),
    "unlimited_ocr": Container("Baidu 2026, Unlimited-OCR", "unlimited_ocr_text", tied=False),
    "vibevoice_asr": Container("Peng et al. 2026, arXiv:2601.18184", "qwen2", tied=False),
    "video_llama_3": Container("Zhang et al. 2025, arXiv:2501.13106", "qwen2", tied=False),
    "video_llava": Container("Lin et al. 2023, arXiv:2311.10122", "llama", tied=False),
    "vipllava": Container("Cai et al. 2023, arXiv:2312.00784", "llama", tied=False),
    "voxtral": Container(
        "Liu et al. 2025, arXiv:2507.13264", "llama", tied=False, left_out=_VOXTRAL
    ),
}
