"""The tokenizers of released models, rebuilt by their published structure on small vocabularies.

No hub is reachable from a test, so each entry has the pipeline (normalizer, pre-tokenizer,
post-processor, kind of model) of the tokenizer.json that a release ships, its tokenizer_config.json
as far as it can change an id, and a vocabulary of a few hundred entries. What transformers 4.57.6
makes of these folders is in tests/data/released_tokenizers.json, which this file writes when it is
run where that version is installed (tokenizers, sentencepiece and protobuf beside it; no torch):

    python tests/support/released_tokenizers.py tests/data/released_tokenizers.json
"""

from __future__ import annotations

import json
import struct
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WORDS = """the of and in were was text begins with space numbers 2023 2024 65 model map models one
point for each def return naïve 東京 don't it's This New York  double    four""".split(" ")
TEXTS = (
    "In 2023 and 2024 there were 650841823 of them.",
    " This text begins with a space.",
    "  two spaces, then    four, and one at the end ",
    "",
    " ",
    "\n\ndef f(x):\r\n\treturn x * x\n",
    "naïve 東京 don't it's 🙂 ﬁ e\u0301",
    "▁meta space and \u200f\u05e9\u05dc\u05d5\u05dd and NUL \x00",
    "<s> in a text</s> <|endoftext|>after<unk> [INST]x",
    "THE NEW YORK MODEL, 12.5% of it...",
)

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"
BYTE_LEVEL = {
    "type": "ByteLevel",
    "add_prefix_space": False,
    "trim_offsets": True,
    "use_regex": True,
}
BYTES_ONLY = BYTE_LEVEL | {"use_regex": False}
DIGITS = {"type": "Digits", "individual_digits": True}
NFC = {"type": "NFC"}
REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
PREPEND = {"type": "Prepend", "prepend": "▁"}


@dataclass(frozen=True)
class Released:
    """One entry.

    source: whose files have this structure. files: what writes the vocabulary into a folder.
    tokenizer_config, config: the JSON files; None: there is no such file. more: other JSON files.
    """

    name: str
    source: str
    files: Callable[[Path], None]
    tokenizer_config: dict[str, Any] | None
    model_type: str
    more: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> Path:
        """Writes the folder and returns it."""
        folder.mkdir(parents=True, exist_ok=True)
        self.files(folder)
        named = dict(self.more)
        if self.tokenizer_config is not None:
            named["tokenizer_config.json"] = self.tokenizer_config
        named["config.json"] = {"model_type": self.model_type}
        for name, content in named.items():
            (folder / name).write_text(json.dumps(content), "utf-8")
        return folder


def split(regex: str, behaviour: str = "Isolated") -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": behaviour, "invert": False}


def sequence(*steps: dict[str, Any], of: str = "pretokenizers") -> dict[str, Any]:
    return {"type": "Sequence", of: list(steps)}


