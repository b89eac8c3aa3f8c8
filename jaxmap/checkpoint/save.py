"""A decoder's parameters to a genuine Hugging Face folder: `weights.load` backwards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx

from jaxmap.checkpoint.weights import STACKED
from jaxmap.model import decoder
from jaxmap.model.families import FAMILIES
from jaxmap.model.spec import Spec


def save_checkpoint(params: nnx.State, spec: Spec, config: dict[str, Any], folder: Path) -> None:
    """Writes config.json and model.safetensors, in the params' dtype, as transformers names them.

    Args:
      params: the decoder's parameters.
      spec: its architecture.
      config: the contents of config.json; its model_type names the family.
      folder: made if it is not there.
    """
    from safetensors.numpy import save_file

    rows = FAMILIES[config["model_type"]].rows(spec)
    parts: dict[str, dict[int, np.ndarray]] = {}
    by_name = {}
    for path, leaf in decoder.named(params).items():
        row = rows[path]
        value = np.asarray(leaf[...])
        stacked = path.startswith(STACKED)
        for layer, one in enumerate(value) if stacked else [(None, value)]:
            name = row.name.format(l=layer)
            parts.setdefault(name, {})[row.part[0] if row.part else 0] = one
            by_name[name] = row
    tensors = {
        name: np.ascontiguousarray(by_name[name].write([p[i] for i in sorted(p)], spec))
        for name, p in parts.items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
