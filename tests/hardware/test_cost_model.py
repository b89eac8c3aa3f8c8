"""The modelled cost of a program: hand-written HLO added up by hand, and compilers' own."""

from __future__ import annotations

import os
import subprocess
import sys
import types

import jax
import jax.numpy as jnp
import pytest
from support import REPOSITORY
from support.device_compilers import run_for

from jaxmap.hardware import chips, hlo
from jaxmap.hardware.cost_model import charges, exchanges, total
from jaxmap.hardware.gpus import GPUS
from jaxmap.hardware.topology import name_of

GPU = """HloModule m

%inner (a: f16[64,32], b: f16[32,16]) -> f32[64,16] {
  %a = f16[64,32]{1,0} parameter(0)
  %b = f16[32,16]{1,0} parameter(1)
  ROOT %dot.1 = f32[64,16]{1,0} dot(%a, %b), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

%body (s: (s32[], f16[64,32], f16[32,16])) -> (s32[], f16[64,32], f16[32,16]) {
  %s = (s32[], f16[64,32]{1,0}, f16[32,16]{1,0}) parameter(0)
  %x = f16[64,32]{1,0} get-tuple-element(%s), index=1
  %y = f16[32,16]{1,0} get-tuple-element(%s), index=2
  %gemm = f32[64,16]{1,0} fusion(%x, %y), kind=kCustom, calls=%inner, metadata={op_name="jit(f)/while/body/ab,bc->ac/dot_general" source_file="/a/linear.py" source_line=7}
  ROOT %t = (s32[], f16[64,32]{1,0}, f16[32,16]{1,0}) tuple(%s, %x, %y)
}

%condition (s: (s32[], f16[64,32], f16[32,16])) -> pred[] {
  %s = (s32[], f16[64,32]{1,0}, f16[32,16]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%s), index=0
  %bound = s32[] constant(24)
  ROOT %less = pred[] compare(%i, %bound), direction=LT
}

ENTRY %main (p: (s32[], f16[64,32], f16[32,16])) -> (s32[], f16[64,32], f16[32,16]) {
  %p = (s32[], f16[64,32]{1,0}, f16[32,16]{1,0}) parameter(0)
  ROOT %loop = (s32[], f16[64,32]{1,0}, f16[32,16]{1,0}) while(%p), condition=%condition, body=%body
}
"""  # noqa: E501 a line an instruction, as HLO is printed


def test_a_gpu_kernel_in_a_loop_by_hand():
    [charge] = charges(GPU, "h100")
    gpu = GPUS["h100"]
    moved = 2 * 64 * 32 + 2 * 32 * 16 + 4 * 64 * 16
    flops = 2 * 64 * 32 * 16
    assert charge.runs == 24
    assert charge.seconds == pytest.approx(
        24 * (max(flops / gpu.flops, moved / gpu.bandwidth) + gpu.launch)
    )
    assert charge.source == "ab,bc->ac/dot_general linear.py:7"


def test_a_loop_may_count_without_a_sign():
    """As loops do that TPU's compiler makes of large reshapes."""
    assert charges(GPU.replace("s32[]", "u32[]"), "h100") == charges(GPU, "h100")


def test_a_kernel_of_our_own_is_charged_what_it_declares():
    gpu, chip = GPUS["h100"], chips.TPUS["v5e"]
    kernel = "%gemm = f32[64,16]{1,0} custom-call(%x, %y)"
    start, stop = GPU.index("%gemm ="), GPU.index(", metadata")
    declared = '"flops":"8000000","transcendentals":"4000","bytes_accessed":"100"'

    def text(target, config):
        call = f'{kernel}, custom_call_target="{target}", backend_config={config}'
        return GPU[:start] + call + GPU[stop:]

    escaped = declared.replace('"', "\\22")
    [charge] = charges(text("__gpu$xla.gpu.triton", f'{{metadata = "{{{escaped}}}"}}'), "h100")
    one = 8e6 / gpu.flops + 4e3 / gpu.exponentials + 11 * 4e3 / gpu.vector
    assert charge.seconds == pytest.approx(24 * (one + gpu.launch))
    estimate = f'{{"custom_call_config":{{"cost_estimate":{{{declared}}}}}}}'
    [charge] = charges(text("tpu_custom_call", estimate), "v5e")
    one = 8e6 / chip.flops + 11 * 4e3 / (chip.vector * chip.clock)
    assert charge.seconds == pytest.approx(24 * one)
    with pytest.raises(ValueError, match="does not declare its flops"):
        charges(text("tpu_custom_call", "{}"), "v5e")


