"""Amber along its training.

Command:  jaxmap sweep --config=configs/amber.py --store=amber --cache_budget=200GB
          On a cluster add --shard_index and --shard_count.
Variants: 7b.
Thinning: --config.every=10 takes every tenth checkpoint of each run, its first and its last;
          --config.quantize=none,int8 scores 8-bit copies of each in the same pass.
Expect:   one record per checkpoint; then
          `jaxmap report --store=amber --out=amber.html --time=tokens`.
Cost:     by `python benchmarks/suites.py amber`, 10,000 texts of 270 tokens:
          7b: 13 GB per checkpoint; 359 of them 4.8 TB, v5e:4x4 3.4 h, v5p:2x2x4 1.4 h
Time:     ckpt_000 to ckpt_358 follow the 360 parts of 1.26T tokens in which its data came (Liu et
          al., arXiv 2312.06550), so a step is 3.5e9 tokens, and ckpt_000 is after the first; main
          is the last.
"""

from jaxmap.sweeps.suites import Part, suite_config

REPO = "LLM360/Amber"
A_PART = 1.259e12 / 360  # tokens
FACTS = {"model": REPO, "tokens_per_step": A_PART, "tokens_before": A_PART}
PARTS = {"7b": Part((f"{REPO}@ckpt_*",), 6.74e9, 359, (FACTS,))}


def get_config(variant: str = "7b"):
    return suite_config(PARTS, variant)
