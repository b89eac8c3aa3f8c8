"""Writes a decoder's parameters to a Hugging Face folder: the inverse of `weights.load`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx

from jaxmap.architectures.config import Config
from jaxmap.architectures.registry import family_of
from jaxmap.architectures.rows import row_key_of
from jaxmap.model import decoder
from jaxmap.model.layout import Layout, joined
from jaxmap.model.spec import Spec


def save_checkpoint(params: nnx.State, spec: Spec, config: dict[str, Any], folder: Path) -> None:
    """Writes config.json and model.safetensors, with the names of transformers.

    Numbers are written in the dtype of the parameters.

    Args:
      params: the decoder's parameters.
      spec: its architecture.
      config: the content of config.json; its model_type names the family.
      folder: the folder, which is created if necessary.
    """
    from safetensors.numpy import save_file

    rows = family_of(Config(config, str(folder))).rows(spec)
    parts: dict[str, tuple[list[Layout], list[np.ndarray]]] = {}
    for path, leaf in decoder.named(params).items():
        key, layers = row_key_of(path, spec)
        row, value = rows[key], np.asarray(leaf[...])
        for layer, one in zip(layers, [value] if layers == (None,) else value, strict=True):
            for expert, piece in enumerate(one) if "{e}" in row.name else [(None, one)]:
                layouts, values = parts.setdefault(row.name.format(l=layer, e=expert), ([], []))
                layouts.append(row.lies)
                values.append(piece)
    # ascontiguousarray makes a number of a shape of its own, [1].
    tensors = {name: np.asarray(_whole(*part), order="C") for name, part in parts.items()}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _whole(layouts: list[Layout], values: list[np.ndarray]) -> np.ndarray:
    """The stored tensor; rows at its end that are of no parameter are zeros."""
    stored, cut = joined(layouts, values), layouts[0].cut
    lacking = 0 if cut is None else max(0, cut[2] - len(stored))
    return np.pad(stored, ((0, lacking), *((0, 0),) * (stored.ndim - 1))) if lacking else stored