def template(*parts: str, ids: dict[str, int]) -> dict[str, Any]:
    def piece(part: str) -> dict[str, Any]:
        if part == "$A":
            return {"Sequence": {"id": "A", "type_id": 0}}
        return {"SpecialToken": {"id": part, "type_id": 0}}

    return {
        "type": "TemplateProcessing",
        "single": [piece(part) for part in parts],
        "pair": [piece("$A"), {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {
            name: {"id": name, "ids": [number], "tokens": [name]} for name, number in ids.items()
        },
    }


def added(content: str, number: int, **fields: bool) -> dict[str, Any]:
    plain = dict(single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)
    return {"id": number, "content": content, **plain, **fields}


def byte_alphabet() -> list[str]:
    """GPT-2's letters for the 256 bytes, in the order of the bytes."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    letters = {byte: chr(byte) for byte in shown}
    letters |= {byte: chr(256 + n) for n, byte in enumerate(hidden)}
    return [letters[byte] for byte in range(256)]


def byte_bpe(first: Iterable[str] = ()) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges: `first`, the bytes, and every word of WORDS after a space or not."""
    letters = byte_alphabet()
    pieces, merges = [*first, *letters], []
    for word in WORDS:
        for text in (word, " " + word):
            shown = "".join(letters[byte] for byte in text.encode())
            for end in range(2, len(shown) + 1):
                pair = (shown[: end - 1], shown[end - 1 : end])
                if shown[:end] not in pieces:
                    pieces.append(shown[:end])
                    merges.append(pair)
    return {piece: number for number, piece in enumerate(pieces)}, merges


def meta_pieces() -> list[str]:
    """SentencePiece's pieces: 3 control ones, 256 bytes, words of WORDS, letters."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    words = ["▁" + word for word in WORDS] + list(WORDS)
    for word in words:
        for end in range(2, len(word) + 1):
            if word[:end] not in pieces and " " not in word:
                pieces.append(word[:end])
    pieces += ["▁▁", "▁▁▁▁"]
    letters = sorted({letter for word in words for letter in word} - {" "})
    return pieces + [letter for letter in letters if letter not in pieces]


def meta_bpe(pieces: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges as transformers' conversion makes them: every cut in two pieces, in
    order of the whole's rank."""
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    merges = [
        (piece[:cut], piece[cut:])
        for piece in pieces[259:]
        for cut in sorted(range(1, len(piece)), key=lambda c: vocabulary.get(piece[:c], 10**9))
        if piece[:cut] in vocabulary and piece[cut:] in vocabulary
    ]
    return vocabulary, merges


def tokenizer_json(
    model: dict[str, Any],
    *,
    normalizer: dict[str, Any] | None = None,
    pre_tokenizer: dict[str, Any] | None = None,
    post_processor: dict[str, Any] | None = None,
    added_tokens: Iterable[dict[str, Any]] = (),
) -> Callable[[Path], None]:
    state = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": list(added_tokens),
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": post_processor,
        "decoder": None,
        "model": model,
    }
    text = json.dumps(state, ensure_ascii=False)
    return lambda folder: (folder / "tokenizer.json").write_text(text, "utf-8") and None


def bytes_model(first: Iterable[str] = (), **fields: Any) -> dict[str, Any]:
    vocabulary, merges = byte_bpe(first)
    plain = dict(dropout=None, unk_token=None, fuse_unk=False, byte_fallback=False)
    affixes = dict(continuing_subword_prefix=None, end_of_word_suffix=None, ignore_merges=False)
    merged = [" ".join(pair) for pair in merges]
    return {"type": "BPE", **plain, **affixes, "vocab": vocabulary, "merges": merged, **fields}


def meta_model() -> dict[str, Any]:
    vocabulary, merges = meta_bpe(meta_pieces())
    plain = dict(dropout=None, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    affixes = dict(continuing_subword_prefix=None, end_of_word_suffix=None, ignore_merges=False)
    return {
        "type": "BPE",
        **plain,
        **affixes,
        "vocab": vocabulary,
        "merges": list(map(list, merges)),
    }


def varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


def sentencepiece_model(pieces: list[str], prefix: bool = True, user: Iterable[str] = ()) -> bytes:
    """A ModelProto: pieces with falling scores, BPE with byte fallback, identity normalization."""
    body, user = b"", set(user)
    for rank, piece in enumerate(pieces):
        kind = 2 if rank == 0 else 3 if rank < 3 else 6 if rank < 259 else 4 if piece in user else 1
        text = piece.encode()
        one = b"\x0a" + varint(len(text)) + text
        one += b"\x15" + struct.pack("<f", -float(rank)) + b"\x18" + varint(kind)
        body += b"\x0a" + varint(len(one)) + one
    trainer = b"\x18\x02" + b"\x98\x02\x01"  # 3 model_type: BPE; 35 byte_fallback: true
    normalizer = b"\x18" + bytes([prefix]) + b"\x20\x00"  # 3 dummy prefix; 4 no space removed
    return (
        body
        + b"\x12"
        + varint(len(trainer))
        + trainer
        + b"\x1a"
        + varint(len(normalizer))
        + normalizer
    )


def sentencepiece(**options: Any) -> Callable[[Path], None]:
    content = sentencepiece_model(meta_pieces(), **options)
    return lambda folder: (folder / "tokenizer.model").write_bytes(content) and None


def vocabulary_and_merges(first: Iterable[str] = ()) -> Callable[[Path], None]:
    vocabulary, merges = byte_bpe(first)

    def write(folder: Path) -> None:
        (folder / "vocab.json").write_text(json.dumps(vocabulary), "utf-8")
        lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
        (folder / "merges.txt").write_text("\n".join(lines) + "\n", "utf-8")

    return write


def both(*writers: Callable[[Path], None]) -> Callable[[Path], None]:
    return lambda folder: [write(folder) for write in writers] and None


def token(content: str, **fields: bool) -> dict[str, Any]:
    """A token as tokenizer_config.json of transformers 4.2x to 4.33 has it."""
    plain = dict(lstrip=False, normalized=True, rstrip=False, single_word=False)
    return {"__type": "AddedToken", "content": content, **plain, **fields}


def decoder(*tokens: dict[str, Any]) -> dict[str, Any]:
    """added_tokens_decoder, as tokenizer_config.json has it from 4.34 on."""
    return {str(one["id"]): {k: v for k, v in one.items() if k != "id"} for one in tokens}


END = ("<|endoftext|>",)
ENDS = dict(bos_token=END[0], eos_token=END[0], unk_token=END[0])
SPM = dict(bos_token="<s>", eos_token="</s>", unk_token="<unk>")
SPM_TOKENS = (added("<unk>", 0), added("<s>", 1), added("</s>", 2))
OLD_TOKENS = tuple({**one, "normalized": True} for one in SPM_TOKENS)
LLAMA = dict(
    normalizer=sequence(PREPEND, REPLACE, of="normalizers"),
    post_processor=template("<s>", "$A", ids={"<s>": 1}),
)
LLAMA_JSON = tokenizer_json(meta_model(), **LLAMA, added_tokens=SPM_TOKENS)
OLD_LLAMA_JSON = tokenizer_json(meta_model(), **LLAMA, added_tokens=OLD_TOKENS)
NEXT = len(byte_bpe(END)[0])  # the first id after a byte-level vocabulary with <|endoftext|>
MORE = len(meta_pieces())
RUNS = tuple(
    added(" " * (6 - n), NEXT + n, normalized=True, special=False) for n in range(5)
)  # runs of spaces
DEEPSEEK = ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>")
LLAMA3_TOKENS = ("<|begin_of_text|>", "<|end_of_text|>")
COHERE = ("<BOS_TOKEN>", "<|END_OF_TURN_TOKEN|>", "<UNK>")
GEMMA_SWAP = {"<unk>": "<pad>", "<s>": "<eos>", "</s>": "<bos>"}


def byte_json(first: Iterable[str] = END, model: dict | None = None, **parts: Any) -> Callable:
    first = tuple(first)
    tokens = [added(content, number) for number, content in enumerate(first)]
    tokens += parts.pop("more", ())
    parts.setdefault("post_processor", {**BYTE_LEVEL, "trim_offsets": False})
    return tokenizer_json(bytes_model(first, **(model or {})), added_tokens=tokens, **parts)


def gemma_json() -> Callable[[Path], None]:
    model = meta_model()
    names = {**GEMMA_SWAP}
    model["vocab"] = {names.get(piece, piece): n for piece, n in model["vocab"].items()}
    model["unk_token"] = "<pad>"
    return tokenizer_json(
        model,
        normalizer=REPLACE,
        pre_tokenizer={**split(" "), "pattern": {"String": " "}, "behavior": "MergedWithPrevious"},
        post_processor=template("<bos>", "$A", ids={"<bos>": 2}),
        added_tokens=[added("<pad>", 0), added("<eos>", 1), added("<bos>", 2)],
    )


RELEASED = (
    Released("gpt2", "openai-community/gpt2", byte_json(pre_tokenizer=BYTE_LEVEL), {}, "gpt2"),
    Released(
        "gpt2-files", "vocab.json and merges.txt alone", vocabulary_and_merges(END), {}, "gpt2"
    ),
    Released(
        "pythia",
        "EleutherAI/pythia-*, gpt-neox-20b; state-spaces/mamba-*-hf",
        byte_json(normalizer=NFC, pre_tokenizer=BYTE_LEVEL, more=RUNS),
        ENDS | dict(tokenizer_class="GPTNeoXTokenizer", add_prefix_space=False),
        "gpt_neox",
    ),
    Released(
        "neox-bos",
        "GPTNeoXTokenizerFast with its switch",
        byte_json(normalizer=NFC, pre_tokenizer=BYTE_LEVEL),
        ENDS | dict(tokenizer_class="GPTNeoXTokenizer", add_bos_token=True),
        "gpt_neox",
    ),
    Released(
        "olmo",
        "allenai/OLMo-*-hf",
        byte_json(normalizer=NFC, pre_tokenizer=BYTE_LEVEL),
        ENDS | dict(tokenizer_class="GPTNeoXTokenizer", add_bos_token=False, add_eos_token=False),
        "olmo",
    ),
    Released(
        "smollm2",
        "HuggingFaceTB/SmolLM2-*",
        byte_json(pre_tokenizer=sequence(DIGITS, BYTE_LEVEL)),
        ENDS | dict(tokenizer_class="GPT2Tokenizer", add_prefix_space=False, vocab_size=49152),
        "llama",
    ),
    Released(
        "starcoder2",
        "bigcode/starcoder2-*; ibm-granite/granite-*",
        byte_json(pre_tokenizer=sequence(DIGITS, BYTE_LEVEL)),
        ENDS | dict(tokenizer_class="GPT2Tokenizer"),
        "starcoder2",
    ),
    Released(
        "llama3",
        "meta-llama/Meta-Llama-3-*",
        byte_json(
            LLAMA3_TOKENS,
            model=dict(ignore_merges=True),
            pre_tokenizer=sequence(split(LLAMA3), BYTES_ONLY),
            post_processor=sequence(
                {**BYTE_LEVEL, "trim_offsets": False},
                template(LLAMA3_TOKENS[0], "$A", ids={LLAMA3_TOKENS[0]: 0}),
                of="processors",
            ),
        ),
        dict(
            tokenizer_class="PreTrainedTokenizerFast",
            bos_token=LLAMA3_TOKENS[0],
            eos_token=LLAMA3_TOKENS[1],
        ),
        "llama",
    ),
    Released(
        "qwen2",
        "Qwen/Qwen2*, Qwen/Qwen3*",
        byte_json(normalizer=NFC, pre_tokenizer=sequence(split(QWEN2), BYTES_ONLY)),
        dict(
            tokenizer_class="Qwen2Tokenizer",
            bos_token=None,
            eos_token=END[0],
            pad_token=END[0],
            unk_token=None,
            add_prefix_space=False,
            added_tokens_decoder=decoder(added(END[0], 0), added("<|im_start|>", NEXT)),
        ),
        "qwen2",
    ),
    Released(
        "qwen2-files",
        "vocab.json and merges.txt of Qwen/Qwen2*",
        vocabulary_and_merges(END),
        dict(tokenizer_class="Qwen2Tokenizer", eos_token=END[0], pad_token=END[0]),
        "qwen2",
    ),
    Released(
        "codeqwen",
        "Qwen/CodeQwen1.5-7B",
        tokenizer_json(
            meta_model(),
            normalizer=sequence(REPLACE, of="normalizers"),
            added_tokens=[*SPM_TOKENS, added("<fim_prefix>", MORE)],
        ),
        dict(
            tokenizer_class="Qwen2Tokenizer",
            bos_token="<s>",
            eos_token="</s>",
            unk_token="<unk>",
            pad_token="<unk>",
        ),
        "qwen2",
    ),
    Released(
        "falcon",
        "tiiuae/falcon-*",
        byte_json(
            pre_tokenizer=sequence(
                {"type": "Punctuation", "behavior": "Contiguous"},
                BYTE_LEVEL,
                {"type": "Digits", "individual_digits": False},
                split("[0-9][0-9][0-9]"),
            )
        ),
        dict(tokenizer_class="PreTrainedTokenizerFast", eos_token=END[0], add_prefix_space=False),
        "falcon",
    ),
    Released(
        "opt",
        "facebook/opt-*",
        vocabulary_and_merges(("<s>", "<pad>", "</s>", "<unk>")),
        dict(
            tokenizer_class="GPT2Tokenizer",
            bos_token=token("</s>"),
            eos_token=token("</s>"),
            unk_token=token("</s>"),
            pad_token=token("<pad>"),
            add_bos_token=True,
            add_prefix_space=False,
        ),
        "opt",
    ),
    Released(
        "bloom",
        "bigscience/bloom*",
        byte_json(
            ("<unk>", "<s>", "</s>", "<pad>"),
            pre_tokenizer=sequence(split(BLOOM), BYTES_ONLY),
        ),
        SPM | dict(tokenizer_class="BloomTokenizerFast", pad_token="<pad>", add_prefix_space=False),
        "bloom",
    ),
    Released(
        "bloom-prefix",
        "BloomTokenizerFast with add_prefix_space",
        byte_json(
            ("<unk>", "<s>", "</s>", "<pad>"),
            pre_tokenizer=sequence(split(BLOOM), BYTES_ONLY),
        ),
        SPM | dict(tokenizer_class="BloomTokenizerFast", add_prefix_space=True),
        "bloom",
    ),
    Released(
        "phi2",
        "microsoft/phi-1, phi-1_5, phi-2",
        byte_json(pre_tokenizer=BYTE_LEVEL, more=RUNS),
        ENDS
        | dict(
            tokenizer_class="CodeGenTokenizer",
            add_prefix_space=False,
            added_tokens_decoder=decoder(added(END[0], 0), *RUNS),
        ),
        "phi",
    ),
    Released(
        "deepseek",
        "deepseek-ai/deepseek-llm-*, deepseek-coder-*, DeepSeek-V2*",
        byte_json(
            DEEPSEEK,
            pre_tokenizer=sequence(
                split("[\r\n]"),
                split(r"\s?\p{L}+"),
                split(r"\s?\p{P}+"),
                split("[一-龥ࠀ-一가-퟿]+"),
                DIGITS,
                BYTES_ONLY,
            ),
        ),
        dict(
            tokenizer_class="LlamaTokenizerFast",
            bos_token=token(DEEPSEEK[0]),
            eos_token=token(DEEPSEEK[1]),
            pad_token=token(DEEPSEEK[1]),
            unk_token=None,
            add_bos_token=True,
            add_eos_token=False,
            legacy=True,
        ),
        "llama",
    ),
    Released(
        "command-r",
        "CohereForAI/c4ai-command-r-*",
        byte_json(
            COHERE,
            normalizer=NFC,
            pre_tokenizer=sequence(DIGITS, BYTE_LEVEL),
            post_processor=template(COHERE[0], "$A", ids={COHERE[0]: 0}),
        ),
        dict(
            tokenizer_class="CohereTokenizerFast",
            bos_token=COHERE[0],
            eos_token=COHERE[1],
            unk_token=None,
            add_bos_token=True,
            add_eos_token=False,
            add_prefix_space=False,
        ),
        "cohere",
    ),
    Released(
        "command-r-eos",
        "CohereTokenizerFast with its other switches",
        byte_json(COHERE, normalizer=NFC, pre_tokenizer=sequence(DIGITS, BYTE_LEVEL)),
        dict(
            tokenizer_class="CohereTokenizerFast",
            add_bos_token=False,
            add_eos_token=True,
            add_prefix_space=True,
        ),
        "cohere",
    ),
    Released(
        "nemo",
        "mistralai/Mistral-Nemo-*",
        byte_json(
            ("<unk>", "<s>", "</s>", "[INST]"),
            model=dict(ignore_merges=True),
            pre_tokenizer=sequence(split(TEKKEN), BYTES_ONLY),
            post_processor=template("<s>", "$A", ids={"<s>": 1}),
        ),
        SPM | dict(tokenizer_class="PreTrainedTokenizerFast", add_bos_token=True),
        "mistral",
    ),
    Released(
        "llama2",
        "meta-llama/Llama-2-*",
        LLAMA_JSON,
        dict(
            tokenizer_class="LlamaTokenizer",
            bos_token=token("<s>", normalized=False),
            eos_token=token("</s>", normalized=False),
            unk_token=token("<unk>", normalized=False),
            pad_token=None,
            add_bos_token=True,
            add_eos_token=False,
            legacy=False,
        ),
        "llama",
    ),
    Released(
        "llama1",
        "huggyllama/llama-7b, lmsys/vicuna-*",
        OLD_LLAMA_JSON,
        dict(
            tokenizer_class="LlamaTokenizer",
            bos_token=token("<s>"),
            eos_token=token("</s>"),
            unk_token=token("<unk>"),
            add_bos_token=True,
            add_eos_token=False,
        ),
        "llama",
        {"special_tokens_map.json": {"bos_token": "<s>", "pad_token": "<unk>"}},
    ),
    Released(
        "llama-no-bos",
        "01-ai/Yi-*: the switch against the post-processor",
        LLAMA_JSON,
        SPM | dict(tokenizer_class="LlamaTokenizer", add_bos_token=False, add_eos_token=False),
        "llama",
    ),
    Released(
        "llama-default-bos",
        "LlamaTokenizer that says nothing of BOS, nor does its post-processor",
        tokenizer_json(meta_model(), normalizer=LLAMA["normalizer"], added_tokens=SPM_TOKENS),
        SPM | dict(tokenizer_class="LlamaTokenizer"),
        "llama",
    ),
    Released(
        "llama-eos",
        "fine-tunes saved with add_eos_token",
        LLAMA_JSON,
        SPM | dict(tokenizer_class="LlamaTokenizerFast", add_bos_token=True, add_eos_token=True),
        "llama",
    ),
    Released(
        "llama-added",
        "fine-tunes with added_tokens.json and a new pad token",
        LLAMA_JSON,
        SPM | dict(tokenizer_class="LlamaTokenizer", pad_token="[PAD]", legacy=True),
        "llama",
        {
            "added_tokens.json": {"[PAD]": MORE, "[INST]": MORE + 1},
            "special_tokens_map.json": {**SPM, "additional_special_tokens": ["[INST]"]},
        },
    ),
    Released(
        "mistral-type",
        "mistralai/Mistral-7B-v0.1, without a class: by model_type",
        LLAMA_JSON,
        SPM | dict(add_bos_token=True, added_tokens_decoder=decoder(*SPM_TOKENS)),
        "mistral",
    ),
    Released(
        "mistral-v3",
        "mistralai/Mistral-7B-v0.3: add_prefix_space, with tokenizer.model",
        both(LLAMA_JSON, sentencepiece()),
        SPM
        | dict(
            tokenizer_class="LlamaTokenizer",
            add_bos_token=True,
            add_prefix_space=True,
            legacy=False,
            added_tokens_decoder=decoder(*SPM_TOKENS, added("[INST]", MORE)),
        ),
        "mistral",
    ),
    Released(
        "llama-no-prefix",
        "add_prefix_space=False with tokenizer.model",
        both(LLAMA_JSON, sentencepiece()),
        SPM | dict(tokenizer_class="LlamaTokenizer", add_prefix_space=False, legacy=True),
        "llama",
    ),
    Released(
        "phi3",
        "microsoft/Phi-3-mini-*",
        tokenizer_json(
            meta_model(),
            **LLAMA,
            added_tokens=[
                *SPM_TOKENS[:2],
                added("</s>", 2, rstrip=True, special=False),
                added("[INST]", MORE, rstrip=True),
            ],
        ),
        dict(
            tokenizer_class="LlamaTokenizer",
            bos_token="<s>",
            eos_token="<|endoftext|>",
            unk_token="<unk>",
            pad_token="<|endoftext|>",
            add_bos_token=False,
            add_eos_token=False,
            legacy=False,
            added_tokens_decoder=decoder(
                *SPM_TOKENS[:2],
                added("</s>", 2, rstrip=True, special=False),
                added("[INST]", MORE, rstrip=True),
                added("<|endoftext|>", MORE + 1),
            ),
        ),
        "phi3",
    ),
    Released(
        "codellama",
        "codellama/CodeLlama-*",
        LLAMA_JSON,
        SPM | dict(tokenizer_class="CodeLlamaTokenizer", add_bos_token=True, add_eos_token=False),
        "llama",
    ),
    Released(
        "gemma",
        "google/gemma-*",
        gemma_json(),
        dict(
            tokenizer_class="GemmaTokenizer",
            bos_token="<bos>",
            eos_token="<eos>",
            pad_token="<pad>",
            unk_token="<pad>",
            add_bos_token=True,
            add_eos_token=False,
        ),
        "gemma2",
    ),
    Released(
        "open-llama",
        "openlm-research/open_llama_*: tokenizer.model alone",
        sentencepiece(),
        SPM | dict(tokenizer_class="LlamaTokenizer", add_bos_token=True, add_eos_token=False),
        "llama",
    ),
    Released(
        "split-special",
        "split_special_tokens",
        LLAMA_JSON,
        SPM | dict(tokenizer_class="LlamaTokenizer", split_special_tokens=True),
        "llama",
    ),
    Released(
        "generic-prefix",
        "PreTrainedTokenizerFast with add_prefix_space",
        byte_json(pre_tokenizer=BYTE_LEVEL),
        dict(tokenizer_class="PreTrainedTokenizerFast", add_prefix_space=True),
        "llama",
    ),
    Released(
        "named-prefix",
        "a byte-level space before the text that the class does not ask for",
        byte_json(pre_tokenizer=BYTE_LEVEL | {"add_prefix_space": True}),
        ENDS | dict(tokenizer_class="Qwen2Tokenizer"),
        "qwen2",
    ),
    Released(
        "fields-of-decoder",
        "added_tokens_decoder with other fields than tokenizer.json and the named tokens",
        LLAMA_JSON,
        dict(
            tokenizer_class="LlamaTokenizer",
            bos_token=token("<s>", rstrip=True),
            eos_token="</s>",
            unk_token=None,
            legacy=True,
            added_tokens_decoder=decoder(
                SPM_TOKENS[0],
                added("<s>", 1, lstrip=True),
                added("</s>", 2, rstrip=True, special=False),
                added("[INST]", MORE, single_word=True, normalized=True, special=False),
            ),
        ),
        "llama",
    ),
    Released(
        "fields-of-map",
        "special_tokens_map.json against tokenizer_config.json",
        byte_json(("<unk>", "<s>", "</s>"), pre_tokenizer=BYTE_LEVEL),
        SPM | dict(tokenizer_class="GPT2Tokenizer", additional_special_tokens=["[INST]"]),
        "gpt2",
        {
            "special_tokens_map.json": {
                "bos_token": token("<s>", rstrip=True),
                "pad_token": token("<|endoftext|>", lstrip=True, normalized=False),
                "additional_special_tokens": [token("after", lstrip=True)],
            },
            "added_tokens.json": {"[INST]": NEXT + 2},
        },
    ),
    Released(
        "extra-special",
        "additional_special_tokens that tokenizer.json lacks",
        byte_json(pre_tokenizer=BYTE_LEVEL),
        ENDS | dict(tokenizer_class="GPT2Tokenizer", additional_special_tokens=["[INST]", "<s>"]),
        "gpt2",
    ),
)


def main(path: str) -> None:
    """Writes what transformers 4 makes of every entry."""
    import tokenizers
    import transformers
    from transformers import AutoTokenizer

    found: dict[str, Any] = {
        "how": "python tests/support/released_tokenizers.py PATH",
        "versions": {
            "transformers": transformers.__version__,
            "tokenizers": tokenizers.__version__,
        },
        "ids": {},
    }
    for one in RELEASED:
        with tempfile.TemporaryDirectory() as folder:
            tokenizer = AutoTokenizer.from_pretrained(str(one.write(Path(folder))))
            assert tokenizer.is_fast
            found["ids"][one.name] = [tokenizer(text)["input_ids"] for text in TEXTS]
    lines = [f' "{name}": {json.dumps(ids)}' for name, ids in found.pop("ids").items()]
    text = json.dumps(found)[:-1] + ', "ids": {\n' + ",\n".join(lines) + "\n}}\n"
    Path(path).write_text(text, "utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
