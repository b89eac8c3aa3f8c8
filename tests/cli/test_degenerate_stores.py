"""Checkpoints and models that are all alike, or very few: every command works or says why not."""

from __future__ import annotations

import contextlib
import csv

import numpy as np
import pytest
from support.stores import filled, record, texts

import jaxmap
from jaxmap.analysis import genealogy
from jaxmap.cli.program import run
from jaxmap.errors import InputError
from jaxmap.figures.figure import svg_of

TEXTS = texts(60)
BASE = -3.0 * TEXTS.num_bytes
STEPS = (0, 1, 2, 4, 8, 16, 32, 64)
RNG = np.random.default_rng(0)


def steps(*scores, times=STEPS):
    return [
        record(TEXTS, "org/run", f"step{t}", scores=s) for t, s in zip(times, scores, strict=False)
    ]


def other():
    return BASE + RNG.normal(0, 5, 60)


def near(size):
    return [BASE + size * RNG.normal(size=60) for _ in STEPS]


def models(count, **facts):
    return [record(TEXTS, f"org/m{k}", scores=BASE, **facts) for k in range(count)]


STORES = {
    "all the same": steps(*[BASE] * 8),
    "all but one the same": steps(*[BASE] * 7, other()),
    "two clusters": steps(*[BASE] * 4, *[other()] * 4),
    "the same but for rounding": steps(*near(1e-12)),
    "two steps": steps(BASE, BASE),
    "three steps": steps(BASE, BASE, other()),
    "the same after warmup": steps(*[BASE] * 16, times=range(1000, 17000, 1000)),
    "two models": models(2),
    "six models": [*models(6), *models(6, quantisation="int8")],
    "layers": [*models(1), *(record(TEXTS, "org/m0", layer=k, num_layers=5, scores=BASE)
                             for k in range(6))],
    "one model": models(1),
    "nothing": [],
}  # fmt: skip


ASKED = {
    "kl": lambda store: jaxmap.kl(store),
    "consecutive kl": lambda store: jaxmap.kl(store, pairs="consecutive"),
    "map": lambda store: jaxmap.make_map(store),
    "scale": lambda store: jaxmap.scale(store, warmup_steps=1),
    "diffusion": lambda store: jaxmap.diffusion(store, start_from=0, window=3),
    "report": lambda store: jaxmap.report(store, warmup_steps=1),
    "status": lambda store: jaxmap.status(store),
}


@pytest.mark.parametrize("name", STORES)
def test_everything_works_or_says_why_not(tmp_path, name, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    store, _ = filled(tmp_path / "store", TEXTS, *STORES[name])
    if name == "six models":
        parents = {f"org/m{k}": (f"org/m{k - 1}",) if k else () for k in range(6)}
        genealogy.save_known(store.path, parents, None)
    worked = set()
    for asked, call in ASKED.items():
        with contextlib.suppress(InputError):  # anything else would be a fault
            result = call(store)
            assert result.to_dataframe() is not None
            for figure in result.draw().values():
                assert svg_of(figure).startswith("<?xml")
            worked.add(asked)
    assert worked >= {"report", "status"}
    assert ("kl" in worked) == (len(STORES[name]) > 1)
    if len(STORES[name]) > 6:
        assert "map" in worked


def test_the_same_checkpoints_are_named_by_every_command(tmp_path, capsys):
    store, _ = filled(tmp_path / "store", TEXTS, *STORES["all the same"])
    told = "org/run: steps 0, 1, 2, 4, 8, 16, 32 and 64 have the same weights"
    for command in ("map", "diffusion --start_from=0 --window=3", "scale --warmup_steps=1"):
        name, *more = command.split()
        assert run([name, f"--store={store.path}", f"--out={tmp_path}/{name}", *more]) == 0
        assert told in capsys.readouterr().out
    with open(tmp_path / "diffusion/diffusion.csv") as file:
        assert {row["exponent"] for row in csv.DictReader(file)} == {"nan"}
    assert not list((tmp_path / "diffusion").glob("*.png"))
    assert not (tmp_path / "map/map_trajectories_tsne.png").exists()
    assert (tmp_path / "map/map_trajectories_pca.png").exists()
    assert run(["status", f"--store={store.path}"]) == 0
    assert told in capsys.readouterr().out
    assert run(["report", f"--store={store.path}", f"--out={tmp_path}/r.html"]) == 0
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert told in page
    assert "exponents: no start has a finite one: after each, the distance to fewer than 3" in page
    for command in ("scale --warmup_steps=32", "diffusion --start_from=1000"):
        name, *more = command.split()
        with pytest.raises(InputError, match=r"no run has (three neigh|10 saved)"):
            run([name, f"--store={store.path}", f"--out={tmp_path}/{name}", *more])


def test_what_would_fit_is_named(tmp_path):
    store, _ = filled(tmp_path / "store", TEXTS, *steps(*[other() for _ in STEPS]))
    at = [f"--store={store.path}", f"--out={tmp_path}/out"]
    assert run(["diffusion", *at]) == 0  # the warmup follows the run, the window what is there
    with pytest.raises(InputError, match="--start_from=0 with --window=7 fits"):
        run(["diffusion", *at, "--window=10"])
    assert run(["diffusion", *at, "--start_from=0", "--window=7"]) == 0
    with pytest.raises(InputError, match="--window=4 fits"):
        run(["diffusion", *at, "--start_from=4", "--window=10"])
    with pytest.raises(InputError, match="--start_from=2 or --window=4 fits"):
        run(["diffusion", *at, "--start_from=4", "--window=5"])
    with pytest.raises(InputError, match="--warmup_steps=16 leaves some"):
        run(["scale", *at, "--warmup_steps=2000"])
    assert run(["scale", *at, "--warmup_steps=16"]) == 0
    assert run(["scale", *at]) == 0
