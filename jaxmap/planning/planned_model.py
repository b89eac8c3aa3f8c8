"""What is known of a model that is planned for, without reading its weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from jaxmap.checkpoint import weights
from jaxmap.checkpoint.checkpoint import Checkpoint
from jaxmap.checkpoint.formats import weights_of
from jaxmap.checkpoint.formats.gguf import models_in
from jaxmap.checkpoint.refs import Ref, is_folder, parse_refs
from jaxmap.engine.device_memory import OnDevices
from jaxmap.errors import InputError
from jaxmap.model.spec import Spec

_FLOATS = ("float32", "float16", "bfloat16")


@dataclass(frozen=True)
class PlannedModel:
    """The facts of one model.

    Fields:
      spec: its architecture.
      stored: the dtype of its weights, float32 for those in codes.
      label: how its weights are stored, for people: float16, gptq-4bit, gguf Q4_K_M.
      opened: the checkpoint whose tensors stay in codes on the devices; None for floats.
    """

    spec: Spec
    stored: str
    label: str
    opened: weights.Opened | None = None

    def on_devices(self, dtype: str) -> OnDevices | None:
        """What the devices hold in a precision; None where it follows from `stored`."""
        if self.opened is None:
            return None
        return partial(weights.shapes_on, self.opened, dtype, in_codes=True)


def planned_model(model: str, ignore_config_keys: Sequence[str] = ()) -> PlannedModel:
    """Reads config.json of a folder or from the Hub, or the metadata of a GGUF file.

    Weights are not needed. Where a folder has them in codes, the shapes of these are read, too, as
    they are what the devices hold; without them a copy in codes is taken to be decoded.

    Raises InputError for several references, a missing file, an unknown architecture, and a GGUF
    file that is not on disk.
    """
    refs = parse_refs(model)
    if len(refs) != 1:
        raise InputError(f"names {len(refs)} models; plan for one", field="model", value=model)
    folder = _folder(refs[0], model)
    checkpoint = Checkpoint(folder, tuple(ignore_config_keys))
    architecture = checkpoint.architecture
    try:
        format_, _ = weights_of(folder)
    except InputError:  # only config.json
        format_ = None
    if format_ is not None and (architecture.encoding is not None or format_.label):
        with weights.opened(checkpoint) as found:
            label = " ".join(filter(None, (checkpoint.encoding, checkpoint.file_type)))
            return PlannedModel(found.spec, found.stored_dtype, label, found)
    config = checkpoint.config()
    stored = str(config.get("dtype") or config.get("torch_dtype") or "float32")
    stored = stored if stored in _FLOATS else "float32"
    label = stored
    if architecture.encoding is not None:
        label = f"{architecture.encoding.label} (sized as {stored}, as its files are not there)"
    return PlannedModel(architecture.spec, stored, label)


def _folder(ref: Ref, model: str) -> Path:
    """The folder with config.json; that of a GGUF file is made of its metadata."""
    if not is_folder(ref.name):
        if ref.file:
            raise InputError(
                f"{ref}: a GGUF file is planned for from disk; download it and name the file",
                field="model",
                value=model,
            )
        from jaxmap.checkpoint.sources.hub import fetch_config

        return fetch_config(ref)
    from jaxmap.checkpoint.sources.files import existing_folder, fetch, resolve

    folder = existing_folder(Ref(ref.name))
    if ref.revision and (folder / ref.revision).is_dir():
        folder = folder / ref.revision
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    if ref.file or ("config.json" not in names and models_in(names)):
        return fetch(resolve(ref)).folder
    if "config.json" not in names:
        raise InputError(f"{folder} has no config.json", field="model", value=model)
    return folder
