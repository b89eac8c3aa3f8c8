"""OLMo 3 along the three stages of its training.

Command:  jaxmap sweep --config=configs/olmo3.py --store=olmo3 --cache_budget=200GB
          On a cluster add --shard_index and --shard_count.
Variants: 7b (the default), 32b, all.
Thinning: --config.every=10 takes every tenth checkpoint of each run, its first and its last;
          --config.quantize=none,int8 scores 8-bit copies of each in the same pass.
Expect:   one record per checkpoint; then
          `jaxmap report --store=olmo3 --out=olmo3.html --time=tokens --stages=joined`.
Cost:     by `python benchmarks/suites.py olmo3`, 10,000 texts of 270 tokens:
          7b: 15 GB per checkpoint; 1,474 of them 22 TB, v5e:4x4 15 h, v5p:2x2x4 6.4 h
          32b: 64 GB per checkpoint; 716 of them 46 TB, v5e:4x4 32 h, v5p:2x2x4 14 h
Time:     names tell steps alone. 5.93T tokens in the 1,413,814 steps of the 7b's stage 1 are
          4,194,304 a step (512 sequences of 8,192), 100B in the 47,684 of stage 2 2,097,152, 50B in
          the 11,921 of stage 3 4,194,304; the 32b has twice as many in each (OLMo 3 report, Team
          OLMo 2025).
"""

from jaxmap.sweeps.suites import Part, suite_config

M = 2**20  # tokens


def _part(repo: str, parameters: float, checkpoints: int, millions: tuple[int, int, int]) -> Part:
    runs = tuple(
        {"model": repo, "run": f"stage{number}*", "tokens_per_step": count * M}
        for number, count in enumerate(millions, 1)
    )
    return Part((f"{repo}@stage*",), parameters, checkpoints, runs)


PARTS = {
    "7b": _part("allenai/Olmo-3-1025-7B", 7.3e9, 1474, (4, 2, 4)),
    "32b": _part("allenai/Olmo-3-1125-32B", 32.2e9, 716, (8, 4, 8)),
}


def get_config(variant: str = "7b"):
    return suite_config(PARTS, variant)
