"""Distances in weight space: exact, from one read of each checkpoint, resumed, in a store."""

from __future__ import annotations

import dataclasses
import shutil
from collections import Counter
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from support.checkpoints import (
    change_tensors,
    jaxmap,
    make_checkpoint,
    read_tensors,
    score,
    write_texts,
)
from support.stores import filled, record
from support.stores import texts as make_texts

from jaxmap.analysis.context import Context
from jaxmap.analysis.diffusion import measure_diffusion
from jaxmap.checkpoint import weights
from jaxmap.checkpoint.host_memory import free_memory, of_cgroup
from jaxmap.checkpoint.tensor_difference import squared_distances
from jaxmap.errors import InputError
from jaxmap.naming import parse
from jaxmap.store.weight_distances import (
    DistanceRow,
    DistanceTable,
    WeightDistances,
    read_distances,
    write_distances,
)
from jaxmap.sweeps.weight_distance import Distances, Point

RUN = "runs/tiny"


def make_run(folder: Path, count: int, dtype: str = "float16") -> list[Path]:
    """Checkpoints that walk at random, step 1000 * i in folder/step{1000 * i}."""
    first = make_checkpoint(folder / "step0", dtype=dtype)
    tensors = read_tensors(first)
    random = np.random.default_rng(1)
    folders = [first]
    for i in range(1, count):
        tensors = {
            name: (one.astype(np.float32) + 0.01 * random.normal(size=one.shape)).astype(one.dtype)
            for name, one in tensors.items()
        }
        path = folder / f"step{1000 * i}"
        shutil.copytree(first, path)
        change_tensors(path, lambda t, new=tensors: t.update(new))
        folders.append(path)
    return folders


def oracle(folders) -> np.ndarray:
    """All squared distances, above the diagonal, by NumPy in extended precision."""
    flat = [
        np.concatenate([one.astype(np.longdouble).ravel() for _, one in sorted(t.items())])
        for t in map(read_tensors, folders)
    ]
    found = np.full((len(flat), len(flat)), np.nan)
    for i, a in enumerate(flat):
        for j in range(i + 1, len(flat)):
            found[i, j] = ((a - flat[j]) ** 2).sum()
    return found


def within(distance_II: np.ndarray, window: int) -> np.ndarray:
    places = np.arange(len(distance_II))
    lag = places[None] - places[:, None]
    return np.where((lag > 0) & (lag <= window), distance_II, np.nan)


def measure(folder: Path, take: weights.Take) -> None:
    for key, stored in weights.read(folder):
        take(key, stored)


def take_all(found: Distances, folders, indices=None, run=RUN, model=False) -> None:
    """Visits checkpoints i, each of the commit c{i}."""
    for i in range(len(folders)) if indices is None else indices:
        with found.visit(run, 1000 * i, f"c{i}", folders[i]) as take:
            if model:
                with weights.opened(folders[i]) as opened:
                    weights.load(opened, tensors=weights.observed(opened.read(), take))
            else:
                measure(folders[i], take)


def planned(store: Path, count: int, **options) -> Distances:
    found = Distances(store, **options)
    found.plan(RUN, range(0, 1000 * count, 1000))
    return found


def files(store: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (store / "weights").iterdir()}


def points(count: int) -> list[Point]:
    return [Point(1000 * i, f"c{i}") for i in range(count)]


