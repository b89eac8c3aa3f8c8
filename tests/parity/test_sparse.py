"""The types of support/cases/sparse.py against Hugging Face PyTorch.

The first case of each type is compared at every layer too. Further cases are slow.
"""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from support import encoders
from support.cases.sparse import CASES
from support.parity import NATS, check_parity, compare, random_texts
from support.reference import make_model, text_logp
from support.released import save_any
from support.token_sets import make_tokens

from jaxmap.checkpoint import weights
from jaxmap.engine.scorer import Scorers
from jaxmap.engine.scores import score_tokens
from jaxmap.errors import InputError
from jaxmap.model.decoder import named

_PARAMETERS = [pytest.param(name, marks=pytest.mark.slow if "-" in name else ()) for name in CASES]


@pytest.mark.parametrize("name", _PARAMETERS)
def test_logits_and_scores(name, tmp_path):
    check_parity(CASES[name], tmp_path)


# type -> keys of config.json, the longest text that is scored, the attributes of its indexers that
# are the number of keys, or blocks of keys, that they choose.
_LIMITS = {
    "axk2": (dict(index_topk=40), 40, "index_topk"),
    "deepseek_v32": (dict(index_topk=40), 40, "index_topk"),
    "glm_moe_dsa": (dict(index_topk=40), 40, "index_topk"),
    "glm5_next": (dict(index_topk=36, index_kpool=6), 41, "index_topk"),
    "qwen4_exp_text": (
        dict(indexer_budget=36, indexer_compress_ratio=6),
        41,
        "block_topk token_budget",
    ),
    "hy_v4": (dict(index_topk=40), 40, "index_topk"),
    "minimax_m3_vl_text": (
        dict(index_block_size=8, index_topk_blocks=5, index_local_blocks=2),
        40,
        "topk_blocks",
    ),
}


@pytest.mark.parametrize("name", _LIMITS)
def test_longer_texts_need_the_indexer(name, tmp_path):
    """Up to the limit PyTorch attends to all keys; beyond it scores change, and are not given."""
    changes, limit, attributes = _LIMITS[name]
    config = CASES[name]
    if "text_config" in config:
        changes = {"text_config": {**config["text_config"], **changes}}
    reference = make_model({**config, **changes}, tmp_path)
    ids = random_texts()[0]
    texts = [ids[:limit], ids[5 : 5 + limit], ids[40 : 40 + limit - 1]]
    model = weights.load(tmp_path, dtype="float32")
    assert model.spec.dense_up_to == limit
    scorer = Scorers().of(model)
    scores_N = score_tokens(scorer, model, make_tokens(texts), batch_tokens=512)
    np.testing.assert_allclose(
        scores_N, [text_logp(reference, one) for one in texts], rtol=0, atol=NATS
    )
    longer = [*texts, ids[: limit + 1], ids]
    with pytest.raises(InputError, match=rf"2 of 5 .*\(text 3, from 0, has {limit + 1}\)"):
        score_tokens(scorer, model, make_tokens(longer))

    sparse = [text_logp(reference, one) for one in longer]
    for module in reference.modules():
        for name in attributes.split():
            if hasattr(module, name):
                setattr(module, name, 10_000)
    moved = np.abs(np.subtract(sparse, [text_logp(reference, one) for one in longer]))
    assert moved[:3].max() == 0, "an indexer that chooses among keys of a text up to the limit"
    assert moved[4] > 20 * NATS, "an indexer that makes no difference"


def _with(model, tensors, folder):
    """PyTorch's model of another model's config.json with these tensors, which are saved."""
    model.config.save_pretrained(folder)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return type(model).from_pretrained(folder, dtype="float32").eval()


def _in_8_bit_floats(tensors):
    """(as DeepSeek stores them, blocks of 8 x 16 with a scale; what the codes stand for)."""
    rng, stored, exact = np.random.default_rng(3), {}, {}
    for name, value in tensors.items():
        stored[name] = exact[name] = value
        if not re.search(r"norm|embed|lm_head|gate\.(weight|e_score)|weights_proj", name):
            parts, values = encoders.fp8(value, rng, block=(8, 16))
            stored[name], stored[f"{name}_scale_inv"] = parts["codes"], parts["scales"]
            exact[name] = values.astype(np.float32)
    assert "model.layers.0.self_attn.indexer.wq_b.weight_scale_inv" in stored
    return stored, exact


