"""Arrays by name: the table, further statistics of a result, arrays per token."""

from __future__ import annotations

import dataclasses
import json
import re

import numpy as np
import pytest
from safetensors import safe_open
from support import REPOSITORY
from support.stores import record, texts

from jaxmap.engine import statistics as engine
from jaxmap.errors import InputError, JaxmapError
from jaxmap.store import Item, Record, Store
from jaxmap.store.export import export
from jaxmap.store.statistics import (
    DEFAULT,
    SCORED,
    STATISTICS,
    TOKEN_PREFIX,
    parse_statistics,
    scored_as,
)
from jaxmap.variant import Variant

TEXTS = texts()
N = len(TEXTS)


def more(one: Record, **arrays: np.ndarray) -> Record:
    """Further statistics of a record."""
    return dataclasses.replace(one, arrays=arrays)


def per_token(one: Record, name: str = "token_entropy", dtype: str = "float32") -> Record:
    offsets_N1 = np.concatenate([[0], np.cumsum(one.num_scored)]).astype(np.int64)
    values_M = np.random.default_rng(3).normal(size=offsets_N1[-1]).astype(dtype)
    return dataclasses.replace(one, arrays={name: values_M}, offsets_N1=offsets_N1)


def test_the_engine_computes_what_can_be_scored():
    for name in SCORED:
        known = STATISTICS[name]
        computed = engine.STATISTICS[name.removeprefix(TOKEN_PREFIX)]
        assert computed.unit == known.unit
        assert (known.per == "token") == name.startswith(TOKEN_PREFIX)
        assert known.dtype == (computed.dtype if known.per == "token" else "float64")
        assert not computed.needs_reference


def test_names_of_statistics():
    assert parse_statistics([]) == DEFAULT == ("log_likelihood",)
    assert parse_statistics(["entropy"]) == ("log_likelihood", "entropy")
    asked = parse_statistics(["token_entropy", "entropy", "log_likelihood"])
    assert asked == ("log_likelihood", "entropy", "token_entropy")
    assert scored_as(asked) == (("log_likelihood", "entropy"), ("entropy",))
    assert scored_as(["token_entropy"]) == (("entropy",), ("entropy",))
    with pytest.raises(InputError, match=r"'entropie' is unknown; known: log_likelihood, "):
        parse_statistics(["entropie"])
    with pytest.raises(InputError, match="unknown"):
        parse_statistics(["pmi"])  # is no result of a model alone


def test_a_later_statistic_is_a_further_file(tmp_path):
    store = Store.create(tmp_path, TEXTS)
    one = record(TEXTS)
    item = Item("org/name", statistics=("log_likelihood", "entropy"))
    plain = dataclasses.replace(item, statistics=DEFAULT)
    store.ask([item])
    entry = store.add(one)
    content = entry.path.read_bytes()
    assert (store.is_done(plain), store.is_done(item)) == (True, False)
    assert store.missing() == [item]
    assert item.label == "org/name [entropy]"
    entropy_N = np.random.default_rng(1).uniform(1, 9, N)
    assert store.add(more(one, entropy=entropy_N)).path == entry.path
    assert entry.path.read_bytes() == content
    assert store.missing() == []
    for opened in (store, Store.open(tmp_path)):
        [found] = opened.records()
        assert found.statistics == {"log_likelihood", "num_tokens", "num_scored", "entropy"}
        assert found.label == "org/name"
        loaded = opened.load(found)
        assert loaded.arrays["entropy"].tobytes() == entropy_N.tobytes()
        assert loaded.log_likelihood.tobytes() == one.log_likelihood.tobytes()
        assert loaded.arrays["entropy"].dtype == np.float64
        assert opened.is_done(item)
        assert opened.superseded() == []
    assert sorted(path.name.partition("-")[2][:4] for path in (tmp_path / "records").iterdir())
    names = [path.name for path in (tmp_path / "records").iterdir()]
    assert sorted(name.endswith("+entropy.safetensors") for name in names) == [False, True]

    # What is there already is not written again, with whatever it comes.
    again = more(one, entropy=entropy_N + 1, log_likelihood=one.log_likelihood + 1)
    store.add(again)
    assert store.load(found).arrays["entropy"].tobytes() == entropy_N.tobytes()
    assert entry.path.read_bytes() == content
    assert len(list((tmp_path / "records").iterdir())) == 2


def test_statistics_of_different_variants_stay_apart(tmp_path):
    store = Store.create(tmp_path, TEXTS)
    whole, layer = record(TEXTS), record(TEXTS, layer=0)
    for one in (whole, layer):
        store.add(one)
    store.add(more(layer, entropy=np.ones(N)))
    found = {entry.label: entry.statistics for entry in store.records()}
    assert ["entropy" in names for names in found.values()] == [False, True]
    lens = Item("org/name", None, Variant(lens="logit"), ("log_likelihood", "entropy"))
    assert not store.is_done(lens)


