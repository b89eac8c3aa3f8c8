"""The models of a store: their neighbours, parents and copies by name, as `jaxmap kl` has them."""

from __future__ import annotations

import re

import numpy as np
import pytest
from support.browser import CHROMIUM, Browser
from support.maps import map_store
from support.stores import filled, record, texts

from jaxmap.analysis.context import Context
from jaxmap.analysis.genealogy import ask_nobody
from jaxmap.analysis.kl import measure_kl
from jaxmap.analysis.nearest_models import measure_nearest
from jaxmap.figures.digits import with_error
from jaxmap.reports.page import make_report


def test_every_pair_has_the_kl_that_the_table_of_kls_has(tmp_path):
    context = Context(map_store(tmp_path / "store"), ask=ask_nobody)
    found = measure_nearest(context)
    frame = measure_kl(context).to_dataframe()
    known = {
        frozenset((row.model_a, row.model_b)): (row.kl_bits_per_byte, row.standard_error)
        for row in frame.itertuples()
    }
    rows = found.to_dataframe().to_dict("records")
    label = {row["model"]: row["label"] for row in rows}
    assert [row["kind"] for row in rows] == ["last checkpoint"] * 3 + ["model"] * 18 + ["copy"] * 6
    for row in rows:
        others = {
            other["label"]: known[frozenset((row["label"], other["label"]))]
            for other in rows
            if other is not row
        }
        nearest = min(others, key=lambda name: others[name][0])
        assert label[row["nearest"]] == nearest
        np.testing.assert_allclose(
            (row["kl_bits_per_byte"], row["kl_standard_error"]), others[nearest], rtol=1e-9
        )
        if row["kind"] == "copy":
            assert row["parent"] == row["label"].removesuffix("+int8")
            np.testing.assert_allclose(row["kl_to_parent"], others[row["parent"]][0], rtol=1e-9)
        elif row["label"].endswith("-chat"):
            assert row["parent"] == row["label"].removesuffix("-chat")
            np.testing.assert_allclose(row["kl_to_parent"], others[row["parent"]][0], rtol=1e-9)
    assert sum(row["parent"] != "" for row in rows) == 18


def test_two_models_are_told_with_their_kl(tmp_path):
    of = texts()
    store, (one, two) = filled(tmp_path / "store", of, record(of, "org/a"), record(of, "org/b"))
    page = make_report(Context(store, ask=ask_nobody)).html
    apart = store.load(one).log_likelihood - store.load(two).log_likelihood
    unit = 2 * of.num_bytes.mean() * np.log(2)
    kl = apart.var() / unit
    error = np.sqrt((((apart - apart.mean()) ** 4).mean() - apart.var() ** 2) / len(of)) / unit
    told = f"<b>org/a</b> and <b>org/b</b> is {with_error(kl, error)} bits per byte"
    assert told in page
    assert "Scores: raw" in page


def test_figures_are_numbered_in_their_order_and_contents_lead_to_sections(tmp_path):
    page = make_report(Context(map_store(tmp_path / "store"), ask=ask_nobody)).html
    page = re.sub(r"<script[^>]*>.*?</script>", "", page, flags=re.DOTALL)
    numbers = [int(one) for one in re.findall(r"Figure (\d+)\.", page)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= 6
    assert not re.search(r"[Ff]igure \d[a-z, ]", page)  # of the paper
    links = re.findall(r'<li><a href="#([^"]+)">', page)
    assert set(links) == set(re.findall(r'<section id="([^"]+)"', page))
    assert "dynamics-of-training" in links


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_on_a_phone_one_finger_scrolls_two_zoom_and_names_fit(tmp_path):
    store = map_store(tmp_path / "store", runs=False)
    make_report(Context(store, ask=ask_nobody)).write(tmp_path / "report.html")
    with Browser(tmp_path / "profile", width=390, height=844) as phone:
        phone("Emulation.setTouchEmulationEnabled", enabled=True)
        phone.open(tmp_path / "report.html")
        phone.wait("document.documentElement.dataset.drawn === 'yes'", 90)
        assert phone.run("document.documentElement.scrollWidth") <= 390
        plot = "document.querySelector('#map-plot')"
        phone.run(f"{plot}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
        x, y, top = phone.run(
            f"(() => {{ const box = {plot}.querySelector('.nsewdrag').getBoundingClientRect();"
            "return [box.x + box.width / 2, box.y + box.height / 2, scrollY]; })()"
        )
        span = f"(([a, b]) => b - a)({plot}._fullLayout.xaxis.range)"
        before = phone.run(span)
        phone.touch("touchStart", (x - 20, y), (x + 20, y))
        phone.touch("touchMove", (x - 60, y), (x + 60, y))
        phone.touch("touchEnd")
        phone.wait(f"Math.abs({span} - {before / 3}) < {before / 50}", 60)
        phone.touch("touchStart", (x, y))
        for k in range(1, 9):
            phone.touch("touchMove", (x, y - 15 * k))
        phone.touch("touchEnd")
        phone.wait(f"scrollY > {top} + 40", 60)
        assert phone.run(f"Math.abs({span} - {before / 3}) < {before / 50}")
        # Names under the heat map end above what is written below it.
        low = phone.run(
            "Math.max(...[...document.querySelectorAll('#heat-plot .xtick text')]"
            ".map((one) => one.getBoundingClientRect().bottom))"
        )
        assert low > 0
        assert low <= phone.run(
            "document.querySelector('#heat-plot').getBoundingClientRect().bottom"
        )
        assert phone.errors == []
