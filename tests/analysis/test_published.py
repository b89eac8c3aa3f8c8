"""The published recipe against the oracle, on a small release with the awkward cases planted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.published_oracle import Oracle
from support.synthetic_release import SMALL, make_release

from jaxmap.analysis.context import Context
from jaxmap.analysis.diffusion import measure_diffusion
from jaxmap.analysis.map_selection import make_atlas
from jaxmap.analysis.scale import measure_scale
from jaxmap.errors import InputError
from jaxmap.released.convert import import_released
from jaxmap.released.export import write_released
from jaxmap.stats.scale import published_pairs
from jaxmap.store import Store

RTOL = 1e-9


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    folder = tmp_path_factory.mktemp("release")
    planted = make_release(folder / "in", SMALL)
    store, _ = import_released(folder / "in", folder / "store")

    def ask(name):
        raise AssertionError(f"asked the network for {name}")

    return planted, Context(store, ask=ask), Oracle(folder / "in")


@pytest.fixture(scope="module")
def scale(release):
    return measure_scale(release[1], draws=20)


def pairs_of(row):
    values = zip(row.setting.pairs_P2.tolist(), row.divergence.kl.tolist(), strict=True)
    labels = [entry.label for entry in row.setting.entries]
    return [(labels[a], labels[b], kl) for (a, b), kl in values]


def test_the_default_of_released_data_is_the_published_recipe(release, scale, tmp_path):
    _, context, _ = release
    assert context.recipe == scale.recipe == "published"
    assert Context(context.store, recipe="jaxmap").recipe == "jaxmap"
    assert measure_scale(Context(context.store, recipe="jaxmap"), draws=2).recipe == "jaxmap"
    with pytest.raises(InputError, match="recipe"):
        Context(context.store, recipe="other")


def test_every_pair_of_every_setting(release, scale):
    expected = release[2].scale()
    assert [row.setting.name for row in scale.rows] == list(expected)
    for row in scale.rows:
        found, wanted = pairs_of(row), expected[row.setting.name]
        assert len(found) == len(wanted) > 0, row.setting.name
        # Pairs have no direction, and their order within a setting no meaning.
        found, wanted = (
            sorted((*sorted(pair[:2]), pair[2]) for pair in pairs) for pairs in (found, wanted)
        )
        assert [one[:2] for one in found] == [one[:2] for one in wanted]
        kl, oracle = (np.array([one[2] for one in pairs]) for pairs in (found, wanted))
        np.testing.assert_allclose(kl, oracle, rtol=RTOL, atol=1e-15, err_msg=row.setting.name)


def test_the_summary_of_every_setting(release, scale):
    for row in scale.rows:
        kl = np.array([one for *_, one in release[2].scale()[row.setting.name]])
        expected = (np.median(kl), kl.mean(), *np.percentile(kl, (25, 75)), len(kl))
        one = row.summary
        found = (one.median, one.mean, one.q25, one.q75, one.n)
        np.testing.assert_allclose(found, expected, rtol=RTOL, err_msg=row.setting.name)


def test_the_awkward_cases_are_there(release, scale):
    """What makes the comparison above one that can fail."""
    planted, _, oracle = release
    count = {row.setting.name: row.summary.n for row in scale.rows}
    assert count["later"] == count["early"] == 250  # windows move back over gaps
    assert count["intra-type"] == count["ft"] - 1  # the type of one model
    assert any(a == b for a, b, _ in oracle.scale()["ft"])
    labels = {label for row in scale.rows[:2] for pair in pairs_of(row) for label in pair[:2]}
    assert not labels & set(planted.none)
    assert "EleutherAI/pythia-410m@step119000" in labels
    steps = {a.partition("step")[2] for a, _, _ in pairs_of(scale.row("size"))}
    assert steps == {"142000"}  # one of the five lacks the last
    floors = {group.floor for group in (oracle.sizes, oracle.seeds, oracle.together)}
    assert len(floors) == 3
    assert oracle.sizes.dropped != oracle.seeds.dropped
    eight = scale.row("8-bit").setting
    assert eight.ll_KN.min() < oracle.matrix.min()  # copies are not clipped


def test_groups(release):
    _, context, oracle = release
    groups = context.published_groups
    pairs = (
        (groups.sizes, oracle.sizes), (groups.seeds, oracle.seeds),
        (groups.together, oracle.together),
    )  # fmt: skip
    for found, expected in pairs:
        pre = found.cleaned
        names = {run.full_name.removeprefix("EleutherAI/pythia-") for run in pre.runs}
        assert names == set(expected.runs)
        assert pre.dropped.floor == pytest.approx(expected.floor, rel=RTOL)
        assert pre.dropped.clipped == expected.raised
        assert set(pre.dropped.texts.tolist()) == expected.dropped
        assert pre.mean_bytes == pytest.approx(expected.mean_bytes, rel=RTOL)
        np.testing.assert_allclose(pre.dropped.jump_N, expected.jump, rtol=RTOL)
        assert len(pre.ll_KN) == sum(map(len, expected.runs.values()))


def test_exponents_and_steps(release):
    _, context, oracle = release
    found = measure_diffusion(context)
    assert found.recipe == "published"
    expected, count = oracle.exponents(), 0
    for curve in found.exponents:
        run = curve.trajectory.run.removeprefix("pythia-")
        for start, *values in zip(curve.starts, curve.exponent, curve.r2, strict=True):
            wanted = expected[run, int(start), curve.trajectory.space]
            np.testing.assert_allclose(values, wanted, rtol=RTOL, err_msg=f"{run} {start}")
            count += 1
    assert count == len(expected) == 5 * 133 * 2
    assert np.isfinite(expected["2.8b", 59_000, "log_likelihood"][0])  # from two points
    steps, count = oracle.consecutive(), 0
    for one in found.consecutive.runs:
        run = one.run.removeprefix("pythia-")
        for start, end, kl in zip(one.start_I, one.end_I, one.kl_I, strict=True):
            assert kl == pytest.approx(steps[run, int(start), int(end)], rel=RTOL)
            count += 1
    assert count == len(steps)
    assert ("1b", 115_000, 117_000) in steps  # the two sides of the excluded one


def test_an_excluded_start_is_drawn_between_its_neighbours(release):
    from jaxmap.analysis.published import without_excluded_gaps

    curves = measure_diffusion(release[1]).exponents
    one = next(c for c in curves if c.trajectory.run == "pythia-1b")
    place = one.starts.tolist().index(116_000)
    assert np.isnan(one.exponent[place])
    (drawn,) = without_excluded_gaps([one])
    assert drawn.exponent[place] == pytest.approx(one.exponent[[place - 1, place + 1]].mean())
    absent = next(c for c in curves if c.trajectory.run == "pythia-410m")
    place = absent.starts.tolist().index(120_000)
    (drawn,) = without_excluded_gaps([absent])
    assert np.isnan(drawn.exponent[place])  # absent is not excluded


def test_the_rows_of_the_maps(release):
    _, context, oracle = release
    atlas = make_atlas(context)
    assert atlas.recipe == "published"
    for name, (labels, rows_KN, mean_bytes) in oracle.map_rows().items():
        one = atlas.find(name)
        assert [entry.label for entry in one.entries] == labels, name
        np.testing.assert_array_equal(one.ll_KN, rows_KN, err_msg=name)
        assert one.mean_bytes == pytest.approx(mean_bytes, rel=RTOL)
        q_KN = rows_KN - rows_KN.mean(axis=1, keepdims=True)
        q_KN -= q_KN.mean(axis=0)
        q_KN /= np.sqrt(2 * rows_KN.shape[1] * mean_bytes * np.log(2))
        np.testing.assert_allclose(one.coordinates, q_KN, rtol=1e-7, atol=1e-12)
    perplexity = {one.name: one.perplexity for one in atlas.maps}
    assert perplexity["families"] == 20
    assert perplexity["trajectories"] == perplexity["8-bit"] == perplexity["layers"] == 30


def test_released_coordinates_are_used_where_they_fit(release, tmp_path):
    planted, context, _ = release
    atlas = make_atlas(context)
    import pickle

    def released(name):
        return pickle.loads(planted.path(name).read_bytes())

    one = atlas.find("trajectories")
    expected = released("pretraining_tsne_2d.pkl")["embedding"]
    np.testing.assert_array_equal(one.embeddings[0].xy_K2, expected)
    assert "released" in one.embeddings[0].note
    points = released("8bit_quantization_tsne.pkl")
    eight = atlas.find("8-bit")
    for (a, b), entry in zip(eight.pairs_P2, eight.entries, strict=False):
        found = points[entry.identity.ref]
        np.testing.assert_array_equal(eight.embeddings[0].xy_K2[a], found["original"])
        np.testing.assert_array_equal(eight.embeddings[0].xy_K2[b], found["quantized"])
    families, layers = atlas.find("families"), atlas.find("layers")
    points = released("ft_tsne.pkl")
    for entry, xy in zip(families.entries, families.embeddings[0].xy_K2, strict=True):
        np.testing.assert_array_equal(xy, points[entry.identity.ref])
    points = np.concatenate(list(released("layer_tsne.pkl").values()))
    np.testing.assert_array_equal(layers.embeddings[0].xy_K2, points)


def test_coordinates_of_other_rows_are_not_used(tmp_path):
    few = replace(SMALL, texts=30, seeds=1, steps=SMALL.steps[-40:])
    planted = make_release(tmp_path / "in", few)
    import pickle

    for name in ("pretraining_tsne_2d.pkl", "ft_tsne.pkl"):
        path = planted.path(name)
        content = pickle.loads(path.read_bytes())
        if name == "ft_tsne.pkl":
            content.pop(next(iter(content)))
        else:
            names = content["metadata"]["model_names"]
            content["metadata"]["model_names"] = [*names[1:], names[0]]
        path.write_bytes(pickle.dumps(content))
    store, _ = import_released(tmp_path / "in", tmp_path / "store")
    atlas = make_atlas(Context(store))
    assert atlas.find("trajectories").released_xy_K2 is None
    assert atlas.find("families").released_xy_K2 is None
    assert atlas.find("layers").released_xy_K2 is not None


def test_what_was_left_out_is_told(release, scale):
    planted, context, _ = release
    notes = "\n".join(map(str, [*scale.notes, *measure_diffusion(context).notes]))
    for name in planted.none:
        if "@step" in name and "seed9" not in name:
            assert f"absent: {name.replace('@step', ', step ')}" in notes
    assert "excluded: EleutherAI/pythia-1b, step 116000 (bad)" in notes
    assert f"{len(planted.merges)} merges with several parents" in notes
    assert "1 children whose type is not known" in notes
    assert "types of one model are left out: falcon" in notes


def test_a_store_of_ones_own_keeps_jaxmaps_recipe(tmp_path):
    from support.stores import filled, record, texts

    own = texts(40)
    rng = np.random.default_rng(0)
    records = [
        record(own, "org/run", f"step{s}", scores=-700 + rng.normal(size=40))
        for s in range(1000, 9000, 1000)
    ]
    store, _ = filled(tmp_path, own, *records)
    assert Context(Store.open(store.path)).recipe == "jaxmap"
    with pytest.raises(InputError, match="none of the ten settings"):
        measure_scale(Context(store, recipe="published"))
    write_released(store, tmp_path / "out")  # the authors' layout, but not their runs
    again, _ = import_released(tmp_path / "out", tmp_path / "again")
    assert Context(again).recipe == "jaxmap"


# Drawn pairs --------------------------------------------------------------------------------------


def test_drawn_pairs_go_on_where_the_last_type_left_the_generator():
    import random

    families = [[(40, 3), (9, 3)], [(5, 5)], [(17, 3), (8, 17), (1, 17)]]
    within, anywhere = published_pairs(families)
    draw = random.Random(0)
    first = [tuple(draw.sample(list({40, 3, 9}), 2)) for _ in range(2)]
    draw.seed(0)
    second = [tuple(draw.sample(list({17, 3, 8, 1}), 2)) for _ in range(3)]
    assert within == first + second
    pool = list(set([*{40, 3, 9}, *{17, 3, 8, 1}]))  # noqa: C405
    assert anywhere == [tuple(draw.sample(pool, 2)) for _ in range(6)]
    assert published_pairs([[(5, 5)]]) == ([], [])
