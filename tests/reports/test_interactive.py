"""The data of the interactive part: coordinates, neighbours and the heat map, as computed."""

from __future__ import annotations

import base64
import csv
import re

import numpy as np
from support.maps import STEPS
from support.pages import Page, data_of

from jaxmap.analysis.context import Context
from jaxmap.analysis.genealogy import ask_nobody
from jaxmap.analysis.map_selection import make_atlas
from jaxmap.analysis.runs import runs_of
from jaxmap.stats.divergence import kl_KK


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
        "4-bit versions; scale of 4-bit: ",
        "perplexity 5.67 instead of 30",
    ):  # fmt: skip
        assert told in words
