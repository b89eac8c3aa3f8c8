"""What the numbers of a comparison depend on, from which the names of stored files are made."""

from __future__ import annotations

import hashlib
from typing import Any

import jax

from jaxmap.comparison.options import ComparisonOptions
from jaxmap.corpus.texts import TextSet
from jaxmap.corpus.tokens import Tokens


def common_facts(options: ComparisonOptions, texts: TextSet, tokens: Tokens) -> dict[str, Any]:
    """Those of any comparison: arithmetic, platform, texts, ids and ignored keys."""
    return {
        "dtype": options.dtype,
        "platform": jax.default_backend(),
        "texts": texts.fingerprint,
        "ids": hash_of_ids(tokens),
        "ignored": sorted(options.ignore_config_keys),
    }


def hash_of_ids(tokens: Tokens) -> str:
    """The sha256 of the ids of all texts, and of where each text's first scored id is."""
    ids = tokens.ids.tobytes() + tokens.offsets.tobytes() + tokens.first_scored.tobytes()
    return hashlib.sha256(ids).hexdigest()
