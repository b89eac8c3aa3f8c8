"""The tutorial as a page: the cells of the notebook, one after another."""

from __future__ import annotations

import json
from pathlib import Path

HEAD = """*This page is [a notebook](tutorial-notebook.ipynb): open it with Jupyter and run it.*
"""


def page(path: Path) -> str:
    """Markdown of a notebook: its text as it stands, its code as blocks of Python."""
    cells = json.loads(path.read_text("utf-8"))["cells"]
    parts = [_cell(cell["cell_type"], "".join(cell["source"])) for cell in cells]
    title, *rest = parts[0].split("\n", 1)
    return "\n\n".join([title, HEAD, *rest, *parts[1:]]) + "\n"


def _cell(kind: str, source: str) -> str:
    return source if kind == "markdown" else f"```python\n{source}\n```"
