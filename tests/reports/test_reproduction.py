from __future__ import annotations

import csv
import socket
from dataclasses import replace

import numpy as np
import pytest
from support.published_oracle import Oracle
from support.synthetic_release import SMALL, make_release

import jaxmap
from jaxmap.analysis.context import Context
from jaxmap.cli.program import run
from jaxmap.errors import InputError
from jaxmap.figures.captions import scores_are
from jaxmap.reports.page import make_report
from jaxmap.store import Store

FEW = replace(
    SMALL, texts=60, steps=(*SMALL.steps[:11], *SMALL.steps[-30:]), models=40, children=20
)


def table(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory):
    """What the command makes of a release, without a network."""
    folder = tmp_path_factory.mktemp("reproduced")
    planted = make_release(folder / "kl-scale", FEW)
    before = {path: path.read_bytes() for path in planted.root.rglob("*") if path.is_file()}
    with pytest.MonkeyPatch.context() as patch:

        def refused(*_, **__):
            raise AssertionError("the network was touched")

        patch.setattr(socket, "getaddrinfo", refused)
        patch.setattr(socket.socket, "connect", refused)
        code = run(["reproduce", f"--released={folder}/kl-scale", f"--out={folder}/out"])
    assert code == 0
    after = {path: path.read_bytes() for path in planted.root.rglob("*") if path.is_file()}
    assert after == before
    return folder / "out", Oracle(folder / "kl-scale")


def test_tables(reproduced):
    out, oracle = reproduced
    rows = {row["setting"]: row for row in table(out / "scale.csv")}
    for name, pairs in oracle.scale().items():
        kl = np.array([one for *_, one in pairs])
        row = rows[name]
        assert int(row["n"]) == len(kl)
        found = [float(row[column]) for column in ("median", "mean", "q25", "q75")]
        expected = (np.median(kl), kl.mean(), *np.percentile(kl, (25, 75)))
        np.testing.assert_allclose(found, expected, rtol=1e-9, err_msg=name)
        assert row["recipe"] == "published"
    assert [row["group"] for row in rows.values()] == ["sizes"] * 2 + ["seeds", "sizes"] + [
        "models"
    ] * 6
    assert [row["scores"] for row in rows.values()] == ["cleaned"] * 4 + ["raw"] * 6
    steps = oracle.consecutive()
    found = table(out / "consecutive.csv")
    assert len(found) == len(steps)
    for row in found:
        key = row["trajectory"].removeprefix("pythia-"), int(row["from_step"]), int(row["to_step"])
        assert float(row["kl_bits_per_byte"]) == pytest.approx(steps[key], rel=1e-9)
    assert table(out / "diffusion.csv")[0]["group"] == "sizes"


def test_a_notebook_reproduces_the_same(reproduced, tmp_path):
    out, _ = reproduced
    found = jaxmap.reproduce(out.parent / "kl-scale", tmp_path / "out")
    tables = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.csv")}
    assert len(tables) > 7
    assert tables == {name: (out / name).read_bytes() for name in tables}
    assert len(found.to_dataframe())


def test_groups_and_the_drift_of_texts(reproduced):
    out, oracle = reproduced
    groups = {"sizes": oracle.sizes, "seeds": oracle.seeds, "sizes and seeds": oracle.together}
    rows = {row["group"]: row for row in table(out / "groups.csv")}
    drift = table(out / "text_drift.csv")
    for name, group in groups.items():
        row = rows[name]
        assert float(row["floor"]) == pytest.approx(group.floor, rel=1e-9)
        assert float(row["mean_bytes"]) == pytest.approx(group.mean_bytes, rel=1e-9)
        assert int(row["scores_raised"]) == group.raised
        assert int(row["texts_dropped"]) == len(group.dropped) == round(0.03 * 60)
        texts = [one for one in drift if one["group"] == name]
        assert [one["text"] for one in texts if one["dropped"] == "yes"] == [
            str(n) for n in sorted(group.dropped)
        ]
        jumps = [float(one["largest_change"]) for one in texts]
        np.testing.assert_allclose(jumps, group.jump, rtol=1e-9)
    assert float(rows["models"]["mean_bytes"]) == pytest.approx(oracle.all_bytes, rel=1e-12)


def test_figures_and_page(reproduced):
    out, _ = reproduced
    for number in range(1, 6):
        for suffix in ("png", "svg", "pdf"):
            assert (out / f"figure{number}.{suffix}").stat().st_size > 4000
    page = (out / "index.html").read_text(encoding="utf-8")
    for number in range(1, 6):
        assert f"Figure {number}." in page
    for words in ("(a) Quantization", "During warmup", "From step", "Methods", "random.Random(0)",
                  "released coordinates; Procrustes distance", "sizes and seeds"):  # fmt: skip
        assert words in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_where_coordinates_come_from(reproduced):
    out, _ = reproduced
    rows = {row["map"]: row for row in table(out / "coordinates.csv")}
    assert list(rows) == ["trajectories", "8-bit", "families", "layers"]
    assert {row["coordinates"] for row in rows.values()} == {"released"}
    assert all(0.1 < float(row["procrustes"]) <= 1 for row in rows.values())  # they are made up


def test_a_report_says_of_every_figure_how_its_scores_are(reproduced):
    out, _ = reproduced
    html = make_report(Context(Store.open(out / "store"))).html
    assert html.count("Scores: cleaned by the published recipe, group: sizes.") >= 2
    assert "Scores: cleaned by the published recipe, group: sizes and seeds." in html
    assert "Scores: raw, as they are in the store (the published recipe, group: models)." in html
    assert "By the published recipe. KL is the population variance" in html
    assert "jaxmap's own recipe" not in html
    assert scores_are("jaxmap", "all runs", True) == (
        "Scores: cleaned by jaxmap's own recipe, group: all runs."
    )


def test_a_folder_without_the_files(tmp_path, capsys):
    with pytest.raises(InputError, match=r"--released: .*holds none of"):
        run(["reproduce", f"--released={tmp_path}", f"--out={tmp_path}/out"])
    assert not (tmp_path / "out").exists()
