"""Language models beside pictures or sound against Hugging Face PyTorch's, given text alone.

Their pages differ in names and defaults only, so one type is scored by default.
"""

from __future__ import annotations

import json
import re
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
from jaxmap.checkpoint.checkpoint import Checkpoint
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
    return {**small_parts(kind), **tables()[_TABLES[kind]]}


@pytest.mark.parametrize(
    "kind",
    [pytest.param(k, marks=() if k == "voxtral" else pytest.mark.slow) for k in containers.INSIDE],
)
def test_logits_and_scores(kind, tmp_path):
    reference = make_model(containers.case(kind), tmp_path)
    bound = next((nats for start, nats in _BOUND.items() if kind.startswith(start)), NATS)
    compare(reference, tmp_path, nats_bound=bound, lens=True)


def test_every_type_around_a_language_model_has_a_case():
    around = {kind for kind, family in families().items() if family.around is not None}
    assert around <= {*containers.INSIDE, *_TABLES, *containers.RENAMED}


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


# transformers saves Molmo 2's two tables of embeddings as one; its own test has those of its files.
_SAVED_OTHERWISE = {"molmo2"}
# One of each way in which the parts are named; all the others are slow.
_NAMED = """
    deepseek_vl_hybrid fuyu hyperclovax_vision_v2 idefics2 janus kimi_k25 lighton_ocr llama4
    llava_next nemotron_h_omni omniasr qwen2_5_omni qwen2_audio qwen3_vl vibevoice_asr
    video_llama_3 video_llava
""".split()


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(k, marks=() if k in _NAMED else pytest.mark.slow)
        for k in sorted({*containers.INSIDE, *_TABLES} - _SAVED_OTHERWISE)
    ],
)
def test_every_tensor_of_the_whole_model_is_claimed(kind, tmp_path):
    """Under the names of the released files, of the library's memory, and of some versions."""
    reference = make_model(_whole(kind), tmp_path)
    as_saved = _parameters(tmp_path)
    embedding = reference.get_input_embeddings().weight.detach().numpy()
    # Some have rows for pictures after those of tokens.
    np.testing.assert_array_equal(as_saved["embed"], embedding[: len(as_saved["embed"])])

    if families()[kind].around is not None:
        _renamed(tmp_path, lambda saved: {_doubled(name): saved[name] for name in saved})
        _assert_same(_parameters(tmp_path), as_saved)

    # Of Llama 4 and of the models that speak, the reference is the part that reads text.
    if not {"llama4", "qwen2_5_omni", "qwen3_omni_moe"} & {kind}:
        state = {name: tensor.numpy() for name, tensor in reference.state_dict().items()}
        for tied in reference.all_tied_weights_keys:
            state.pop(tied, None)
        _renamed(tmp_path, lambda saved: state)
        _assert_same(_parameters(tmp_path), as_saved)


def _assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for path, array in found.items():
        np.testing.assert_array_equal(array, expected[path], err_msg=path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "factor"),
    [
        ("aya_vision", {"logit_scale": 0.3}),
        ("cohere2_vision", {"logit_scale": 0.3}),
        ("granite_speech", {"logits_scaling": 2.5}),
        ("granite_speech_plus", {"logits_scaling": 2.5}),
    ],
)
def test_factors_on_logits_are_the_language_models_own(kind, factor, tmp_path):
    """transformers 5.24 leaves them out of the whole model, not of the language model's class."""
    from transformers import AutoModelForCausalLM

    config = _whole(kind)
    config = {**config, "text_config": {**config["text_config"], **factor}}
    whole = make_model(config, tmp_path)
    text_config = whole.config.text_config
    text_config.tie_word_embeddings = False  # both are there, and are the same where it is true
    alone = AutoModelForCausalLM.from_config(text_config).eval()
    alone.model.load_state_dict(whole.model.language_model.state_dict())
    alone.lm_head.load_state_dict(whole.lm_head.state_dict())
    compare(alone, tmp_path)


