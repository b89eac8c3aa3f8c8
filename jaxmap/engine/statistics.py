"""What can be read off a model's logits at a token: the table STATISTICS.

A statistic is a few sums, counts or maxima over the vocabulary (`jaxmap.engine.accumulators`),
which the scan of `jaxmap.engine.readout` keeps up to date block by block, and a formula that makes
a number per token of them. docs/extend/statistic.md shows how to add one. N is tokens.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxmap.engine.distribution import Distributions
from jaxmap.errors import InputError


@dataclasses.dataclass(frozen=True)
class Found:
    """What a statistic's formula is given, of the whole vocabulary.

    Fields:
      over: the distributions.
      target_N, target_logit_N: the token that follows, and its logit in the model.
      sums: what each of the statistic's accumulators came to, by name.
    """

    over: Distributions
    target_N: jax.Array
    target_logit_N: jax.Array
    sums: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Statistic:
    """A number per token.

    Fields:
      name: of its array.
      unit: of its values; "" for a pure number.
      dtype: of a token's value.
      per_text: how the values of a text's scored tokens become one number, in float64; "none":
        not at all, its values are kept per token only.
      accumulators: names in ACCUMULATORS.
      finish: the formula, float32 or int32 [N].
      needs_reference: whether it compares the model with a reference.
    """

    name: str
    unit: str
    dtype: Literal["float32", "int32", "bool"]
    per_text: Literal["sum", "mean", "none"]
    accumulators: tuple[str, ...]
    finish: Callable[[Found], jax.Array]
    needs_reference: bool = False


def _log_likelihood(found: Found) -> jax.Array:
    model = found.over.model
    return found.target_logit_N - model.max_N - jnp.log(model.sum_N)


def _entropy(found: Found) -> jax.Array:
    """-sum p log p, both terms 0 or more: log p is the centred logit less the log of the sum."""
    sum_N = found.over.model.sum_N
    return jnp.log(sum_N) - found.sums["centred"] / sum_N


def _top_token(found: Found) -> jax.Array:
    return found.sums["top"][0]


def _top_is_target(found: Found) -> jax.Array:
    return _top_token(found) == found.target_N


def _target_rank(found: Found) -> jax.Array:
    """1 + how many tokens are likelier; logits apart by rounding alone may count either way, but
    a rank of 1 is the top token's and no other's."""
    return jnp.where(_top_is_target(found), 1, jnp.maximum(2, 1 + found.sums["above"]))


def _same_top_token(found: Found) -> jax.Array:
    return _top_token(found) == found.sums["top_of_reference"][0]


def _token_kl(found: Found) -> jax.Array:
    """KL(reference || model) = sum p log(p / q), p the reference's."""
    return _kl(found.over.reference, found.over.compared, found.sums["gap_of_reference"])


def _token_kl_reverse(found: Found) -> jax.Array:
    """KL(model || reference)."""
    return _kl(found.over.compared, found.over.reference, found.sums["gap_of_model"])


def _kl(p: Any, q: Any, gap_N: jax.Array) -> jax.Array:
    return gap_N / p.sum_N - jnp.log(p.sum_N) + jnp.log(q.sum_N)


STATISTICS: dict[str, Statistic] = {
    statistic.name: statistic
    for statistic in (
        Statistic("log_likelihood", "nats", "float32", "sum", (), _log_likelihood),
        Statistic("entropy", "nats", "float32", "sum", ("centred",), _entropy),
        Statistic("target_rank", "", "int32", "mean", ("above", "top"), _target_rank),
        Statistic("top_token", "", "int32", "none", ("top",), _top_token),
        Statistic("top_is_target", "", "bool", "mean", ("top",), _top_is_target),
        Statistic(
            "token_kl",
            "nats",
            "float32",
            "sum",
            ("gap_of_reference",),
            _token_kl,
            needs_reference=True,
        ),
        Statistic(
            "token_kl_reverse",
            "nats",
            "float32",
            "sum",
            ("gap_of_model",),
            _token_kl_reverse,
            needs_reference=True,
        ),
        Statistic(
            "same_top_token",
            "",
            "bool",
            "mean",
            ("top", "top_of_reference"),
            _same_top_token,
            needs_reference=True,
        ),
    )
}
DEFAULT = ("log_likelihood",)


def chosen(names: Iterable[str]) -> tuple[Statistic, ...]:
    """The statistics of these names; InputError for an unknown one."""
    found = []
    for name in names:
        if name not in STATISTICS:
            known = ", ".join(STATISTICS)
            raise InputError(f"unknown statistic {name!r}; known: {known}", field="statistics")
        found.append(STATISTICS[name])
    return tuple(found)
