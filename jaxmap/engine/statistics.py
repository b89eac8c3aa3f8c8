"""The statistics of a model's logits at a token: the table STATISTICS.

A statistic is a formula for a number per token, computed from a few sums, counts or maxima over
the vocabulary (`jaxmap.engine.accumulators`), which `jaxmap.engine.readout` updates block by block.
docs/extend/statistic.md shows how to add one. In array names, N is tokens.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxmap.engine.accumulators import LIKELIEST
from jaxmap.engine.blockwise_softmax import Distribution, Distributions
from jaxmap.errors import InputError


@dataclasses.dataclass(frozen=True)
class Found:
    """The input of a statistic's formula, computed over the whole vocabulary.

    Fields:
      over: the distributions.
      target_N, target_logit_N: the token that follows, and its logit in the model.
      reference_logit_N: its logit in the reference; None without one.
      sums: what each of the statistic's accumulators came to, by name.
    """

    over: Distributions
    target_N: jax.Array
    target_logit_N: jax.Array
    reference_logit_N: jax.Array | None
    sums: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Statistic:
    """A number per token.

    Fields:
      name: the name of its array.
      unit: the unit of its values; "" for a pure number.
      dtype: the dtype of a token's value.
      per_text: the reduction of a text's scored tokens to one number, in float64; "none": no
        reduction, only the values per token are kept.
      accumulators: names in ACCUMULATORS.
      finish: the formula; its result is float32 or int32 [N].
      needs_reference: whether it compares the model with a reference.
      width: how many values a token has; of more than one, the last axis of its array.
    """

    name: str
    unit: str
    dtype: Literal["float32", "int32", "bool"]
    per_text: Literal["sum", "mean", "none"]
    accumulators: tuple[str, ...]
    finish: Callable[[Found], jax.Array]
    needs_reference: bool = False
    width: int = 1


def _log_likelihood(found: Found) -> jax.Array:
    model = found.over.model
    return found.target_logit_N - model.max_N - jnp.log(model.sum_N)


def _reference_log_likelihood(found: Found) -> jax.Array:
    reference = _there(found.over.reference)
    return _there(found.reference_logit_N) - reference.max_N - jnp.log(reference.sum_N)


def _entropy(found: Found) -> jax.Array:
    return _entropy_of(found.over.model, found.sums["centred"])


def _reference_entropy(found: Found) -> jax.Array:
    return _entropy_of(_there(found.over.reference), found.sums["centred_of_reference"])


def _entropy_of(of: Distribution, centred_N: jax.Array) -> jax.Array:
    """-sum p log p, both terms 0 or more: log p is the centred logit less the log of the sum."""
    return jnp.log(of.sum_N) - centred_N / of.sum_N


def _reference_top_probability(found: Found) -> jax.Array:
    """The largest logit's exponential is 1."""
    return 1 / _there(found.over.reference).sum_N


def _top_token(found: Found) -> jax.Array:
    return found.sums["top"][0]


def _top_is_target(found: Found) -> jax.Array:
    return _top_token(found) == found.target_N


def _target_rank(found: Found) -> jax.Array:
    """1 + the number of tokens with a larger logit.

    Logits that differ by rounding only may count either way, but rank 1 is always the top token's.
    """
    return jnp.where(_top_is_target(found), 1, jnp.maximum(2, 1 + found.sums["above"]))


def _same_top_token(found: Found) -> jax.Array:
    return found.sums["top_shared"][0] == found.sums["top_of_reference"][0]


def _same_top_5(found: Found) -> jax.Array:
    """How many of the 5 likeliest tokens of one are among those of the other."""
    id_NK, other_NK = found.sums["likeliest"][0], found.sums["likeliest_of_reference"][0]
    same_NKK = (id_NK[:, :, None] == other_NK[:, None, :]) & (id_NK >= 0)[:, :, None]
    return jnp.sum(same_NKK, axis=(1, 2), dtype=jnp.int32)


def _likeliest(found: Found) -> jax.Array:
    return found.sums["likeliest"][0]


def _likeliest_logp(found: Found) -> jax.Array:
    return _logp(found.sums["likeliest"][1], found.over.model_shared)


def _reference_likeliest(found: Found) -> jax.Array:
    return found.sums["likeliest_of_reference"][0]


def _reference_likeliest_logp(found: Found) -> jax.Array:
    of = _there(found.over.reference_shared)
    return _logp(found.sums["likeliest_of_reference"][1], of)


def _logp(logit_NK: jax.Array, of: Distribution) -> jax.Array:
    return logit_NK - of.log_sum_exp_N[:, None]


