r"""Writes docs/planner.md: devices and hours for whole sweeps, from records of `jaxmap plan`.

    jaxmap plan --model=EleutherAI/pythia-12b --topology=v5e:4x4 \
        --out=benchmarks/results/plans.jsonl
    python benchmarks/planner.py

Every number of the page comes from those records, by the arithmetic that the page shows.
"""

from __future__ import annotations

import json
from pathlib import Path

HERE = Path(__file__).parent
PLANS = HERE / "results" / "plans.jsonl"
PAGE = HERE.parent / "docs" / "planner.md"
# What a sweep is assumed to reach of the roofline; `jaxmap bench` measures it on a device.
SHARE = 0.4
CHECKPOINTS = 154  # of each Pythia run
SIZES = ("410m", "1b", "1.4b", "2.8b", "6.9b")
SEEDS = 9  # of 410m
MANY, TYPICAL = 100_000, "6.9b"


def load() -> list[dict]:
    """The latest plan of each model on each topology."""
    plans = {}
    for line in PLANS.read_text().splitlines():
        plan = json.loads(line)
        plan["name"] = Path(plan["model"]).name
        plans[plan["name"], plan["topology"]] = plan
    return list(plans.values())


def table(plans: list[dict]) -> list[str]:
    lines = [
        "| model | devices | mesh | GiB a device (of) | largest batch | PFLOP | roofline, s | |",
        "|---|---|---|--:|--:|--:|--:|---|",
    ]
    for plan in plans:
        memory = plan["memory"]
        need = plan["parameter_bytes"] if memory is None else sum(memory.values())
        batch = plan["largest_batch_tokens"]
        lines.append(
            f"| {plan['name']} | {plan['topology']} | {plan['mesh']} "
            f"| {need / 2**30:.1f} ({plan['limit'] / 2**30:.0f}) "
            f"| {f'{batch:,}' if batch else '-'} "
            f"| {plan['flops'] / 1e15:.1f} x {plan['passes']} | {plan['seconds']:,.1f} "
            f"| {'fits' if plan['fits'] else 'does not fit'} |"
        )
    return lines


def sweeps(plans: list[dict]) -> list[str]:
    """Hours on each topology that holds all sizes of Pythia."""
    lines = []
    for topology in dict.fromkeys(plan["topology"] for plan in plans):
        own = {plan["name"].removeprefix("pythia-"): plan for plan in plans
               if plan["topology"] == topology and plan["fits"]}  # fmt: skip
        if not set(SIZES) <= set(own):
            continue
        seconds = {size: own[size]["seconds"] for size in SIZES}
        total = CHECKPOINTS * (sum(seconds.values()) + SEEDS * seconds["410m"])
        many, one = MANY * seconds[TYPICAL], own["410m"]
        sum_of_sizes = " + ".join(f"{seconds[size]:.1f}" for size in SIZES)
        lines += [
            f"**{topology}** ({one['num_devices']} x {one['devices']}), {one['dtype']}:",
            "",
            "- Pythia's 2,156 checkpoints, 154 of each of five sizes and nine seeds: "
            f"154 x ({sum_of_sizes} + 9 x {seconds['410m']:.1f}) s = {total / 3600:.1f} h at the "
            f"roofline, {total / SHARE / 3600:.1f} h at {SHARE:.0%} of it.",
            f"- {MANY:,} models of the size of Pythia-{TYPICAL}: {MANY:,} x {seconds[TYPICAL]:.1f} "
            f"s = {many / 86400:,.0f} days at the roofline, {many / SHARE / 86400:,.0f} at "
            f"{SHARE:.0%}; on n such slices an n-th of it.",
            "",
        ]
    return lines


def main() -> None:
    plans = load()
    texts, tokens = plans[0]["texts"], plans[0]["tokens_per_text"]
    PAGE.write_text(
        "\n".join(
            [
                "# How many devices, how many hours",
                "",
                "Made by `python benchmarks/planner.py` from records of `jaxmap plan`: each model "
                "was compiled for the topology, with no TPU. For "
                f"{texts:,} texts of {tokens} tokens. PFLOP: 2 x the weights that a token meets, "
                "and attention to half a text, times the passes of the arithmetic. The roofline is "
                "the longer of arithmetic at the vendor's rate and of the memory traffic: no run "
                "is faster, and downloads come on top.",
                "",
                *table(plans),
                "",
                "## Sweeps",
                "",
                *sweeps(plans),
            ]
        ).rstrip()
        + "\n"
    )
    print(PAGE)


if __name__ == "__main__":
    main()
