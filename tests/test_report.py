"""The page: it holds what the store holds, loads nothing, and trusts no name."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from stores import filled, record, texts

from jaxmap.report.page import inline_svg, write_report
from jaxmap.report.runs import runs_of
from jaxmap.work import Failure, Item

VOID = {"meta", "br", "hr", "img", "link", "input"}
LOADS = {"src", "href", "xlink:href", "data", "poster", "srcset", "action", "background"}


class Page(HTMLParser):
    """Checks that elements nest, and gathers ids, references and text."""

    def __init__(self, text: str):
        super().__init__()
        self.stack: list[str] = []
        self.ids: list[str] = []
        self.loads: list[str] = []
        self.tags: set[str] = set()
        self.words = ""
        self.feed(text)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in LOADS:
                self.loads.append(value)
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.stack.pop()

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if "style" not in self.stack:
            self.words += data


def two_runs(path: Path, names=("org/pythia-14m", "org/pythia-14m-seed1")):
    of = texts()
    rng = np.random.default_rng(0)
    records = []
    for name, parameters in zip(names, (2_000_000, 1_000_000), strict=True):
        scores = -3.0 * of.num_bytes
        for step in (0, 1, 1000, 3000):
            scores = scores * 0.8 + rng.normal(0, 30, len(of))
            model = {"num_parameters": parameters}
            records.append(record(of, name, f"step{step}", scores=scores, model=model))
    return of, filled(path, of, *records)[0]


def written(store, out: Path, **options) -> tuple[str, Page]:
    write_report(store, out, **options)
    text = out.read_text(encoding="utf-8")
    return text, Page(text)


def test_the_page_loads_nothing_and_its_parts_find_one_another(tmp_path):
    _, store = two_runs(tmp_path / "store")
    text, page = written(store, tmp_path / "report.html")
    assert text.startswith("<!DOCTYPE html>")
    assert all(reference.startswith("#") for reference in page.loads)
    assert not {"script", "link", "iframe", "img", "object"} & page.tags
    assert "http" not in text
    assert "@import" not in text
    assert len(page.ids) == len(set(page.ids))
    referred = set(re.findall(r"url\(#([^)]+)\)", text)) | {one[1:] for one in page.loads}
    assert referred
    assert referred <= set(page.ids)
    assert re.findall(r"url\((?!#)", text) == []
    assert text.count("<svg") == 2
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text


def test_the_page_tells_the_numbers(tmp_path):
    of, store = two_runs(tmp_path / "store")
    _, page = written(store, tmp_path / "report.html", title="A title", notes=["A note."])
    runs = runs_of(store)
    assert [run.name for run in runs] == ["pythia-14m-seed1", "pythia-14m"]  # small to large
    for run in runs:
        for row in (0, -1):
            bits = -run.ll_IN[row].sum() / np.log(2) / of.num_bytes.sum()
            assert f"{bits:.3f} ±" in page.words
    kl = np.var(runs[0].ll_IN[-1] - runs[1].ll_IN[-1]) / (2 * of.num_bytes.mean() * np.log(2))
    assert f"{kl:.4f} ±" in page.words
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
    assert "script" not in page.tags
    assert "<script" not in text
    assert evil in page.words
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
    assert "<svg" not in text
    assert of.fingerprint in page.words
    assert not (tmp_path / "figures").exists()


def test_layers_are_no_checkpoints_of_a_run(tmp_path):
    of = texts()
    records = [
        record(of, "org/a", f"step{step}", layer=layer, num_layers=1)
        for step in (0, 1)
        for layer in (None, 0, 1)
    ]
    store, _ = filled(tmp_path / "store", of, *records)
    (run,) = runs_of(store)
    assert run.step_I.tolist() == [0, 1]


def test_runs_of_one_name_from_two_places_keep_their_places(tmp_path):
    _, store = two_runs(tmp_path / "store", names=("one/a", "two/a"))
    assert sorted(run.name for run in runs_of(store)) == ["one/a", "two/a"]


def test_steps_are_in_order_of_training_when_folders_name_them(tmp_path):
    of = texts()
    records = [record(of, f"/models/run/step{step}") for step in (10, 2, 0)]
    store, _ = filled(tmp_path / "store", of, *records)
    (run,) = runs_of(store)
    assert run.name == "run"
    assert run.step_I.tolist() == [0, 2, 10]


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
