"""What an analysis left out, changed or chose on the way, as values that results carry."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Note:
    """One line for people: `topic` is what it is about ("absent", "ft", "weight space")."""

    topic: str
    text: str

    def __str__(self) -> str:
        return f"{self.topic}: {self.text}"
