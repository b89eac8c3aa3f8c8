"""A tuned lens on disk: which model it was trained for, its quality, and its translators.

DIR/MODEL-KEY/lens.json                     the facts: model, settings, KL at each layer
DIR/MODEL-KEY/translators.safetensors       weight [L, D, D], bias [L, D], float32
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from jaxmap.atomic import write_atomic
from jaxmap.errors import InputError
from jaxmap.store.record import checkpoint_name, file_stem, hash_facts

FORMAT = 1
FACTS = "lens.json"
TENSORS = "translators.safetensors"
DEFINITION = (
    "layer i reads softmax(unembed(final_norm(h + weight[i] @ h + bias[i]))), h the residual "
    "stream before block i; layer L is the model's own output (Belrose et al. 2023, "
    "arXiv:2303.08112)"
)
_PREFIX = "tuned:"


@dataclasses.dataclass(frozen=True)
class TunedLens:
    """A tuned lens on disk, whose translators are not yet read.

    Fields:
      folder: its folder.
      ref, revision, commit: the model that it was trained for.
      L, D: the number of layers and the width of that model.
      translators: the sha256 of the translators.
      facts: the content of lens.json.
    """

    folder: Path
    ref: str
    revision: str | None
    commit: str
    L: int
    D: int
    translators: str
    facts: dict[str, Any] = dataclasses.field(repr=False, compare=False)

    def read(self, commit: str, L: int, D: int) -> tuple[np.ndarray, np.ndarray]:
        """Reads the translators: weight [L, D, D] and bias [L, D], float32.

        Args:
          commit, L, D: those of the model that is to be scored.

        Raises:
          InputError: when the lens was trained for another model, or its file is damaged.
        """
        mine = f"{self.folder}: trained for {checkpoint_name(self.ref, self.revision)}"
        if commit != self.commit:
            raise InputError(
                f"{mine} at commit {self.commit}, but the model to score is at {commit}: train one "
                "for it with `jaxmap lens train`"
            )
        if (L, D) != (self.L, self.D):
            raise InputError(
                f"{mine}, {self.L} layers of width {self.D}, but the model to score has {L} of {D}"
            )
        path = self.folder / TENSORS
        try:
            tensors = safetensors.numpy.load(path.read_bytes())
            weight_LDD, bias_LD = tensors["weight"], tensors["bias"]
        except (SafetensorError, OSError, KeyError) as error:
            raise InputError(f"{path}: not a tuned lens ({error}): train it again") from error
        if digest(weight_LDD, bias_LD) != self.translators:
            raise InputError(f"{path}: differs from its description in {FACTS}: train it again")
        return weight_LDD, bias_LD


def digest(weight_LDD: np.ndarray, bias_LD: np.ndarray) -> str:
    """The sha256 of translators in hexadecimal: of shapes, dtypes and numbers."""
    made = hashlib.sha256()
    for array in (weight_LDD, bias_LD):
        made.update(f"{array.dtype.name}{array.shape}".encode() + np.ascontiguousarray(array).data)
    return made.hexdigest()


def lens_folder(out: Path, ref: str, revision: str | None) -> Path:
    """The folder of a model's lens in the folder of lenses `out`."""
    name = checkpoint_name(ref, revision)
    return out / file_stem(name, hash_facts({"ref": ref, "revision": revision}))


def write_lens(folder: Path, weight_LDD: np.ndarray, bias_LD: np.ndarray, **facts: Any) -> None:
    """Writes a lens. lens.json is written last: a folder without it is not a lens."""
    tensors = {"weight": np.ascontiguousarray(weight_LDD), "bias": np.ascontiguousarray(bias_LD)}
    write_atomic(folder / TENSORS, safetensors.numpy.save(tensors))
    L, D = bias_LD.shape
    described = {
        "format": FORMAT,
        "kind": "tuned lens",
        "definition": DEFINITION,
        **facts,
        "layers": L,
        "width": D,
        "translators": digest(weight_LDD, bias_LD),
    }
    write_atomic(folder / FACTS, (json.dumps(described, indent=1) + "\n").encode())


def read_lens(folder: Path) -> TunedLens:
    """Reads lens.json; raises InputError if it is damaged or of a later format version."""
    path = folder / FACTS
    try:
        facts = json.loads(path.read_bytes())
        if facts["format"] != FORMAT:
            raise InputError(
                f"{path}: has format {facts['format']}, this version reads {FORMAT}: train it again"
            )
        one = facts["ref"], facts["revision"], facts["commit"]
        shape = int(facts["layers"]), int(facts["width"])
        return TunedLens(folder, *one, *shape, facts["translators"], facts)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: not the description of a tuned lens ({error}): train it again with "
            "`jaxmap lens train`"
        ) from error


def parse_lens(value: str) -> dict[str, Any]:
    """The settings for "logit", "tuned:DIR", "true" or "false"; else raises InputError."""
    if value.startswith(_PREFIX) and value != _PREFIX:
        return {"lens": True, "tuned_lens": value.removeprefix(_PREFIX)}
    known = {"logit": True, "true": True, "1": True, "false": False, "0": False, "none": False}
    if value.lower() not in known:
        raise InputError(f"{value!r} is neither logit nor tuned:DIR", field="lens")
    return {"lens": known[value.lower()]}


def find_lens(path: Path, ref: str, revision: str | None) -> TunedLens:
    """Finds the lens of a model. `path` is a folder of lenses or the folder of one lens.

    `TunedLens.read` checks that the lens belongs to the model, which needs the model's commit.
    """
    if (path / FACTS).is_file():
        return read_lens(path)
    if not path.is_dir():
        raise InputError(f"{path}: no such folder: give a folder of trained ones", field="lens")
    lenses = [read_lens(one.parent) for one in sorted(path.glob(f"*/{FACTS}"))]
    for lens in lenses:
        if (_place(lens.ref), lens.revision) == (_place(ref), revision):
            return lens
    present = ", ".join(checkpoint_name(lens.ref, lens.revision) for lens in lenses[:5]) or "none"
    raise InputError(
        f"{path}: holds no tuned lens for {checkpoint_name(ref, revision)}, but for: {present}; "
        "train one for it into that folder"
    )


def _place(ref: str) -> str:
    return os.path.abspath(ref) if os.path.isdir(ref) else ref
