"""Comparisons in a store: the numbers of every token, and what was compared.

STORE/comparisons/NAME.safetensors has the arrays of `TokenComparison`, or where two tokenizers
differ of `AlignedComparison`; NAME.json beside it has the facts of `Pair`; the name says the model
and ends in a hash of all that the numbers depend on.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from jaxmap.atomic import write_atomic
from jaxmap.comparison.alignment import AlignedComparison
from jaxmap.comparison.token_comparison import TokenComparison
from jaxmap.errors import InputError
from jaxmap.store.record import file_stem, hash_facts

Numbers = TokenComparison | AlignedComparison
FOLDER = "comparisons"  # of a store
FORMAT = 2  # of what is kept


@dataclasses.dataclass(frozen=True)
class Pair:
    """What was compared with what.

    Fields:
      reference, model: their names, with what was done to them: "org/name+nf4".
      format, num_bytes, num_parameters: of the model's weights.
      dtype: the arithmetic of the model, and of the reference unless `reference_dtype` says
        otherwise: a model beside itself in another arithmetic is its floor.
      texts: fingerprint of the text set.
      command: what somebody typed for it; "": not known.
      other_tokens: how their tokens differ, where they do: they are aligned; "": they do not.
      layer: the layer of the model that is compared, read through a lens; 0: the embedding; None:
        the model's own output.
    """

    reference: str
    model: str
    format: str
    num_bytes: int
    num_parameters: int
    dtype: str
    texts: str
    reference_dtype: str = ""
    command: str = ""
    other_tokens: str = ""
    layer: int | None = None

    @property
    def is_floor(self) -> bool:
        """Whether it is a model beside itself in another arithmetic."""
        return bool(self.reference_dtype) and self.model == self.reference


def path_of(store: Path, name: str, facts: dict[str, Any]) -> Path:
    """The file of a comparison; `facts` is all that its numbers depend on."""
    return (
        store / FOLDER / f"{file_stem(name, hash_facts({'format': FORMAT, **facts}))}.safetensors"
    )


def save(path: Path, pair: Pair, found: Numbers) -> None:
    """Writes the arrays and then the facts, each whole or not at all."""
    found.save(path)
    facts = {"version": FORMAT, **dataclasses.asdict(pair)}
    write_atomic(path.with_suffix(".json"), f"{json.dumps(facts, indent=1)}\n".encode())


def load(path: Path) -> tuple[Pair, Numbers] | None:
    """What `save` wrote; None where it is not there. InputError names a damaged file."""
    if not (path.exists() and path.with_suffix(".json").exists()):
        return None
    pair = read_pair(path.with_suffix(".json"))
    return pair, (AlignedComparison if pair.other_tokens else TokenComparison).load(path)


def read_pair(path: Path) -> Pair:
    """The facts in a .json file; InputError names a damaged one."""
    try:
        facts = json.loads(path.read_bytes())
        if facts.pop("version", None) != FORMAT:
            raise ValueError("it is of another version")
        return Pair(**facts)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: damaged; delete it and compare again: {error}") from error


def all_pairs(store: Path) -> list[tuple[Pair, Path]]:
    """What a store has compared, and the file of its numbers; the latest last."""
    files = sorted((store / FOLDER).glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    found = [(read_pair(path), path.with_suffix(".safetensors")) for path in files]
    return [(pair, path) for pair, path in found if path.exists()]
