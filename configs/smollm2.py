"""SmolLM 2 along its training.

Command:  jaxmap sweep --config=configs/smollm2.py --store=smollm2 --cache_budget=200GB
          On a cluster add --shard_index and --shard_count.
Variants: 1.7b (the default), 360m, 135m, all.
Thinning: --config.every=10 takes every tenth checkpoint of each run, its first and its last;
          --config.quantize=none,int8 scores 8-bit copies of each in the same pass.
Expect:   one record per checkpoint; then
          `jaxmap report --store=smollm2 --out=smollm2.html --time=tokens`.
Cost:     by `python benchmarks/suites.py smollm2`, 10,000 texts of 270 tokens:
          1.7b: 3.4 GB per checkpoint; 42 of them 0.14 TB, v5e:4x4 6 min, v5p:2x2x4 2.6 min
          360m: 0.72 GB per checkpoint; each, v5e:4x4 1.8 s, v5p:2x2x4 0.77 s
          135m: 0.27 GB per checkpoint; each, v5e:4x4 0.68 s, v5p:2x2x4 0.29 s
Time:     names tell steps (step-125000). 1.7b: 2M tokens a step (Allal et al., arXiv 2502.02737),
          taken as 2,097,152. Of the others the batch is not given here: add it with
          --config.runs_file.
"""

from jaxmap.sweeps.suites import Part, suite_config

OWNER = "HuggingFaceTB"
LARGE = f"{OWNER}/SmolLM2-1.7B-intermediate-checkpoints"
PARTS = {
    "1.7b": Part(
        (f"{LARGE}@step-*",), 1.7e9, 42, ({"model": LARGE, "tokens_per_step": 2_097_152},)
    ),
    "360m": Part((f"{OWNER}/SmolLM2-360M-intermediate-checkpoints@step-*",), 3.6e8, 0),
    "135m": Part((f"{OWNER}/SmolLM2-135M-intermediate-checkpoints@step-*",), 1.35e8, 0),
}


def get_config(variant: str = "1.7b"):
    return suite_config(PARTS, variant)