def test_names_and_layouts_of_a_nemo_export(tmp_path):
    """Experts in two tensors with inputs first, and parameters in a module of their own."""
    make_model(containers.case("nemo_speechlm"), tmp_path)
    as_saved = _parameters(tmp_path)

    def exported(saved: dict[str, Any]) -> dict[str, Any]:
        found, experts = {}, {}
        for name, tensor in saved.items():
            expert = re.fullmatch(r"(.*\.experts)\.(\d+)\.(up|down)_proj\.weight", name)
            if expert is None:
                own = re.sub(r"mixer\.(A_log|D|dt_bias)$", r"mixer._fp32_params.\1", name)
                found[own] = tensor
            else:
                part = "gate_and_up_projs" if expert[3] == "up" else "down_projs"
                experts.setdefault(f"{expert[1]}.{part}", {})[int(expert[2])] = tensor.T
        for name, each in experts.items():
            found[name] = np.ascontiguousarray(np.stack([each[i] for i in range(len(each))]))
        found["llm.mtp.layers.0.norm.weight"] = np.ones(40, np.float32)
        found["perception.preprocessor.featurizer.window"] = np.ones(8, np.float32)
        return found

    _renamed(tmp_path, exported)
    names = load_file(tmp_path / "model.safetensors")
    assert any(name.endswith(".experts.gate_and_up_projs") for name in names)
    assert any(name.endswith(".mixer._fp32_params.A_log") for name in names)
    _assert_same(_parameters(tmp_path), as_saved)


@pytest.mark.parametrize(
    ("kind", "theirs"), [("kimi_k25", "model.blocks."), ("qianfan_ocr", "model.encoder.layers.")]
)
def test_names_that_the_library_saves_otherwise(kind, theirs, tmp_path):
    """transformers 5.24 gives the language model's layers the name of the vision tower's."""
    make_model(containers.case(kind), tmp_path)
    as_saved = _parameters(tmp_path)
    file = tmp_path / "model.safetensors"
    assert any(name.startswith(f"language_model.{theirs}") for name in load_file(file))
    _renamed(
        tmp_path,
        lambda saved: {
            name.replace(f"language_model.{theirs}", "language_model.model.layers."): saved[name]
            for name in saved
        },
    )
    _assert_same(_parameters(tmp_path), as_saved)


def test_a_thinker_around_the_whole(tmp_path):
    """As Qwen3-ASR's own files have it, in config.json and in the names of tensors."""
    make_model(containers.case("qwen3_asr"), tmp_path)
    as_saved = _parameters(tmp_path)
    file = tmp_path / "config.json"
    config = json.loads(file.read_text())
    text = {**config["text_config"], "model_type": "qwen3_asr_text"}
    inside = {"model_type": "qwen3_asr", "text_config": text, "tie_word_embeddings": True}
    file.write_text(json.dumps({"model_type": "qwen3_asr", "thinker_config": inside}))
    _renamed(
        tmp_path,
        lambda saved: {
            "thinker."
            + name.replace("model.language_model.", "model.").replace("model.audio_", "audio_"): one
            for name, one in saved.items()
            if "multi_modal_projector" not in name  # is in the tower there
        },
    )
    names = load_file(tmp_path / "model.safetensors")
    assert any(name.startswith("thinker.model.layers.0.") for name in names)
    assert any(name.startswith("thinker.audio_tower.") for name in names)
    _assert_same(_parameters(tmp_path), as_saved)


def test_internvls_own_files(tmp_path):
    """Of type internvl_chat: `llm_config`, and other names of what is not the language model."""
    reference = make_model(_whole("internvl"), tmp_path)
    as_saved = _parameters(tmp_path)
    file = tmp_path / "config.json"
    config = json.loads(file.read_text())
    own = {"model_type": "internvl_chat", "llm_config": config["text_config"]}
    file.write_text(json.dumps({**own, "template": "internvl2_5", "use_thumbnail": True}))
    others = {"vision_tower.": "vision_model.", "multi_modal_projector.": "mlp1."}

    def renamed(name: str) -> str:
        for theirs, here in others.items():
            name = name.replace(theirs, here)
        return name

    _renamed(tmp_path, lambda saved: {renamed(name): one for name, one in saved.items()})
    names = load_file(tmp_path / "model.safetensors")
    assert {name.split(".")[0] for name in names} == {"language_model", "vision_model", "mlp1"}
    _assert_same(_parameters(tmp_path), as_saved)
    assert Checkpoint(tmp_path).architecture.model_type == "internvl_chat/qwen2"
    compare(reference, tmp_path, lens=True)


def test_llm_config_and_an_encoding_inside_it(tmp_path):
    """Nemotron Omni's own files call the object so; Kimi K2.5 says the encoding in text_config."""
    make_model(containers.case("nemotron_h_omni"), tmp_path)
    as_saved = _parameters(tmp_path)
    file = tmp_path / "config.json"
    config = json.loads(file.read_text())
    config["llm_config"] = config.pop("text_config")
    file.write_text(json.dumps(config))
    _assert_same(_parameters(tmp_path), as_saved)
    assert Checkpoint(tmp_path).architecture.model_type == "nemotron_h_omni/nemotron_h"

    config["llm_config"]["quantization_config"] = {"quant_method": "fp8"}
    file.write_text(json.dumps(config))
    assert Checkpoint(tmp_path).encoding == "fp8"