@pytest.mark.parametrize(
    ("opcode", "turns"),
    [
        ("all-reduce-start", 2 * 3 / 4),
        ("all-gather", 3),
        ("reduce-scatter", 3 / 4),
        ("collective-permute-start", 1),
    ],
)
@pytest.mark.parametrize(
    "groups",
    [
        "{{0,1,2,3},{4,5,6,7}}",
        "[2,4]<=[8]",
        "[2,4]<=[4,2]T(1,0)",
        "{}",
        "mesh['axis_0'=4,'axis_1'=2] {'axis_0'}",
        "mesh['a'=2,'b'=4] {'a','b':(1)2}",
    ],
)
def test_what_devices_tell_each_other_goes_around_a_ring(opcode, turns, groups):
    start, stop = GPU.index("%gemm ="), GPU.index(", metadata")
    call = f"%gemm = f16[64,32]{{1,0}} {opcode}(%x), replica_groups={groups}"
    text = GPU[:start] + call + GPU[stop:]
    devices = 4 if groups == "{}" else 8  # all of them
    text = text.replace("HloModule m", f"HloModule m, num_partitions={devices}")
    [charge] = charges(text, "h100")
    sent = turns * 2 * 64 * 32
    assert charge.seconds == pytest.approx(24 * (sent / GPUS["h100"].link + GPUS["h100"].launch))
    [charge] = charges(text, "v5e")
    links = 1 if "permute" in opcode else 2
    assert charge.seconds == pytest.approx(24 * sent / (links * chips.TPUS["v5e"].link))


def test_tpu_cycles_are_the_compilers_own():
    text = GPU.replace("calls=%inner", 'calls=%inner, backend_config={"estimated_cycles":"1500"}')
    [charge] = charges(text, "v5e")
    chip = chips.TPUS["v5e"]
    assert chip.clock == pytest.approx(1.5e9, rel=0.01)
    assert charge.seconds == pytest.approx(24 * 1500 / chip.clock)


def test_products_of_a_scan_are_counted_as_often_as_they_run():
    def f(x, weights):
        return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, weights)[0]

    text = jax.jit(f).lower(jnp.ones((32, 256)), jnp.ones((5, 256, 256))).compile().as_text()
    program = hlo.parse(text)
    flops = 0.0
    for op, computation, runs in program.executed():
        if op.opcode == "dot":
            flops += runs * hlo.dot_flops(op, computation)
        elif (called := op.called("calls")) in program.computations:
            flops += runs * program.products(called)[0]
    assert flops == 5 * 2 * 32 * 256 * 256


def test_what_is_no_program_is_refused():
    with pytest.raises(ValueError, match="no ENTRY"):
        hlo.parse("nothing")


def _accelerator(platform: str, *flags: str) -> subprocess.CompletedProcess:
    small = "--shape=pythia-410m", "--layers=2", "--tokens=512", "--row=512", "--reach=256"
    return run_for(platform, "benchmarks/accelerator.py", *small, *flags)


def _share(ran: subprocess.CompletedProcess) -> float:
    assert ran.returncode == 0, ran.stderr
    word, value = ran.stdout.splitlines()[-1].split()
    assert word == "share"
    return float(value)


@pytest.mark.parametrize("dtype", ["bfloat16", pytest.param("bfloat16_3x", marks=pytest.mark.slow)])
def test_a_tpu_program_is_compiled_and_added_up(tmp_path, dtype):
    written = tmp_path / "program.hlo"
    ran = _accelerator("tpu", "--device=v5e", f"--dtype={dtype}", f"--hlo={written}")
    assert 0.01 < _share(ran) < 1
    again = sum(charge.seconds for charge in charges(written.read_text(), "v5e"))
    modelled = next(line for line in ran.stdout.splitlines() if line.startswith("modelled"))
    assert float(modelled.split()[1]) == pytest.approx(1e3 * again, abs=0.006)


