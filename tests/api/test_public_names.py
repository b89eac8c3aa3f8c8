"""`import jaxmap`: fast, complete, and the same whatever else is imported."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import jaxmap
from jaxmap.results import Result

FUNCTIONS = [name for name in jaxmap.__all__ if inspect.isfunction(getattr(jaxmap, name))]
NO_RESULT = {"load_texts", "open_store", "write_kl"}


def run(program: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout


def test_importing_starts_nothing_slow():
    loaded = run(
        "import sys, jaxmap; dir(jaxmap); from jaxmap import InputError;"
        "print(*(name for name in ('jax', 'numpy', 'pandas', 'matplotlib') if name in sys.modules))"
    )
    assert loaded.split() == []


def test_all_is_what_is_there():
    assert dir(jaxmap) == jaxmap.__all__ == sorted(jaxmap.__all__, key=str)
    namespace: dict[str, object] = {}
    exec("from jaxmap import *", namespace)
    assert set(jaxmap.__all__) <= set(namespace)
    with pytest.raises(AttributeError, match="has no attribute 'scores'"):
        jaxmap.scores  # noqa: B018


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(jaxmap.__file__).read_text("utf-8"))
    seen = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for one in node.body
        if isinstance(one, ast.ImportFrom)
        for alias in one.names
    }
    assert seen == set(jaxmap.__all__) - {"__version__"}


def test_no_module_has_the_name_of_a_function():
    modules = {module.name for module in pkgutil.iter_modules(jaxmap.__path__)}
    assert modules & set(jaxmap.__all__) == set()


def test_functions_stay_functions_whatever_is_imported():
    """A module of the package in the place of a function of the same name broke second calls."""
    program = """
import importlib, inspect, pkgutil, jaxmap
before = {name: getattr(jaxmap, name) for name in jaxmap.__all__}
for module in pkgutil.walk_packages(jaxmap.__path__, "jaxmap."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
print(*(name for name, value in before.items() if getattr(jaxmap, name) is not value))
"""
    assert run(program).split() == []


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_typed_and_described(name):
    function = getattr(jaxmap, name)
    parameters = inspect.signature(function).parameters.values()
    for parameter in parameters:
        assert parameter.kind is not parameter.VAR_KEYWORD, parameter
        assert parameter.annotation is not parameter.empty, parameter
        assert parameter.name in inspect.getdoc(function), f"{parameter.name} is not described"
    assert inspect.signature(function).return_annotation is not inspect.Signature.empty
    module = importlib.import_module(function.__module__)
    if name not in NO_RESULT:
        assert issubclass(result_class(module, function), Result)


def result_class(module, function) -> type:
    """The class that a function's annotation names, also where only type checkers import it."""
    name = inspect.signature(function).return_annotation
    if hasattr(module, name):
        return getattr(module, name)
    for node in ast.walk(ast.parse(Path(module.__file__).read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and name in [alias.name for alias in node.names]:
            return getattr(importlib.import_module(node.module), name)
    raise AssertionError(f"{name} is not imported in {module.__name__}")
