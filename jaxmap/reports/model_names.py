"""The names of models on the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from jaxmap.store.record import Entry


def shown_names(entries: Sequence[Entry]) -> list[str]:
    """Labels without folders or organisations, unless that would not be unique."""
    full = [entry.label for entry in entries]
    last = [label.rpartition("/")[2] for label in full]
    count = Counter(last)
    return [
        short if count[short] == 1 and label.count("/") > 1 else label
        for label, short in zip(full, last, strict=True)
    ]


def base_name(entry: Entry) -> str:
    """The model that an entry is a checkpoint of, without its seed."""
    return entry.name.base.removeprefix(f"{entry.name.organisation}/")
