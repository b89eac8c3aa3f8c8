"""The demo's comparison token by token: the largest run, its quantised copies, its fine-tune."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from absl import logging

from jaxmap.demos.settings import DemoConfig
from jaxmap.store import Store

if TYPE_CHECKING:
    from jaxmap.comparison.table import Comparison

FOLDER = "comparison"  # in the folder of the demo
PAGE = f"{FOLDER}/compare.html"
FILES = (f"{FOLDER}/compare.csv", f"{FOLDER}/compare.md", PAGE)


def files_of(config: DemoConfig) -> tuple[str, ...]:
    """What `compare_derived` leaves in the folder of the demo."""
    return FILES if config.finetune_steps else ()


def compare_derived(out: Path, config: DemoConfig, store: Store) -> None:
    """Compares the largest run's last checkpoint with its quantised copies and its fine-tune.

    Writes OUT/comparison. What was compared before is read from the store; a model that cannot be
    compared is left out with a warning. Without derived models nothing is compared.
    """
    if not config.finetune_steps:
        return
    from jaxmap.checkpoint.refs import Ref
    from jaxmap.comparison.options import ComparisonOptions
    from jaxmap.comparison.run import compare_models
    from jaxmap.corpus.texts import load_texts

    texts = load_texts(out / "texts.jsonl")
    base = Ref(str(out / "models" / [*config.runs][-1]))
    tuned = Ref(f"{base.name}-finetuned")
    options = ComparisonOptions(reference=base, refs=(tuned,), page=True)
    found: Comparison = compare_models(options, texts, store)
    if config.quantize:
        copies = dataclasses.replace(options, refs=(base,), quantisations=config.quantize)
        more = compare_models(copies, texts, store)
        found = dataclasses.replace(
            found,
            compared=(*more.compared, *found.compared),
            failures=(*more.failures, *found.failures),
        )
    for name, error in found.failures:
        logging.warning("%s: not compared: %s", name, error)
    if found.compared:
        found.save(out / FOLDER)
