"""`jaxmap sweep`: one visit gives all, what overlaps, what is recognised, what a config may say."""

from __future__ import annotations

import dataclasses
import itertools
import os
import threading
import time
import weakref
from pathlib import Path

import jax
import numpy as np
import pytest
from support import REPOSITORY
from support.checkpoints import (
    change_tensors,
    jaxmap,
    make_checkpoint,
    watch,
    write_texts,
)
from support.checkpoints import (
    score as score_command,
)
from support.sweeps import contents, family, is_clean, run, sweep, truncate_a_record, write_config

from jaxmap.checkpoint import weights
from jaxmap.engine.scorer import Scorers
from jaxmap.errors import InputError
from jaxmap.store import Store
from jaxmap.store.weight_distances import read_distances
from jaxmap.sweeps import checkpoint_scorer, prefetch
from jaxmap.sweeps.checkpoint_scorer import CheckpointScorer
from jaxmap.sweeps.config_schema import OF_THE_RUN, config_dict, read_config
from jaxmap.sweeps.limits import Limits
from jaxmap.sweeps.settings import Settings

STEPS = (0, 1, 2, 4, 8, 16)
CONFIGS = REPOSITORY / "configs"


@pytest.fixture
def place(tmp_path):
    family(tmp_path, STEPS)
    write_texts(tmp_path / "texts.jsonl")
    return tmp_path


def config_of(place: Path, **fields: object) -> Path:
    models = [f"{place}/run0@step{{{','.join(map(str, STEPS))}}}"]
    return write_config(place / "config.py", models, place / "texts.jsonl", **fields)


ALL = dict(lens=True, quantize=("none", "int8"), weight_distance=2)


# One visit ---------------------------------------------------------------------------------------


def test_one_visit_gives_all(place, monkeypatch):
    loads, reads = watch(monkeypatch), watch(monkeypatch, "read")
    scorers = []
    of = Scorers.of

    def one(self, model):
        scorers.append(of(self, model))
        return scorers[-1]

    monkeypatch.setattr(Scorers, "of", one)
    config, store = config_of(place, **ALL), place / "ein Lager é"
    ran = sweep(config, store)
    assert (ran.code, ran.out) == (0, "12 scored, 0 already done, 0 failed\n")
    assert loads == [f"step{step}" for step in STEPS]
    assert reads == []
    # One program for the model and one for its copy, compiled at the first checkpoint.
    assert len(scorers) == 18  # each model twice: to compile, before its weights, and to score
    assert {scorer.compilations for scorer in scorers} == {1}
    assert len(set(map(id, scorers))) == 2
    is_clean(store)
    labels = [entry.label.rpartition("@")[2] for entry in Store.open(store).records()]
    assert labels[:5] == ["step0", "step0#layer00", "step0#layer01", "step0#layer02", "step0+int8"]
    assert len(labels) == 5 * len(STEPS)
    [distances] = read_distances(store).values()
    assert distances.steps.tolist() == list(STEPS)
    assert (distances.distance > 0).sum() == 4 * 2 + 1

    # The parts asked for one by one come to the same, and nothing is done again.
    models = f"{place}/run0@step{{{','.join(map(str, STEPS))}}}"
    texts = place / "texts.jsonl"
    assert score_command(place / "parts", texts, models, quantize="int8").code == 0
    assert score_command(place / "parts", texts, models, lens=True).code == 0
    assert reads == []
    loads.clear()
    ran = score_command(place / "parts", texts, models, lens=True, weight_distance=2)
    assert (ran.code, ran.out) == (0, "0 scored, 6 already done, 0 failed\n")
    assert (loads, reads) == ([], [f"step{step}" for step in STEPS])
    assert contents(place / "parts") == contents(store)

    reads.clear()
    assert sweep(config, store).out == "0 scored, 12 already done, 0 failed\n"
    assert (loads, reads) == ([], [])


def test_a_lost_distance_is_measured_again(place, monkeypatch):
    config, store = config_of(place, weight_distance=2), place / "store"
    assert sweep(config, store).code == 0
    whole = contents(store)
    [row] = store.glob("weights/*@step4-*.npz")
    row.unlink()
    reads = watch(monkeypatch, "read")
    assert sweep(config, store).out == "0 scored, 6 already done, 0 failed\n"
    assert reads == ["step1", "step2", "step4"]
    assert contents(store) == whole


