"""Distances in weight space: exact, from one read of each checkpoint, resumed."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from support.checkpoints import (
    change_tensors,
    read_tensors,
)
from support.weight_runs import RUN, files, measure, oracle, planned, points, take_all, within

from jaxmap.checkpoint import weights
from jaxmap.errors import InputError
from jaxmap.store.weight_distances import (
    DistanceTable,
    read_distances,
)
from jaxmap.sweeps.weight_distance import Distances, Point


def test_one_pass_reads_each_checkpoint_once(run13, tmp_path, reads):
    """The read that fills the model feeds the distances, ten back; float16 loaded as float32."""
    count, num_bytes = reads
    found = planned(tmp_path, 13)
    assert found.missing(RUN, points(13)) == set(range(13))
    take_all(found, run13, model=True)
    assert set(count.values()) == {1}
    stored = {n: t.nbytes for n, t in read_tensors(run13[0]).items()}
    assert num_bytes == {folder.name: sum(stored.values()) for folder in run13}
    assert len(count) == 13 * len(stored)
    assert found.pinned() == set()

    distances = read_distances(tmp_path)[RUN]
    assert distances.steps.tolist() == list(range(0, 13000, 1000))
    np.testing.assert_allclose(distances.distance, within(oracle(run13), 10), rtol=1e-9)
    assert found.missing(RUN, points(13)) == set()
    assert DistanceTable(tmp_path).count() == (75, 75)


def test_a_model_and_a_bare_read_give_the_same(run13, whole, tmp_path):
    take_all(planned(tmp_path, 13), run13, model=True)
    assert files(tmp_path) == files(whole)


@pytest.mark.parametrize("room", [0, 1, 4])
def test_where_memory_holds_fewer(room, run13, whole, tmp_path, reads):
    """The others are read again, a tensor at a time; the rows are the same bits."""
    count, _ = reads
    size = (run13[0] / "model.safetensors").stat().st_size
    found = planned(tmp_path, 13, memory=room * size + size // 2)
    take_all(found, run13)
    assert files(tmp_path) == files(whole)
    assert found.pinned() == set(run13[-10:][: 10 - room])
    # Once for itself, then for each later one in reach that found it out of memory.
    wanted = {f.name: 1 + max(0, min(10, 12 - i) - room) for i, f in enumerate(run13)}
    assert {folder: times for (folder, _), times in count.items()} == wanted


def test_memory_holds_the_window_and_no_more(run13, tmp_path, monkeypatch):
    """Each tensor leaves when the checkpoint ten on has met it: never eleven models."""
    found = planned(tmp_path, 13)
    size = sum(one.nbytes for one in read_tensors(run13[0]).values())
    largest = max(one.nbytes for one in read_tensors(run13[0]).values())
    peak = 0

    for i, folder in enumerate(run13):
        with found.measuring(RUN, 1000 * i, f"c{i}", folder) as take:
            coming = 0

            def watched(key, stored, take=take):
                nonlocal peak, coming
                take(key, stored)
                coming += stored.nbytes
                earlier = sum(t.nbytes for k in found._kept for t in (k.tensors or {}).values())
                peak = max(peak, earlier + coming)

            measure(folder, watched)
    assert peak <= 10 * size + largest
    assert sum(t.nbytes for k in found._kept for t in k.tensors.values()) == 10 * size


def test_resumed_store_is_that_of_an_uninterrupted_run(run13, whole, tmp_path):
    """Killed after the rows of 0..6; only what the missing pairs need is loaded again."""
    take_all(planned(tmp_path, 13), run13, range(7))
    again = planned(tmp_path, 13)
    assert again.known(RUN)
    assert not again.known("another")
    needed = again.missing(RUN, points(13))
    assert needed == set(range(13))  # 7 looks back over 0..6
    take_all(again, run13, sorted(needed))
    assert files(tmp_path) == files(whole)

    # One row is lost: its checkpoint and the ten before it.
    next((tmp_path / "weights").glob("*step12000*")).unlink()
    last = planned(tmp_path, 13)
    needed = last.missing(RUN, points(13))
    assert needed == set(range(2, 13))
    take_all(last, run13, sorted(needed))
    assert files(tmp_path) == files(whole)


def test_shards_add_up(run13, whole, tmp_path):
    """Each reads the ten before its own and leaves their rows to the other."""
    assert planned(tmp_path, 13).missing(RUN, points(13), 12) == set(range(2, 13))
    for first, last in ((6, 13), (0, 6)):
        shard = planned(tmp_path, 13)
        own = points(13)[:last]
        needed = shard.missing(RUN, own, first)
        assert needed == set(range(last))
        before = set(files(tmp_path))
        take_all(shard, run13, sorted(needed))
        new = sorted(int(n.split("step")[1].split("-")[0]) for n in set(files(tmp_path)) - before)
        assert new == list(range(1000 * max(first, 1), 1000 * last, 1000))
    assert files(tmp_path) == files(whole)
    assert planned(tmp_path, 13).missing(RUN, points(13), 12) == set()


def test_any_order_of_visits(run13, whole, tmp_path):
    """A checkpoint that comes late, within reach, completes the rows of those after it."""
    take_all(planned(tmp_path, 13), run13, [1, 0, 3, 2, 4, 6, 5, 7, 8, 10, 9, 12, 11])
    distances = read_distances(tmp_path)[RUN].distance
    expected = read_distances(whole)[RUN].distance
    there = ~np.isnan(distances)
    np.testing.assert_array_equal(distances[there], expected[there])
    again = planned(tmp_path, 13)
    take_all(again, run13, sorted(again.missing(RUN, points(13))))
    assert files(tmp_path) == files(whole)


def test_a_checkpoint_that_fails_leaves_a_gap(run13, tmp_path):
    """Its place counts: the one eleven places back stays out of reach; mended, all is there."""
    store = tmp_path / "store"
    found = planned(store, 13)
    bad = shutil.copytree(run13[5], tmp_path / "bad")
    name = "gpt_neox.final_layer_norm.weight"
    change_tensors(bad, lambda t: t.update({name: np.full(16, np.nan, np.float16)}))
    for i in range(13):
        if i == 5:
            with (
                pytest.raises(InputError, match=f"NaN or infinite weights in {name}"),
                found.measuring(RUN, 5000, "bad", bad) as take,
                weights.opened(bad) as opened,
            ):
                weights.load(opened, tensors=weights.observed(opened.read(), take))
            with (
                pytest.raises(InputError, match="NaN"),
                found.measuring(RUN, 5000, "bad", bad) as take,
            ):
                measure(bad, take)
        else:
            take_all(found, run13, [i])
    expected = within(oracle(run13), 10)
    expected[5, :] = expected[:, 5] = np.nan
    distances = read_distances(store)[RUN]
    np.testing.assert_allclose(distances.at(np.arange(0, 13000, 1000)), expected, rtol=1e-9)
    assert DistanceTable(store).count() == (75 - 12, 75)
    unresolved = [p._replace(commit=None) if p.step == 5000 else p for p in points(13)]
    again = planned(store, 13)
    assert again.missing(RUN, unresolved) == set()
    needed = again.missing(RUN, points(13))
    assert needed == set(range(13))
    take_all(again, run13, sorted(needed))
    np.testing.assert_allclose(
        read_distances(store)[RUN].distance, within(oracle(run13), 10), rtol=1e-9
    )


def test_files_gone_meanwhile(run13, tmp_path):
    """Where memory holds none and a folder was removed, that pair is missing, the others not."""
    found = planned(tmp_path / "store", 3, memory=0)
    lost = shutil.copytree(run13[0], tmp_path / "lost")
    take_all(found, [lost, *run13[1:3]], range(2))
    shutil.rmtree(lost)
    take_all(found, run13, [2])
    assert found.missing(RUN, points(3)) == {0, 2}


def test_new_weights_under_the_same_name(run13, tmp_path):
    """Rows are of commits: another commit of a checkpoint has none, and readers can choose."""
    take_all(planned(tmp_path, 3), run13, range(3))
    again = planned(tmp_path, 3)
    changed = [Point(0, "c0"), Point(1000, "new"), Point(2000, "c2")]
    assert again.missing(RUN, changed) == {0, 1, 2}
    for point, folder in zip(changed, (run13[0], run13[7], run13[2]), strict=True):
        with again.measuring(RUN, point.step, point.commit, folder) as take:
            measure(folder, take)
    for commit, folders in (("c1", run13[:3]), ("new", [run13[0], run13[7], run13[2]])):
        commits = {RUN: {0: "c0", 1000: commit, 2000: "c2"}}
        found = read_distances(tmp_path, commits)[RUN].distance
        np.testing.assert_allclose(found, oracle(folders), rtol=1e-9)


def test_two_runs_one_after_the_other(run13, tmp_path):
    found = Distances(tmp_path)
    for run, folders in (("a", run13[:3]), ("b", run13[5:8])):
        found.plan(run, (0, 1000, 2000))
        take_all(found, folders, run=run)
    for run, folders in (("a", run13[:3]), ("b", run13[5:8])):
        np.testing.assert_allclose(
            read_distances(tmp_path)[run].distance, oracle(folders), rtol=1e-9
        )


def test_bad_window(tmp_path):
    with pytest.raises(InputError, match=r"^weight_distance=0"):
        Distances(tmp_path, window=0)
