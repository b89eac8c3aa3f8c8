"""Recurrent mixers: against PyTorch, against their formulas, and each text apart from the next."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file
from support.cases.recurrent import CASES, SLOW
from support.parity import check_parity, random_texts
from support.reference import make_model
from support.token_sets import make_tokens

from jaxmap.checkpoint import weights
from jaxmap.engine.scorer import Scorers
from jaxmap.engine.scores import score_tokens
from jaxmap.model.decoder import named
from jaxmap.model.inputs import Geometry, Inputs, LayerFacts
from jaxmap.model.layer_kind import Kind
from jaxmap.model.mixers.delta import delta_rule
from jaxmap.model.mixers.kimi_delta import channel_delta_rule
from jaxmap.model.mixers.mlstm import matrix_memory
from jaxmap.model.mixers.rwkv import wkv
from jaxmap.model.recurrent_facts import Delta, Lightning, Mlstm, Rglru
from jaxmap.model.spec import Spec
from jaxmap.model.sublayers import MIXERS, MLPS

# Of a text, nats: a state carries the roundings of all tokens before it.
RECURRENT = 5e-3


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in CASES],
)
def test_parity(name, tmp_path):
    check_parity(CASES[name], tmp_path, nats_bound=RECURRENT)


def test_beside_a_vision_tower(tmp_path):
    """Released Qwen3.5 files: other names, the language model's config inside another."""
    text, whole = tmp_path / "text", tmp_path / "whole"
    make_model(CASES["qwen3_5_moe_text"], text)
    config = json.loads((text / "config.json").read_text())
    whole.mkdir()
    tensors = {
        name.replace("model.", "model.language_model."): tensor
        for name, tensor in load_file(text / "model.safetensors").items()
    }
    tensors["model.visual.blocks.0.attn.qkv.weight"] = np.zeros((2, 2), np.float32)
    tensors["mtp.fc.weight"] = np.zeros((2, 2), np.float32)
    save_file(tensors, whole / "model.safetensors")
    outer = {"model_type": "qwen3_5_moe", "text_config": config, "vision_config": {"depth": 2}}
    (whole / "config.json").write_text(json.dumps({**outer, "image_token_id": 90}))
    one, other = (weights.load(folder, dtype="float32") for folder in (text, whole))
    assert one.spec == other.spec
    ours = named(other.params)
    for path, leaf in named(one.params).items():
        np.testing.assert_array_equal(ours[path][...], leaf[...], err_msg=path)


LENGTHS = [70, 1, 2, 130, 64, 3]  # texts that begin and end anywhere in a chunk
SPEC = Spec(
    L=1,
    D=16,
    H=2,
    G=2,
    C=8,
    F=12,
    V=97,
    context=None,
    kinds=(Kind(),),
    rglru=Rglru(width=24, heads=3, taps=4),
    delta=Delta(H=4, G=2, K=6, C=5, taps=4),
    lightning=Lightning(rates=((0.5, 0.01),), eps=1e-6),
    mlstm=Mlstm(K=6, C=5, gate_softcap=3.0, eps=1e-3),
)


def _positions(lengths: list[int]) -> np.ndarray:
    return np.concatenate([np.arange(n) for n in lengths]).astype(np.int32)


def _layer(part: str) -> nnx.Module:
    made = (MIXERS | MLPS)[part](SPEC, Kind(), dtype=jnp.float32, rngs=nnx.Rngs(0))
    graph, params = nnx.split(made)
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    noisy = [
        leaf + jax.random.normal(key, leaf.shape) * 0.5
        for leaf, key in zip(leaves, keys, strict=True)
    ]
    return nnx.merge(graph, jax.tree.unflatten(tree, noisy))


@pytest.mark.parametrize(
    "part", ["time_mix", "channel_mix", "rglru", "delta", "kimi_delta", "lightning", "mlstm"]
)
def test_a_text_alone_and_packed(part):
    layer = _layer(part)
    facts = jax.tree.map(lambda fact: fact[0], LayerFacts.of(SPEC, 0, 1))

    @jax.jit
    def run(x_BTD, position_BT):
        inputs = Inputs(position_BT, position_BT, position_BT, position_BT)
        geometry = Geometry.of(SPEC, inputs, reach=x_BTD.shape[1], block=64)
        return layer(x_BTD, geometry, facts)

    position_T = _positions(LENGTHS)
    # A row of other texts, in the order of the first's but backwards, shares the batch.
    position_BT = np.stack([position_T, _positions(LENGTHS[::-1])])
    x_BTD = np.random.default_rng(0).normal(size=(*position_BT.shape, 16)).astype(np.float32)
    together_BTD = np.asarray(run(x_BTD, position_BT))
    for row, lengths in enumerate((LENGTHS, LENGTHS[::-1])):
        start = 0
        for n in lengths:
            # Behind a text there is padding, every place of which is a text of its own.
            alone_BTD, alone_BT = np.zeros_like(x_BTD), np.zeros_like(position_BT)
            alone_BTD[0, :n], alone_BT[0, :n] = x_BTD[row, start : start + n], np.arange(n)
            alone_TD = np.asarray(run(alone_BTD, alone_BT))[0, :n]
            np.testing.assert_allclose(
                together_BTD[row, start : start + n], alone_TD, rtol=1e-6, atol=1e-5
            )
            start += n


