"""The bytes of a text that each of its tokens stands for."""

from __future__ import annotations

import numpy as np

from jaxmap.corpus.texts import TextSet
from jaxmap.corpus.tokens import TextTokenizer, Tokens


def byte_spans(
    tokenizer: TextTokenizer, texts: TextSet, tokens: Tokens
) -> tuple[np.ndarray, np.ndarray]:
    """First and last + 1 byte of what each scored token stands for, int64 [M] each.

    Bytes are of UTF-8 and of what is scored: of a pair's response. The spans of a text follow one
    another without gaps; a token that is only a part of a character, or a special one, may have
    none, and the last of the tokens that make up a character has it all.

    Args:
      tokenizer: that gave the tokens.
      texts, tokens: the texts, and their ids, cut or not.
    """
    starts, ends = [], []
    for n, end_T in enumerate(_ends(tokenizer, texts, tokens)):
        first = int(tokens.first_scored[n])
        # What stands before the first scored token is not scored, but for a pair's prompt.
        before = int(end_T[first - 1]) if 0 < first <= len(end_T) else 0
        scored_T = end_T[first:]
        starts.append(np.concatenate([[before], scored_T])[: len(scored_T)])
        ends.append(scored_T)
    none = [np.zeros(0, np.int64)]
    return np.concatenate(starts or none), np.concatenate(ends or none)


def _ends(tokenizer: TextTokenizer, texts: TextSet, tokens: Tokens) -> list[np.ndarray]:
    """The byte before which each id of each text ends, 0 for what stands before the text."""
    prompts = texts.prompts or ("",) * len(texts)
    wholes = [before + text for before, text in zip(prompts, texts.texts, strict=True)]
    found = tokenizer.reading.ends(wholes)
    apart = [n for n in range(len(texts)) if tokens.apart[n]]
    inside = tokenizer.reading.ends_inside([texts.texts[n] for n in apart]) if apart else []
    alone = dict(zip(apart, inside, strict=True))
    out = []
    for n, text in enumerate(texts.texts):
        length, is_apart = int(tokens.lengths[n]), n in alone
        bytes_C = _bytes_before(text if is_apart else wholes[n])
        end_T = bytes_C[np.array(alone[n] if is_apart else found[n], np.int64)]
        if not is_apart:
            end_T = np.maximum(end_T - len(prompts[n].encode()), 0)
        last = len(text.encode())
        after_T = np.full(len(tokenizer.suffix), last, np.int64)
        # A response apart follows its prompt's ids, another text the prefix: neither is in it.
        before = int(tokens.first_scored[n]) if is_apart else len(tokenizer.prefix)
        before_T = np.zeros(before, np.int64)
        out.append(np.concatenate([before_T, end_T, after_T])[:length])
    return out


def _bytes_before(text: str) -> np.ndarray:
    """UTF-8 bytes before each character, and of the whole: int64 [C + 1]."""
    if text.isascii():
        return np.arange(len(text) + 1)
    sizes_C = [len(letter.encode()) for letter in text]
    return np.concatenate([[0], np.cumsum(sizes_C, dtype=np.int64)])