def test_shares_add_up_to_the_whole(place, monkeypatch):
    """Weight distances across the border of two shares included."""
    config = config_of(place, weight_distance=2)
    assert sweep(config, place / "whole").code == 0
    counts = []
    for index in (2, 0, 1):
        ran = sweep(config, place / "shares", f"--shard_index={index}", "--shard_count=3")
        assert ran.code == 0
        counts.append(ran.out.split()[0])
    assert counts == ["2", "2", "2"]
    assert contents(place / "shares") == contents(place / "whole")
    is_clean(place / "shares")
    assert sweep(config, place / "shares").out.startswith("0 scored, 6 already")


# Overlap -----------------------------------------------------------------------------------------


@dataclasses.dataclass
class Clock:
    """How long loading and scoring took in sum, and from the first to the last."""

    load: float = 0.0
    score: float = 0.0
    threads: set[str] = dataclasses.field(default_factory=set)
    began: float = 0.0
    ended: float = 0.0


def slowed(monkeypatch, load_s: float, score_s: float, wait=time.sleep) -> Clock:
    clock = Clock()
    load, score_rows = CheckpointScorer.load_part, checkpoint_scorer.score_rows

    def slow_load(*arguments, **options):
        begun = time.perf_counter()
        clock.began = clock.began or begun
        wait(load_s)
        loaded = load(*arguments, **options)
        clock.load += time.perf_counter() - begun
        clock.threads.add(threading.current_thread().name)
        return loaded

    def slow_score(*arguments, **options):
        begun = time.perf_counter()
        time.sleep(score_s)
        found = score_rows(*arguments, **options)
        clock.ended = time.perf_counter()
        clock.score += clock.ended - begun
        return found

    monkeypatch.setattr(CheckpointScorer, "load_part", slow_load)
    monkeypatch.setattr(checkpoint_scorer, "score_rows", slow_score)
    return clock


def test_a_slow_loader_is_overlapped(tmp_path, monkeypatch):
    models = [make_checkpoint(tmp_path / f"m{i}", seed=i) for i in range(12)]
    texts = write_texts(tmp_path / "texts.jsonl")
    assert score_command(tmp_path / "warm", texts, *models[:1]).code == 0  # compiled elsewhere
    ratios = []
    for turn in range(4):  # a machine that is busy with other things gets another chance
        with monkeypatch.context() as patch:
            clock = slowed(patch, 0.4, 0.4)
            assert score_command(tmp_path / f"store{turn}", texts, *models).code == 0
        longer = max(clock.load, clock.score)
        assert clock.load > 12 * 0.4
        assert clock.score > 12 * 0.4
        assert clock.threads == {"MainThread", prefetch.THREAD_NAME}
        # The first load has nothing to overlap with.
        ratios.append((clock.ended - clock.began - clock.load / 12) / longer)
        if ratios[-1] <= 1.3:
            break
    assert min(ratios) <= 1.3, "one after the other would be 2"


def test_a_loader_that_computes_is_not(tmp_path, monkeypatch):
    """Two that want the same cores only get in each other's way."""

    def compute(seconds: float) -> None:
        end = time.thread_time() + seconds
        while time.thread_time() < end:
            pass

    models = [make_checkpoint(tmp_path / f"m{i}", seed=i) for i in range(3)]
    clock = slowed(monkeypatch, 0.3, 0.0, compute)
    texts = write_texts(tmp_path / "texts.jsonl")
    assert score_command(tmp_path / "store", texts, *models).code == 0
    assert clock.threads == {"MainThread"}


@pytest.mark.parametrize("room", [True, False])
def test_at_most_two_models_in_memory(room, tmp_path, monkeypatch):
    """One being scored and one waiting; only one where two do not fit."""
    models = [make_checkpoint(tmp_path / f"m{i}", seed=i) for i in range(8)]
    made: list[weakref.ref] = []
    most = []
    clock = slowed(monkeypatch, 0.2, 0.1)
    load = CheckpointScorer.load_part

    def counted(*arguments, **options):
        most.append(1 + sum(one() is not None for one in made))
        loaded = load(*arguments, **options)
        made.append(weakref.ref(jax.tree.leaves(loaded.model.params)[0]))
        return loaded

    monkeypatch.setattr(CheckpointScorer, "load_part", counted)
    limits = Limits(idle_share=0.0)
    if not room:
        limits = dataclasses.replace(limits, free_memory=lambda: 100)
    texts = write_texts(tmp_path / "texts.jsonl")
    assert run(tmp_path / "store", texts, models, limits=limits).ending == "done"
    assert max(most) == (2 if room else 1)
    assert clock.threads == {"MainThread", prefetch.THREAD_NAME}


# What is wrong costs only itself -----------------------------------------------------------------


