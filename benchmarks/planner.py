r"""Writes docs/planner.md: devices and hours for whole sweeps, from records of `jaxmap plan`.

    pip install -e '.[tpu,cuda]'
    python benchmarks/planner.py --run        # makes the plans that are missing, then the page
    python benchmarks/planner.py              # the page

`--run` compiles each model of benchmarks/shapes for each topology, with no TPU or GPU: a minute or
two for each, one at a time. It can be stopped, and resumes when started again. `--largest_batch`
finds the largest batches too, in a few more compilations per plan. Every number of the page comes
from these records and that of `benchmarks/map.py --large`, by the arithmetic that the page shows.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags

from jaxmap.hardware.chips import TPUS
from jaxmap.planning.plan import reach_of

HERE = Path(__file__).parent
HOME = HERE.parent
PLANS = HERE / "results" / "plans.jsonl"
MAP = HERE / "results" / "map-large-cpu.json"
PAGE = HOME / "docs" / "planner.md"
MODELS = ("pythia-410m", "pythia-1b", "pythia-1.4b", "pythia-2.8b", "pythia-6.9b", "pythia-12b",
          "llama-3-70b")  # fmt: skip
TOPOLOGIES = (
    "v5e:2x2",
    "v5p:2x2x1",
    "v5e:4x4",
    "v5p:2x2x4",
    "a100:8",
    "h100:8",
    "h200:8",
    "b200:8",
)

NETWORK = 1e9  # bytes a second that weights are assumed to arrive at
CHECKPOINTS = 154  # of each Pythia run
SIZES = ("410m", "1b", "1.4b", "2.8b", "6.9b")
SEEDS = 9  # more runs of 410m
MANY, TYPICAL = 100_000, "pythia-6.9b"
DAYS = 30
BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}

RUN = flags.DEFINE_boolean("run", False, "Make the plans that are missing.")
LARGEST = flags.DEFINE_boolean("largest_batch", False, "With --run: look for largest batches too.")
CHOSEN = flags.DEFINE_list("models", list(MODELS), "With --run: folders of benchmarks/shapes.")
PLACES = flags.DEFINE_list("topologies", list(TOPOLOGIES), "With --run: what to compile for.")


def load() -> dict[tuple[str, str], dict]:
    """The latest plan of each model on each topology, by their names."""
    plans = {}
    if PLANS.exists():
        for line in PLANS.read_text(encoding="utf-8").splitlines():
            plan = json.loads(line)
            plan["name"] = Path(plan["model"]).name
            plan.setdefault("modelled_seconds", None)  # of before there was any
            plans[plan["name"], plan["topology"]] = plan
    return plans


def missing() -> list[tuple[str, str]]:
    """What is still to be planned, of what the flags ask for."""
    plans = load()

    def done(plan: dict | None) -> bool:
        if plan is None or (plan["modelled_seconds"] is None and plan["fits"]):
            return False
        return not LARGEST.value or plan["largest_batch_tokens"] is not None or not plan["fits"]

    wanted = [(model, topology) for topology in PLACES.value for model in CHOSEN.value]
    return [pair for pair in wanted if not done(plans.get(pair))]


def make() -> None:
    """Calls `jaxmap plan` for each that is missing, each in a process of its own."""
    from jaxmap.progress import progress

    left = missing()
    with progress(len(left), "plans", "plan") as bar:
        for model, topology in left:
            bar.set_postfix_str(f"{model} on {topology}")
            before = PLANS.stat().st_size if PLANS.exists() else 0
            command = [
                sys.executable, "-m", "jaxmap", "plan",
                f"--model={(HERE / 'shapes' / model).relative_to(HOME)}",
                f"--topology={topology}", f"--out={PLANS.relative_to(HOME)}",
                f"--{'' if LARGEST.value else 'no'}largest_batch",
            ]  # fmt: skip
            ran = subprocess.run(command, cwd=HOME, capture_output=True, text=True, check=False)
            if not PLANS.exists() or PLANS.stat().st_size == before:
                sys.exit(f"{' '.join(command)}\nended with {ran.returncode}\n{ran.stderr}")
            bar.update()


# The page ----------------------------------------------------------------------------------------


def table(plans: list[dict]) -> list[str]:
    """A row a plan."""
    lines = [
        "| model | devices | mesh | GiB a device (of) | largest batch | PFLOP | roofline, s | "
        "modelled, s | |",
        "|---|---|---|--:|--:|--:|--:|--:|---|",
    ]
    for plan in plans:
        memory, batch = plan["memory"], plan["largest_batch_tokens"]
        need = plan["parameter_bytes"] if memory is None else sum(memory.values())
        lines.append(
            f"| {plan['name']} | {plan['topology']} | {plan['mesh']} "
            f"| {need / 2**30:.1f} ({plan['limit'] / 2**30:.0f}) "
            f"| {f'{batch:,}' if batch else ''} "
            f"| {plan['flops'] / 1e15:,.1f} x {plan['passes']} "
            f"| {plan['seconds']:,.1f} "
            f"| {_modelled(plan)} "
            f"| {'fits' if plan['fits'] else 'does not fit'} |"
        )
    return lines


def _modelled(plan: dict) -> str:
    return f"{plan['modelled_seconds']:,.1f}" if plan["modelled_seconds"] else ""


def stored_bytes(plan: dict) -> float:
    return plan["work"]["parameters"] * BYTES[plan["stored"]]


def sweeps(plans: dict[tuple[str, str], dict]) -> list[str]:
    """Hours of both sweeps on each topology that holds all sizes of Pythia."""
    names = [f"pythia-{size}" for size in SIZES]
    runs = [1 + SEEDS if size == "410m" else 1 for size in SIZES]
    shown = _sum(runs, SIZES)
    whole = [
        t for t in TOPOLOGIES if all(plans.get((n, t), {}).get("modelled_seconds") for n in names)
    ]
    lines = [
        f"**Pythia's {CHECKPOINTS * sum(runs):,} checkpoints**: {CHECKPOINTS} of each of "
        f"{sum(runs)} runs, five sizes and nine more seeds of 410m: {CHECKPOINTS} x ({shown}).",
        "",
        "| devices | seconds a vector, modelled | hours | device-hours | hours at the roofline |",
        "|---|---|--:|--:|--:|",
    ]
    for topology in whole:
        own = [plans[name, topology] for name in names]
        hours, least = (
            CHECKPOINTS * sum(n * plan[key] for n, plan in zip(runs, own, strict=True)) / 3600
            for key in ("modelled_seconds", "seconds")
        )
        sums = _sum(runs, [_modelled(plan) for plan in own])
        count = own[0]["num_devices"]
        lines.append(
            f"| {topology}, {count} devices | {CHECKPOINTS} x ({sums}) | {hours:,.1f} "
            f"| {hours * count:,.0f} | {least:,.1f} |"
        )
    first = [plans[name, whole[0]] for name in names]
    sizes = sum(n * stored_bytes(plan) for n, plan in zip(runs, first, strict=True))
    lines += ["", *_arrival(CHECKPOINTS * sizes), ""]

    one = plans[TYPICAL, whole[0]]
    lines += [
        f"**{MANY:,} models**, each of the size of {TYPICAL} "
        f"({one['work']['parameters'] / 1e9:.2g} billion parameters):",
        "",
        f"| devices | days, modelled | days at the roofline | so many of them (devices) for "
        f"{DAYS} days |",
        "|---|---|--:|--:|",
    ]
    for topology in whole:
        plan = plans[TYPICAL, topology]
        days, least = (MANY * plan[key] / 86400 for key in ("modelled_seconds", "seconds"))
        groups = math.ceil(days / DAYS)
        lines.append(
            f"| {topology}, {plan['num_devices']} devices "
            f"| {MANY:,} x {_modelled(plan)} s = {days:,.0f} | {least:,.0f} "
            f"| {groups} ({groups * plan['num_devices']}) |"
        )
    return [*lines, "", *_arrival(MANY * stored_bytes(one))]


def _sum(runs: Sequence[int], terms: Sequence[str]) -> str:
    return " + ".join(
        term if n == 1 else f"{n} x {term}" for n, term in zip(runs, terms, strict=True)
    )


def _rounded(value: float) -> str:
    return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def _arrival(count: float) -> list[str]:
    hours = count / NETWORK / 3600
    return [
        f"Their weights are {_rounded(count / 1e12)} TB: {_rounded(hours)} h at "
        f"{NETWORK / 1e9:.0f} GB/s, beside the scoring; n groups with a connection of their own "
        "take an n-th."
    ]


def map_of_many() -> list[str]:
    """All pairs of many models, from the largest run that was measured."""
    run = json.loads(MAP.read_text(encoding="utf-8"))
    K, N, T = run["models"], run["texts"], run["tile"]
    known, strips = 2 * T * K * 8, 2 * T * MANY * 8
    rest = run["peak_bytes"] - known
    ratio = (MANY / K) ** 2 * 10_000 / N
    rate = K * K * N / run["seconds"]
    machine = run["machine"]
    pairs, values = MANY * (MANY - 1) // 2, MANY * 10_000
    near, far = 4 * MANY * values / T, 3 * 2 * 4 * pairs * 10_000
    chip = TPUS["v5e"]
    return [
        f"Measured: K = {K:,} models, N = {N:,} texts, {machine['cores']} cores of an "
        f"{machine['device']}, {machine['date']} (`{run['command']}`): {run['seconds']:,.0f} s, "
        f"{run['cpu_seconds']:,.0f} s of all threads, {run['peak_bytes'] / 2**20:,.0f} MiB beside "
        f"the files, error {run['error']:.0e}. Derived for K = {MANY:,}, N = 10,000 "
        "(`jaxmap kl --out=kl.npy`):",
        "",
        f"- **Result**: K x K x 8 bytes = {MANY**2 * 8 / 1e9:,.0f} GB in one .npy, float64, with "
        f"a working copy of the vectors beside it, K x N x 8 = {values * 8 / 1e9:,.0f} GB; the "
        "space is reserved before work begins.",
        f"- **Memory**: two strips of results, the one being made and the one before, 2 x {T:,} x "
        f"K x 8 = {strips / 2**30:,.1f} GiB, and what does not grow with K: of the measured "
        f"{run['peak_bytes'] / 2**20:,.0f} MiB its strips are {known / 2**20:,.0f}, which leaves "
        f"{rest / 2**20:,.0f} MiB. Together {(strips + rest) / 2**30:,.1f} GiB.",
        f"- **Arithmetic**: K^2 / 2 products of length N, K^2 N = {MANY * values / 1e12:,.0f} "
        f"TFLOP in float64; measured {rate / 1e9:,.0f} GFLOP/s with reading and writing. "
        f"{run['seconds']:,.0f} s x {ratio:,.0f} = {run['seconds'] * ratio / 3600:,.1f} h on that "
        f"machine; {MANY**2 * 8 / 1e9:,.0f} GB at 500 MB/s of a disk take "
        f"{MANY**2 * 8 / 5e8 / 60:,.0f} minutes of it.",
        "- **Accelerators** (not measured): the kernel takes differences in float32, 12 operations "
        f"a pair and text, {12 * pairs * 10_000 / 1e12:,.0f} tera-operations outside the matrix "
        f"units. It reads two tiles for {T:,} x {T:,} pairs, 4 K^2 N / {T:,} = "
        f"{near / 1e12:,.1f} TB, if a tile's differences stay on the chip, and 3 passes x 2 x 4 "
        f"bytes a pair and text = {far / 1e12:,.0f} TB if none do: between "
        f"{near / chip.bandwidth:,.1f} s and {far / chip.bandwidth / 60:,.0f} minutes of one "
        f"TPU {chip.name}, an n-th on n devices (a tile's rows are spread over them). Results "
        f"leave as float32, m2 and m4, {8 * pairs / 1e9:,.0f} GB.",
    ]


def write() -> None:
    plans = load()
    ordered = [plans[model, topology] for topology in _topologies(plans) for model in MODELS
               if (model, topology) in plans]  # fmt: skip
    one = ordered[0]
    made = sorted({plan["made"]["date"] for plan in ordered})
    versions = ", ".join(
        f"{name} {version}" for name, version in ordered[-1]["made"].items() if name != "date"
    )
    lines = [
        "# How many devices, how many hours",
        "",
        f"Made by `python benchmarks/planner.py --run` ({made[-1]}; {versions}): each model was "
        "compiled by `jaxmap plan --mesh=auto` for the topology, with no TPU or GPU, from the "
        "config.json in benchmarks/shapes. The figures are the vendors' and the compilers': "
        "nothing here was measured on a device.",
        "",
        "## One model",
        "",
        f"For {one['texts']:,} texts of {one['tokens_per_text']} tokens, in batches of "
        f"{one['batch_tokens']:,} tokens of each group of devices. GiB: weights, batch and "
        "temporaries of one device by the compiler's count; a plan fits with 90 % of its memory. "
        "PFLOP: 2 x the weights that a token meets, and attention to half a text, times the "
        "passes that the arithmetic with weights takes (bfloat16_3x: three for float16 weights, "
        "two for bfloat16 ones). The roofline is the longer of arithmetic at the vendor's rate and "
        "of the memory traffic, without exchanges between devices: no run is faster. Modelled "
        "is what the operations of the compiled program add up to, one after another, what devices "
        f"exchanges included, for texts of up to {reach_of(one['tokens_per_text'])} tokens "
        "([accelerators.md](accelerators.md)); padding, loading and reading are beside it. "
        "Where it is blank nothing fits. The largest "
        "batch, where it was looked for, is that of each group of devices.",
        "",
        *table(ordered),
        "",
        "## Sweeps",
        "",
        "By the modelled times; beside them what the roofline alone would say. `jaxmap bench` "
        "measures a device's own.",
        "",
        *sweeps(plans),
        "",
        f"## The map of {MANY:,} models",
        "",
        *map_of_many(),
    ]
    PAGE.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    print(PAGE)


def _topologies(plans: dict[tuple[str, str], dict]) -> list[str]:
    return [*TOPOLOGIES, *dict.fromkeys(t for _, t in plans if t not in TOPOLOGIES)]


def main(_: list[str]) -> None:
    if RUN.value:
        make()
    write()


if __name__ == "__main__":
    app.run(main)
