"""Compares quantised copies with PyTorch's; imported before anything that imports torch."""

from __future__ import annotations

# First: it must be set up before torch is imported.
from support import quantised_reference  # isort: skip

from pathlib import Path
from typing import Any

import numpy as np

from jaxmap.checkpoint import weights
from jaxmap.checkpoint.quantize import quantised
from jaxmap.engine.scorer import Scorers
from jaxmap.engine.scores import score_tokens
from support.parity import random_texts
from support.reference import make_model, text_logp
from support.token_sets import make_tokens


def check_4_bit_copy(config: dict[str, Any], folder: Path) -> None:
    """An nf4 copy scores texts as PyTorch's does, and otherwise than the model itself."""
    reference = make_model(config, folder)
    model = weights.load(folder, dtype="float32")
    texts = random_texts()[2:7]
    tokens = make_tokens(texts)
    copy = quantised(model, "nf4")
    own_N, copy_N = (score_tokens(Scorers().of(one), one, tokens) for one in (model, copy))
    theirs = quantised_reference.quantise(reference, "nf4")
    theirs_N = [text_logp(theirs, ids) for ids in texts]
    np.testing.assert_allclose(copy_N, theirs_N, rtol=0, atol=5e-3)
    assert np.abs(copy_N - own_N).max() > 1
