"""Routing: which experts each token uses, with what weights, from the router's logits.

The arithmetic is float32. Among equal scores the expert with the lower index is chosen; torch.topk
does not define which. In array names, N is tokens, E experts, K the experts of a token.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxmap.model.expert_facts import Experts

Routing = tuple[jax.Array, jax.Array]  # weights, float32 [N, k], and experts, int32 [N, k]


def _best(score_NE: jax.Array, experts: Experts, correction_E: jax.Array | None) -> Routing:
    """The k experts with the best corrected scores, and their scores without the correction."""
    choice_NE = score_NE if correction_E is None else score_NE + correction_E
    if experts.groups > 1:
        N, E = choice_NE.shape
        choice_NPQ = choice_NE.reshape(N, experts.groups, E // experts.groups)
        best = 1 if experts.group_score == "max" else 2
        group_NP = jax.lax.top_k(choice_NPQ, best)[0].sum(-1)
        kept_NX = jax.lax.top_k(group_NP, experts.groups_kept)[1]
        kept_NP = (kept_NX[..., None] == jnp.arange(experts.groups)).any(1)
        choice_NE = jnp.where(kept_NP[..., None], choice_NPQ, experts.left_out).reshape(N, E)
    index_NK = jax.lax.top_k(choice_NE, experts.k)[1]
    return jnp.take_along_axis(score_NE, index_NK, axis=1), index_NK


def _softmax(logit_NE: jax.Array, experts: Experts, correction_E: jax.Array | None) -> Routing:
    return _best(jax.nn.softmax(logit_NE, axis=-1), experts, correction_E)


def _sigmoid(logit_NE: jax.Array, experts: Experts, correction_E: jax.Array | None) -> Routing:
    return _best(jax.nn.sigmoid(logit_NE), experts, correction_E)


def _sigmoid_of_best(
    logit_NE: jax.Array, experts: Experts, correction_E: jax.Array | None
) -> Routing:
    best_NK, index_NK = _best(logit_NE, experts, correction_E)
    return jax.nn.sigmoid(best_NK), index_NK


def _sparsemixer(logit_NE: jax.Array, experts: Experts, correction_E: jax.Array | None) -> Routing:
    """SparseMixer at inference (Liu et al. 2024, arXiv:2409.12136).

    Experts are chosen one after another, each time the best that is left. Its weight is its softmax
    among those remaining logits that are near it (`Experts.jitter`).
    """
    weights, indices = [], []
    left_NE = logit_NE
    for _ in range(experts.k):
        index_N1 = jnp.argmax(left_NE, axis=-1, keepdims=True)
        top_N1 = jnp.take_along_axis(left_NE, index_N1, axis=1)
        distance_NE = (top_N1 - logit_NE) / jnp.maximum(jnp.abs(logit_NE), top_N1)
        near_NE = jnp.where(distance_NE > 2 * experts.jitter, -jnp.inf, left_NE)
        share_NE = jax.nn.softmax(near_NE, axis=-1)
        weights.append(jnp.take_along_axis(share_NE, index_N1, axis=1))
        indices.append(index_N1)
        left_NE = jnp.where(jnp.arange(experts.E) == index_N1, -jnp.inf, left_NE)
    return jnp.concatenate(weights, axis=1), jnp.concatenate(indices, axis=1)


SCORES: dict[str, Callable[[jax.Array, Experts, jax.Array | None], Routing]] = {
    "sigmoid": _sigmoid,
    "sigmoid_of_best": _sigmoid_of_best,  # large logits are told apart where their sigmoids are 1
    "softmax": _softmax,
    "sparsemixer": _sparsemixer,
}


def route(logit_NE: jax.Array, experts: Experts, correction_E: jax.Array | None = None) -> Routing:
    """Chooses the experts of each token, and their weights, from the router's float32 logits."""
    if experts.softcap:
        logit_NE = experts.softcap * jnp.tanh(logit_NE / experts.softcap)
    weight_NK, index_NK = SCORES[experts.score](logit_NE, experts, correction_E)
    if experts.renorm:
        sum_N1 = weight_NK.sum(-1, keepdims=True) + experts.added
        weight_NK = weight_NK / jnp.maximum(sum_N1, experts.least)
    return weight_NK * experts.scale, index_NK
