"""All statistics of a comparison with their standard errors, of all tokens and of parts of them."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping

import numpy as np

from jaxmap.comparison.estimates import Estimate, quantile, ratio
from jaxmap.comparison.token_comparison import TokenComparison

QUANTILES = {
    "token_kl_q01": 0.01,
    "token_kl_q05": 0.05,
    "token_kl_median": 0.5,
    "token_kl_q95": 0.95,
    "token_kl_q99": 0.99,
    "token_kl_q999": 0.999,
}
# Borders of the reference's highest probability.
CONFIDENCE = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 1.0)
ALL = "all"
COLUMNS = (
    "reference", "model", "subset", "statistic", "unit", "value", "standard_error", "tokens",
    "texts",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Detail:
    """A statistic of some of the tokens.

    Fields:
      subset: which tokens: "all", or what a part of them has in common.
      statistic, unit: what it is; "" for a pure number.
      value, standard_error: over texts; NaN where there is none (a maximum).
      tokens, texts: how many they are, and of how many texts.
    """

    subset: str
    statistic: str
    unit: str
    value: float
    standard_error: float
    tokens: int
    texts: int


def details_of(
    found: TokenComparison,
    bytes_N: np.ndarray,
    *,
    of_texts: Mapping[str, np.ndarray] | None = None,
    of_tokens: Mapping[str, np.ndarray] | None = None,
) -> list[Detail]:
    """Statistics of all tokens, of those of some texts, and of those of some kind.

    Args:
      found: the two models at every token.
      bytes_N: UTF-8 bytes of what is scored of each text.
      of_texts: names of parts of the text set, and which texts they are, bool [N].
      of_tokens: names of kinds of tokens, and which tokens they are, bool [M]. By the reference's
        confidence they are told apart in any case.
    """
    text_M = np.repeat(np.arange(len(bytes_N)), found.tokens_N)
    sample = _Sample(found, bytes_N, text_M)
    all_M = np.ones(len(text_M), bool)
    details = [*sample.details(ALL, all_M, np.ones(len(bytes_N), bool))]
    for name, chosen_N in (of_texts or {}).items():
        details += sample.details(name, chosen_N[text_M], chosen_N)
    for name, chosen_M in {**by_confidence(found), **(of_tokens or {})}.items():
        details += sample.details(name, chosen_M, None)
    return details


def by_confidence(found: TokenComparison) -> dict[str, np.ndarray]:
    """Tokens by the highest probability of the reference."""
    kinds = {}
    last = len(CONFIDENCE) - 2
    for i, (low, high) in enumerate(itertools.pairwise(CONFIDENCE)):
        below_M = found.reference_top_M < high if i < last else True
        name = f"confidence {low:g} to {high:g}"
        kinds[name] = (found.reference_top_M >= low) & below_M
    return kinds


class _Sample:
    def __init__(self, found: TokenComparison, bytes_N: np.ndarray, text_M: np.ndarray):
        self._found, self._bytes_N, self._text_M = found, bytes_N, text_M

    def details(
        self, subset: str, chosen_M: np.ndarray, chosen_N: np.ndarray | None
    ) -> Iterator[Detail]:
        """Those of the chosen tokens; what is per byte only where they are all of some texts."""
        text_M, N = self._text_M[chosen_M], len(self._bytes_N)
        if not len(text_M):
            return
        per_byte = chosen_N is not None
        # Texts without a chosen token say nothing of a kind of token: they are not in its sample.
        sampled_N = np.bincount(text_M, minlength=N) > 0 if chosen_N is None else chosen_N
        counts = len(text_M), int(sampled_N.sum())
        for name, unit, one in self._estimates(chosen_M, text_M, sampled_N, per_byte):
            yield Detail(subset, name, unit, one.value, one.standard_error, *counts)

    def _estimates(
        self, chosen_M: np.ndarray, text_M: np.ndarray, sampled_N: np.ndarray, per_byte: bool
    ) -> Iterator[tuple[str, str, Estimate]]:
        found, N = self._found, len(sampled_N)

        def per_text(value_M: np.ndarray) -> np.ndarray:
            sum_N = np.bincount(text_M, value_M[chosen_M].astype(np.float64), minlength=N)
            return sum_N[sampled_N]

        tokens_N = per_text(np.ones(len(chosen_M)))
        kl_N = per_text(found.kl_M)
        ours_N = -per_text(found.log_likelihood_M)
        theirs_N = -per_text(found.reference_log_likelihood_M)
        yield "token_kl", "nats", ratio(kl_N, tokens_N)
        yield "token_kl_reverse", "nats", ratio(per_text(found.kl_reverse_M), tokens_N)
        for name, share in QUANTILES.items():
            yield name, "nats", quantile(found.kl_M[chosen_M], text_M, N, share)
        yield "token_kl_max", "nats", Estimate(float(found.kl_M[chosen_M].max()), math.nan)
        yield "same_top_token", "", ratio(per_text(found.same_top_M), tokens_N)
        yield "same_top_5", "", _scaled(ratio(per_text(found.same_top_5_M), tokens_N), 1 / 5)
        yield "perplexity_ratio", "", _exp(ratio(ours_N - theirs_N, tokens_N))
        moved_M = np.exp(found.log_likelihood_M.astype(np.float64)) - np.exp(
            found.reference_log_likelihood_M.astype(np.float64)
        )
        yield "delta_probability", "", ratio(per_text(moved_M), tokens_N)
        yield "delta_probability_rms", "", _root(ratio(per_text(moved_M**2), tokens_N))
        yield "entropy", "nats", ratio(per_text(found.entropy_M), tokens_N)
        yield "reference_entropy", "nats", ratio(per_text(found.reference_entropy_M), tokens_N)
        yield "mass_outside", "", ratio(per_text(found.mass_outside_M), tokens_N)
        outside_N = per_text(found.reference_mass_outside_M)
        yield "reference_mass_outside", "", ratio(outside_N, tokens_N)
        if not per_byte:
            return
        bits_N = self._bytes_N[sampled_N] * math.log(2)
        yield "token_kl_bits_per_byte", "bits/byte", ratio(kl_N, bits_N)
        yield "bits_per_byte", "bits/byte", ratio(ours_N, bits_N)
        yield "reference_bits_per_byte", "bits/byte", ratio(theirs_N, bits_N)
        yield "delta_bits_per_byte", "bits/byte", ratio(ours_N - theirs_N, bits_N)


def _scaled(one: Estimate, by: float) -> Estimate:
    return Estimate(one.value * by, one.standard_error * by)


def _exp(one: Estimate) -> Estimate:
    value = math.exp(min(one.value, 700.0))
    return Estimate(value, value * one.standard_error)


def _root(one: Estimate) -> Estimate:
    value = math.sqrt(one.value)
    return Estimate(value, one.standard_error / (2 * value) if value else math.nan)
