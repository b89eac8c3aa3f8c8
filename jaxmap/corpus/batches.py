"""Texts packed into rows of fixed length: few static shapes and almost no padding.

Rows are packed, instead of one text per row sorted by length, because the shapes then do not depend
on the texts: a handful of programs serves any text set, and only the ends of the last rows are
padding. Segment numbers restrict attention to a text's own tokens. A batch has an upper bound on
the length of its texts (`reach`), so that attention of short texts does not cost as much as their
row is long.
"""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Iterator

import numpy as np

from jaxmap.corpus.tokens import Tokens

_LANE = 128  # row lengths are multiples of it
_ROWS = (512, 768, 1024, 2048)  # row lengths to choose from, besides that of the longest text
_KEYS = 4  # attention on so many keys per channel costs about as much as everything else
_CLASSES = 4  # the largest number of reaches; each is compiled once per architecture


@dataclasses.dataclass(frozen=True)
class Batch:
    """B rows of T tokens; every text is in one row. P is the number of texts.

    A text of n ids takes n - 1 entries of its row, since its last id is only a target. All arrays
    are int32.

    Fields:
      ids_BT, target_BT: a token, and the next token of its text; 0 at padding.
      segment_BT: the number of the text within its row, from 1; 0 at padding.
      position_BT: the index in the text, from 0.
      length_BT: the number of ids of the text.
      reach: an upper bound on the number of entries of a text.
      text, row: [P] the index of each text in the text set, and its row.
      start, stop: [P] its entries of the row are start to stop - 1.
      first: [P] the entry whose target is the first scored id.
    """

    ids_BT: np.ndarray
    target_BT: np.ndarray
    segment_BT: np.ndarray
    position_BT: np.ndarray
    length_BT: np.ndarray
    reach: int
    text: np.ndarray
    row: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    first: np.ndarray

    @property
    def num_places(self) -> int:
        """The number of entries that are not padding."""
        return int((self.stop - self.start).sum())


@dataclasses.dataclass(frozen=True)
class _Group:
    """Rows with the same shape and reach; each row is a list of its texts."""

    B: int
    T: int
    reach: int
    rows: list[list[int]]

    def cost(self, size: np.ndarray, width: int) -> float:
        """The cost per token, relative to a token without padding and attention.

        Row lengths are chosen to minimise it. Long rows have less padding; short rows have fewer
        keys, since attention reads up to `reach` - 1 entries before a query in its row.
        """
        places = _up(len(self.rows), self.B) * self.T
        keys = np.minimum(np.arange(self.T), self.reach - 1).mean()
        return (
            places * (1 + keys / (_KEYS * width)) / sum(int(size[row].sum()) for row in self.rows)
        )


