"""Tokenising and packing: 10,000 texts, the first time, from the store, and into batches.

    python benchmarks/tokens.py --checkpoint=FOLDER --texts=FILE [--count=10000] [--out=tokens.json]

FOLDER holds a tokenizer and a config.json. The texts of FILE are joined and cut anew to --bytes, as
often as it takes. Seconds and CPU seconds, least of --repeats: transformers' own call, ours, ours
with all that `jaxmap score` does around it (the first time, then in a new process's place). Then
the share of places that packing FILE's own texts leaves unused.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags

from jaxmap.benchmarking.report import this_machine

_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "A folder with a tokenizer.", required=True)
_TEXTS = flags.DEFINE_string("texts", None, "A file of texts.", required=True)
_COUNT = flags.DEFINE_integer("count", 10_000, "Texts to tokenise.")
_BYTES = flags.DEFINE_integer("bytes", 972, "Bytes of each.")
_REPEATS = flags.DEFINE_integer("repeats", 3, "Timed turns of each.")
_OUT = flags.DEFINE_string("out", None, "A .json for all of it.")


def main(_) -> None:
    from jaxmap import runtime

    runtime.prepare()
    from transformers import AutoTokenizer

    from jaxmap.corpus.batches import plan
    from jaxmap.corpus.texts import TextSet, load_texts
    from jaxmap.corpus.token_cache import TokenisedTexts
    from jaxmap.corpus.tokens import load_tokenizer
    from jaxmap.engine.scorer import BATCH_TOKENS

    checkpoint = Path(_CHECKPOINT.value)
    own = load_texts(_TEXTS.value)
    joined = " ".join(own.texts).encode()
    starts = np.random.default_rng(0).integers(0, len(joined) - _BYTES.value, _COUNT.value)
    texts = TextSet(
        tuple(joined[s : s + _BYTES.value].decode(errors="ignore") for s in starts.tolist())
    )
    reference, tokenizer = AutoTokenizer.from_pretrained(checkpoint), load_tokenizer(checkpoint)
    found: dict[str, Any] = {"machine": this_machine(), "texts": len(texts), "bytes": _BYTES.value}
    with tempfile.TemporaryDirectory() as folder:
        places = iter(range(_REPEATS.value))

        def first() -> object:
            place = Path(folder) / str(next(places))
            return TokenisedTexts(texts, place).read_by(checkpoint, 2048)

        def again() -> object:
            return TokenisedTexts(texts, Path(folder) / "0").read_by(checkpoint, 2048)

        works: dict[str, Callable[[], object]] = {
            "transformers": lambda: reference(list(texts.texts)),
            "ours": lambda: tokenizer.encode(texts, 2048),
            "first": first,
            "again": again,
        }
        seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
        for _ in range(_REPEATS.value):
            for name, work in works.items():
                clock, cpu = time.perf_counter(), time.process_time()
                work()
                seconds[name].append((time.perf_counter() - clock, time.process_time() - cpu))
    for name, pairs in seconds.items():
        found[name] = {"seconds": min(s for s, _ in pairs), "cpu_s": min(c for _, c in pairs)}
        print(f"{name:<13} {found[name]['seconds']:.2f} s, {found[name]['cpu_s']:.2f} s of CPU")
    tokens = tokenizer.encode(own, 2048)
    for device, batch in BATCH_TOKENS.items():
        packed = plan(tokens, batch_tokens=batch, width=512)
        unused = 1 - int((tokens.lengths - 1).sum()) / packed.num_places
        found[f"unused, {device}"] = unused
        print(f"{len(own)} texts of {_TEXTS.value} for a {device}: {unused:.1%} of places unused")
    if _OUT.value:
        Path(_OUT.value).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    app.run(main)
