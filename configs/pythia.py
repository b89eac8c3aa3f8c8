"""Pythia along its training: figures 1, 4 and 5 and the settings later, early, size and seed.

Command:  jaxmap sweep --config=configs/pythia.py --store=runs --cache_budget=200GB
          jaxmap sweep --config=configs/pythia.py:seeds --store=runs --cache_budget=200GB
          jaxmap sweep --config=configs/pythia.py:410m,1b --store=runs
          On a cluster add --shard_index and --shard_count: shares are contiguous parts of runs.
Variants: sizes (410m, 1b, 1.4b, 2.8b, 6.9b; the default), seeds (410m-seed1 to 9), all, or any
          list of names as they follow "pythia-".
Cost:     per checkpoint one download and one load, and 2 x parameters x tokens operations.
          sizes: 770 checkpoints, 3.8 TB to download (two bytes a parameter), 25 GB for one of each;
          seeds: 1,386 checkpoints, 1.1 TB. The published 10,000 texts have about 2.7 million
          tokens: 3.7e16 operations for a 6.9b, 2.2e15 for a 410m.
Expect:   one record per checkpoint; the median KL of neighbours 1,000 steps apart near 0.01 bits
          per byte late in training, between seeds about 0.1 and between sizes a few tenths (Kishino
          et al. 2026); diffusion exponents of log-likelihoods well below those of weights. Step 0
          and step 1 are the same weights. 410m-seed3, 410m-seed4 and 1b at step 116000 are scored
          too and left out by the cleaning.
Time:     1,024 sequences of 2,048 tokens a step (Biderman et al., arXiv 2304.01373).
Texts:    texts.jsonl, made by `jaxmap texts --source=pile --out=texts.jsonl`, or the published
          texts-10k-pile.jsonl: --config.texts=FILE.
"""

from jaxmap.sweeps.config_schema import config_dict

STEPS = "step{0,1,2,4,8,16,32,64,128,256,512,1000:144000:1000}"
SIZES = ("410m", "1b", "1.4b", "2.8b", "6.9b")
SEEDS = tuple(f"410m-seed{seed}" for seed in range(1, 10))
VARIANTS = {"sizes": SIZES, "seeds": SEEDS, "all": SIZES + SEEDS}


def get_config(variant: str = "sizes"):
    runs = VARIANTS.get(variant) or tuple(variant.split(","))
    return config_dict(
        models=tuple(f"EleutherAI/pythia-{run}@{STEPS}" for run in runs),
        runs=({"model": "EleutherAI/pythia-*", "tokens_per_step": 2_097_152},),
        texts="texts.jsonl",
        weight_distance=10,
    )
