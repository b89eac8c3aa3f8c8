"""Compares two models with different tokenizers, between bytes where tokens of both end."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxmap.atomic import write_atomic
from jaxmap.comparison.details import ALL, Detail
from jaxmap.comparison.estimates import Estimate, ratio
from jaxmap.comparison.subsets import SPAN, WORST, TextRow
from jaxmap.comparison.token_views import TextView, TokenView, few_of
from jaxmap.corpus.texts import TextSet
from jaxmap.errors import InputError
from jaxmap.stats.alignment import Spans, align


@dataclasses.dataclass(frozen=True)
class AlignedComparison:
    """Two models on the S stretches of N texts, text after text; see `jaxmap.stats.alignment`.

    Fields:
      log_likelihood_S: the sum of the model's log-probabilities of its tokens in each stretch,
        nats, float64.
      reference_log_likelihood_S: the same of the reference, over its own tokens.
      tokens_S, reference_tokens_S: the number of each model's tokens in a stretch, int64.
      start_S, end_S: the first byte of each stretch in its text, and its last byte + 1, int64.
      shared_S: whether both models score these bytes.
      offsets_N1: int64; text n has the stretches offsets_N1[n] to offsets_N1[n + 1], exclusive.
    """

    log_likelihood_S: np.ndarray
    reference_log_likelihood_S: np.ndarray
    tokens_S: np.ndarray
    reference_tokens_S: np.ndarray
    start_S: np.ndarray
    end_S: np.ndarray
    shared_S: np.ndarray
    offsets_N1: np.ndarray

    @classmethod
    def of(
        cls, ll_M: np.ndarray, spans: Spans, reference_ll_L: np.ndarray, reference_spans: Spans
    ) -> AlignedComparison:
        """Sums both models' log-probabilities over the stretches that they have in common.

        Args:
          ll_M: the model's log-probability of each of its scored tokens, nats.
          spans: the bytes of these tokens.
          reference_ll_L, reference_spans: the same of the reference.
        """
        at = align(spans, reference_spans)
        return cls(
            at.sums(ll_M, at.of_M),
            at.sums(reference_ll_L, at.of_L),
            np.bincount(at.of_M, minlength=len(at.start_S)),
            np.bincount(at.of_L, minlength=len(at.start_S)),
            at.start_S,
            at.end_S,
            at.shared_S,
            np.searchsorted(at.text_S, np.arange(len(spans.offsets_N1))),
        )

    @property
    def text_S(self) -> np.ndarray:
        """The index of the text of each stretch, int64."""
        return np.repeat(np.arange(len(self.offsets_N1) - 1), np.diff(self.offsets_N1))

    @property
    def delta_S(self) -> np.ndarray:
        """The reference's log-likelihood minus the model's, nats; 0 where only one scores."""
        return np.where(self.shared_S, self.reference_log_likelihood_S - self.log_likelihood_S, 0.0)

    def per_text(self, value_S: np.ndarray) -> np.ndarray:
        """The sum over each text's stretches, float64 [N]."""
        return np.bincount(
            self.text_S, value_S.astype(np.float64), minlength=len(self.offsets_N1) - 1
        )

    def save(self, path: Path) -> None:
        """Writes the arrays as .safetensors, whole or not at all."""
        from safetensors.numpy import save

        arrays = {one.name: getattr(self, one.name) for one in dataclasses.fields(self)}
        write_atomic(path, save(arrays))

    @classmethod
    def load(cls, path: Path) -> AlignedComparison:
        """Reads what `save` wrote; InputError names a damaged file."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            return cls(**load_file(path))
        except (OSError, SafetensorError, TypeError) as error:
            raise InputError(f"{path}: damaged; delete it and compare again: {error}") from error


def aligned_details(
    found: AlignedComparison,
    bytes_N: np.ndarray,
    *,
    of_texts: Mapping[str, np.ndarray] | None = None,
    of_stretches: Mapping[str, np.ndarray] | None = None,
) -> list[Detail]:
    """Returns bits per byte of both models for all texts, for subsets of them, and for kinds.

    Args:
      found: the comparison.
      bytes_N: UTF-8 bytes of the scored part of each text.
      of_texts: masks of subsets of the texts, bool [N], by name.
      of_stretches: masks of kinds of stretches, bool [S], by name; only stretches that both models
        score are counted.
    """
    everything_S = np.ones(len(found.start_S), bool)
    details = [*_details(ALL, found, everything_S, bytes_N, np.ones(len(bytes_N), bool))]
    for name, chosen_N in (of_texts or {}).items():
        details += _details(name, found, chosen_N[found.text_S], bytes_N, chosen_N)
    length_S = found.end_S - found.start_S
    for name, chosen_S in (of_stretches or {}).items():
        chosen_S = chosen_S & found.shared_S
        said_N = found.per_text(length_S * chosen_S)
        details += _details(name, found, chosen_S, said_N, said_N > 0)
    return details


def _details(
    subset: str,
    found: AlignedComparison,
    chosen_S: np.ndarray,
    bytes_N: np.ndarray,
    chosen_N: np.ndarray,
) -> Iterator[Detail]:
    if not chosen_S.any():
        return

    def sums(value_S: np.ndarray) -> np.ndarray:
        return found.per_text(np.where(chosen_S, value_S, 0))[chosen_N]

    chosen_bytes_N = bytes_N[chosen_N].astype(np.float64)
    bits_N = chosen_bytes_N * math.log(2)
    ours_N, theirs_N = sums(-found.log_likelihood_S), sums(-found.reference_log_likelihood_S)
    tokens_N, their_tokens_N = sums(found.tokens_S), sums(found.reference_tokens_S)
    estimates: dict[str, tuple[str, Estimate]] = {
        "bits_per_byte": ("bits/byte", ratio(ours_N, bits_N)),
        "reference_bits_per_byte": ("bits/byte", ratio(theirs_N, bits_N)),
        "delta_bits_per_byte": ("bits/byte", ratio(ours_N - theirs_N, bits_N)),
        "bytes_per_token": ("bytes", ratio(chosen_bytes_N, tokens_N)),
        "reference_bytes_per_token": ("bytes", ratio(chosen_bytes_N, their_tokens_N)),
    }
    counts = int(tokens_N.sum()), int(chosen_N.sum())
    for name, (unit, one) in estimates.items():
        yield Detail(subset, name, unit, one.value, one.standard_error, *counts)


def worst_aligned_texts(
    found: AlignedComparison, texts: TextSet, most: int = WORST
) -> list[TextRow]:
    """Returns the texts that differ most, the worst first, each with its worst span of stretches.

    The difference of a text is the sum of the absolute differences at its stretches, divided by
    their bytes. Stretches that only one of the models scores are left out.

    Args:
      found: the comparison.
      texts: the text set.
      most: the largest number of texts.
    """
    delta_S, mean_N = found.delta_S, _difference(found)
    shared_N, tokens_N = found.per_text(found.shared_S), found.per_text(found.tokens_S)
    order_N = np.lexsort((-mean_N, shared_N < SPAN))
    rows = []
    for n in [int(n) for n in order_N if shared_N[n]][:most]:
        here = np.flatnonzero(found.shared_S[found.offsets_N1[n] : found.offsets_N1[n + 1]])
        here += found.offsets_N1[n]
        width = min(SPAN, len(here))
        sum_K = np.convolve(delta_S[here], np.ones(width), "valid")
        at = int(np.abs(sum_K).argmax())
        first, last = int(found.start_S[here[at]]), int(found.end_S[here[at + width - 1]])
        said = texts.texts[n].encode()[first:last].decode(errors="replace")
        rows.append(
            TextRow(
                text=n,
                tokens=int(tokens_N[n]),
                token_kl_nats=math.nan,
                delta_nats=float(delta_S[here].sum()),
                first_byte=first,
                last_byte=last,
                span_kl_nats=math.nan,
                span_delta_nats=float(sum_K[at]),
                span=said,
            )
        )
    return rows


def _difference(found: AlignedComparison) -> np.ndarray:
    """The mean absolute difference of each text, nats per byte, float64 [N]."""
    length_S = np.where(found.shared_S, found.end_S - found.start_S, 0)
    return found.per_text(np.abs(found.delta_S)) / np.maximum(found.per_text(length_S), 1)


def aligned_views(
    texts: TextSet, found: AlignedComparison, worst: Sequence[TextRow]
) -> tuple[TextView, ...]:
    """Returns the texts that differ most, and one of median difference, stretch by stretch."""
    views = []
    shared_N = found.per_text(found.shared_S)
    for n in few_of(worst, _difference(found), shared_N > 0):
        data = texts.texts[n].encode()
        here = [s for s in range(*found.offsets_N1[n : n + 2].tolist()) if found.shared_S[s]]
        stretches = []
        for s in here:
            ours, theirs = found.log_likelihood_S[s], found.reference_log_likelihood_S[s]
            said = data[found.start_S[s] : found.end_S[s]].decode(errors="replace")
            stretches.append(
                TokenView(said, float(theirs - ours), float(ours), float(theirs), (), ())
            )
        before = data[: found.start_S[here[0]]].decode(errors="replace") if here else ""
        views.append(TextView(n, before, tuple(stretches)))
    return tuple(views)