def _token_kl(found: Found) -> jax.Array:
    """KL(reference || model) = sum p log(p / q), p the reference's."""
    over = found.over
    return _kl(over.reference_shared, over.model_shared, found.sums["gap_of_reference"])


def _token_kl_reverse(found: Found) -> jax.Array:
    """KL(model || reference)."""
    over = found.over
    return _kl(over.model_shared, over.reference_shared, found.sums["gap_of_model"])


def _mass_outside(found: Found) -> jax.Array:
    """The probability that the model gives to tokens that the reference does not have."""
    return _outside(found.over.model, found.over.model_shared)


def _reference_mass_outside(found: Found) -> jax.Array:
    over = found.over
    return _outside(_there(over.reference), _there(over.reference_shared))


def _outside(whole: Distribution, part: Distribution) -> jax.Array:
    if part is whole:
        return jnp.zeros_like(whole.sum_N)
    inside_N = part.sum_N * jnp.exp(part.max_N - whole.max_N) / whole.sum_N
    return jnp.maximum(0, 1 - inside_N)


def _there(value: Any) -> Any:
    assert value is not None  # what needs a reference is not asked for without one
    return value


def _kl(p: Any, q: Any, gap_N: jax.Array) -> jax.Array:
    return gap_N / p.sum_N - jnp.log(p.sum_N) + jnp.log(q.sum_N)


def _beside(
    name: str,
    unit: str,
    dtype: Literal["float32", "int32", "bool"],
    per_text: Literal["sum", "mean"],
    accumulators: tuple[str, ...],
    finish: Callable[[Found], jax.Array],
) -> Statistic:
    return Statistic(name, unit, dtype, per_text, accumulators, finish, needs_reference=True)


def _five(
    name: str,
    unit: str,
    dtype: Literal["float32", "int32"],
    accumulators: tuple[str, ...],
    finish: Callable[[Found], jax.Array],
) -> Statistic:
    """Of each of the likeliest tokens, the first first."""
    return Statistic(
        name, unit, dtype, "none", accumulators, finish, needs_reference=True, width=LIKELIEST
    )


_OF_REFERENCE = ("top_shared", "top_of_reference")
_LIKELIEST = ("likeliest", "likeliest_of_reference")

STATISTICS: dict[str, Statistic] = {
    statistic.name: statistic
    for statistic in (
        Statistic("log_likelihood", "nats", "float32", "sum", (), _log_likelihood),
        Statistic("entropy", "nats", "float32", "sum", ("centred",), _entropy),
        Statistic("target_rank", "", "int32", "mean", ("above", "top"), _target_rank),
        Statistic("top_token", "", "int32", "none", ("top",), _top_token),
        Statistic("top_is_target", "", "bool", "mean", ("top",), _top_is_target),
        _beside("token_kl", "nats", "float32", "sum", ("gap_of_reference",), _token_kl),
        _beside("token_kl_reverse", "nats", "float32", "sum", ("gap_of_model",), _token_kl_reverse),
        _beside("same_top_token", "", "bool", "mean", _OF_REFERENCE, _same_top_token),
        _beside("same_top_5", "", "int32", "mean", _LIKELIEST, _same_top_5),
        _five("likeliest", "", "int32", _LIKELIEST[:1], _likeliest),
        _five("likeliest_log_probability", "nats", "float32", _LIKELIEST[:1], _likeliest_logp),
        _five("reference_likeliest", "", "int32", _LIKELIEST[1:], _reference_likeliest),
        _five(
            "reference_likeliest_log_probability",
            "nats",
            "float32",
            _LIKELIEST[1:],
            _reference_likeliest_logp,
        ),
        _beside("mass_outside", "", "float32", "mean", (), _mass_outside),
        _beside(
            "reference_log_likelihood", "nats", "float32", "sum", (), _reference_log_likelihood
        ),
        _beside(
            "reference_entropy",
            "nats",
            "float32",
            "sum",
            ("centred_of_reference",),
            _reference_entropy,
        ),
        _beside("reference_top_probability", "", "float32", "mean", (), _reference_top_probability),
        _beside("reference_mass_outside", "", "float32", "mean", (), _reference_mass_outside),
    )
}
DEFAULT = ("log_likelihood",)


def chosen(names: Iterable[str]) -> tuple[Statistic, ...]:
    """The statistics of these names; raises InputError for an unknown name."""
    found = []
    for name in names:
        if name not in STATISTICS:
            known = ", ".join(STATISTICS)
            raise InputError(f"unknown statistic {name!r}; known: {known}", field="statistics")
        found.append(STATISTICS[name])
    return tuple(found)
