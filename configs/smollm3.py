"""SmolLM 3 along the three stages of its training and the extension of its context.

Command:  jaxmap sweep --config=configs/smollm3.py --store=smollm3 --cache_budget=200GB
          On a cluster add --shard_index and --shard_count.
Variants: 3b.
Thinning: --config.every=10 takes every tenth checkpoint of each run, its first and its last;
          --config.quantize=none,int8 scores 8-bit copies of each in the same pass.
Expect:   one record per checkpoint; then
          `jaxmap report --store=smollm3 --out=smollm3.html --time=tokens --stages=joined`.
Cost:     by `python benchmarks/suites.py smollm3`, 10,000 texts of 270 tokens:
          3b: 6.2 GB per checkpoint; 128 of them 0.79 TB, v5e:4x4 33 min, v5p:2x2x4 14 min
Time:     steps of stages 2 and 3 count on from the stage before; 2,359,296 tokens a step,
          checkpoints every 40,000 (its card: 86, 19 and 13 of the stages, 10 of the extension).
"""

from jaxmap.sweeps.suites import Part, suite_config

REPO = "HuggingFaceTB/SmolLM3-3B-checkpoints"
PARTS = {
    "3b": Part(
        (f"{REPO}@{{stage*,lc-*}}",),
        3.08e9,
        128,
        (
            {"model": REPO, "tokens_per_step": 2_359_296},
            {"model": REPO, "run": "lc-4k*", "continues": "stage3"},
        ),
    ),
}


def get_config(variant: str = "3b"):
    return suite_config(PARTS, variant)
