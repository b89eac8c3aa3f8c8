"""Marin, 8b, at the ends of the phases of its training.

Command:  jaxmap sweep --config=configs/marin.py --store=marin --cache_budget=200GB
          On a cluster add --shard_index and --shard_count.
Variants: 8b.
Thinning: --config.every=10 takes every tenth checkpoint of each run, its first and its last;
          --config.quantize=none,int8 scores 8-bit copies of each in the same pass.
Expect:   one record per checkpoint; then `jaxmap report --store=marin --out=marin.html`.
Cost:     by `python benchmarks/suites.py marin`, 10,000 texts of 270 tokens:
          8b: 16 GB per checkpoint; 6 of them 0.096 TB, v5e:4x4 4 min, v5p:2x2x4 1.7 min
Time:     its branches have names of animals, which are put in order here (Marin 8B retrospective):
          steps 1 to 6.
"""

from jaxmap.sweeps.suites import Part, suite_config

REPO = "marin-community/marin-8b-base"
PHASES = ["kestrel", "ocelot", "jellyfish", "phoenix", "starling", "deeper-starling"]
PARTS = {
    "8b": Part((f"{REPO}@{{{','.join(PHASES)}}}",), 8.03e9, 6, ({"model": REPO, "order": PHASES},)),
}


def get_config(variant: str = "8b"):
    return suite_config(PARTS, variant)
