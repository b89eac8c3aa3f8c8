"""A Hub on this machine, for tests of shared stores."""

from __future__ import annotations

from functools import partial

import pytest
from support.dataset_hub import DatasetHub, serve

from jaxmap.checkpoint.sources.retry import Retry


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
