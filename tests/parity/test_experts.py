"""Families with routed experts against Hugging Face PyTorch."""

from __future__ import annotations

import json

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file
from support.cases.experts import CASES
from support.parity import NATS, check_parity, compare, random_texts
from support.reference import make_model, text_logp
from support.token_sets import make_tokens

from jaxmap.checkpoint import weights
from jaxmap.checkpoint.save import save_checkpoint
from jaxmap.engine.scorer import Scorers
from jaxmap.engine.scores import score_tokens
from jaxmap.errors import InputError
from jaxmap.model.decoder import named


@pytest.mark.parametrize("name", CASES)
def test_parity(name, tmp_path):
    check_parity(CASES[name], tmp_path)


@pytest.mark.parametrize("name", ["mixtral", "qwen2_moe", "phimoe", "granitemoe", "ernie4_5_moe"])
def test_experts_saved_together(name, tmp_path):
    """transformers 5 can save them as it holds them: other names, other shapes, one model."""
    reference = make_model(CASES[name], tmp_path / "apart")
    reference.save_pretrained(tmp_path / "together", save_original_format=False)
    apart, together = (
        {
            path: np.asarray(leaf[...])
            for path, leaf in named(weights.load(tmp_path / way, dtype="float32").params).items()
        }
        for way in ("apart", "together")
    )
    assert any("expert_gate" in path for path in apart)
    for path, value in apart.items():
        np.testing.assert_array_equal(together[path], value, err_msg=path)


@pytest.mark.parametrize(
    "name", ["mixtral", "granitemoe", "gpt_oss", "deepseek_v3", "ernie4_5_moe"]
)
def test_saved_again_as_it_was(name, tmp_path):
    make_model(CASES[name], tmp_path / "theirs")
    model = weights.load(tmp_path / "theirs", dtype="float32")
    config = json.loads((tmp_path / "theirs" / "config.json").read_text())
    save_checkpoint(model.params, model.spec, config, tmp_path / "ours")
    theirs, ours = (load_file(tmp_path / way / "model.safetensors") for way in ("theirs", "ours"))
    assert theirs.keys() == ours.keys()
    for key, value in theirs.items():
        np.testing.assert_array_equal(ours[key], value, err_msg=key)


def test_phimoe_beyond_the_original_length(tmp_path):
    """Long factors for long texts, which transformers 5.23 forgets: it is handed them as short."""
    from transformers import AutoConfig

    config = dict(CASES["phimoe-longrope"])
    scaling = {**config["rope_parameters"], "original_max_position_embeddings": 40}
    ids = random_texts()[0]
    short = {**config, "rope_parameters": scaling}
    long = {**config, "rope_parameters": {**scaling, "short_factor": scaling["long_factor"]}}
    near = make_model(short, tmp_path)
    far = type(near)(AutoConfig.for_model(**long)).eval()
    far.load_state_dict(near.state_dict())
    model = weights.load(tmp_path, dtype="float32")
    scores_N = score_tokens(Scorers().of(model), model, make_tokens([ids, ids[:40], ids[:41]]))
    theirs_N = [text_logp(far, ids), text_logp(near, ids[:40]), text_logp(far, ids[:41])]
    np.testing.assert_allclose(scores_N, theirs_N, rtol=0, atol=NATS)
    assert abs(text_logp(near, ids) - theirs_N[0]) > 10 * NATS, "the factors make no difference"


def test_quantised_experts_are_refused_by_name(tmp_path):
    make_model(CASES["gpt_oss"], tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "mxfp4"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="mxfp4"):
        weights.load(tmp_path)