@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_file_of_two(lost, tmp_path):
    """Without its vector a result is not shown, and is completed; without a statistic it is."""
    store = Store.create(tmp_path, TEXTS)
    one = record(TEXTS)
    item = Item("org/name", statistics=("log_likelihood", "entropy"))
    store.add(one)
    store.add(more(one, entropy=np.ones(N)))
    paths = sorted((tmp_path / "records").iterdir())
    main = next(path for path in paths if "+entropy" not in path.name)
    gone = main if lost == 0 else next(path for path in paths if path != main)
    gone.write_bytes(gone.read_bytes()[:-3])
    store = Store.open(tmp_path)
    assert list(store.corrupt()) == [gone]
    assert not store.is_done(item)
    assert len(store.records()) == lost
    assert len(store.entries()) == 1
    store.add(dataclasses.replace(one, arrays={**one.arrays, "entropy": np.ones(N)}))
    assert store.corrupt() == {}
    assert store.is_done(item)
    [found] = store.records()
    assert store.load(found).arrays.keys() == {*one.arrays, "entropy"}


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_arrays_per_token(dtype, tmp_path):
    store = Store.create(tmp_path, TEXTS)
    one = record(TEXTS)
    store.add(one)
    tokens = per_token(one, dtype=dtype)
    store.add(tokens)
    item = Item("org/name", statistics=("log_likelihood", "token_entropy"))
    store = Store.open(tmp_path)
    assert store.is_done(item)
    [entry] = store.records()
    assert "token_entropy" not in store.load(entry).arrays
    values_M, offsets_N1 = store.load_tokens(entry, "token_entropy")
    assert values_M.dtype == np.dtype(dtype)
    assert values_M.tobytes() == tokens.arrays["token_entropy"].tobytes()
    assert np.array_equal(np.diff(offsets_N1), one.num_scored)
    with pytest.raises(KeyError, match="token_log_likelihood"):
        store.load_tokens(entry, "token_log_likelihood")
    [path] = (tmp_path / "token_arrays").iterdir()
    assert path.name.endswith("+token_entropy.safetensors")

    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(JaxmapError, match="checksum"):
        store.load_tokens(entry, "token_entropy")
    path.write_bytes(content[:-10])
    assert not Store.open(tmp_path).is_done(item)
    assert list(Store.open(tmp_path).corrupt()) == [path]


def test_what_is_refused(tmp_path):
    store = Store.create(tmp_path, TEXTS)
    one = record(TEXTS)
    with pytest.raises(ValueError, match="no statistic of"):
        store.add(more(one, entropie=np.ones(N)))
    with pytest.raises(ValueError, match="shape"):
        store.add(more(one, entropy=np.ones(N + 1)))
    with pytest.raises(InputError, match=r"values of entropy of 1 of 50 texts are NaN"):
        store.add(more(one, entropy=np.r_[np.ones(N - 1), np.nan]))
    with pytest.raises(ValueError, match="offsets of 50 texts"):
        store.add(more(one, token_entropy=np.ones(10, np.float32)))
    with pytest.raises(ValueError, match="shape"):
        store.add(dataclasses.replace(per_token(one), arrays={"token_entropy": np.ones(3)}))
    bad = per_token(one)
    bad.arrays["token_entropy"][7] = np.inf
    with pytest.raises(InputError, match=r"of 1 of \d+ tokens are NaN"):
        store.add(bad)
    assert store.entries() == []
    assert not list((tmp_path / "token_arrays").glob("*"))


def test_an_export_has_what_is_there(tmp_path):
    store = Store.create(tmp_path / "store", TEXTS)
    one, other = record(TEXTS, "a"), record(TEXTS, "b")
    for each in (one, other):
        store.add(each)
    export(store, tmp_path / "before.npz")
    store.add(per_token(one))
    export(store, tmp_path / "per_token.npz")
    assert (tmp_path / "per_token.npz").read_bytes() == (tmp_path / "before.npz").read_bytes()
    entropy_N = np.random.default_rng(1).uniform(1, 9, N)
    store.add(more(other, entropy=entropy_N))
    for ending in ("npz", "csv", "nc"):
        export(store, tmp_path / f"all.{ending}")
    found = np.load(tmp_path / "all.npz")
    before = np.load(tmp_path / "before.npz")
    assert set(found.files) - set(before.files) == {"entropy"}
    assert all(found[name].tobytes() == before[name].tobytes() for name in before.files)
    wanted_KN = np.stack([np.full(N, np.nan), entropy_N])
    np.testing.assert_array_equal(found["entropy"], wanted_KN)
    np.testing.assert_array_equal(store.dataset()["entropy"].values, wanted_KN)
    import xarray

    with xarray.open_dataset(tmp_path / "all.nc") as opened:
        np.testing.assert_array_equal(opened["entropy"].values, wanted_KN)
    lines = (tmp_path / "all.csv").read_text().splitlines()
    assert lines[0] == "model,text,log_likelihood,num_tokens,entropy"
    assert float(lines[-1].split(",")[-1]) == entropy_N[-1]


def test_the_page_on_the_format(tmp_path, monkeypatch, capsys):
    """Its program reads a store, and its tables name every array and key that there is."""
    page = (REPOSITORY / "docs" / "store-format.md").read_text("utf-8")
    for name in STATISTICS:
        assert f"`{name}`" in page
    store = Store.create(tmp_path / "store", TEXTS)
    store.add(record(TEXTS, "org/name", "step7"))
    monkeypatch.chdir(tmp_path)
    [program] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(compile(program, "store-format.md", "exec"), {})
    assert capsys.readouterr().out == (
        "org/name step7 None ['log_likelihood', 'num_scored', 'num_tokens']\n"
    )
    [path] = (tmp_path / "store" / "records").iterdir()
    with safe_open(path, framework="numpy") as file:
        facts = json.loads(file.metadata()["jaxmap"])
    for key in (*facts, *facts["identity"]):
        assert f"`{key}`" in page, key
