"""GPT-J to StableLM against Hugging Face PyTorch: sdpa attention, eager where there is none.

Falcon's reference is sdpa: its eager attention adds ALiBi twice in transformers 5.23. MPT's is
patched where transformers ignores a key that the training code follows.
"""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from support.cases.classic import CASES
from support.parity import check_parity, compare
from support.reference import make_model

from jaxmap.architectures.config import Config
from jaxmap.architectures.registry import families
from jaxmap.architectures.specs import spec_of
from jaxmap.checkpoint import weights
from jaxmap.checkpoint.save import save_checkpoint
from jaxmap.errors import InputError


@pytest.mark.parametrize("name", CASES)
def test_logits_and_scores(name, tmp_path):
    check_parity(CASES[name], tmp_path)


# Where a small error of an angle, a slope or a window shows: 733 tokens.
@pytest.mark.parametrize(
    ("name", "context"),
    [
        ("gptj", {"n_positions": 1024}),
        ("codegen", {"n_positions": 1024}),
        ("gpt_neo", {"max_position_embeddings": 1024}),
        ("opt", {"max_position_embeddings": 1024}),
        ("bloom-six-heads", {}),
        ("falcon-rw", {}),
        ("falcon-40b-alibi", {}),
        ("mpt-six-heads", {"max_seq_len": 1024}),
        ("xglm", {"max_position_embeddings": 1024}),
    ],
)
def test_long_text(name, context, tmp_path):
    ids = np.random.default_rng(3).integers(0, 97, 733).astype(np.int32)
    check_parity({**CASES[name], **context}, tmp_path, texts=[ids])


@pytest.mark.parametrize(
    ("biases", "normed"), [(True, False), (False, True), (True, True)], ids=str
)
def test_mpt_with_biases_and_query_norms(biases, normed, tmp_path):
    """The reference is given biases in every Linear and norm, and norms on queries and keys."""
    import torch
    from torch import nn

    config = {**CASES["mpt"], "no_bias": not biases, "attn_config": {"qk_ln": normed}}
    reference = make_model(config, tmp_path)
    D = config["d_model"]
    generator = torch.Generator().manual_seed(1)

    def noise(count: int, about: float = 0.0) -> nn.Parameter:
        return nn.Parameter(about + torch.randn(count, generator=generator) * 0.3)

    for block in reference.transformer.blocks:
        if normed:
            for name in ("q_ln", "k_ln"):
                norm = nn.LayerNorm(D, bias=biases)
                norm.weight = noise(D, 1.0)
                setattr(block.attn, name, norm)

            def normalise(module, inputs, output, attn=block.attn):
                q, k, v = output.chunk(3, dim=-1)
                return torch.cat([attn.q_ln(q), attn.k_ln(k), v], dim=-1)

            block.attn.Wqkv.register_forward_hook(normalise)
    if biases:
        for name, module in reference.named_modules():
            if isinstance(module, nn.Linear | nn.LayerNorm) and name != "lm_head":
                module.bias = noise(module.weight.shape[0])
    reference.save_pretrained(tmp_path)
    compare(reference, tmp_path)


def test_mpt_has_the_reference_slopes_whatever_its_config_says(tmp_path):
    config = {**CASES["mpt"], "attn_config": {"alibi_bias_max": 16, "alibi": False}}
    check_parity(config, tmp_path)


def test_the_width_of_an_mpts_mlp_is_that_of_its_tensors(tmp_path):
    """transformers makes it four times the stream's, whatever the config says."""
    config = {**CASES["mpt"], "expansion_ratio": 2}
    check_parity(config, tmp_path)
    with weights.opened(tmp_path) as found:
        assert found.spec.F == 4 * 40
    assert spec_of(Config(config, "a test")).F == 2 * 40


FUSED = ["codegen", "gpt_bigcode", "gpt_bigcode-many-kv-heads", "bloom", "falcon-40b", "mpt"]


@pytest.mark.parametrize("name", [*FUSED, "opt-350m", "stablelm-2-12b"])
def test_written_back_as_it_was(name, tmp_path):
    """Every stored tensor is claimed, and `save_checkpoint` writes the same tensors."""
    make_model(CASES[name], tmp_path / "a")
    model = weights.load(tmp_path / "a", dtype="float32")
    config = json.loads((tmp_path / "a" / "config.json").read_text())
    save_checkpoint(model.params, model.spec, config, tmp_path / "b")
    written, stored = (load_file(tmp_path / x / "model.safetensors") for x in "ba")
    assert written.keys() == stored.keys()
    for key, tensor in stored.items():
        np.testing.assert_array_equal(written[key], tensor, err_msg=key)


