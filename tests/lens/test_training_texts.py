"""Texts that a tuned lens was trained on and that it is to score."""

from __future__ import annotations

import numpy as np
import pytest
from absl import logging

from jaxmap.corpus.texts import TextSet
from jaxmap.lens.training_texts import (
    TRAINED_TEXTS,
    count_seen,
    warn_of_seen_texts,
    write_trained_texts,
)
from jaxmap.lens.tuned_lens import find_lens, lens_folder, write_lens

TEXTS = TextSet(tuple(f"text {i}" for i in range(10)))


@pytest.fixture
def lenses(tmp_path):
    """The lenses of two models, trained on the first eight texts of ten."""
    for name in ("org/a", "org/b"):
        folder = lens_folder(tmp_path, name, None)
        write_trained_texts(folder, TEXTS, range(8))
        weight, bias = np.zeros((2, 4, 4), np.float32), np.zeros((2, 4), np.float32)
        write_lens(
            folder, weight, bias, ref=name, revision=None, commit="c0", train_texts=8,
            training={"texts": TEXTS.fingerprint},
        )  # fmt: skip
    return tmp_path


@pytest.mark.parametrize(
    ("texts", "seen"),
    [(TEXTS, 8), (TextSet(TEXTS.texts[::-1]), 8), (TextSet(TEXTS.texts[6:]), 2),
     (TextSet(TEXTS.texts[8:]), 0), (TextSet(("text 1", "new")), 1),
     (TextSet(("text 1",), ("a prompt",)), 0)],
)  # fmt: skip
def test_how_many_texts_were_seen(lenses, texts, seen):
    assert count_seen(find_lens(lenses, "org/a", None), texts) == seen


def test_of_an_earlier_lens_whole_sets_are_recognised(lenses):
    (lens_folder(lenses, "org/a", None) / TRAINED_TEXTS).unlink()
    lens = find_lens(lenses, "org/a", None)
    assert count_seen(lens, TEXTS) == 8
    assert count_seen(lens, TextSet(TEXTS.texts[::-1])) == 0


def test_one_line_tells_of_all_lenses(lenses, monkeypatch):
    said = []
    monkeypatch.setattr(logging, "warning", lambda text, *more: said.append(text % more))
    models = [("org/a", None), ("org/b", None), ("org/none", None)]
    assert warn_of_seen_texts(lenses, models, TEXTS) == 8
    assert warn_of_seen_texts(lenses, models[:1], TextSet(TEXTS.texts[6:])) == 2
    assert warn_of_seen_texts(lenses, models, TextSet(("new",))) == 0
    assert said == [
        f"`lens=tuned:{lenses}`: 2 tuned lenses were trained on 8 of the 10 texts that are scored, "
        "so their layers look better than they are: train on other texts (`jaxmap lens train`)",
        f"`lens=tuned:{lenses}`: the tuned lens was trained on 2 of the 4 texts that are scored, "
        "so its layers look better than they are: train on other texts (`jaxmap lens train`)",
    ]
