"""Checkpoints with one fault each, and what the command line says of them."""

from __future__ import annotations

import re
from pathlib import Path

from jaxmap.errors import InputError
from jaxmap.store import Store
from support.checkpoints import (
    change_tensors,
    read_config,
    score,
    write_config,
)

NORM = "gpt_neox.final_layer_norm.weight"

HEAD, EMBED = "embed_out.weight", "gpt_neox.embed_in.weight"


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def refused(place: Path, *words: str, **flags: object) -> str:
    """Scores `bad`: exit 2 and one line with these words; the finished record stays as it was."""
    records = files(place / "store" / "records")
    ran = score(place / "store", place / "texts.jsonl", place / "bad", **flags)
    assert (ran.code, len(ran.messages)) == (2, 1), ran
    [line] = ran.messages
    assert line.startswith(f"{place}/bad")
    for word in words:
        assert word in line
    assert ran.out == "0 scored, 0 already done, 1 failed\n"  # the reason is on stderr, once
    assert files(place / "store" / "records") == records
    store = Store.open(place / "store")
    [failure] = store.failures()
    # The store says "name `this`" where the command line says "name --this".
    assert line.endswith(re.sub(r"`(\w+)(=\w+)?`", r"--\1\2", failure.reason))
    assert failure.kind == "input"
    assert [Path(entry.identity.ref).name for entry in store.records()] == ["good"]
    return line


def check_named(error: InputError, folder: Path) -> None:
    """One line that names the folder, or a file in it."""
    assert str(error).startswith(str(folder))
    assert "\n" not in str(error)


def config(**changes):
    """A spoiler that changes config.json; "delete" deletes a key."""

    def spoil(folder: Path) -> None:
        values = {**read_config(folder), **changes}
        write_config(folder, {k: v for k, v in values.items() if v != "delete"})

    return spoil


def tensors(change):
    return lambda folder: change_tensors(folder, change)


def put(name: str, index, value: float):
    def change(tensors):
        tensors[name][index] = value

    return tensors(change)


def write(name: str, content: bytes):
    return lambda folder: (folder / name).write_bytes(content)


def remove(*names: str):
    return lambda folder: [(folder / name).unlink() for name in names]
