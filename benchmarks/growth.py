"""What grows with texts, layers and records, and what must not.

    python benchmarks/growth.py [--parts=texts,depth,store] [--out=growth.json]

texts: CPU seconds a text for sets of 100, 1,000 and 10,000 texts of 150 to 350 tokens, a tiny
model, so that what is done a text beside the model weighs as much as it can; by turns, the least
of them; and the memory that a run takes beside what it was given.
depth: CPU seconds of tracing and lowering, and of compiling, for 4 and for 64 layers.
store: opening, exporting and comparing --records results of --scores texts, each in a process of
its own: seconds, CPU seconds, and memory that is no file's, sampled (Linux).
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags

from jaxmap.benchmarking.programs import as_tokens
from jaxmap.benchmarking.report import this_machine
from jaxmap.variant import Variant

_PARTS = flags.DEFINE_list("parts", ["texts", "depth", "store"], "Which to measure.")
_REPEATS = flags.DEFINE_integer("repeats", 3, "Timed turns of each.")
_RECORDS = flags.DEFINE_integer("records", 2000, "Results in the store.")
_SCORES = flags.DEFINE_integer("scores", 10_000, "Texts of the store.")
_OUT = flags.DEFINE_string("out", None, "A .json for all of it.")
_STEP = flags.DEFINE_string("step", None, "Inside: one step of the store's part, FOLDER:NAME.")
_STEPS = ("open", "export .npz", "export .nc", "kl .npy", "kl .csv")
Row = dict[str, Any]


def spec_of_tiny(**changes: Any) -> Any:
    from jaxmap.architectures.config import Config
    from jaxmap.architectures.specs import spec_of

    config = dict(
        model_type="gpt_neox",
        vocab_size=64,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=512,
    )
    return spec_of(Config({**config, **changes}, "tiny"))


def texts() -> Iterator[Row]:
    import jax
    from flax import nnx

    from jaxmap.checkpoint.storage import Storage
    from jaxmap.checkpoint.weights import Model
    from jaxmap.corpus.batches import plan
    from jaxmap.engine.scorer import BATCH_TOKENS, Scorer
    from jaxmap.engine.scores import score_tokens
    from jaxmap.model.decoder import Decoder

    spec = spec_of_tiny()
    graph, params = nnx.split(Decoder(spec, rngs=nnx.Rngs(0)))
    model = Model(
        spec, graph, params, "float32", "float32", "gpt_neox", 0, Storage("float32", 0, 0)
    )
    scorer = Scorer(graph, vocabulary_block=64)
    random = np.random.default_rng(0)
    sets = {}
    for count in (100, 1000, 10_000):
        lengths = random.integers(150, 351, count)
        sets[count] = as_tokens([random.integers(0, spec.V, n, np.int32) for n in lengths])
    batch = BATCH_TOKENS[jax.default_backend()]
    seconds: dict[int, list[float]] = {count: [] for count in sets}
    for _ in range(_REPEATS.value + 1):
        for count, tokens in sets.items():
            times = 10_000 // count
            started = time.process_time()
            for _ in range(min(times, 10)):
                score_tokens(scorer, model, tokens, batch_tokens=batch)
            seconds[count].append((time.process_time() - started) / min(times, 10))
    for count, tokens in sets.items():
        packed = plan(tokens, batch_tokens=batch, width=spec.D)
        with OwnMemory() as memory:
            score_tokens(scorer, model, tokens, batch_tokens=batch)
        least = min(seconds[count][1:])
        yield {
            "texts": count,
            "cpu_us_a_text": 1e6 * least / count,
            "cpu_us_a_place": 1e6 * least / packed.num_places,
            "unused": 1 - int((tokens.lengths - 1).sum()) / packed.num_places,
            "mib_more": memory.more,
        }


def depth() -> Iterator[Row]:
    from jaxmap.engine.scorer import Scorer
    from jaxmap.model import decoder

    def measured(layers: int, lens: bool) -> Row:
        graph, shapes = decoder.abstract(spec_of_tiny(num_hidden_layers=layers))
        scorer = Scorer(graph, vocabulary_block=64)
        started = time.process_time()
        lowered = scorer.trace_shape(shapes, 4, 512, lens=lens).lower()
        between = time.process_time()
        compiled = lowered.compile()
        return {
            "layers": layers,
            "lens": lens,
            "cpu_s_lower": between - started,
            "cpu_s_compile": time.process_time() - between,
            "lines": lowered.as_text().count("\n"),
            "temporaries_mib": compiled.memory_analysis().temp_size_in_bytes / 2**20,
        }

    measured(2, False)  # what JAX itself sets up
    for lens in (False, True):
        turns = [[measured(layers, lens) for layers in (4, 64)] for _ in range(_REPEATS.value)]
        for same in zip(*turns, strict=True):
            yield min(same, key=lambda row: row["cpu_s_lower"] + row["cpu_s_compile"])


class OwnMemory:
    """MiB of the process that are no file's, at most, beside those at the start (Linux)."""

    more = 0.0

    def __enter__(self) -> OwnMemory:
        self._ended = threading.Event()
        self._before = self._now()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.005):
            self.more = max(self.more, self._now() - self._before)

    @staticmethod
    def _now() -> float:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))


