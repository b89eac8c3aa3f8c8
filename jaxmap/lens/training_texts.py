"""Which texts a tuned lens was trained on, so that scoring the same texts can be warned of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from absl import logging

from jaxmap.atomic import write_atomic
from jaxmap.corpus.texts import TextSet
from jaxmap.errors import InputError
from jaxmap.lens.tuned_lens import TunedLens, find_lens

TRAINED_TEXTS = "trained_texts.txt"  # a digest of each text on a line


def write_trained_texts(folder: Path, texts: TextSet, trained: Iterable[int]) -> None:
    """Writes the digests of the texts that a lens was trained on, given by their indices."""
    lines = sorted(texts.digests[index] for index in trained)
    write_atomic(folder / TRAINED_TEXTS, "".join(f"{line}\n" for line in lines).encode())


def count_seen(lens: TunedLens, texts: TextSet) -> int:
    """How many of the texts the lens was trained on.

    Of a lens without the digests of its texts, which earlier versions trained, it is known only
    whether it was trained on all of these texts but those that were held out.
    """
    try:
        trained = set((lens.folder / TRAINED_TEXTS).read_text("ascii").split())
    except (OSError, ValueError):
        same = lens.facts.get("training", {}).get("texts") == texts.fingerprint
        return int(lens.facts.get("train_texts", len(texts))) if same else 0
    return sum(digest in trained for digest in texts.digests)


def warn_of_seen_texts(path: Path, models: Sequence[tuple[str, str | None]], texts: TextSet) -> int:
    """Warns, in one line, if tuned lenses were trained on texts that they are to score.

    Args:
      path: the folder of lenses, or of one lens.
      models: the reference and revision of each model; those without a lens are passed over.
      texts: the texts to score.

    Returns the largest number of texts that one of the lenses was trained on.
    """
    counts = []
    for ref, revision in models:
        try:
            counts.append(count_seen(find_lens(path, ref, revision), texts))
        except InputError:  # told where the model is scored
            continue
    most = max(counts, default=0)
    if most:
        lenses = sum(count > 0 for count in counts)
        which = "the tuned lens" if lenses == 1 else f"{lenses} tuned lenses"
        was, it = ("was", "its") if lenses == 1 else ("were", "their")
        logging.warning(
            "`lens=tuned:%s`: %s %s trained on %d of the %d texts that are scored, so %s layers "
            "look better than they are: train on other texts (`jaxmap lens train`)",
            path, which, was, most, len(texts), it,
        )  # fmt: skip
    return most
