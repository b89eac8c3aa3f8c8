"""Draws the pictures of the documentation from a demo: `make pictures`.

pictures.json keeps the fingerprint of the demo that they show, which a test compares with today's.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import jaxmap
from jaxmap.demos.settings import DemoConfig

DOCS = Path(__file__).resolve().parents[1]
PICTURES = DOCS / "pictures"


def draw(demo: Path) -> None:
    """Writes demo.png, pictures/*.png and pictures/pictures.json from the folder of a demo."""
    facts = json.loads((demo / "demo.json").read_text("utf-8"))
    if facts["fingerprint"] != DemoConfig().fingerprint:
        raise SystemExit(f"{demo}: a demo of another configuration: run `jaxmap demo` anew")
    PICTURES.mkdir(exist_ok=True)
    warmup = DemoConfig().early
    figures = {
        "scale": jaxmap.scale(demo / "store", warmup_steps=warmup).draw()["scale"],
        "runs": jaxmap.make_map(demo / "store", warmup_steps=warmup).draw()["map_trajectories_pca"],
    }
    for name, figure in figures.items():
        figure.savefig(PICTURES / f"{name}.png", dpi=200)
    shutil.copy(demo / "figures" / "consecutive.png", DOCS / "demo.png")
    facts = {"demo": facts["fingerprint"], "pictures": sorted(figures)}
    (PICTURES / "pictures.json").write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
