"""State spaces and their hybrids against Hugging Face PyTorch.

The reference is its implementation in plain PyTorch; its CUDA kernels are not in these tests.
"""

from __future__ import annotations

# First: it must be set up before torch is imported.
from support import quantised_reference  # isort: skip

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from support.cases.state_space import CASES
from support.checkpoints import make_checkpoint, score, write_texts
from support.parity import check_parity, first_of_its_type, random_texts
from support.reference import make_model, text_logp
from support.token_sets import make_tokens

from jaxmap.architectures.config import Config
from jaxmap.architectures.specs import spec_of
from jaxmap.checkpoint import weights
from jaxmap.checkpoint.quantize import quantised
from jaxmap.engine.scorer import Scorers
from jaxmap.engine.scores import score_tokens
from jaxmap.errors import InputError
from jaxmap.model.inputs import Inputs
from jaxmap.model.layers.recurrence import causal_conv, linear_scan
from jaxmap.model.mixers import selective_scan, ssd
from jaxmap.store import Store

NATS = 5e-3  # PyTorch's own float32 scores of recurrent models are up to 4.8e-3 off float64
random = np.random.default_rng(5)

# At every push the first case of each type, but for Bamba, which is Granite 4 with less.
RARELY = {"bamba"}


@pytest.mark.parametrize(
    "name",
    [
        name
        if first_of_its_type(config) and name not in RARELY
        else pytest.param(name, marks=pytest.mark.slow)
        for name, config in CASES.items()
    ],
)
def test_logits_and_scores(name, tmp_path):
    check_parity(CASES[name], tmp_path, nats_bound=NATS)


@pytest.mark.parametrize("name", ["mamba2", pytest.param("mamba", marks=pytest.mark.slow)])
def test_long_text(name, tmp_path):
    """733 tokens: many chunks, and a state that has forgotten its beginning."""
    ids = random.integers(0, 97, 733).astype(np.int32)
    config = {**CASES[name], "num_hidden_layers": 1, "layer_norm_epsilon": 1e-4}
    check_parity(config, tmp_path, texts=[ids], nats_bound=NATS)


# Rows of several texts ---------------------------------------------------------------------------

# A row of texts of these many tokens, one of one token, one that spans chunks; then padding.
LENGTHS = [37, 1, 2, 130, 3]
POSITION_BT = np.stack([np.concatenate([*map(np.arange, LENGTHS), np.zeros(27)]), np.arange(200)])
POSITION_BT = POSITION_BT.astype(np.int32)


def test_convolution_sees_its_own_text():
    B, T, C, W = *POSITION_BT.shape, 3, 4
    x, kernel, bias = random.normal(size=(B, T, C)), random.normal(size=(C, W)), np.ones(C)
    expected = np.empty_like(x)
    for b, t in np.ndindex(B, T):
        lags = range(min(W, POSITION_BT[b, t] + 1))
        expected[b, t] = bias + sum(x[b, t - lag] * kernel[:, W - 1 - lag] for lag in lags)
    arrays = (jnp.asarray(a, jnp.float32) for a in (x, kernel, bias))
    np.testing.assert_allclose(causal_conv(*arrays, jnp.asarray(POSITION_BT)), expected, atol=1e-5)


def recurrence(decay, update) -> np.ndarray:
    """h_t = decay_t h_{t-1} + update_t, float64 [B, T, ...], from zero at each text's start."""
    states = np.empty(np.broadcast_shapes(decay.shape, update.shape))
    for b, t in np.ndindex(POSITION_BT.shape):
        before = states[b, t - 1] * decay[b, t] if POSITION_BT[b, t] else 0
        states[b, t] = before + update[b, t]
    return states


@pytest.mark.parametrize("chunk", [1, 16, 64, 500])
def test_linear_scan(chunk):
    B, T = POSITION_BT.shape
    decay, update = random.uniform(0.3, 1, (B, T, 3)), random.normal(size=(B, T, 3))
    ours = linear_scan(*(jnp.asarray(a, jnp.float32) for a in (decay, update)), POSITION_BT,
                       chunk=chunk)  # fmt: skip
    np.testing.assert_allclose(ours, recurrence(decay, update), rtol=0, atol=1e-5)


