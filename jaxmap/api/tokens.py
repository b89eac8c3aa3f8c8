"""Statistics of a store's log-probabilities of tokens: tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jaxmap.api.arguments import Names, Path, StoreLike, Texts, names_of, open_for_reading, texts_of
from jaxmap.api.contexts import saved
from jaxmap.errors import InputError
from jaxmap.output_paths import check_folder
from jaxmap.store.text_facts import order_hint

if TYPE_CHECKING:
    from jaxmap.comparison.token_statistics import TokenStatistics


def tokens(
    store: StoreLike,
    *,
    reference: str | None = None,
    texts: Texts | None = None,
    by: Names = (),
    unit: str = "text",
    block: int = 256,
    draws: int = 1000,
    seed: int = 0,
    clip: float | None = None,
    max_bytes: int | None = None,
    out: Path | None = None,
) -> TokenStatistics:
    """What kept log-probabilities of tokens say (`keep_tokens` of `score`); no model is read.

    Bits per byte of each result, of all texts, by their fields and by kinds of token; beside a
    reference, with any tokenizer, the difference and KL over texts, blocks and tokens. Each has a
    standard error by a bootstrap over texts, blocks or tokens.

    Args:
      store: a store or its folder.
      reference: the name of the result that the others stand beside; None: none.
      texts: the store's texts, where kinds of token or `by` are wanted.
      by: fields of the texts, such as "source" or "meta.pile_set_name".
      unit: what the bootstrap draws: "text"; "block", neighbouring tokens of a text; "token".
        Tokens of a text are not independent, so that errors over tokens are too small.
      block: the bytes of a block.
      draws, seed: of the bootstrap.
      clip: log-probabilities below minus so many nats count as that; None: as they are.
      max_bytes: only the first so many bytes of each text count; None: all.
      out: a folder for tokens.csv; None: not written.

    Raises InputError where the store has no such results, or for a parameter that cannot be used.
    """
    from jaxmap.comparison.token_statistics import UNITS, Resampling, token_statistics

    if unit not in UNITS:
        raise InputError(f"is one of {', '.join(UNITS)}", field="unit", value=unit)
    for name, value, least in (
        ("block", block, 1),
        ("draws", draws, 2),
        ("max_bytes", max_bytes, 1),
    ):
        if value is not None and value < least:
            raise InputError(f"is at least {least}", field=name, value=value)
    if clip is not None and not clip > 0:
        raise InputError("is a positive number of nats", field="clip", value=clip)
    if out is not None:
        check_folder(out)
    opened = open_for_reading(store)
    text_set = None if texts is None else texts_of(texts)
    if text_set is not None and text_set.fingerprint != opened.texts.fingerprint:
        raise InputError(
            "are not the texts that the store was made with" + order_hint(opened.texts, text_set),
            field="texts",
            value=text_set.source,
        )
    names = names_of(by)
    if names and text_set is None:
        raise InputError("needs the store's texts: give `texts` too", field="by")
    how = Resampling(unit, block, draws, seed, clip, max_bytes)
    found = token_statistics(opened, how, reference=reference, texts=text_set, by=names)
    return saved(found, out)
