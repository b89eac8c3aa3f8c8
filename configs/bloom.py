"""BLOOM along its training.

Command:  jaxmap sweep --config=configs/bloom.py --store=bloom --cache_budget=200GB
          On a cluster add --shard_index and --shard_count.
Variants: 560m, 1b1, 1b7, 3b, 7b1, all (the default).
Thinning: --config.every=10 takes every tenth checkpoint of each run, its first and its last;
          --config.quantize=none,int8 scores 8-bit copies of each in the same pass.
Expect:   one record per checkpoint; then
          `jaxmap report --store=bloom --out=bloom.html --time=tokens`.
Cost:     by `python benchmarks/suites.py bloom`, 10,000 texts of 270 tokens:
          560m: 1.1 GB per checkpoint; 8 of them 0.009 TB, v5e:4x4 22 s, v5p:2x2x4 9.6 s
          1b1: 2.1 GB per checkpoint; 8 of them 0.017 TB, v5e:4x4 43 s, v5p:2x2x4 18 s
          1b7: 3.4 GB per checkpoint; 8 of them 0.028 TB, v5e:4x4 1.1 min, v5p:2x2x4 30 s
          3b: 6 GB per checkpoint; 8 of them 0.048 TB, v5e:4x4 2 min, v5p:2x2x4 52 s
          7b1: 14 GB per checkpoint; 8 of them 0.11 TB, v5e:4x4 4.7 min, v5p:2x2x4 2 min
Time:     names tell steps (global_step1000). Sequences of 2,048 tokens, 256 (560m, 1b1) or 512 a
          step (BigScience, arXiv 2211.05100, table 3).
"""

from jaxmap.sweeps.suites import Part, suite_config

SIZES = {"560m": (5.6e8, 256), "1b1": (1.07e9, 256), "1b7": (1.72e9, 512), "3b": (3.0e9, 512),
         "7b1": (7.07e9, 512)}  # fmt: skip


def _part(size: str, parameters: float, sequences: int) -> Part:
    repo = f"bigscience/bloom-{size}-intermediate"
    facts = {"model": repo, "tokens_per_step": sequences * 2048}
    return Part((f"{repo}@global_step*",), parameters, 8, (facts,))


PARTS = {size: _part(size, *facts) for size, facts in SIZES.items()}


def get_config(variant: str = "all"):
    return suite_config(PARTS, variant)
