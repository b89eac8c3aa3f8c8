"""Every kind of released copy through the command: from a folder, a Git clone and the Hub."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
from support.checkpoints import score, write_texts
from support.hubs import fake_of, serve
from support.released import CASES, released

from jaxmap.checkpoint.sources import hub
from jaxmap.store import Store

EVERYWHERE = ("gptq", "fp8-block", "bnb-nf4", "bnb-int8")
BITS = {"gptq-3bit": 3} | dict.fromkeys(
    ("gptq-8bit", "fp8-block", "fp8-row", "pack-quantized-8", "int-quantized", "bnb-int8"), 8
)
CARD = "---\nbase_model: org/base\nbase_model_relation: quantized\n---\n"


def commit(folder: Path) -> None:
    for arguments in (["init", "-b", "main"], ["add", "."], ["commit", "-m", "one"]):
        options = ["-c", "user.email=a@b", "-c", "user.name=a"]
        subprocess.run(["git", *options, *arguments], cwd=folder, check=True, capture_output=True)


def test_folders_clones_and_the_hub(tmp_path, monkeypatch):
    """The scores are those of the floats that the codes stand for, and the same from all three."""
    monkeypatch.chdir(tmp_path)
    folders = {}
    for name in CASES:
        Path(name).mkdir()
        coded, plain = released(Path(name), **CASES[name])
        folders[name] = coded, plain
        if name in EVERYWHERE:
            (coded / "README.md").write_text(CARD)
    fake = fake_of({name: folders[name][0] for name in EVERYWHERE})
    for name in EVERYWHERE:
        commit(folders[name][0])
    models = [str(folder) for pair in folders.values() for folder in pair]
    models += [f"{folders[name][0]}@main" for name in EVERYWHERE]
    models += [f"org/tiny@{name}" for name in EVERYWHERE]
    with serve(fake) as endpoint:
        ours = hub.Hub(endpoint=endpoint, cache=tmp_path / "cache", offline=False)
        monkeypatch.setattr(hub, "Hub", lambda: ours)
        ran = score("store", write_texts(Path("texts.jsonl")), *models)
    assert ran.code == 0, ran.err
    store = Store.open("store")
    entries = {entry.label: entry for entry in store.records()}
    scores = {label: store.load(entry).log_likelihood for label, entry in entries.items()}
    for name, (coded, plain) in folders.items():
        if name != "bnb-int8":  # whose activations are quantised too: test_coded_weights
            np.testing.assert_allclose(
                scores[str(coded)], scores[str(plain)], rtol=0, atol=2e-3, err_msg=name
            )
        assert np.ptp(scores[str(coded)]) > 10
        assert entries[str(coded)].bits == BITS.get(name, 4), name
    for name in EVERYWHERE:
        coded = str(folders[name][0])
        for label in (f"{coded}@main", f"org/tiny@{name}"):
            np.testing.assert_array_equal(scores[label], scores[coded], err_msg=label)
            facts = entries[label].provenance.model
            assert facts["base"] == ["org/base"]
            assert facts["base_relation"] == "quantized"
            assert facts["num_bytes"] == entries[coded].num_bytes
    assert fake.asked["GET README.md"] == 1  # one content, whichever branch asks for it
