"""The demo: a Pythia in miniature, trained here, then mapped by the engine that maps real ones."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from absl import logging

from jaxmap.analysis.context import Context
from jaxmap.atomic import check_writable, full_disk_errors, write_atomic
from jaxmap.demos.comparison import compare_derived, files_of
from jaxmap.demos.corpus import Document, prepare_corpus
from jaxmap.demos.folders import sole_use
from jaxmap.demos.result import OUTPUTS, DemoRun
from jaxmap.demos.settings import DemoConfig, to_dict
from jaxmap.errors import InputError
from jaxmap.precision import REFERENCE
from jaxmap.store import Store
from jaxmap.version import __version__

if TYPE_CHECKING:
    from jaxmap.analysis.learning import Learning
    from jaxmap.sweeps.outcome import Outcome


def run_demo(
    out: str | os.PathLike[str],
    config: DemoConfig | None = None,
    documents: Iterable[Document] | None = None,
) -> DemoRun:
    """Does whatever of the demo is not done yet in the folder `out`.

    Leaves OUT/texts.jsonl, OUT/models/RUN/stepN, the models that derive from the last of these,
    OUT/store, OUT/comparison, OUT/kl_consecutive.csv, OUT/kl_final.csv, OUT/figures and
    OUT/report.html.
    `documents` (name, text) replace the running Python's own. Raises InputError when OUT is a file
    or holds a demo of another configuration, JaxmapError when training diverges or the disk
    refuses.
    """
    out = Path(out)
    config = config or DemoConfig()
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file, the demo needs a folder: choose another `out`")
    check_writable(out)
    with sole_use(out), full_disk_errors(out):
        _claim(out, config)
        with _timed("corpus and tokenizer"):
            corpus = prepare_corpus(out, config, documents)
        with _timed("training"):
            from jaxmap.demos.derived_models import make_derived
            from jaxmap.demos.train import train_runs
            from jaxmap.demos.training_stages import train_stages

            train_runs(out, corpus, config)
            train_stages(out, corpus, config)
            make_derived(out, corpus, config)
        with _timed("scoring"):
            store, outcomes = _score(out, config)
        with _timed("figures and report"):
            learning = _show(out, config, store)
    return DemoRun(out, store, config.early, outcomes, learning)


def _claim(out: Path, config: DemoConfig) -> None:
    """Note what this folder is for, or refuse one that is for something else."""
    path = out / "demo.json"
    if not path.exists():
        facts = {
            "fingerprint": config.fingerprint,
            "jaxmap": __version__,
            "python": platform.python_version(),
            "config": to_dict(config),
        }
        write_atomic(path, (json.dumps(facts, indent=2) + "\n").encode())
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["fingerprint"]
    except (ValueError, KeyError, TypeError):
        raise InputError(
            f"{path}: not a demo's file: remove the folder, or choose another `out`"
        ) from None
    if found != config.fingerprint:
        raise InputError(
            f"{out}: holds a demo of another configuration: remove the folder, or choose another "
            "`out`"
        )


def _score(out: Path, config: DemoConfig) -> tuple[Store, tuple[Outcome, ...]]:
    from jaxmap.checkpoint.refs import Ref
    from jaxmap.corpus.texts import load_texts
    from jaxmap.demos.derived_models import derived_models
    from jaxmap.demos.training_stages import names, stages_of
    from jaxmap.sweeps.precision_floor import score_precisions
    from jaxmap.sweeps.run import score_models
    from jaxmap.sweeps.settings import Settings

    texts = load_texts(out / "texts.jsonl")
    store = Store.create(out / "store", texts)
    runs = [str(out / "models" / run) for run in config.runs]
    finals = [Ref(run, f"step{config.checkpoints[-1]}") for run in runs]
    refs = [Ref(run, f"step{step}") for run in runs for step in config.checkpoints]
    refs += [
        Ref(str(out / "models" / stage.run), stage.revision(step))
        for stage in stages_of(config)
        for step in stage.checkpoints
    ]
    refs += map(Ref, derived_models(out, config))
    store.describe_runs(names(config))
    # Models with all requested results in one pass, then those with their output alone.
    asked = (
        (finals, Settings(lens=config.lens, quantize=("none", *config.quantize))),
        (refs, Settings(weight_distance=10)),
    )
    outcomes = [score_models(models, texts, store, settings) for models, settings in asked]
    if config.dtypes:
        dtypes = (REFERENCE, *config.dtypes)
        outcomes.append(score_precisions(finals[-1:], texts, store, dtypes))
    return store, tuple(outcomes)


def _show(out: Path, config: DemoConfig, store: Store) -> Learning:
    """Tables, figures and the page, unless they show these very results already."""
    from jaxmap.analysis.genealogy import ask_nobody
    from jaxmap.analysis.kl_files import write_kl
    from jaxmap.analysis.last_checkpoints import measure_finals
    from jaxmap.analysis.learning import measure_learning
    from jaxmap.comparison.report_section import sections_of
    from jaxmap.reports.page import make_report

    context = Context(store, warmup_steps=config.early, ask=ask_nobody, stages="joined")
    learning = measure_learning(context)
    curves = learning.curves
    stamp = out / "finished.json"
    state = _state_of(store)
    outputs = (*OUTPUTS, *files_of(config))
    if not (_reads(stamp) == state and all((out / name).is_file() for name in outputs)):
        stamp.unlink(missing_ok=True)
        compare_derived(out, config, store)
        if curves:
            write_kl(store, out / "kl_consecutive.csv", "consecutive")
            measure_finals(context).write(out / "kl_final.csv")
        first = max((curve.bits_I[0] for curve in curves), default=float("nan"))
        last = min((curve.bits_I[-1] for curve in curves), default=float("nan"))
        page = make_report(
            context,
            title="A Pythia in miniature, mapped",
            lead=(
                f"{len(config.runs)} small GPT-NeoX models were trained on this Python's own "
                f"library while {len(store.texts.text_bytes)} texts from other files of it were "
                "kept aside. Every checkpoint then scored those texts. Learning took them from at "
                f"most {first:.2f} bits per byte to {last:.2f} for the best."
            ),
            notes=_notes(config),
            further=sections_of(store),
        )
        page.write(out / "report.html")
        page.save_figures(out / "figures")
        write_atomic(stamp, state.encode())
    return learning


def _notes(config: DemoConfig) -> tuple[str, ...]:
    sizes = ", ".join(
        f"{name} ({size.layers} layers of width {size.width}, {size.heads} heads, peak learning "
        f"rate {size.learning_rate:g})"
        for name, size in config.sizes.items()
    )
    return (
        f"The models are GPT-NeoX as in Pythia: {sizes}; the runs of the smallest differ in seed "
        "(first weights and order of the data). Documents are held out by a hash of their name, "
        f"about {config.held_out:.0%} of them; neither the byte-level BPE tokenizer of "
        f"{config.vocabulary:,} tokens nor any model saw those. Training is {config.steps:,} steps "
        f"of {config.rows} windows of {config.window} tokens with AdamW (betas {config.beta1:g} "
        f"and {config.beta2:g}, weight decay {config.weight_decay:g}, gradients clipped to norm "
        f"{config.clip:g}), linear warmup over {config.warmup} steps and a cosine down to "
        f"{config.final_learning_rate:.0%}. As in Pythia the first update has learning rate 0, so "
        "steps 0 and 1 are the same model and their KL is exactly 0.",
        *_of_stages(config),
        *_of_derived(config),
    )


def _of_stages(config: DemoConfig) -> tuple[str, ...]:
    from jaxmap.demos.training_stages import stages_of

    stages = stages_of(config)
    if not stages:
        return ()
    stage, branch = stages
    return (
        f"{stage.run} continues for {config.stage_steps} steps after its end (second stage), and "
        f"at step {branch.at:,} a branch of as many leaves it: other data, a fresh optimiser, and "
        "a learning rate that falls from where it was to 0. Their steps are counted on from there.",
    )


def _of_derived(config: DemoConfig) -> tuple[str, ...]:
    if not config.finetune_steps:
        return ()
    first, *_, last = config.runs
    return (
        "The last checkpoint of every run is also a model by the name of the run. "
        f"{last} was fine-tuned for {config.finetune_steps} steps on the last tenth of the "
        f"training text, once with all its weights and once as a LoRA adapter, and {first} was "
        "converted to GGUF files of the types Q8_0 and Q4_0. Their cards name their parents. "
        f"{last} is compared token by token with its quantised copies and with its fine-tune.",
    )


def _state_of(store: Store) -> str:
    """What tables, figures and page depend on: the results, the failures and this version."""
    results = [(entry.identity.key, entry.generation) for entry in store.records()]
    failures = [(one.item.key, one.reason) for one in store.failures()]
    facts = json.dumps([__version__, results, failures])
    return json.dumps({"results": hashlib.sha256(facts.encode()).hexdigest()}) + "\n"


def _reads(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


@contextmanager
def _timed(stage: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    logging.info("%s: %.1f s", stage, time.perf_counter() - started)