@pytest.fixture(scope="module")
def run13(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"), 13)


@pytest.fixture(scope="module")
def whole(run13, tmp_path_factory):
    """The store's folder after an uninterrupted run."""
    store = tmp_path_factory.mktemp("whole")
    take_all(planned(store, 13), run13)
    return store


@pytest.fixture
def reads(monkeypatch):
    """How often each tensor of each file is read, and the bytes by checkpoint."""
    count: Counter[tuple[str, str]] = Counter()
    num_bytes: Counter[str] = Counter()
    real = weights.open_tensors

    class Counted:
        def __init__(self, folder):
            self.manager = real(folder)

        def __enter__(self):
            def counted(name, one):
                def read():
                    count[one.file.parent.name, name] += 1
                    num_bytes[one.file.parent.name] += one.num_bytes
                    return one.read()

                return dataclasses.replace(one, read=read)

            return {name: counted(name, one) for name, one in self.manager.__enter__().items()}

        def __exit__(self, *error):
            return self.manager.__exit__(*error)

    monkeypatch.setattr(weights, "open_tensors", Counted)
    return count, num_bytes


KINDS = [np.float64, np.float32, np.float16, ml_dtypes.bfloat16]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_distance_of_arrays(kind):
    """Of any size and mixed dtypes, near and far, against extended precision; zero is zero."""
    random = np.random.default_rng(0)
    for size in (0, 1, 17, 8192, 65536 + 8192 + 5, 2_200_000):
        new = random.normal(size=size).astype(kind)
        near = (new.astype(np.float64) * (1 + 2e-3 * random.normal(size=size))).astype(kind)
        other = random.normal(size=size).astype(KINDS[(KINDS.index(kind) + 1) % 4])
        found = squared_distances(new, [near, other, new])
        for value, old in zip(found, (near, other, new), strict=True):
            exact = ((new.astype(np.longdouble) - old.astype(np.longdouble)) ** 2).sum()
            assert value == pytest.approx(float(exact), rel=1e-12, abs=0)
        assert found[2] == 0.0


def test_threads_change_no_bit():
    from concurrent.futures import ThreadPoolExecutor

    random = np.random.default_rng(0)
    new, old = random.normal(size=(2, 3_000_001)).astype(np.float32)
    with ThreadPoolExecutor(3) as threads:
        assert squared_distances(new, [old], threads) == squared_distances(new, [old])


def test_shape_of_an_array_does_not_matter():
    a, b = np.random.default_rng(0).normal(size=(2, 30, 40))
    assert squared_distances(a, [b]) == squared_distances(a.ravel(), [b.ravel()])
    strided = squared_distances(a.T, [b.T])
    assert strided == pytest.approx(squared_distances(a, [b]), rel=1e-12)


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
        with found.visit(RUN, 1000 * i, f"c{i}", folder) as take:
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
                found.visit(RUN, 5000, "bad", bad) as take,
                weights.opened(bad) as opened,
            ):
                weights.load(opened, tensors=weights.observed(opened.read(), take))
            with pytest.raises(InputError, match="NaN"), found.visit(RUN, 5000, "bad", bad) as take:
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
        with again.visit(RUN, point.step, point.commit, folder) as take:
            measure(folder, take)
    for commit, folders in (("c1", run13[:3]), ("new", [run13[0], run13[7], run13[2]])):
        commits = {RUN: {0: "c0", 1000: commit, 2000: "c2"}}
        found = read_distances(tmp_path, commits)[RUN].distance
        np.testing.assert_allclose(found, oracle(folders), rtol=1e-9)


def test_dtypes_that_differ(tmp_path):
    """Stored in other dtypes, the numbers count; float64 is not rounded on the way."""
    folders = make_run(tmp_path / "run", 3, dtype="float32")
    change_tensors(
        folders[1], lambda t: t.update({n: a.astype(ml_dtypes.bfloat16) for n, a in t.items()})
    )
    change_tensors(
        folders[2], lambda t: t.update({n: a.astype(np.float64) + 1e-12 for n, a in t.items()})
    )
    take_all(planned(tmp_path / "store", 3), folders, model=True)
    found = read_distances(tmp_path / "store")[RUN].distance
    np.testing.assert_allclose(found, oracle(folders), rtol=1e-9)


def test_what_counts_as_a_parameter(tmp_path):
    """Buffers do not; tied embeddings stored twice count once; other names are no difference."""
    a = make_checkpoint(tmp_path / "a", tie_word_embeddings=True)
    b = make_checkpoint(tmp_path / "b", tie_word_embeddings=True, seed=1)
    exact = oracle([a, b])[0, 1]
    twice = shutil.copytree(b, tmp_path / "twice")
    change_tensors(
        twice,
        lambda t: t.update(
            {
                "embed_out.weight": t["gpt_neox.embed_in.weight"],
                "gpt_neox.layers.0.attention.masked_bias": np.full(1, -1e9, np.float32),
                "gpt_neox.layers.0.attention.rotary_emb.inv_freq": np.ones(2, np.float32),
            }
        ),
    )
    bare = shutil.copytree(b, tmp_path / "bare")
    tensors = read_tensors(bare)
    (bare / "model.safetensors").unlink()
    from safetensors.numpy import save_file

    save_file(
        {name.removeprefix("gpt_neox."): one for name, one in tensors.items()},
        bare / "model.safetensors",
    )
    for other in (b, twice, bare):
        found = Distances(tmp_path / f"store-{other.name}")
        found.plan(RUN, (0, 1000))
        take_all(found, [a, other], model=True)
        value = read_distances(tmp_path / f"store-{other.name}")[RUN].distance[0, 1]
        assert value == pytest.approx(exact, rel=1e-9)