def test_bad_checkpoints_cost_the_others_nothing(place, monkeypatch, caplog):
    """A NaN, a missing revision, one that fails for no fault of its own; then all are mended."""
    config, store = config_of(place, weight_distance=2, quantize=("none", "int8")), place / "store"
    assert sweep(config, place / "whole").code == 0

    def spoil(t):
        t["gpt_neox.final_layer_norm.weight"][3] = float("nan")

    good = place / "run0" / "step4" / "model.safetensors"
    content, times = good.read_bytes(), good.stat()
    change_tensors(place / "run0" / "step4", spoil)
    os.rename(place / "run0" / "step8", place / "step8 elsewhere")
    load = weights.load

    def unlucky(folder, **options):
        if folder.name == "step1":
            raise RuntimeError("RESOURCE_EXHAUSTED: out of memory")
        return load(folder, **options)

    with monkeypatch.context() as patch:
        patch.setattr(weights, "load", unlucky)
        ran = sweep(config, store)
    assert ran.code == 1
    assert ran.out.startswith("6 scored, 0 already done, 6 failed\n")
    for reason in ("NaN or infinite weights in", "no subfolder or revision 'step8' (nearest: step4",
                   "RuntimeError: RESOURCE_EXHAUSTED"):  # fmt: skip
        assert caplog.text.count(reason) == 2, reason
    status = jaxmap("status", f"--store={store}")
    assert "failed      6" in status.out
    assert f"cd {os.getcwd()} && jaxmap sweep --config={config} --store={store}" in status.out

    # Run again with two of them still bad: what is done is not loaded again.
    loads = watch(monkeypatch)
    ran = sweep(config, store)
    assert (ran.code, ran.out.splitlines()[0]) == (2, "2 scored, 6 already done, 4 failed")
    assert loads == ["step1", "step4"]

    good.write_bytes(content)
    os.utime(good, ns=(times.st_atime_ns, times.st_mtime_ns))
    os.rename(place / "step8 elsewhere", place / "run0" / "step8")
    ran = sweep(config, store)
    assert (ran.code, ran.out) == (0, "4 scored, 8 already done, 0 failed\n")
    assert contents(store) == contents(place / "whole")
    is_clean(store)


def test_a_corrupt_record_is_computed_again(place):
    import random

    config, store = config_of(place, **ALL), place / "store"
    assert sweep(config, store).code == 0
    whole = contents(store)
    for seed in range(3):
        path = truncate_a_record(store, random.Random(seed))
        assert "corrupt     1" in jaxmap("status", f"--store={store}").out
        ran = sweep(config, store)
        assert (ran.code, ran.out) == (0, "1 scored, 11 already done, 0 failed\n"), path
        assert contents(store) == whole
    is_clean(store)


def test_a_clock_that_goes_backwards(place, monkeypatch):
    """Nothing that a result depends on, or that says which is newest, is a time."""
    config = config_of(place, weight_distance=2)
    assert sweep(config, place / "whole").code == 0
    seconds = iter(range(2_000_000_000, 0, -1000))
    monkeypatch.setattr(time, "time", lambda: float(next(seconds)))
    years = iter(range(9999, 1000, -1))
    monkeypatch.setattr("jaxmap.store.record.now", lambda: f"{next(years)}-01-01T00:00:00.000000")
    first = sweep(config, place / "store", "--shard_count=2")
    assert first.out.startswith("3 scored")
    assert sweep(config, place / "store").out == "3 scored, 3 already done, 0 failed\n"
    assert contents(place / "store") == contents(place / "whole")
    before = {e.label: e.identity.commit for e in Store.open(place / "store").records()}
    change_tensors(place / "run0" / "step2", lambda t: [v.__imul__(1.5) for v in t.values()])
    assert sweep(config, place / "store").out == "1 scored, 5 already done, 0 failed\n"
    store = Store.open(place / "store")
    [old] = store.superseded()
    assert old.label.endswith("step2")
    [new] = [entry for entry in store.records() if entry.label.endswith("step2")]
    assert old.identity.commit == before[new.label] != new.identity.commit


def test_a_full_disk_ends_the_run_and_it_goes_on(place, monkeypatch):
    import errno

    config = config_of(place, **ALL)
    assert sweep(config, place / "whole").code == 0
    fsync, left = os.fsync, iter([True] * 47)

    def full(descriptor):
        if not next(left, False):
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        ran = sweep(config, place / "store")
    assert ran.code == 2
    assert "the disk is full: free some space and run again" in ran.messages[-1]
    assert str(place / "store") in ran.messages[-1]
    done = len(Store.open(place / "store").records())
    assert 0 < done < 5 * len(STEPS)
    assert not list((place / "store").rglob("*.tmp"))
    ran = sweep(config, place / "store")
    assert ran.code == 0
    assert contents(place / "store") == contents(place / "whole")
    is_clean(place / "store")


