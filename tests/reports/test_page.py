"""The page: it holds what the store holds, loads nothing, and trusts no name."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from support.browser import CHROMIUM, Browser
from support.maps import STEPS, map_store
from support.stores import filled, record, texts

from jaxmap.analysis.context import Context
from jaxmap.analysis.genealogy import ask_nobody
from jaxmap.analysis.learning import measure_learning
from jaxmap.analysis.map_selection import make_atlas
from jaxmap.analysis.runs import runs_of
from jaxmap.figures.digits import with_error
from jaxmap.reports.page import make_report
from jaxmap.reports.svg import inline_svg
from jaxmap.stats.divergence import kl_KK
from jaxmap.store import Store
from jaxmap.store.requests import Failure, Item

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


def test_layers_are_no_checkpoints_of_a_run(tmp_path):
    of = texts()
    records = [
        record(of, "org/a", f"step{step}", layer=layer, num_layers=1)
        for step in (0, 1)
        for layer in (None, 0, 1)
    ]
    store, _ = filled(tmp_path / "store", of, *records)
    (run,) = runs_of(store)
    assert run.steps.tolist() == [0, 1]


def test_runs_of_one_name_from_two_places_keep_their_places(tmp_path):
    _, store = two_runs(tmp_path / "store", names=("one/a", "two/a"))
    assert sorted(run.name for run in runs_of(store)) == ["one/a", "two/a"]


def test_steps_are_in_order_of_training_when_folders_name_them(tmp_path):
    of = texts()
    records = [record(of, f"/models/run/step{step}") for step in (10, 2, 0)]
    store, _ = filled(tmp_path / "store", of, *records)
    (run,) = runs_of(store)
    assert run.name == "run"
    assert run.steps.tolist() == [0, 2, 10]


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


# The interactive part ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mapped")
    store = map_store(folder / "store")
    make_report(Context(store, ask=ask_nobody)).write(folder / "report.html")
    return store, folder / "report.html"


def test_the_page_holds_the_coordinates_of_the_map_command(mapped, tmp_path):
    store, page = mapped
    make_atlas(Context(store, ask=ask_nobody)).save(tmp_path)
    with open(tmp_path / "coordinates.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    maps = data_of(page)["maps"]
    titles = [re.sub(r" \(.*", "", one["title"]) for one in maps]
    assert titles == [
        "training runs", "models", "models and their 8-bit versions", "parents and children",
        "layers",
    ]  # fmt: skip
    found = [
        [x, y]
        for one in maps
        for embedding in one["embeddings"]
        for x, y in zip(embedding["x"], embedding["y"], strict=True)
    ]
    # Of few points the page shows principal components first, the file t-SNE.
    expected = [
        [float(row["x"]), float(row["y"])]
        for name in dict.fromkeys(row["map"] for row in rows)
        for method in ("pca", "tsne")
        for row in rows
        if (row["map"], row["method"]) == (name, method)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-9)
    assert maps[0]["paths"] == [list(range(6 * run, 6 * run + 6)) for run in range(3)]
    assert maps[0]["step"] == list(STEPS) * 3


def test_hovering_tells_the_nearest_model_and_the_loss(mapped):
    store, page = mapped
    one = data_of(page)["maps"][1]
    entries = {entry.label: entry for entry in store.records()}
    ll_KN = store.log_likelihoods(entries[label] for label in one["labels"])
    bits = -ll_KN.sum(axis=1) / np.log(2) / store.texts.text_bytes.sum()
    np.testing.assert_allclose(one["loss"], bits, rtol=1e-4)
    kl = kl_KK(ll_KN, store.texts.mean_bytes).kl
    np.fill_diagonal(kl, np.inf)
    assert one["nearest"] == kl.argmin(axis=1).tolist()
    np.testing.assert_allclose(one["nearest_kl"], kl.min(axis=1), rtol=1e-4)


def test_the_heat_map_is_symmetric_and_in_the_order_of_its_tree(mapped):
    store, page = mapped
    heat = data_of(page)["heat"]
    side = len(heat["labels"])
    assert side == 3 + 18 + 6
    assert len(set(heat["labels"])) == side
    codes = np.frombuffer(base64.b64decode(heat["kl"]), "<u2").astype(float)
    assert len(codes) == side * (side - 1) // 2
    logs = heat["low"] + (codes - 1) / 65534 * (heat["high"] - heat["low"])
    rows = {run.name: run.entries[-1] for run in runs_of(store)}
    rows |= {entry.label: entry for entry in store.records()}
    ll_KN = store.log_likelihoods(rows[label] for label in heat["labels"])
    kl = kl_KK(ll_KN, store.texts.mean_bytes).kl
    np.testing.assert_allclose(10**logs, kl[np.triu_indices(side, k=1)], rtol=5e-4)
    places = {label: i for i, label in enumerate(heat["labels"])}
    for k in range(6):  # families stay together
        family = [places[f"lab/m{k}{end}"] for end in ("", "+int8", "-chat", "-chat-v2")]
        assert max(family) - min(family) == 3


def test_the_page_tells_the_scale_the_paths_and_what_was_left_out(mapped):
    _, page = mapped
    words = Page(page.read_text(encoding="utf-8")).words
    for told in (
        "How large is a KL?", "intra-type", "Shapes of training paths", "straightness",
        "texts dropped, those that jump most", "over the 3 checkpoints after it",
        "4-bit versions, scale, 4-bit: absent",
        "perplexity 5.66667 instead of 30",
    ):  # fmt: skip
        assert told in words


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


# In a browser -----------------------------------------------------------------------------------

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
POINTS = "document.querySelector('#map-plot').data[1]"


@pytest.fixture(scope="module")
def browser(mapped, tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("profile")) as one:
        one.open(mapped[1])
        one.wait("document.documentElement.dataset.drawn === 'yes'")
        yield one


def set_value(browser: Browser, name: str, value: str, event: str) -> None:
    browser.run(
        f"(() => {{ const one = document.getElementById('{name}'); one.value = {value!r};"
        f"one.dispatchEvent(new Event('{event}')); }})()"
    )


@needs_chromium
def test_the_page_draws_itself_and_asks_for_nothing(browser, mapped):
    assert browser.run("document.querySelectorAll('#map-plot .points path').length") >= 18
    assert browser.run("document.querySelectorAll('#heat-plot .hm image').length") == 1
    assert browser.errors == []
    asked = [one for one in browser.requests if not one.startswith(("data:", "blob:"))]
    assert asked == [mapped[1].as_uri()]


def middle(browser: Browser, element: str) -> tuple[float, float]:
    """The place on the screen of an element, which is scrolled to."""
    browser.run(f"{element}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
    return tuple(
        browser.run(
            f"(() => {{ const box = {element}.getBoundingClientRect();"
            "return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
    )


@needs_chromium
def test_hovering_shows_the_name_and_the_nearest(browser):
    x, y = middle(browser, "document.querySelectorAll('#map-plot path.point')[9]")
    browser.move(x - 40, y - 40)
    browser.move(x, y)
    browser.wait("document.querySelector('#map-plot .hovertext')", 10)
    shown = browser.run("document.querySelector('#map-plot .hovertext').textContent")
    assert "org/pythia-" in shown
    assert "nearest: org/pythia-" in shown
    assert "KL to it: " in shown
    assert "bits per byte" in shown


@needs_chromium
def test_the_wheel_scrolls_and_with_ctrl_zooms(browser):
    x, y = middle(browser, "document.querySelector('#map-plot .nsewdrag')")
    span = (
        "(([low, high]) => high - low)(document.querySelector('#map-plot')._fullLayout.xaxis.range)"
    )
    before, top = browser.run(span), browser.run("scrollY")
    browser.move(x, y)
    browser.wheel(x, y, 60)
    browser.wait(f"scrollY > {top}", 60)
    assert browser.run(span) == before
    x, y = middle(browser, "document.querySelector('#map-plot .nsewdrag')")
    browser.move(x, y)
    for _ in range(4):  # plotly takes a tenth off at each turn, whatever its size
        browser.wheel(x, y, -300, ctrl=True)
    browser.wait(f"{span} < {0.8 * before}", 10)


@needs_chromium
def test_searching_rings_the_model_and_names_its_neighbour(browser):
    set_value(browser, "map-search", "org/pythia-70m@step5000", "input")
    assert browser.run("document.querySelector('#map-plot').data[3].x.length") == 1
    told = browser.run("document.querySelector('#map-found').textContent")
    assert re.fullmatch(r"org/pythia-70m@step5000, nearest: org/.*, KL .* bits per byte", told)
    set_value(browser, "map-search", "pythia-70m", "input")
    assert browser.run("document.querySelector('#map-plot').data[3].x.length") == len(STEPS)
    set_value(browser, "map-search", "nobody", "input")
    assert "No model" in browser.run("document.querySelector('#map-found').textContent")
    set_value(browser, "map-search", "", "input")


@needs_chromium
def test_the_slider_goes_through_training(browser):
    shown = f"{POINTS}.x.filter((x) => x !== null).length"
    assert browser.run(shown) == 3 * len(STEPS)
    for place, step in ((0, "0"), (2, "2,000")):
        set_value(browser, "map-step", str(place), "input")
        assert browser.run(shown) == 3 * (place + 1)
        told = browser.run("document.querySelector('#map-now').textContent")
        assert told == f"up to step {step}"
    set_value(browser, "map-step", str(len(STEPS) - 1), "input")


@needs_chromium
def test_axes_stay_and_last_points_keep_their_colour(browser):
    plot = "document.querySelector('#map-plot')"
    ranges = f"JSON.stringify([{plot}.layout.xaxis.range, {plot}.layout.yaxis.range])"
    set_value(browser, "map-color", "step", "change")
    seen = set()
    for place in range(len(STEPS)):
        set_value(browser, "map-step", str(place), "input")
        seen.add(browser.run(ranges))
        last = browser.run(f"{plot}.data[2].marker.color")
        assert last == [browser.run(f"{plot}.data[1].marker.color[{place}]")] * 3
        assert browser.run(f"{plot}.data[2].marker.cmax") == pytest.approx(np.log10(5001))
    assert len(seen) == 1
    browser.run("document.getElementById('map-play').click()")
    browser.wait(f"document.getElementById('map-step').value === '{len(STEPS) - 1}'", 60)
    browser.wait("document.getElementById('map-play').textContent.includes('play')", 60)
    set_value(browser, "map-color", "run", "change")
    assert len(set(browser.run(f"{plot}.data[2].marker.color"))) == 3
    names = browser.run(f"{plot}.data[4].text")
    assert set(names) <= {"pythia-14m", "pythia-14m-seed1", "pythia-70m", ""}
    assert any(names)


@needs_chromium
def test_colours_follow_the_menu_and_every_map_opens(browser):
    set_value(browser, "map-color", "loss", "change")
    assert browser.run(f"{POINTS}.marker.showscale") is True
    set_value(browser, "map-color", "model", "change")
    keys = browser.run("document.querySelector('#map-keys').textContent")
    assert keys == "pythia-14mpythia-70m"
    counts = (18, 18, 12, 18, 18)
    for place, count in enumerate(counts):
        set_value(browser, "map-which", str(place), "change")
        assert browser.run(f"{POINTS}.x.length") == count
        set_value(browser, "map-method", "0", "change")
        assert "PC 1" in browser.run("document.querySelector('#map-plot').layout.xaxis.title.text")
    assert browser.run("document.querySelector('#map-time').hidden") is True
    set_value(browser, "map-which", "0", "change")
    assert browser.errors == []


@needs_chromium
def test_the_heat_map_tells_both_names(browser, mapped):
    heat = data_of(mapped[1])["heat"]
    x, y = middle(browser, "document.querySelector('#heat-plot .nsewdrag')")
    browser.move(x - 60, y - 40)
    browser.move(x, y)
    browser.wait("!document.getElementById('heat-tip').hidden", 10)
    lines = browser.run("[...document.getElementById('heat-tip').children].map(e => e.textContent)")
    assert len(lines) in (2, 3)
    assert lines[0] in heat["labels"]
    if len(lines) == 3:
        assert lines[1] in heat["labels"]
        assert re.fullmatch(r"KL [-0-9.e]+ bits per byte", lines[2])
    shown = browser.run("document.querySelector('#heat-plot').data[0].z")
    assert np.shape(shown) == (27, 27)
    logs = np.array(shown, float)
    np.testing.assert_array_equal(logs, logs.T)
    codes = np.frombuffer(base64.b64decode(heat["kl"]), "<u2").astype(float)
    expected = heat["low"] + (codes - 1) / 65534 * (heat["high"] - heat["low"])
    np.testing.assert_allclose(logs[np.triu_indices(27, k=1)], expected, atol=1e-9)
    assert browser.errors == []


@needs_chromium
def test_a_type_has_one_colour_on_all_maps(browser):
    shades = []
    for place in ("1", "2", "3", "4"):
        set_value(browser, "map-which", place, "change")
        set_value(browser, "map-color", "type", "change")
        marks = browser.run(f"{POINTS}.marker.color")
        types = browser.run(f"page.data.maps[{place}].type")
        shades.append({(kind, shade) for kind, shade in zip(types, marks, strict=True)})
    assert len(shades[0]) == 2
    assert all(one == shades[0] for one in shades)
    set_value(browser, "map-which", "0", "change")


@needs_chromium
@pytest.mark.slow
def test_a_thousand_models_and_two_thousand_checkpoints(tmp_path):
    """As many as the papers show: the page stays small, draws itself and answers."""
    of = texts(40)
    rng = np.random.default_rng(0)
    records = []
    for run in range(12):
        scores = -3.0 * of.num_bytes
        for place in range(154):
            scores = scores + rng.normal(0, 3, len(of))
            records.append(record(of, f"org/run-{run}m", f"step{1000 * place}", scores=scores))
    for k in range(1018):
        records.append(
            record(
                of,
                f"lab{k % 9}/model-{k}",
                scores=-2.5 * of.num_bytes + 40 * rng.normal(size=len(of)),
            )
        )
    store = Store.create(tmp_path / "store", of)
    assert store.add_many(records) == 12 * 154 + 1018
    make_report(Context(store, ask=ask_nobody)).write(tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size < 10e6
    with Browser(tmp_path / "profile") as big:
        big.open(tmp_path / "report.html")
        big.wait("document.documentElement.dataset.drawn === 'yes'", 90)
        assert big.run("document.querySelector('#heat-plot').data[0].z.length") == 1030
        assert big.run(f"{POINTS}.x.length") == 1848
        x, y = middle(big, "document.querySelectorAll('#map-plot path.point')[900]")
        big.move(x - 40, y - 40)
        big.move(x, y)
        big.wait("document.querySelector('#map-plot .hovertext')", 20)
        set_value(big, "map-which", "1", "change")
        assert big.run(f"{POINTS}.x.length") == 1018
        set_value(big, "map-search", "lab3/model-3", "input")
        assert "lab3/model-3, nearest: " in big.run(
            "document.querySelector('#map-found').textContent"
        )
        assert big.errors == []


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


def test_bad_checkpoints_are_gaps_and_bad_runs_are_not_shown(tmp_path):
    of = texts()
    rng = np.random.default_rng(0)
    records = [
        record(
            of,
            f"EleutherAI/{name}",
            f"step{step}",
            scores=-3.0 * of.num_bytes + rng.normal(0, 9, len(of)),
        )
        for name in ("pythia-410m-seed3", "pythia-1b", "pythia-2.8b")
        for step in (115_000, 116_000, 117_000)
    ]
    store, _ = filled(tmp_path / "store", of, *records)
    curves = measure_learning(Context(store)).curves
    assert [curve.name for curve in curves] == ["pythia-1b", "pythia-2.8b"]
    assert np.isfinite(curves[0].bits_I).tolist() == [True, False, True]
    assert np.isfinite(curves[1].bits_I).all()
    _, page = written(store, tmp_path / "report.html")
    assert "excluded: EleutherAI/pythia-410m-seed3, all checkpoints" in page.words
    assert "excluded: EleutherAI/pythia-1b, step 116000" in page.words
    assert "≈ 2.8B" in page.words
    names = data_of(tmp_path / "report.html")["heat"]
    assert names is None or "pythia-410m-seed3" not in names["labels"]


@needs_chromium
def test_on_a_dark_phone_nothing_is_wider_than_the_screen(mapped, tmp_path):
    with Browser(tmp_path / "profile", 390, 800, dark=True) as phone:
        phone.open(mapped[1])
        phone.wait("document.documentElement.dataset.drawn === 'yes'")
        assert phone.run("document.documentElement.scrollWidth") <= 390
        assert phone.run("document.querySelector('#map-plot').layout.font.color") == "#e6edf3"
        assert phone.run("getComputedStyle(document.body).backgroundColor") == "rgb(18, 22, 27)"
        assert phone.errors == []
