"""How a byte-level tokenizer cuts a text into words, by tokenizer.ggml.pre of a GGUF.

The value names the model whose tokenizer.json it was found in. The expressions are those of that
file where it is known, else those of llama.cpp (src/llama-vocab.cpp). Left out, and refused by
name, are the values that llama.cpp cuts with code of its own (afmoe, superbpe, gemma4 and others),
and those of embedding models.
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


_KIMI_UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]"
_KIMI_LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]"
_KIMI = (
    rf"\p{{Han}}+|[^\r\n\p{{L}}\p{{N}}]?{_KIMI_UPPER}*{_KIMI_LOWER}+{_ENDINGS}?"
    rf"|[^\r\n\p{{L}}\p{{N}}]?{_KIMI_UPPER}+{_KIMI_LOWER}*{_ENDINGS}?|\p{{N}}{{1,3}}{_REST}"
)
_BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"
# Letters that have two cases, by which DeepSeek's first models cut.
_CASED = (
    "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅ"
    "Ὀ-Ὅὐ-ὗὙὛὝ\u1f5f-\u1f7dᾀ-ᾴᾶ-ᾼ\u1fbeῂ-ῄῆ-ῌ\u1fd0-\u1fd3\u1fd6-\u1fdbῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\u2126ℨ\u212a-\u212dℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛ"
    "Ꜣ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃"
)
_SPACES = "".join(rf"|\s{{{count}}}(?!\S)" for count in (512, 256, 128, 64, 32, 16, 8, 4))
_JAIS2 = _LLAMA3.removesuffix(r"|\s+(?!\S)|\s+") + _SPACES + r"|\s{1,2}(?!\S)|\s"

_GPT2, _DIGITS = Words(of_gpt2=True), Words(of_gpt2=True, digits=True)
_NEOX = Words(of_gpt2=True, nfc=True)
_LLAMA = Words((_LLAMA3,), ignore_merges=True, bos=True)
_LLAMA_MERGED, _QWEN = Words((_LLAMA3,)), Words((_QWEN2,))
_QWEN_NFC = Words((_QWEN2,), nfc=True)
_GPT4O = Words((_cased(_ENDINGS + "?", r"\p{N}{1,3}"),))
_DEEPSEEK_V3 = Words(
    (
        r"\p{N}{1,3}",
        r"[一-龥぀-ゟ゠-ヿ]+",
        r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"
        r"|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    )
)
_BAILING = Words(
    (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]|\s+(?!\S)|\s+",
    )
)
_TINY_AYA = Words((r"\d{1,3}(?=(?:\d{3})*\b)", _cased(_ENDINGS + "?", r"\p{N}{1,3}")))

WORDS: Mapping[str, Words] = {
    **dict.fromkeys(
        """gpt-2 phi-2 exaone4 gigachat a.x-4.0 mellum modern-bert jais trillion
        granite-docling jina-es jina-de jina-v2-es jina-v2-de""".split(),
        _GPT2,
    ),
    **dict.fromkeys(("mpt", "olmo"), _NEOX),
    **dict.fromkeys(
        "smollm starcoder refact codeshell exaone minerva-7b mellum2".split(), _DIGITS
    ),
    "command-r": Words(of_gpt2=True, digits=True, nfc=True),
    "falcon": Words(of_gpt2=True, falcon=True),
    **dict.fromkeys(("bloom", "poro-chat", "gpt3-finnish"), Words((_BLOOM,))),
    "viking": Words((_BLOOM, r"\p{N}")),
    **dict.fromkeys(
        "llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2".split(), _LLAMA
    ),
    **dict.fromkeys("dbrx glm4 chatglm-bpe smaug-bpe".split(), _LLAMA_MERGED),
    "jais-2": Words((_JAIS2,)),
    **dict.fromkeys("qwen2 deepseek-r1-qwen megrez".split(), _QWEN_NFC),
    **dict.fromkeys("stablelm2 kormo f2llmv2 hunyuan solar-open grok-2".split(), _QWEN),
    "qwen35": Words(
        (
            rf"{_ENDINGS}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}"
            r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ),
        nfc=True,
    ),
    "seed-coder": Words(
        (
            rf"{_ENDINGS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}"
            r"| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+",
        )
    ),
    "tekken": Words((_cased("", r"\p{N}"),), ignore_merges=True, bos=True),
    **dict.fromkeys("gpt-4o llama4 kanana2 talkie minimax-m2".split(), _GPT4O),
    **dict.fromkeys(("tiny_aya", "cohere2moe"), _TINY_AYA),
    "youtu": Words(
        (
            r"[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+",
            _cased(_ENDINGS + "?", r"\p{N}"),
        ),
        ignore_merges=True,
    ),
    "kimi-k2": Words((_KIMI,)),
    "deepseek-llm": Words(
        (
            r"[\r\n]", rf"\s?[{_CASED}]+", r"\s?[!-/:-~！-／：-～‘-‟　-。]+", r"\s+$",
            r"[一-龥ࠀ-一가-퟿]+", r"\p{N}+",
        )
    ),
    "deepseek-coder": Words(
        (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", r"[一-龥ࠀ-一가-퟿]+"), digits=True
    ),
    **dict.fromkeys("deepseek-v3 hunyuan-dense joyai-llm".split(), _DEEPSEEK_V3),
    **dict.fromkeys("bailingmoe bailingmoe2 llada-moe".split(), _BAILING),
}  # fmt: skip

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