def test_torch_files(run13, tmp_path):
    """pytorch_model.bin is memory-mapped: what is kept is a copy."""
    import torch

    folders = [shutil.copytree(folder, tmp_path / folder.name) for folder in run13[:3]]
    found = planned(tmp_path / "store", 3)
    for i, folder in enumerate(folders):
        state = {n: torch.from_numpy(a) for n, a in read_tensors(folder).items()}
        torch.save(state, folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
        take_all(found, folders, [i], model=True)
        size = (folder / "pytorch_model.bin").stat().st_size
        (folder / "pytorch_model.bin").write_bytes(bytes(size))  # evicted, and the blocks reused
    np.testing.assert_allclose(
        read_distances(tmp_path / "store")[RUN].distance, oracle(run13[:3]), rtol=1e-9
    )


def test_other_architectures_have_no_distance(tmp_path, caplog):
    """Told by name, kept as NaN so that it is not tried again."""
    folders = [
        make_checkpoint(tmp_path / "a"),
        make_checkpoint(tmp_path / "b", hidden_size=24),
        make_checkpoint(tmp_path / "c", num_hidden_layers=1),
        make_checkpoint(tmp_path / "d", seed=2),
    ]
    found = planned(tmp_path / "store", 4)
    take_all(found, folders)
    distances = read_distances(tmp_path / "store")[RUN].distance
    assert np.argwhere(~np.isnan(distances)).tolist() == [[0, 3]]
    assert found.missing(RUN, points(4)) == set()


def test_two_runs_one_after_the_other(run13, tmp_path):
    found = Distances(tmp_path)
    for run, folders in (("a", run13[:3]), ("b", run13[5:8])):
        found.plan(run, (0, 1000, 2000))
        take_all(found, folders, run=run)
    for run, folders in (("a", run13[:3]), ("b", run13[5:8])):
        np.testing.assert_allclose(
            read_distances(tmp_path)[run].distance, oracle(folders), rtol=1e-9
        )


def test_a_run_s_row_is_completed_not_replaced(tmp_path):
    rows = DistanceTable(tmp_path)
    path = rows.add(DistanceRow("r", 3, "c", {(1, "a"): 1.0}))
    assert rows.add(DistanceRow("r", 3, "c", {(2, "b"): 2.0, (1, "a"): 5.0})) == path
    assert DistanceTable(tmp_path).of("r")[3, "c"].to == {(1, "a"): 1.0, (2, "b"): 2.0}
    state = path.stat().st_mtime_ns
    rows.add(DistanceRow("r", 3, "c", {(2, "b"): 2.0}))
    assert path.stat().st_mtime_ns == state


def test_rows_beside_a_matrix(tmp_path):
    """As imported, and continued here."""
    matrix = np.full((3, 3), np.nan)
    matrix[0, 1], matrix[1, 2] = 1.0, 2.0
    write_distances(tmp_path, WeightDistances("r", np.array([0, 1, 5]), matrix))
    DistanceTable(tmp_path).add(DistanceRow("r", 7, "c", {(5, "b"): 4.0}))
    found = read_distances(tmp_path)["r"]
    assert found.steps.tolist() == [0, 1, 5, 7]
    assert found.distance[0, 1] == 1.0
    assert found.distance[1, 2] == 2.0
    assert found.distance[2, 3] == 4.0
    assert np.isnan(found.distance).sum() == 13


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 cut", None])
def test_damaged_rows_count_as_missing(damage, run13, whole, tmp_path):
    shutil.copytree(whole / "weights", tmp_path / "weights")
    path = next((tmp_path / "weights").glob("*step4000*"))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] if damage is None else damage)
    again = planned(tmp_path, 13)
    needed = again.missing(RUN, points(13))
    assert needed == set(range(5))
    assert list(DistanceTable(tmp_path).corrupt()) == [path]
    take_all(again, run13, sorted(needed))
    assert files(tmp_path) == files(whole)
    assert not DistanceTable(tmp_path).corrupt()


