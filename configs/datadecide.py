"""DataDecide: 25 corpora, each with three seeds, which share a repository.

Command:  jaxmap sweep --config=configs/datadecide.py --store=datadecide --cache_budget=200GB
          On a cluster add --shard_index and --shard_count.
Variants: 20M, 60M, 90M, 150M, 300M, 530M, 750M, 1B, all; 150M is the default.
Thinning: --config.every=10 takes every tenth checkpoint of each run, its first and its last;
          --config.quantize=none,int8 scores 8-bit copies of each in the same pass.
Expect:   one record per checkpoint; then
          `jaxmap report --store=datadecide --out=datadecide.html --time=tokens`.
Cost:     by `python benchmarks/suites.py datadecide`, 10,000 texts of 270 tokens:
          20M: 0.076 GB per checkpoint; 900 of them 0.068 TB, v5e:4x4 1.4 min, v5p:2x2x4 37 s
          60M: 0.23 GB per checkpoint; 1,800 of them 0.41 TB, v5e:4x4 8.6 min, v5p:2x2x4 3.7 min
          90M: 0.39 GB per checkpoint; 1,800 of them 0.71 TB, v5e:4x4 15 min, v5p:2x2x4 6.3 min
          150M: 0.6 GB per checkpoint; 2,325 of them 1.4 TB, v5e:4x4 29 min, v5p:2x2x4 12 min
          300M: 1.3 GB per checkpoint; 2,775 of them 3.6 TB, v5e:4x4 1.2 h, v5p:2x2x4 32 min
          530M: 2.1 GB per checkpoint; 3,525 of them 7.5 TB, v5e:4x4 2.6 h, v5p:2x2x4 1.1 h
          750M: 3 GB per checkpoint; 3,825 of them 11 TB, v5e:4x4 4 h, v5p:2x2x4 1.7 h
          1B: 4.7 GB per checkpoint; 4,200 of them 20 TB, v5e:4x4 6.9 h, v5p:2x2x4 3 h
Time:     names tell steps and seeds (step69369-seed-default). Sequences of 2,048 tokens, 64 to 704
          a step (Magnusson et al., arXiv 2504.11393): 100 tokens a parameter in all.
"""

from jaxmap.sweeps.suites import Part, suite_config

# Parameters, sequences a step, last step; about a checkpoint every 1,250 steps.
SIZES = {
    "20M": (1.9e7, 64, 14_584),
    "60M": (5.7e7, 96, 29_042),
    "90M": (9.8e7, 160, 29_901),
    "150M": (1.5e8, 192, 38_157),
    "300M": (3.2e8, 320, 45_787),
    "530M": (5.3e8, 448, 57_786),
    "750M": (7.5e8, 576, 63_589),
    "1B": (1.18e9, 704, 69_369),
}
RECIPES, SEEDS, EVERY = 25, 3, 1250


def _part(size: str, parameters: float, sequences: int, last: int) -> Part:
    repo = f"allenai/DataDecide-*-{size}"
    facts = {"model": repo, "tokens_per_step": sequences * 2048}
    count = RECIPES * SEEDS * (last // EVERY + 1)
    return Part((f"{repo}@step*-seed-*",), parameters, count, (facts,), bits=32)


PARTS = {size: _part(size, *facts) for size, facts in SIZES.items()}


def get_config(variant: str = "150M"):
    return suite_config(PARTS, variant)
