"""The page in a browser: it draws itself, answers the mouse, and fits a phone."""

from __future__ import annotations

import base64
import re

import numpy as np
import pytest
from support.browser import CHROMIUM, Browser
from support.maps import STEPS
from support.pages import data_of
from support.stores import record, texts

from jaxmap.analysis.context import Context
from jaxmap.analysis.genealogy import ask_nobody
from jaxmap.reports.page import make_report
from jaxmap.store import Store

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
        assert re.fullmatch(r"KL [0-9.,]+( × 10[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)? bits per byte", lines[2])
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


@needs_chromium
def test_on_a_dark_phone_nothing_is_wider_than_the_screen(mapped, tmp_path):
    with Browser(tmp_path / "profile", 390, 800, dark=True) as phone:
        phone.open(mapped[1])
        phone.wait("document.documentElement.dataset.drawn === 'yes'")
        assert phone.run("document.documentElement.scrollWidth") <= 390
        assert phone.run("document.querySelector('#map-plot').layout.font.color") == "#e6edf3"
        assert phone.run("getComputedStyle(document.body).backgroundColor") == "rgb(18, 22, 27)"
        assert phone.errors == []
