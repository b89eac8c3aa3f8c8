"""`jaxmap floor`: how much of a difference between models is only arithmetic."""

from __future__ import annotations

from pathlib import Path

from absl import flags

from jaxmap.cli.command import (
    Command,
    define_batch_tokens,
    define_ignored_keys,
    define_models,
    define_store,
    define_texts,
    required,
    string,
)
from jaxmap.cli.sweep import command_line
from jaxmap.precision import PRECISIONS, REFERENCE, parse_precisions

_CHOICES = [name for name in PRECISIONS if name != REFERENCE]


def _define_floor(values: flags.FlagValues) -> None:
    define_store(values, made=True)
    define_texts(values)
    define_models(values)
    flags.DEFINE_list(
        "dtypes",
        _CHOICES,
        f"Comma-separated: {', '.join(_CHOICES)}; each is compared with {REFERENCE}.",
        flag_values=values,
    )
    string(values, "out", None, "A .csv with model, dtype, kl_bits_per_byte, standard_error.")
    define_batch_tokens(values)
    define_ignored_keys(values)


def _floor(values: flags.FlagValues) -> int:
    required(values, "store", "texts", "models")
    from jaxmap.atomic import check_writable
    from jaxmap.checkpoint.refs import parse_refs
    from jaxmap.corpus.texts import load_texts
    from jaxmap.store import Store

    refs = parse_refs(values.models)
    dtypes = parse_precisions(values.dtypes)
    if values.out:
        check_writable(Path(values.out).parent)
    texts = load_texts(values.texts)
    store = Store.create(values.store, texts)
    from jaxmap import runtime

    runtime.prepare()
    from jaxmap.analysis.floor import measure_floors, write_floors
    from jaxmap.sweeps.precision_floor import score_precisions
    from jaxmap.sweeps.run import told_to_stop

    with told_to_stop() as stop:
        outcome = score_precisions(
            refs,
            texts,
            store,
            (REFERENCE, *dtypes),
            stop=stop,
            command=command_line(),
            batch_tokens=values.batch_tokens,
            ignore_config_keys=tuple(values.ignore_config_keys),
        )
    names = {(ref.name, ref.revision) for ref in refs}
    floors = measure_floors(store, models=names, dtypes=dtypes)
    if floors.found:
        print(floors.text(), end="")
    if values.out:
        write_floors(floors, values.out)
    for failure in outcome.failed:
        print(f"failed: {failure.item.label}: {failure.reason}")
    return outcome.exit_code


COMMANDS = {
    "floor": Command(
        "what the arithmetic alone does to a model's scores, as a KL",
        """Scores each checkpoint in float32 and in each of --dtypes, fetching it once, and prints
the KL divergence between the two in bits per byte (with its standard error over texts): the
precision floor. A difference between models that is not ten times larger may be rounding; `jaxmap
scale` and the report mark it, from what the store holds. What was scored before is not scored
again.

bfloat16_3x, three bfloat16 products for one of float32, is for TPUs, which multiply bfloat16 only.
There float32 is six such products, so bfloat16_3x takes three times the products of bfloat16 and
half those of float32; two times and a third where the stored weights are bfloat16. The products
are written out, so that its floor can be measured on any machine.

  jaxmap floor --store=runs --texts=texts.jsonl --models=EleutherAI/pythia-70m --out=floor.csv
""",
        _define_floor,
        _floor,
    ),
}
