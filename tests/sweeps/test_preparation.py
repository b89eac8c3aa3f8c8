"""What a sweep claims before it works."""

from __future__ import annotations

import pytest
from support.checkpoints import make_checkpoint, write_texts
from support.sweeps import run

from jaxmap.store import Store
from jaxmap.store.claims import Claims


@pytest.fixture
def claimed(monkeypatch):
    """The labels that are claimed."""
    found, take = [], Claims.take
    monkeypatch.setattr(
        Claims, "take", lambda self, label: found.append(label) or take(self, label)
    )
    return found


def test_finished_checkpoints_are_not_claimed(tmp_path, claimed):
    texts = write_texts(tmp_path / "texts.jsonl")
    models = [make_checkpoint(tmp_path / name, seed=i) for i, name in enumerate("abc")]
    run(tmp_path / "store", texts, models[:2])
    assert claimed == [str(model) for model in models[:2]]
    claimed.clear()
    outcome = run(tmp_path / "store", texts, models)
    assert claimed == [str(models[2])]
    assert (len(outcome.found), len(outcome.scored)) == (2, 1)


def test_a_checkpoint_that_changed_is_claimed_and_scored_again(tmp_path, claimed):
    texts = write_texts(tmp_path / "texts.jsonl")
    model = make_checkpoint(tmp_path / "a", seed=0)
    run(tmp_path / "store", texts, [model])
    make_checkpoint(model, seed=1)
    assert len(run(tmp_path / "store", texts, [model]).scored) == 1
    assert claimed == [str(model)] * 2
    assert len(Store.open(tmp_path / "store").superseded()) == 1
