"""Standard errors over texts, against the spread in samples of texts from a known population."""

from __future__ import annotations

import numpy as np
import pytest

from jaxmap.comparison.details import details_of
from jaxmap.comparison.estimates import quantile
from jaxmap.comparison.token_comparison import STATISTICS, TokenComparison


def sample(random, N=60):
    """Texts whose tokens share a level, and a comparison that has them."""
    tokens_N = random.integers(5, 60, N)
    offsets_N1 = np.concatenate([[0], np.cumsum(tokens_N)])
    M = int(offsets_N1[-1])
    level_M = np.repeat(random.gamma(2.0, 0.1, N), tokens_N)
    arrays = {name: (level_M * random.exponential(1, M)).astype(np.float32) for name in STATISTICS}
    arrays["log_likelihood_M"] = -arrays["log_likelihood_M"] - 1
    arrays["reference_log_likelihood_M"] = -arrays["reference_log_likelihood_M"] - 1
    arrays["reference_top_M"] = random.uniform(0, 1, M).astype(np.float32)
    arrays["same_top_M"] = random.uniform(0, 1, M) < level_M
    arrays["same_top_5_M"] = random.integers(0, 6, M).astype(np.int8)
    return TokenComparison(**arrays, offsets_N1=offsets_N1), tokens_N * 4 + random.integers(0, 9, N)


def test_standard_errors():
    random = np.random.default_rng(1)
    found = {}
    for _ in range(400):
        for one in details_of(*sample(random)):
            if one.subset in ("all", "confidence 0.25 to 0.5"):
                key = one.subset, one.statistic
                found.setdefault(key, []).append((one.value, one.standard_error))
    for key, pairs in found.items():
        value, error = np.array(pairs).T
        if key[1] == "token_kl_max":
            assert np.isnan(error).all()
            continue
        # Quantiles near the ends of a small sample have errors that are only roughly known.
        bound = 0.5 if "_q" in key[1] else 0.12
        assert np.mean(error) == pytest.approx(np.std(value), rel=bound), key


def test_parts_are_the_whole():
    """Of texts of two kinds, and tokens of two kinds, the sums are those of all."""
    found, bytes_N = sample(np.random.default_rng(2))
    first_N = np.arange(len(bytes_N)) < 20
    odd_M = np.arange(len(found.kl_M)) % 2 == 1
    details = details_of(
        found,
        bytes_N,
        of_texts={"a": first_N, "b": ~first_N},
        of_tokens={"odd": odd_M, "even": ~odd_M, "none": odd_M & ~odd_M},
    )
    of = {(one.subset, one.statistic): one for one in details}
    whole = of["all", "token_kl"]
    for parts in (("a", "b"), ("odd", "even")):
        each = [of[part, "token_kl"] for part in parts]
        assert sum(one.tokens for one in each) == whole.tokens
        total = sum(one.value * one.tokens for one in each)
        assert total == pytest.approx(whole.value * whole.tokens)
    assert of["a", "token_kl"].texts == 20
    assert of["a", "bits_per_byte"].value == pytest.approx(
        -found.per_text(found.log_likelihood_M)[:20].sum() / bytes_N[:20].sum() / np.log(2)
    )
    assert ("odd", "bits_per_byte") not in of
    assert ("none", "token_kl") not in of


def test_a_quantile_of_one_text_has_no_error():
    found = quantile(np.arange(5.0), np.zeros(5, int), 1, 0.5)
    assert found.value == 2
    assert np.isnan(found.standard_error)