def _wkv(decay_A, first_A, k_TA, v_TA, position_T):
    """Equation 16, term by term, float64."""
    mean_TA = np.zeros_like(k_TA)
    for t in range(len(k_TA)):
        s = np.arange(t - position_T[t], t + 1)
        weight_sA = k_TA[s] - (t - 1 - s)[:, None] * decay_A
        weight_sA[-1] = k_TA[t] + first_A
        weight_sA = np.exp(weight_sA - weight_sA.max(0))
        mean_TA[t] = (weight_sA * v_TA[s]).sum(0) / weight_sA.sum(0)
    return mean_TA


@pytest.mark.parametrize("size", [1.0, 300.0])  # exp(300) is beyond float32
def test_wkv_is_its_formula(size):
    random = np.random.default_rng(0)
    position_T = _positions(LENGTHS)
    k_TA, v_TA = size * random.normal(size=(2, len(position_T), 5))
    decay_A, first_A = np.exp(random.normal(size=5) - 3), random.normal(size=5)
    args = (decay_A, first_A, k_TA[None], v_TA[None])
    ours_BTA = jax.jit(wkv)(*(jnp.asarray(a, jnp.float32) for a in args), position_T[None])
    theirs_TA = _wkv(decay_A, first_A, k_TA, v_TA, position_T)
    np.testing.assert_allclose(ours_BTA[0], theirs_TA, rtol=0, atol=2e-5 * size)


def _delta_rule(q_THK, k_THK, v_THC, log_decay_TH, rate_TH, position_T):
    """Token by token, float64."""
    o_THC = np.zeros_like(v_THC)
    for t, position in enumerate(position_T):
        if position == 0:
            state_HKC = np.zeros((*k_THK.shape[1:], v_THC.shape[-1]))
        decay_HX = np.exp(log_decay_TH[t]).reshape(len(state_HKC), -1)  # one, or one a channel
        state_HKC = state_HKC * decay_HX[..., None]
        error_HC = v_THC[t] - np.einsum("hk,hkc->hc", k_THK[t], state_HKC)
        state_HKC += np.einsum("hk,hc->hkc", k_THK[t], rate_TH[t, :, None] * error_HC)
        o_THC[t] = np.einsum("hk,hkc->hc", q_THK[t], state_HKC)
    return o_THC


# Decays of exp(-30), beside ones of nearly 1, and of nearly 1 throughout.
@pytest.mark.parametrize(("chunk", "decay"), [(64, 10.0), (64, 1e-3), (7, 1.0)])
def test_delta_rule_is_its_recurrence(chunk, decay):
    random = np.random.default_rng(0)
    position_T = _positions(LENGTHS)
    T = len(position_T)
    q_THK, k_THK, v_THC = (random.normal(size=(T, 3, size)) for size in (6, 6, 4))
    k_THK /= np.linalg.norm(k_THK, axis=-1, keepdims=True)
    log_decay_TH = -decay * random.random((T, 3)) * random.choice([1e-3, 3.0], (T, 3))
    args = (q_THK, k_THK, v_THC, log_decay_TH, random.random((T, 3)))
    ours_BTHC = jax.jit(delta_rule, static_argnames="chunk")(
        *(jnp.asarray(a[None], jnp.float32) for a in args), position_T[None], chunk=chunk
    )
    np.testing.assert_allclose(ours_BTHC[0], _delta_rule(*args, position_T), rtol=0, atol=2e-5)


@pytest.mark.parametrize(("chunk", "decay"), [(16, 10.0), (16, 1e-3)])
def test_channel_delta_rule_is_its_recurrence(chunk, decay):
    random = np.random.default_rng(0)
    position_T = _positions(LENGTHS)
    T = len(position_T)
    q_THK, k_THK, v_THC = (random.normal(size=(T, 3, size)) for size in (6, 6, 4))
    k_THK /= np.linalg.norm(k_THK, axis=-1, keepdims=True)
    log_decay_THK = -decay * random.random((T, 3, 6)) * random.choice([1e-3, 3.0], (T, 3, 6))
    args = (q_THK, k_THK, v_THC, log_decay_THK, random.random((T, 3)))
    ours_BTHC = jax.jit(channel_delta_rule, static_argnames="chunk")(
        *(jnp.asarray(a[None], jnp.float32) for a in args), position_T[None], chunk=chunk
    )
    np.testing.assert_allclose(ours_BTHC[0], _delta_rule(*args, position_T), rtol=0, atol=2e-5)