def test_selective_scan():
    """In chunks, as on an accelerator, and token by token, as on a CPU."""
    B, T, I, N = *POSITION_BT.shape, 5, 4  # noqa: E741
    x, step = random.normal(size=(B, T, I)), random.exponential(size=(B, T, I))
    rate, (write, read) = -random.exponential(size=(N, I)), random.normal(size=(2, B, T, N))
    decay = np.exp(step[:, :, None] * rate)
    states = recurrence(decay, (step * x)[:, :, None] * write[..., None])
    expected = (states * read[..., None]).sum(2)
    arrays = [jnp.asarray(a, jnp.float32) for a in (x, step, rate, write, read)]
    first_BT = jnp.asarray(POSITION_BT == 0)
    ways = {f"chunks of {chunk}": chunk for chunk in (16, 64, 500)}
    for way, chunk in ways.items():
        ours = jax.jit(selective_scan.selective_scan, static_argnames="chunk")(
            *arrays, first_BT, chunk=chunk
        )
        np.testing.assert_allclose(ours, expected, rtol=0, atol=2e-5, err_msg=way)
    ours = jax.jit(selective_scan.token_by_token)(*arrays, first_BT)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("chunk", [16, 64, 500])
@pytest.mark.parametrize("calm", [1.0, 1e-4])
def test_state_space(chunk, calm):
    """Also where long time steps are followed by short ones: exponents are small differences of
    large sums, which float32 alone would leave without digits."""
    B, T, G, R, P, N = *POSITION_BT.shape, 2, 3, 4, 5
    H = G * R
    x, rate = random.normal(size=(B, T, H, P)), -np.arange(1, H + 1.0)
    step = np.where(POSITION_BT < 30, 10.0, calm)[..., None] * random.exponential(size=(B, T, H))
    write, read = random.normal(size=(2, B, T, G, N))
    arrays = [np.asarray(a, np.float32) for a in (x, step, rate, write, read)]
    x, step, rate, write, read = (a.astype(np.float64) for a in arrays)
    of_head = np.repeat(np.arange(G), R)
    update = (step[..., None] * x)[..., None] * write[:, :, of_head, None]
    states = recurrence(np.exp(step * rate)[..., None, None], update)
    expected = (states * read[:, :, of_head, None]).sum(-1)
    ours = jax.jit(ssd.state_space, static_argnames="chunk")(*arrays, POSITION_BT, chunk=chunk)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=2e-6 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["mamba", "mamba2"])
def test_neighbours_change_nothing(name, tmp_path):
    make_model(CASES[name], tmp_path)
    model = weights.load(tmp_path, dtype="float32")
    scorer = Scorers().of(model)
    texts = [t for t in random_texts() if len(t) > 1]
    among_N = score_tokens(scorer, model, make_tokens(texts), batch_tokens=512)
    alone_N = [score_tokens(scorer, model, make_tokens([t]), batch_tokens=512)[0] for t in texts]
    np.testing.assert_allclose(among_N, alone_N, rtol=0, atol=1e-4)


def test_a_row_is_never_held_with_its_states(tmp_path):
    """What the program needs beside weights grows by chunks, not by states of the whole row."""
    config = {**CASES["mamba"], "hidden_size": 64, "state_size": 64, "num_hidden_layers": 1}
    make_model(config, tmp_path)
    model = weights.load(tmp_path, dtype="float32")
    decoder = nnx.merge(model.graph, model.params)

    def residual(ids_BT):
        return decoder.residual(Inputs.from_ids(ids_BT))[0]

    B, T = 2, 1024
    ids = jax.ShapeDtypeStruct((B, T), jnp.int32)
    states = B * T * 128 * 64 * 4
    assert jax.jit(residual).lower(ids).compile().memory_analysis().temp_size_in_bytes < states / 4


# Other ways to be scored -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("falcon_mamba", "int8"),
        ("mamba2", "nf4"),
        pytest.param("zamba2", "nf4", marks=pytest.mark.slow),
    ],
)
def test_quantised_copies(name, variant, tmp_path):
    depth = {} if "layers_block_type" in CASES[name] else {"num_hidden_layers": 2}
    theirs = make_model({**CASES[name], **depth}, tmp_path)
    model = weights.load(tmp_path, dtype="float32")
    texts = [random.integers(0, 97, 60).astype(np.int32) for _ in range(4)]

    def scores(model) -> np.ndarray:
        return score_tokens(Scorers().of(model), model, make_tokens(texts), batch_tokens=512)

    own_N, ours_N = scores(model), scores(quantised(model, variant))
    quantised_reference.quantise(theirs, variant)
    for module in theirs.modules():
        if hasattr(module, "config"):
            module.config._is_quantized = True  # so that its code calls its layers
    theirs_N = np.array([text_logp(theirs, ids) for ids in texts])
    # Rounding in float32 takes an activation from one int8 code to the next in some texts.
    assert np.median(np.abs(ours_N - theirs_N)) < 1e-2
    assert np.median(np.abs(own_N - theirs_N)) > 0.1