def test_from_scoring_to_exponents(run13, tmp_path, reads):
    """`jaxmap score --weight_distance`, then `jaxmap diffusion`: both spaces, one read."""
    folder = tmp_path / "run"
    for one in run13[1:8]:
        shutil.copytree(one, folder / one.name)
    store, texts = tmp_path / "store", write_texts(tmp_path / "texts.jsonl")
    models = f"{folder}@step{{1000:7001:1000}}"
    ran = score(store, texts, models, weight_distance=4)
    assert (ran.code, ran.messages) == (0, [])
    assert set(reads[0].values()) == {1}
    steps = np.arange(1000, 8000, 1000)
    expected = within(oracle(run13[1:8]), 4)
    found = read_distances(store)[str(folder)]
    np.testing.assert_array_equal(found.steps, steps)
    np.testing.assert_allclose(found.distance, expected, rtol=1e-9)
    assert "distances   18 of 18 between weights" in jaxmap("status", f"--store={store}").out

    # Lost since: only the distances are taken again, no score.
    next((store / "weights").glob("*step6000*")).unlink()
    before = files(store)
    ran = score(store, texts, models, weight_distance=4)
    assert ran.out.startswith("0 scored, 7 already done")
    assert ran.code == 0
    np.testing.assert_array_equal(read_distances(store)[str(folder)].distance, found.distance)
    assert set(files(store)) > set(before)
    times = Counter({name: times for (name, _), times in reads[0].items()})
    assert times == {f"step{step}": 2 if 2000 <= step <= 6000 else 1 for step in steps}

    out = tmp_path / "out"
    ran = jaxmap(
        "diffusion", f"--store={store}", f"--out={out}", "--window=4", "--start_from=1000",
        "--warmup_steps=1000",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    rows = [line.split(",") for line in (out / "diffusion.csv").read_text().splitlines()[1:]]
    assert [row[:3] for row in rows] == [
        ["run", str(step), space] for space in ("log_likelihood", "weight") for step in steps[:3]
    ]
    for i, row in enumerate(rows[3:]):
        lags = np.log(np.arange(1, 5))
        slope = np.polyfit(lags, np.log(expected[i, i + 1 : i + 5]), 1)[0]
        assert float(row[3]) == pytest.approx(slope, rel=1e-6)
        assert 0.8 < slope < 1.2  # a random walk


def test_bad_window(tmp_path):
    with pytest.raises(InputError, match=r"^weight_distance=0"):
        Distances(tmp_path, window=0)


def test_free_memory(tmp_path):
    assert 1 << 20 < free_memory() < 1 << 50
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 150\n")
    assert of_cgroup(tmp_path) == [450]
    (tmp_path / "memory.max").write_text("max\n")
    assert of_cgroup(tmp_path) == []
    assert of_cgroup(tmp_path / "none") == []


@pytest.mark.parametrize(
    ("ref", "revision"),
    [("org/x", "step{}"), ("runs/x/step{}", None), ("runs/x-step{}", None),
     ("runs/x/global_step{}", None)],
)  # fmt: skip
def test_runs_under_any_names(ref, revision, tmp_path):
    """What the sweep keeps them under is where the exponents look."""
    texts = make_texts()
    steps = range(0, 6000, 1000)
    refs = [(ref.format(step), revision and revision.format(step)) for step in steps]
    store, _ = filled(tmp_path, texts, *(record(texts, *one) for one in refs))
    (run,) = {parse(*one).run_name for one in refs}
    for step in steps:
        to = {(other, "c0"): float(step - other) for other in steps if other < step}
        DistanceTable(tmp_path).add(DistanceRow(run, step, "c0", to))
    found = measure_diffusion(Context(store), start_from=0, window=4).exponents
    weight = [one for one in found if one.trajectory.space == "weight"]
    np.testing.assert_allclose(weight[0].exponent, 1.0)


def test_rows_under_the_run_name_of_an_earlier_version(tmp_path):
    """`run/` was the run of run/step1, run/step2; what was measured then is found and completed."""
    rows = DistanceTable(tmp_path)
    rows.add(DistanceRow("run/", 2, "c2", {(1, "c1"): 3.0}))
    again = DistanceTable(tmp_path)
    again.add(DistanceRow("run", 2, "c2", {(0, "c0"): 5.0}))
    (row,) = DistanceTable(tmp_path).of("run").values()
    assert row.to == {(0, "c0"): 5.0, (1, "c1"): 3.0}
    assert read_distances(tmp_path)["run"].distance[1, 2] == 3.0
