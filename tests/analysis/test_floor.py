"""The choices of --dtype, the precision floor, and what is marked by it."""

from __future__ import annotations

import csv
import re

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from support.checkpoints import LLAMA, NEOX, jaxmap, make_checkpoint, score, write_texts
from support.stores import filled, record
from support.stores import texts as fake_texts
from support.token_sets import make_tokens

from jaxmap.analysis.context import Context
from jaxmap.analysis.floor import Floor, Floors, measure_floors
from jaxmap.analysis.scale import measure_scale
from jaxmap.checkpoint import weights
from jaxmap.corpus.batches import batches, plan
from jaxmap.engine.scorer import Scorers
from jaxmap.figures.digits import number, with_error
from jaxmap.model.decoder import named
from jaxmap.model.layers.linear import computing_in, contract
from jaxmap.reports.page import make_report
from jaxmap.store import Store

random = np.random.default_rng(3)
TEXTS = fake_texts(60)


def kl_of(a_N, b_N, mean_bytes) -> tuple[float, float]:
    """KL and its standard error as the method states them."""
    d_N = np.asarray(a_N) - np.asarray(b_N)
    d_N = d_N - d_N.mean()
    m2, m4 = (d_N**2).mean(), (d_N**4).mean()
    unit = 2 * mean_bytes * np.log(2)
    return m2 / unit, np.sqrt((m4 - m2**2) / len(d_N)) / unit


# Three passes ------------------------------------------------------------------------------------


