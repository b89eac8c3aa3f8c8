"""A store: one folder, one immutable file a result, open to many readers and writers at once.

    STORE/store.json                            the texts it was made with: fingerprint, bytes
    STORE/asked/HASH.json                       what each run asked for
    STORE/records/MODEL-KEY.safetensors         one result each
    STORE/failures/MODEL-KEY.json               one item that could not be scored each

Nothing is ever changed in place, so a process killed at any moment leaves a store that opens.
Results are recognised by what they depend on (`Identity`); file names are for people.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmap.atomic import check_writable, create_atomic, remove_stale_temps, write_atomic
from jaxmap.errors import InputError, JaxmapError
from jaxmap.naming import natural_key
from jaxmap.store.folder import Folder
from jaxmap.store.labels import arrange, columns
from jaxmap.store.record import (
    TENSORS,
    CorruptError,
    Entry,
    Identity,
    Record,
    TextFacts,
    Texts,
    checkpoint_name,
    encode_json,
    encode_record,
    encode_texts,
    file_stem,
    now,
    read_entry,
    read_record,
    read_texts,
)
from jaxmap.store.requests import Failure, Item, decode_asked, decode_failure
from jaxmap.variant import AUTO, LOGIT, Variant

if TYPE_CHECKING:
    import xarray


class Store:
    """The results of scoring models on one set of texts. Open with `create` or `open`."""

    def __init__(self, path: Path, texts: TextFacts):
        self.path = path
        self.texts = texts
        self._records = Folder(
            path / "records", ".safetensors", self._read_entry, group=_checkpoint
        )
        self._failures = Folder(path / "failures", ".json", decode_failure)
        self._asked = Folder(path / "asked", ".json", decode_asked)

    @classmethod
    def create(cls, path: str | os.PathLike[str], texts: Texts) -> Store:
        """Opens a store for writing, making it if need be; cleans up after killed writers.

        Raises InputError when the path is a file or cannot be written, or when the store was made
        with other texts or by a later version.
        """
        path = Path(path)
        if os.path.isfile(path):
            raise InputError(f"{path}: is a file, a store is a folder: choose another `store`")
        if len(texts.num_bytes) == 0:
            raise InputError(f"{texts.source}: holds no texts: nothing to score")
        # Of several processes one makes the file; the others, and this one, read it back.
        create_atomic(path / "store.json", encode_texts(texts))
        store = cls(path, read_texts(path / "store.json"))
        if store.texts.fingerprint != texts.fingerprint:
            raise InputError(
                f"{path}: made with other texts ({store.texts.fingerprint[:12]}, "
                f"{len(store.texts.text_bytes)} texts from {store.texts.source}) than these "
                f"({texts.fingerprint[:12]}, {len(texts.num_bytes)} texts from {texts.source}): "
                f"use another `store`, or the same texts"
            )
        for folder in (path, path / "records", path / "failures", path / "asked"):
            check_writable(folder)
            remove_stale_temps(folder)
        return store

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Store:
        """Opens a store for reading; InputError when there is none."""
        path = Path(path)
        if os.path.isfile(path):
            raise InputError(f"{path}: is a file, a store is a folder: check `store`")
        if not os.path.exists(path / "store.json"):
            raise InputError(
                f"{path}: holds no store (no store.json): check `store`, or score models into it"
            )
        return cls(path, read_texts(path / "store.json"))

    # Results

    def find(self, identity: Identity) -> Entry | None:
        """The finished result with this identity, of this or any other process; None if absent."""
        self._records.refresh()
        found = self._records.group((identity.ref, identity.revision))
        return next((entry for entry in found if entry.identity == identity), None)

    def add(self, record: Record) -> Entry:
        """Keeps a result for good and forgets the failures that it settles.

        Raises InputError, and keeps nothing, when a score is NaN or infinite, when the record is
        of other texts, or when the disk is full or read-only.
        """
        self._records.refresh()
        entry = self._keep(record, self._next_generation(record.identity))
        identity = record.identity
        one = identity.ref, identity.revision
        scored = identity.variant
        for precision in {scored.precision, AUTO}:
            for lens in {"", LOGIT, scored.lens}:
                item = Item(*one, Variant(precision, scored.quantisation, lens=lens))
                if item.matches(entry):
                    self.settle(item, identity.commit)
        return entry

    def add_many(self, records: Iterable[Record]) -> int:
        """Keeps many results and returns how many were new; those here already are passed over.

        Each is on the disk before the next is asked for. Unlike `add` it looks at the folder once
        and leaves failures alone, so that thousands take seconds.
        """
        known = {entry.identity.key for entry in self._records.refresh()}
        generations: dict[tuple[str, str | None, str], int] = {}
        added = 0
        for record in records:
            one = record.identity
            if one.key in known:
                continue
            # All that comes in together of a checkpoint is of one generation.
            key = (one.ref, one.revision, one.commit)
            if key not in generations:
                generations[key] = self._next_generation(one)
            self._keep(record, generations[key])
            known.add(one.key)
            added += 1
        return added

    def records(self) -> list[Entry]:
        """The results to show: labelled, in a fixed order, one commit a checkpoint."""
        return arrange(self._records.refresh())[0]

    def superseded(self) -> list[Entry]:
        """Results of a commit, or a tokenizer, that a newer one replaced under the same name."""
        return arrange(self._records.refresh())[1]

    def corrupt(self) -> dict[Path, str]:
        """Files that are not what was written, and why; they count as absent."""
        for folder in (self._records, self._failures, self._asked):
            folder.refresh()
        return self._records.corrupt() | self._failures.corrupt() | self._asked.corrupt()

    def load(self, entry: Entry) -> Record:
        """The arrays of a result; JaxmapError if it was damaged or removed since."""
        try:
            return read_record(entry.path)
        except CorruptError as error:
            raise JaxmapError(f"{entry.path}: {error}: score this model again") from error

    def log_likelihoods(self, entries: Iterable[Entry]) -> np.ndarray:
        """float64 [K, N], nats."""
        entries = list(entries)
        ll_KN = np.empty((len(entries), len(self.texts.text_bytes)))
        for row, entry in zip(ll_KN, entries, strict=True):
            row[:] = self.load(entry).log_likelihood
        return ll_KN

    def known_files(
        self, ref: str, revision: str | None
    ) -> list[tuple[tuple[tuple[Any, ...], ...], str]]:
        """(stat signature, commit) of the folders that results came from, newest first."""
        if not self._records.group((ref, revision)):
            self._records.refresh()
        entries = sorted(self._records.group((ref, revision)), key=lambda entry: -entry.generation)
        pairs = [(entry.provenance.files, entry.identity.commit) for entry in entries]
        return list(dict.fromkeys(pair for pair in pairs if pair[0]))

    # Work

    def ask(self, items: Iterable[Item], command: str = "") -> None:
        """Notes what a run asks for, so that `missing` can tell what is not done yet.

        `command` is what to type to go on with it; of several, the last.
        """
        asked = [item.facts for item in sorted(set(items), key=_item_order)]
        name = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]
        path = self._asked.path / f"{name}.json"
        runs = self._asked.refresh()
        known = not command or any(run.command == command for run in runs)
        if asked and (path in self._asked.corrupt() or not path.exists() or not known):
            facts = {"created": now(), "command": command, "items": asked}
            write_atomic(path, encode_json(facts))

    def asked(self) -> list[Item]:
        """All that was ever asked for, each once, in a fixed order."""
        items = {item for run in self._asked.refresh() for item in run.items}
        return sorted(items, key=_item_order)

    def commands(self, items: Iterable[Item]) -> list[str]:
        """The commands that asked for these, each once; those that asked for most come first."""
        wanted = set(items)
        counts: dict[str, int] = defaultdict(int)
        for run in self._asked.refresh():
            if run.command and (found := wanted.intersection(run.items)):
                counts[run.command] = max(counts[run.command], len(found))
        return sorted(counts, key=lambda command: (-counts[command], command))

    def is_done(self, item: Item, commit: str | None = None) -> bool:
        """Whether all of an item is there, of any one commit or of the given one.

        With the lens this is the model's output and the layers 0..L.
        """
        # What was there at the last look stays: only for what was not, look again.
        if self._is_done(item, commit):
            return True
        self._records.refresh()
        return self._is_done(item, commit)

    def add_failure(self, failure: Failure) -> None:
        """Keeps the reason of a failure, in place of an earlier one of the same item."""
        write_atomic(self.failure_path(failure.item), encode_json(failure.facts))

    def failures(self) -> list[Failure]:
        """Items whose last attempt failed."""
        return sorted(self._failures.refresh(), key=lambda failure: _item_order(failure.item))

    def settle(self, item: Item, commit: str | None = None) -> None:
        """Forgets the failure of an item that is done by now (of the given commit)."""
        path = self.failure_path(item)
        if path.exists() and self.is_done(item, commit):
            path.unlink(missing_ok=True)

    def missing(self) -> list[Item]:
        """Items asked for that neither are done nor failed."""
        failed = {failure.item for failure in self.failures()}
        self._records.refresh()
        return [
            item for item in self.asked() if item not in failed and not self._is_done(item, None)
        ]

    # Labelled arrays

    def dataset(self) -> xarray.Dataset:
        """All results as labelled arrays over (model, text); see the attributes for units."""
        entries = self.records()
        shape = (len(entries), len(self.texts.text_bytes))
        arrays: dict[str, np.ndarray] = {name: np.empty(shape, t) for name, t in TENSORS.items()}
        for row, entry in enumerate(entries):
            record = self.load(entry)
            for name, array_KN in arrays.items():
                array_KN[row] = getattr(record, name)
        return self.labels(entries).assign(
            {name: (("model", "text"), array_KN) for name, array_KN in arrays.items()}
        )

    def labels(self, entries: list[Entry]) -> xarray.Dataset:
        """`dataset` of these results without the arrays."""
        import xarray

        return xarray.Dataset(
            coords={
                **{name: ("model", column) for name, column in columns(entries).items()},
                "text_bytes": ("text", self.texts.text_bytes),
            },
            attrs={
                "units": "log_likelihood in nats, text_bytes in UTF-8 bytes",
                "mean_text_bytes": self.texts.mean_bytes,
                "texts": self.texts.fingerprint,
                "source": self.texts.source,
            },
        )

    # Inside

    def _next_generation(self, identity: Identity) -> int:
        others = self._records.group((identity.ref, identity.revision))
        return 1 + max((entry.generation for entry in others), default=0)

    def _keep(self, record: Record, generation: int) -> Entry:
        identity = record.identity
        name = checkpoint_name(identity.ref, identity.revision)
        if identity.texts != self.texts.fingerprint:
            raise InputError(f"{name}: scored on other texts than those of {self.path}")
        content = encode_record(record, generation, len(self.texts.text_bytes))
        stem = file_stem(name + identity.variant.label, identity.key)
        path = self._records.path / f"{stem}.safetensors"
        write_atomic(path, content)
        return Entry(path, identity, record.provenance, generation)

    def _read_entry(self, path: Path) -> Entry:
        entry = read_entry(path)
        if entry.identity.texts != self.texts.fingerprint:
            raise CorruptError("scored on other texts than those of this store")
        return entry

    def _is_done(self, item: Item, commit: str | None) -> bool:
        layers: dict[tuple[str, str], set[int | None]] = defaultdict(set)
        depth: dict[tuple[str, str], int | None] = {}
        for entry in self._records.group((item.ref, item.revision)):
            one = entry.identity
            if item.matches(entry) and commit in (None, one.commit):
                layers[one.commit, one.variant.precision].add(one.variant.layer)
                depth[one.commit, one.variant.precision] = entry.provenance.num_layers
        lens = item.variant.lens
        for run, found in layers.items():
            last = depth[run]
            wanted = range(last + 1) if lens and last is not None else ()
            if None in found and (not lens or last is not None) and found.issuperset(wanted):
                return True
        return False

    def failure_path(self, item: Item) -> Path:
        """Where the failure of an item is kept, if there is one."""
        return self._failures.path / f"{file_stem(item.label, item.key)}.json"


def _checkpoint(entry: Entry) -> tuple[str, str | None]:
    return entry.identity.ref, entry.identity.revision


def _item_order(item: Item) -> tuple[object, ...]:
    revision = item.revision or ""
    name = natural_key(item.ref), natural_key(revision)
    one = item.variant
    return (*name, one.quantisation, one.precision, bool(one.lens), one.tuned)
