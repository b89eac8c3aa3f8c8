"""The names of models on the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from jaxmap.store.record import Entry


def shown_names(labels: Sequence[str]) -> list[str]:
    """Labels of models without the folders that they are in, as far as no two look alike.

    A label with at most one slash (`org/name`, a model of a hub) stays whole.
    """
    parts = [label.split("/") for label in labels]
    ends = Counter(end for one in parts for end in _ends(one))
    return [
        label if len(one) < 3 else next((end for end in _ends(one) if ends[end] == 1), label)
        for label, one in zip(labels, parts, strict=True)
    ]


def _ends(parts: Sequence[str]) -> list[str]:
    """The ends of a path, the shortest first: c, b/c, a/b/c."""
    return ["/".join(parts[-count:]) for count in range(1, len(parts) + 1)]


def base_name(entry: Entry) -> str:
    """The model that an entry is a checkpoint of, without its seed."""
    return entry.name.base.removeprefix(f"{entry.name.organisation}/")
