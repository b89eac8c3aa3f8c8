"""Routed experts alone: what the router and the blocks of tokens promise."""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxmap.model.encodings.codes import Grouping
from jaxmap.model.encodings.four_bit import FourBitExperts, pack
from jaxmap.model.encodings.grouped import GroupedExperts
from jaxmap.model.expert_facts import ClampedSwiglu, Experts
from jaxmap.model.inputs import Geometry
from jaxmap.model.kernels import experts_gpu
from jaxmap.model.layer_kind import Kind
from jaxmap.model.layers.linear import Linear
from jaxmap.model.mlps.expert_blocks import in_blocks
from jaxmap.model.mlps.expert_products import ExpertLinears
from jaxmap.model.mlps.experts import RoutedExperts
from jaxmap.model.mlps.routing import route
from jaxmap.model.spec import Spec


class TestRoute:
    def test_of_equal_scores_the_lower_index_is_taken(self):
        logit_NE = jnp.asarray([[0.0, 1.0, 1.0, 1.0, 0.5], [2.0, 2.0, 2.0, 2.0, 2.0]])
        weight_NK, index_NK = route(logit_NE, Experts(E=5, k=2, F=1, renorm=True))
        assert index_NK.tolist() == [[1, 2], [0, 1]]
        np.testing.assert_allclose(weight_NK, 0.5, rtol=1e-6)

    def test_equal_groups_and_equal_experts_in_them(self):
        experts = Experts(
            E=6, k=2, F=1, score="sigmoid", groups=3, groups_kept=1, group_score="top2"
        )
        _, index_NK = route(jnp.zeros((1, 6)), experts)
        assert index_NK.tolist() == [[0, 1]]

    def test_experts_of_other_groups_come_before_those_below_zero(self):
        kept = dict(E=6, k=4, F=1, score="sigmoid", groups=3, groups_kept=2, group_score="top2")
        logit_NE, correction_E = jnp.asarray([[3.5, -3.0, 3.0, -2.0, 0.0, 0.0]]), -0.3 * jnp.ones(6)
        for left_out, chosen in ((-jnp.inf, {0, 1, 2, 3}), (0.0, {0, 2, 4, 5})):
            _, index_NK = route(logit_NE, Experts(**kept, left_out=left_out), correction_E)
            assert set(index_NK.tolist()[0]) == chosen

    def test_sparsemixer_on_equal_logits(self):
        experts = Experts(E=4, k=2, F=1, score="sparsemixer", jitter=0.01)
        weight_NK, index_NK = route(jnp.asarray([[1.0, 3.0, 3.0, 3.0]]), experts)
        assert index_NK.tolist() == [[1, 2]]
        np.testing.assert_allclose(weight_NK, [[1 / 3, 1 / 2]], rtol=1e-6)

    def test_correction_chooses_but_does_not_weigh(self):
        logit_NE = jnp.asarray([[3.0, 2.0, 1.0]])
        experts = Experts(E=3, k=1, F=1, score="sigmoid", correction=True)
        weight_NK, index_NK = route(logit_NE, experts, jnp.asarray([0.0, 0.0, 5.0]))
        assert index_NK.tolist() == [[2]]
        np.testing.assert_allclose(weight_NK, jax.nn.sigmoid(1.0), rtol=1e-6)


