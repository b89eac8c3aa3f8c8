"""Packed rows against length-sorted rows of one text each, in one interleaved run.

    python benchmarks/batching.py --texts=48 --repeats=3

Same engine, same random Pythia-70m-shaped model, same random texts of 150 to 350 tokens; only the
batches differ. Sorted rows are rounded up to multiples of 32 tokens, eight rows a batch.
"""

from __future__ import annotations

import time

import jax
import numpy as np
from absl import app, flags

_TEXTS = flags.DEFINE_integer("texts", 48, "How many texts.")
_REPEATS = flags.DEFINE_integer("repeats", 3, "Timed turns of each.")
_ROWS, _LANE = 8, 32


def main(_) -> None:
    from jaxmap import runtime

    runtime.prepare()
    from flax import nnx

    from jaxmap.architectures.config import Config
    from jaxmap.architectures.specs import spec_of
    from jaxmap.corpus.batches import BatchPlan, _Group, batches, plan
    from jaxmap.corpus.tokens import Tokens
    from jaxmap.engine.scorer import Scorer
    from jaxmap.model.decoder import Decoder

    config = dict(
        model_type="gpt_neox",
        vocab_size=50304,
        hidden_size=512,
        num_hidden_layers=6,
        num_attention_heads=8,
        intermediate_size=2048,
        max_position_embeddings=2048,
    )
    spec = spec_of(Config(config, "70m"))
    graph, params = nnx.split(Decoder(spec, rngs=nnx.Rngs(0)))

    random = np.random.default_rng(0)
    lengths = random.integers(150, 351, _TEXTS.value)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = random.integers(0, spec.V, offsets[-1]).astype(np.int32)
    ones, no = np.ones(len(lengths), np.int32), np.zeros(len(lengths), bool)
    tokens = Tokens(ids, offsets, ones, no, no)

    order = [int(i) for i in np.argsort(-lengths, kind="stable")]
    groups = []
    for start in range(0, len(order), _ROWS):
        rows = [[text] for text in order[start : start + _ROWS]]
        T = -(-int(lengths[rows[0][0]] - 1) // _LANE) * _LANE
        groups.append(_Group(_ROWS, T, T, rows))
    plans = {"packed": plan(tokens, batch_tokens=4096), "sorted": BatchPlan(tuple(groups))}

    scorer = Scorer(graph, vocabulary_block=4096)

    def turn(one: BatchPlan) -> float:
        started = time.perf_counter()
        for batch in batches(tokens, one):
            jax.block_until_ready(scorer.score_batch(params, batch))
        return time.perf_counter() - started

    seconds: dict[str, list[float]] = {name: [] for name in plans}
    for _ in range(_REPEATS.value + 1):
        for name, one in plans.items():
            seconds[name].append(turn(one))
    places = int((lengths - 1).sum())
    for name, one in plans.items():
        speed = places / float(np.median(seconds[name][1:]))
        shapes = len(set(one.shapes))
        waste = 1 - places / one.num_places
        print(f"{name}: {speed:.0f} tokens/s, {shapes} programs, {waste:.1%} of places unused")
    ratio = np.median(seconds["sorted"][1:]) / np.median(seconds["packed"][1:])
    print(f"packed / sorted: {ratio:.2f} x the speed")


if __name__ == "__main__":
    app.run(main)
