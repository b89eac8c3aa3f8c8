"""Hashes of n-grams against whole numbers of any size."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jaxmap.architectures.qwen4_exp import _factors, _primes
from jaxmap.model.layers.ngram_embedding import rows_of
from jaxmap.model.streams import NGrams

V, END = 248_320, 7


def _by_hand(facts: NGrams, text: list[int]) -> list[list[int]]:
    """The rows of each token of one text."""
    found = []
    for t in range(len(text)):
        gram, ended = [text[t]], False
        for i in range(1, len(facts.factors)):
            ended = ended or t < i or text[t - i] == END
            gram.append(END if ended else text[t - i])
        rows, start, each = [], 0, len(facts.moduli) // (len(facts.factors) - 1)
        for n in range(2, len(facts.factors) + 1):
            mixed = 0
            for one, factor in zip(gram[:n], facts.factors, strict=False):
                mixed ^= one * factor
            for modulus in facts.moduli[(n - 2) * each : (n - 1) * each]:
                rows.append(start + mixed % modulus)
                start += modulus
        found.append(rows)
    return found


def test_rows_of_packed_texts():
    moduli = tuple(_primes(20_000_000, 8))
    assert moduli[0] == 20_000_003
    facts = NGrams(
        factors=_factors(V, 3, 1, 1234),
        moduli=moduli,
        rows=sum(moduli),
        parts=1,
        width=16,
        taps=4,
        end_id=END,
    )
    assert max(facts.factors).bit_length() > 40  # of which products have more than 32 bits
    random = np.random.default_rng(0)
    texts = [random.integers(0, V, n).tolist() for n in (1, 40, 2, 23)]
    texts[1][5] = texts[1][6] = texts[1][20] = texts[3][0] = END
    ids_BT = jnp.asarray([[id_ for text in texts for id_ in text]], jnp.int32)
    position_BT = jnp.asarray([[t for text in texts for t in range(len(text))]], jnp.int32)
    row_BTN = jax.jit(lambda ids, position: rows_of(facts, ids, position))(ids_BT, position_BT)
    assert np.asarray(row_BTN[0]).tolist() == [
        row for text in texts for row in _by_hand(facts, text)
    ]
