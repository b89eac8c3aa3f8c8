"""What the fast tokenizer classes of transformers 4 do beyond tokenizer.json, as a table.

Published vectors were made with transformers 4, whose classes read tokenizer.json as it stands and
change little: special tokens that it lacks, a template of BOS and EOS, a leading space. Source: the
__init__ of each models/*/tokenization_*_fast.py of transformers 4.57.6, and
TOKENIZER_MAPPING_NAMES of models/auto/tokenization_auto.py. transformers 5 rebuilds the pipeline
from the class's name instead, which gives other ids.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class FastClass:
    """One class.

    defaults: special tokens where tokenizer_config.json does not name them, by role.
    extra: more special tokens that it always has.
    template: whether it replaces the post-processor by [BOS] text [EOS], by add_bos_token and
      add_eos_token; add_bos, add_eos are their values where tokenizer_config.json has none.
    prefix_space: how add_prefix_space changes the pre-tokenizer: "given" (a byte-level one that is
      the whole pre-tokenizer takes its value), "always" (as that, and false where it is not given),
      "nested" (as that, and true reaches those inside a sequence), "sentencepiece" (where it is
      given, SentencePiece's pipeline is set up anew, see `tokenizer_json`).
    wraps: whether it makes tokens that are plain strings into ones that win over those of
      tokenizer.json.
    merges: how it reads vocab.json with merges.txt: "gpt2", "qwen2", or "" for not here.
    """

    name: str
    defaults: Mapping[str, str] = field(default_factory=dict)
    extra: tuple[str, ...] = ()
    template: bool = False
    add_bos: bool = False
    add_eos: bool = False
    prefix_space: str = "always"
    wraps: bool = False
    merges: str = ""


def _tokens(bos: str, eos: str, unk: str, **others: str) -> dict[str, str]:
    named = {"bos_token": bos, "eos_token": eos, "unk_token": unk}
    return named | {f"{role}_token": token for role, token in others.items()}


_GPT2 = _tokens("<|endoftext|>", "<|endoftext|>", "<|endoftext|>")
_SPM = _tokens("<s>", "</s>", "<unk>")
_BERT_LIKE = _tokens("<s>", "</s>", "<unk>", sep="</s>", cls="<s>", pad="<pad>")

GENERIC = FastClass("PreTrainedTokenizer", prefix_space="given")
CLASSES = {
    one.name: one
    for one in (
        GENERIC,
        FastClass(
            "LlamaTokenizer", _SPM, template=True, add_bos=True, prefix_space="sentencepiece"
        ),
        FastClass(
            "CodeLlamaTokenizer",
            _SPM,
            extra=("▁<PRE>", "▁<MID>", "▁<SUF>", "▁<EOT>"),
            template=True,
            add_bos=True,
        ),
        FastClass(
            "GemmaTokenizer",
            _tokens("<bos>", "<eos>", "<unk>", pad="<pad>"),
            template=True,
            add_bos=True,
        ),
        FastClass(
            "CohereTokenizer",
            _tokens("<BOS_TOKEN>", "<|END_OF_TURN_TOKEN|>", "<UNK>"),
            template=True,
            add_bos=True,
            prefix_space="nested",
        ),
        # Code of the checkpoints (Baichuan*, InternLM*), which is Llama's read by SentencePiece.
        FastClass("BaichuanTokenizer", _SPM, template=True, add_bos=True),
        FastClass("InternLMTokenizer", _SPM, template=True, add_bos=True),
        FastClass("InternLM2Tokenizer", _SPM, template=True, add_bos=True),
        FastClass("GPTNeoXTokenizer", _GPT2, template=True),
        FastClass("GPT2Tokenizer", _GPT2, merges="gpt2"),
        FastClass("CodeGenTokenizer", _GPT2, merges="gpt2"),
        FastClass(
            "Qwen2Tokenizer",
            dict.fromkeys(("eos_token", "unk_token", "pad_token"), "<|endoftext|>"),
            wraps=True,
            merges="qwen2",
        ),
        FastClass(
            "BloomTokenizer", _tokens("<s>", "</s>", "<unk>", pad="<pad>"), prefix_space="nested"
        ),
        FastClass("OpenAIGPTTokenizer", {"unk_token": "<unk>"}),
        FastClass("XGLMTokenizer", _BERT_LIKE),
        FastClass("RobertaTokenizer", _BERT_LIKE | {"mask_token": "<mask>"}),
        FastClass("XLMRobertaTokenizer", _BERT_LIKE | {"mask_token": "<mask>"}),
    )
}

# By model_type of config.json, where tokenizer_config.json names no class. Types that are not here
# have the generic class.
_MODEL_TYPES = {
    "LlamaTokenizer": """arcee chameleon deepseek_v2 deepseek_v3 diffllama ernie4_5 ernie4_5_moe
        jamba jetmoe llama llama4 llama4_text ministral mistral mistral3 mixtral mllama persimmon
        phi3 phimoe zamba zamba2""",
    "CodeLlamaTokenizer": "code_llama",
    "GemmaTokenizer": """gemma gemma2 gemma3 gemma3_text gemma3n gemma3n_text recurrent_gemma
        shieldgemma2 t5gemma""",
    "CohereTokenizer": "cohere cohere2",
    "GPTNeoXTokenizer": """falcon_mamba gpt_neox mamba mamba2 mpt olmo olmo2 olmoe rwkv stablelm
        xlstm""",
    "GPT2Tokenizer": """dbrx emu3 exaone4 flex_olmo gpt2 gpt_bigcode gpt_neo gptj granite granitemoe
        granitemoehybrid granitemoeshared minimax olmo3 opt starcoder2""",
    "CodeGenTokenizer": "codegen phi",
    "Qwen2Tokenizer": "qwen2 qwen2_moe qwen2_vl qwen2_5_vl qwen3 qwen3_moe qwen3_next",
    "BloomTokenizer": "bloom",
    "OpenAIGPTTokenizer": "openai-gpt",
    "XGLMTokenizer": "xglm",
    "RobertaTokenizer": "data2vec-text ibert mega mra roberta roberta-prelayernorm",
    "XLMRobertaTokenizer": "xlm-roberta xlm-roberta-xl xmod",
}
_OF_TYPE = {kind: name for name, kinds in _MODEL_TYPES.items() for kind in kinds.split()}


# TokenizersBackend is what transformers 5 calls the generic class; the others are code of the
# checkpoints whose vocabulary `byte_pairs` reads.
_OTHERS = ("TokenizersBackend", "QWenTokenizer", "TikTokenTokenizer")


def fast_class(tokenizer_config: Mapping[str, Any], config: Mapping[str, Any]) -> FastClass:
    """The class that transformers 4 would choose: tokenizer_config.json's, else config.json's, else
    its model_type's; the generic one where transformers 4 knows none of that name."""
    name = tokenizer_config.get("tokenizer_class") or config.get("tokenizer_class")
    if not isinstance(name, str):
        name = _OF_TYPE.get(str(config.get("model_type")), "")
    return CLASSES.get(name.removesuffix("Fast"), GENERIC)


def is_known_class(name: Any) -> bool:
    """Whether a class that tokenizer_config.json names is one whose doings are known here, so that
    code of the checkpoint that bears its name is not needed."""
    return isinstance(name, str) and name.removesuffix("Fast") in {*CLASSES, *_OTHERS}