def test_correction_is_not_rounded(tmp_path):
    """In bfloat16 a correction would choose other experts."""
    make_model(CASES["deepseek_v3"], tmp_path)
    exact = named(weights.load(tmp_path, dtype="float32").params)
    rounded = named(weights.load(tmp_path, dtype="bfloat16").params)
    path = "blocks/1/mlp/correction"
    assert rounded[path].dtype == jnp.float32
    assert rounded["blocks/1/mlp/router/kernel"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(rounded[path][...], exact[path][...])


_REMOTE = dict(
    vocab_size=97,
    hidden_size=40,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    intermediate_size=24,
    max_position_embeddings=128,
)


def _camelidae(folder):
    """Llama with PESC's adapters (Wu et al. 2024, arXiv:2401.02731), saved.

    transformers has no such class. Its MLP gives y; the layer gives sum_i w_i (y + s U_i gelu(D_i
    y)) over the two adapters with the best router logits of what the MLP read, whose softmax the
    weights w are.
    """
    import torch

    width, scaling = 7, 0.7
    reference = make_model({**_REMOTE, "model_type": "llama"}, folder)
    torch.manual_seed(1)
    for layer in reference.model.layers:
        dense = layer.mlp
        dense.moe_adapter = gate = torch.nn.Module()
        gate.router = torch.nn.Linear(40, 5, bias=False)
        torch.nn.init.normal_(gate.router.weight, std=0.5)
        gate.experts = torch.nn.ModuleDict()
        for i in range(5):
            gate.experts[f"expert_{i}"] = adapter = torch.nn.Module()
            adapter.adapter_down = torch.nn.Linear(40, width, bias=False)
            adapter.adapter_up = torch.nn.Linear(width, 40, bias=False)

        def forward(x, dense=dense, gate=gate):
            y = dense.down_proj(dense.act_fn(dense.gate_proj(x)) * dense.up_proj(x))
            best, which = gate.router(x).topk(2, dim=-1)
            each = [
                y + scaling * e.adapter_up(torch.nn.functional.gelu(e.adapter_down(y)))
                for e in gate.experts.values()
            ]
            return _mixed(best.softmax(-1), which, each)

        dense.forward = forward
    reference.save_pretrained(folder)
    config = {
        **_REMOTE,
        "model_type": "camelidae",
        "num_experts": 5,
        "topk": 2,
        "adapter_dim": width,
        "moe_scaling": scaling,
        "moe_dtype": "bfloat16",
    }
    (folder / "config.json").write_text(json.dumps(config))
    return reference


def _deepseek(folder, *, renorm: bool = False):
    """Llama with DeepSeekMoE (Dai et al. 2024, arXiv:2401.06066, equations 9 to 11), saved.

    transformers has no class for the first DeepSeek-MoE. The first layer is dense; the others give
    S(x) + sum_i w_i E_i(x) over the best of a softmax over all experts, S the shared one.
    """
    import torch
    from transformers.models.llama.modeling_llama import LlamaConfig, LlamaMLP

    reference = make_model({**_REMOTE, "model_type": "llama"}, folder)
    torch.manual_seed(1)
    narrow = LlamaConfig(**{**_REMOTE, "intermediate_size": 20})
    wide = LlamaConfig(**{**_REMOTE, "intermediate_size": 40})
    for layer in list(reference.model.layers)[1:]:
        layer.mlp = moe = torch.nn.Module()
        moe.gate = torch.nn.Linear(40, 6, bias=False)
        torch.nn.init.normal_(moe.gate.weight, std=0.5)
        moe.experts = torch.nn.ModuleList(LlamaMLP(narrow) for _ in range(6))
        moe.shared_experts = LlamaMLP(wide)

        def forward(x, moe=moe):
            weight, which = moe.gate(x).softmax(-1).topk(3, dim=-1)
            if renorm:
                weight = weight / weight.sum(-1, keepdim=True)
            return moe.shared_experts(x) + _mixed(weight, which, [e(x) for e in moe.experts])

        moe.forward = forward
    reference.save_pretrained(folder)
    config = {
        **_REMOTE,
        "model_type": "deepseek",
        "n_routed_experts": 6,
        "n_shared_experts": 2,
        "num_experts_per_tok": 3,
        "moe_intermediate_size": 20,
        "moe_layer_freq": 1,
        "first_k_dense_replace": 1,
        "norm_topk_prob": renorm,
        "scoring_func": "softmax",
        "aux_loss_alpha": 0.001,
        "seq_aux": True,
    }
    (folder / "config.json").write_text(json.dumps(config))
    return reference


def _mixed(weight, which, each):
    """sum_k weight_k each[which_k], over the last axes but one."""
    import torch

    each = torch.stack(each, dim=-2)
    chosen = each.gather(-2, which[..., None].expand(*which.shape, each.shape[-1]))
    return (weight[..., None] * chosen).sum(-2)


def _deepseek_renormed(folder):
    return _deepseek(folder, renorm=True)


@pytest.mark.parametrize("make", [_camelidae, _deepseek, _deepseek_renormed])
def test_types_that_transformers_lacks(make, tmp_path):
    compare(make(tmp_path), tmp_path, lens=make is not _deepseek_renormed)


def test_camelidae_with_another_rope_base_is_refused(tmp_path):
    _camelidae(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "rope_theta": 5e6}))
    with pytest.raises(InputError, match="rope_theta"):
        weights.load(tmp_path)
