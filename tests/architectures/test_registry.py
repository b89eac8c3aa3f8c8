"""Pages are found by the types that they name, those of other packages too."""

from __future__ import annotations

import sys
import types
from importlib import metadata

import pytest

from jaxmap.architectures import llama, registry
from jaxmap.architectures.family import Family
from jaxmap.errors import InputError

OURS = Family("Somebody 2026", llama.spec, llama.rows, llama.PREFIX, llama.INERT_TENSORS)


@pytest.fixture
def added(monkeypatch):
    """Declares an entry point jaxmap.families that holds the given families."""

    def add(families, *, as_module=True):
        module = types.ModuleType("somebodys_pages")
        module.FAMILIES = families  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "somebodys_pages", module)
        value = "somebodys_pages" if as_module else "somebodys_pages:FAMILIES"
        entry = metadata.EntryPoint("somebody", value, registry.ENTRY_POINTS)
        monkeypatch.setattr(registry.metadata, "entry_points", lambda group: [entry])
        registry.families.cache_clear()

    yield add
    monkeypatch.undo()
    registry.families.cache_clear()


@pytest.mark.parametrize("as_module", [True, False])
def test_another_package_adds_a_family(added, as_module):
    added({"somebodys_llama": OURS}, as_module=as_module)
    assert registry.families()["somebodys_llama"] is OURS
    assert "llama" in registry.families()


def test_a_type_has_one_page(added):
    added({"llama": OURS})
    with pytest.raises(InputError, match=r"somebodys_pages: 'llama' has a page already: .*llama"):
        registry.families()


def test_what_is_no_family_is_named(added):
    added({"somebodys_llama": llama})
    with pytest.raises(InputError, match="'somebodys_llama' is a module, not a Family"):
        registry.families()
