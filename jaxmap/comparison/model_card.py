"""The table for a model card, in Markdown: rounded numbers with their errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from jaxmap.comparison.estimates import percent
from jaxmap.comparison.sides import INSTEAD
from jaxmap.figures.captions import RAW
from jaxmap.figures.digits import number, with_error

if TYPE_CHECKING:
    from jaxmap.comparison.table import Compared, Comparison

_HEADS = (
    "model", "format", "bits per weight", "GiB", "token KL, nats", "same top token",
    "same top 5", "\u0394 bits per byte", "KL, bits per byte",
)  # fmt: skip
_NONE = "\u2013"
_FLOORS = ("floor of token KL", "floor of KL")


def card(found: Comparison) -> str:
    """A row per model, and under the table what the numbers are and how they were made."""
    with_floors = any(one.floor is not None for one in found.compared)
    heads = _HEADS + (_FLOORS if with_floors else ())
    lines = [_line(heads), _line([":--", ":--", *["--:"] * (len(heads) - 2)])]
    named = list(zip(map(_escaped, found.names[1]), found.compared, strict=True))
    lines += [_line(_cells(name, one, with_floors)) for name, one in named]
    about = [" ".join([_what_it_is(found), *_floor_words(found, with_floors)])]
    about += [
        f"\n{name} has no token KL: it {_escaped(found.why_no_token_kl(one))}. {INSTEAD}"
        for name, one in named
        if one.other_tokens
    ]
    if found.command:
        about += ["", f"`{found.command}`"]
    return "\n".join([*lines, "", *about, ""])


def _what_it_is(found: Comparison) -> str:
    first = found.found[0] if found.found else None
    on = f" on {first.texts:,} texts ({first.tokens:,} tokens)" if first else ""
    return (
        f"Compared with {_escaped(found.names[0])}{on}, text set "
        f"{found.texts_fingerprint[:16]}. *Token KL* is the mean over tokens of "
        "KL(reference || model) of the next-token distributions, over the whole vocabulary. "
        "*Same top 5* is the share of the reference's five likeliest tokens that are among the "
        "model's. *KL* is the estimate from the variance of log-likelihoods over texts (Oyama et "
        "al. 2025), another quantity, in which models with any tokenizers can be compared. "
        f"\u00b1 is one standard error over texts. {RAW}"
    )


def _floor_words(found: Comparison, with_floors: bool) -> list[str]:
    if not with_floors:
        return []
    words = ["A *floor* is what rounding alone does: the model beside itself in other arithmetic."]
    if (floor := found.reference_floor) is not None:
        words.append(
            f"The reference's own, in {floor.dtype}: token KL "
            f"{with_error(*floor.token_kl)} nats, KL {with_error(*floor.kl)} bits per byte."
        )
    return words


def _cells(name: str, one: Compared, with_floors: bool) -> list[str]:
    row = one.row
    same_top_5 = one.of_all_tokens("same_top_5").value
    cells = [
        name,
        row.format,
        number(row.bits_per_weight),
        number(row.gib),
        with_error(row.token_kl_nats, row.token_kl_standard_error),
        percent(row.same_top_token),
        percent(same_top_5),
        with_error(*one.delta_bits_per_byte, signed=True),
        with_error(row.kl_bits_per_byte, row.kl_standard_error),
    ]
    if with_floors:
        floor = one.floor
        known_floor = () if floor is None else (with_error(*floor.token_kl), with_error(*floor.kl))
        cells += known_floor or (_NONE, _NONE)
    return cells


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(name: str) -> str:
    return name.replace("|", "\\|")
