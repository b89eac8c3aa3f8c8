"""A checkpoint folder: its config.json, the architecture, the files with its weights."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from jaxmap.architectures.config import Config, read_json
from jaxmap.architectures.family import Family
from jaxmap.architectures.registry import family_of, objects_of_text, type_of
from jaxmap.architectures.specs import spec_of
from jaxmap.checkpoint import formats
from jaxmap.checkpoint.encodings import Encoding, encoding_of
from jaxmap.checkpoint.formats.adapter import CONFIG as ADAPTER_CONFIG
from jaxmap.checkpoint.formats.base import behind_link
from jaxmap.checkpoint.storage import bits_of_file_type
from jaxmap.model.spec import Spec

ADAPTER = ".adapter"  # the subfolder of a base model's folder with the adapter's own files


class Architecture(NamedTuple):
    """The content of a config.json.

    Fields:
      family, spec, model_type: the architecture.
      encoding: the encoding of the stored weights; None for plain floats.
      extra_layers: the number of multi-token prediction layers in the files, which are not used.
    """

    family: Family
    spec: Spec
    model_type: str
    encoding: Encoding | None = None
    extra_layers: int = 0


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint folder on disk.

    Fields:
      folder: the folder with config.json, weights and tokenizer files.
      ignore_config_keys: keys of config.json that are declared to have no effect on the logits.
    """

    folder: Path
    ignore_config_keys: tuple[str, ...] = ()

    @classmethod
    def of(cls, where: Path | Checkpoint) -> Checkpoint:
        """A folder as a checkpoint, without ignored keys; a checkpoint is returned as it is."""
        return where if isinstance(where, Checkpoint) else cls(where)

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.folder.name

    @property
    def where(self) -> Path:
        """The name in messages: the folder, or the file or adapter of which the folder was made."""
        if self.has_adapter:
            return behind_link(self.folder / ADAPTER / ADAPTER_CONFIG).parent
        found, chosen = formats.weights_of(self.folder)
        return found.named(self.folder, chosen)

    def config(self) -> Config:
        """config.json, with no keys read yet; raises InputError if it is missing or damaged."""
        path = behind_link(self.folder / "config.json")
        values = read_json(path)
        for key in ("text_config", "llm_config"):  # Kimi K2.5 says it of its language model
            inner = values.get(key)
            said = inner.get("quantization_config") if isinstance(inner, dict) else None
            if said and not values.get("quantization_config"):
                values = {**values, "quantization_config": said}
        if not values.get("quantization_config"):
            for name, method in formats.QUANTISATION_FILES.items():
                if (self.folder / name).exists():
                    facts = read_json(self.folder / name)
                    facts = facts.get("quantization") or facts  # ModelOpt's
                    if isinstance(facts, dict):
                        values = {
                            **values,
                            "quantization_config": {"quant_method": method, **facts},
                        }
                    break
        return Config(values, str(path))

    @cached_property
    def architecture(self) -> Architecture:
        """The architecture from config.json, read once; needs no files with weights.

        Raises InputError for an unknown model type and for keys that are missing, contradictory or
        unknown.
        """
        config = self.config()
        family = family_of(config)
        encoding = encoding_of(config)
        spec = spec_of(config, self.ignore_config_keys)
        return Architecture(
            family, spec, type_of(config), encoding, _further_layers(config, family)
        )

    def check_readable(self) -> None:
        """Raises InputError if config.json names a model type or an encoding that is not supported.

        It is called before the weights are downloaded and checks nothing else.
        """
        config = self.config()
        family_of(config)
        encoding_of(config)

    @property
    def encoding(self) -> str:
        """The encoding of its weights, by its name in tables; "" for plain floats."""
        encoding = self.architecture.encoding
        if encoding is not None:
            return encoding.label
        return formats.weights_of(self.folder)[0].label

    @property
    def has_adapter(self) -> bool:
        """Whether an adapter is to be added to the weights."""
        return (self.folder / ADAPTER).is_dir()

    @property
    def base_name(self) -> str:
        """The model from which a quantised copy was made, by its settings; "" if unknown."""
        config = self.config()
        facts = config.peek("quantization_config")
        if not isinstance(facts, dict):
            return ""
        named = (facts.get("model_name_or_path"), config.peek("_name_or_path"))
        return next((one for one in named if isinstance(one, str) and one), "")

    @property
    def bits(self) -> int | None:
        """The bits of a code of most matrices; None if they are floats of 16 bits or more."""
        encoding = self.architecture.encoding
        return bits_of_file_type(self.file_type) if encoding is None else encoding.bits

    @property
    def file_type(self) -> str:
        """The kind of file of a format that has several, such as Q4_K_M; "" for others."""
        found, chosen = formats.weights_of(self.folder)
        return found.file_type(self.folder, chosen)

    @property
    def num_bytes(self) -> int:
        """The bytes of the files with weights, those of an adapter included."""
        own = formats.num_bytes(self.folder)
        return own + (formats.adapter_bytes(self.folder / ADAPTER) if self.has_adapter else 0)


def _further_layers(config: Config, family: Family) -> int:
    """The number of multi-token prediction layers, by the language model's object or the whole."""
    for values in (*reversed(objects_of_text(config, family)), config):
        number = values.peek("num_nextn_predict_layers") or values.peek("num_mtp_layers")
        if number:
            return number
    return 0
