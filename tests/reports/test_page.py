"""The page: it holds what the store holds, loads nothing, and trusts no name."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest
from support.pages import data_of, rows_of, two_runs, written
from support.stores import filled, record, texts

from jaxmap.analysis.context import Context
from jaxmap.analysis.genealogy import ask_nobody
from jaxmap.analysis.runs import runs_of
from jaxmap.figures.digits import with_error
from jaxmap.reports.page import make_report
from jaxmap.reports.svg import inline_svg
from jaxmap.store import Store
from jaxmap.store.requests import Failure, Item


def scores(store, run, row):
    return store.load(run.entries[row]).log_likelihood


def test_the_page_loads_nothing_and_its_parts_find_one_another(tmp_path):
    _, store = two_runs(tmp_path / "store")
    text, page = written(store, tmp_path / "report.html")
    assert text.startswith("<!DOCTYPE html>")
    assert all(one.startswith(("#", "data:text/csv;")) for one in page.loads)
    assert not {"link", "iframe", "img", "object"} & page.tags
    assert "default-src 'none'" in text
    assert "http:" not in text
    assert "https:" not in text
    assert "@import" not in text
    assert len(page.ids) == len(set(page.ids))
    inside = {one[1:] for one in page.loads if one.startswith("#")}
    referred = set(re.findall(r"url\(#([^)]+)\)", text)) | inside
    assert referred
    assert referred <= set(page.ids)
    assert re.findall(r"url\((?!#)", text) == []
    assert text.count("<svg") == 4  # scale, learning, consecutive, dynamics
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text


def test_the_page_tells_the_numbers(tmp_path):
    of, store = two_runs(tmp_path / "store")
    _, page = written(store, tmp_path / "report.html", title="A title", notes=["A note."])
    runs = runs_of(store)
    assert [run.name for run in runs] == ["pythia-14m-seed1", "pythia-14m"]  # small to large
    for run in runs:
        for row in (0, -1):
            bits = -scores(store, run, row).sum() / np.log(2) / of.num_bytes.sum()
            assert f"{bits:.3f}"[:4] in page.words
    apart = scores(store, runs[0], -1) - scores(store, runs[1], -1)
    kl = np.var(apart) / (2 * of.num_bytes.mean() * np.log(2))
    (found,) = rows_of(page, "nearest.csv")[0:1]
    assert float(found["kl_bits_per_byte"]) == pytest.approx(kl, rel=1e-9)
    error = float(found["kl_standard_error"])
    assert with_error(kl, error) in page.words
    for words in ("A title", "A note.", of.fingerprint, of.source, "sha256 t0", "1,000,000"):
        assert words in page.words
    assert "What failed" not in page.words


def test_names_and_reasons_cannot_become_markup(tmp_path):
    evil = '<script>alert("1")</script>&amp;'
    _, store = two_runs(tmp_path / "store", names=(f"org/{evil}", "org/b"))
    item = Item(f"org/{evil}", "step9")
    store.ask([item])
    store.add_failure(Failure(item, f"reason {evil}"))
    text, page = written(store, tmp_path / "report.html", title=evil, lead=evil, notes=[evil])
    assert text.count("<script") == 3  # data, plotly, ours
    assert evil in page.words
    labels = data_of(tmp_path / "report.html")["maps"][0]["labels"]
    assert f"{evil.rpartition('/')[2]}@step0" in labels
    assert f"reason {evil}" in page.words
    assert "What failed" in page.words


def test_missing_models_are_told(tmp_path):
    _, store = two_runs(tmp_path / "store")
    store.ask([Item("org/pythia-14m", "step5000")])
    _, page = written(store, tmp_path / "report.html")
    assert "Asked for and not scored yet: 1." in page.words


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_store_without_runs_has_a_page_too(tmp_path, count):
    of = texts()
    store, _ = filled(tmp_path / "store", of, *(record(of, f"org/m{i}") for i in range(count)))
    text, page = written(store, tmp_path / "report.html")
    assert text.count("<svg") == (count == 3)  # KL between models
    assert of.fingerprint in page.words
    assert ("script" in page.tags) == (count == 3)
    assert not (tmp_path / "figures").exists()


def test_inlined_pictures_take_the_colours_of_the_page():
    svg = (
        '<?xml version="1.0"?><!DOCTYPE svg><svg xmlns="http://x" width="5pt" height="3pt" '
        'viewBox="0 0 5 3"><metadata>http://y</metadata><g id="a" clip-path="url(#a)" '
        'style="fill: #ffffff; stroke: #1f2328"/></svg>'
    )
    assert inline_svg(svg, "f1") == (
        '<svg viewBox="0 0 5 3" role="img"><g id="f1-a" clip-path="url(#f1-a)" '
        'style="fill: none; stroke: var(--ink)"/></svg>'
    )


def test_the_floor_of_a_precision_is_told(tmp_path):
    of = texts()
    rng = np.random.default_rng(0)
    scores = -3.0 * of.num_bytes
    half = scores + rng.normal(0, 0.5, len(of))
    store, _ = filled(
        tmp_path / "store",
        of,
        record(of, "org/a", scores=scores),
        record(of, "org/a", dtype="bfloat16", scores=half, is_default_dtype=False),
    )
    _, page = written(store, tmp_path / "report.html")
    kl = np.var(half - scores) / (2 * of.num_bytes.mean() * np.log(2))
    assert "Precision floor" in page.words
    (found,) = rows_of(page, "floor.csv")
    assert float(found["kl_bits_per_byte"]) == pytest.approx(kl, rel=1e-9)
    assert with_error(kl, float(found["standard_error"])) in page.words


def test_no_result_is_read_more_often_than_needed(mapped, tmp_path, monkeypatch):
    """Vectors are read once for each way of cleaning them, not for each part of the page."""
    store = Store.open(mapped[0].path)
    read = []
    load = Store.load

    def counted(self, entry):
        read.append(entry.path)
        return load(self, entry)

    monkeypatch.setattr(Store, "load", counted)
    make_report(Context(store, ask=ask_nobody)).write(tmp_path / "report.html")
    assert len(set(read)) == len(store.records())
    assert max(Counter(read).values()) <= 4
    assert len(read) <= 2.8 * len(set(read))
