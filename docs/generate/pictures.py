"""Draws the pictures of the documentation from a demo: `make pictures`.

pictures.json keeps what they depend on, the demo and the code that draws it, as hashes that a test
compares with today's.
"""

from __future__ import annotations

import ast
import hashlib
import json
import shutil
import sys
from pathlib import Path

import jaxmap
from jaxmap.demos.settings import DemoConfig

DOCS = Path(__file__).resolve().parents[1]
PICTURES = DOCS / "pictures"
FIGURES = Path(jaxmap.__file__).parent / "figures"
DRAWN_BY = (  # modules of jaxmap/figures
    "captions", "consecutive", "digits", "figure", "legend", "lines", "map_trajectories", "maps",
    "names", "scale", "style",
)  # fmt: skip


def inputs() -> dict[str, str]:
    """The hashes of what the pictures depend on: the demo's configuration, and the drawing code
    without its comments and docstrings."""
    code = repr(
        [_shape(ast.parse((FIGURES / f"{name}.py").read_text("utf-8"))) for name in DRAWN_BY]
    )
    return {
        "demo": DemoConfig().fingerprint,
        "drawing": hashlib.sha256(code.encode()).hexdigest(),
    }


def draw(demo: Path) -> None:
    """Writes pictures/*.png and pictures/pictures.json from the folder of a demo."""
    facts = json.loads((demo / "demo.json").read_text("utf-8"))
    if facts["fingerprint"] != DemoConfig().fingerprint:
        raise SystemExit(f"{demo}: a demo of another configuration: run `jaxmap demo` anew")
    PICTURES.mkdir(exist_ok=True)
    for name in ("consecutive", "scale"):
        shutil.copy(demo / "figures" / f"{name}.png", PICTURES)
    maps = jaxmap.make_map(demo / "store", warmup_steps=DemoConfig().early, stages="joined").draw()
    maps["map_trajectories_pca"].savefig(PICTURES / "runs.png", dpi=200)
    facts = {**inputs(), "pictures": ["consecutive", "runs", "scale"]}
    (PICTURES / "pictures.json").write_text(json.dumps(facts, indent=2) + "\n")


def _shape(node: object) -> object:
    """A syntax tree as nested tuples, without docstrings, positions and what is empty, so that all
    versions of Python give the same."""
    if isinstance(node, list):
        return tuple(_shape(one) for one in node if not _is_text(one))
    if not isinstance(node, ast.AST):
        return node
    fields = (
        (name, _shape(value)) for name, value in ast.iter_fields(node) if value not in (None, [])
    )
    return (type(node).__name__, *fields)


def _is_text(node: object) -> bool:
    """Whether a statement is a docstring."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
