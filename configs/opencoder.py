"""OpenCoder along pretraining and annealing.

Command:  jaxmap sweep --config=configs/opencoder.py --store=opencoder --cache_budget=200GB
          On a cluster add --shard_index and --shard_count.
Variants: 8b.
Thinning: --config.every=10 takes every tenth checkpoint of each run, its first and its last;
          --config.quantize=none,int8 scores 8-bit copies of each in the same pass.
Expect:   one record per checkpoint; then
          `jaxmap report --store=opencoder --out=opencoder.html --stages=joined`.
Cost:     by `python benchmarks/suites.py opencoder`, 10,000 texts of 270 tokens:
          8b: 16 GB per checkpoint; each, v5e:4x4 39 s, v5p:2x2x4 17 s
Time:     names tell iterations (pretrain_iter_0373000, anneal_iter_0023000; Huang et al., arXiv
          2411.04905); annealing continues from the end of pretraining. Tokens per iteration are
          not given here: add them with --config.runs_file.
"""

from jaxmap.sweeps.suites import Part, suite_config

REPO = "OpenCoder-LLM/OpenCoder-8B-Base-Checkpoints"
FACTS = {"model": REPO, "run": "anneal", "continues": "pretrain"}
PARTS = {"8b": Part((f"{REPO}@{{pretrain_*,anneal_*}}",), 7.77e9, 0, (FACTS,))}


def get_config(variant: str = "8b"):
    return suite_config(PARTS, variant)
