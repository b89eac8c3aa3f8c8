"""Pages for tests: reading them, and a store of two runs to write one about."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np

from jaxmap.analysis.context import Context
from jaxmap.analysis.genealogy import ask_nobody
from jaxmap.reports.page import make_report
from support.stores import filled, record, texts

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
        self.files: list[tuple[str, str]] = []
        self.words = ""
        self.feed(text)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if "download" in dict(attrs):
            self.files.append((dict(attrs)["download"], dict(attrs)["href"]))
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
        if not {"style", "script"} & set(self.stack):
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
    """The page without what its scripts say, and all of it, read."""
    make_report(Context(store, ask=ask_nobody), **options).write(out)
    text = out.read_text(encoding="utf-8")
    page = Page(text)
    return re.sub(r"(<script[^>]*>).*?</script>", r"\1</script>", text, flags=re.DOTALL), page


def data_of(page: Path) -> dict:
    text = page.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="map-data">(.*?)</script>', text)
    assert found is not None
    return json.loads(found[1])


def rows_of(page: Page, name: str) -> list[dict[str, str]]:
    """The rows of a file that the page carries."""
    (code,) = [one for file, one in page.files if file == name]
    text = base64.b64decode(code.partition("base64,")[2]).decode("utf-8")
    return list(csv.DictReader(io.StringIO(text)))
