"""The table of a comparison: compare.csv with all digits, compare.md for a model card."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxmap.atomic import write_atomic
from jaxmap.comparison.summary import bits_per_byte, mean_per_token, rounded
from jaxmap.comparison.tokens import TokenComparison
from jaxmap.errors import InputError, JaxmapError
from jaxmap.results import Table
from jaxmap.stats.divergence import kl_pairs


@dataclasses.dataclass(frozen=True)
class Row:
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


COLUMNS = tuple(field.name for field in dataclasses.fields(Row))


@dataclasses.dataclass(frozen=True)
class Size:
    """What a model's weights take up."""

    format: str
    num_bytes: int
    num_parameters: int


def row_of(
    reference: str, model: str, size: Size, found: TokenComparison, bytes_N: np.ndarray
) -> Row:
    """The row of a comparison.

    Args:
      reference, model: their names.
      size: of the model.
      found: both at every token.
      bytes_N: UTF-8 bytes of what is scored of each text.
    """
    ours_N = found.per_text(found.log_likelihood_M)
    theirs_N = found.per_text(found.reference_log_likelihood_M)
    kl_N = found.per_text(found.kl_M)
    tokens_N, num_bytes = found.tokens_N, float(bytes_N.sum())
    estimate = kl_pairs(np.stack([theirs_N, ours_N]), np.array([[0, 1]]), float(bytes_N.mean()))
    token_kl = mean_per_token(kl_N, tokens_N)
    reverse = mean_per_token(found.per_text(found.kl_reverse_M), tokens_N)
    median, p99 = (
        np.quantile(found.kl_M.astype(np.float64), (0.5, 0.99)).tolist()
        if len(found.kl_M)
        else (math.nan, math.nan)
    )
    return Row(
        reference=reference,
        model=model,
        format=size.format,
        bits_per_weight=8 * size.num_bytes / size.num_parameters,
        gib=size.num_bytes / 2**30,
        kl_bits_per_byte=float(estimate.kl[0]),
        kl_standard_error=float(estimate.standard_error[0]),
        token_kl_nats=token_kl.value,
        token_kl_standard_error=token_kl.standard_error,
        token_kl_reverse_nats=reverse.value,
        token_kl_median=median,
        token_kl_p99=p99,
        token_kl_bits_per_byte=bits_per_byte(float(kl_N.sum()), num_bytes),
        same_top_token=float(found.same_top_M.mean()) if len(found.same_top_M) else math.nan,
        bits_per_byte=bits_per_byte(-float(ours_N.sum()), num_bytes),
        delta_bits_per_byte=bits_per_byte(float((theirs_N - ours_N).sum()), num_bytes),
        tokens=int(tokens_N.sum()),
        texts=len(tokens_N),
    )


@dataclasses.dataclass(frozen=True)
class Comparison(Table):
    """What `compare` found: one row per model, and (model, error) of those that failed."""

    file = "compare.csv"
    columns = COLUMNS

    reference: str
    found: tuple[Row, ...]
    texts_fingerprint: str
    failures: tuple[tuple[str, JaxmapError], ...] = ()
    command: str = ""

    def rows(self) -> list[tuple[object, ...]]:
        return [dataclasses.astuple(row) for row in self.found]

    def raise_for_failures(self) -> None:
        """Raises JaxmapError, InputError where only bad input stood in the way, if any failed."""
        if self.failures:
            only_input = all(isinstance(error, InputError) for _, error in self.failures)
            reasons = "; ".join(f"{name}: {error}" for name, error in self.failures)
            raise (InputError if only_input else JaxmapError)(reasons)

    def save(self, folder: str | Path) -> list[Path]:
        """Writes compare.csv and compare.md into `folder`, which is made, and names them."""
        page = Path(folder) / "compare.md"
        write_atomic(page, self.markdown().encode("utf-8", errors="surrogateescape"))
        return [*super().save(folder), page]

    def markdown(self) -> str:
        """The table for a model card, with errors and rounded to what they leave."""
        heads = (
            "model", "format", "bits per weight", "GiB", "token KL, nats", "same top token",
            "Δ bits per byte", "KL, bits per byte",
        )  # fmt: skip
        lines = [_line(heads), _line([":--", ":--", *["--:"] * (len(heads) - 2)])]
        lines += [_line(_cells(row)) for row in self.found]
        first = self.found[0] if self.found else None
        about = [
            f"Compared with {_escaped(self.reference)}"
            + (f" on {first.texts:,} texts ({first.tokens:,} tokens)" if first else "")
            + f", text set {self.texts_fingerprint[:16]}. *Token KL* is the mean over tokens of "
            "KL(reference || model) of the next-token distributions, over the whole vocabulary. "
            "*KL* is the estimate from the variance of log-likelihoods over texts (Oyama et al. "
            "2025), another quantity, in which models with any tokenizers can be compared. "
            "± is one standard error over texts.",
        ]
        if self.command:
            about += ["", f"`{self.command}`"]
        return "\n".join([*lines, "", *about, ""])

    def text(self) -> str:
        """The table as plain text, and one line per failure."""
        lines = []
        for row in self.found:
            kl = rounded(row.token_kl_nats, row.token_kl_standard_error)
            variance = rounded(row.kl_bits_per_byte, row.kl_standard_error)
            lines += [
                f"{row.model} beside {row.reference}: {row.texts:,} texts, {row.tokens:,} tokens",
                f"  token KL {kl} nats (median {row.token_kl_median:.3g}, 99 % "
                f"{row.token_kl_p99:.3g}; reverse {row.token_kl_reverse_nats:.3g})",
                f"  same top token {row.same_top_token:.1%}",
                f"  bits per byte {row.bits_per_byte:.4g} ({row.delta_bits_per_byte:+.3g})",
                f"  KL from the variance over texts {variance} bits per byte",
            ]
        lines += [f"{name}: not compared: {error}" for name, error in self.failures]
        return "\n".join([*lines, ""])


def _cells(row: Row) -> list[str]:
    return [
        _escaped(row.model),
        row.format,
        f"{row.bits_per_weight:.3g}",
        f"{row.gib:.3g}",
        rounded(row.token_kl_nats, row.token_kl_standard_error),
        f"{row.same_top_token:.1%}",
        f"{row.delta_bits_per_byte:+.3g}",
        rounded(row.kl_bits_per_byte, row.kl_standard_error),
    ]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(name: str) -> str:
    return name.replace("|", "\\|")
