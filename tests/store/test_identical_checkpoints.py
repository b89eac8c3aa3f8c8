"""Checkpoints of one run that are the same are named by one line."""

from __future__ import annotations

import numpy as np
from support.stores import filled, record, texts

from jaxmap.store.identical_checkpoints import identical_checkpoints
from jaxmap.store.record import hash_vector
from jaxmap.store.status import status

TEXTS = texts()
RNG = np.random.default_rng(0)


def scores() -> np.ndarray:
    return -700 + 50 * RNG.normal(size=len(TEXTS))


def test_equal_scores_of_one_run_are_told_and_no_others(tmp_path):
    first, second = scores(), scores()
    nearly = second.copy()
    nearly[3] = np.nextafter(nearly[3], 0)
    store, _ = filled(
        tmp_path,
        TEXTS,
        record(TEXTS, "org/a", "step0", scores=first, commit="c0"),
        record(TEXTS, "org/a", "step512", scores=first, commit="c1"),
        record(TEXTS, "org/a", "step1000", scores=second, commit="c2"),
        record(TEXTS, "org/a", "step2000", scores=nearly, commit="c3"),
        record(TEXTS, "org/b", "step0", scores=first, commit="c4"),  # of another run
        record(TEXTS, "org/m", scores=first, commit="c5"),  # of no run
        record(TEXTS, "org/a", "step1000", scores=first, commit="c2", quantisation="int8"),
    )
    (group,) = identical_checkpoints(store.records())
    assert [entry.label for entry in group.entries] == ["org/a@step0", "org/a@step512"]
    assert str(group).startswith("org/a: steps 0 and 512 give every text the same score (KL 0)")
    assert "identical   1" in status(store).text()
    assert str(group) in status(store).text()


def test_folders_of_one_content_have_the_same_weights(tmp_path):
    same = scores()
    steps = range(0, 15000, 1000)
    store, _ = filled(
        tmp_path,
        TEXTS,
        *(record(TEXTS, f"/models/run/step{step}", scores=same, commit="abc") for step in steps),
    )
    (group,) = identical_checkpoints(store.records())
    said = str(group)
    assert said.startswith("/models/run: steps 0, 1,000, 2,000, ")
    assert said.endswith("11,000 and 3 more have the same weights (commit abc)")


def test_entries_tell_equal_scores_whether_just_kept_or_read(tmp_path):
    store, kept = filled(tmp_path, TEXTS, record(TEXTS, "org/a", "step0", scores=scores()))
    (read,) = store.records()
    assert kept[0].vector_hash == read.vector_hash != ""

    def hashed(*numbers: float) -> str:
        return hash_vector({"log_likelihood": np.array(numbers)})

    assert hashed(0.0, 1.0) == hashed(-0.0, 1.0) != hashed(1.0, 0.0)
    assert hash_vector({"num_tokens": np.array([1])}) == ""
