"""The part of `jaxmap report` about what a store has compared token by token."""

from __future__ import annotations

from html import escape

from jaxmap.comparison import kept
from jaxmap.comparison.collected import collect
from jaxmap.comparison.page import models_table
from jaxmap.comparison.summary import rounded
from jaxmap.comparison.table import Comparison
from jaxmap.figures import kl_and_size
from jaxmap.reports.section import Picture, Section
from jaxmap.store import Store


def sections_of(store: Store) -> tuple[Section, ...]:
    """A section for each reference that models were compared with in this store; no model is read.

    Raises InputError where a file of a comparison is damaged.
    """
    pairs = [pair for pair, _ in kept.all_pairs(store.path) if not pair.is_floor]
    references = list(dict.fromkeys(pair.reference for pair in pairs))
    return tuple(_section(collect(store, name), n) for n, name in enumerate(references, 1))


def _section(found: Comparison, number: int) -> Section:
    name = found.reference.rsplit("/", 1)[-1]
    first = found.found[0]
    title = f"Token by token beside {name}"
    words = [
        f"<p>At every token of {first.texts:,} texts the next-token distributions of two models "
        "are compared over the whole vocabulary: token KL is the mean of KL(reference || model). "
        "It is another quantity than the KL over texts of this page, which stands in the column "
        "beside. ± is one standard error over texts.</p>",
        models_table(found),
    ]
    if (floor := found.reference_floor) is not None:
        words.append(
            f"<p>The reference beside itself in {escape(floor.dtype)}: token KL "
            f"{rounded(*floor.token_kl)} nats, which is what rounding alone does.</p>"
        )
    for one in found.compared:
        if one.other_tokens:
            said = f"{one.row.model.rsplit('/', 1)[-1]} has no token KL: it {one.other_tokens}."
            words.append(f'<p class="note">{escape(said)}</p>')
    figure = kl_and_size.draw(found)
    if figure is None:
        return Section(title, "".join(words))
    return Section(
        title,
        "".join(words),
        (
            Picture(
                f"{found.figure_name}_{number}",
                f"KL from {name} and size",
                figure,
                "Each point is a model: the size of its weights and its KL from the reference, "
                "per token (left) and over texts (right); bars are one standard error. The line "
                "joins those that no other beats in both; the dashed line is what rounding alone "
                "does, where it was measured.",
            ),
        ),
    )
