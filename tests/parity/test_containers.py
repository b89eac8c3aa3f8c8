"""Language models beside pictures or sound against Hugging Face PyTorch's, given text alone.

Their pages differ in names and defaults only, so one type is scored by default.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from support import containers
from support.parity import NATS, compare, tables
from support.reference import make_model
from support.towers import small_parts

from jaxmap.architectures.registry import families
from jaxmap.checkpoint import weights
from jaxmap.model.decoder import named

_BOUND = {"minicpm": 5e-3}  # nats; a state carries the roundings of all tokens
# Cases of other tables, by their type: the first of each.
_TABLES = {
    case["model_type"]: name for name, case in reversed(tables().items()) if "text_config" in case
}


def _whole(kind: str) -> dict[str, Any]:
    """config.json of a type with all of its parts."""
    if kind in containers.INSIDE:
        return containers.case(kind)
    return {**tables()[_TABLES[kind]], **small_parts(kind)}


@pytest.mark.parametrize(
    "kind",
    [pytest.param(k, marks=() if k == "voxtral" else pytest.mark.slow) for k in containers.INSIDE],
)
def test_logits_and_scores(kind, tmp_path):
    reference = make_model(containers.case(kind), tmp_path)
    bound = next((nats for start, nats in _BOUND.items() if kind.startswith(start)), NATS)
    compare(reference, tmp_path, nats_bound=bound)


def test_every_type_around_a_language_model_has_a_case():
    around = {kind for kind, family in families().items() if family.around is not None}
    assert around <= {*containers.INSIDE, *_TABLES}


def _parameters(folder: Path) -> dict[str, np.ndarray]:
    """Every parameter; fails if a tensor is not claimed."""
    return {
        path: np.asarray(leaf)
        for path, leaf in named(weights.load(folder, dtype="float32").params).items()
    }


def _doubled(name: str) -> str:
    """As some releases of transformers 5 named the language model of audio models."""
    for inside in ("model.language_model.", "language_model.model."):
        if name.startswith(inside):
            return name.replace(inside, f"{inside}model.", 1)
    return name


def _renamed(folder: Path, rename: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    file = folder / "model.safetensors"
    save_file(rename(load_file(file)), file, metadata={"format": "pt"})


# One of each way in which the parts are named; all the others are slow.
_NAMED = """
    deepseek_vl_hybrid fuyu hyperclovax_vision_v2 idefics2 janus lighton_ocr llama4 llava_next
    omniasr qwen2_audio qwen3_vl vibevoice_asr video_llama_3 video_llava
""".split()


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(k, marks=() if k in _NAMED else pytest.mark.slow)
        for k in sorted({*containers.INSIDE, *_TABLES})
    ],
)
def test_every_tensor_of_the_whole_model_is_claimed(kind, tmp_path):
    """Under the names of the released files, of the library's memory, and of some versions."""
    reference = make_model(_whole(kind), tmp_path)
    as_saved = _parameters(tmp_path)
    embedding = reference.get_input_embeddings().weight.detach().numpy()
    np.testing.assert_array_equal(as_saved["embed"], embedding)

    if families()[kind].around is not None:
        _renamed(tmp_path, lambda saved: {_doubled(name): saved[name] for name in saved})
        _assert_same(_parameters(tmp_path), as_saved)

    if kind != "llama4":  # whose reference is the language model
        state = {name: tensor.numpy() for name, tensor in reference.state_dict().items()}
        for tied in reference.all_tied_weights_keys:
            state.pop(tied, None)
        _renamed(tmp_path, lambda saved: state)
        _assert_same(_parameters(tmp_path), as_saved)


def _assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for path, array in found.items():
        np.testing.assert_array_equal(array, expected[path], err_msg=path)
