"""Imports point one way: a package may import those that are above it in CONTRIBUTING's list."""

from __future__ import annotations

import ast
from pathlib import Path

from support import REPOSITORY

# From the foundation up. Packages of one line do not import each other, except those in SAME.
ORDER = (
    ("errors", "version"),
    (
        "atomic",
        "byte_sizes",
        "progress",
        "tables",
        "environment",
        "precision",
        "naming",
        "results",
        "variant",
    ),
    ("output_paths",),
    ("runtime", "distributed"),
    ("hardware",),
    ("corpus",),
    ("model",),
    ("architectures",),
    ("checkpoint",),
    ("stats",),
    ("store",),
    ("engine",),
    ("pytorch",),
    ("lens",),
    ("sweeps",),
    # A figure draws a result object, whose type it names for type checkers alone; the object's
    # `draw` calls it. So figures stand before the analyses.
    ("figures",),
    ("analysis",),
    ("released",),
    ("sharing",),
    ("reports",),
    ("planning",),
    ("benchmarking",),
    ("verification",),
    ("comparison",),
    ("demos",),
    ("api",),
    ("cli",),
)
LEVEL = {package: level for level, packages in enumerate(ORDER) for package in packages}
SAME = {"errors", *ORDER[1]}  # what any of these may import of one another


def package_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def imports(path: Path) -> set[str]:
    """The modules of this package that a file imports, at its top or inside a function.

    What is imported for type checkers alone does not count: it is not there when the code runs.
    """
    found = set()
    tree = ast.parse(path.read_text("utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            if node.module == "jaxmap":
                found |= {f"jaxmap.{alias.name}" for alias in node.names}
            elif node.module.startswith("jaxmap."):
                found.add(node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("jaxmap.")}
    return found


def arrows() -> dict[tuple[str, str], list[str]]:
    """(package, package that it imports) -> the files that do."""
    package = REPOSITORY / "jaxmap"
    found: dict[tuple[str, str], list[str]] = {}
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package)
        here = name.parts[0].removesuffix(".py")
        if here in ("__init__", "__main__"):
            continue
        for module in imports(path):
            if (there := package_of(module)) and there != here:
                found.setdefault((here, there), []).append(f"{name} imports {module}")
    return found


def test_every_package_has_a_line():
    package = REPOSITORY / "jaxmap"
    packages = {path.name for path in package.iterdir() if (path / "__init__.py").exists()}
    packages |= {path.stem for path in package.glob("[a-z]*.py")}
    assert packages - set(LEVEL) == set()


# Arrows that still point up; none may be added, and one that is gone leaves this list too.
KNOWN: set[str] = set()


def test_imports_point_one_way():
    wrong = {
        f"{here} -> {there}": lines
        for (here, there), lines in arrows().items()
        if LEVEL[there] >= LEVEL[here] and not (here in SAME and there in SAME)
    }
    assert {arrow: lines for arrow, lines in wrong.items() if arrow not in KNOWN} == {}
    assert KNOWN - set(wrong) == set()


def test_no_two_files_import_each_other():
    package = REPOSITORY / "jaxmap"
    files = {
        str(path.relative_to(package).with_suffix("")): path
        for path in package.rglob("*.py")
        if path.stem != "__init__"
    }

    def imported(path: Path) -> set[str]:
        names = imports(path)
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("jaxmap"):
                names |= {f"{node.module}.{alias.name}" for alias in node.names}
        return {name.removeprefix("jaxmap.").replace(".", "/") for name in names} & set(files)

    graph = {name: imported(path) for name, path in files.items()}
    circles = {tuple(sorted((a, b))) for a in graph for b in graph[a] if a != b and a in graph[b]}
    assert circles == set()
