"""200 awkward texts, on which a reading of a vocabulary is compared with the format's own."""

from __future__ import annotations

import itertools

# Spaces at either end and in a row, digits, line breaks, NUL, letters outside the plane, marks that
# are not composed, text from right to left, bytes without a token, letters of SentencePiece.
_PARTS = (
    *("a", "The", "don't", "naïve", "New York", "x=1;", "3.14", "2023", "0", "1234567890"),
    *("\n", "\r\n", "\t", "\n\n  ", "\x00", "\u00a0", "\u3000", "\u200b", "\u2028", "\ufeff"),
    *("🙂", "👩‍👩‍👧", "e\u0301", "\ufb01", "Å", "东京", "東京タワー", "שלום", "مرحبا", "\u200fא"),
    *("▁", "▁a", "ſ", "ß", "İ", "\U0001f1eb\U0001f1f7", "\ue000", "ﾊﾝｶｸ", "...", "--==--"),
)
_FORMS = ("{}", " {}", "{} ", "  {0}  {0}  ", "a{}b")
TEXTS: tuple[str, ...] = tuple(
    form.format(part) for part, form in itertools.product(_PARTS, _FORMS)
)
