"""The comparisons that a store has, as table and figure for a model card, without any model."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from jaxmap.atomic import write_atomic
from jaxmap.comparison import stored_comparison, stored_texts
from jaxmap.comparison.alignment import AlignedComparison, aligned_details
from jaxmap.comparison.details import details_of
from jaxmap.comparison.stored_comparison import Pair
from jaxmap.comparison.table import Compared, Comparison, Floor, floor_of
from jaxmap.comparison.table_row import row_of
from jaxmap.errors import InputError
from jaxmap.figures.figure import save_figures
from jaxmap.store import Store


class StoreCard(Comparison):
    """All models that a store has beside one reference, the smallest first."""

    file = "card.csv"

    def save(self, folder: str | Path) -> list[Path]:
        """Writes card.csv, card.md and the figure into `folder`, which is made, and names them."""
        folder = Path(folder)
        page = folder / "card.md"
        write_atomic(page, self.markdown().encode("utf-8", errors="surrogateescape"))
        return [self.write(folder / self.file), page, *save_figures(self.draw(), folder)]


def collect(store: Store, reference: str | None = None, command: str = "") -> StoreCard:
    """The comparisons with a reference that a store keeps; of a model's several the latest.

    Args:
      store: the store.
      reference: its name; None: the one that there is.
      command: what somebody types to have the same again; "": those that compared.

    Raises InputError where there are none, or several references and none is named.
    """
    pairs = stored_comparison.all_pairs(store.path)
    compared = [(pair, path) for pair, path in pairs if not pair.is_floor]
    names = list(dict.fromkeys(pair.reference for pair, _ in compared))
    if not names:
        raise InputError(f"{store.path}: nothing was compared in it: run `jaxmap compare` first")
    if reference is None and len(names) > 1:
        raise InputError(f"is one of {', '.join(names)}; name it", field="reference")
    reference = (reference or names[0]).rstrip("/")
    if reference not in names:
        raise InputError(f"nothing was compared with {reference}, only with {', '.join(names)}",
                         field="reference")  # fmt: skip
    bytes_N = store.texts.text_bytes
    of_model = {p.model: (p, path) for p, path in compared if p.reference == reference}
    floors = {pair.model: (pair, path) for pair, path in pairs if pair.is_floor}

    def floor(name: str) -> Floor | None:
        if name not in floors:
            return None
        pair, path = floors[name]
        return floor_of(pair, _numbers(path), bytes_N)

    found = []
    for pair, path in of_model.values():
        numbers, texts = _numbers(path), stored_texts.read(path)
        if texts is not None:
            details = list(texts.details)
        elif isinstance(numbers, AlignedComparison):
            details = aligned_details(numbers, bytes_N)
        else:
            details = details_of(numbers, bytes_N)
        row, own = row_of(pair, numbers, bytes_N), pair.layer is None
        found.append(
            Compared(
                row,
                tuple(details),
                floor(pair.model) if own else None,
                () if texts is None else texts.worst,
                () if texts is None else texts.views,
                other_tokens=pair.other_tokens,
                layer=pair.layer,
            )
        )
    found.sort(key=lambda one: (one.row.gib, one.row.model))
    return StoreCard(
        reference=reference,
        compared=tuple(found),
        texts_fingerprint=store.texts.fingerprint,
        reference_floor=floor(reference),
        command=command or _commands(pair for pair, _ in of_model.values()),
    )


def _numbers(path: Path) -> stored_comparison.Numbers:
    loaded = stored_comparison.load(path)
    assert loaded is not None  # `all_pairs` names files that are there
    return loaded[1]


def _commands(pairs: Iterable[Pair]) -> str:
    return "; ".join(dict.fromkeys(pair.command for pair in pairs if pair.command))
