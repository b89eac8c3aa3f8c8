"""What a store has compared, in its report: tables, links, and texts coloured token by token."""

from __future__ import annotations

import json
import re

import pytest
from support.browser import CHROMIUM, Browser
from support.checkpoints import LLAMA, make_checkpoint, write_texts

import jaxmap as package
from jaxmap.errors import InputError


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A store with two references of the same short name, each beside one model and a copy."""
    root = tmp_path_factory.mktemp("section")
    for seed, name in enumerate(("a/base", "b/base", "tuned")):
        make_checkpoint(root / name, LLAMA, seed=seed, max_position_embeddings=64)
    texts, store = write_texts(root / "texts.jsonl"), root / "store"
    package.score([root / "a/base", root / "b/base", root / "tuned"], texts, store)
    for name in ("a/base", "b/base"):
        package.compare(
            root / "tuned", texts, store, reference=root / name, quantize="none,nf4"
        ).raise_for_failures()
    package.report(store, out=root / "report.html")
    return root


def test_sections_links_and_texts(place):
    page = (place / "report.html").read_text()
    anchors = re.findall(r'<section id="([^"]+)"', page)
    assert len(anchors) == len(set(anchors))
    ours = [anchor for anchor in anchors if anchor.startswith("token-by-token")]
    assert ours == ["token-by-token-beside-a-base", "token-by-token-beside-b-base"]
    for anchor in ours:
        assert f'href="#{anchor}"' in page
    assert "Token by token beside a/base" in page
    assert page.count("By kind of token") == page.count("Texts that differ most") == 2
    blocks = re.findall(r'<script type="application/json">(.*?)</script>', page)
    assert len(blocks) == 2
    # Those of the page of the comparison itself, fewer.
    shown = package.compare(
        place / "tuned", place / "texts.jsonl", place / "store", reference=place / "a/base",
        page=True,
    )  # fmt: skip
    tokens = [[token.text for token in view.tokens] for view in shown.compared[0].views]
    views = json.loads(blocks[0])["views"]
    assert [[token[0] for token in text] for text in views[0]] == tokens[:3]
    # A later run reads them.
    package.compare(place / "tuned", place / "texts.jsonl", place / "store",
                    reference=place / "a/base")  # fmt: skip
    again = package.report(place / "store").html
    assert re.findall(r'<script type="application/json">(.*?)</script>', again) == blocks


def test_a_damaged_file_is_named(place, tmp_path):
    path = next((place / "store" / "comparisons").glob("*.texts.json.gz"))
    whole = path.read_bytes()
    path.write_bytes(whole[:50])
    with pytest.raises(InputError, match=re.escape(f"{path}: damaged; delete it and compare")):
        package.report(place / "store")
    path.write_bytes(whole)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_in_a_browser(place, tmp_path):
    with Browser(tmp_path / "profile", width=390, height=800) as browser:
        browser.open(place / "report.html")
        assert browser.run("document.documentElement.scrollWidth") <= 390
        shown = "[...document.querySelectorAll('.coloured [data-model]')].map(s => s.hidden)"
        assert browser.run(shown) == [False, True, False, True]
        browser.run(
            "{const s = document.querySelectorAll('.coloured select')[1]; s.value = 1;"
            "s.dispatchEvent(new Event('change'));}"
        )
        assert browser.run(shown) == [False, True, True, False]
        browser.run("document.querySelector('.coloured .token').click()")
        told = browser.run("document.getElementById('token-tip').innerText")
        assert told.count("%") == 12
        assert browser.errors == []
