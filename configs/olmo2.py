"""OLMo 2 along both stages of its training; the ingredients of stage 2 are branches.

Command:  jaxmap sweep --config=configs/olmo2.py --store=olmo2 --cache_budget=200GB
          On a cluster add --shard_index and --shard_count.
Variants: 1b (the default), 7b, 13b, 32b, all.
Thinning: --config.every=10 takes every tenth checkpoint of each run, its first and its last;
          --config.quantize=none,int8 scores 8-bit copies of each in the same pass.
Expect:   one record per checkpoint; then
          `jaxmap report --store=olmo2 --out=olmo2.html --time=tokens --stages=joined`.
Cost:     by `python benchmarks/suites.py olmo2`, 10,000 texts of 270 tokens:
          1b: 3 GB per checkpoint; 262 of them 0.78 TB, v5e:4x4 32 min, v5p:2x2x4 14 min
          7b: 15 GB per checkpoint; 965 of them 14 TB, v5e:4x4 9.8 h, v5p:2x2x4 4.2 h
          13b: 27 GB per checkpoint; 668 of them 18 TB, v5e:4x4 13 h, v5p:2x2x4 5.5 h
          32b: 64 GB per checkpoint; 794 of them 51 TB, v5e:4x4 36 h, v5p:2x2x4 15 h
Time:     sequences of 4,096 tokens, 512 (1b), 1,024 (7b) or 2,048 (13b, 32b) a step (OLMo et al.,
          arXiv 2501.00656), which the rounded tokens of the names bear out. Early checkpoints of
          the 7b lack their stage1; they are of it. `--stages=joined` counts stage 2 on from stage
          1.
"""

from jaxmap.sweeps.suites import Part, suite_config

SEQUENCE = 4096
STAGE_1 = r"^(?:stage1-)?step(?P<step>\d+)-tokens(?P<tokens>\d+B)$"


def _part(repo: str, parameters: float, checkpoints: int, sequences: int) -> Part:
    return Part(
        (f"{repo}@stage*", f"{repo}@step*") if sequences == 1024 else (f"{repo}@stage*",),
        parameters,
        checkpoints,
        (
            {"model": repo, "run": "stage1", "pattern": STAGE_1},
            {"model": repo, "tokens_per_step": sequences * SEQUENCE},
        ),
    )


PARTS = {
    "1b": _part("allenai/OLMo-2-0425-1B", 1.48e9, 262, 512),
    "7b": _part("allenai/OLMo-2-1124-7B", 7.3e9, 965, 1024),
    "13b": _part("allenai/OLMo-2-1124-13B", 13.7e9, 668, 2048),
    "32b": _part("allenai/OLMo-2-0325-32B", 32.2e9, 794, 2048),
}


def get_config(variant: str = "1b"):
    return suite_config(PARTS, variant)