@pytest.mark.slow
def test_a_gpu_program_is_compiled_and_added_up():
    assert 0.01 < _share(_accelerator("gpu", "--device=h100", "--dtype=float16")) < 1


def test_a_missing_compiler_is_one_line(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['libtpu'] = None")
    ran = subprocess.run(
        [sys.executable, "benchmarks/accelerator.py", "--device=v5e"],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(REPOSITORY)])},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert ran.returncode == 2
    assert "pip install 'jax[tpu]'" in ran.stderr.splitlines()[-1]


EXCHANGES = """HloModule m, num_partitions=4

ENTRY %main (x: f32[8,16], y: f16[64,32], z: f16[32,16]) -> f32[8,16] {
  %x = f32[8,16]{1,0} parameter(0)
  %y = f16[64,32]{1,0} parameter(1)
  %z = f16[32,16]{1,0} parameter(2)
  %start = f32[8,16]{1,0} all-reduce-start(%x), replica_groups=[2,2]<=[4], to_apply=%add
  %gemm = (f32[64,16]{1,0}, s8[128]{0}) custom-call(%y, %z), custom_call_target="__cublas$gemm", backend_config={"gemm_backend_config":{"dot_dimension_numbers":{"lhs_contracting_dimensions":["1"],"rhs_contracting_dimensions":["0"]}}}
  %done = f32[8,16]{1,0} all-reduce-done(%start)
  ROOT %all = f32[8,16]{1,0} all-reduce(%done), replica_groups={}, to_apply=%add
}
"""  # noqa: E501 a line an instruction, as HLO is printed


def test_exchanges_and_what_runs_beside_them_by_hand():
    gpu = GPUS["h100"]
    alone, beside = exchanges(EXCHANGES, "h100")
    sent = 4 * 8 * 16
    assert (alone.bytes, beside.bytes) == (pytest.approx(1.5 * sent), pytest.approx(sent))
    assert alone.beside == 0.0
    flops, moved = 2 * 64 * 16 * 32, 2 * 64 * 32 + 2 * 32 * 16 + 4 * 64 * 16 + 128
    product = max(flops / gpu.flops, moved / gpu.bandwidth) + gpu.launch
    assert beside.beside == pytest.approx(product)
    assert total(EXCHANGES, "h100") == pytest.approx(alone.seconds + beside.seconds + product)


def test_a_product_that_a_library_makes_is_charged_its_arithmetic():
    large = EXCHANGES.replace("f16[64,32]", "f16[65536,8192]").replace(
        "f16[32,16]", "f16[8192,8192]"
    )
    large = large.replace("f32[64,16]", "f32[65536,8192]")
    [found] = [c for c in charges(large, "h100") if c.opcode == "custom-call"]
    expected = 2 * 65536 * 8192 * 8192 / GPUS["h100"].flops
    assert found.seconds == pytest.approx(expected, rel=1e-3)
    with pytest.raises(ValueError, match="over which axes"):
        charges(large.replace("lhs_contracting", "contracted"), "h100")


@pytest.mark.parametrize(
    ("platform", "kind", "name"),
    [
        ("tpu", "TPU v5 lite", "v5e"),
        ("tpu", "TPU v5", "v5p"),
        ("tpu", "TPU v6 lite", "v6e"),
        ("tpu", "TPU v4", "v4"),
        ("tpu", "TPU v9", None),
        ("gpu", "NVIDIA H100 80GB HBM3", "h100"),
        ("gpu", "NVIDIA A100-SXM4-40GB", "a100"),
        ("gpu", "NVIDIA GeForce RTX 4090", None),
        ("cpu", "cpu", None),
    ],
)
def test_devices_are_known_by_what_jax_calls_them(platform, kind, name):
    assert name_of(types.SimpleNamespace(platform=platform, device_kind=kind)) == name