def halves(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    high = x.astype(ml_dtypes.bfloat16).astype(np.float64)
    return high, (x - high).astype(ml_dtypes.bfloat16).astype(np.float64)


def test_three_passes_are_what_they_say():
    x, w = (random.normal(size=shape).astype(np.float32) for shape in ((40, 96), (96, 50)))
    with computing_in("bfloat16_3x"):
        ours = np.asarray(contract("nd,df->nf", jnp.asarray(x), jnp.asarray(w)))
    (xh, xl), (wh, wl) = halves(x), halves(w)
    np.testing.assert_allclose(ours, xh @ wh + xl @ wh + xh @ wl, rtol=0, atol=2e-5)
    exact = x.astype(np.float64) @ w
    error = np.abs(ours - exact).max()
    assert 5e-5 < error < 5e-4  # float32 leaves 1e-5, bfloat16 0.1
    plain = np.asarray(contract("nd,df->nf", jnp.asarray(x), jnp.asarray(w)))
    assert np.abs(plain - exact).max() < 2e-5
    with computing_in("bfloat16_3x"):  # what must be float32 stays so
        same = contract("nd,df->nf", jnp.asarray(x), jnp.asarray(w), exact=True)
    np.testing.assert_array_equal(same, plain)


def test_float16_weights_are_two_bfloat16_numbers():
    """All of them, the smallest too: nothing of a Pythia's weights is rounded."""
    every = np.arange(2**16, dtype=np.uint16).view(np.float16).astype(np.float32)
    every = every[np.isfinite(every)]
    one = jnp.ones((1, 1), jnp.float32)
    with computing_in("bfloat16_3x"):
        again = contract("ab,nb->an", one, jnp.asarray(every)[:, None].astype(jnp.float16))
    np.testing.assert_array_equal(np.asarray(again)[0], every)


def products(model) -> list[str]:
    """The dtypes of the operands of every matrix product of the program that scores."""
    tokens = make_tokens([np.arange(30, dtype=np.int32)])
    batch = next(batches(tokens, plan(tokens, batch_tokens=64)))
    program = Scorers().of(model).lower(model.params, batch).as_text()
    return re.findall(r"stablehlo\.dot_general.*: \(tensor<[0-9x]*x(\w+)>", program)


@pytest.mark.parametrize("config", [NEOX, LLAMA], ids=["gpt_neox", "llama"])
def test_every_product_is_in_three_passes(config, tmp_path):
    folder = make_checkpoint(tmp_path, config, dtype="float16")
    plain = products(weights.load(folder, dtype="float32"))
    passes = products(weights.load(folder, dtype="bfloat16_3x"))
    assert set(plain) == {"f32"}
    assert passes == ["bf16"] * 3 * len(plain)


def test_bfloat16_weights_take_two_passes(tmp_path):
    folder = make_checkpoint(tmp_path, LLAMA, dtype="bfloat16")
    plain = products(weights.load(folder, dtype="float32"))
    passes = products(weights.load(folder, dtype="bfloat16_3x"))
    weighty = 8  # seven in a layer, and the readout; the others are attention's
    assert passes == ["bf16"] * (2 * weighty + 3 * (len(plain) - weighty))


def test_weights_are_held_as_stored(tmp_path):
    folder = make_checkpoint(tmp_path, NEOX, dtype="float16")
    whole = named(weights.load(folder, dtype="float32").params)
    model = weights.load(folder, dtype="bfloat16_3x")
    for path, leaf in named(model.params).items():
        multiplied = path.endswith("/kernel") or path in ("embed", "head")
        assert leaf.dtype == (jnp.float16 if multiplied else jnp.float32), path
        np.testing.assert_array_equal(leaf[...].astype(jnp.float32), whole[path][...])
    assert (model.dtype, model.stored_dtype) == ("bfloat16_3x", "float16")


# The command -------------------------------------------------------------------------------------


def test_floors_of_checkpoints(tmp_path, monkeypatch):
    folders = [
        make_checkpoint(tmp_path / "neox", NEOX, dtype="float16", seed=1),
        make_checkpoint(tmp_path / "llama", LLAMA),
    ]
    texts, store = write_texts(tmp_path / "texts.jsonl"), tmp_path / "store"
    loads = []
    load = weights.load
    monkeypatch.setattr(weights, "load", lambda *a, **k: loads.append(k["dtype"]) or load(*a, **k))

    def run(dtypes, **more):
        flags = {"store": store, "texts": texts, "models": ",".join(map(str, folders)), **more}
        return jaxmap("floor", f"--dtypes={dtypes}", *(f"--{k}={v}" for k, v in flags.items()))

    ran = run("bfloat16,float16,bfloat16_3x", out=tmp_path / "floor.csv")
    assert ran.code == 0, ran
    assert loads == ["float32", "bfloat16", "float16", "bfloat16_3x"] * 2
    with open(tmp_path / "floor.csv") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["model", "dtype", "kl_bits_per_byte", "standard_error"]
    assert len(rows) == 6
    opened = Store.open(store)
    entries = {entry.label: entry for entry in opened.records()}
    kls = {}
    for row in rows:
        name = row["model"].removesuffix(f"+{row['dtype']}")
        vectors = opened.log_likelihoods([entries[name], entries[row["model"]]])
        expected = kl_of(*vectors, opened.texts.mean_bytes)
        found = float(row["kl_bits_per_byte"]), float(row["standard_error"])
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        kls[name, row["dtype"]] = found[0]
        assert row["model"] in str(ran)
    for folder in map(str, folders):
        three, half, brain = (kls[folder, d] for d in ("bfloat16_3x", "float16", "bfloat16"))
        assert 0 < 1e3 * three < half < brain / 10

    # Asked again, and for what `score` did before: nothing is scored twice.
    assert score(store, texts, folders[0], dtype="bfloat16_3x").code == 0
    again = run("bfloat16")
    assert len(loads) == 8
    assert "bfloat16" in str(again)
    assert "float16 " not in str(again).replace("bfloat16", "")


def test_dtypes_that_tell_nothing(tmp_path):
    texts = write_texts(tmp_path / "texts.jsonl")
    flags = f"--store={tmp_path / 'store'}", f"--texts={texts}", "--models=no/where"
    known = "known: bfloat16, float16, bfloat16_3x"
    for dtypes, told in (("float32", f"compare with float32; {known}"), ("int4", known)):
        ran = jaxmap("floor", *flags, f"--dtypes={dtypes}")
        assert ran.code == 2
        assert told in str(ran)
    assert not (tmp_path / "store").exists()


# What a store tells ------------------------------------------------------------------------------


def noisy(scores, nats):
    return scores + random.normal(0, nats, len(TEXTS))


def one(name, scores, dtype="float32", **more):
    facts = {"model_type": "llama"}
    return record(TEXTS, name, scores=scores, dtype=dtype, model=facts, **more)


def test_only_the_same_checkpoint_is_compared(tmp_path):
    scores = -700 + 50 * random.normal(size=len(TEXTS))
    half = noisy(scores, 1)
    store, _ = filled(
        tmp_path,
        TEXTS,
        one("org/a", scores),
        one("org/a", half, "bfloat16", is_default_dtype=False),
        one("org/a", noisy(scores, 9), "bfloat16", is_default_dtype=False, quantisation="int8"),
        one("org/a", noisy(scores, 9), "bfloat16", is_default_dtype=False, layer=1),
        one("org/b", scores, commit="old"),
        one("org/b", noisy(scores, 9), "bfloat16", is_default_dtype=False, commit="new"),
        one("org/c", noisy(scores, 9), "bfloat16", is_default_dtype=False),
    )
    [floor] = measure_floors(Context(store)).found
    assert floor.entry.label == "org/a+bfloat16"
    expected = kl_of(scores, half, store.texts.mean_bytes)
    np.testing.assert_allclose((floor.kl, floor.standard_error), expected, rtol=1e-6)
    assert measure_floors(Context(store), models=[("org/b", None)]).found == ()
    assert measure_floors(Context(store), dtypes=["float16"]).found == ()


def test_whose_floor_a_result_has(tmp_path):
    scores = np.zeros(len(TEXTS))
    _, (a, b, c, d) = filled(
        tmp_path,
        TEXTS,
        one("org/a", scores, "bfloat16"),
        one("org/b", scores, "bfloat16"),
        one("org/c", scores, "bfloat16"),
        one("org/c", scores, "float32"),
    )
    floors = Floors((Floor(a, 3e-5, 0.0), Floor(b, 1e-5, 0.0)))
    assert floors.of([a, b]) == 3e-5
    assert floors.of([b, c]) == 1e-5  # of those that were measured themselves
    assert floors.of([c]) == 3e-5  # none was: the largest
    assert floors.of([d]) is None  # float32 is the reference
    assert floors.of([d, b]) == 1e-5
    assert Floors(()).of([a]) is None


@pytest.fixture(scope="module")
def rough(tmp_path_factory):
    """Models scored in bfloat16, two of them in float32 too."""
    folder = tmp_path_factory.mktemp("rough")
    records = []
    for k in range(4):
        scores = -700 + 50 * random.normal(size=len(TEXTS))
        low = noisy(scores, 0.5)
        records.append(one(f"org/m{k}", low, "bfloat16"))
        records.append(one(f"org/m{k}", noisy(low, 1), "bfloat16", quantisation="int8"))
        records.append(one(f"org/m{k}", noisy(low, 20), "bfloat16", quantisation="fp4"))
        if k < 2:
            records.append(one(f"org/m{k}", scores, is_default_dtype=False))
    return filled(folder / "store", TEXTS, *records)[0], folder


def test_rows_near_their_floor_are_marked(rough):
    store, folder = rough
    floors = measure_floors(Context(store))
    assert len(floors.found) == 2
    scale = measure_scale(Context(store))
    scale.save(folder / "out")
    rows = {row.setting.name: row for row in scale.rows}
    assert rows["8-bit"].floor == rows["4-bit"].floor == floors.found[0].kl
    assert floors.found[0].kl > floors.found[1].kl
    near = {name: row.near_floor for name, row in rows.items() if row.summary.n}
    assert near == {"8-bit": True, "4-bit": False}
    marked = [line for line in scale.text().splitlines() if "may be rounding" in line]
    assert [line.split()[0] for line in marked] == ["8-bit"]
    with open(folder / "out" / "scale.csv") as file:
        table = {row["setting"]: row for row in csv.DictReader(file)}
    assert list(table["8-bit"])[:6] == ["setting", "median", "mean", "q25", "q75", "n"]
    assert (table["8-bit"]["near_floor"], table["4-bit"]["near_floor"]) == ("yes", "no")
    assert float(table["4-bit"]["floor"]) == floors.found[0].kl
    assert (table["ft"]["floor"], table["ft"]["near_floor"]) == ("", "")


def test_the_report_tells_the_floor(rough):
    store, folder = rough
    make_report(Context(store)).write(folder / "report.html")
    page = re.sub(r"<[^>]+>", " ", (folder / "report.html").read_text(encoding="utf-8"))
    words = " ".join(page.split())
    floor = measure_floors(Context(store)).found[0]
    assert with_error(floor.kl, floor.standard_error) in words
    assert "* The median is less than 10 times its floor" in words
    assert f"{number(floor.kl, 1)} *" in words
    held = words.split("The largest floor of each precision beside")[1]
    share = floor.kl / measure_scale(Context(store)).rows[4].summary.median
    assert f"{100 * share:.2g} % 8-bit" in held


def test_without_floors_nothing_is_said(tmp_path):
    scores = -700 + 50 * random.normal(size=len(TEXTS))
    store, _ = filled(
        tmp_path / "store",
        TEXTS,
        *(one(f"org/m{k}", noisy(scores, 30)) for k in range(2)),
        *(one(f"org/m{k}", noisy(scores, 1), quantisation="int8") for k in range(2)),
    )
    assert "floor" not in measure_scale(Context(store)).text().splitlines()[0]
    make_report(Context(store)).write(tmp_path / "report.html")
    assert "Precision floor" not in (tmp_path / "report.html").read_text(encoding="utf-8")
