"""Which attention the kernels take, by compiling them for devices that need not be there."""

from __future__ import annotations

import sys

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import SingleDeviceSharding
from support.device_compilers import run_for

from jaxmap.hardware import chips, gpus
from jaxmap.model.attention_facts import Alibi
from jaxmap.model.inputs import Geometry, LayerFacts
from jaxmap.model.kernels.attention import by_kernel
from jaxmap.model.layers.linear import computing_in
from jaxmap.model.layers.rope import Turn

ALIBI = Alibi(tuple(2.0**-head for head in range(1, 9)), False)
ROUNDED = Alibi(ALIBI.slopes, True)
# What a case has that differs from 8 heads of 64 in bfloat16 and rows of 2,048 tokens; the
# platforms whose kernel takes it. The table of docs/accelerators.md is this one.
CASES: dict[str, tuple[dict, str]] = {
    **{f"heads of {C}": (dict(C=C), "v5e h100") for C in (64, 80, 96, 128, 192, 256)},
    "heads of 320": (dict(C=320), "v5e"),
    "grouped heads, rope": (dict(H=32, G=8, C=128, rope=True), "v5e h100"),
    "71 heads of one key": (dict(H=71, G=1), "v5e h100"),
    "soft cap": (dict(G=4, C=256, softcap=50.0), "v5e h100"),
    "window": (dict(C=128, window=128), "v5e h100"),
    "texts as long as the row": (dict(C=128, reach=2048), "v5e h100"),
    "window and sinks": (dict(H=64, G=8, window=128, sinks=True), "v5e h100"),
    "ALiBi": (dict(alibi=ALIBI), "v5e h100"),
    "ALiBi, rounded": (dict(alibi=ROUNDED), "v5e h100"),
    "two widths": (dict(H=16, G=16, C=192, Cv=128), "v5e h100"),
    "float16": (dict(dtype="float16"), "h100"),
    "float32": (dict(dtype="float32"), "v5e"),
    "bfloat16_3x": (dict(dtype="bfloat16_3x"), "v5e"),
    "rows of 1,000 tokens": (dict(T=1000), ""),
    "texts of 32,768 tokens": (dict(H=32, G=8, C=128, T=32768, reach=32768), "h100"),
}


def compiles(
    device, platform, *, H=8, G=None, C=64, Cv=None, T=2048, reach=384, dtype="bfloat16",
    window=0, rope=False, sinks=False, softcap=0.0, alibi=None,
):  # fmt: skip
    """Compiles the kernel; False where there is none for this case."""
    kind = jnp.float32 if dtype == "bfloat16_3x" else jnp.dtype(dtype)
    sharding = SingleDeviceSharding(device)
    found = []

    def run(q, k, v, position_BT, waves, sink_H):
        one = jnp.float32(1)
        facts = LayerFacts(jnp.float32(C**-0.5), jnp.int32(window), jnp.int32(-1), one, one)
        where = Geometry(position_BT, position_BT, None, None, reach, 256, platform)
        with computing_in(dtype):
            mixed = by_kernel(
                q, k, v, where, facts,
                turn=Turn(waves, waves, "half") if rope else None,
                softcap=softcap, alibi=alibi, sink_H=sink_H if sinks else None,
            )  # fmt: skip
        found.append(mixed is not None)
        return q if mixed is None else mixed

    def shape(sizes, kind):
        return jax.ShapeDtypeStruct(sizes, kind, sharding=sharding)

    G = G or H
    shapes = ((1, T, H, C), kind), ((1, T, G, C), kind), ((1, T, G, Cv or C), kind)
    rest = ((1, T), jnp.int32), ((1, T, 1, C // 2), jnp.float32), ((H,), kind)
    jax.jit(run, out_shardings=sharding).lower(*(shape(*of) for of in (*shapes, *rest))).compile()
    return found[0]


def main(name):
    """Prints each case that the kernel of the device takes."""
    (gpus if name == "h100" else chips).prepare()
    device = (gpus.devices(name) if name == "h100" else chips.devices("v5e:2x2"))[0]
    for case, (given, _) in CASES.items():
        if compiles(device, "gpu" if name == "h100" else "tpu", **given):
            print(case, flush=True)


@pytest.mark.slow
@pytest.mark.parametrize(("device", "platform"), [("v5e", "tpu"), ("h100", "gpu")])
def test_what_the_kernels_take_compiles(device, platform):
    ran = run_for(platform, __file__, device)
    assert ran.returncode == 0, ran.stderr
    expected = [case for case, (_, platforms) in CASES.items() if device in platforms]
    assert ran.stdout.splitlines() == expected


if __name__ == "__main__":
    main(sys.argv[1])
