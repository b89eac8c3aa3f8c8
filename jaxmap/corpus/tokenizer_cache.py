"""A cache of tokenizers in the user's cache folder, for all stores."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from absl import logging

from jaxmap.atomic import write_atomic
from jaxmap.corpus.tokens import TextTokenizer, restore
from jaxmap.errors import JaxmapError


class KeptTokenizers:
    """Tokenizers by a hash of the files that they are made from.

        FOLDER/HASH.json               the fingerprint and special tokens; HASH is that of the files
        FOLDER/FINGERPRINT.tokenizer   the tokenizer; its sha256 is the fingerprint

    Many checkpoints share a tokenizer. A file that is missing or damaged is made again, so the
    folder can be deleted at any time.
    """

    def __init__(self, folder: Path):
        self._folder = folder

    def read(self, files: str, source: str) -> TextTokenizer | None:
        """The tokenizer of these files; None if it is missing or damaged."""
        path = self._folder / f"{files}.json"
        try:
            facts, digest = json.loads(path.read_bytes())
            if digest != _digest(facts):
                raise ValueError("wrong checksum")
            path = self._folder / f"{facts['fingerprint']}.tokenizer"
            tokenizer = restore(path.read_text(encoding="utf-8"), facts["special_rule"], source)
            if tokenizer.fingerprint != facts["fingerprint"]:
                raise ValueError("wrong checksum")
            return tokenizer
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            logging.warning("%s: damaged, the tokenizer is read again (%s)", path, error)
            return None

    def keep(self, files: str, tokenizer: TextTokenizer) -> None:
        """Writes a tokenizer; failing to write it is not an error, only slower for later runs."""
        if tokenizer.kept is None:
            return
        facts = {"fingerprint": tokenizer.fingerprint, "special_rule": tokenizer.special_rule}
        try:
            restore(tokenizer.kept, tokenizer.special_rule, tokenizer.source)
            content = tokenizer.kept.encode("utf-8")
            write_atomic(self._folder / f"{tokenizer.fingerprint}.tokenizer", content)
            listed = json.dumps([facts, _digest(facts)]).encode()
            write_atomic(self._folder / f"{files}.json", listed)
        except (JaxmapError, OSError, ValueError) as error:
            logging.info("%s: its tokenizer cannot be cached: %s", tokenizer.source, error)


def _digest(facts: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
