"""From nats per text to bits per byte, the unit of every result."""

from __future__ import annotations

import math


def variance_per_kl(mean_bytes: float) -> float:
    """2 B ln 2, the ratio of a variance of log-likelihoods (nats squared) to KL in bits per byte.

    The KL divergence of two similar models is half the variance, over texts, of the difference of
    their log-likelihoods (Oyama et al. 2025, arXiv 2502.16173), in nats per text. A bit is ln 2
    nats, and a text has B bytes on average.

    Args:
      mean_bytes: B, the mean length of the texts in UTF-8 bytes.
    """
    return 2.0 * mean_bytes * math.log(2.0)