@pytest.mark.parametrize("in_float32", [True, False])
def test_the_residual_stream_of_16_bit_models(in_float32, tmp_path):
    """Float32 or not as in PyTorch; between blocks only: scores change by less than roundings."""
    config = {**CASES["mamba"], "num_hidden_layers": 1, "residual_in_fp32": in_float32}
    theirs = make_model(config, tmp_path, dtype="bfloat16").bfloat16()
    streams = []
    theirs.backbone.layers[0].register_forward_hook(lambda *args: streams.append(args[-1]))
    theirs(torch.zeros((1, 4), dtype=torch.long))
    model = weights.load(tmp_path, dtype="bfloat16")
    decoder = nnx.merge(model.graph, model.params)

    def states(ids_BT):
        inputs = Inputs.from_ids(ids_BT)
        x_BTD, _ = decoder.residual(inputs)
        return x_BTD, decoder.unembedded(x_BTD, inputs)

    stream, read = jax.eval_shape(states, jax.ShapeDtypeStruct((1, 4), jnp.int32))
    assert stream.dtype.name == str(streams[0].dtype).removeprefix("torch.")
    assert stream.dtype == (jnp.float32 if in_float32 else jnp.bfloat16)
    assert read.dtype == jnp.bfloat16


def test_texts_of_any_length_are_read(tmp_path):
    config = dict(CASES["mamba"], vocab_size=300, num_hidden_layers=1)
    folder = make_checkpoint(tmp_path / "mamba", config)
    texts = ["word " * 3000, "short"]
    ran = score(tmp_path / "store", write_texts(tmp_path / "texts.jsonl", texts), folder)
    assert ran.code == 0, ran.err
    (entry,) = Store.open(tmp_path / "store").records()
    assert (entry.provenance.truncated, entry.provenance.context) == (0, None)


@pytest.mark.parametrize(
    ("name", "changes", "named"),
    [
        ("mamba", {"time_step_rank": "wide"}, "time_step_rank"),
        ("mamba", {"time_step_rank": 0}, "time_step_rank"),
        ("mamba", {"hidden_act": "softsign"}, "softsign"),
        ("mamba", {"rms_norm": False}, "rms_norm"),
        ("mamba2", {"num_heads": 7}, "7 heads of 10 channels"),
        ("mamba2", {"n_groups": 3}, "3 groups"),
        ("mamba2", {"time_step_limit": [0.1]}, "time_step_limit"),
        ("mamba2", {"time_step_limit": [2.0, 1.0]}, "time_step_limit"),
        ("mamba2", {"time_step_limit": [{}, 1.0]}, "time_step_limit"),
        ("mamba2", {"time_step_limit": [0.0, {"__float__": "much"}]}, "time_step_limit"),
        ("falcon_h1", {"ssm_multipliers": [1.0, 2.0]}, "ssm_multipliers"),
        ("falcon_h1", {"mlp_multipliers": ["a", 2.0]}, "mlp_multipliers"),
        ("falcon_h1", {"attn_layer_indices": [1]}, "attn_layer_indices"),
        ("bamba", {"mamba_d_head": 3}, "8 heads of 3 channels"),
        ("jamba", {"mamba_inner_layernorms": False}, "mamba_inner_layernorms"),
        ("granitemoehybrid", {"layer_types": ["mamba", "conv", "mamba"]}, "conv"),
        ("granitemoehybrid", {"layer_types": ["mamba"]}, "1 layer_types for 3 layers"),
        ("nemotron_h", {"layers_block_type": ["mamba", "conv"]}, "conv"),
        ("nemotron_h", {"layers_block_type": None}, "hybrid_override_pattern"),
        ("nemotron_h", {"moe_latent_size": 8}, "moe_latent_size"),
        ("zamba2", {"num_key_value_heads": 2}, "num_key_value_heads = 2"),
        ("zamba2", {"use_long_context": True}, "use_long_context"),
        ("nemotron_h", {"hybrid_override_pattern": "M*-Q", "layers_block_type": None}, "'Q'"),
    ],
)
def test_what_is_refused(name, changes, named):
    with pytest.raises(InputError, match=re.escape(named)):
        spec_of(Config({**CASES[name], **changes}, "config.json"))


def test_spellings():
    def spec(name, **changes):
        return spec_of(Config({**CASES[name], **changes}, "config.json"))

    letters = spec("nemotron_h", hybrid_override_pattern="M*-E", layers_block_type=None)
    assert letters == spec("nemotron_h")
    words = ["linear_attention", "full_attention", "linear_attention"]
    again = spec("granitemoehybrid", layers_block_type=words, layer_types=None)
    assert again == spec("granitemoehybrid")
    limit = [0.0, {"__float__": "Infinity"}]
    assert spec("mamba2", time_step_limit=limit) == spec("mamba2", time_step_limit=None)
    # As in the repository of Falcon Mamba, where the two disagree.
    assert spec("falcon_mamba", expand=16, intermediate_size=80) == spec("falcon_mamba")
