"""Lucie along its training and the extension of its context.

Command:  jaxmap sweep --config=configs/lucie.py --store=lucie --cache_budget=200GB
          On a cluster add --shard_index and --shard_count.
Variants: 7b.
Thinning: --config.every=10 takes every tenth checkpoint of each run, its first and its last;
          --config.quantize=none,int8 scores 8-bit copies of each in the same pass.
Expect:   one record per checkpoint; then
          `jaxmap report --store=lucie --out=lucie.html --stages=joined`.
Cost:     by `python benchmarks/suites.py lucie`, 10,000 texts of 270 tokens:
          7b: 13 GB per checkpoint; each, v5e:4x4 34 s, v5p:2x2x4 14 s
Time:     names tell steps (step0753851, extension_step0001220), 3.13T tokens in 756,291 of them
          (its config.json); the batch grew at the start, so tokens of a step are not given here.
          The extension continues from the end.
"""

from jaxmap.sweeps.suites import Part, suite_config

REPO = "OpenLLM-France/Lucie-7B"
FACTS = {"model": REPO, "run": "extension", "continues": ""}
PARTS = {"7b": Part((f"{REPO}@{{step*,extension_step*}}",), 6.7e9, 0, (FACTS,))}


def get_config(variant: str = "7b"):
    return suite_config(PARTS, variant)