# Configs and flags -------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.py")), ids=lambda path: path.name)
def test_configs_that_come_along(path):
    import runpy

    made = runpy.run_path(str(path))
    assert "Command:" in made["__doc__"]
    assert "Cost:" in made["__doc__"]
    assert "Expect:" in made["__doc__"]
    if path.name == "demo.py":  # of `jaxmap demo`
        return
    if "PARTS" in made:  # of a released suite: test_suites.py
        assert "Time:" in made["__doc__"]
        return
    config = read_config(dict(made["get_config"]()))
    counts = {"pythia.py": 770, "demo_sweep.py": 95}
    if path.name in counts:
        assert len(config.refs()) == counts[path.name]
    else:
        assert config.models_file == "model_list.json"
    if path.name == "pythia.py":
        assert [str(ref) for ref in config.refs()[-2:]] == [
            "EleutherAI/pythia-6.9b@step142000",
            "EleutherAI/pythia-6.9b@step143000",
        ]
        seeds = read_config(dict(made["get_config"]("seeds")))
        assert len(seeds.refs()) == 9 * 154
        assert (
            read_config(dict(made["get_config"]("14m")))
            .models[0]
            .startswith("EleutherAI/pythia-14m@")
        )


def test_every_setting_has_its_place():
    """A setting is a field of the config, or a flag of the run."""
    of_the_run = {"save_every", "cache_budget", "mesh", "batch"}
    assert of_the_run == set(OF_THE_RUN)
    settings = {field.name for field in dataclasses.fields(Settings)} - of_the_run
    assert settings <= set(config_dict())
    flags = jaxmap("score", "--help").out
    for name in {field.name for field in dataclasses.fields(Settings)} - {"tuned_lens"}:
        assert f"--{name}\n" in flags, name


def test_overrides_of_a_config(place):
    config = config_of(place)
    path = f"{place}/run0@step{{0,1}}"
    ran = sweep(
        config,
        place / "store",
        f"--config.models={path}",
        "--config.quantize=none,fp4",
        "--config.lens",
        "--config.limit=2",
    )
    assert (ran.code, ran.out) == (0, "4 scored, 0 already done, 0 failed\n")
    store = Store.open(place / "store")
    assert len(store.texts.text_bytes) == 2
    assert len(store.records()) == 2 * (4 + 1)


def test_models_of_a_file(place):
    listed = place / "list.json"
    listed.write_text('["org/a", "org/b@step{0,1}", "org/c"]')
    config = read_config({"models_file": str(listed), "models": "x/y"})
    assert [*map(str, config.refs())] == [
        "x/y", "org/a", "org/b@step0", "org/b@step1", "org/c",
    ]  # fmt: skip
    assert len(dataclasses.replace(config, first=1).refs()) == 2
    (place / "list.txt").write_text("# mine\norg/a  # the best\n\norg/b\n")
    config = read_config({"models_file": str(place / "list.txt")})
    assert [*map(str, config.refs())] == ["org/a", "org/b"]
    for content, words in (("{}", "not a list of names"), ("[1", "not JSON")):
        listed.write_text(content)
        with pytest.raises(InputError, match=words):
            read_config({"models_file": str(listed)}).refs()
    with pytest.raises(InputError, match="names no models"):
        read_config({}).refs()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config.modles=x"], "unknown field 'modles'; did you mean models?"),
        (["--config.batch_tokens=12x"], "--config.batch_tokens"),
        (["--config.first=-1"], "first: -1 is negative"),
        (["--config.dtype=float8"], "dtype: 'float8' is unknown"),
        (["--config.quantize=int3"], "'int3' is unknown"),
        (["--config.models_file=/none.json"], "/none.json: cannot be read: No such file"),
        (["--config.models=a{b"], "unbalanced brace"),
        (["--config=none.py"], "none.py: no such file"),
        (["--shard_index=2", "--shard_count=2"], "--shard_index=2: of --shard_count=2"),
        (["--cache_budget=12XB"], "--cache_budget: '12XB' is not a size"),
        (["--save_every=-1"], "save_every"),
    ],
)  # fmt: skip
def test_bad_values_are_one_line(arguments, words, tmp_path):
    texts = write_texts(tmp_path / "texts.jsonl")
    config = write_config(tmp_path / "config.py", ["org/a"], texts)
    ran = sweep(config, tmp_path / "store", *arguments)
    assert ran.code == 2
    [line] = ran.messages
    assert words in line
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("def get_config(): return {'modles': ()}", "unknown field 'modles'; did you mean models?"),
        ("def get_config(): return {'models': 3}", "models: 3 is not a list of names"),
        ("def get_config(): return {'lens': 1}", "lens: 1 is not of type bool"),
        ("def get_config(): return 1 / 0", "ZeroDivisionError"),
        ("def get_config(:", "SyntaxError"),
        ("x = 1", "has no get_config()"),
    ],
)
def test_bad_configs_are_one_line(code, words, tmp_path):
    (tmp_path / "config.py").write_text(code)
    ran = sweep(tmp_path / "config.py", tmp_path / "store")
    assert ran.code == 2
    [line] = ran.messages
    assert words in line
    assert str(tmp_path / "config.py") in line


