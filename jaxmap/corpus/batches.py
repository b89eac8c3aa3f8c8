"""Texts packed into rows of fixed length: few static shapes, next to no padding.

Why packed rows rather than one text a row, sorted by length: the shapes do not depend on the
texts, so a handful of programs serves any text set, and what is padded is the end of the last
rows. Attention is kept to a text's own tokens by segment numbers, and a batch declares how long
its longest text is (`reach`), so that short texts do not pay for the length of their row.
"""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Iterator

import numpy as np

from jaxmap.corpus.tokens import Tokens

_LANE = 128  # row lengths are multiples of it
_ROWS = (512, 768, 1024, 2048)  # lengths to choose from, beside the longest text's own
_KEYS = 4  # attention on so many keys per channel costs about as much as all the rest
_CLASSES = 4  # reaches at most: each is compiled once per architecture


@dataclasses.dataclass(frozen=True)
class Batch:
    """B rows of T tokens; every text lies whole in one row.

    A text of n ids takes n - 1 places: its last id is only a target. All arrays int32.

    Fields:
      ids_BT, target_BT: a token and the one after it in its text; 0 at padding.
      segment_BT: number of the text within its row, from 1; 0 at padding.
      position_BT: place in the text, from 0.
      length_BT: ids of the text.
      reach: no text of the batch takes more places.
      text, row, start: [P] which text lies where.
      stop: [P] end of its places, exclusive.
      first: [P] place whose target is the first scored id.
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
        """Places that hold a token."""
        return int((self.stop - self.start).sum())


@dataclasses.dataclass(frozen=True)
class _Group:
    """Rows that share a shape and a reach; each row lists its texts."""

    B: int
    T: int
    reach: int
    rows: list[list[int]]

    def cost(self, size: np.ndarray, width: int) -> float:
        """Of a token, next to one without padding or attention: what rows are chosen by.

        Long rows leave less unused; short ones start over more often, and a query is given the
        keys of up to `reach` - 1 places before it in its row.
        """
        places = _up(len(self.rows), self.B) * self.T
        keys = np.minimum(np.arange(self.T), self.reach - 1).mean()
        return (
            places * (1 + keys / (_KEYS * width)) / sum(int(size[row].sum()) for row in self.rows)
        )


@dataclasses.dataclass(frozen=True)
class Plan:
    """Which text lies in which row of which batch."""

    groups: tuple[_Group, ...]

    @property
    def num_batches(self) -> int:
        return sum(-(-len(g.rows) // g.B) for g in self.groups)

    @property
    def num_places(self) -> int:
        """Places computed, padding included."""
        return sum(-(-len(g.rows) // g.B) * g.B * g.T for g in self.groups)

    @property
    def shapes(self) -> list[tuple[int, int, int]]:
        """(B, T, reach) of every program that the plan needs."""
        return [(g.B, g.T, g.reach) for g in self.groups]


def _up(n: int, multiple: int) -> int:
    return -(-n // multiple) * multiple


def row_length(places: int) -> int:
    """The shortest row that holds a text of so many places."""
    return _up(places, _LANE)


def _pack(
    texts: list[int],
    size: np.ndarray,
    rows: list[list[int]],
    free: list[int],
    *,
    new_row: int | None,
) -> list[int]:
    """Best fit: each text goes where it leaves least room.

    A text that fits nowhere opens a row of `new_row` places; with None it is left, and returned.
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


def plan(tokens: Tokens, *, batch_tokens: int, pieces: int = 1, width: int = 4096) -> Plan:
    """Packs every text with something to score.

    Texts are taken by reach, longest first. Each reach opens the rows that its texts need, rounds
    them up to whole batches, and fills the room that is left with shorter texts.

    Args:
      tokens: the text set.
      batch_tokens: places of a batch, B x T, as nearly as T allows; of one of its pieces.
      pieces: devices or groups of them that share a batch, as many rows each.
      width: channels of the model's residual stream; attention weighs more in narrow models.
    """
    size = np.where(tokens.num_scored > 0, tokens.lengths - 1, 0)
    order = np.argsort(-size, kind="stable")
    texts = [int(i) for i in order if size[i] > 0]
    groups: list[_Group] = []
    while texts:
        reach = _up(int(size[texts[0]]), _LANE)
        # The last class, and the shortest, takes all that is left.
        last = reach == _LANE or len(groups) == _CLASSES - 1
        shorter = 0 if last else reach // 2
        own = next((i for i, t in enumerate(texts) if size[t] <= shorter), len(texts))
        choices = [
            _group(texts[:own], texts[own:], size, T, reach, batch_tokens, pieces)
            for T in sorted({reach, *(max(row, reach) for row in _ROWS)})
        ]
        group, texts = min(choices, key=lambda choice: choice[0].cost(size, width))
        groups.append(group)
    return Plan(tuple(groups))


def _group(
    own: list[int],
    shorter: list[int],
    size: np.ndarray,
    T: int,
    reach: int,
    batch_tokens: int,
    pieces: int,
) -> tuple[_Group, list[int]]:
    """The rows for the texts of one reach, and the shorter texts that found no room in them."""
    rows: list[list[int]] = []
    free: list[int] = []
    _pack(own, size, rows, free, new_row=T)
    B = max(1, batch_tokens // T) * pieces
    total = int(size[own].sum() + size[shorter].sum())
    if total <= B * T:  # one batch may hold all that is left: no larger than it has to be
        B = min(B, _up(max(len(rows), -(-total // T)), pieces))
    spare = _up(len(rows), B) - len(rows)
    rows += [[] for _ in range(spare)]
    free += [T] * spare
    left = _pack(shorter, size, rows, free, new_row=None)
    return _Group(B, T, reach, [row for row in rows if row]), left


def batches(tokens: Tokens, plan: Plan) -> Iterator[Batch]:
    """The batches of a plan, one at a time; all of a group have the same shape."""
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