def step(folder: Path, name: str) -> Row:
    """One step of the store's part; imports, and JAX's start, are not counted."""
    from jaxmap.analysis.kl_files import write_kl, write_kl_matrix
    from jaxmap.stats.divergence import kl_KK
    from jaxmap.store import Store
    from jaxmap.store.export import export

    works: dict[str, Callable[[Store], object]] = {
        "open": lambda store: store.records(),
        "export .npz": lambda store: export(store, folder / "out.npz"),
        "export .nc": lambda store: export(store, folder / "out.nc"),
        "kl .npy": lambda store: write_kl_matrix(store, folder / "kl.npy"),
        "kl .csv": lambda store: write_kl(store, folder / "kl.csv"),
    }
    kl_KK(np.random.default_rng(0).normal(size=(8, 100)), 1.0)
    with OwnMemory() as memory:
        clock, cpu = time.perf_counter(), time.process_time()
        works[name](Store.open(folder / "store"))
        seconds = {"seconds": time.perf_counter() - clock, "cpu_s": time.process_time() - cpu}
    return {"step": name, **seconds, "mib_more": memory.more}


def store() -> Iterator[Row]:
    from jaxmap.store import Identity, Provenance, Record, Store, TextFacts

    count = _SCORES.value
    random = np.random.default_rng(0)

    @dataclasses.dataclass(frozen=True)
    class Texts(TextFacts):
        @property
        def num_bytes(self) -> np.ndarray:
            return self.text_bytes

    def records() -> Iterator[Record]:
        for k in range(_RECORDS.value):
            one = f"org/m{k // 50}", f"step{k % 50 * 1000}", "c0", "f" * 64, "t0", "none"
            tokens = random.integers(150, 351, count, dtype=np.int32)
            scores = -3.0 * tokens + random.normal(0, 50, count)
            arrays = {"log_likelihood": scores, "num_tokens": tokens, "num_scored": tokens - 1}
            yield Record(Identity(*one, Variant("float32")), Provenance(), arrays)

    with tempfile.TemporaryDirectory(dir=".") as folder:
        made = Store.create(
            Path(folder) / "store", Texts("f" * 64, "random", random.integers(500, 1025, count))
        )
        made.add_many(records())
        for name in _STEPS:
            command = [sys.executable, __file__, f"--step={folder}:{name}"]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            yield json.loads(done.stdout.splitlines()[-1])
        yield {"step": "(the matrix)", "mib_more": _RECORDS.value * count * 8 / 2**20}


def table(rows: list[Row]) -> str:
    def shown(value: object) -> str:
        return f"{value:.3g}" if isinstance(value, float) else str(value)

    lines = [list(rows[0]), *([shown(row.get(name, "")) for name in rows[0]] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    )


def main(_) -> None:
    from jaxmap import runtime

    if _STEP.value:
        folder, _, name = _STEP.value.partition(":")
        print(json.dumps(step(Path(folder), name)))
        return
    runtime.prepare()
    import jax

    jax.config.update("jax_enable_compilation_cache", False)  # compiling is timed
    known = {"texts": texts, "depth": depth, "store": store}
    found: dict[str, Any] = {"machine": this_machine()}
    for part in _PARTS.value:
        found[part] = list(known[part]())
        print(f"{part}\n{table(found[part])}\n", flush=True)
    if _OUT.value:
        Path(_OUT.value).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    app.run(main)
