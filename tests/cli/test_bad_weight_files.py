"""Files of weights that are damaged, or that would run code: refused by name."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.checkpoints import (
    read_tensors,
    write_tensors,
)
from support.spoilt import check_named, refused

from jaxmap.checkpoint import weights
from jaxmap.errors import InputError


def header_size(content: bytes) -> int:
    return 8 + int.from_bytes(content[:8], "little")


@pytest.mark.parametrize(
    "cut", ["0", "1", "7", "8", "9", "head // 2", "head", "head + 1", "size - 1"]
)
def test_truncated_safetensors(cut, place):
    path = place / "bad" / "model.safetensors"
    content = path.read_bytes()
    names = {"head": header_size(content), "size": len(content)}
    path.write_bytes(content[: eval(cut, names)])
    refused(place, "model.safetensors", "truncated or corrupt")


def test_extended_safetensors(place):
    path = place / "bad" / "model.safetensors"
    path.write_bytes(path.read_bytes() + b"\0\0\0\0")
    refused(place, "model.safetensors", "truncated or corrupt")


def test_flipped_bytes_in_the_header(made, tmp_path):
    """Never anything but a named refusal, or a load where the byte meant nothing."""
    folder = shutil.copytree(made / "good", tmp_path / "flipped")
    path = folder / "model.safetensors"
    content = path.read_bytes()
    random = np.random.default_rng(5)
    refusals = 0
    for place in [*range(9), *random.integers(8, header_size(content), 60)]:
        spoilt = bytearray(content)
        spoilt[place] ^= int(random.integers(1, 256))
        path.write_bytes(spoilt)
        try:
            weights.load(folder)
        except InputError as error:
            check_named(error, folder)
            refusals += 1
    assert refusals > 50


class Payload:
    """Pickles as a call that makes a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (exec, (f"open({str(self.path)!r}, 'w').close()",))


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_pickled_code_is_refused_and_never_runs(form, place):
    torch = pytest.importorskip("torch")
    trap = place / "ran"
    state = {n: torch.from_numpy(a) for n, a in read_tensors(place / "bad").items()}
    state["extra"] = Payload(trap)
    (place / "bad" / "model.safetensors").unlink()
    path = place / "bad" / "pytorch_model.bin"
    if form == "pickle":
        path.write_bytes(pickle.dumps({"extra": Payload(trap)}))
    else:
        torch.save(state, path, _use_new_zipfile_serialization=form == "zip")
    refused(place, "pytorch_model.bin", "refused")
    assert not trap.exists()
    if form == "pickle":
        pickle.loads(path.read_bytes())
        assert trap.exists(), "the trap itself works"


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "EOFError"), (b"PK\x03\x04", "zip"), (b"not a pickle at all", "Unsupported operand")],
)
def test_damaged_bin(content, reason, place):
    pytest.importorskip("torch")
    (place / "bad" / "model.safetensors").unlink()
    (place / "bad" / "pytorch_model.bin").write_bytes(content)
    refused(place, "pytorch_model.bin", "corrupt", reason)


def test_truncated_bin(place):
    torch = pytest.importorskip("torch")
    path = place / "bad" / "pytorch_model.bin"
    torch.save({n: torch.from_numpy(a) for n, a in read_tensors(place / "bad").items()}, path)
    (place / "bad" / "model.safetensors").unlink()
    path.write_bytes(path.read_bytes()[:-200])
    refused(place, "pytorch_model.bin", "truncated or corrupt")


def test_bin_that_holds_no_tensors(place):
    torch = pytest.importorskip("torch")
    (place / "bad" / "model.safetensors").unlink()
    torch.save([torch.zeros(3)], place / "bad" / "pytorch_model.bin")
    refused(place, "pytorch_model.bin", "holds a list")


def test_written_tensors_are_what_was_read(made, tmp_path):
    """The helper that spoils checkpoints changes nothing by itself."""
    folder = shutil.copytree(made / "good", tmp_path / "same")
    write_tensors(folder, read_tensors(folder))
    ours, theirs = read_tensors(folder), read_tensors(made / "good")
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)
