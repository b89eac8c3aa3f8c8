"""The bytes of its text that each scored token stands for: STORE/token_spans/KEY.safetensors.

One file serves all results with the same tokenizer, special tokens and context. With it, kept
log-probabilities of tokens can be read without a tokenizer.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from jaxmap.atomic import write_atomic
from jaxmap.corpus.vocabulary import RULE, RULE_NAME
from jaxmap.errors import JaxmapError
from jaxmap.stats.alignment import Spans
from jaxmap.store.record import Identity, Provenance, hash_facts

FOLDER = "token_spans"


def path_of(store: Path, identity: Identity, provenance: Provenance) -> Path:
    """The file for the tokens of a result."""
    facts = {
        "texts": identity.texts,
        "tokenizer": identity.tokenizer,
        "special_rule": identity.special_rule,
        "context": provenance.context,
        "rule": provenance.versions.get(RULE_NAME, str(RULE)),
    }
    return store / FOLDER / f"{hash_facts(facts)[:32]}.safetensors"


def write(path: Path, spans: Spans) -> None:
    """Writes the spans, whole or not at all."""
    length_M = spans.end_M - spans.start_M
    narrow = np.uint16 if not len(length_M) or length_M.max() < 2**16 else np.uint32
    has_N = np.diff(spans.offsets_N1) > 0
    first_N = np.zeros(len(has_N), np.int64)
    first_N[has_N] = spans.start_M[spans.offsets_N1[:-1][has_N]]
    arrays = {"length": length_M.astype(narrow), "first": first_N, "offsets": spans.offsets_N1}
    write_atomic(path, safetensors.numpy.save(arrays))


def read(path: Path) -> Spans | None:
    """Reads what `write` wrote; None if there is no such file; JaxmapError for a damaged one."""
    if not path.exists():
        return None
    try:
        arrays = safetensors.numpy.load_file(path)
        length_M, offsets_N1 = arrays["length"].astype(np.int64), arrays["offsets"]
        sum_M1 = np.concatenate([[0], np.cumsum(length_M)])
        # The sum within the text, after what stands before its first scored token.
        before_N = arrays["first"] - sum_M1[offsets_N1[:-1]]
        before_M = np.repeat(before_N, np.diff(offsets_N1))
        return Spans(before_M + sum_M1[:-1], before_M + sum_M1[1:], offsets_N1)
    except (SafetensorError, OSError, KeyError, ValueError, IndexError) as error:
        raise JaxmapError(f"{path}: damaged; delete it and score a model again: {error}") from error
