"""The command line: `jaxmap COMMAND [--flags]`. The only module of the package that knows flags.

Exit codes: 0 when all that was asked is done, 2 for a bad flag or bad input, 1 for a failure.
Progress and messages go to stderr, results to stdout or to files.
"""

from __future__ import annotations

import dataclasses
import difflib
import logging as stdlib_logging
import os
import sys
import textwrap
from collections.abc import Callable, Sequence

from absl import flags, logging

from jaxmap.errors import InputError, JaxmapError
from jaxmap.version import __version__


@dataclasses.dataclass(frozen=True)
class Command:
    """One command: its flags, what it does, and the text of its --help.

    Fields:
      summary: one line.
      details: what a newcomer has to know, examples included.
      define: adds the command's flags to a FlagValues.
      run: does it, given the parsed flags; returns the exit code.
    """

    summary: str
    details: str
    define: Callable[[flags.FlagValues], None]
    run: Callable[[flags.FlagValues], int]


def _required(values: flags.FlagValues, *names: str) -> None:
    for name in names:
        if not values[name].value:
            raise InputError(f"--{name} is required; see `jaxmap {values.command} --help`")


def _string(values: flags.FlagValues, name: str, default: str | None, text: str) -> None:
    flags.DEFINE_string(name, default, text, flag_values=values)


def _integer(values: flags.FlagValues, name: str, default: int | None, text: str) -> None:
    flags.DEFINE_integer(name, default, text, flag_values=values, lower_bound=0)


_STORE = "The store: a folder with one file a result."
_TEXTS = "Texts: .jsonl with a `text` field (or `prompt` and `response`), .json, .txt; .gz, .zst."


# texts ------------------------------------------------------------------------------------------


def _define_texts(values: flags.FlagValues) -> None:
    _string(values, "out", None, "The file to write, .jsonl (or .jsonl.gz, .jsonl.zst).")
    _string(values, "source", None, "stdlib, pile, a file or folder, or a Hub dataset.")
    _integer(values, "n", 10_000, "How many texts.")
    _integer(values, "min_bytes", 256, "Texts have more UTF-8 bytes than this.")
    _integer(values, "max_bytes", 1024, "Texts have at most this many UTF-8 bytes.")
    _integer(values, "seed", 42, "Seed of the draw.")


def _texts(values: flags.FlagValues) -> int:
    _required(values, "out", "source")
    from jaxmap.corpus.sources import make_texts

    # Without --n, a corpus that holds fewer texts than the published number gives what it has.
    written = make_texts(
        values.out,
        values.source,
        n=values.n if values["n"].present else None,
        min_bytes=values.min_bytes,
        max_bytes=values.max_bytes,
        seed=values.seed,
    )
    print(f"{written} texts in {values.out}")
    return 0


# score ------------------------------------------------------------------------------------------


def _define_score(values: flags.FlagValues) -> None:
    _string(values, "store", None, _STORE + " Made if it is not there; results are added to it.")
    _string(values, "texts", None, _TEXTS)
    _string(
        values,
        "models",
        None,
        "Comma-separated: org/name, org/name@revision, a folder, folder@step1000; "
        "braces expand: @step{0,1,1000:143001:1000}.",
    )
    flags.DEFINE_enum(
        "dtype",
        "auto",
        ["auto", "float32", "bfloat16", "float16"],
        "Of weights and activations; auto: float32 on CPU, as stored on GPU, bfloat16 on TPU.",
        flag_values=values,
    )
    flags.DEFINE_boolean(
        "lens", False, "Score every layer through the logit lens too.", flag_values=values
    )
    flags.DEFINE_list(
        "quantize",
        ["none"],
        "Comma-separated: none (the model itself), int8, nf4, fp4: copies with the linear layers "
        "in 8 or 4 bit, each a result of its own.",
        flag_values=values,
    )
    _integer(values, "batch_tokens", None, "Tokens of a batch; a default for the device if unset.")
    flags.DEFINE_list(
        "ignore_config_keys",
        [],
        "Keys of config.json that you know to be without effect on the logits.",
        flag_values=values,
    )


def _score(values: flags.FlagValues) -> int:
    _required(values, "store", "texts", "models")
    from jaxmap.checkpoint.refs import parse_refs
    from jaxmap.corpus.texts import load_texts
    from jaxmap.store import Store
    from jaxmap.work import parse_quantisations

    refs = parse_refs(values.models)
    variants = parse_quantisations(values.quantize)
    texts = load_texts(values.texts)
    store = Store.create(values.store, texts)
    from jaxmap import runtime

    runtime.prepare()
    from jaxmap.score.run import score_models

    outcome = score_models(
        refs,
        texts,
        store,
        dtype=values.dtype,
        lens=values.lens,
        quantize=variants,
        batch_tokens=values.batch_tokens,
        ignore_config_keys=values.ignore_config_keys,
    )
    print(
        f"{len(outcome.scored)} scored, {len(outcome.found)} already done, "
        f"{len(outcome.failed)} failed"
    )
    for failure in outcome.failed:
        print(f"  {failure.item.label}: {failure.reason}")
    return outcome.exit_code


