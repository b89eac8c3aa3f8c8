"""The results of a store: files of arrays per text and per token, joined by their identity.

    STORE/records/MODEL-KEY.safetensors                  a result: its vector and counts
    STORE/records/MODEL-KEY+STATISTIC.safetensors        statistics that were added to it later
    STORE/token_arrays/MODEL-KEY+STATISTIC.safetensors   its statistics per token

A file is never changed: later additions to a result are further files with the same identity.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from jaxmap.atomic import check_writable, remove_stale_temps, write_atomic
from jaxmap.errors import InputError, JaxmapError
from jaxmap.store import record_files
from jaxmap.store.folder import Folder, Listing
from jaxmap.store.json_files import CorruptError
from jaxmap.store.record import (
    Entry,
    Identity,
    Record,
    checkpoint_name,
    file_stem,
    hash_vector,
    part_of_stems,
)
from jaxmap.store.record_files import OFFSETS, file_name, merge
from jaxmap.store.statistics import VECTORS, is_per_token
from jaxmap.store.text_facts import TextFacts

FOLDER = "records"
TOKEN_FOLDER = "token_arrays"


class Records:
    """The results in a store's folder.

    Args:
      store_path: the store's folder.
      texts: the text set on which they must have been scored.
    """

    def __init__(self, store_path: Path, texts: TextFacts):
        self._texts = texts
        self._per_text: Folder[Entry] = Folder(
            store_path / FOLDER, ".safetensors", self._read, group=_checkpoint
        )
        self._per_token: Folder[Entry] = Folder(
            store_path / TOKEN_FOLDER, ".safetensors", self._read_per_token, group=_checkpoint
        )

    def prepare(self) -> None:
        """Cleans up after killed writers; raises InputError if the folder is not writable."""
        check_writable(self._per_text.path)
        for folder in (self._per_text, self._per_token):
            remove_stale_temps(folder.path)

    def update(self, ref: str, revision: str | None, listing: Listing = "now") -> None:
        """Takes in what came or went since the last reading of a checkpoint's results.

        Those of other checkpoints may stay unread. For this and for `listing` see `Folder.update`.
        """
        wanted = part_of_stems(checkpoint_name(ref, revision))
        self._per_text.update(wanted, listing)
        self._per_token.update(wanted, "last" if listing == "last" else "now")

    def refresh(self) -> None:
        """Looks at every file again."""
        self._per_text.refresh()
        self._per_token.refresh()

    def all(self) -> list[Entry]:
        """All results, each file checked for changes, in the order of the files' names."""
        return merge([*self._per_text.refresh(), *self._per_token.refresh()])

    def of(self, ref: str, revision: str | None) -> list[Entry]:
        """The results of a checkpoint, from the last listing."""
        key = (ref, revision)
        return merge([*self._per_text.group(key), *self._per_token.group(key)])

    def find(self, identity: Identity) -> Entry | None:
        """The result with this identity, from the last listing; None if there is none."""
        found = self.of(identity.ref, identity.revision)
        return next((entry for entry in found if entry.identity == identity), None)

    def corrupt(self) -> dict[Path, str]:
        """Damaged files, with the reasons; they count as absent."""
        self.refresh()
        return self._per_text.corrupt() | self._per_token.corrupt()

    def next_generation(self, identity: Identity) -> int:
        """One more than the generations of the checkpoint's results, from the last listing."""
        others = self.of(identity.ref, identity.revision)
        return 1 + max((entry.generation for entry in others), default=0)

    def write(self, record: Record, generation: int, known: Entry | None = None) -> Entry:
        """Writes the arrays of a record that are not in the store yet.

        Args:
          record: the result, or further statistics of it.
          generation: the generation of a new result.
          known: the entry that is in the store already; None for a new result.

        Raises InputError, and writes nothing, if a value is NaN or infinite, if the record has
        other texts, or if the disk is full or read-only.
        """
        identity = record.identity
        name = checkpoint_name(identity.ref, identity.revision)
        if identity.texts != self._texts.fingerprint:
            raise InputError(f"{name}: scored on other texts than those of this store")
        there: frozenset[str] = frozenset() if known is None else known.statistics
        new = {name: array for name, array in record.arrays.items() if name not in there}
        stem = file_stem(name + identity.variant.label, identity.key)
        files: list[tuple[Path, bytes]] = []
        # The main file is written last: if it exists, the others do.
        for folder, per_token in ((self._per_token, True), (self._per_text, False)):
            arrays = {name: one for name, one in new.items() if is_per_token(name) == per_token}
            if not arrays:
                continue
            offsets_N1 = record.offsets_N1 if per_token else None
            part = replace(record, arrays=arrays, offsets_N1=offsets_N1)
            content = record_files.encode(part, generation, len(self._texts.text_bytes))
            whole = not set(VECTORS).isdisjoint(arrays)
            files.append((folder.path / file_name(stem, arrays, whole=whole), content))
        for path, content in files:
            write_atomic(path, content)
        entries = [
            Entry(path, identity, record.provenance, generation, statistics=frozenset(new))
            for path, _ in files
        ]
        if hashed := hash_vector(new):  # it is in the file that comes last
            entries[-1] = replace(entries[-1], vector_hash=hashed)
        [entry] = merge([*([known] if known else []), *entries])
        return entry

    def load(self, entry: Entry) -> Record:
        """Reads all arrays per text; raises JaxmapError if a file was damaged or removed."""
        arrays: dict[str, np.ndarray] = {}
        for path in entry.paths:
            if path.parent.name == FOLDER:
                arrays |= self._load(path)
        return Record(entry.identity, entry.provenance, arrays)

    def load_tokens(self, entry: Entry, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Reads an array per token, [M], and the offsets of each text's tokens, int64 [N + 1].

        Raises KeyError if there is none, JaxmapError if a file was damaged or removed.
        """
        for path in entry.paths:
            if path.parent.name == TOKEN_FOLDER:
                arrays = self._load(path)
                if name in arrays:
                    return arrays[name], arrays[OFFSETS]
        raise KeyError(f"{entry.label or entry.path}: has no {name}")

    def _load(self, path: Path) -> dict[str, np.ndarray]:
        try:
            return record_files.read_arrays(path)
        except CorruptError as error:
            raise JaxmapError(f"{path}: {error}: score this model again") from error

    def _read(self, path: Path) -> Entry:
        return self._of_these_texts(record_files.read_entry(path))

    def _read_per_token(self, path: Path) -> Entry:
        return self._of_these_texts(record_files.read_token_entry(path))

    def _of_these_texts(self, entry: Entry) -> Entry:
        if entry.identity.texts != self._texts.fingerprint:
            raise CorruptError("scored on other texts than those of this store")
        return entry


def shown(entries: Iterable[Entry]) -> list[Entry]:
    """The entries with a vector; those that lost their main file are not shown."""
    return [entry for entry in entries if entry.has_vector]


def _checkpoint(entry: Entry) -> tuple[str, str | None]:
    return entry.identity.ref, entry.identity.revision
