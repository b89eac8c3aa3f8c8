"""`jaxmap map`: every map that a store fills, the reasons for the others, and the tables."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from support.maps import STEPS, map_store
from support.stores import filled, record, texts

from jaxmap import cli
from jaxmap.analysis.context import Context
from jaxmap.analysis.map_selection import make_atlas, require_maps
from jaxmap.errors import InputError
from jaxmap.stats.embed import pca

ALL = ["trajectories", "models", "8-bit", "families", "layers"]


def table(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("map")
    store = map_store(folder / "store")
    atlas = make_atlas(Context(store))
    return store, folder / "out", atlas, atlas.save(folder / "out")


def test_every_map_is_drawn_twice_in_three_formats(drawn):
    _, out, found, files = drawn
    names = {f"map_{name}_{method}" for name in ALL for method in ("tsne", "pca")}
    expected = {f"{n}.{s}" for n in names | {"consecutive"} for s in ("png", "svg", "pdf")}
    expected |= {"coordinates.csv", "path_statistics.csv"}
    assert {path.name for path in files} == expected
    assert {path.name for path in out.iterdir()} == expected
    assert found.absent.keys() == {"4-bit"}
    assert (
        "absent: figure 2a, models and their 4-bit versions: the store has no model both"
        in found.text()
    )
    assert "perplexity" in found.text()


def test_coordinates_are_those_of_the_cleaned_vectors(drawn):
    store, out, *_ = drawn
    rows = table(out / "coordinates.csv")
    found = [row for row in rows if row["map"] == "models" and row["method"] == "pca"]
    entries = [e for e in store.records() if e.label.startswith("lab/") and "+" not in e.label]
    entries = [e for e in entries if e.identity.variant.layer is None]
    assert [row["model"] for row in found] == [entry.label for entry in entries]
    ll_KN = store.log_likelihoods(entries)
    ll_KN = np.maximum(ll_KN, np.quantile(ll_KN, 0.02))
    q_KN = ll_KN - ll_KN.mean(axis=1, keepdims=True) - ll_KN.mean(axis=0) + ll_KN.mean()
    expected = pca(q_KN / np.sqrt(2 * q_KN.shape[1] * store.texts.mean_bytes * np.log(2)))
    xy = [(float(row["x"]), float(row["y"])) for row in found]
    np.testing.assert_allclose(xy, expected.xy_K2, rtol=1e-9, atol=1e-9)
    explained = [float(found[0][f"explained_{axis}"]) for axis in "xy"]
    np.testing.assert_allclose(explained, expected.explained)
    assert found[0]["perplexity"] == ""
    tsne = [row for row in rows if row["map"] == "trajectories" and row["method"] == "tsne"]
    assert len(tsne) == 3 * len(STEPS)
    assert float(tsne[0]["perplexity"]) == pytest.approx((3 * len(STEPS) - 1) / 3)
    assert tsne[0]["explained_x"] == ""


def test_paths_are_measured_in_roots_of_kl(drawn):
    out = drawn[1]
    rows = table(out / "path_statistics.csv")
    assert [(row["trajectory"], row["from_step"]) for row in rows] == [
        (name, step)
        for name in ("pythia-14m", "pythia-14m-seed1", "pythia-70m")
        for step in ("0", "2000")
    ]
    pre = drawn[2].pretraining
    assert pre is not None
    ll_IN = pre.ll_KN[pre.rows[0]]
    unit = 2 * pre.mean_bytes * np.log(2)
    step_kl = np.var(np.diff(ll_IN, axis=0), axis=1) / unit
    assert float(rows[0]["length"]) == pytest.approx(np.sqrt(step_kl).sum())
    net = np.sqrt(np.var(ll_IN[-1] - ll_IN[0]) / unit)
    assert float(rows[0]["net_displacement"]) == pytest.approx(net)
    assert float(rows[0]["straightness"]) == pytest.approx(net / np.sqrt(step_kl).sum())
    assert 0 < float(rows[0]["p_value"]) <= 1


def test_families_join_parents_to_children(drawn):
    one = drawn[2].find("families")
    assert one is not None
    assert one.perplexity == 20.0
    pairs = {tuple(one.entries[k].label for k in pair) for pair in one.pairs_P2}
    assert len(pairs) == 12
    assert ("lab/m0", "lab/m0-chat") in pairs
    assert ("lab/m0-chat", "lab/m0-chat-v2") in pairs
    assert set(one.kinds) == {"gpt2", "llama"}


def test_maps_repeat_to_the_last_digit(drawn, tmp_path):
    store, out, *_ = drawn
    make_atlas(Context(store)).save(tmp_path)
    for name in ("coordinates.csv", "path_statistics.csv", "map_layers_tsne.svg"):
        assert (tmp_path / name).read_bytes() == (out / name).read_bytes()


def test_a_store_of_runs_only_says_what_it_lacks(tmp_path, capsys):
    map_store(tmp_path / "store", models=False)
    code = cli.run(["map", f"--store={tmp_path / 'store'}", f"--out={tmp_path / 'out'}"])
    printed = capsys.readouterr().out
    assert code == 0
    for words in ("figure 2a, models and their 8-bit", "figure 2b", "figure 2c", "absent: models"):
        assert words in printed
    assert (tmp_path / "out/map_trajectories_pca.pdf").read_bytes().startswith(b"%PDF")
    assert not (tmp_path / "out/map_models_pca.png").exists()


def test_two_models_are_no_map(tmp_path):
    of = texts()
    store, _ = filled(tmp_path / "store", of, record(of, "lab/a"), record(of, "lab/b"))
    with pytest.raises(InputError, match="no map can be drawn"):
        require_maps(Context(store), make_atlas(Context(store, ask=lambda _: ())))
