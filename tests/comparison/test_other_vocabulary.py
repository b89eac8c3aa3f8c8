"""Vocabularies whose ids agree on the texts, but that mean other tokens."""

from __future__ import annotations

import json
import math
import shutil

import pytest
from support.checkpoints import LLAMA, jaxmap, make_checkpoint, write_texts

import jaxmap as package
from jaxmap.corpus.tokens import load_tokenizer


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A reference, the texts, and the tokens that these do not use: (as they are spelt, id)."""
    root = tmp_path_factory.mktemp("vocabulary")
    make_checkpoint(root / "reference", LLAMA, max_position_embeddings=64)
    texts = package.load_texts(write_texts(root / "texts.jsonl"))
    tokenizer = load_tokenizer(root / "reference")
    used = set(tokenizer.encode(texts).ids.tolist())
    added = tokenizer.reading.added_ids()
    left = [(t, i) for t, i in tokenizer.vocabulary().items() if i not in used | added]
    return root, texts, sorted(left, key=lambda pair: pair[1])


def renamed(root, name, change):
    """A copy of the reference with another vocabulary."""
    folder = root / name
    shutil.copytree(root / "reference", folder)
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    change(tokenizer)
    path.write_text(json.dumps(tokenizer))
    return folder


def swap(tokenizer, one, other):
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary[one], vocabulary[other] = vocabulary[other], vocabulary[one]


@pytest.mark.parametrize("kind", ["words", "parts of characters"])
def test_tokens_that_the_texts_do_not_use(place, tmp_path, kind):
    root, texts, left = place
    # A letter of the byte alphabet above ASCII stands for a byte that is no character by itself.
    partial = kind == "parts of characters"
    chosen = [(t, i) for t, i in left if (len(t) == 1 and ord(t) > 0xBF) == partial]
    (one, first), (other, second) = chosen[0], chosen[-1]
    folder = renamed(root, f"swapped {kind}", lambda tokenizer: swap(tokenizer, one, other))
    ids = [load_tokenizer(name).encode(texts).ids for name in (root / "reference", folder)]
    assert (ids[0] == ids[1]).all()
    assert first < second
    ran = jaxmap(
        "compare", f"--store={tmp_path / 's'}", f"--texts={root / 'texts.jsonl'}",
        f"--reference={root / 'reference'}", f"--models={folder},{root / 'reference'}",
        f"--out={tmp_path}",
    )  # fmt: skip
    assert ran.code == 0
    assert (
        f"  no token KL: reads the texts as the same ids as {root / 'reference'}, but id {first} "
        f"is {other!r} in its vocabulary and {one!r} in the other (2 of "
    ) in ran.out
    assert "Use bits per byte, or KL over texts" in ran.out
    swapped, same = package.card(tmp_path / "s").compared[::-1]
    assert math.isnan(swapped.row.token_kl_nats)
    assert swapped.row.bits_per_byte == pytest.approx(same.row.bits_per_byte)
    assert same.row.token_kl_nats == pytest.approx(0, abs=1e-6)


def test_added_tokens_may_have_other_names(place, tmp_path):
    """As of a fine-tune for chats, whose reserved tokens are named."""
    root, texts, left = place
    spelt, number = left[0]

    def change(tokenizer):
        del tokenizer["model"]["vocab"][spelt]
        tokenizer["model"]["vocab"]["<|im_start|>"] = number
        tokenizer["model"]["merges"] = [
            pair for pair in tokenizer["model"]["merges"] if "".join(pair) != spelt
        ]
        tokenizer["added_tokens"].append({
            "id": number, "content": "<|im_start|>", "single_word": False, "lstrip": False,
            "rstrip": False, "normalized": False, "special": True,
        })  # fmt: skip

    folder = renamed(root, "chat", change)
    [one] = package.compare(folder, texts, tmp_path / "s", reference=root / "reference").compared
    assert one.other_tokens == ""
    assert one.row.token_kl_nats == pytest.approx(0, abs=1e-6)
