"""Notes of a result: what an analysis left out, changed or chose."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Note:
    """A note of one line about a topic ("absent", "ft", "weight space")."""

    topic: str
    text: str

    def __str__(self) -> str:
        return f"{self.topic}: {self.text}"
