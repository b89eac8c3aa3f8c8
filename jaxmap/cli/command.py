"""What a command of the program is, and the flags that several share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from absl import flags

from jaxmap.errors import InputError
from jaxmap.precision import PRECISIONS
from jaxmap.variant import ENGINES


@dataclasses.dataclass(frozen=True)
class Command:
    """One command: its flags, what it does, and the text of its --help.

    Fields:
      summary: one line.
      details: what a newcomer has to know, examples included.
      define: adds the command's flags to a FlagValues.
      run: runs the command with the parsed flags; returns the exit code.
      required: the names of flags that must have a value.
      words: what may stand after the command's name and changes nothing: `jaxmap lens train`.
      one_of: groups of flags of which at least one must have a value.
      renamed: other names that somebody may write for a flag, each with the flag's own name.
      former: names that flags had in earlier versions, each with today's; they still work.
    """

    summary: str
    details: str
    define: Callable[[flags.FlagValues], None]
    run: Callable[[flags.FlagValues], int]
    required: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    one_of: tuple[tuple[str, ...], ...] = ()
    renamed: Mapping[str, str] = dataclasses.field(default_factory=dict)
    former: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def check_required(self, values: flags.FlagValues) -> None:
        """Raises InputError for the first flag that must have a value and has none."""
        for names in [*((name,) for name in self.required), *self.one_of]:
            if not any(values[name].value for name in names):
                others = "".join(f", or --{name}" for name in names[1:])
                see = f"see `jaxmap {values.command} --help`"
                raise InputError(f"--{names[0]} is required{others}; {see}")

    def need_of(self, name: str) -> str:
        """What --help adds to a flag that must have a value: "required"; "" to any other."""
        for names in self.one_of:
            if name in names:
                others = " or ".join(f"--{one}" for one in names if one != name)
                return f"this or {others} is required"
        return "required" if name in self.required else ""


def string(values: flags.FlagValues, name: str, default: str | None, text: str) -> None:
    """Defines a flag whose value is a string."""
    flags.DEFINE_string(name, default, text, flag_values=values)


def integer(values: flags.FlagValues, name: str, default: int | None, text: str) -> None:
    """Defines a flag whose value is an integer, at least 0."""
    flags.DEFINE_integer(name, default, text, flag_values=values, lower_bound=0)


def define_store(values: flags.FlagValues, *, made: bool = False) -> None:
    """`made`: by the command where it is not there."""
    more = " Made if it is not there; results are added to it." if made else ""
    string(values, "store", None, "The store: a folder with one file per result." + more)


def define_texts(values: flags.FlagValues, more: str = "") -> None:
    """Defines --texts; `more` is added to its help."""
    text = "Texts: .jsonl with a `text` field (or `prompt` and `response`), .json, .txt; .gz, .zst."
    string(values, "texts", None, f"{text} {more}".rstrip())


def define_models(values: flags.FlagValues) -> None:
    """Defines --models and --models_file."""
    string(
        values,
        "models",
        None,
        "Comma-separated: org/name, org/name@revision, org/name/subfolder, a folder, "
        "folder@step1000; braces expand: @step{0,1,1000:143001:1000}; * matches the branches, "
        "tags and subfolders that there are: @*, @stage1-*.",
    )
    string(
        values,
        "models_file",
        None,
        "A file with more references: a JSON list, or one per line (# begins a comment).",
    )


OTHER_NAMES_OF_QUANTIZE = dict.fromkeys(
    ("quantise", "quantisation", "quantization", "quantised", "quantized"), "quantize"
)
MODELS = ("models", "models_file")  # of which one must have a value


def define_runs_file(values: flags.FlagValues, more: str = "") -> None:
    """Defines --runs_file; `more` is added to its help."""
    text = (
        "A .toml or .json file of facts about training runs that names lack: tokens per step, "
        "order, which run continues which (docs/runs.md)."
    )
    string(values, "runs_file", None, f"{text} {more}".rstrip())


def define_dtype(values: flags.FlagValues, more: str = "") -> None:
    """Defines --dtype; `more` is added to its help."""
    text = (
        "The arithmetic. float32: all of it, with weights held as stored. bfloat16, float16: "
        "weights and activations. bfloat16_3x: as float32, but products in three bfloat16 passes. "
        "auto: float32 on CPU, as stored on GPU, bfloat16_3x on TPU. See `jaxmap floor`."
    )
    flags.DEFINE_enum(
        "dtype", "auto", ["auto", *PRECISIONS], f"{text} {more}".rstrip(), flag_values=values
    )


def define_engine(values: flags.FlagValues, default: str | None) -> None:
    """Defines --engine."""
    flags.DEFINE_enum(
        "engine",
        default,
        list(ENGINES),
        "jax: this program's decoder, for the types that `jaxmap families` lists. torch: "
        "transformers on PyTorch (pip install torch), for any causal model that it "
        "knows: slower, on one device, float32 unless --dtype says otherwise; its results are "
        "marked +torch.",
        flag_values=values,
    )


def define_batch_tokens(values: flags.FlagValues) -> None:
    """Defines --batch_tokens."""
    integer(
        values,
        "batch_tokens",
        None,
        "Tokens per batch, or per part of it that a group of devices gets; a default for "
        "the device if unset.",
    )


def define_ignored_keys(values: flags.FlagValues) -> None:
    """Defines --ignore_config_keys."""
    flags.DEFINE_list(
        "ignore_config_keys",
        [],
        "Comma-separated keys of config.json that you know to have no effect on the logits.",
        flag_values=values,
    )
