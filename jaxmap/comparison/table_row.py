"""A row of compare.csv: one model beside the reference."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from jaxmap.comparison.alignment import AlignedComparison
from jaxmap.comparison.estimates import bits_per_byte, mean_per_token
from jaxmap.comparison.stored_comparison import Numbers, Pair
from jaxmap.stats.divergence import kl_pairs


@dataclasses.dataclass(frozen=True)
class TableRow:
    """One model beside the reference; the columns of compare.csv, in their order.

    Fields:
      format: how the weights are stored or quantised: "float16", "int8", "nf4", ...
      bits_per_weight, gib: of the weights in this format.
      kl_bits_per_byte, kl_standard_error: the estimator of the papers, half the variance over texts
        of the difference of log-likelihoods (Oyama et al. 2025), which needs no shared tokenizer.
      token_kl_nats, token_kl_standard_error: the mean over tokens of KL(reference || model) of the
        next-token distributions.
      token_kl_reverse_nats: the same of KL(model || reference).
      token_kl_median, token_kl_p99: quantiles over tokens of KL(reference || model), nats.
      token_kl_bits_per_byte: the sum of KL(reference || model) over all tokens, in the unit of
        kl_bits_per_byte; it is another quantity all the same.
        These, and `same_top_token`, are NaN (empty in compare.csv) of two tokenizers.
      same_top_token: the share of tokens where both find the same token likeliest.
      bits_per_byte, delta_bits_per_byte: the model's mean negative log-likelihood, and by how much
        it is above the reference's.
      tokens, texts: how many were scored.
    """

    reference: str
    model: str
    format: str
    bits_per_weight: float
    gib: float
    kl_bits_per_byte: float
    kl_standard_error: float
    token_kl_nats: float
    token_kl_standard_error: float
    token_kl_reverse_nats: float
    token_kl_median: float
    token_kl_p99: float
    token_kl_bits_per_byte: float
    same_top_token: float
    bits_per_byte: float
    delta_bits_per_byte: float
    tokens: int
    texts: int


COLUMNS = tuple(field.name for field in dataclasses.fields(TableRow))


def row_of(pair: Pair, found: Numbers, bytes_N: np.ndarray) -> TableRow:
    """The row of a comparison; without token KL where two tokenizers differ.

    Args:
      pair: what was compared with what.
      found: both at every token, or on the stretches between bytes where tokens of both end.
      bytes_N: UTF-8 bytes of what is scored of each text.
    """
    if isinstance(found, AlignedComparison):
        ours_N = found.per_text(found.log_likelihood_S)
        theirs_N = found.per_text(found.reference_log_likelihood_S)
        tokens = int(found.tokens_S.sum())
        return _row(pair, ours_N, theirs_N, bytes_N, dict.fromkeys(_TOKEN_KL, math.nan), tokens)
    ours_N = found.per_text(found.log_likelihood_M)
    theirs_N = found.per_text(found.reference_log_likelihood_M)
    kl_N = found.per_text(found.kl_M)
    tokens_N = found.tokens_N
    token_kl = mean_per_token(kl_N, tokens_N)
    reverse = mean_per_token(found.per_text(found.kl_reverse_M), tokens_N)
    median, p99 = (
        np.quantile(found.kl_M.astype(np.float64), (0.5, 0.99)).tolist()
        if len(found.kl_M)
        else (math.nan, math.nan)
    )
    values = (
        *token_kl,
        reverse.value,
        median,
        p99,
        bits_per_byte(float(kl_N.sum()), float(bytes_N.sum())),
        float(found.same_top_M.mean()) if len(found.same_top_M) else math.nan,
    )
    named = dict(zip(_TOKEN_KL, values, strict=True))
    return _row(pair, ours_N, theirs_N, bytes_N, named, int(tokens_N.sum()))


# What only two models with one tokenizer have.
_TOKEN_KL = (
    "token_kl_nats",
    "token_kl_standard_error",
    "token_kl_reverse_nats",
    "token_kl_median",
    "token_kl_p99",
    "token_kl_bits_per_byte",
    "same_top_token",
)


def _row(
    pair: Pair,
    ours_N: np.ndarray,
    theirs_N: np.ndarray,
    bytes_N: np.ndarray,
    token_kl: dict[str, float],
    tokens: int,
) -> TableRow:
    num_bytes = float(bytes_N.sum())
    estimate = kl_pairs(np.stack([theirs_N, ours_N]), np.array([[0, 1]]), float(bytes_N.mean()))
    return TableRow(
        reference=pair.reference,
        model=pair.model,
        format=pair.format,
        bits_per_weight=8 * pair.num_bytes / pair.num_parameters,
        gib=pair.num_bytes / 2**30,
        kl_bits_per_byte=float(estimate.kl[0]),
        kl_standard_error=float(estimate.standard_error[0]),
        **token_kl,
        bits_per_byte=bits_per_byte(-float(ours_N.sum()), num_bytes),
        delta_bits_per_byte=bits_per_byte(float((theirs_N - ours_N).sum()), num_bytes),
        tokens=tokens,
        texts=len(bytes_N),
    )
