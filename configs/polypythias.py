"""PolyPythias: Pythia with nine more seeds of each of its small sizes.

Command:  jaxmap sweep --config=configs/polypythias.py --store=polypythias --cache_budget=200GB
          On a cluster add --shard_index and --shard_count.
Variants: 14m, 31m, 70m, 160m, 410m; decoupled (160m, seeds of weights and of data apart); all. 14m
          is the default.
Thinning: --config.every=10 takes every tenth checkpoint of each run, its first and its last;
          --config.quantize=none,int8 scores 8-bit copies of each in the same pass.
Expect:   one record per checkpoint; then
          `jaxmap report --store=polypythias --out=polypythias.html --time=tokens`.
Cost:     by `python benchmarks/suites.py polypythias`, 10,000 texts of 270 tokens:
          14m: 0.028 GB per checkpoint; 1,386 of them 0.039 TB, v5e:4x4 1.6 min, v5p:2x2x4 42 s
          31m: 0.062 GB per checkpoint; 1,386 of them 0.086 TB, v5e:4x4 3.6 min, v5p:2x2x4 1.5 min
          70m: 0.14 GB per checkpoint; 1,386 of them 0.19 TB, v5e:4x4 8.1 min, v5p:2x2x4 3.5 min
          160m: 0.32 GB per checkpoint; 1,386 of them 0.45 TB, v5e:4x4 19 min, v5p:2x2x4 8 min
          410m: 0.81 GB per checkpoint; 1,386 of them 1.1 TB, v5e:4x4 47 min, v5p:2x2x4 20 min
          decoupled: 0.32 GB per checkpoint; 924 of them 0.3 TB, v5e:4x4 12 min, v5p:2x2x4 5.4 min
Time:     2,097,152 tokens a step (Biderman et al., arXiv 2304.01373; van der Wal et al., arXiv
          2503.09543). 410m-seed3 and 410m-seed4 are scored too and left out by the cleaning.
"""

from jaxmap.sweeps.suites import Part, suite_config

STEPS = "step{0,1,2,4,8,16,32,64,128,256,512,1000:144000:1000}"
FACTS = {"model": "EleutherAI/pythia-*", "tokens_per_step": 2_097_152}
SIZES = {"14m": 1.4e7, "31m": 3.1e7, "70m": 7.0e7, "160m": 1.62e8, "410m": 4.05e8}


def _part(names: str, parameters: float, runs: int) -> Part:
    return Part((f"EleutherAI/pythia-{names}@{STEPS}",), parameters, 154 * runs, (FACTS,))


PARTS = {
    **{size: _part(f"{size}-seed{{1:10}}", count, 9) for size, count in SIZES.items()},
    "decoupled": _part("160m-{data,weight}-seed{1,2,3}", SIZES["160m"], 6),
}


def get_config(variant: str = "14m"):
    return suite_config(PARTS, variant)
