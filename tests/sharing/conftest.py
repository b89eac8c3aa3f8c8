"""A Hub on this machine and a store that is shared through it."""

from __future__ import annotations

from functools import partial

import pytest
from support.dataset_hub import DatasetHub, serve
from support.shared_stores import FILES, HERE, TEXTS, entropy_of, hub_record
from support.stores import filled, record

from jaxmap.checkpoint.sources.retry import Retry
from jaxmap.store import Store


@pytest.fixture
def hub(monkeypatch):
    """The local Hub, which the client library takes for the real one."""
    made = DatasetHub()
    with serve(made) as address:
        constants = "huggingface_hub.constants"
        monkeypatch.setattr(f"{constants}.ENDPOINT", address)
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(f"{constants}.HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(f"{constants}.HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(f"{constants}.HF_HUB_OFFLINE", False)
        impatient = partial(Retry, sleep=lambda seconds: None)
        monkeypatch.setattr("jaxmap.sharing.repository.Retry", impatient)
        yield made


@pytest.fixture
def store(tmp_path) -> Store:
    first = hub_record("org/a", model={"num_parameters": 1000, "tokenizer": "/home/alice/t",
                                       "base": ["org/b", "/home/alice/x", HERE],
                                       "note": "/home/alice"})  # fmt: skip
    made, _ = filled(
        tmp_path / "ours", TEXTS, first, hub_record("org/b", 1), hub_record("org/c", 2),
        hub_record("org/a", quantisation="int8"), hub_record("org/a", layer=1),
        record(TEXTS, HERE, commit="sha256:" + "0" * 64, files=FILES),
    )  # fmt: skip
    made.add(entropy_of(first))
    return made
