"""Facts about the Pythia suite, and what Kishino et al. (arXiv 2505.15353) chose for it.

They are the defaults of the commands: other runs have other warmups, and flags or parameters
for them. This module imports nothing, so that the command line can show the defaults at once.
"""

from __future__ import annotations

TIMES = ("auto", "steps", "tokens")  # see `timeline`
STAGES = ("apart", "joined")
RECIPES = ("auto", "jaxmap", "published")  # see `recipes`
CHECKPOINTS = (0, *(2**i for i in range(10)), *range(1000, 143_001, 1000))  # steps, all 154
WARMUP = 2000  # training steps; the learning rate is warmed up by then
START_FROM = 1000  # the first step from which a diffusion exponent is measured
WINDOW = 10  # saved checkpoints after a start that enter its exponent
SHOWN_START = 120_000  # the start of the left panel of figure 5
INTERVALS = 50  # of each run, for the settings later and early

# Anomalous runs, outliers for van der Wal et al. (arXiv 2503.09543) too, and one bad checkpoint;
# as left out by Kishino et al. Names without organisation, and steps.
BAD_RUNS = ("pythia-410m-seed3", "pythia-410m-seed4")
BAD_CHECKPOINTS = (("pythia-1b", 116_000),)


def is_bad(run: str, step: int) -> bool:
    """Whether a checkpoint of a run, with or without its organisation, is one of the bad ones."""
    name = run.rpartition("/")[2]
    return name in BAD_RUNS or (name, step) in BAD_CHECKPOINTS
