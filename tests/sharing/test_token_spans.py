"""Log-probabilities of tokens go to others with the bytes that the tokens stand for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.stores import filled, record, texts

import jaxmap
from jaxmap.errors import InputError
from jaxmap.stats.alignment import Spans
from jaxmap.store import Store, token_spans

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

TEXTS = texts()
REPO = "org/maps"
COMMITS = [f"{n:040x}" for n in (1, 2)]


def with_tokens(one):
    """The log-probability of each scored token of a result."""
    offsets_N1 = np.concatenate([[0], np.cumsum(one.num_scored)]).astype(np.int64)
    values_M = np.linspace(-4, -1, offsets_N1[-1]).astype(np.float16)
    return replace(one, arrays={"token_log_likelihood": values_M}, offsets_N1=offsets_N1)


@pytest.fixture
def ours(tmp_path) -> Store:
    first = record(TEXTS, "org/a", commit=COMMITS[0])
    made, _ = filled(tmp_path / "ours", TEXTS, first, record(TEXTS, "org/b", commit=COMMITS[1]))
    made.add(with_tokens(first))
    _, offsets_N1 = made.load_tokens(entry_of(made), "token_log_likelihood")
    # One byte a token, from the second one on; at the end of short texts none.
    size_M = np.repeat(made.texts.text_bytes, np.diff(offsets_N1))
    place_M = np.arange(offsets_N1[-1]) - np.repeat(offsets_N1[:-1], np.diff(offsets_N1)) + 1
    spans = Spans(np.minimum(place_M, size_M), np.minimum(place_M + 1, size_M), offsets_N1)
    token_spans.write(path_in(made), spans)
    return made


def entry_of(store):
    [entry] = [one for one in store.records() if one.label == "org/a"]
    return entry


def path_in(store):
    entry = entry_of(store)
    return token_spans.path_of(store.path, entry.identity, entry.provenance)


def test_they_go_there_and_come_back(hub, ours, tmp_path):
    pushed = jaxmap.push(ours, REPO)
    name = f"token_spans/{path_in(ours).name}"
    assert pushed.sent[-1] == name
    pulled = jaxmap.pull(tmp_path / "theirs", REPO)
    assert name in pulled.added
    theirs = Store.open(tmp_path / "theirs")
    for a, b in zip(token_spans.read(path_in(theirs)), token_spans.read(path_in(ours)),
                    strict=True):  # fmt: skip
        np.testing.assert_array_equal(a, b)
    assert jaxmap.tokens(theirs).found == jaxmap.tokens(ours).found
    assert (jaxmap.push(ours, REPO).sent, jaxmap.pull(tmp_path / "theirs", REPO).added) == ((), ())
    # Those that came before there were any get them by another pull.
    path_in(theirs).unlink()
    with pytest.raises(InputError, match="the bytes of its tokens are not in the store"):
        jaxmap.tokens(theirs)
    assert jaxmap.pull(tmp_path / "theirs", REPO).added == (name,)
    assert jaxmap.tokens(theirs).found


def test_those_of_other_tokens_are_refused(hub, ours, tmp_path):
    jaxmap.push(ours, REPO)
    path = path_in(ours)
    name = f"token_spans/{path.name}"
    good = token_spans.read(path)
    bad = {
        "it is damaged": path.read_bytes()[:-9],
        "it is of other tokens": Spans(
            good.start_M[:-1],
            good.end_M[:-1],
            np.minimum(good.offsets_N1, len(good.start_M) - 1),
        ),
        "it has bytes that are not in the texts": Spans(
            good.start_M, good.end_M + 10**6 * (np.arange(len(good.end_M)) == 0), good.offsets_N1
        ),
    }
    for number, (reason, content) in enumerate(bad.items()):
        if isinstance(content, Spans):
            token_spans.write(path, content)
            content = path.read_bytes()
        hub.datasets[REPO].files[name] = content
        pulled = jaxmap.pull(tmp_path / str(number), REPO)
        assert pulled.refused[name].startswith(reason), number
        assert not path_in(Store.open(tmp_path / str(number))).exists()
