from __future__ import annotations

import json
import pickle
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from support.synthetic_release import SMALL, Layout, make_release

from jaxmap.analysis.genealogy import known_parents
from jaxmap.analysis.pythia import CHECKPOINTS
from jaxmap.errors import InputError
from jaxmap.released.convert import import_released
from jaxmap.released.layout import MEAN_BYTES
from jaxmap.store import Store
from jaxmap.store.released_data import read_release
from jaxmap.store.weight_distances import read_distances

TINY = Layout(
    texts=60, sizes=("410m", "1b"), seeds=3, models=12, quantised=4, layered=3, layers=3,
    children=6, steps=(*SMALL.steps[:12], *SMALL.steps[-25:]), raw=True, nan=True,
)  # fmt: skip


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("release")
    planted = make_release(folder / "in", TINY)
    store, report = import_released(folder / "in", folder / "store")
    return folder, planted, store, report


def load(path):
    return pickle.loads(path.read_bytes())


def test_every_vector_is_there_under_its_name(imported):
    _, planted, store, report = imported
    expected = {}
    for size, steps in load(planted.path("pretraining_logp.pkl")).items():
        expected |= {f"EleutherAI/pythia-{size}@step{step}": v for step, v in steps.items()}
    for file, variant in (("8bit", "int8"), ("4bit", "fp4")):
        found = load(planted.path(f"{file}_quantization_logp.pkl"))
        expected |= {f"{name}+{variant}": v for name, v in found.items()}
    for name, layers in load(planted.path("layer_logp.pkl")).items():
        if layers is None:
            continue
        expected |= {f"{name}#layer{layer:02d}": v for layer, v in layers.items()}
    expected |= load(planted.path("raw_log-likelihood_1018.pkl"))
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
    failed = {failure.item.label: failure for failure in store.failures()}
    lenses = {name.partition("#")[0] + "#lens" for name in planted.none if "#" in name}
    others = {name for name in planted.none if "#" not in name}
    assert set(failed) == {*others, *lenses, *planted.nan}
    assert len(lenses) == 2  # a layer of one model, and all layers of another
    assert "1 scores in pretraining_logp.pkl are NaN" in failed[planted.nan[0]].reason


def test_texts_types_parents_and_distances(imported):
    _, planted, store, _ = imported
    texts = json.loads((planted.path("texts.json")).read_text())
    assert store.texts.measured
    assert store.texts.text_bytes.tolist() == [len(text.encode()) for text in texts]
    parents = known_parents(store.path)
    assert {child for child, found in parents.items() if len(found) > 1} == set(planted.merges)
    types = json.loads((planted.path("modelname2type.json")).read_text())
    of_record = {e.identity.ref: e.provenance.model.get("model_type") for e in store.records()}
    assert all(of_record[name] == kind for name, kind in types.items() if name in of_record)
    assert len(of_record.keys() & types.keys()) == len(types) - 1  # one is in no file of scores


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
    planted = make_release(tmp_path / "in", layout)
    store, _ = import_released(tmp_path / "in", tmp_path / "store")
    released = load(planted.path("weight_distance.pkl"))["14m"]
    found = read_distances(store.path)["EleutherAI/pythia-14m"]
    assert found.steps.tolist() == list(CHECKPOINTS)
    assert len(CHECKPOINTS) == 154
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


def test_without_texts_the_mean_is_the_published_one(tmp_path):
    make_release(tmp_path / "in", replace(TINY, with_texts=False))
    store, report = import_released(tmp_path / "in", tmp_path / "store")
    reopened = Store.open(store.path)
    for facts in (store.texts, reopened.texts):
        assert not facts.measured
        assert facts.mean_bytes == pytest.approx(MEAN_BYTES, rel=1e-12)
        assert facts.text_bytes.shape == (60,)
    assert "972.3188 bytes" in report.text()


