"""Claims: one owner at a time, whoever dies, gives back or answers late."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from jaxmap.store import claims as module
from jaxmap.store.claims import FOLDER, Claims


class Living:
    """Says that workers live, but for some."""

    def __init__(self, *dead: str):
        self.dead = set(dead)

    def alive(self, name: str) -> bool:
        return name not in self.dead


def files(folder: Path) -> int:
    return len(list((folder / FOLDER).glob("[!.]*")))


def test_one_owner_until_it_is_given_back(tmp_path):
    a, b = (Claims(tmp_path, name, Living()) for name in "ab")
    assert a.take("x")
    assert a.take("x")
    assert not b.take("x")
    assert b.take("y")
    a.release("x")
    assert b.take("x")
    assert not a.take("x")
    b.release_all()
    assert files(tmp_path) == 0


def test_what_a_dead_worker_left_is_taken_over_once(tmp_path):
    living = Living("a")
    a, b, c = (Claims(tmp_path, name, living) for name in "abc")
    assert a.take("x")
    assert b.take("x")
    assert not c.take("x")
    living.dead.add("b")
    assert c.take("x")
    assert files(tmp_path) == 3
    c.release("x")
    assert files(tmp_path) == 0


def test_two_that_take_over_at_one_moment(tmp_path, monkeypatch):
    """The second read that the owner is dead before the first had taken its place."""
    living = Living("dead")
    assert Claims(tmp_path, "dead", living).take("x")
    b, c = (Claims(tmp_path, name, living) for name in "bc")
    create = module.create_atomic

    def late(path, content, **options):
        monkeypatch.setattr(module, "create_atomic", create)
        assert c.take("x")
        return create(path, content, **options)

    monkeypatch.setattr(module, "create_atomic", late)
    assert not b.take("x")
    assert not Claims(tmp_path, "d", living).take("x")


def test_what_was_taken_over_and_finished_meanwhile_is_free(tmp_path, monkeypatch):
    living = Living("dead")
    assert Claims(tmp_path, "dead", living).take("x")
    b, c = (Claims(tmp_path, name, living) for name in "bc")
    create = module.create_atomic

    def late(path, content, **options):
        monkeypatch.setattr(module, "create_atomic", create)
        assert c.take("x")
        c.release("x")
        return create(path, content, **options)

    monkeypatch.setattr(module, "create_atomic", late)
    assert b.take("x")
    assert files(tmp_path) == 1
    assert not c.take("x")


def test_a_damaged_claim_is_taken_over(tmp_path):
    assert Claims(tmp_path, "a", Living()).take("x")
    [path] = (tmp_path / FOLDER).glob("*.json")
    path.write_text("{")
    assert Claims(tmp_path, "b", Living()).take("x")


def test_a_claim_whose_answer_was_lost_is_ours(tmp_path, monkeypatch):
    link = os.link

    def answer_lost(source, target):
        link(source, target)
        raise FileExistsError(errno.EEXIST, "exists", str(target))

    monkeypatch.setattr(os, "link", answer_lost)
    assert Claims(tmp_path, "a", Living()).take("x")
    assert not Claims(tmp_path, "b", Living()).take("x")


@pytest.mark.parametrize("times", [2, 20])
def test_a_stale_handle_takes_no_claim_away(tmp_path, monkeypatch, times):
    assert Claims(tmp_path, "a", Living()).take("x")
    left = [None] * times
    read = Path.read_bytes

    def stale(path):
        if left:
            left.pop()
            raise OSError(errno.ESTALE, "Stale file handle", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", stale)
    assert not Claims(tmp_path, "b", Living()).take("x")