def test_files_as_deepseek_releases_them(tmp_path):
    """8-bit floats in blocks, a layer that predicts further tokens, keys of the released config."""
    config = {**CASES["deepseek_v32-yarn"], "num_hidden_layers": 2, "moe_intermediate_size": 16}
    made = make_model(config, tmp_path / "made")
    stored, exact = _in_8_bit_floats(load_file(tmp_path / "made" / "model.safetensors"))
    reference = _with(made, exact, tmp_path / "exact")
    further = {
        name.replace(".layers.1.", ".layers.2."): value
        for name, value in stored.items()
        if ".layers.1." in name
    }
    further["model.layers.2.eh_proj.weight"] = np.ones((2, 2), np.float32)
    save_any({**stored, **further}, tmp_path / "model.safetensors")
    keys = json.loads((tmp_path / "made" / "config.json").read_text())
    yarn = keys.pop("rope_parameters")
    for key in ("head_dim", "qk_head_dim", "layer_types", "mlp_layer_types"):
        del keys[key]
    keys |= dict(
        rope_theta=yarn.pop("rope_theta"),
        rope_scaling={"type": yarn.pop("rope_type"), **yarn},
        ep_size=1,
        moe_layer_freq=1,
        num_nextn_predict_layers=1,
        scoring_func="sigmoid",
        topk_method="noaux_tc",
        quantization_config={
            "quant_method": "fp8",
            "activation_scheme": "dynamic",
            "fmt": "e4m3",
            "scale_fmt": "ue8m0",
            "weight_block_size": [8, 16],
        },
    )
    (tmp_path / "config.json").write_text(json.dumps(keys))
    compare(reference, tmp_path)


def test_files_as_minimax_m3_is_released(tmp_path):
    """Beside a vision tower, with other names for experts and the indexer, and one for each linear.

    The keys of config.json are those of the released model.
    """
    make_model(CASES["minimax_m3_vl_text"], tmp_path / "made")
    own = weights.load(tmp_path / "made", dtype="float32")
    tensors = {}
    for name, value in load_file(tmp_path / "made" / "model.safetensors").items():
        name = name.replace("indexer.", "index_").replace("mlp.gate.e_score", "mlp.e_score")
        if ".layers.0." not in name:
            name = name.replace(".mlp.", ".block_sparse_moe.")
        name = f"language_model.{name}"
        if name.endswith("experts.gate_up_proj"):
            for e, (w1, w3) in enumerate(np.split(one, 2) for one in value):
                stem = name.removesuffix("gate_up_proj")
                tensors |= {f"{stem}{e}.w1.weight": w1, f"{stem}{e}.w3.weight": w3}
        elif name.endswith("experts.down_proj"):
            stem = name.removesuffix("down_proj")
            tensors |= {f"{stem}{e}.w2.weight": one for e, one in enumerate(value)}
        elif name.endswith("gate_up_proj.weight"):
            for part, one in zip(("gate", "up"), np.split(value, 2), strict=True):
                tensors[name.replace("gate_up", part)] = one
        else:
            tensors[name] = value
    for name in ("vision_tower.x", "multi_modal_projector.x", "patch_merge_mlp.linear_1"):
        tensors[f"{name}.weight"] = np.ones((2, 2), np.float32)
    tensors["language_model.model.mtp.0.fc.weight"] = np.ones((2, 2), np.float32)
    tensors = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    released = tmp_path / "released"
    released.mkdir()
    save_file(tensors, released / "model.safetensors")
    keys = json.loads((tmp_path / "made" / "config.json").read_text())
    for key in ("model_type", "layer_types", "mlp_layer_types"):
        del keys[key]
    rope = keys.pop("rope_parameters")
    blocks = dict(block=keys.pop("index_block_size"), blocks=keys.pop("index_topk_blocks"))
    keys |= dict(
        rope_theta=rope["rope_theta"],
        partial_rotary_factor=rope["partial_rotary_factor"],
        hidden_act="swigluoai",
        use_qk_norm=True,
        qk_norm_type="per_head",
        use_gemma_norm=True,
        attention_output_gate=False,
        n_shared_experts=1,
        scoring_func="sigmoid",
        use_routing_bias=True,
        num_mtp_modules=7,
        num_nextn_predict_layers=1,
        moe_layer_freq=[0, 1, 1],
        sparse_attention_config=dict(
            use_sparse_attention=True,
            sparse_index_dim=14,
            sparse_num_index_heads=2,
            sparse_topk_blocks=blocks["blocks"],
            sparse_block_size=blocks["block"],
            sparse_score_type="max",
            sparse_init_block=0,
            sparse_local_block=1,
            sparse_disable_index_value=[0, 1, 1],
            sparse_attention_freq=[0, 1, 1],
        ),
    )
    config = {
        "model_type": "minimax_m3_vl",
        "text_config": keys,
        "vision_config": {"hidden_size": 2},
        "image_token_index": 96,
        "projector_hidden_act": "gelu",
    }
    (released / "config.json").write_text(json.dumps(config))
    other = weights.load(released, dtype="float32")
    assert other.spec == own.spec
    wanted = named(own.params)
    for path, leaf in named(other.params).items():
        np.testing.assert_array_equal(leaf[...], wanted[path][...], err_msg=path)


def test_files_as_axk1_is_released(tmp_path):
    """A norm in dense layers too, which they do not use, and routers without a correction."""
    made = make_model(CASES["axk1"], tmp_path / "made")
    tensors = load_file(tmp_path / "made" / "model.safetensors")
    tensors = {name: value for name, value in tensors.items() if "e_score" not in name}
    tensors["model.layers.0.post_mlp_layernorm.weight"] = np.ones(40, np.float32)
    compare(_with(made, tensors, tmp_path / "released"), tmp_path / "released")
