from __future__ import annotations

import collections
import json
import os
import pickle
import shutil
from dataclasses import replace

import numpy as np
import pytest
from support.synthetic_release import SMALL, Layout, make_release

from jaxmap.analysis.genealogy import known_parents
from jaxmap.errors import InputError
from jaxmap.released.convert import import_released, write_released
from jaxmap.released.files import MEAN_BYTES, PYTHIA_STEPS
from jaxmap.released.pickles import load_arrays
from jaxmap.store import Store
from jaxmap.store.weight_distances import read_distances

TINY = Layout(
    texts=60, sizes=("410m", "1b"), seeds=3, models=12, quantised=4, layered=3, layers=3,
    children=6, steps=(*SMALL.steps[:12], *SMALL.steps[-25:]),
)  # fmt: skip


# Pickles ------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("content", [b"", b"garbage", pickle.dumps({"x": np.arange(9)})[:-20]])
def test_broken_pickles(tmp_path, content):
    (tmp_path / "a.pkl").write_bytes(content)
    with pytest.raises(InputError, match="not a whole pickle") as caught:
        load_arrays(tmp_path / "a.pkl")
    assert str(tmp_path / "a.pkl") in str(caught.value)


# Import -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("release")
    planted = make_release(folder / "in", TINY)
    store, report = import_released(folder / "in", folder / "store")
    return folder, planted, store, report


def load(path):
    return pickle.loads(path.read_bytes())


def test_every_vector_is_there_under_its_name(imported):
    folder, _, store, report = imported
    expected = {}
    for size, steps in load(folder / "in/pretraining_logp.pkl").items():
        expected |= {f"EleutherAI/pythia-{size}@step{step}": v for step, v in steps.items()}
    for file, variant in (("8bit", "int8"), ("4bit", "fp4")):
        found = load(folder / f"in/{file}_quantization_logp.pkl")
        expected |= {f"{name}+{variant}": v for name, v in found.items()}
    for name, layers in load(folder / "in/layer_logp.pkl").items():
        expected |= {f"{name}#layer{layer:02d}": v for layer, v in layers.items()}
    expected |= load(folder / "in/raw_log-likelihood_1018.pkl")
    good = {k: v for k, v in expected.items() if v is not None and np.isfinite(v).all()}
    entries = store.records()
    assert {entry.label for entry in entries} == set(good)
    for entry in entries:
        np.testing.assert_array_equal(store.load(entry).log_likelihood, good[entry.label])
    assert report.added == len(good)
    assert store.superseded() == []


def test_the_planted_faults_are_reported(imported):
    _, planted, store, report = imported
    assert sorted(report.absent) == sorted(planted.none)
    assert [line.partition(":")[0] for line in report.not_finite] == planted.nan
    text = report.text()
    assert all(name in text for name in (*planted.none, *planted.nan))
    failed = {
        failure.item.label.replace("#lens", "#layer02"): failure for failure in store.failures()
    }
    assert set(failed) == {*planted.none, *planted.nan}
    assert "1 scores in pretraining_logp.pkl are NaN" in failed[planted.nan[0]].reason


def test_texts_types_parents_and_distances(imported):
    folder, planted, store, _ = imported
    texts = json.loads((folder / "in/texts.json").read_text())
    assert store.texts.measured
    assert store.texts.text_bytes.tolist() == [len(text) for text in texts]
    parents = known_parents(store.path)
    assert {child for child, found in parents.items() if len(found) > 1} == set(planted.merges)
    types = json.loads((folder / "in/modelname2type.json").read_text())
    of_record = {e.identity.ref: e.provenance.model.get("model_type") for e in store.records()}
    assert all(of_record[name] == kind for name, kind in types.items())


def test_weight_distances(tmp_path):
    layout = Layout(
        texts=5,
        sizes=("14m", "31m"),
        seeds=0,
        models=2,
        quantised=1,
        layered=1,
        layers=1,
        children=0,
    )
    make_release(tmp_path / "in", layout)
    store, _ = import_released(tmp_path / "in", tmp_path / "store")
    released = load(tmp_path / "in/weight_distance.pkl")["14m"]
    found = read_distances(store.path)["EleutherAI/pythia-14m"]
    assert found.steps.tolist() == list(PYTHIA_STEPS)
    assert len(PYTHIA_STEPS) == 154
    np.testing.assert_array_equal(np.nan_to_num(found.distance), released)
    assert np.isnan(found.distance[released == 0]).all()  # never a zero
    some = found.at(np.array([5000, 7000, 123]))
    np.testing.assert_array_equal(some[0, 1], found.distance[15, 17])
    assert np.isnan(some[2]).all()
    assert np.isnan(some[:, 2]).all()


def test_again_adds_nothing_and_changes_nothing(imported):
    folder, _, store, report = imported
    before = sorted(path.name for path in (store.path / "records").iterdir())
    _, again = import_released(folder / "in", store.path)
    assert (again.added, again.found) == (0, report.added)
    assert sorted(path.name for path in (store.path / "records").iterdir()) == before


