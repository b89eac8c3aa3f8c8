"""Optimised HLO as the compilers print it, and how often each of its operations runs."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator

_BYTES = {
    "pred": 1, "s8": 1, "u8": 1, "f8e4m3fn": 1, "f8e5m2": 1, "s16": 2, "u16": 2, "f16": 2,
    "bf16": 2, "s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8,
}  # fmt: skip
_LINE = re.compile(
    r"(?:ROOT )?(?P<name>%[\w.\-]+) = (?P<shape>\(.*?\)|\S+) (?P<opcode>[a-z][\w\-]*)\((?P<rest>.*)"
)
_HEAD = re.compile(r"(?P<entry>ENTRY )?(?P<name>%[\w.\-]+) ")


@dataclasses.dataclass(frozen=True)
class Operation:
    """One instruction.

    Fields:
      shape: its result as HLO writes it, layouts included.
      operands: names of the instructions that it reads.
      line: all of it.
    """

    name: str
    opcode: str
    shape: str
    operands: tuple[str, ...]
    line: str

    def called(self, attribute: str) -> str | None:
        """The computation that an attribute such as "body" or "calls" names."""
        found = re.search(rf"\b{attribute}=(%[\w.\-]+)", self.line)
        return found[1] if found else None

    @property
    def source(self) -> str:
        """What the program calls it: the end of JAX's name and, where known, file and line."""
        name = re.search(r'op_name="([^"]*)"', self.line)
        file = re.search(r'source_file="([^"]*)"', self.line)
        line = re.search(r"source_line=(\d+)", self.line)
        place = f" {file[1].rsplit('/', 1)[-1]}:{line[1]}" if file and line else ""
        return "/".join(name[1].split("/")[-2:]) + place if name else place.strip()


@dataclasses.dataclass(frozen=True)
class Program:
    """Computations by name, which one is run, and on how many devices."""

    computations: dict[str, dict[str, Operation]]
    entry: str
    devices: int

    def executed(self) -> Iterator[tuple[Operation, dict[str, Operation], int]]:
        """Every operation that runs as one, the computation it stands in, and how often it runs.

        Loops and calls are entered. A loop runs as often as the compiler knows, else as its
        condition's largest constant says; of a conditional the branch with most operations counts.
        """
        yield from self._executed(self.entry, 1)

    def _executed(self, name: str, times: int) -> Iterator:
        computation = self.computations[name]
        for op in computation.values():
            if op.opcode == "while":
                body, condition = op.called("body"), op.called("condition")
                assert body is not None
                assert condition is not None
                yield from self._executed(body, times * self._trips(op, condition))
            elif op.opcode == "call":
                called = op.called("to_apply")
                assert called
                yield from self._executed(called, times)
            elif op.opcode == "conditional":
                names = re.findall(r"%[\w.\-]+", _attribute(op.line, "branch_computations"))
                names += [c for c in map(op.called, ("true_computation", "false_computation")) if c]
                largest = max(names, key=lambda name: len(self.computations[name]))
                yield from self._executed(largest, times)
            else:
                yield op, computation, times

    def _trips(self, op: Operation, condition: str) -> int:
        known = re.search(r'known_trip_count":\{"n":"(\d+)"', op.line)
        if known:
            return int(known[1])
        bounds = [
            int(found[1])
            for other in self.computations[condition].values()
            if (found := re.search(r"[su]32\[\]\S* constant\((\d+)\)", other.line))
        ]
        if not bounds:
            raise ValueError(f"nothing says how often {op.name} runs")
        return max(bounds)

    def products(self, name: str) -> tuple[float, str]:
        """Multiplications and additions of the `dot`s inside a computation, and what they read."""
        total, dtype = 0.0, ""
        computation = self.computations[name]
        for op in computation.values():
            if op.opcode == "dot":
                total += dot_flops(op, computation)
                dtype = dtype_of(computation[op.operands[0]].shape)
            elif called := op.called("calls"):
                inner, inner_dtype = self.products(called)
                total, dtype = total + inner, inner_dtype or dtype
        return total, dtype


