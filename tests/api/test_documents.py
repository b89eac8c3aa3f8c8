"""What the documents show of Python, executed: tutorial, README, the package's docstring."""

from __future__ import annotations

import ast
import itertools
import json
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest
from support import REPOSITORY
from support.checkpoints import TEXTS, caches, make_checkpoint, write_texts

import jaxmap
from jaxmap.corpus import sources

# Two models of the demo's, the smallest ever, with few steps and few texts.
TINY: dict[str, Any] = dict(
    texts=12,
    min_bytes=64,
    max_bytes=160,
    held_out=0.3,
    train_bytes=60_000,
    vocabulary=320,
    context=192,
    window=96,
    steps=12,
    warmup=4,
    every=4,
    early=4,
    seeds=2,
    sizes={"xs": dict(width=16, layers=1, heads=1, learning_rate=2e-2)},
    lens=False,
    quantize=(),
    dtypes=(),
    state_seconds=0.0,
    finetune_steps=2,
)


@pytest.fixture(autouse=True)
def own_caches(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", caches())
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def run_cell(source: str, names: dict[str, Any]) -> Any:
    """What a cell shows: the value of its last line, where that is an expression."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    return (
        None if last is None else eval(compile(ast.Expression(last.value), "cell", "eval"), names)
    )


def shown(value: Any) -> str:
    """As a notebook shows it."""
    return value._repr_html_() if hasattr(value, "_repr_html_") else repr(value)


@pytest.mark.parametrize(
    "config",
    [pytest.param(TINY, id="tiny"), pytest.param(None, id="the demo's", marks=pytest.mark.slow)],
)
def test_the_tutorial(tmp_path, monkeypatch, config):
    if config is not None:
        documents = [(name, text[:4000]) for name, text in itertools.islice(sources.stdlib(), 60)]
        monkeypatch.setattr(sources, "open_source", lambda name: iter(documents))
    notebook = json.loads((REPOSITORY / "docs" / "tutorial.ipynb").read_text("utf-8"))
    names: dict[str, Any] = {}
    seen = []
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        assert cell["outputs"] == []
        source = "".join(cell["source"])
        if "parameters" in cell["metadata"].get("tags", []):
            assert run_cell(source, dict(names)) is None
            source += f"\nFOLDER = Path({str(tmp_path)!r})"
            if config is not None:
                source += f"\nCONFIG = {config!r}\nWARMUP_STEPS, START_FROM, WINDOW = 4, 1, 3"
        if (value := run_cell(source, names)) is not None:
            seen.append(shown(value))
    learnt, scored, status, _, near, steps, scale, exponents, maps, files = seen
    assert learnt.count("<svg") == 2  # learning and consecutive KL
    assert "scored" in scored
    assert "int8" in status
    assert "kl_bits_per_byte" in near
    assert "kl_bits_per_byte" in steps
    assert "exponent" in exponents
    assert scale.count("<svg") == 1
    assert maps.count("<svg") > 2
    for name in ("report.html", "runs.npz", "map", "scale"):
        assert name in files
    assert (tmp_path / "map" / "coordinates.csv").is_file()
    assert (tmp_path / "report.html").stat().st_size > 1e6


@pytest.fixture
def working(tmp_path, monkeypatch):
    """A working folder with texts.jsonl, and a model in place of the Hub's name."""
    for step in (0, 1000, 143000):
        make_checkpoint(tmp_path / "pythia" / f"step{step}", seed=step)
    write_texts(tmp_path / "texts.jsonl", [f"{text} {n}" for n in range(4) for text in TEXTS])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def snippets() -> dict[str, str]:
    readme = (REPOSITORY / "README.md").read_text("utf-8")
    found = {
        f"README {n}": match[1]
        for n, match in enumerate(re.finditer(r"```python\n(.*?)```", readme, re.DOTALL))
    }
    lines = itertools.dropwhile(
        lambda line: "import jaxmap" not in line, (jaxmap.__doc__ or "").splitlines()
    )
    block = itertools.takewhile(lambda line: not line or line.startswith("    "), lines)
    return found | {"jaxmap": textwrap.dedent("\n".join(block))}


@pytest.mark.parametrize("where", snippets())
def test_snippets(where, working):
    source = snippets()[where]
    assert "EleutherAI/pythia-70m" in source
    names: dict[str, Any] = {}
    source = source.replace("EleutherAI/pythia-70m", str(working / "pythia"))
    for node in ast.parse(source).body:
        run_cell(ast.unparse(node), names)
    store = jaxmap.open_store(Path("runs"))
    assert len(store.records()) == 3
    assert not store.failures()
