"""A demo of three runs so small that all of it takes seconds."""

from __future__ import annotations

import itertools
from pathlib import Path

from jaxmap.corpus.sources import open_source
from jaxmap.demos.result import DemoRun
from jaxmap.demos.settings import DemoConfig, ModelSize

TINY = dict(
    texts=12,
    min_bytes=64,
    max_bytes=160,
    held_out=0.3,
    train_bytes=60_000,
    vocabulary=320,
    context=192,
    window=96,
    rows=2,
    steps=12,
    warmup=4,
    every=4,
    early=4,
    seeds=2,
    sizes={
        "xs": ModelSize(width=16, layers=1, heads=1, learning_rate=2e-2),
        "s": ModelSize(width=32, layers=2, heads=2, learning_rate=1e-2),
    },
    lens=False,
    quantize=(),
    dtypes=(),
    state_seconds=0.0,
    finetune_steps=0,
)

RUNS = ("pythia-demo-xs", "pythia-demo-xs-seed1", "pythia-demo-s")

STEPS = (0, 1, 2, 4, 8, 12)


def tiny(**changes) -> DemoConfig:
    return DemoConfig(**{**TINY, **changes})


def documents() -> list[tuple[str, str]]:
    return [(name, text[:4000]) for name, text in itertools.islice(open_source("stdlib"), 60)]


def endings(run: DemoRun) -> set[str]:
    return {outcome.ending for outcome in run.outcomes}


def weights(out: Path) -> dict[str, bytes]:
    files = sorted((out / "models").rglob("model.safetensors"))
    return {str(path.relative_to(out)): path.read_bytes() for path in files}
