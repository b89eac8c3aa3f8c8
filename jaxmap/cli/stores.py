"""What is in a store: status, export, kl, forget, import."""

from __future__ import annotations

import math

from absl import flags

from jaxmap.cli import exit_codes
from jaxmap.cli.command import Command, define_store, string
from jaxmap.cli.output import as_flags

WATCH = 5.0  # seconds between two updates


class _Seconds(flags.ArgumentParser):
    """Seconds; for the bare flag, the default."""

    def parse(self, argument: object) -> float | None:
        if argument in (None, False, "false"):
            return None
        if argument in (True, "true"):
            return WATCH
        try:
            seconds = float(str(argument))
        except ValueError:
            seconds = 0.0
        if not 0.1 <= seconds < 1e6:
            raise ValueError("seconds, from 0.1 on")
        return seconds


def _define_status(values: flags.FlagValues) -> None:
    define_store(values)
    flag: flags.Flag = flags.Flag(
        parser=_Seconds(),
        serializer=None,
        name="watch",
        default=None,
        help_string="Show a live table of all workers until all is done or Ctrl-C; =SECONDS "
        f"between two updates, {WATCH:g} if not given.",
    )
    flag.boolean = True  # may stand without a value
    flags.DEFINE_flag(flag, values)
    flags.DEFINE_boolean(
        "hub",
        False,
        "List again what the Hub has of the models that were asked for by a pattern or a range.",
        flag_values=values,
    )


def _status(values: flags.FlagValues) -> int:
    from jaxmap.api.stores import status
    from jaxmap.store.watch import gave_up

    report = status(values.store, watch=values.watch, hub=values.hub)
    if values.watch is None:
        print(as_flags(report.text(), list(values)), end="")
        return 0
    return exit_codes.FAILURE if gave_up(report) else exit_codes.DONE


def _define_export(values: flags.FlagValues) -> None:
    define_store(values)
    string(values, "out", None, "The file to write: .npz, .csv or .nc.")
    string(values, "released", None, "In place of --out: a folder for the authors' layout.")


def _export(values: flags.FlagValues) -> int:
    from jaxmap.api.stores import export

    print(export(values.store, out=values.out, released=values.released).text(), end="")
    return 0


def _define_kl(values: flags.FlagValues) -> None:
    define_store(values)
    string(
        values,
        "out",
        None,
        "The .csv to write: model_a, model_b, KL and standard error. A .npy gets all KLs as a "
        "matrix, and OUT.models.txt the models of its rows.",
    )
    string(values, "pairs", "all", "all, consecutive (checkpoints of a run), or A:B.")
    string(values, "base", None, "A model: only the pairs of it and each other.")


def _kl(values: flags.FlagValues) -> int:
    from jaxmap.api.analyses import write_kl

    pairs = write_kl(values.store, values.out, pairs=values.pairs, base=values.base or None)
    if values.out.lower().endswith(".npy"):
        size = (1 + math.isqrt(1 + 8 * pairs)) // 2
        print(f"{size} x {size} in {values.out}, models in {values.out}.models.txt")
    else:
        print(f"{pairs} pairs in {values.out}")
    return 0


def _define_import(values: flags.FlagValues) -> None:
    define_store(values)
    string(
        values,
        "released",
        None,
        "The authors' data: their repository's kl-scale folder, its data/, or all .pkl and .json "
        "files in one place. Nothing is written there.",
    )


def _import(values: flags.FlagValues) -> int:
    from jaxmap.api.stores import import_released

    print(import_released(values.released, values.store).text(), end="")
    return 0


def _define_forget(values: flags.FlagValues) -> None:
    define_store(values)
    string(
        values,
        "models",
        None,
        "Comma-separated references, as they were scored; braces expand, and * matches what the "
        "store knows: org/name@stage1-*.",
    )


def _forget(values: flags.FlagValues) -> int:
    from jaxmap.api.stores import forget

    print(forget(values.store, values.models).text(), end="")
    return 0


COMMANDS = {
    "status": Command(
        "what a store holds: done, failed and why, missing",
        """Compares what was asked of the store with what is there. With --watch, a live table
over all processes that work on it, here and on other machines: done, running, failed, rate, time
to go.

  jaxmap status --store=runs
  jaxmap status --store=runs --hub         what the Hub has by now that was not asked for
  jaxmap status --store=runs --watch
""",
        _define_status,
        _status,
        required=("store",),
    ),
    "export": Command(
        "the log-likelihood matrix as .npz, .csv or .nc",
        """Writes log_likelihood [K, N] in nats with the models' labels, the tokens of each text
and its bytes. .npz: NumPy arrays; .csv: one line per model and text; .nc: labelled, for xarray.
With --released the way back of `jaxmap import`: the pickles and .json files of the papers' data
folder, as far as the store fills them; of an imported store the same files, bit for bit.

  jaxmap export --store=runs --out=runs.npz
  jaxmap export --store=runs --released=data
""",
        _define_export,
        _export,
        required=("store",),
        one_of=(("out", "released"),),
    ),
    "kl": Command(
        "KL divergences between models, in bits per byte",
        """Writes KL(a, b) = Var(log-likelihood of a - that of b) / (2 x mean bytes x ln 2) and its
standard error over texts (Oyama et al. 2025, Kishino et al. 2026). Scores are raw: nothing is
clipped, and no text is dropped.

  jaxmap kl --store=runs --out=kl.csv
  jaxmap kl --store=runs --out=steps.csv --pairs=consecutive
  jaxmap kl --store=runs --out=copies.csv --base=org/name
  jaxmap kl --store=runs --out=kl.npy      thousands of models, in bounded memory
""",
        _define_kl,
        _kl,
        required=("store", "out", "pairs"),
    ),
    "forget": Command(
        "takes models out of a store: results, failures, requests",
        """Removes all that a store holds about models: their results, the reasons of failures,
requests that are not done, unfinished scores, weight distances. Other models stay as they
are. A later run that asks for a model again computes it again.

  jaxmap forget --store=runs --models=org/name@step5
  jaxmap forget --store=runs --models='org/name@step{5,7},org/other@stage1-*'
""",
        _define_forget,
        _forget,
        required=("store", "models"),
    ),
    "import": Command(
        "the authors' released data into a store",
        """Reads the data folder that the papers' authors released (pickled NumPy arrays, read by a
loader that admits nothing else) into a store, so that every table and figure can be made with no
model and no GPU. None in the files is absent, and named. `jaxmap reproduce` does it all at once.

  jaxmap import --store=published --released=modelmap/kl-scale
""",
        _define_import,
        _import,
        required=("store", "released"),
    ),
}