# status, export, kl, report ---------------------------------------------------------------------


def _define_store(values: flags.FlagValues) -> None:
    _string(values, "store", None, _STORE)


def _status(values: flags.FlagValues) -> int:
    _required(values, "store")
    from jaxmap.status import status
    from jaxmap.store import Store

    print(status(Store.open(values.store)).text(), end="")
    return 0


def _define_export(values: flags.FlagValues) -> None:
    _define_store(values)
    _string(values, "out", None, "The file to write: .npz, .csv or .nc.")


def _export(values: flags.FlagValues) -> int:
    _required(values, "store", "out")
    from jaxmap.export import export
    from jaxmap.store import Store

    rows = export(Store.open(values.store), values.out)
    print(f"{rows} models in {values.out}")
    return 0


def _define_kl(values: flags.FlagValues) -> None:
    _define_store(values)
    _string(values, "out", None, "The .csv to write: model_a, model_b, KL and standard error.")
    _string(values, "pairs", "all", "all, consecutive (checkpoints of a run), or A:B.")


def _kl(values: flags.FlagValues) -> int:
    _required(values, "store", "out", "pairs")
    from jaxmap.kl import write_kl
    from jaxmap.store import Store

    rows = write_kl(Store.open(values.store), values.out, values.pairs)
    print(f"{rows} pairs in {values.out}")
    return 0


# the authors' data, scale, diffusion -------------------------------------------------------------


def _define_import(values: flags.FlagValues) -> None:
    _define_store(values)
    _string(values, "released", None, "The authors' data folder: their .pkl and .json files.")


def _import(values: flags.FlagValues) -> int:
    _required(values, "store", "released")
    from jaxmap.released import import_released

    _, report = import_released(values.released, values.store)
    print(report.text(), end="")
    return 0


def _define_scale(values: flags.FlagValues) -> None:
    _define_store(values)
    _string(values, "out", None, "The folder for scale.csv, scale_pairs.csv and figure 3.")
    _integer(values, "warmup_steps", 2000, "Training steps that count as warmup.")
    _string(values, "parents", None, "A .json of child -> parent, instead of the model cards.")


def _scale(values: flags.FlagValues) -> int:
    _required(values, "store", "out")
    from jaxmap.analysis.scale import write_scale
    from jaxmap.store import Store

    store = Store.open(values.store)
    scale = write_scale(
        store, values.out, warmup=values.warmup_steps, parents=values.parents or None
    )
    print(scale.text(), end="")
    return 0


def _define_diffusion(values: flags.FlagValues) -> None:
    _define_store(values)
    _string(values, "out", None, "The folder for diffusion.csv, msd.csv and figures 4 and 5.")
    _integer(values, "warmup_steps", 2000, "Training steps that count as warmup.")
    _integer(values, "start_from", 1000, "The first step from which an exponent is measured.")
    _integer(values, "window", 10, "Saved checkpoints after the start that enter an exponent.")


def _diffusion(values: flags.FlagValues) -> int:
    _required(values, "store", "out")
    from jaxmap.analysis.diffusion import write_diffusion
    from jaxmap.store import Store

    found = write_diffusion(
        Store.open(values.store),
        values.out,
        warmup=values.warmup_steps,
        start_from=values.start_from,
        window=values.window,
    )
    for note in found.notes:
        print(note)
    print(f"exponents in {os.path.join(values.out, 'diffusion.csv')}")
    return 0


def _define_map(values: flags.FlagValues) -> None:
    _define_store(values)
    _string(values, "out", None, "The folder for coordinates.csv, path_statistics.csv and figures.")
    _integer(values, "warmup_steps", 2000, "Training steps that count as warmup.")
    _string(values, "parents", None, "A .json of child -> parent, instead of the model cards.")


def _map(values: flags.FlagValues) -> int:
    _required(values, "store", "out")
    from jaxmap.analysis.mapping import draw_map
    from jaxmap.store import Store

    drawn = draw_map(
        Store.open(values.store),
        values.out,
        warmup=values.warmup_steps,
        parents=values.parents or None,
    )
    print(drawn.text(), end="")
    return 0


def _define_report(values: flags.FlagValues) -> None:
    _define_store(values)
    _string(values, "out", None, "The .html to write; one file that opens offline.")
    _integer(values, "warmup_steps", 2000, "Training steps that count as warmup.")


