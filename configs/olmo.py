"""OLMo 1, 7b, along its training.

Command:  jaxmap sweep --config=configs/olmo.py --store=olmo --cache_budget=200GB
          On a cluster add --shard_index and --shard_count.
Variants: 7b.
Thinning: --config.every=10 takes every tenth checkpoint of each run, its first and its last;
          --config.quantize=none,int8 scores 8-bit copies of each in the same pass.
Expect:   one record per checkpoint; then
          `jaxmap report --store=olmo --out=olmo.html --time=tokens`.
Cost:     by `python benchmarks/suites.py olmo`, 10,000 texts of 270 tokens:
          7b: 14 GB per checkpoint; 557 of them 7.7 TB, v5e:4x4 5.3 h, v5p:2x2x4 2.3 h
Time:     names tell tokens (step1000-tokens4B), rounded to billions; 2,048 sequences of 2,048
          tokens a step (Groeneveld et al., arXiv 2402.00838): 4,194,304.
"""

from jaxmap.sweeps.suites import Part, suite_config

REPO = "allenai/OLMo-7B-hf"
PARTS = {
    "7b": Part((f"{REPO}@step*",), 6.9e9, 557, ({"model": REPO, "tokens_per_step": 4_194_304},)),
}


def get_config(variant: str = "7b"):
    return suite_config(PARTS, variant)