def test_back_out_and_in_again(imported, tmp_path):
    _, _, store, _ = imported
    paths = write_released(store, tmp_path / "out")
    assert {path.name for path in paths} >= {"pretraining_logp.pkl", "layer_logp.pkl",
                                             "oyama2025_logp.pkl", "model_list.json"}  # fmt: skip
    shutil.copy(imported[0] / "in/texts.json", tmp_path / "out")
    again, report = import_released(tmp_path / "out", tmp_path / "store")
    assert [entry.label for entry in again.records()] == [e.label for e in store.records()]
    np.testing.assert_array_equal(
        again.log_likelihoods(again.records()), store.log_likelihoods(store.records())
    )
    types = json.loads((tmp_path / "out/modelname2type.json").read_text())
    assert types == json.loads((imported[0] / "in/modelname2type.json").read_text())
    assert len(report.absent) == len(imported[1].none) + len(imported[1].nan)


def test_clipped_matrix_alone(tmp_path):
    make_release(tmp_path / "in", replace(TINY, raw=False))
    for path in (tmp_path / "in").glob("*.pkl"):
        if path.name != "oyama2025_logp.pkl":
            path.unlink()
    store, _ = import_released(tmp_path / "in", tmp_path / "store")
    names = json.loads((tmp_path / "in/model_list.json").read_text())
    rows = dict(zip(names, load(tmp_path / "in/oyama2025_logp.pkl"), strict=True))
    assert {entry.label for entry in store.records()} == set(names)
    for entry in store.records():
        np.testing.assert_array_equal(store.load(entry).log_likelihood, rows[entry.label])
    written = write_released(store, tmp_path / "out")
    assert "raw_log-likelihood_1018.pkl" not in {path.name for path in written}
    again = dict(zip(json.loads((tmp_path / "out/model_list.json").read_text()),
                     load(tmp_path / "out/oyama2025_logp.pkl"), strict=True))  # fmt: skip
    for name, row in rows.items():
        np.testing.assert_array_equal(again[name], row)


def test_without_texts_the_mean_is_the_published_one(tmp_path):
    make_release(tmp_path / "in", replace(TINY, with_texts=False))
    store, report = import_released(tmp_path / "in", tmp_path / "store")
    reopened = Store.open(store.path)
    for facts in (store.texts, reopened.texts):
        assert not facts.measured
        assert facts.mean_bytes == pytest.approx(MEAN_BYTES, rel=1e-12)
        assert facts.text_bytes.shape == (60,)
    assert "972.3188 bytes" in report.text()


# Folders that do not fit ------------------------------------------------------------------------


def dump(path, content):
    path.write_bytes(pickle.dumps(content))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("pretraining_logp.pkl", [1, 2], "has to be a dict, is list"),
        ("pretraining_logp.pkl", {"410m": np.zeros(3)}, "410m: has to be a dict, is ndarray"),
        ("pretraining_logp.pkl", {"410m": {"last": np.zeros(3)}}, "'last' is neither a step"),
        ("pretraining_logp.pkl", {"410m": {0: np.zeros((3, 2))}}, "an array of one number a text"),
        ("pretraining_logp.pkl", {"410m": {0: np.array(["a"])}}, "an array of one number a text"),
        ("pretraining_logp.pkl", {"410m": {0: np.zeros(3), 1: np.zeros(4)}}, "different lengths"),
        ("pretraining_logp.pkl", {"410m": {0: None}}, "with a vector in it"),
        ("oyama2025_logp.pkl", np.zeros((2, 3)), "needs model_list.json"),
        ("weight_distance.pkl", {"410m": np.zeros((3, 3))}, "with a vector in it"),
        ("pretraining_logp.pkl", {"410m": {"step0": np.zeros(3), 1.5: None}}, "1.5 is neither"),
    ],
)
def test_files_that_do_not_fit(tmp_path, name, content, message):
    dump(tmp_path / name, content)
    with pytest.raises(InputError) as caught:
        import_released(tmp_path, tmp_path / "store")
    assert message in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_texts_are_refused(tmp_path):
    dump(tmp_path / "pretraining_logp.pkl", {"410m": {0: np.zeros(3)}})
    (tmp_path / "texts.json").write_text('["a", "b"]')
    with pytest.raises(InputError, match="2 texts for vectors of 3"):
        import_released(tmp_path, tmp_path / "store")


def test_names_that_do_not_fit_the_rows(tmp_path):
    dump(tmp_path / "oyama2025_logp.pkl", np.zeros((2, 3)))
    (tmp_path / "model_list.json").write_text('["a", "a"]')
    with pytest.raises(InputError, match="2 rows for 1 different names"):
        import_released(tmp_path, tmp_path / "store")


def test_distances_of_other_checkpoints(tmp_path):
    dump(tmp_path / "pretraining_logp.pkl", {"410m": {0: np.zeros(3), 1: None}})
    dump(tmp_path / "weight_distance.pkl", {"410m": np.zeros((3, 3))})
    with pytest.raises(InputError, match="the run has 2 checkpoints"):
        import_released(tmp_path, tmp_path / "store")


def test_no_folder(tmp_path):
    with pytest.raises(InputError, match="not a folder"):
        import_released(tmp_path / "none", tmp_path / "store")
    with pytest.raises(InputError, match="holds none of"):
        import_released(tmp_path, tmp_path / "store")