@dataclasses.dataclass(frozen=True)
class BatchPlan:
    """The arrangement of texts in rows and batches."""

    groups: tuple[_Group, ...]

    @property
    def num_batches(self) -> int:
        """The number of batches of all groups."""
        return sum(-(-len(g.rows) // g.B) for g in self.groups)

    @property
    def num_places(self) -> int:
        """The number of entries that are computed, padding included."""
        return sum(-(-len(g.rows) // g.B) * g.B * g.T for g in self.groups)

    @property
    def shapes(self) -> list[tuple[int, int, int]]:
        """The (B, T, reach) of every program that the plan needs."""
        return [(g.B, g.T, g.reach) for g in self.groups]


def _up(n: int, multiple: int) -> int:
    return -(-n // multiple) * multiple


def row_length(places: int) -> int:
    """The length of the shortest row for a text of so many entries."""
    return _up(places, _LANE)


def _pack(
    texts: list[int],
    size: np.ndarray,
    rows: list[list[int]],
    free: list[int],
    *,
    new_row: int | None,
) -> list[int]:
    """Packs by best fit: each text goes into the row in which it leaves the fewest tokens free.

    A text that fits into no row starts a row of `new_row` entries; if that is None, it is returned.
    """
    room = sorted((f, r) for r, f in enumerate(free))
    left = []
    for text in texts:
        n = int(size[text])
        i = bisect.bisect_left(room, (n, -1))
        if i < len(room):
            f, r = room.pop(i)
        elif new_row is not None:
            f, r = new_row, len(rows)
            rows.append([])
            free.append(f)
        else:
            left.append(text)
            continue
        rows[r].append(text)
        free[r] = f - n
        bisect.insort(room, (f - n, r))
    return left


def plan(tokens: Tokens, *, batch_tokens: int, pieces: int = 1, width: int = 4096) -> BatchPlan:
    """Packs every text with something to score.

    Texts are grouped by reach, the longest first. Each group gets the rows that its texts need,
    rounded up to whole batches; the remaining tokens are filled with shorter texts.

    Args:
      tokens: the text set.
      batch_tokens: the entries of each piece of a batch, B x T, as nearly as T allows.
      pieces: the number of devices, or groups of devices, that divide the rows of a batch.
      width: the width of the model; in narrow models attention is a larger share of the cost.
    """
    size = np.where(tokens.num_scored > 0, tokens.lengths - 1, 0)
    order = np.argsort(-size, kind="stable")
    texts = [int(i) for i in order if size[i] > 0]
    groups: list[_Group] = []
    while texts:
        reach = _up(int(size[texts[0]]), _LANE)
        # The last group has the shortest texts, all that are left.
        last = reach == _LANE or len(groups) == _CLASSES - 1
        shorter = 0 if last else reach // 2
        own = next((i for i, t in enumerate(texts) if size[t] <= shorter), len(texts))
        choices = [
            _group(texts[:own], texts[own:], size, T, reach, batch_tokens, pieces)
            for T in sorted({reach, *(max(row, reach) for row in _ROWS)})
        ]
        group, texts = min(choices, key=lambda choice: choice[0].cost(size, width))
        groups.append(group)
    return BatchPlan(tuple(groups))


def plan_by_length(tokens: Tokens, *, batch_tokens: int, equal: bool = False) -> BatchPlan:
    """One text per row, the shortest texts first: for programs that know no packed rows.

    Args:
      tokens: the text set.
      batch_tokens: at most so many entries in a batch of several texts, padding included.
      equal: whether the texts of a batch must be of one length, so that there is no padding.
    """
    size = np.where(tokens.num_scored > 0, tokens.lengths - 1, 0)
    order = np.argsort(size, kind="stable")
    rows: list[list[int]] = []
    groups: list[_Group] = []
    for text in (int(i) for i in order if size[i] > 0):
        longer = bool(rows) and size[text] != size[rows[-1][0]]
        if rows and ((len(rows) + 1) * size[text] > batch_tokens or (equal and longer)):
            groups.append(_of_rows(rows, size))
            rows = []
        rows.append([text])
    return BatchPlan((*groups, *([_of_rows(rows, size)] if rows else [])))


def _of_rows(rows: list[list[int]], size: np.ndarray) -> _Group:
    T = int(size[rows[-1][0]])
    return _Group(len(rows), T, T, rows)


def _group(
    own: list[int],
    shorter: list[int],
    size: np.ndarray,
    T: int,
    reach: int,
    batch_tokens: int,
    pieces: int,
) -> tuple[_Group, list[int]]:
    """The rows for the texts of one reach, and the shorter texts that did not fit into them."""
    rows: list[list[int]] = []
    free: list[int] = []
    _pack(own, size, rows, free, new_row=T)
    B = max(1, batch_tokens // T) * pieces
    total = int(size[own].sum() + size[shorter].sum())
    if total <= B * T:  # the rest fits into one batch, which is made no larger than needed
        B = min(B, _up(max(len(rows), -(-total // T)), pieces))
    spare = _up(len(rows), B) - len(rows)
    rows += [[] for _ in range(spare)]
    free += [T] * spare
    left = _pack(shorter, size, rows, free, new_row=None)
    return _Group(B, T, reach, [row for row in rows if row]), left


def batches(tokens: Tokens, plan: BatchPlan) -> Iterator[Batch]:
    """Yields the batches of a plan; all batches of a group have the same shape."""
    first_scored = np.asarray(tokens.first_scored)
    lengths = tokens.lengths
    for group in plan.groups:
        for begin in range(0, len(group.rows), group.B):
            yield _batch(tokens, lengths, first_scored, group, group.rows[begin : begin + group.B])


def _batch(
    tokens: Tokens, lengths: np.ndarray, first_scored: np.ndarray, group: _Group, rows: list
) -> Batch:
    arrays = np.zeros((5, group.B, group.T), np.int32)
    ids, target, segment, position, length = arrays
    placed = []
    for r, texts in enumerate(rows):
        at = 0
        for k, text in enumerate(texts, start=1):
            n = int(lengths[text])
            own = tokens.ids[tokens.offsets[text] : tokens.offsets[text] + n]
            span = slice(at, at + n - 1)
            ids[r, span], target[r, span] = own[:-1], own[1:]
            segment[r, span], position[r, span], length[r, span] = k, np.arange(n - 1), n
            placed.append((text, r, at, at + n - 1, at + int(first_scored[text]) - 1))
            at += n - 1
    columns = np.asarray(placed, np.int64).T
    return Batch(ids, target, segment, position, length, group.reach, *columns)
