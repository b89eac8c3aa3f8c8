"""K2, 65b, along its training.

Command:  jaxmap sweep --config=configs/k2.py --store=k2 --cache_budget=200GB
          On a cluster add --shard_index and --shard_count.
Variants: 65b.
Thinning: --config.every=10 takes every tenth checkpoint of each run, its first and its last;
          --config.quantize=none,int8 scores 8-bit copies of each in the same pass.
Expect:   one record per checkpoint; then `jaxmap report --store=k2 --out=k2.html`.
Cost:     by `python benchmarks/suites.py k2`, 10,000 texts of 270 tokens:
          65b: 131 GB per checkpoint; each, v5e:4x4 5.5 min, v5p:2x2x4 2.3 min
Time:     ckpt_001 and on count checkpoints; tokens of each are not given here (1.4T in all; LLM360,
          arXiv 2501.07124): add them with --config.runs_file.
"""

from jaxmap.sweeps.suites import Part, suite_config

PARTS = {"65b": Part(("LLM360/K2@ckpt_*",), 65.3e9, 0)}


def get_config(variant: str = "65b"):
    return suite_config(PARTS, variant)
