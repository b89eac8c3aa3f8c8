"""A table of what the fast tokenizer classes of transformers 4 add to tokenizer.json.

Published vectors were made with transformers 4, whose classes read tokenizer.json unchanged and
add little: missing special tokens, a template of BOS and EOS, a leading space. Source: the
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
    """One tokenizer class.

    Fields:
      name: the name of the class.
      defaults: special tokens by role, used if tokenizer_config.json does not name them.
      extra: further special tokens that it always has.
      template: whether it replaces the post-processor by [BOS] text [EOS], depending on
        add_bos_token and add_eos_token.
      add_bos, add_eos: the defaults of these two keys.
      prefix_space: how add_prefix_space changes the pre-tokenizer. "given": if the key is present,
        a byte-level pre-tokenizer that stands alone gets its value; "always": the same, with false
        as the default of the key; "nested": the same, and true also changes byte-level ones inside
        a sequence; "sentencepiece": if the key is present, SentencePiece's pipeline is built anew
        (see `tokenizer_json`).
      wraps: whether tokens that are plain strings replace those of tokenizer.json.
      merges: how it reads vocab.json with merges.txt: "gpt2" or "qwen2"; "": not supported.
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
        # Classes in the checkpoints' own code (Baichuan*, InternLM*), which read SentencePiece
        # models like Llama's.
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

# The class by model_type of config.json, used if tokenizer_config.json names none. Other types have
# the generic class.
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


# TokenizersBackend is the generic class in transformers 5; the others are classes in checkpoints'
# own code whose vocabulary `byte_pairs` reads.
_OTHERS = ("TokenizersBackend", "QWenTokenizer", "TikTokenTokenizer")


def fast_class(tokenizer_config: Mapping[str, Any], config: Mapping[str, Any]) -> FastClass:
    """The class that transformers 4 would choose.

    It is named by tokenizer_config.json, otherwise by config.json, otherwise by the model_type; the
    generic class if transformers 4 has none of that name.
    """
    name = tokenizer_config.get("tokenizer_class") or config.get("tokenizer_class")
    if not isinstance(name, str):
        name = _OF_TYPE.get(str(config.get("model_type")), "")
    return CLASSES.get(name.removesuffix("Fast"), GENERIC)


def is_known_class(name: Any) -> bool:
    """Whether a class named in tokenizer_config.json is in this table.

    Code in the checkpoint with the name of such a class is not needed.
    """
    return isinstance(name, str) and name.removesuffix("Fast") in {*CLASSES, *_OTHERS}
