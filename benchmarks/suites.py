r"""What sweeps over released training suites cost, from their configs and the records of the plans.

    python benchmarks/suites.py               # all
    python benchmarks/suites.py olmo2 olmo3
    python benchmarks/suites.py --write       # into the docstrings of the configs

Checkpoints and parameters are those of `PARTS` in configs/NAME.py. Hours are at the roofline: those
of pythia-6.9b (benchmarks/results/plans.jsonl, by `jaxmap plan`: three passes of bfloat16, as
float16 weights take; bfloat16 ones take two), times the active parameters over its own. A sweep
reaches a share of the roofline that `jaxmap bench` measures.
"""

from __future__ import annotations

import json
import re
import runpy
import sys
from collections.abc import Mapping
from pathlib import Path

from jaxmap.sweeps.suites import Part

HERE = Path(__file__).parent
CONFIGS = HERE.parent / "configs"
PLANS = HERE / "results" / "plans.jsonl"
TOPOLOGIES = ("v5e:4x4", "v5p:2x2x4")
LIKE = "benchmarks/shapes/pythia-6.9b"
_COST = re.compile(r"(10,000 texts of 270 tokens:\n).*?(?=\n\w)", re.DOTALL)


def parts_of(path: Path) -> Mapping[str, Part]:
    """The parts of a suite; none where a config is of something else."""
    return runpy.run_path(str(path)).get("PARTS", {})


def seconds_a_parameter() -> dict[str, float]:
    """At the roofline of each topology, for the published texts."""
    found = {}
    for line in PLANS.read_text("utf-8").splitlines():
        plan = json.loads(line)
        if plan["model"] == LIKE and plan["topology"] in TOPOLOGIES:
            found[plan["topology"]] = plan["seconds"] / plan["work"]["parameters"]
    return found


def cost_of(name: str, part: Part, rates: Mapping[str, float]) -> str:
    """One line."""
    size = part.parameters * part.bits / 8
    count = part.checkpoints or 1
    many = f"{part.checkpoints:,} of them {_short(size * count / 1e12)} TB" if count > 1 else "each"
    active = part.active or part.parameters
    times = (f"{where} {_time(rates[where] * active * count)}" for where in TOPOLOGIES)
    return f"{name}: {_short(size / 1e9)} GB per checkpoint; {many}, {', '.join(times)}"


def _short(number: float) -> str:
    return f"{number:.0f}" if number >= 100 else f"{number:.2g}"


def _time(seconds: float) -> str:
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{_short(seconds / size)} {unit}"
    return f"{_short(seconds)} s"


def costs_of(path: Path) -> list[str]:
    rates = seconds_a_parameter()
    return [cost_of(name, part, rates) for name, part in parts_of(path).items()]


def with_costs(text: str, costs: list[str]) -> str:
    """The text of a config with these costs in its docstring."""
    lines = "\n".join(f"          {line}" for line in costs)
    return _COST.sub(lambda match: match[1] + lines, text, count=1)


def main(arguments: list[str]) -> None:
    names = [one for one in arguments if not one.startswith("--")]
    for path in sorted(CONFIGS.glob("*.py")):
        if (names and path.stem not in names) or not (costs := costs_of(path)):
            continue
        print(path.stem, *costs, sep="\n  ")
        if "--write" in arguments:
            path.write_text(with_costs(path.read_text("utf-8"), costs), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
