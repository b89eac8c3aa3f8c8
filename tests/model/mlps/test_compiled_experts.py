"""The products in programs of experts, compiled for devices that need not be present."""

from __future__ import annotations

import json
import math
import re
from functools import partial

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from jax.sharding import SingleDeviceSharding
from support import REPOSITORY
from support.device_compilers import run_for

from jaxmap.architectures.config import Config
from jaxmap.architectures.specs import spec_of
from jaxmap.hardware import chips, cost_model, gpus, hlo
from jaxmap.model.encodings.four_bit import FourBitExperts, pack
from jaxmap.model.encodings.int8 import Int8Experts, quantise_rows
from jaxmap.model.inputs import Geometry
from jaxmap.model.layer_kind import Kind
from jaxmap.model.layers.linear import Linear, computing_in
from jaxmap.model.mlps.experts import RoutedExperts

SHAPES = "qwen3-30b-a3b", "gpt-oss-20b"
# The arithmetic, the dtype or encoding of the weights, and the number of passes of a product.
CASES = {
    "v5e": [("bfloat16", "bfloat16", 1), ("bfloat16_3x", "float16", 3),
            ("bfloat16_3x", "bfloat16", 2), ("bfloat16_3x", "nf4", 3), ("bfloat16", "int8", 1)],
    "h100": [("bfloat16", "bfloat16", 1), ("bfloat16_3x", "float16", 3), ("float32", "bfloat16", 1),
             ("bfloat16", "int8", 1)],
}  # fmt: skip
TOKENS, ROW = 16384, 2048


def _packed(linear: Linear, weights: str):
    """The layer in an encoding."""
    if weights == "int8":
        codes = jax.vmap(quantise_rows)(linear.kernel[...].swapaxes(1, 2))
        return Int8Experts(*codes, bias=linear.bias)
    arrays = jax.vmap(lambda kernel: pack(kernel.T.reshape(-1), "nf4"))(linear.kernel[...])
    shape = linear.kernel.shape[:0:-1]
    return FourBitExperts(linear.equation, *arrays, code="nf4", shape=shape, bias=linear.bias)


def program_of(shape: str, device: str, dtype: str, weights: str):
    """The compiled layer of experts, and its spec."""
    on_gpu = device in gpus.GPUS
    described = gpus.devices(device) if on_gpu else chips.devices(f"{device}:2x2")
    where = SingleDeviceSharding(described[0])
    folder = REPOSITORY / "benchmarks" / "shapes" / shape
    spec = spec_of(Config(json.loads((folder / "config.json").read_text("utf-8")), str(folder)))

    def made():
        kind = jnp.float32 if weights in ("int8", "nf4") else jnp.dtype(weights)
        layer = RoutedExperts(spec, Kind(mlp="experts"), dtype=kind, rngs=nnx.Rngs(0))
        if weights in ("int8", "nf4"):
            for name in ("expert_gate", "expert_up", "expert_down"):
                setattr(layer, name, _packed(getattr(layer, name), weights))
        return layer

    graph, arrays = nnx.split(nnx.eval_shape(made))

    def run(arrays, x_BTD, position_BT):
        with computing_in(dtype):
            platform = "gpu" if on_gpu else "tpu"
            geometry = Geometry(position_BT, position_BT, None, None, 384, 256, platform)
            return nnx.merge(graph, arrays)(x_BTD, geometry)

    placed = partial(jax.ShapeDtypeStruct, sharding=where)
    arrays = jax.tree.map(lambda x: placed(x.shape, x.dtype), arrays)
    activations = jnp.bfloat16 if dtype == "bfloat16" else jnp.float32
    B = TOKENS // ROW
    args = placed((B, ROW, spec.D), activations), placed((B, ROW), jnp.int32)
    return jax.jit(run, out_shardings=where).lower(arrays, *args).compile(), spec


def products_of(text: str, *, int8: bool) -> float:
    """Multiplications and additions of a program, those of our kernels as they declare them.

    Of the int8 program those that are summed in int32.
    """
    program, total = hlo.parse(text), 0.0
    for op, computation, runs in program.executed():
        if int8 and not op.shape.startswith(("s32", "(s32")):
            continue
        if "custom-call" in op.opcode and ("tpu_custom_call" in op.line or "triton" in op.line):
            if "flops" in op.line:
                total += runs * cost_model._declared(op)["flops"]
        elif op.opcode == "dot":
            total += runs * hlo.dot_flops(op, computation)
        elif "__cublas" in op.line:
            total += runs * hlo.library_dot_flops(op, computation)
        elif called := op.called("calls"):
            total += runs * (program.products(called)[0] + _convolutions(program, called))
    return total


def _convolutions(program: hlo.Program, name: str) -> float:
    """Those of a computation's convolutions, which products are on a TPU."""
    total, computation = 0.0, program.computations[name]
    for op in computation.values():
        if op.opcode == "convolution":
            kernel = hlo.sizes(computation[op.operands[1]].shape)[0][1]
            labels = re.search(r"dim_labels=\w+_(\w+)->", op.line)[1]
            [(_, out)] = hlo.sizes(op.shape)
            total += 2.0 * math.prod(out) * kernel[labels.index("i")]
        elif called := op.called("calls"):
            total += _convolutions(program, called)
    return total


def main(device: str) -> None:
    """Prints for each case the products over the routed ones."""
    for shape in SHAPES:
        for dtype, weights, passes in CASES[device]:
            compiled, spec = program_of(shape, device, dtype, weights)
            text, e = compiled.as_text(), spec.experts
            routed = 2 * TOKENS * e.k * spec.D * e.F * (3 if e.gated else 2) * passes
            ratio = products_of(text, int8=weights == "int8") / routed
            seconds = cost_model.total(text, device)
            temporaries = compiled.memory_analysis().temp_size_in_bytes / 2**30
            figures = f"{1e3 * seconds:.1f} ms, {temporaries:.2f} GiB"
            print(f"{shape}, {dtype}, {weights}: {ratio:.3f} x the routed, {figures}", flush=True)


@pytest.mark.slow
@pytest.mark.parametrize(("device", "platform"), [("v5e", "tpu"), ("h100", "gpu")])
def test_a_fifth_more_than_the_routed_products_at_most(device, platform):
    # The module is imported once the compiler is ready: importing encodings starts JAX.
    compilers = {"tpu": "chips", "gpu": "gpus"}[platform]
    code = (
        f"import runpy; from jaxmap.hardware import {compilers}; {compilers}.prepare(); "
        f"runpy.run_path({__file__!r})['main']({device!r})"
    )
    ran = run_for(platform, "-c", code)
    assert ran.returncode == 0, ran.stderr
    found = [float(line.split(": ")[1].split()[0]) for line in ran.stdout.splitlines()]
    assert len(found) == len(SHAPES) * len(CASES[device])
    assert all(1 <= ratio <= 1.2 for ratio in found), ran.stdout
