"""TinyLlama along its training: a repository for each checkpoint.

Command:  jaxmap sweep --config=configs/tinyllama.py --store=tinyllama --cache_budget=200GB
          On a cluster add --shard_index and --shard_count.
Variants: 1.1b.
Thinning: --config.every=10 takes every tenth checkpoint of each run, its first and its last;
          --config.quantize=none,int8 scores 8-bit copies of each in the same pass.
Expect:   one record per checkpoint; then
          `jaxmap report --store=tinyllama --out=tinyllama.html --time=tokens`.
Cost:     by `python benchmarks/suites.py tinyllama`, 10,000 texts of 270 tokens:
          1.1b: 4.4 GB per checkpoint; 7 of them 0.031 TB, v5e:4x4 39 s, v5p:2x2x4 17 s
Time:     names tell tokens (step-1431k-3T; Zhang et al., arXiv 2401.02385).
"""

from jaxmap.sweeps.suites import Part, suite_config

PARTS = {
    "1.1b": Part(("TinyLlama/TinyLlama-1.1B-intermediate-step-*",), 1.1e9, 7, bits=32),
}


def get_config(variant: str = "1.1b"):
    return suite_config(PARTS, variant)
