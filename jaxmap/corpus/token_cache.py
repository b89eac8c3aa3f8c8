"""A cache in the store of the text set's token ids, for each tokenizer and context length."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import zipfile
from pathlib import Path

import numpy as np
from absl import logging

from jaxmap.atomic import Writer, write_atomic
from jaxmap.corpus.texts import TextSet
from jaxmap.corpus.token_spans import byte_spans
from jaxmap.corpus.tokenizer_cache import KeptTokenizers
from jaxmap.corpus.tokenizer_files import contents_hash
from jaxmap.corpus.tokens import TextTokenizer, Tokens, load_tokenizer
from jaxmap.corpus.vocabulary import RULE
from jaxmap.errors import JaxmapError
from jaxmap.progress import progress

_FORMAT = 3

# The part of a record's token rule about prompts and responses, see `TextTokenizer.encode`. Earlier
# versions tokenised responses separately and recorded nothing.
PAIRS = ", prompt and response as one text"


@dataclasses.dataclass(frozen=True)
class Tokenised:
    """The ids of a text set, and a record's facts about the tokenizer (see `TextTokenizer`)."""

    fingerprint: str
    special_rule: str
    tokens: Tokens


class TokenisedTexts:
    """Tokenises a text set once per tokenizer and context, for all runs that share a folder.

        FOLDER/HASH.json    which tokenizer some files give; HASH is that of the files
        FOLDER/HASH.npz     the ids; HASH is that of the texts, tokenizer and context

    Hashes include the versions of the libraries. A file that is missing or damaged is made again,
    so the folder can be deleted at any time. A later run does not even load the tokenizer, which
    takes seconds. `tokenizers` is a folder of tokenizers that other stores share.
    """

    def __init__(self, texts: TextSet, folder: Path, tokenizers: Path | None = None):
        self._texts = texts
        self._folder = folder
        self._kept = None if tokenizers is None else KeptTokenizers(tokenizers)
        self._names: dict[str, _Name] = {}  # by hash of the tokenizer files
        self._tokens: dict[str, Tokens] = {}  # by texts, tokenizer and context
        versions = [importlib.metadata.version(name) for name in ("tokenizers", "transformers")]
        self._common = [_FORMAT, RULE, *versions]

    def read_by(self, checkpoint: Path, context: int | None) -> Tokenised:
        """The ids of the texts by the tokenizer in a checkpoint's folder, cut to `context` ids.

        Raises InputError for a tokenizer that cannot be used.
        """
        tokenizer: TextTokenizer | None = None
        files = self._hash("files", contents_hash(checkpoint))
        name = self._names.get(files) or _read_name(self._folder / f"{files}.json")
        if name is None:
            tokenizer = self._load(checkpoint, files)
            name = _Name(tokenizer.fingerprint, tokenizer.special_rule)
            _keep(self._folder / f"{files}.json", name.encoded())
        self._names[files] = name
        key = self._hash("tokens", self._texts.fingerprint, name.fingerprint, context)
        if key not in self._tokens:
            path = self._folder / f"{key}.npz"
            tokens = _read_tokens(path)
            if tokens is None:
                tokens = self._tokenise(tokenizer or self._load(checkpoint, files), context)
                arrays = {f.name: getattr(tokens, f.name) for f in dataclasses.fields(tokens)}
                _keep(path, lambda file: np.savez(file, **arrays))
            self._tokens[key] = tokens
        rule = name.special_rule + (PAIRS if self._texts.prompts is not None else "")
        return Tokenised(name.fingerprint, rule, self._tokens[key])

    def spans_by(self, checkpoint: Path, tokens: Tokens) -> tuple[np.ndarray, np.ndarray]:
        """The bytes of each scored token of `read_by` with this checkpoint, see `byte_spans`."""
        tokenizer = self._load(checkpoint, self._hash("files", contents_hash(checkpoint)))
        return byte_spans(tokenizer, self._texts, tokens)

    def _load(self, checkpoint: Path, files: str) -> TextTokenizer:
        if self._kept is None:
            return load_tokenizer(checkpoint)
        found = self._kept.read(files, str(checkpoint))
        if found is None:
            found = load_tokenizer(checkpoint)
            self._kept.keep(files, found)
        return found

    def _tokenise(self, tokenizer: TextTokenizer, context: int | None) -> Tokens:
        with progress(len(self._texts), "tokenise", "text", leave=False) as bar:
            return tokenizer.encode(self._texts, context, bar.update)

    def _hash(self, *facts: str | int | None) -> str:
        return hashlib.sha256(json.dumps([*self._common, *facts]).encode()).hexdigest()


@dataclasses.dataclass(frozen=True)
class _Name:
    """The facts that identify a tokenizer (see `TextTokenizer`)."""

    fingerprint: str
    special_rule: str

    def encoded(self) -> bytes:
        facts = json.dumps(dataclasses.asdict(self))
        return json.dumps([facts, hashlib.sha256(facts.encode()).hexdigest()]).encode()

    @classmethod
    def decoded(cls, content: bytes) -> _Name:
        """The inverse of `encoded`; raises ValueError or TypeError for anything else."""
        facts, digest = json.loads(content)
        if hashlib.sha256(facts.encode()).hexdigest() != digest:
            raise ValueError("wrong checksum")
        return cls(**json.loads(facts))


def _read_name(path: Path) -> _Name | None:
    """Reads the name of the tokenizer of some files; None if the file is missing or damaged."""
    try:
        return _Name.decoded(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, AttributeError) as error:
        _tell_damaged(path, error)
        return None


def _read_tokens(path: Path) -> Tokens | None:
    """Reads cached ids; None if the file is missing or damaged (zip files have checksums)."""
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as kept:
            return Tokens(**{field.name: kept[field.name] for field in dataclasses.fields(Tokens)})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        _tell_damaged(path, error)
        return None


def _tell_damaged(path: Path, error: Exception) -> None:
    logging.warning("%s: damaged, the texts are tokenised again (%s)", path, error)


def _keep(path: Path, content: bytes | Writer) -> None:
    """Writes a cache file; failing to write it is not an error, only slower for later runs."""
    try:
        path.parent.mkdir(exist_ok=True)
        write_atomic(path, content)
    except (JaxmapError, OSError) as error:
        logging.warning("tokenised texts cannot be cached: %s", error)