def parse(text: str) -> Program:
    """The computations of optimised HLO; ValueError where there is no entry."""
    computations, entry = {}, ""
    for part in re.split(r"\n(?=(?:%|ENTRY ))", text):
        head, _, body = part.partition("\n")
        if not (named := _HEAD.match(head)):
            continue
        found = [_operation(line.strip()) for line in body.split("\n")]
        computations[named["name"]] = {op.name: op for op in found if op}
        entry = named["name"] if named["entry"] else entry
    if not entry:
        raise ValueError("no ENTRY computation: is it optimised HLO?")
    counts = re.findall(r"\b(?:num_partitions|replica_count)=(\d+)", text.partition("\n")[0])
    return Program(computations, entry, math.prod(map(int, counts)))


def _operation(line: str) -> Operation | None:
    found = _LINE.match(line)
    if not found:
        return None
    arguments = _balanced(found["rest"])
    operands = tuple(re.findall(r"%[\w.\-]+", arguments))
    return Operation(found["name"], found["opcode"], found["shape"], operands, line)


def _balanced(text: str) -> str:
    """What stands before the parenthesis that closes an argument list."""
    depth = 1
    for i, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return text[:i]
    return text


def _attribute(line: str, name: str) -> str:
    found = re.search(rf"\b{name}=\{{([^}}]*)\}}", line)
    return found[1] if found else ""


def sizes(shape: str) -> list[tuple[str, tuple[int, ...]]]:
    """dtype and dimensions of each array of a shape."""
    return [
        (dtype, tuple(int(size) for size in dims.split(",") if size))
        for dtype, dims in re.findall(r"\b([a-z]\w*)\[([\d,]*)\]", shape)
    ]


def dtype_of(shape: str) -> str:
    """The first array's."""
    return sizes(shape)[0][0]


def bytes_of(shape: str) -> int:
    """Bytes of all arrays of a shape."""
    return sum(_BYTES.get(dtype, 0) * math.prod(dims) for dtype, dims in sizes(shape))


def dot_flops(op: Operation, computation: dict[str, Operation]) -> float:
    """Multiplications and additions of a `dot`."""
    [(_, out)] = sizes(op.shape)
    left = sizes(computation[op.operands[0]].shape)[0][1]
    contracted = _attribute(op.line, "lhs_contracting_dims")
    return 2.0 * math.prod(out) * math.prod(left[int(i)] for i in contracted.split(",") if i)


def library_dot_flops(op: Operation, computation: dict[str, Operation]) -> float:
    """The same of a product that the compiler gave to cuBLAS, which may return a workspace too."""
    out = sizes(op.shape)[0][1]
    left = sizes(computation[op.operands[0]].shape)[0][1]
    contracted = re.search(r'"lhs_contracting_dimensions":\[([^\]]*)\]', op.line)
    if not contracted:
        raise ValueError(f"{op.name} does not say over which axes it sums")
    axes = [int(axis) for axis in re.findall(r"\d+", contracted[1])]
    return 2.0 * math.prod(out) * math.prod(left[axis] for axis in axes)


def until_done(op: Operation, computation: dict[str, Operation]) -> list[Operation]:
    """The operations between the start of an asynchronous one and the first that reads it."""
    ops = list(computation.values())
    later = ops[ops.index(op) + 1 :]
    end = next((i for i, other in enumerate(later) if op.name in other.operands), 0)
    return later[:end]


def group_size(op: Operation, devices: int) -> int:
    """How many of the devices take part in a collective; 2 for a permutation, which lists pairs."""
    if "collective-permute" in op.opcode:
        return 2
    listed = re.search(r"replica_groups=\{\{([\d,]*)\}", op.line)
    if listed:
        return len(listed[1].split(","))
    counted = re.search(r"replica_groups=\[(?:\d+,)*(\d+)\]<=", op.line)
    if counted:
        return int(counted[1])
    # Axes of a mesh, mesh['a'=16,'b'=4] {'a','b':(1)2}, or a part of one, (sizes before it)size.
    named = re.search(r"replica_groups=mesh\[([^\]]*)\]\s*\{([^}]*)\}", op.line)
    if named:
        axes = dict(re.findall(r"'([^']+)'=(\d+)", named[1]))
        taken = re.findall(r"'([^']+)'(?::\(\d+\)(\d+))?", named[2])
        return math.prod(int(part or axes[axis]) for axis, part in taken)
    if "replica_groups=" not in op.line or "replica_groups={}" in op.line:
        return devices
    raise ValueError(f"{op.name} does not say which devices take part")
