"""Only cli/ and launch/ know flags: what the library says is read in notebooks too."""

from __future__ import annotations

import ast
import re

import pytest
from support import REPOSITORY

from jaxmap.cli.output import as_flags, message_of
from jaxmap.errors import InputError, JaxmapError

FLAG = re.compile(r"(?<![\w-])--[a-z]")
PACKAGE = REPOSITORY / "jaxmap"
# What looks like our flags and is not: git's, XLA's, and the names of CSS; the command lines on the
# card of a shared store.
OTHERS = {
    "checkpoint/sources/git.py",
    "comparison/coloured_texts.py",
    "comparison/coloured_texts_script.py",
    "hardware/gpus.py",
    "reports/css.py",
    "reports/svg.py",
    "sharing/dataset_card.py",
}


def flags_in(source: str) -> list[str]:
    """The strings, docstrings included, and comments of a file that have a flag in them."""
    found = [
        node.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    found += re.findall(r"#.*", source)
    return [text for text in found if FLAG.search(text)]


def test_no_flags_in_the_library():
    files = {
        str(path.relative_to(PACKAGE)): path
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.relative_to(PACKAGE).parts[0] != "cli"
    }
    assert set(files) > OTHERS
    found = {name: flags_in(path.read_text("utf-8")) for name, path in files.items()}
    assert {name for name, flags in found.items() if flags} == OTHERS


def test_flags_are_found_where_there_are_some():
    assert flags_in('x = f"try --dtype={y}"  # as --models\n') == ["try --dtype=", "# as --models"]
    assert flags_in('x = "a -- b", "a--b", "---"') == []


def test_no_exit_codes_in_errors():
    assert not hasattr(JaxmapError("x"), "exit_code")


@pytest.mark.parametrize(
    ("error", "python", "shell"),
    [
        (InputError("is low", field="n", value=-1), "n=-1: is low", "--n=-1: is low"),
        (InputError("a file", field="other"), "other: a file", "other: a file"),
        (JaxmapError("full", cure="use another `out`"), "full; use another `out`",
         "full; use another --out"),
        (InputError("try `n=3`, not `m=4`"), "try `n=3`, not `m=4`", "try --n=3, not `m=4`"),
        (InputError("and `out`: give one", field="n"), "n and `out`: give one",
         "--n and --out: give one"),
    ],
)  # fmt: skip
def test_one_error_in_both_languages(error, python, shell):
    assert str(error) == python
    assert message_of(error, ["n", "out"]) == shell
    assert as_flags(python, []) == python