@pytest.mark.parametrize("shares", ["even", "one takes all", "some take none"])
@pytest.mark.parametrize(("N", "E", "k"), [(1, 4, 1), (37, 5, 2), (130, 40, 4)])
def test_blocks_give_each_token_its_experts(N, E, k, shares):
    random = np.random.default_rng(0)
    score_NE = random.random((N, E))
    if shares == "one takes all":
        score_NE[:, E - 1] += 1
    if shares == "some take none":
        score_NE[:, ::2] -= len(range(1, E, 2)) >= k
    index_NK = np.argsort(-score_NE, axis=1)[:, :k]
    x_ND = random.normal(size=(N, 3)).astype(np.float32)
    runs = []

    def run(expert, x_bD):
        jax.debug.callback(lambda e: runs.append(int(e)), expert)
        return x_bD * (expert + 1).astype(x_bD.dtype)

    y_NKD = jax.jit(lambda x, i: in_blocks(run, x, i, E, 8))(x_ND, index_NK)
    jax.block_until_ready(y_NKD)
    jax.effects_barrier()
    factor_NK1 = (index_NK[..., None] + 1).astype(np.float32)
    np.testing.assert_array_equal(y_NKD, x_ND[:, None] * factor_NK1)
    size_E = np.bincount(index_NK.reshape(-1), minlength=E)
    wanted = np.repeat(np.arange(E), -(-size_E // 8))
    assert sorted(runs) == wanted.tolist(), "blocks are computed that nobody needs"


_EXPERTS = [
    Experts(E=6, k=2, F=20, renorm=True),
    Experts(E=6, k=3, F=20, bias=True, router_bias=True, glu=ClampedSwiglu(1.7, 0.3)),
    Experts(E=4, k=2, F=20, gated=False, act="gelu", shared_F=12, on_shared=True, scale=0.3),
    Experts(E=6, k=2, F=20, shared_F=12, shared_gate=True),
]


def _applied(layer: RoutedExperts, x_BTD: jax.Array) -> jax.Array:
    """The layer on rows that are one text each."""
    B, T, _ = x_BTD.shape
    position_BT = jnp.broadcast_to(jnp.arange(T), (B, T))
    return layer(x_BTD, Geometry(jnp.ones_like(position_BT), position_BT, None, None, T, T))


def _layer(experts: Experts, dtype=jnp.float32, D: int = 16) -> RoutedExperts:
    spec = Spec(L=1, D=D, H=2, G=2, C=8, F=12, V=97, context=64, experts=experts, kinds=(Kind(),))
    layer = RoutedExperts(spec, Kind(mlp="experts"), dtype=dtype, rngs=nnx.Rngs(0))
    graph, params = nnx.split(layer)
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    noisy = [
        leaf + jax.random.normal(key, leaf.shape, leaf.dtype) * 0.4
        for leaf, key in zip(leaves, keys, strict=True)
    ]
    return nnx.merge(graph, jax.tree.unflatten(tree, noisy))


@pytest.mark.parametrize("experts", _EXPERTS)
def test_what_a_tpu_computes_is_what_others_compute(experts):
    layer = _layer(experts)
    x_ND = jax.random.normal(jax.random.key(2), (53, 16))
    index_NK = jax.random.randint(jax.random.key(3), (53, experts.k), 0, experts.E)
    blocks = jax.jit(partial(layer.products.in_blocks, layer.linears), static_argnames="some")
    at_once = jax.jit(partial(layer.products.by_ragged_dot, layer.linears), static_argnames="some")
    np.testing.assert_allclose(blocks(x_ND, index_NK), at_once(x_ND, index_NK), rtol=0, atol=1e-5)
    # Where a device has only some of the experts, a choice of another's gives zero.
    another_NK = jnp.where(index_NK == 0, experts.E, index_NK)
    some_NKD = blocks(x_ND, another_NK, some=True)
    np.testing.assert_allclose(some_NKD, at_once(x_ND, another_NK, some=True), rtol=0, atol=1e-5)
    here_NK1 = (index_NK > 0)[..., None]
    np.testing.assert_allclose(
        some_NKD, np.where(here_NK1, blocks(x_ND, index_NK), 0), rtol=0, atol=1e-5
    )


def _four_bit(linear: Linear) -> FourBitExperts:
    """The layer in nf4."""
    arrays = jax.vmap(lambda kernel: pack(kernel.T.reshape(-1), "nf4"))(linear.kernel[...])
    shape = linear.kernel.shape[:0:-1]
    return FourBitExperts(linear.equation, *arrays, code="nf4", shape=shape, bias=linear.bias)


def _grouped(linear: Linear) -> GroupedExperts:
    """Random codes of the layer's shape: groups of inputs in any order, with zero points."""
    E, I, O = linear.kernel.shape  # noqa: E741
    random, Z = np.random.default_rng(O), 4
    arrays = {
        "codes": random.integers(0, 255, (E, O, I), np.uint8),
        "scale": random.normal(0, 0.01, (E, O, Z)).astype(np.float32),
        "zero": random.integers(100, 150, (E, O, Z), np.int16),
        "index": random.integers(0, Z, (E, I), np.int32),
    }
    meaning = Grouping((O, I), "uint8", Z, zero=True, indexed=True)
    arrays = {name: jnp.asarray(array) for name, array in arrays.items()}
    return GroupedExperts(linear.equation, meaning, arrays, linear.bias)


@pytest.mark.parametrize("packed", [_four_bit, _grouped])
def test_packed_experts_on_a_tpu_are_those_of_the_blocks(packed):
    layer = _layer(_EXPERTS[1])
    of = ExpertLinears(*map(packed, layer.linears))
    x_ND = jax.random.normal(jax.random.key(2), (53, 16))
    index_NK = jax.random.randint(jax.random.key(3), (53, 3), 0, 6)
    expected = jax.jit(partial(layer.products.in_blocks, of))(x_ND, index_NK)
    found = jax.jit(partial(layer.products.by_ragged_dot, of))(x_ND, index_NK)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert np.ptp(expected) > 1


@pytest.mark.parametrize(
    ("experts", "D", "F", "least"),
    list(zip(_EXPERTS, (16, 64, 64, 16), (48, 160, 160, 48), (16, 64, 16, 16), strict=True)),
)
def test_what_a_gpu_computes_is_what_others_compute(experts, D, F, least, monkeypatch):
    """In 16 bits, at widths that are no multiple of a tile, in blocks of two sizes."""
    monkeypatch.setattr(experts_gpu, "_LEAST", least if least <= D else 16)
    layer = _layer(dataclasses.replace(experts, F=F), jnp.bfloat16, D=D)
    x_ND = jax.random.normal(jax.random.key(2), (53, D), jnp.bfloat16)
    index_NK = jax.random.randint(jax.random.key(3), (53, experts.k), 0, experts.E)
    blocks = jax.jit(partial(layer.products.in_blocks, layer.linears), static_argnames="some")
    kernel = jax.jit(
        partial(layer.products.by_kernel, layer.linears, interpret=True), static_argnames="some"
    )
    for index, some in ((index_NK, False), (jnp.where(index_NK == 0, experts.E, index_NK), True)):
        found, expected = kernel(x_ND, index, some=some), blocks(x_ND, index, some=some)
        scale = float(jnp.abs(expected).max())
        assert float(jnp.abs(found - expected).max()) < 0.01 * scale  # of bfloat16's 8 bits
        assert scale > 1


@pytest.mark.parametrize("experts", _EXPERTS)
def test_padding_disturbs_nobody(experts):
    """However much of it there is, and wherever the router sends it."""
    layer = _layer(experts)
    x_BTD = jax.random.normal(jax.random.key(2), (1, 30, 16))
    padding = 50 * jax.random.normal(jax.random.key(4), (1, 200, 16))
    together = jnp.concatenate([padding[:, :100], x_BTD, padding[:, 100:]], axis=1)
    np.testing.assert_allclose(
        _applied(layer, together)[:, 100:130], _applied(layer, x_BTD), rtol=0, atol=1e-5
    )


def test_router_is_float32_whatever_the_activations_are():
    """Logits that bfloat16 cannot tell apart choose as they do in float32."""
    layer = _layer(Experts(E=6, k=2, F=20), jnp.bfloat16)
    x_BTD = jax.random.normal(jax.random.key(2), (1, 400, 16), jnp.bfloat16)
    exact_NE = np.asarray(x_BTD[0], np.float64) @ np.asarray(layer.router.kernel[...], np.float64)
    np.testing.assert_allclose(layer.router_logits(x_BTD[0]), exact_NE, rtol=0, atol=1e-5)


def test_gradients_go_through_the_blocks():
    layer = _layer(_EXPERTS[0])
    graph, params = nnx.split(layer)
    x_BTD = jax.random.normal(jax.random.key(2), (1, 30, 16))
    grads = jax.grad(lambda p: jnp.sum(_applied(nnx.merge(graph, p), x_BTD) ** 2))(params)
    assert all(float(jnp.abs(g).max()) > 0 for g in jax.tree.leaves(grads))
