"""Fewer texts, new models: column sampling (Oyama et al., arXiv 2505.15428), and PMI vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxmap.stats.divergence import Divergence
from jaxmap.stats.float64 import precise
from jaxmap.stats.units import variance_per_kl

Scheme = Literal["uniform", "LS", "KL"]


@dataclass(frozen=True)
class Sample:
    """Texts drawn with replacement, each listed once.

    Fields:
      texts: indices in ascending order, int64 [U].
      counts: how often each was drawn, int64 [U]; their sum is the number of draws m.
      weights: w = sqrt(count / (m p)), float64 [U]; the sum of w^2 x over the texts is an unbiased
        estimate of the sum of x over all texts.
    """

    texts: np.ndarray
    counts: np.ndarray
    weights: np.ndarray

    @property
    def draws(self) -> int:
        """The number of draws, the same text counted as often as it was drawn."""
        return int(self.counts.sum())


@jax.jit
def _importance(q_KN: jax.Array) -> tuple[jax.Array, jax.Array]:
    s1_N, s2_N, s3_N, s4_N = ((q_KN**power).sum(axis=0) for power in (1, 2, 3, 4))
    kl_N = 2.0 * q_KN.shape[0] * s4_N + 6.0 * s2_N**2 - 8.0 * s1_N * s3_N
    return s2_N, jnp.sqrt(jnp.maximum(kl_N, 0.0))


def probabilities(q_KN: np.ndarray, scheme: Scheme = "KL") -> np.ndarray:
    """The probability of each text in a draw, float64 [N], from doubly centred vectors q_KN.

    With the scheme "LS" it is proportional to sum_i q_in^2; with "KL", to the square root of the
    sum over all pairs of models of (q_in - q_jn)^4, which is 2 K s4 + 6 s2^2 - 8 s1 s3 with
    s_p = sum_i q_in^p; with "uniform" it is constant.
    """
    num_texts = np.shape(q_KN)[1]
    if scheme == "uniform":
        return np.full(num_texts, 1.0 / num_texts)
    with precise():
        least_N, kl_N = _importance(jnp.asarray(q_KN, float))
        share_N = np.asarray({"LS": least_N, "KL": kl_N}[scheme], np.float64)
    if not share_N.sum() > 0:
        raise ValueError("all models are the same on these texts: no text distinguishes them")
    return share_N / share_N.sum()


def draw(probability_N: np.ndarray, draws: int, seed: int = 0) -> Sample:
    """Draws texts with replacement; a text drawn c times gets sqrt(c) times the weight."""
    rng = np.random.default_rng(seed)
    return _merge(rng.choice(len(probability_N), size=draws, p=probability_N), probability_N)


def _merge(drawn_M: np.ndarray, probability_N: np.ndarray) -> Sample:
    texts, counts = np.unique(drawn_M, return_counts=True)
    return Sample(texts, counts, np.sqrt(counts / (len(drawn_M) * probability_N[texts])))


def choose_texts(
    probability_N: np.ndarray, unique: int, seed: int = 0, most: int = 10_000_000
) -> Sample:
    """Draws until there are `unique` different texts, the number on which a new model is scored.

    Raises ValueError if there are not so many texts, or `most` draws do not suffice.
    """
    possible = int(np.count_nonzero(probability_N))
    if not 0 < unique <= possible:
        raise ValueError(f"{unique} of {possible} texts cannot be drawn")
    rng = np.random.default_rng(seed)
    drawn = np.empty(0, np.int64)
    while len(drawn) < most:
        more = rng.choice(len(probability_N), size=max(unique, 1024), p=probability_N)
        drawn = np.concatenate([drawn, more])
        _, first = np.unique(drawn, return_index=True)
        if len(first) >= unique:
            return _merge(drawn[: np.sort(first)[unique - 1] + 1], probability_N)
    raise ValueError(f"{unique} different texts did not come up in {most} draws: ask for fewer")


def resampled(ll_KU: np.ndarray, sample: Sample) -> np.ndarray:
    """The vectors on the drawn texts, with rows centred by the weights w^2 and scaled by w, [K, U].

    Squared distances between rows estimate those of the doubly centred vectors on all texts.
    """
    # By NumPy, because JAX would compile anew for each number of drawn texts.
    ll_KU = np.asarray(ll_KU, np.float64)
    square_U = sample.weights**2
    q_KU = ll_KU - (ll_KU @ square_U / square_U.sum())[:, None]
    return (q_KU - q_KU.mean(axis=0)) * sample.weights


def place(
    ll_KU: np.ndarray, new_U: np.ndarray, sample: Sample, num_texts: int, mean_bytes: float
) -> Divergence:
    """The KL of a new model, scored on the drawn texts only, to every model of a map.

    2 B ln 2 KL_i is the sum of w^2 d^2 over the drawn texts, divided by N, where d = l_new - l_i
    minus its mean with the weights w^2. This is the mean over draws of d^2 / (N p), whose spread
    gives the standard error (Hansen and Hurwitz 1943). The error is that of drawing texts; that of
    sampling the N texts comes in addition.

    Args:
      ll_KU: the map's models on the drawn texts, nats.
      new_U: the new model on the drawn texts, nats.
      sample: the drawn texts and their weights.
      num_texts: N, the number of texts in the whole set.
      mean_bytes: B, the mean bytes of the texts in the whole set.

    Returns KL and standard error, [K] in bits per byte.
    """
    unit = variance_per_kl(mean_bytes)
    square_U = sample.weights**2
    d_KU = np.asarray(new_U, np.float64) - np.asarray(ll_KU, np.float64)
    d_KU -= (d_KU @ square_U / square_U.sum())[:, None]
    # The contribution of each draw; a text drawn c times stands for c draws.
    drawn_KU = d_KU**2 * (square_U * sample.draws / (sample.counts * num_texts))
    variance_K = drawn_KU @ sample.counts / sample.draws
    spread_K = (drawn_KU - variance_K[:, None]) ** 2 @ sample.counts
    error_K = np.sqrt(spread_K / max(sample.draws * (sample.draws - 1), 1))
    return Divergence(variance_K / unit, error_K / unit)


def project(axis_U2: np.ndarray, d_U: np.ndarray, sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """The position of a new model in a plane of the map and its error, [2] each, from drawn texts.

    The position is sum_n axis_n (l_n - centre_n) over all texts, for axes that sum to zero over
    them. It and its error are estimated as in `place`, after subtracting the mean of l - centre,
    which would make no difference with all texts.

    Args:
      axis_U2: the axes of the plane, on the drawn texts.
      d_U: the scores of the new model minus the centre of the map, on the drawn texts, nats.
      sample: the drawn texts and their weights.
    """
    square_U = sample.weights**2
    d_U = np.asarray(d_U, np.float64)
    d_U = d_U - d_U @ square_U / square_U.sum()
    drawn_U2 = axis_U2 * (d_U * square_U * sample.draws / sample.counts)[:, None]
    place_2 = sample.counts @ drawn_U2 / sample.draws
    spread_2 = sample.counts @ (drawn_U2 - place_2) ** 2
    return place_2, np.sqrt(spread_2 / max(sample.draws * (sample.draws - 1), 1))


def pmi(conditional_KN: np.ndarray, unconditional_KN: np.ndarray) -> np.ndarray:
    """Pointwise mutual information of prompt and response, log p(r | prompt) - log p(r), nats.

    Takase et al., arXiv 2603.18593. Rows are the same models, columns the same responses.
    """
    if np.shape(conditional_KN) != np.shape(unconditional_KN):
        raise ValueError(
            f"{np.shape(conditional_KN)} conditional and {np.shape(unconditional_KN)} "
            "unconditional scores: the same models and responses are needed"
        )
    return np.asarray(conditional_KN, np.float64) - np.asarray(unconditional_KN, np.float64)