def _report(values: flags.FlagValues) -> int:
    _required(values, "store", "out")
    from jaxmap.report.page import write_report
    from jaxmap.store import Store

    page = write_report(Store.open(values.store), values.out, warmup=values.warmup_steps)
    print(f"report in {values.out} ({page.stat().st_size / 1e6:.1f} MB)")
    return 0


def _define_families(values: flags.FlagValues) -> None:
    _string(values, "find", "", "Only the types whose name contains this.")


def _families(values: flags.FlagValues) -> int:
    from jaxmap.model.families import coverage

    print(coverage.table(values.find), end="")
    return 0


# demo -------------------------------------------------------------------------------------------


def _define_demo(values: flags.FlagValues) -> None:
    _string(values, "out", None, "The folder for models, store, figures and report.html.")


def _demo(values: flags.FlagValues) -> int:
    _required(values, "out")
    from jaxmap import runtime

    runtime.prepare()
    from jaxmap.demo.run import run_demo

    return run_demo(values.out)


COMMANDS = {
    "texts": Command(
        "cut a corpus into the texts that models are scored on",
        """Writes a .jsonl with one text a line, by the published recipe: documents are cut into
chunks of at most --max_bytes that never split a character, chunks of at most --min_bytes are
dropped, and --n are drawn with --seed.

  jaxmap texts --out=texts.jsonl --source=stdlib --n=1000     works offline, anywhere
  jaxmap texts --out=pile.jsonl --source=pile                 the published 10,000
""",
        _define_texts,
        _texts,
    ),
    "score": Command(
        "log-likelihood of every text under each model",
        """Scores one fixed set of texts with every model and keeps one record a model in the
store. Run the same command again after a crash: what is done is not computed again. A model that
fails is noted in the store and the others go on.

  jaxmap score --store=runs --texts=texts.jsonl --models=EleutherAI/pythia-70m,./my-model
  jaxmap score --store=runs --texts=texts.jsonl \\
      --models='EleutherAI/pythia-70m@step{0,1,1000:143001:1000}'
  jaxmap score --store=runs --texts=texts.jsonl --models=EleutherAI/pythia-70m \\
      --quantize=none,int8,fp4
""",
        _define_score,
        _score,
    ),
    "status": Command(
        "what a store holds: done, failed and why, missing",
        """Compares what was asked of the store with what is there.

  jaxmap status --store=runs
""",
        _define_store,
        _status,
    ),
    "export": Command(
        "the log-likelihood matrix as .npz, .csv or .nc",
        """Writes log_likelihood [K, N] in nats with the models' labels, the tokens of each text
and its bytes. .npz: NumPy arrays; .csv: one line a model and text; .nc: labelled, for xarray.

  jaxmap export --store=runs --out=runs.npz
""",
        _define_export,
        _export,
    ),
    "kl": Command(
        "KL divergences between models, in bits per byte",
        """Writes KL(a, b) = Var(log-likelihood of a - that of b) / (2 x mean bytes x ln 2) and its
standard error over texts (Oyama et al. 2025, Kishino et al. 2026).

  jaxmap kl --store=runs --out=kl.csv
  jaxmap kl --store=runs --out=steps.csv --pairs=consecutive
""",
        _define_kl,
        _kl,
    ),
    "import": Command(
        "the authors' released data into a store",
        """Reads the data folder that the papers' authors released (pickled NumPy arrays, read by a
loader that admits nothing else) into a store, so that every table and figure can be made with no
model and no GPU.

  jaxmap import --store=published --released=data
""",
        _define_import,
        _import,
    ),
    "scale": Command(
        "KL in the ten settings of the paper: table and figure 3",
        """Measures KL between models in ten settings, from neighbouring checkpoints to random
pairs, as far as the store can fill them, and says why where it cannot.

  jaxmap scale --store=runs --out=scale
""",
        _define_scale,
        _scale,
    ),
    "diffusion": Command(
        "how training moves: consecutive KL and diffusion exponents",
        """Fits how KL (and the distance of weights, where the store has it) grows with the number
of steps: exponent 1 is Brownian motion, less is subdiffusive. Figures 4 and 5.

  jaxmap diffusion --store=runs --out=diffusion
""",
        _define_diffusion,
        _diffusion,
    ),
    "map": Command(
        "maps of models, checkpoints and layers, and the shapes of training paths",
        """Draws what the store can fill of figures 1, 2 and 4 of Kishino et al. 2026: training
runs, models with their 8-bit and 4-bit versions, parents and children, layers, and KL between
checkpoints in a row. Each map twice: t-SNE as published, and principal components. Writes also
coordinates.csv and path_statistics.csv (length, straightness, and turns with a Brownian null).

  jaxmap map --store=runs --out=map
""",
        _define_map,
        _map,
    ),
    "report": Command(
        "one HTML page about a store",
        """One file that opens offline: the map (zoom, hover, search, a slider over training steps),
KL between all models, what was learnt, the scale of KL, diffusion, what was left out and why. Most
of its size is plotly.js (4.7 MB), which is inside it.

  jaxmap report --store=runs --out=report.html
""",
        _define_report,
        _report,
    ),
    "families": Command(
        "the architectures that can be scored",
        """Lists the values of model_type in config.json that are known, the papers to cite, and
how many models of the published map of 1,018 each covers.

  jaxmap families --find=qwen
""",
        _define_families,
        _families,
    ),
    "demo": Command(
        "train a Pythia in miniature and map its checkpoints",
        """Trains five small GPT-NeoX models on the documentation and source of this Python, saves
their checkpoints as Hugging Face folders, scores every one, and writes figures and a report. A few
minutes on two cores; run it again after an interruption and it goes on.

  jaxmap demo --out=demo
""",
        _define_demo,
        _demo,
    ),
}


