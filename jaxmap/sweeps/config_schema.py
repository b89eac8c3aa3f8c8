"""The schema of configs/*.py: which models, which texts, and the settings of a run."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from jaxmap.checkpoint.listing import read_models_file
from jaxmap.checkpoint.refs import Ref, parse_refs
from jaxmap.errors import InputError
from jaxmap.naming import Names, names_of, read_runs_file
from jaxmap.sweeps.settings import PLAIN, Settings, refuse_unknown

if TYPE_CHECKING:
    from ml_collections import ConfigDict


# Settings that are options of a run, not of a config.
OF_THE_RUN = ("save_every", "cache_budget", "mesh", "batch")


@dataclasses.dataclass(frozen=True)
class SweepConfig:
    """The config of a sweep. A config file has these fields and those of the settings.

    Fields:
      models: references and patterns: "org/name@step{0,1000:143001:1000}".
      models_file: a file with more references: a JSON list, or one per line (# begins a comment).
      first: the number of references to use from models_file; 0: all.
      every: use every n-th checkpoint of each training run, the first and the last; 0: all.
      runs: facts about training runs that names lack, mappings with the fields of `RunFacts`.
      runs_file: a .toml or .json file with more such facts; it has priority over `runs`.
      texts: the file of texts.
      limit: the number of texts to use; 0: all.
      settings: how each model is scored: dtype, lens, tuned_lens, quantize, statistics,
        keep_tokens, weight_distance, ignore_config_keys, engine, batch_tokens (in a config file
        0 is the default).
    """

    models: tuple[str, ...] = ()
    models_file: str = ""
    first: int = 0
    every: int = 0
    runs: tuple[Mapping[str, Any], ...] = ()
    runs_file: str = ""
    texts: str = "texts.jsonl"
    limit: int = 0
    settings: Settings = PLAIN

    def settings_with(self, **options: Any) -> Settings:
        """The settings, with the options that belong to a run, not a config (OF_THE_RUN)."""
        return dataclasses.replace(self.settings, **options)

    def names(self) -> Names:
        """The parser of names, with the given facts about runs; raises InputError for bad ones."""
        given = names_of(self.runs)
        return read_runs_file(self.runs_file).over(given) if self.runs_file else given

    def refs(self) -> list[Ref]:
        """The models, each once, with patterns not yet expanded.

        Raises InputError if there is none, or if the file cannot be read.
        """
        refs = [ref for pattern in self.models for ref in parse_refs(pattern)]
        if self.models_file:
            refs += read_models_file(self.models_file, self.first)
        if not refs:
            raise InputError("config: names no models: set models or models_file")
        return list(dict.fromkeys(refs))


def config_dict(**fields: Any) -> ConfigDict:
    """A complete config of a sweep with some fields set, for `get_config` to return.

    Lists are comma-separated strings, so that they can be set on the command line.
    """
    from ml_collections import ConfigDict

    values = _plain(read_config(fields))
    runs = values.pop("runs")
    joined = {n: ",".join(v) if isinstance(v, tuple) else v for n, v in values.items()}
    return ConfigDict({**joined, "runs": runs})


def _plain(config: SweepConfig) -> dict[str, Any]:
    """The fields of a config in the flat form of a config file."""
    own = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    settings: Settings = own.pop("settings")
    of_settings = {
        field.name: getattr(settings, field.name)
        for field in dataclasses.fields(settings)
        if field.name not in OF_THE_RUN
    }
    return {**own, **of_settings, "batch_tokens": settings.batch_tokens or 0}


def load_config(path: str) -> Any:
    """Calls `get_config` in FILE.py, or FILE.py:ARGUMENT, which returns a mapping of fields.

    Raises InputError if the file is missing, has no such function, or fails.
    """
    import runpy

    def refused(why: str) -> InputError:
        return InputError(why, field="config", value=path)

    file = path.partition(":")[0]
    if not os.path.isfile(file):
        raise refused("no such file")
    try:
        made = runpy.run_path(file)["get_config"](*path.split(":", 1)[1:])
        dict(made)
        return made
    except InputError:
        raise
    except KeyError as error:
        what = "get_config()" if error.args == ("get_config",) else f"key {error}"
        raise refused(f"has no {what}") from error
    except Exception as error:
        lines = str(error).strip().splitlines()
        reason = f"{type(error).__name__}: {lines[0] if lines else ''}"
        raise refused(f"cannot be read: {reason}") from error


def read_config(values: Mapping[str, Any], where: str = "config") -> SweepConfig:
    """Makes a config of plain values; raises InputError for a field that is unknown or invalid."""
    known = _plain(SweepConfig())
    refuse_unknown(values, known, where)
    read: dict[str, Any] = {}
    for name, value in values.items():
        default = known[name]
        if name == "runs":
            if not isinstance(value, list | tuple) or not all(
                isinstance(one, Mapping) for one in value
            ):
                raise InputError(f"{where}: runs: {value!r:.60} is not a list of mappings")
            value = tuple(value)
            names_of(value)
        elif isinstance(default, tuple):
            if isinstance(value, str):
                # `parse_refs` splits models at commas outside braces.
                value = [value] if name == "models" else value.split(",")
                value = [part.strip() for part in value if part.strip()]
            if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
                raise InputError(f"{where}: {name}: {value!r} is not a list of names")
            value = tuple(value)
        elif type(value) is not type(default):
            kind = type(default).__name__
            raise InputError(f"{where}: {name}: {value!r} is not of type {kind}")
        elif isinstance(value, int) and value < 0:
            raise InputError(f"{where}: {name}: {value} is negative")
        read[name] = value
    names = {field.name for field in dataclasses.fields(SweepConfig)}
    own = {name: value for name, value in read.items() if name in names}
    of_settings = {name: value for name, value in read.items() if name not in names}
    if not of_settings.get("batch_tokens", 1):
        of_settings["batch_tokens"] = None
    return SweepConfig(**own, settings=Settings(**of_settings))
