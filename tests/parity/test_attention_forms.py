"""The types of support/cases/attention_forms.py against PyTorch, the first case at every layer.

The cases that turn further keys of config.json are slow, and so are the types that put together
what others have tested.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
from support.cases.attention_forms import CASES
from support.parity import check_parity
from support.reference import make_model

from jaxmap.checkpoint import weights
from jaxmap.model.decoder import named

_DEFAULT = {"bailing_hybrid", "beam", "hrm_text", "laguna", "zaya"}
_PARAMETERS = [
    pytest.param(name, marks=() if name in _DEFAULT else pytest.mark.slow) for name in CASES
]


@pytest.mark.parametrize("name", _PARAMETERS)
def test_logits_and_scores(name, tmp_path):
    check_parity(CASES[name], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bailing_hybrid", "hrm_text", "laguna", "lfm3"])
def test_files_under_the_names_of_transformers(name, tmp_path):
    """transformers renames tensors of released files as it reads them; files may have either."""
    reference = make_model(CASES[name], tmp_path / "released")
    reference.save_pretrained(tmp_path / "joined", save_original_format=False)
    own, other = (
        weights.load(tmp_path / folder, dtype="float32") for folder in ("released", "joined")
    )
    assert own.spec == other.spec
    wanted = named(own.params)
    for path, leaf in named(other.params).items():
        np.testing.assert_array_equal(leaf[...], wanted[path][...], err_msg=path)
    index = json.loads((tmp_path / "joined" / "config.json").read_text())
    assert index["model_type"] == name
