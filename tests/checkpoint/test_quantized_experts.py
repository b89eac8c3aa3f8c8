"""Quantised copies of models with routed experts."""

from __future__ import annotations

# First: it must be set up before torch is imported.
from support import quantised_reference  # isort: skip
import copy
import math

import numpy as np
import pytest
import torch
from support.cases.experts import CASES as EXPERTS
from support.reference import make_model, text_logp
from support.token_sets import make_tokens

from jaxmap.checkpoint import weights
from jaxmap.checkpoint.quantize import quantised
from jaxmap.engine.scorer import Scorers
from jaxmap.engine.scores import score_tokens
from jaxmap.model.decoder import named

NATS = 1e-2

random = np.random.default_rng(7)

WIDTHS = [119, 1, 64, 0, 41, 40, 2, 90, 13]

TEXTS = [random.integers(0, 97, n).astype(np.int32) for n in WIDTHS]

CUT = [random.integers(0, 97, 60).astype(np.int32) for _ in range(12)]


def scores(model, texts=TEXTS) -> np.ndarray:
    return score_tokens(Scorers().of(model), model, make_tokens(texts), batch_tokens=512)


def with_outliers(reference, folder) -> None:
    """Makes the last ids of the vocabulary drive a feature beyond 6 in every layer's input."""
    with torch.no_grad():
        reference.get_input_embeddings().weight[90:, 5] = 40
    reference.save_pretrained(folder)


@pytest.mark.parametrize(("name", "code"), [("mixtral", "nf4"), ("gpt_oss", "fp4")])
def test_4_bit_experts(name, code, tmp_path):
    reference = make_model(EXPERTS[name], tmp_path)
    model = weights.load(tmp_path, dtype="float32")
    own_N, ours_N = scores(model, CUT[:3]), scores(quantised(model, code), CUT[:3])
    theirs = quantised_reference.quantise(reference, code)
    np.testing.assert_allclose(ours_N, [text_logp(theirs, t) for t in CUT[:3]], rtol=0, atol=NATS)
    assert np.abs(ours_N - own_N).max() > 10 * NATS


EXPERTS_OF_EACH = {config["model_type"]: name for name, config in reversed(EXPERTS.items())}


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["nf4", "int8"])
@pytest.mark.parametrize("name", EXPERTS_OF_EACH.values())
def test_experts_of_every_family(name, variant, tmp_path):
    reference = make_model(EXPERTS[name], tmp_path)
    ours_N = scores(quantised(weights.load(tmp_path, dtype="float32"), variant), CUT[:4])
    theirs = quantised_reference.quantise(reference, variant)
    difference_N = np.abs(ours_N - [text_logp(theirs, t) for t in CUT[:4]])
    # See test_int8_scores: an activation may be rounded to the other of two codes.
    assert (difference_N < NATS).mean() >= (0.5 if variant == "int8" else 1), difference_N


def test_int8_experts(tmp_path):
    """Outliers of one text and expert keep their columns out of 8 bit, and no others do."""
    reference = make_model(EXPERTS["mixtral"], tmp_path)
    with_outliers(reference, tmp_path)
    model = weights.load(tmp_path, dtype="float32")
    texts = [ids[:30] % 90 if i % 2 else ids[30:] for i, ids in enumerate(CUT[:8])]
    ours_N, own_N = scores(quantised(model, "int8"), texts), scores(model, texts)
    theirs = quantised_reference.quantise(copy.deepcopy(reference), "int8")
    difference_N = np.abs(ours_N - [text_logp(theirs, ids) for ids in texts])
    same_N = difference_N < 1e-3
    assert same_N.mean() >= 0.6, difference_N
    moved_N = np.abs(ours_N - own_N)
    assert difference_N.max() < moved_N.max()
    assert np.median(moved_N[same_N]) > 0.01


def test_what_of_experts_is_quantised(tmp_path):
    """Every expert and the shared one with its gate; held in half a byte a weight and scales."""
    reference = make_model(EXPERTS["qwen2_moe"], tmp_path)
    model = weights.load(tmp_path, dtype="float32")
    before, after = named(model.params), named(quantised(model, "nf4").params)
    gone = {path.split("/", 2)[2] for path in before if path not in after}
    assert gone == {
        *(f"mlp/expert_{part}/kernel" for part in ("gate", "up", "down")),
        *(f"mlp/shared/{part}/kernel" for part in ("gate", "up", "down")),
        *(f"attn/{part}/kernel" for part in "qkvo"),
        "mlp/shared_gate/kernel",
    }
    sizes = [
        layer.weight.numel() for layer in quantised_reference.linear_layers(reference).values()
    ]
    for experts in quantised_reference.routed_experts(reference).values():
        E, twice, D = experts.gate_up_proj.shape
        sizes += [D * twice // 2] * 3 * E
    held = sum(leaf[...].nbytes for path, leaf in after.items() if path not in before)
    assert held == sum(math.ceil(size / 2) + 4 * math.ceil(size / 64) for size in sizes)


def test_experts_in_any_file(tmp_path):
    """A file that holds all experts of a layer together gives the same copies."""
    reference = make_model(EXPERTS["mixtral"], tmp_path / "apart")
    reference.save_pretrained(tmp_path / "together", save_original_format=False)
    one, other = (
        named(quantised(weights.load(tmp_path / way, dtype="float32"), "nf4").params)
        for way in ("apart", "together")
    )
    for path, leaf in one.items():
        np.testing.assert_array_equal(leaf[...], other[path][...], err_msg=path)