def test_where_the_files_may_lie(tmp_path):
    """The repository as cloned, its data/, or one folder for all: the same store, byte for byte."""
    cloned = make_release(tmp_path / "kl-scale", TINY)
    make_release(tmp_path / "flat", replace(TINY, flat=True))
    assert cloned.root == tmp_path / "kl-scale/data"
    assert (tmp_path / "flat/texts.json").exists()
    facts = set()
    places = (tmp_path, tmp_path / "kl-scale", tmp_path / "kl-scale/data", tmp_path / "flat")
    for number, place in enumerate(places):
        store, _ = import_released(place, tmp_path / f"store{number}")
        facts.add(tuple(sorted(entry.identity.key for entry in store.records())))
    assert len(facts) == 1


def test_one_file_in_two_places(tmp_path):
    planted = make_release(tmp_path / "in", TINY)
    shutil.copy(planted.path("layer_logp.pkl"), planted.root)
    with pytest.raises(InputError, match=r"layer_logp\.pkl and .*layer_logp\.pkl: one file twice"):
        import_released(tmp_path / "in", tmp_path / "store")


def test_foreign_files_are_named(tmp_path):
    planted = make_release(tmp_path / "in", TINY)
    (planted.root / "logp/other.pkl").write_bytes(b"anything")
    _, report = import_released(tmp_path / "in", tmp_path / "store")
    assert f"no file of the release: {planted.root}/logp/other.pkl" in report.text()


def test_the_folder_stays_as_it_is(tmp_path):
    planted = make_release(tmp_path / "in", TINY)
    before = {path: path.read_bytes() for path in planted.root.rglob("*") if path.is_file()}
    folders = [planted.root, *(path for path in planted.root.rglob("*") if path.is_dir())]
    for path in (*before, *folders):
        path.chmod(path.stat().st_mode & ~0o222)
    import_released(tmp_path / "in", tmp_path / "store")
    after = {path: path.read_bytes() for path in planted.root.rglob("*") if path.is_file()}
    for path in folders:
        path.chmod(0o755)
    assert after == before


def test_scores_that_were_not_clipped_are_kept(tmp_path):
    """And the floor of the clipped ones with them; other scores are passed over."""
    planted = make_release(tmp_path / "in", TINY)
    raw, rows_KN = (load(planted.path(name)) for name in
                    ("raw_log-likelihood_1018.pkl", "oyama2025_logp.pkl"))  # fmt: skip
    store, _ = import_released(tmp_path / "in", tmp_path / "store")
    assert read_release(store.path).floor == rows_KN.min()
    name = next(iter(raw))
    raw[name] = raw[name] - 1
    dump(planted.path("raw_log-likelihood_1018.pkl"), raw)
    other, report = import_released(tmp_path / "in", tmp_path / "other")
    assert f"passed over, it is not what oyama2025_logp.pkl was clipped from (for example {name})" \
        in report.text()  # fmt: skip
    assert read_release(other.path).floor is None
    entry = next(e for e in other.records() if e.label == name)
    np.testing.assert_array_equal(other.load(entry).log_likelihood, rows_KN[0])


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
        ("weight_distance.pkl", {"410m": np.zeros((3, 3))}, "holds none of"),
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


def test_a_damaged_json_file_is_named(tmp_path):
    planted = make_release(tmp_path / "in", TINY)
    for name in ("model_list.json", "sibling_info.json", "type2color.json", "ft_tsne.pkl"):
        path = planted.path(name)
        content = path.read_bytes()
        path.write_bytes(content[:-5])
        with pytest.raises(InputError, match=re.escape(str(path))):
            import_released(tmp_path / "in", tmp_path / "store")
        path.write_bytes(content)
    assert not (tmp_path / "store").exists()


def test_coordinates_that_are_laid_out_otherwise(tmp_path):
    planted = make_release(tmp_path / "in", TINY)
    dump(planted.path("pretraining_tsne_2d.pkl"), {"embedding": np.zeros((3, 2))})
    with pytest.raises(InputError, match=r"pretraining_tsne_2d\.pkl: is not laid out as released"):
        import_released(tmp_path / "in", tmp_path / "store")


def test_a_pointer_of_git_lfs(tmp_path):
    (tmp_path / "layer_logp.pkl").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(InputError, match=r"layer_logp\.pkl: .*Git LFS.*git lfs pull"):
        import_released(tmp_path, tmp_path / "store")


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
