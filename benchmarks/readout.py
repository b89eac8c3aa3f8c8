"""The blocked readout against the plain product of the same shape, by turns in one process.

    python benchmarks/readout.py [--shapes=512x50304,768x50304,640x262144] [--out=readout.json]

hidden [2048, D] with an unembedding [V, D], float32 unless --dtype says otherwise. The product
writes all logits; the readout gives one log-probability a token and keeps a block of them. Its
share of the product's rate, by the clock and by CPU seconds, is the median over turns; temporaries
are the compiler's own count.
"""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags

from jaxmap.benchmarking.report import this_machine

_SHAPES = flags.DEFINE_list("shapes", ["512x50304", "768x50304", "640x262144"], "DxV of each.")
_TOKENS = flags.DEFINE_integer("tokens", 2048, "Rows of the product.")
_REPEATS = flags.DEFINE_integer("repeats", 7, "Timed turns of each.")
_DTYPE = flags.DEFINE_string("dtype", "float32", "Of both factors.")
_BLOCK = flags.DEFINE_integer("block", None, "Vocabulary entries at a time; unset: as scoring.")
_STATISTICS = flags.DEFINE_list("statistics", ["log_likelihood"], "What is read.")
_OUT = flags.DEFINE_string("out", None, "A .json for all of it.")


def measure(D: int, V: int) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

    from jaxmap.engine.readout import read
    from jaxmap.engine.scorer import VOCABULARY_BLOCK
    from jaxmap.engine.unembedding import Unembedding

    N, dtype = _TOKENS.value, _DTYPE.value
    block = _BLOCK.value or VOCABULARY_BLOCK[jax.default_backend()]
    names = _STATISTICS.value
    random = np.random.default_rng(0)
    hidden_ND = jnp.asarray(random.standard_normal((N, D), np.float32), dtype)
    head_VD = jnp.asarray(random.standard_normal((V, D), np.float32) * 0.02, dtype)
    target_N = jnp.asarray(random.integers(0, V, N), jnp.int32)
    float32 = jnp.float32

    def product(hidden_ND, head_VD, target_N):
        precision = jax.lax.Precision.HIGHEST if dtype == "float32" else None
        return jnp.einsum(
            "nd,vd->nv", hidden_ND, head_VD, precision=precision, preferred_element_type=float32
        )

    def readout(hidden_ND, head_VD, target_N):
        return read(hidden_ND, Unembedding(head_VD), target_N, names, block=block)

    given = (hidden_ND, head_VD, target_N)
    programs = {f.__name__: jax.jit(f).lower(*given).compile() for f in (product, readout)}
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in programs}
    for turn in range(_REPEATS.value + 1):
        for name in list(programs)[:: 1 if turn % 2 else -1]:
            clock, cpu = time.perf_counter(), time.process_time()
            jax.block_until_ready(programs[name](*given))
            seconds[name].append((time.perf_counter() - clock, time.process_time() - cpu))
    timed = {name: np.array(pairs[1:]) for name, pairs in seconds.items()}
    clock_share, cpu_share = np.median(timed["product"] / timed["readout"], axis=0)
    least = float(timed["product"][:, 0].min())
    return {
        "D": D,
        "V": V,
        "product_gflops": 2e-9 * N * D * V / least,
        "product_cpu_s": statistics.median(timed["product"][:, 1].tolist()),
        "readout_cpu_s": statistics.median(timed["readout"][:, 1].tolist()),
        "share_clock": float(clock_share),
        "share_cpu": float(cpu_share),
        "temporaries_mib": programs["readout"].memory_analysis().temp_size_in_bytes / 2**20,
        "logits_mib": N * V * 4 / 2**20,
    }


def main(_) -> None:
    from jaxmap import runtime

    runtime.prepare()
    rows = []
    for shape in _SHAPES.value:
        rows.append(measure(*map(int, shape.split("x"))))
        if len(rows) == 1:
            print("  ".join(rows[0]))
        print(
            "  ".join(
                (f"{value:.3g}" if isinstance(value, float) else str(value)).rjust(len(name))
                for name, value in rows[-1].items()
            ),
            flush=True,
        )
    if _OUT.value:
        settings = {"tokens": _TOKENS.value, "dtype": _DTYPE.value, "repeats": _REPEATS.value}
        found = {"machine": this_machine(), "settings": settings, "rows": rows}
        Path(_OUT.value).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    app.run(main)
