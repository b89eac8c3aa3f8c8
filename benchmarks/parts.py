"""Where the time of a batch goes: blocks, attention, readout, and the rest.

    python benchmarks/parts.py [--shapes=70m,160m] [--repeats=7] [--out=parts.json]

Each part is a program of its own on the first batch of the benchmark's texts, by turns; CPU
seconds, median. Ideal is the part's matrix arithmetic at the rate of one large product
([tokens, D] x [D, 4 D]) measured beside; of attention each query counts as many keys as its text
has before it.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from jaxmap.benchmarking.programs import as_tokens, make_texts
from jaxmap.benchmarking.report import this_machine
from jaxmap.benchmarking.speed import SHAPES, make_checkpoint

_SHAPES = flags.DEFINE_list("shapes", ["70m", "160m"], f"Of Pythia: {', '.join(SHAPES)}.")
_REPEATS = flags.DEFINE_integer("repeats", 7, "Timed turns of each.", lower_bound=1)
_OUT = flags.DEFINE_string("out", None, "A .json for all of it.")


def parts(shape: str) -> dict[str, tuple[Any, tuple, float]]:
    """Name -> (function, its arguments, its floating-point operations in products)."""
    from flax import nnx

    from jaxmap.checkpoint import weights
    from jaxmap.corpus.batches import batches, plan
    from jaxmap.engine.readout import read
    from jaxmap.engine.scorer import BATCH_TOKENS, QUERY_BLOCK, VOCABULARY_BLOCK, Scorers
    from jaxmap.engine.statistics import DEFAULT
    from jaxmap.engine.unembedding import Unembedding
    from jaxmap.model.inputs import Geometry, Inputs, LayerFacts
    from jaxmap.model.layers.linear import computing_in
    from jaxmap.model.mixers.dot_product_attention import attend

    platform = jax.default_backend()
    with tempfile.TemporaryDirectory() as folder:
        make_checkpoint(shape, Path(folder))
        model = weights.load(Path(folder), dtype="float32")
    spec, L = model.spec, model.spec.L
    tokens = as_tokens(make_texts(64))
    packed = plan(tokens, batch_tokens=BATCH_TOKENS[platform], width=spec.D)
    batch = next(batches(tokens, packed))
    inputs = Inputs(
        *map(jnp.asarray, (batch.ids_BT, batch.segment_BT, batch.position_BT, batch.length_BT))
    )
    target_N = jnp.asarray(batch.target_BT.reshape(-1))
    B, T = batch.ids_BT.shape
    N, D, F, V = B * T, spec.D, spec.F, spec.V
    random = np.random.default_rng(0)
    x_BTD = jnp.asarray(random.standard_normal((B, T, D), np.float32))
    heads_BTHC = x_BTD.reshape(B, T, spec.H, spec.C)
    scorer = Scorers().of(model)

    def layer(params):
        """The first block, and where it stands."""
        decoder = nnx.merge(model.graph, params)
        graph, stacked = nnx.split(decoder.blocks[0])
        facts = LayerFacts.of(spec, 0, L)
        first = [jax.tree.map(lambda leaf: leaf[0], tree) for tree in (stacked, facts)]
        geometry = Geometry.of(
            spec,
            inputs,
            reach=batch.reach,
            block=QUERY_BLOCK[platform],
            adaptive=platform == "cpu",
        )
        return nnx.merge(graph, first[0]), geometry, first[1]

    def mlp(params, x_BTD):
        return layer(params)[0].mlp(x_BTD, *layer(params)[1:])

    def attention(params, x_BTD):
        block, geometry, facts = layer(params)
        return block.attn(x_BTD, geometry, facts)

    def mixing(params, q_BTHC):
        return attend(q_BTHC, q_BTHC, q_BTHC, *layer(params)[1:])

    def readout(params, hidden_ND):
        head_VE = nnx.merge(model.graph, params).head_VE
        block = VOCABULARY_BLOCK[platform]
        return read(hidden_ND, Unembedding(head_VE), target_N, DEFAULT, block=block)

    def product(a_ND, b_DF):
        return jnp.matmul(a_ND, b_DF, precision="highest")

    def in_float32(function):
        def run(*args):
            with computing_in("float32"):
                return function(*args)

        return jax.jit(run)

    length_P = (batch.stop - batch.start).astype(np.float64)
    seen = float((length_P * (length_P + 1) / 2).sum())  # keys of all queries
    square = 4 * seen * D
    x_ND, p = x_BTD.reshape(N, D), model.params
    weight_DF = jnp.asarray(random.standard_normal((D, 4 * D), np.float32))
    own = dict(
        mlp=(mlp, (p, x_BTD), 4 * N * D * F),
        attention=(attention, (p, x_BTD), 8 * N * D * D + square),
        mixing=(mixing, (p, heads_BTHC), square),
        readout=(readout, (p, x_ND), 2 * N * D * V),
        product=(product, (x_ND, weight_DF), 8 * N * D * D),
    )
    found = {name: (in_float32(f), args, flops) for name, (f, args, flops) in own.items()}
    arithmetic = L * (own["mlp"][2] + own["attention"][2]) + own["readout"][2]
    found["whole"] = (lambda: scorer.score_batch(p, batch), (), arithmetic)
    return found


def measure(shape: str) -> list[dict[str, Any]]:
    """Rows of the table of one shape."""
    L = SHAPES[shape][1]
    programs = parts(shape)
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(_REPEATS.value + 1):
        for name, (function, args, _) in programs.items():
            began = time.process_time()
            jax.block_until_ready(function(*args))
            seconds[name].append(time.process_time() - began)
    cost = {name: float(np.median(times[1:])) for name, times in seconds.items()}
    rate = programs["product"][2] / cost["product"]
    times = dict(mlp=L, attention=L, mixing=L, readout=1, whole=1)
    rows = [
        {
            "shape": shape,
            "part": name,
            "cpu_s": many * cost[name],
            "share": many * cost[name] / cost["whole"],
            "of_ideal": programs[name][2] / rate / cost[name],
        }
        for name, many in times.items()
    ]
    rest = cost["whole"] - cost["readout"] - L * (cost["mlp"] + cost["attention"])
    share = rest / cost["whole"]
    return [*rows, {"shape": shape, "part": "rest", "cpu_s": rest, "share": share, "of_ideal": 0.0}]


def main(_) -> None:
    from jaxmap import runtime

    runtime.prepare()
    rows: list[dict[str, Any]] = []
    print("| shape | part, all layers | CPU s a batch | share | of the product's rate |")
    print("|---|---|--:|--:|--:|")
    for shape in _SHAPES.value:
        for row in measure(shape):
            rows.append(row)
            print(
                f"| {shape} | {row['part']} | {row['cpu_s']:.2f} | {row['share']:.0%} "
                f"| {row['of_ideal']:.0%} |",
                flush=True,
            )
    if _OUT.value:
        found = {"machine": this_machine(), "rows": rows}
        Path(_OUT.value).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    app.run(main)