def _usage() -> str:
    lines = [f"jaxmap {__version__}: maps language models by their log-likelihoods", ""]
    lines += ["usage: jaxmap COMMAND [--flag=value ...]", ""]
    lines += [f"  {name:<9} {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join([*lines, "", "jaxmap COMMAND --help says more about one.", ""])


def _help(name: str, values: flags.FlagValues) -> str:
    command = COMMANDS[name]
    lines = [f"jaxmap {name}: {command.summary}", "", command.details.rstrip(), "", "flags:"]
    for key in values:
        flag = values[key]
        if key in _OWN:
            continue
        default = "" if flag.default in (None, "", []) else f" (default: {flag.default_as_str})"
        text = textwrap.fill(f"{flag.help}{default}", 94, break_on_hyphens=False)
        lines.append(f"  --{key}\n{textwrap.indent(text, ' ' * 6)}")
    return "\n".join([*lines, ""])


_OWN = ("command", "help", "helpfull", "helpshort", "helpxml", "flagfile", "undefok")


def _parse(name: str, arguments: Sequence[str]) -> flags.FlagValues:
    """The flags of one command; InputError for any that it does not have or cannot read."""
    values = flags.FlagValues()
    _string(values, "command", name, "The command.")
    flags.DEFINE_boolean("help", False, "This text.", flag_values=values)
    COMMANDS[name].define(values)
    try:
        rest = values([name, *arguments])[1:]
    except flags.UnrecognizedFlagError as error:
        near = difflib.get_close_matches(error.flagname, [k for k in values if k not in _OWN], 1)
        hint = f"; did you mean --{near[0]}?" if near else ""
        raise InputError(
            f"unknown flag --{error.flagname}{hint} See `jaxmap {name} --help`"
        ) from None
    except flags.Error as error:
        raise InputError(str(error)) from None
    if rest:
        raise InputError(
            f"unexpected argument {rest[0]!r}: flags are written --name=value; "
            f"see `jaxmap {name} --help`"
        )
    return values


def run(arguments: Sequence[str]) -> int:
    """Runs one command line (without the program's name) and returns its exit code."""
    if not arguments or arguments[0] in ("--help", "-h", "help", "--helpfull"):
        print(_usage(), end="")
        return 0 if arguments else 2
    if arguments[0] in ("--version", "version"):
        print(__version__)
        return 0
    name, *rest = arguments
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise InputError(f"unknown command {name!r}{hint} Known: {', '.join(COMMANDS)}")
    values = _parse(name, rest)
    if values.help:
        print(_help(name, values), end="")
        return 0
    return COMMANDS[name].run(values)


def _log_to_stderr() -> None:
    """Our own messages from INFO on, other libraries' from WARNING on, one plain line each."""
    flags.FLAGS.mark_as_parsed()  # absl's logging waits for its own flags
    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO)
    logging.get_absl_handler().setFormatter(stdlib_logging.Formatter("jaxmap: %(message)s"))
    for library in ("jax", "orbax"):
        stdlib_logging.getLogger(library).setLevel(stdlib_logging.WARNING)


def main() -> None:
    """The `jaxmap` program."""
    _log_to_stderr()
    try:
        code = run(sys.argv[1:])
    except JaxmapError as error:
        print(f"jaxmap: {error}", file=sys.stderr)
        code = error.exit_code
    except KeyboardInterrupt:
        print("jaxmap: interrupted; run the same command again to go on", file=sys.stderr)
        code = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code)


if __name__ == "__main__":
    main()
