"""Every public function, class and method has a docstring, also one that overrides another."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from support import REPOSITORY

# The two functions of every family's page; architectures/family.py says what they are given and
# return.
OF_A_PAGE = {"spec", "rows"}
_DEFINITIONS = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def undocumented(body: list[ast.stmt], inside: str = "") -> Iterator[str]:
    for node in body:
        if not isinstance(node, _DEFINITIONS) or node.name.startswith("_"):
            continue
        name = f"{inside}{node.name}"
        if not ast.get_docstring(node):
            yield f"{node.lineno} {name}"
        if isinstance(node, ast.ClassDef):
            yield from undocumented(node.body, f"{name}.")


def exempt(path: Path, name: str) -> bool:
    if path.parent.name == "launch":
        return name == "main"  # the module's docstring is the program's help
    return "architectures" in path.parts and name in OF_A_PAGE


def test_the_search_finds_what_has_none():
    found = undocumented(ast.parse("class A:\n  def f(self): ...\n  def _g(self): ...").body)
    assert [*found] == ["1 A", "2 A.f"]


def test_everything_public_has_a_docstring():
    files = [*(REPOSITORY / "jaxmap").rglob("*.py"), *(REPOSITORY / "launch").glob("*.py")]
    missing = [
        f"{path.relative_to(REPOSITORY)}:{one}"
        for path in sorted(files)
        for one in undocumented(ast.parse(path.read_text("utf-8")).body)
        if not exempt(path, one.partition(" ")[2])
    ]
    assert missing == []


def test_every_module_says_what_it_is_for():
    files = [p for p in (REPOSITORY / "jaxmap").rglob("*.py") if p.read_text("utf-8").strip()]
    silent = [str(p) for p in files if not ast.get_docstring(ast.parse(p.read_text("utf-8")))]
    assert silent == []
