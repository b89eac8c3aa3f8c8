"""Apertus along its training and the extension of its context.

Command:  jaxmap sweep --config=configs/apertus.py --store=apertus --cache_budget=200GB
          On a cluster add --shard_index and --shard_count.
Variants: 8b (the default), 70b, all.
Thinning: --config.every=10 takes every tenth checkpoint of each run, its first and its last;
          --config.quantize=none,int8 scores 8-bit copies of each in the same pass.
Expect:   one record per checkpoint; then
          `jaxmap report --store=apertus --out=apertus.html --time=tokens --stages=joined`.
Cost:     by `python benchmarks/suites.py apertus`, 10,000 texts of 270 tokens:
          8b: 16 GB per checkpoint; 60 of them 0.97 TB, v5e:4x4 40 min, v5p:2x2x4 17 min
          70b: 141 GB per checkpoint; 30 of them 4.2 TB, v5e:4x4 2.9 h, v5p:2x2x4 1.3 h
Time:     names tell tokens (step50000-tokens210B), as the batch grew on the way (Apertus team,
          arXiv 2509.14233). The extension continues from the end.
"""

from jaxmap.sweeps.suites import Part, suite_config


def _part(repo: str, parameters: float, checkpoints: int) -> Part:
    runs = ({"model": repo, "run": "longctx", "continues": ""},)
    return Part((f"{repo}@{{step*,longctx-*}}",), parameters, checkpoints, runs)


PARTS = {
    "8b": _part("swiss-ai/Apertus-8B-2509", 8.05e9, 60),
    "70b": _part("swiss-ai/Apertus-70B-2509", 70.6e9, 30),
}


def get_config(variant: str = "8b"):
    return suite_config(PARTS, variant)
