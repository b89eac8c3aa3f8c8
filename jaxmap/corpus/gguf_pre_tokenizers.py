"""How a byte-level tokenizer cuts a text into words, by tokenizer.ggml.pre of a GGUF.

The value names the model whose tokenizer.json it was found in; the pieces are those of that file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Words:
    """One way.

    Fields:
      patterns: regular expressions whose matches are words of their own, one after another.
      of_gpt2: whether GPT-2's own expression cuts too.
      nfc: whether the text is brought into Unicode's normal form C first.
      digits: whether each digit is a word.
      falcon: Falcon's: punctuation, GPT-2's, digits, threes of digits.
      ignore_merges: whether a word that is a token is taken whole.
      bos: whether BOS goes before a text where the metadata do not say.
    """

    patterns: tuple[str, ...] = ()
    of_gpt2: bool = False
    nfc: bool = False
    digits: bool = False
    falcon: bool = False
    ignore_merges: bool = False
    bos: bool = False

    def around(self, level: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The pre-tokenizers of a tokenizer.json; `level` is the byte-level one."""
        if self.falcon:
            return [
                {"type": "Punctuation", "behavior": "Contiguous"},
                dict(level),
                {"type": "Digits", "individual_digits": False},
                _split("[0-9][0-9][0-9]"),
            ]
        parts = [_split(pattern) for pattern in self.patterns]
        if self.digits:
            parts.append({"type": "Digits", "individual_digits": True})
        return [*parts, dict(level)]


def _split(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


_ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA3 = rf"{_ENDINGS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}{_REST}"
_QWEN2 = rf"{_ENDINGS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{_REST}"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_SLASHED = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def _cased(ending: str, numbers: str) -> str:
    """Words as their capitals cut them."""
    first = r"[^\r\n\p{L}\p{N}]?"
    return (
        rf"{first}{_UPPER}*{_LOWER}+{ending}|{first}{_UPPER}+{_LOWER}*{ending}|{numbers}{_SLASHED}"
    )


_GPT2, _DIGITS = Words(of_gpt2=True), Words(of_gpt2=True, digits=True)
_NEOX = Words(of_gpt2=True, nfc=True)

WORDS: Mapping[str, Words] = {
    "gpt-2": _GPT2,
    "phi-2": _GPT2,
    "mpt": _NEOX,
    "olmo": _NEOX,
    "smollm": _DIGITS,
    "starcoder": _DIGITS,
    "refact": _DIGITS,
    "command-r": Words(of_gpt2=True, digits=True, nfc=True),
    "falcon": Words(of_gpt2=True, falcon=True),
    "bloom": Words((r" ?[^(\s|[.,!?…。，、।۔،])]+",)),
    "llama-bpe": Words((_LLAMA3,), ignore_merges=True, bos=True),
    "llama3": Words((_LLAMA3,), ignore_merges=True, bos=True),
    "llama-v3": Words((_LLAMA3,), ignore_merges=True, bos=True),
    "dbrx": Words((_LLAMA3,)),
    "glm4": Words((_LLAMA3,)),
    "chatglm-bpe": Words((_LLAMA3,)),
    "smaug-bpe": Words((_LLAMA3,)),
    "qwen2": Words((_QWEN2,), nfc=True),
    "stablelm2": Words((_QWEN2,)),
    "deepseek-r1-qwen": Words((_QWEN2,), nfc=True),
    "tekken": Words((_cased("", r"\p{N}"),), ignore_merges=True, bos=True),
    "gpt-4o": Words((_cased(_ENDINGS + "?", r"\p{N}{1,3}"),)),
    "deepseek-coder": Words(
        (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", r"[一-龥ࠀ-一가-퟿]+"), digits=True
    ),
    "deepseek-v3": Words(
        (
            r"\p{N}{1,3}",
            r"[一-龥぀-ゟ゠-ヿ]+",
            r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"
            r"|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
            r"|\s*[\r\n]+|\s+(?!\S)|\s+",
        )
    ),
}

# What files from before tokenizer.ggml.pre mean, or those that say "default".
BY_ARCHITECTURE: Mapping[str, str] = {
    "gpt2": "gpt-2",
    "gptneox": "mpt",
    "mpt": "mpt",
    "phi2": "phi-2",
    "qwen2": "qwen2",
    "qwen2moe": "qwen2",
    "starcoder": "starcoder",
    "starcoder2": "starcoder",
    "falcon": "falcon",
    "bloom": "bloom",
    "olmo": "olmo",
    "command-r": "command-r",
}