@pytest.mark.parametrize("name", ["bloom", "gpt_bigcode", "gpt_neo", "falcon-7b-untied", "opt"])
def test_names_without_the_prefix(name, tmp_path):
    """A file saved from the bare transformer, with buffers that old versions of it kept."""
    make_model(CASES[name], tmp_path)
    model = weights.load(tmp_path, dtype="float32")
    prefix = families()[CASES[name]["model_type"]].prefix
    path = tmp_path / "model.safetensors"
    stored = load_file(path)
    bare = {key.removeprefix(prefix): tensor for key, tensor in stored.items()}
    buffers = {
        "gpt_bigcode": "h.0.attn.bias",
        "gpt_neo": "h.1.attn.attention.masked_bias",
        "opt": "decoder.version",
    }
    if name in buffers:
        bare[buffers[name]] = np.ones((1,), np.float32)
    save_file(bare, path)
    again = weights.load(tmp_path, dtype="float32")
    assert again.spec == model.spec
    for one, other in zip(
        jax.tree.leaves(model.params), jax.tree.leaves(again.params), strict=True
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("gptj", {"rotary_dim": None}, "rotary_dim"),
        ("gptj", {"rotary_dim": 5}, "rope of 5 channels"),
        ("gptj", {"scale_attn_weights": False}, "scale_attn_weights"),
        ("codegen", {"n_embd": 60, "n_head": 6}, "6 heads"),
        ("gpt_neo", {"attention_types": [[["global"], 2]]}, "2 of 3 layers"),
        ("gpt_neo", {"attention_types": [[["global"], 10**9]]}, "does not fit"),
        ("gpt_neo", {"attention_types": [[["global"], -1], [["global"], 3]]}, "does not fit"),
        ("gpt_neo", {"attention_types": [[["sparse"], 3]]}, "unknown attention_types"),
        ("gpt_neo", {"attention_layers": ["global"] * 3}, "or others"),
        ("gpt_neo", {"window_size": 0}, "window_size"),
        ("gpt_bigcode", {"add_cross_attention": True}, "add_cross_attention"),
        ("bloom", {"slow_but_exact": True, "pretraining_tp": 2}, "slow_but_exact"),
        ("falcon-7b", {"num_ln_in_parallel_attn": 2}, "contradict each other"),
        ("falcon-40b", {"parallel_attn": False}, "contradict each other"),
        ("falcon-40b", {"num_ln_in_parallel_attn": 3}, "contradict each other"),
        ("falcon-40b", {"num_kv_heads": 3}, "evenly"),
        ("mpt", {"logit_scale": 0.5}, "logit_scale"),
        ("mpt", {"norm_type": "rmsnorm"}, "norm_type"),
        ("mpt", {"attn_config": {"qk_gn": True}}, "qk_gn"),
        ("mpt", {"attn_config": {"prefix_lm": True}}, "prefix_lm"),
        ("mpt", {"attn_config": {"attn_type": "multiquery_attention"}}, "attn_type"),
        ("mpt", {"attn_config": {"rope": True}}, "rope"),
        ("xglm", {"pad_token_id": 5}, "pad_token_id"),
        ("xglm", {"d_model": 39, "attention_heads": 3}, "39"),
        ("starcoder2", {"norm_type": "rms_norm"}, "norm_type"),
        ("starcoder2", {"mlp_type": "gated"}, "mlp_type"),
        ("stablelm", {"rotary_scaling_factor": 2.0}, "rotary_scaling_factor"),
    ],
)
def test_refused_by_name(name, change, message):
    with pytest.raises(InputError, match=message):
        spec_of(Config({**CASES[name], **change}, "config.json"))


def test_keys_of_released_files():
    """Keys that files written by older versions hold, and defaults of those that they leave out."""
    released = {
        "gptj": {"rotary": True, "scale_attn_weights": True, "summary_type": "cls_index"},
        "codegen": {"n_ctx": 2048, "scale_attn_weights": True},
        "gpt_neo": {"attention_layers": ["local", "global", "local"], "summary_activation": None},
        "gpt_bigcode": {"inference_runner": 0, "pad_key_length": True, "max_batch_size": None},
        "opt": {"activation_dropout": 0.0, "init_std": 0.02, "layerdrop": 0.0, "prefix": "</s>"},
        "bloom": {"n_inner": None, "offset_alibi": 100, "masked_softmax_fusion": True},
        "falcon-7b": {"apply_residual_connection_post_layernorm": False, "num_kv_heads": 4},
        "falcon-rw": {"rope_theta": 10000.0, "rope_scaling": None},
        "falcon-11b": {"ff_factor": 4, "rope_theta": 500042.0},
        "mpt": {
            "attn_config": {"attn_impl": "torch", "attn_uses_sequence_id": False, "clip_qkv": None},
            "init_config": {"name": "kaiming_normal_"},
            "learned_pos_emb": True,
            "logit_scale": None,
            "verbose": 0,
        },
        "xglm": {"activation_dropout": 0, "decoder_start_token_id": 2},
        "starcoder2": {"mlp_type": "default", "activation_function": "gelu", "rope_theta": 1e6},
        "phi": {"rope_scaling": None, "resid_pdrop": 0.0, "rope_theta": 10000.0},
        "stablelm": {"rotary_scaling_factor": 1.0, "rope_theta": 10000},
    }
    other_theta = {"falcon-11b", "starcoder2"}
    for name, extra in released.items():
        before = spec_of(Config(dict(CASES[name]), "config.json"))
        after = spec_of(Config({**CASES[name], **extra}, "config.json"))
        assert (before == after) != (name in other_theta), name
    left_out = {"falcon-7b": 2048, "bloom": 2048}
    for name, context in left_out.items():
        assert spec_of(Config(dict(CASES[name]), "config.json")).context == context


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("gptj", dict(hidden_size=48, num_attention_heads=4, num_hidden_layers=3)),
        ("gpt_bigcode", dict(hidden_size=40, num_attention_heads=4, num_hidden_layers=3)),
        ("gpt_neo", dict(num_attention_heads=4, num_hidden_layers=3)),
        ("bloom", dict(n_embed=40, num_attention_heads=4, num_hidden_layers=3)),
        ("mpt", dict(hidden_size=40, num_attention_heads=4, num_hidden_layers=3)),
        ("xglm", dict(hidden_size=40, num_attention_heads=4, num_hidden_layers=3)),
    ],
)
def test_both_spellings(short, long):
    dropped = "n_embd n_head n_layer hidden_size n_heads n_layers d_model num_heads num_layers"
    dropped = {*dropped.split(), "attention_heads"} - set(long)
    if short == "gpt_neo":
        dropped -= {"hidden_size"}
    other = {k: v for k, v in CASES[short].items() if k not in dropped} | long
    assert spec_of(Config(other, "")) == spec_of(Config(dict(CASES[short]), ""))
