from __future__ import annotations

import collections
import os
import pickle
import shutil

import numpy as np
import pytest

from jaxmap.errors import InputError
from jaxmap.released.convert import import_released
from jaxmap.released.pickles import load_arrays


@pytest.mark.parametrize("protocol", range(2, 6))
def test_arrays_in_plain_containers(tmp_path, protocol):
    content = collections.OrderedDict(
        a={"x": np.arange(6.0, dtype=np.float32).reshape(2, 3), 3: None},
        b=[np.asfortranarray(np.eye(3)), (np.float64(2.5), {1, 2}), b"bytes \xff", "ö"],
        c=collections.defaultdict(dict, k=np.array(["é", "b"])),
        d=np.arange(12).reshape(3, 4)[:, ::2].T,
    )
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(content, protocol))
    found = load_arrays(tmp_path / "a.pkl")
    np.testing.assert_array_equal(found["a"]["x"], content["a"]["x"])
    assert found["a"]["x"].dtype == np.float32
    assert found["a"][3] is None
    np.testing.assert_array_equal(found["b"][0], np.eye(3))
    assert found["b"][1:] == content["b"][1:]
    np.testing.assert_array_equal(found["c"]["k"], content["c"]["k"])
    np.testing.assert_array_equal(found["d"], content["d"])


def test_the_names_of_numpy_1(tmp_path):
    content = pickle.dumps({"x": np.arange(3.0)}, 2)
    assert b"numpy._core.multiarray" in content
    old = content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    (tmp_path / "a.pkl").write_bytes(old)
    np.testing.assert_array_equal(load_arrays(tmp_path / "a.pkl")["x"], np.arange(3.0))


class Evil:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def hook(target):
    return [
        (Evil(os.system, f"touch {target}"), "posix.system"),
        (Evil(eval, f"open({str(target)!r}, 'w')"), "builtins.eval"),
        (Evil(getattr, np.ndarray, "tofile"), "builtins.getattr"),
        (Evil(np.save, str(target), 1), "numpy.save"),
        (Evil(np.load, "x"), "numpy.load"),
        (Evil(shutil.rmtree, "x"), "shutil.rmtree"),
        (Evil(__import__, "os"), "builtins.__import__"),
    ]


@pytest.mark.parametrize("which", range(7))
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_pickle_that_would_run_something(tmp_path, which, protocol):
    target = tmp_path / "made-by-the-pickle"
    evil, name = hook(target)[which]
    folder = tmp_path / "released"
    folder.mkdir()
    path = folder / "pretraining_logp.pkl"
    content = pickle.dumps({"410m": {0: np.zeros(3), 1: evil}}, protocol)
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        import_released(folder, tmp_path / "store")
    message = str(caught.value)
    assert str(path) in message
    assert name.replace("builtins", "__builtin__" if protocol == 2 else "builtins") in message
    assert "\n" not in message
    assert not target.exists()
    assert not (tmp_path / "store").exists()
    if which == 0:  # the payload is live
        pickle.loads(content)
        assert target.exists()


def test_dotted_names_reach_nothing(tmp_path):
    """Protocol 4 can name an attribute of an admitted class."""
    path = tmp_path / "a.pkl"
    path.write_bytes(b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.")
    with pytest.raises(InputError, match=r"asks for numpy\.ndarray\.tofile"):
        load_arrays(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage",
        pickle.dumps({"x": np.arange(9)})[:-20],
        b"Fnot a number\n.",  # what the unpickler says of it has two lines
    ],
)
def test_broken_pickles(tmp_path, content):
    (tmp_path / "a.pkl").write_bytes(content)
    with pytest.raises(InputError, match="not a whole pickle") as caught:
        load_arrays(tmp_path / "a.pkl")
    assert str(tmp_path / "a.pkl") in str(caught.value)
