"""Scoring speed and memory against PyTorch, in one interleaved run: `jaxmap bench` as a script.

    python benchmarks/score.py --shapes=70m,160m --texts=64 --repeats=3

The flags are those of `jaxmap bench --help`.
"""

import sys

from jaxmap.cli import run

sys.exit(run(["bench", *sys.argv[1:]]))
