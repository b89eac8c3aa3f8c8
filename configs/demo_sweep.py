"""The demo's own checkpoints with all that a sweep can take of them in one pass.

Command:  jaxmap demo --out=demo
          jaxmap sweep --config=configs/demo_sweep.py:demo --store=demo/sweep
Variant:  the demo's folder, "demo" if not given.
Cost:     see the README for the demo; the sweep itself takes a few minutes on 2 CPU cores.
Expect:   95 checkpoints of 5 runs: scores, the logit lens at every layer, int8 copies, and weight
          distances to the 10 checkpoints before each; then `jaxmap diffusion --store=demo/sweep
          --out=DIR --start_from=1` shows exponents of both spaces.
"""

from jaxmap.demos.settings import DemoConfig
from jaxmap.sweeps.config_schema import config_dict


def get_config(folder: str = "demo"):
    demo = DemoConfig()
    steps = ",".join(map(str, demo.checkpoints))
    return config_dict(
        models=tuple(f"{folder}/models/{run}@step{{{steps}}}" for run in demo.runs),
        texts=f"{folder}/texts.jsonl",
        lens=True,
        quantize=("none", "int8"),
        weight_distance=10,
    )
