"""The kernels that compare two models, compiled for devices that need not be there."""

from __future__ import annotations

import sys

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import SingleDeviceSharding
from support.device_compilers import run_for

from jaxmap.engine.readout import read
from jaxmap.engine.statistics import STATISTICS
from jaxmap.engine.unembedding import Reference, Unembedding
from jaxmap.hardware import chips, gpus
from jaxmap.model.layers.linear import computing_in
from jaxmap.model.layers.logits import LogitAdjustment

# Arithmetic, rows and channels of both heads, tokens among the model's rows, cap; the platforms.
CASES = {
    "one vocabulary": (("bfloat16", (50304, 1024), (50304, 1024), None, 0.0), "v5e h100"),
    "two widths and vocabularies": (
        ("bfloat16", (50304, 1024), (50432, 4096), None, 0.0),
        "v5e h100",
    ),
    "capped, with padding": (
        ("bfloat16", (262144, 2304), (262144, 2304), 262100, 30.0),
        "v5e h100",
    ),
    "float16": (("float16", (50304, 1024), (50304, 1024), None, 0.0), "h100"),
    "bfloat16_3x": (("bfloat16_3x", (50304, 1024), (50432, 1024), None, 0.0), "v5e"),
    "float32": (("float32", (50304, 1024), (50304, 1024), None, 0.0), "v5e"),
}
N = 2048
# What a compiler is told must be known before JAX is imported.
PROGRAM = """
import runpy, sys
from jaxmap.hardware import chips, gpus
(gpus if sys.argv[1] == "h100" else chips).prepare()
runpy.run_path(sys.argv[2], run_name="__main__")
"""


def compiles(device, platform, how, head, other, size, cap):
    """Compiles all statistics; False where the program has no kernel for two models."""
    dtype = "float32" if how == "bfloat16_3x" else how
    sharding = SingleDeviceSharding(device)
    adjust = LogitAdjustment(1.0, cap)

    def run(hidden_NE, head_VE, states_NE, other_VE, target_N):
        with computing_in(how):
            return read(
                hidden_NE, Unembedding(head_VE, None, adjust, size), target_N, STATISTICS,
                block=16384, reference=Reference(states_NE, Unembedding(other_VE)),
                platform=platform,
            )  # fmt: skip

    shapes = (N, head[1]), head, (N, other[1]), other
    given = [jax.ShapeDtypeStruct(shape, dtype, sharding=sharding) for shape in shapes]
    target_N = jax.ShapeDtypeStruct((N,), jnp.int32, sharding=sharding)
    compiled = jax.jit(run, out_shardings=sharding).lower(*given, target_N).compile()
    return "paired_readout" in compiled.as_text()


def main(name):
    """Prints each case that the kernel of the device takes."""
    device = (gpus.devices(name) if name == "h100" else chips.devices("v5e:2x2"))[0]
    for case, (given, platforms) in CASES.items():
        if name in platforms and compiles(device, "gpu" if name == "h100" else "tpu", *given):
            print(case, flush=True)


@pytest.mark.slow
@pytest.mark.parametrize(("device", "platform"), [("v5e", "tpu"), ("h100", "gpu")])
def test_the_kernels_compile(device, platform):
    ran = run_for(platform, "-c", PROGRAM, device, __file__)
    assert ran.returncode == 0, ran.stderr
    expected = [case for case, (_, platforms) in CASES.items() if device in platforms]
    assert ran.stdout.splitlines() == expected


if __name__ == "__main__":
    main(sys.argv[1])