def _matrix_memory(q_THK, k_THK, v_THC, write_TH, keep_TH, position_T, eps):
    """Token by token, float64."""
    o_THC = np.zeros_like(v_THC)
    for t, position in enumerate(position_T):
        if position == 0:
            C_HKC = np.zeros((*k_THK.shape[1:], v_THC.shape[-1]))
            n_HK, m_H = np.zeros(k_THK.shape[1:]), np.zeros(k_THK.shape[1])
        kept_H = m_H - np.logaddexp(0, -keep_TH[t])
        m_H = np.maximum(kept_H, write_TH[t])
        keep_H1, write_H1 = np.exp(kept_H - m_H)[:, None], np.exp(write_TH[t] - m_H)[:, None]
        C_HKC = C_HKC * keep_H1[..., None]
        C_HKC += np.einsum("hk,hc->hkc", write_H1 * k_THK[t], v_THC[t])
        n_HK = n_HK * keep_H1 + write_H1 * k_THK[t]
        least_H = np.maximum(np.abs((n_HK * q_THK[t]).sum(-1)), np.exp(-m_H)) + eps
        o_THC[t] = np.einsum("hk,hkc->hc", q_THK[t], C_HKC) / least_H[:, None]
    return o_THC


@pytest.mark.parametrize(("chunk", "size"), [(64, 15.0), (7, 2.0)])
def test_matrix_memory_is_its_recurrence(chunk, size):
    """Gates of up to 15 in size, as the released model caps them."""
    random = np.random.default_rng(0)
    position_T = _positions(LENGTHS)
    T = len(position_T)
    q_THK, k_THK, v_THC = (random.normal(size=(T, 3, n)) for n in (6, 6, 4))
    args = (q_THK, k_THK, v_THC, *random.uniform(-size, size, (2, T, 3)))
    ours_BTHC = jax.jit(matrix_memory, static_argnames=("chunk", "eps"))(
        *(jnp.asarray(a[None], jnp.float32) for a in args), position_T[None], eps=0.1, chunk=chunk
    )
    theirs_THC = _matrix_memory(*args, position_T, 0.1)
    np.testing.assert_allclose(ours_BTHC[0], theirs_THC, rtol=1e-4, atol=1e-4)


def test_fused_projections_of_xlstm(tmp_path):
    """Files with `weight_mode` "fused" have several projections in one tensor."""
    make_model(CASES["xlstm-biases"], tmp_path / "single")
    config = json.loads((tmp_path / "single" / "config.json").read_text())
    tensors = load_file(tmp_path / "single" / "model.safetensors")
    parts = {
        "mlstm_layer.qkv_opreact": ["mlstm_layer." + n for n in ("q", "k", "v", "ogate_preact")],
        "mlstm_layer.ifgate_preact": ["mlstm_layer.igate_preact", "mlstm_layer.fgate_preact"],
        "ffn.proj_up_gate_z": ["ffn.proj_up_gate", "ffn.proj_up"],
    }
    for layer in range(config["num_hidden_layers"]):
        for fused, names in parts.items():
            for end in ("weight", "bias"):
                block = f"backbone.blocks.{layer}."
                joined = [tensors.pop(f"{block}{name}.{end}") for name in names]
                tensors[f"{block}{fused}.{end}"] = np.concatenate(joined)
    fused = tmp_path / "fused"
    fused.mkdir()
    save_file(tensors, fused / "model.safetensors")
    # The released file's names for two sizes.
    config["embedding_dim"], config["num_blocks"] = config.pop("hidden_size"), 3
    (fused / "config.json").write_text(json.dumps({**config, "weight_mode": "fused"}))
    one, other = (weights.load(tmp_path / name, dtype="float32") for name in ("single", "fused"))
    assert one.spec == other.spec
    ours = named(other.params)
    for path, leaf in named(one.params).items():
        np.testing.assert_array_equal(ours[path][...], leaf[...], err_msg=path)


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "bound"), [("bfloat16", 3.0), ("float16", 0.3)])
@pytest.mark.parametrize("name", ["rwkv-rescaled", "recurrent_gemma", "qwen3_next"])
def test_sixteen_bit_arithmetic(name, dtype, bound, tmp_path):
    """16-bit activations stay near float32, and are not float32."""
    make_model(CASES[name], tmp_path, dtype="bfloat16")
    texts = random_texts()[2:7]
    scores = {}
    for used in ("float32", dtype):
        model = weights.load(tmp_path, dtype=used)
        scores[used] = score_tokens(Scorers().of(model), model, make_tokens(texts))
    assert 1e-4 < np.abs(scores[dtype] - scores["float32"]).max() < bound
