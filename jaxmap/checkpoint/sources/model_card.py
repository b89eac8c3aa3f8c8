"""The parents of a model according to its model card: base_model and base_model_relation.

The card is README.md, which begins with YAML between two lines of dashes. The Hub also returns
these facts with its listing of a repository.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CARD = "README.md"
RELATIONS = ("adapter", "finetune", "merge", "quantized")


@dataclass(frozen=True)
class ModelCard:
    """The models from which a model was made, and how.

    Fields:
      base_models: their names on the card; several for a merge.
      relation: one of RELATIONS; "" if the card does not say.
    """

    base_models: tuple[str, ...] = ()
    relation: str = ""


NO_CARD = ModelCard()


def card_of(facts: Mapping[str, Any] | None) -> ModelCard:
    """A card's facts about parents; values of an unexpected form are ignored."""
    facts = facts or {}
    named, relation = facts.get("base_model"), facts.get("base_model_relation")
    names = [named] if isinstance(named, str) else named if isinstance(named, list) else []
    models = dict.fromkeys(one.strip() for one in names if isinstance(one, str) and one.strip())
    return ModelCard(tuple(models), relation if relation in RELATIONS else "")


def read_card(folder: Path) -> ModelCard:
    """The card of a folder; an empty one if it is missing or cannot be read."""
    try:
        text = (folder / CARD).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return NO_CARD
    return parse_card(text)


def parse_card(text: str) -> ModelCard:
    """The card in the text of a README."""
    import yaml

    lines = text.lstrip("\ufeff").splitlines()
    if not lines or lines[0].strip() != "---":
        return NO_CARD
    ends = (n for n, line in enumerate(lines[1:], start=1) if line.strip() == "---")
    end = next(ends, None)
    if end is None:
        return NO_CARD
    try:
        facts = yaml.safe_load("\n".join(lines[1:end]))
    except (yaml.YAMLError, ValueError, RecursionError):
        return NO_CARD
    return card_of(facts if isinstance(facts, dict) else None)
