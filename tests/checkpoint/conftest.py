"""A Hub of this machine, its client, and the waits that the client asked for."""

from __future__ import annotations

import os

import pytest
from support.hub_of_one_model import LATER, WEIGHTS
from support.hubs import COMMIT, Fake, serve

from jaxmap.checkpoint.sources.hub import Hub
from jaxmap.checkpoint.sources.retry import Retry


@pytest.fixture
def fake():
    contents = {
        "config.json": b'{"model_type": "gpt_neox"}',
        "tokenizer.json": b"{}",
        "tokenizer_config.json": b"{ }",
        "model.safetensors": WEIGHTS,
        "pytorch_model.bin": b"pickle",
        "model.fp16.safetensors": b"variant",
        "modeling_tiny.py": b"raise SystemExit",
        "onnx/model.onnx": b"onnx",
        "original/consolidated.00.pth": b"other",
        "optimizer.pt": b"state",
        "README.md": b"words",
    }
    branches = {"main": LATER, **{f"step{i}": COMMIT for i in (0, 1, 2, 3, 1000)}}
    return Fake(contents, branches)


@pytest.fixture
def waits(monkeypatch):
    """Makes every wait instant, the client library's own too, and notes ours."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    return []


@pytest.fixture
def hub(fake, waits, tmp_path, monkeypatch):
    import huggingface_hub

    for name in list(os.environ):
        if name.startswith("HF_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    with serve(fake) as address:
        yield Hub(
            endpoint=address,
            cache=tmp_path / "cache é 1",
            offline=False,
            retry=Retry(sleep=waits.append),
        )
        huggingface_hub.close_session()
