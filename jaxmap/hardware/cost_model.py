"""What a compiled program would cost on a TPU or GPU, added up from its optimised HLO.

TPU: the compiler annotates operations with the cycles that it estimates. GPU: a kernel takes the
longer of its products at the device's rate and its bytes, inputs read once and outputs written
once, at the memory's, and a launch. Data that devices exchange goes around a ring: of GPUs at the
rate of a GPU's link, of two TPUs over the link between them, of more both ways around, over two
links of each. Operations run one after another: what a device overlaps is not taken off.

Kernels of our own must declare what they do (Pallas's `cost_estimate`): products, those that their
padding adds included, and exponentials, one a score or logit. They take the longer of their bytes
and of products at the peak plus _VECTOR operations of the vector unit an exponential, one after the
other. The compiler's final schedules, counted bundle by bundle, are shorter than that
(docs/accelerators.md).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

from jaxmap.hardware import chips, hlo
from jaxmap.hardware.gpus import GPUS, Gpu

_VECTOR = 11
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
# Names that stand for other arrays, or are done before anything is waited for.
_FREE = frozenset(
    "parameter constant bitcast tuple get-tuple-element after-all partition-id replica-id iota "
    "copy-start copy-done async-start async-update async-done bitcast-convert "
    "all-reduce-done all-gather-done collective-permute-done".split()
)
# How often around a ring of n devices each byte goes that a device puts in.
_RING: dict[str, Callable[[int], float]] = {
    "all-reduce": lambda n: 2 * (n - 1) / n,
    "all-gather": lambda n: n - 1,
    "reduce-scatter": lambda n: (n - 1) / n,
    "all-to-all": lambda n: (n - 1) / n,
    "collective-permute": lambda n: 1,
}


@dataclasses.dataclass(frozen=True)
class Charge:
    """What one operation costs, over all of its runs.

    Fields:
      source: what the program calls it.
      seconds: of all runs.
    """

    name: str
    opcode: str
    shape: str
    source: str
    runs: int
    seconds: float


def charges(text: str, device: str) -> list[Charge]:
    """Every operation that costs something, the dearest first.

    Args:
      text: optimised HLO.
      device: a name in `chips.TPUS` or `gpus.GPUS`.
    """
    program = hlo.parse(text)
    found = []
    for op, computation, runs in program.executed():
        seconds = _seconds(op, computation, program, device)
        if seconds:
            shape = op.shape.split("{")[0] if op.shape[0] != "(" else op.shape[:60]
            found.append(Charge(op.name, op.opcode, shape, op.source, runs, runs * seconds))
    return sorted(found, key=lambda charge: -charge.seconds)


def total(text: str, device: str) -> float:
    """The seconds that a run of a program costs; arguments as for `charges`."""
    return sum(charge.seconds for charge in charges(text, device))


@dataclasses.dataclass(frozen=True)
class Exchange:
    """A collective operation, over all of its runs.

    Fields:
      source: what the program calls it.
      bytes: what each device sends.
      seconds: of its own, as `Charge` counts them.
      beside: of the operations that the compiler put between its start and its end, which the
        device may do meanwhile; 0: everything waits for it.
    """

    name: str
    opcode: str
    source: str
    runs: int
    bytes: float
    seconds: float
    beside: float


def exchanges(text: str, device: str) -> list[Exchange]:
    """The exchanges between devices, the slowest first; arguments as for `charges`."""
    program = hlo.parse(text)
    found = []
    for op, computation, runs in program.executed():
        opcode = op.opcode.removesuffix("-start")
        if opcode not in _RING:
            continue
        sent = runs * _ring_bytes(op, computation, program)
        seconds = runs * _seconds(op, computation, program, device)
        meanwhile = hlo.until_done(op, computation) if op.opcode != opcode else []
        beside = runs * sum(_seconds(other, computation, program, device) for other in meanwhile)
        found.append(Exchange(op.name, opcode, op.source, runs, sent, seconds, beside))
    return sorted(found, key=lambda exchange: -exchange.seconds)


def _seconds(
    op: hlo.Operation, computation: dict[str, hlo.Operation], program: hlo.Program, device: str
) -> float:
    """The seconds of one run of an operation."""
    if device in GPUS:
        return _on_gpu(op, computation, program, GPUS[device])
    return _on_tpu(op, computation, program, chips.TPUS[device])


def _on_tpu(
    op: hlo.Operation,
    computation: dict[str, hlo.Operation],
    program: hlo.Program,
    chip: chips.Chip,
) -> float:
    if "tpu_custom_call" in op.line:
        return _own_kernel_on_tpu(op, computation, chip)
    if op.opcode.removesuffix("-start") in _RING:
        links = 1 if hlo.group_size(op, program.devices) == 2 else 2
        return _ring_bytes(op, computation, program) / (links * chip.link)
    cycles = _CYCLES.search(op.line)
    return int(cycles[1]) / chip.clock if cycles else 0.0


def _declared(op: hlo.Operation) -> dict[str, float]:
    """The cost that a kernel of our own declares, numbers by name."""
    found = {}
    for name in ("flops", "transcendentals", "bytes_accessed"):
        number = re.search(rf"\b(?:22)?{name}\W+(?:22)?\W*(?:22)?(\d+)", op.line)
        if not number:
            raise ValueError(f"{op.name} does not declare its {name}")
        found[name] = float(number[1])
    return found


def _own_kernel_on_tpu(
    op: hlo.Operation, computation: dict[str, hlo.Operation], chip: chips.Chip
) -> float:
    shapes = [op.shape, *(computation[name].shape for name in op.operands)]
    if all(dtype == "s32" for shape in shapes for dtype, _ in hlo.sizes(shape)):
        return _bytes(op, computation) / chip.bandwidth  # XLA's plan of a ragged product
    declared = _declared(op)
    vector = _VECTOR * declared["transcendentals"] / (chip.vector * chip.clock)
    return max(
        declared["flops"] / chip.flops + vector,
        max(declared["bytes_accessed"], _bytes(op, computation)) / chip.bandwidth,
    )


def _bytes(op: hlo.Operation, computation: dict[str, hlo.Operation]) -> int:
    read = sum(hlo.bytes_of(computation[name].shape) for name in op.operands)
    return read + hlo.bytes_of(op.shape)


def _ring_bytes(
    op: hlo.Operation, computation: dict[str, hlo.Operation], program: hlo.Program
) -> float:
    """What a device of a ring sends on in a collective."""
    turns = _RING[op.opcode.removesuffix("-start")](hlo.group_size(op, program.devices))
    return turns * sum(hlo.bytes_of(computation[name].shape) for name in op.operands)


def _on_gpu(
    op: hlo.Operation, computation: dict[str, hlo.Operation], program: hlo.Program, gpu: Gpu
) -> float:
    if op.opcode in _FREE:
        return 0.0
    if op.opcode.removesuffix("-start") in _RING:
        return _ring_bytes(op, computation, program) / gpu.link + gpu.launch
    if "__gpu$xla.gpu.triton" in op.line and "transcendentals" in op.line:
        declared = _declared(op)
        exponentials = declared["transcendentals"]
        largest = max((computation[name].shape for name in op.operands), key=hlo.bytes_of)
        rate = gpu.flops_by_dtype.get(hlo.dtype_of(largest), gpu.flops)
        return gpu.launch + max(
            declared["flops"] / rate
            + exponentials / gpu.exponentials
            + _VECTOR * exponentials / gpu.vector,
            declared["bytes_accessed"] / gpu.bandwidth,
        )
    moved = _bytes(op, computation)
    if "dynamic-slice" in op.name or "dynamic_slice" in op.name or op.opcode == "dynamic-slice":
        moved = 2 * hlo.bytes_of(op.shape)
    flops, dtype = 0.0, ""
    if op.opcode == "dot":
        flops, dtype = (
            hlo.dot_flops(op, computation),
            hlo.dtype_of(computation[op.operands[0]].shape),
        )
    elif "__cublas" in op.line:
        flops, dtype = (
            hlo.library_dot_flops(op, computation),
            hlo.dtype_of(computation[op.operands[0]].shape),
        )
    elif called := op.called("calls"):
        flops, dtype = program.products(called)
    rate = gpu.flops_by_dtype.get(dtype, gpu.flops)
    return max(flops / rate, moved / gpu.bandwidth) + gpu.launch