def test_a_config_of_a_few_fields_serves(place):
    config = place / "few.py"
    config.write_text(f"def get_config(): return dict(models=['{place}/run0@step0'], "
                      f"texts='{place}/texts.jsonl')")  # fmt: skip
    assert sweep(config, place / "store").out.startswith("1 scored")
    ran = sweep(config, place / "store", "--config.lens")
    assert ran.code == 2
    assert "sets fewer fields than it may: unknown field 'lens'" in ran.err


def test_config_dict_refuses_what_is_unknown():
    with pytest.raises(InputError, match="did you mean texts"):
        config_dict(text="a")


# Statistics --------------------------------------------------------------------------------------


def test_a_statistic_that_is_added_is_computed_alone(place, monkeypatch):
    """To a finished store, with layers and a copy: nothing else is computed or written."""
    asked: list[tuple[str, ...]] = []
    real = checkpoint_scorer.score_rows

    def score_rows(*arguments, **options):
        asked.append(tuple(options["statistics"]))
        return real(*arguments, **options)

    monkeypatch.setattr(checkpoint_scorer, "score_rows", score_rows)
    flags = dict(lens=True, quantize="none,int8")
    model, texts, store = f"{place}/run0@step{{0,1}}", place / "texts.jsonl", place / "store"
    assert score_command(store, texts, model, **flags).code == 0
    whole = ("log_likelihood", "entropy")
    before = {path: path.read_bytes() for path in store.glob("records/*")}
    asked.clear()
    ran = score_command(store, texts, model, statistics="entropy", **flags)
    assert (ran.code, ran.out) == (0, "4 scored, 0 already done, 0 failed\n")
    assert asked == [("entropy",)] * 4
    assert all(path.read_bytes() == content for path, content in before.items())
    assert len(list(store.glob("records/*"))) == 2 * len(before)
    ran = score_command(store, texts, model, statistics=",".join(whole), **flags)
    assert (ran.code, ran.out) == (0, "0 scored, 4 already done, 0 failed\n")
    assert "done        8 of 8" in jaxmap("status", f"--store={store}").out

    # At once it is the same, from one scan.
    asked.clear()
    assert score_command(place / "at once", texts, model, statistics="entropy", **flags).code == 0
    assert asked == [whole] * 4
    one, two = Store.open(store), Store.open(place / "at once")
    for a, b in zip(one.records(), two.records(), strict=True):
        assert a.label == b.label
        assert a.statistics == b.statistics
        for name, array in one.load(a).arrays.items():
            np.testing.assert_allclose(array, two.load(b).arrays[name], rtol=1e-5, atol=1e-4)
    entropy_N = one.load(one.records()[0]).arrays["entropy"]
    assert (entropy_N >= 0).all()
    assert entropy_N.any()
    is_clean(store)


def test_statistics_per_token(place):
    model, texts, store = place / "run0" / "step0", place / "texts.jsonl", place / "store"
    flags = dict(statistics="token_log_likelihood,token_entropy")
    assert score_command(store, texts, model, **flags).code == 0
    opened = Store.open(store)
    [entry] = opened.records()
    kept = opened.load(entry)
    values_M, offsets_N1 = opened.load_tokens(entry, "token_log_likelihood")
    assert np.array_equal(np.diff(offsets_N1), kept.num_scored)
    sums_N = [float(values_M[a:b].astype(float).sum()) for a, b in itertools.pairwise(offsets_N1)]
    np.testing.assert_allclose(sums_N, kept.log_likelihood, rtol=1e-12)
    ran = score_command(store, texts, model, **flags)
    assert (ran.code, ran.out) == (0, "0 scored, 1 already done, 0 failed\n")
