"""What is in a store: status, export, kl, import."""

from __future__ import annotations

from absl import flags

from jaxmap.cli.command import Command, define_store, required, string


def _status(values: flags.FlagValues) -> int:
    required(values, "store")
    from jaxmap.store import Store
    from jaxmap.store.status import status

    print(status(Store.open(values.store)).text(), end="")
    return 0


def _define_export(values: flags.FlagValues) -> None:
    define_store(values)
    string(values, "out", None, "The file to write: .npz, .csv or .nc.")


def _export(values: flags.FlagValues) -> int:
    required(values, "store", "out")
    from jaxmap.store import Store
    from jaxmap.store.export import export

    rows = export(Store.open(values.store), values.out)
    print(f"{rows} models in {values.out}")
    return 0


def _define_kl(values: flags.FlagValues) -> None:
    define_store(values)
    string(values, "out", None, "The .csv to write: model_a, model_b, KL and standard error.")
    string(values, "pairs", "all", "all, consecutive (checkpoints of a run), or A:B.")


def _kl(values: flags.FlagValues) -> int:
    required(values, "store", "out", "pairs")
    from jaxmap.analysis.kl import write_kl
    from jaxmap.store import Store

    rows = write_kl(Store.open(values.store), values.out, values.pairs)
    print(f"{rows} pairs in {values.out}")
    return 0


def _define_import(values: flags.FlagValues) -> None:
    define_store(values)
    string(values, "released", None, "The authors' data folder: their .pkl and .json files.")


def _import(values: flags.FlagValues) -> int:
    required(values, "store", "released")
    from jaxmap.released.convert import import_released

    _, report = import_released(values.released, values.store)
    print(report.text(), end="")
    return 0


COMMANDS = {
    "status": Command(
        "what a store holds: done, failed and why, missing",
        """Compares what was asked of the store with what is there.

  jaxmap status --store=runs
""",
        define_store,
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
}
