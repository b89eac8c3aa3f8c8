"""A sweep's overlap of loading and scoring, its bytes read, and its weight distances.

    python benchmarks/sweep.py --checkpoints=16

Makes checkpoints of a small GPT-NeoX in float16, a random walk of 1,000-step intervals, and prints

  overlap   time of the pipelined sweep over the longer of loading and scoring, when the disk is
            slowed to the scorer's speed (1.0 is perfect; the first load overlaps nothing): as they
            took within the sweep, and as they took one after the other before it
  bytes     read of each checkpoint in one pass with scores and weight distances to the ten before,
            against the published way: one load to score it, and one for each distance (a local
            folder that the store does not know yet is hashed once besides)
  distances time that they add to loading, against loading with transformers and subtracting
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from absl import app, flags

_CHECKPOINTS = flags.DEFINE_integer("checkpoints", 16, "How many, 12 or more.", lower_bound=12)
_WIDTH = flags.DEFINE_integer("width", 256, "Of the model.")
_LAYERS = flags.DEFINE_integer("layers", 6, "Of the model.")
_TEXTS = flags.DEFINE_integer("texts", 6, "How many texts of about 600 tokens.")
_PAIRS = flags.DEFINE_integer("pairs", 10, "Distances taken the published way.")

WINDOW = 10


@dataclasses.dataclass
class Disk:
    """The disk as the sweep sees it: counts bytes, and gives them at most at so many a second."""

    rate: float = float("inf")
    read: Counter[str] = dataclasses.field(default_factory=Counter)


@contextmanager
def watched(disk: Disk) -> Iterator[None]:
    """Every tensor that is read within is counted, and waited for."""
    from jaxmap.checkpoint import weights

    real = weights.open_tensors

    @contextmanager
    def open_tensors(folder: Path):
        with real(folder) as tensors:
            yield {name: _watch(one, disk) for name, one in tensors.items()}

    weights.open_tensors = open_tensors
    try:
        yield
    finally:
        weights.open_tensors = real


def _watch(one, disk: Disk):
    def read() -> np.ndarray:
        disk.read[one.file.parent.name] += one.num_bytes
        time.sleep(one.num_bytes / disk.rate)
        return one.read()

    return dataclasses.replace(one, read=read)


def make_run(folder: Path, count: int) -> None:
    """Checkpoints folder/step0, step1000, ... with a byte-level tokenizer."""
    import jax.numpy as jnp
    from safetensors.numpy import load_file, save_file
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    from jaxmap.architectures.config import Config
    from jaxmap.architectures.specs import spec_of
    from jaxmap.checkpoint.save import save_checkpoint
    from jaxmap.model import decoder

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    config = dict(
        model_type="gpt_neox",
        vocab_size=len(alphabet),
        hidden_size=_WIDTH.value,
        num_hidden_layers=_LAYERS.value,
        num_attention_heads=_WIDTH.value // 64,
        intermediate_size=4 * _WIDTH.value,
        max_position_embeddings=1024,
    )
    spec = spec_of(Config(config, "benchmark"))
    _, shapes = decoder.abstract(spec)
    random = np.random.default_rng(0)
    leaves = {
        path: leaf.replace(jnp.asarray(random.normal(0, 0.02, leaf.shape), jnp.float16))
        for path, leaf in decoder.named(shapes).items()
    }
    first = folder / "step0"
    save_checkpoint(decoder.from_named(leaves), spec, config, first)
    tokenizer = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(first / "tokenizer.json"))
    (first / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"})
    )
    tensors = load_file(first / "model.safetensors")
    for i in range(1, count):
        path = folder / f"step{1000 * i}"
        shutil.copytree(first, path)
        for name, one in tensors.items():
            step = 1e-3 * random.standard_normal(one.shape, np.float32)
            tensors[name] = (one.astype(np.float32) + step).astype(np.float16)
        save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})


@contextmanager
def clocked(scorer_class: type, spent: Counter[str]) -> Iterator[None]:
    """Adds up the seconds of all loads and all scorings within."""
    real = {name: getattr(scorer_class, name) for name in ("load", "score")}

    def clock(name: str) -> Callable:
        def call(*arguments, **options):
            started = time.perf_counter()
            try:
                return real[name](*arguments, **options)
            finally:
                spent[name] += time.perf_counter() - started

        return call

    for name in real:
        setattr(scorer_class, name, clock(name))
    try:
        yield
    finally:
        for name, method in real.items():
            setattr(scorer_class, name, method)


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def naive_distance(a: Path, b: Path) -> float:
    """Loads both with transformers and subtracts."""
    import torch
    from transformers import AutoModelForCausalLM

    one, other = (
        dict(AutoModelForCausalLM.from_pretrained(f, dtype=torch.float32).named_parameters())
        for f in (a, b)
    )
    with torch.inference_mode():
        return sum(
            (one[name].double() - other[name].double()).square().sum().item() for name in one
        )


def main(_) -> None:
    from jaxmap import runtime

    runtime.prepare()
    import transformers
    from absl import logging

    from jaxmap.checkpoint.refs import Ref
    from jaxmap.checkpoint.sources.files import fetch, resolve
    from jaxmap.corpus.texts import load_texts
    from jaxmap.store import Store
    from jaxmap.store.requests import Item
    from jaxmap.store.weight_distances import read_distances
    from jaxmap.sweeps.checkpoint_scorer import CheckpointScorer
    from jaxmap.sweeps.run import score_models
    from jaxmap.sweeps.settings import Settings
    from jaxmap.sweeps.weight_distance import Distances

    logging.set_verbosity(logging.WARNING)
    transformers.utils.logging.disable_progress_bar()
    count = _CHECKPOINTS.value
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        run = root / "run"
        make_run(run, count)
        random = np.random.default_rng(1)
        letters = np.array(list("etaoin shrdlu"))
        lines = [{"text": "".join(random.choice(letters, 600))} for _ in range(_TEXTS.value)]
        (root / "texts.jsonl").write_text("\n".join(map(json.dumps, lines)))
        texts = load_texts(root / "texts.jsonl")
        refs = [Ref(str(run), f"step{1000 * i}") for i in range(count)]
        size = (run / "step0" / "model.safetensors").stat().st_size
        print(f"{count} checkpoints of {size / 1e6:.1f} MB, {len(texts)} texts")

        # Alone: loading, scoring, distances, one after the other.
        store = Store.create(root / "alone", texts)
        scorer = CheckpointScorer(texts, store, Settings())
        files = [fetch(resolve(ref)) for ref in refs]
        items = [Item(ref.name, ref.revision) for ref in refs]
        scorer.score(scorer.load(files[0]), items[0])  # compiles
        measured = Distances(store.path, WINDOW)
        measured.plan(str(run), [1000 * i for i in range(count)])
        load, score, both = 0.0, 0.0, 0.0
        for i, (file, item) in enumerate(zip(files, items, strict=True)):
            load += timed(lambda file=file: scorer.load(file))
            with measured.measuring(str(run), 1000 * i, file.commit, file.folder) as take:
                started = time.perf_counter()
                loaded = scorer.load(file, take)
                both += time.perf_counter() - started
            score += timed(lambda loaded=loaded, item=item: scorer.score(loaded, item))

        # The sweep, on a disk that gives a checkpoint in the time that scoring one takes.
        disk = Disk(rate=size * count / score)
        with watched(disk):
            slow = sum(timed(lambda file=file: scorer.load(file)) for file in files)
        store = Store.create(root / "sweep", texts)
        disk.read.clear()
        spent: Counter[str] = Counter()
        with watched(disk), clocked(CheckpointScorer, spent):
            sweep = timed(
                lambda: score_models(refs, texts, store, Settings(weight_distance=WINDOW))
            )
        assert len(store.records()) == count
        per_checkpoint = np.array([disk.read[f"step{1000 * i}"] for i in range(count)])

        # The published way, on a few pairs.
        found = read_distances(store.path)[str(run)].distance
        pairs = [(j, WINDOW) for j in range(WINDOW)][: _PAIRS.value]
        naive, error = 0.0, 0.0
        naive_distance(files[0].folder, files[1].folder)  # imports
        for a, b in pairs:
            started = time.perf_counter()
            distance = naive_distance(files[a].folder, files[b].folder)
            naive += time.perf_counter() - started
            error = max(error, abs(found[a, b] / distance - 1))
        each = naive / len(pairs)
        all_pairs = int(np.isfinite(found).sum())
        parameters = sum(one.size for one in _tensors(files[0].folder))

    print(
        f"overlap    sweep {sweep:.2f} s, in it loading {spent['load']:.2f} s and scoring "
        f"{spent['score']:.2f} s: {sweep / max(spent.values()):.2f} of the longer; before it "
        f"{slow:.2f} s and {score:.2f} s: {sweep / max(slow, score):.2f}"
    )
    published = 1 + all_pairs / count
    print(
        f"bytes      {per_checkpoint.mean() / 1e6:.1f} MB of a checkpoint "
        f"({per_checkpoint.max() / size:.2f} of its file at most); the published way loads it "
        f"{published:.1f} times here ({WINDOW + 1} in a long run): {published * size / 1e6:.1f} MB"
    )
    print(
        f"distances  {both - load:.2f} s for {all_pairs} in one pass, "
        f"{1e9 * (both - load) / (all_pairs * parameters):.2f} ns a parameter and pair, "
        f"{(both - load) / score:.2f} of scoring; published way {each:.2f} s each, "
        f"{each * all_pairs:.1f} s for all: {each * all_pairs / max(both - load, 1e-9):.0f} times "
        f"as long; they agree to {error:.0e}"
    )


def _tensors(folder: Path) -> list[np.ndarray]:
    from safetensors.numpy import load_file

    return list(load_file(folder / "model.safetensors").values())


if __name__ == "__main__":
    app.run(main)
