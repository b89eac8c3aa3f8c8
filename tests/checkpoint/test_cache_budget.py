"""What a budget counts of adapters: their base, once, until the last of them is scored."""

from __future__ import annotations

from pathlib import Path

import pytest

from jaxmap.checkpoint.refs import Ref
from jaxmap.checkpoint.sources.cache import Budget
from jaxmap.checkpoint.sources.types import Remote, Resolved


@pytest.fixture
def hub(tmp_path):
    """name, bytes -> a checkpoint of the Hub that is not downloaded yet."""

    def on_the_hub(name: str, size: int) -> Resolved:
        folder = tmp_path / "cache" / f"models--org--{name}" / "snapshots" / "c0"
        remote = (Remote("config.json", 2, None), Remote("model.safetensors", size, None))
        return Resolved(Ref(f"org/{name}"), "c0", "hub", folder, remote=remote)

    return on_the_hub


def adapter(own: Resolved, base: Resolved) -> Resolved:
    return Resolved(own.ref, "sha256:0", "adapter", Path("links"), parts=(own, base))


def download(resolved: Resolved) -> None:
    for part in resolved.parts or (resolved,):
        part.folder.mkdir(parents=True, exist_ok=True)
        for file in part.remote:
            (part.folder / file.name).write_bytes(b"x" * (file.size or 0))


def is_there(resolved: Resolved) -> bool:
    return (resolved.folder / "model.safetensors").exists()


def test_a_base_stays_until_its_last_adapter_is_scored(hub, tmp_path):
    base, one, other = hub("base", 100), hub("one", 3), hub("other", 3)
    budget = Budget(tmp_path / "ledger", limit=120)
    for own in (one, other):
        budget.admit(adapter(own, base))
        download(adapter(own, base))
    budget.release(adapter(one, base))
    assert budget.make_all_room()
    assert not is_there(one)
    assert is_there(base)
    assert is_there(other)
    budget.release(adapter(other, base))
    budget.admit(hub("large", 110))
    assert not is_there(base)
    assert not is_there(other)


def test_it_counts(hub, tmp_path):
    """Another model waits while a base fills the budget; an adapter does not wait for itself."""
    base, one, large = hub("base", 100), hub("one", 30), hub("large", 50)
    budget = Budget(tmp_path / "ledger", limit=120)
    budget.admit(adapter(one, base))
    download(adapter(one, base))
    asked: list[bool] = []

    def stop() -> bool:
        asked.append(True)
        return len(asked) > 1

    budget.admit(large, stop)
    assert asked
    assert is_there(base)


def test_a_base_that_stood_there_is_never_deleted(hub, tmp_path):
    base, one = hub("base", 100), hub("one", 3)
    download(base)
    budget = Budget(tmp_path / "ledger", limit=10)
    budget.admit(adapter(one, base))
    download(one)
    budget.release(adapter(one, base))
    budget.make_all_room()
    assert is_there(base)
    assert not is_there(one)


def test_without_a_limit_nothing_is_kept_in_mind(hub, tmp_path):
    base, one, other = hub("base", 100), hub("one", 3), hub("other", 3)
    budget = Budget(tmp_path / "ledger", limit=None, ahead=105)
    budget.admit(adapter(one, base))
    download(adapter(one, base))
    budget.admit(adapter(other, base), stop=lambda: True)
    budget.release(adapter(one, base))
    budget.release(adapter(other, base))
    assert not budget._kept
