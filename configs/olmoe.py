"""OLMoE, 1 of 7 billion parameters active, along its training.

Command:  jaxmap sweep --config=configs/olmoe.py --store=olmoe --cache_budget=200GB
          On a cluster add --shard_index and --shard_count.
Variants: 1b-7b.
Thinning: --config.every=10 takes every tenth checkpoint of each run, its first and its last;
          --config.quantize=none,int8 scores 8-bit copies of each in the same pass.
Expect:   one record per checkpoint; then
          `jaxmap report --store=olmoe --out=olmoe.html --time=tokens`.
Cost:     by `python benchmarks/suites.py olmoe`, 10,000 texts of 270 tokens:
          1b-7b: 14 GB per checkpoint; 244 of them 3.4 TB, v5e:4x4 26 min, v5p:2x2x4 11 min
Time:     names tell tokens (step1200000-tokens5033B), rounded to billions; 1,024 sequences of 4,096
          tokens a step (Muennighoff et al., arXiv 2409.02060): 4,194,304.
"""

from jaxmap.sweeps.suites import Part, suite_config

REPO = "allenai/OLMoE-1B-7B-0924"
PARTS = {
    "1b-7b": Part(
        (f"{REPO}@step*",),
        6.9e9,
        244,
        ({"model": REPO, "tokens_per_step": 4_194_304},),
        active=1.3e9,
    ),
}


def get_config(variant: str = "1b-7b"):
    return suite_config(PARTS, variant)
