"""Weight distances, that is, distances between checkpoints in weight space, in a store's folder.

    STORE/weights/RUN@stepN-KEY.npz     a row: from one checkpoint to earlier ones of its run
    STORE/weights/RUN-KEY.npz           a matrix: a whole run at once, as in released data
    STORE/weights/asked-HASH.json       which distances were requested

A row is written when its checkpoint has been read, so that several processes, and interrupted ones,
together give the same files. Its name depends only on run, step and commit. Distances are squared
norms of the difference of all parameters; NaN means not computed, or different parameters.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from jaxmap.atomic import write_atomic
from jaxmap.store.folder import Folder
from jaxmap.store.json_files import CorruptError, decode_json, encode_json
from jaxmap.store.record import file_stem, hash_facts

FOLDER = "weights"
WINDOW = 10  # the number of earlier checkpoints, as in the paper

# For each run, the commits of its checkpoints by step.
Commits = Mapping[str, Mapping[int, str]]


@dataclass(frozen=True)
class WeightDistances:
    """Squared distances between the weights of one run's checkpoints.

    Fields:
      ref: the run, by the name of its checkpoints.
      steps: int64 [I].
      distance: float64 [I, I], above the diagonal; NaN where there is none.
    """

    ref: str
    steps: np.ndarray
    distance: np.ndarray

    def at(self, steps: np.ndarray) -> np.ndarray:
        """The distances between these steps, [I, I]; NaN for unknown steps."""
        place = {int(step): i for i, step in enumerate(self.steps)}
        rows = np.array([place.get(int(step), -1) for step in steps])
        found = self.distance[np.ix_(rows, rows)].copy()
        found[rows < 0, :] = np.nan
        found[:, rows < 0] = np.nan
        return found


@dataclass(frozen=True)
class DistanceRow:
    """Squared distances from one checkpoint to earlier ones, by step and commit of the earlier."""

    run: str
    step: int
    commit: str
    to: Mapping[tuple[int, str], float]


@dataclass(frozen=True)
class DistanceRequest:
    """A request for the distances between checkpoints at most `window` places apart in a run."""

    run: str
    steps: tuple[int, ...]
    window: int

    def pairs(self) -> set[tuple[int, int]]:
        """The pairs (later step, earlier step)."""
        return {
            (step, self.steps[j])
            for i, step in enumerate(self.steps)
            for j in range(max(0, i - self.window), i)
        }


class DistanceTable:
    """The rows of a store, and the requests; each file is parsed once."""

    def __init__(self, store_path: Path):
        folder = store_path / FOLDER
        self._files: Folder[DistanceRow | WeightDistances] = Folder(
            folder, ".npz", _read, group=_run_of
        )
        self._asked = Folder(folder, ".json", _read_asked)
        self.path = folder

    def of(self, run: str) -> dict[tuple[int, str], DistanceRow]:
        """The rows of a run, by step and commit."""
        self._files.refresh()
        found: dict[tuple[int, str], DistanceRow] = {}
        for row in self._files.group(run):
            if isinstance(row, DistanceRow):
                # There are two files only if an earlier version wrote the run's name differently.
                other = found.get((row.step, row.commit))
                to = {**other.to, **row.to} if other else row.to
                found[row.step, row.commit] = replace(row, to=to)
        return found

    def add(self, row: DistanceRow) -> Path:
        """Writes a row, keeping distances that its file has already; returns the file."""
        known = self.of(row.run).get((row.step, row.commit))
        merged = {**row.to, **known.to} if known else dict(row.to)
        stem = file_stem(
            f"{row.run}@step{row.step}",
            hash_facts({"run": row.run, "step": row.step, "commit": row.commit}),
        )
        path = self.path / f"{stem}.npz"
        if known is None or merged.keys() != known.to.keys():
            write_atomic(path, _encode(DistanceRow(row.run, row.step, row.commit, merged)))
        return path

    def ask(self, asked: DistanceRequest) -> None:
        """Records the request of a run."""
        facts = asdict(asked)
        name = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
        path = self.path / f"asked-{name}.json"
        self._asked.refresh()
        if not path.exists() or path in self._asked.corrupt():
            write_atomic(path, encode_json(facts))

    def forget(self, run: str, step: int) -> None:
        """Removes the distances from and to one checkpoint of a run, and the requests for it.

        Matrices of a whole run are not changed.
        """
        for path, row in self._files.items():
            if not isinstance(row, DistanceRow) or row.run != run:
                continue
            kept = {key: value for key, value in row.to.items() if key[0] != step}
            if row.step == step:
                path.unlink(missing_ok=True)
            elif kept != row.to:
                write_atomic(path, _encode(replace(row, to=kept)))
        for path, asked in self._asked.items():
            if asked.run == run and step in asked.steps:
                kept_steps = tuple(one for one in asked.steps if one != step)
                path.unlink(missing_ok=True)
                if len(kept_steps) > 1:
                    self.ask(replace(asked, steps=kept_steps))

    def count(self) -> tuple[int, int]:
        """The numbers of requested pairs that are present and that were requested."""
        wanted: dict[str, set[tuple[int, int]]] = defaultdict(set)
        for asked in self._asked.refresh():
            wanted[asked.run] |= asked.pairs()
        done = sum(
            len(pairs & {(row.step, step) for row in self.of(run).values() for step, _ in row.to})
            for run, pairs in wanted.items()
        )
        return done, sum(map(len, wanted.values()))

    def corrupt(self) -> dict[Path, str]:
        """Damaged files, with the reasons; they count as absent."""
        self._files.refresh()
        self._asked.refresh()
        return self._files.corrupt() | self._asked.corrupt()

    def all(self) -> list[DistanceRow | WeightDistances]:
        """All matrices, then all rows."""
        return sorted(self._files.refresh(), key=lambda one: isinstance(one, DistanceRow))


def write_distances(store_path: Path, distances: WeightDistances) -> Path:
    """Writes a run's distances as one matrix, replacing an earlier one; returns the file."""
    stem = file_stem(distances.ref, hash_facts({"ref": distances.ref}))
    path = store_path / FOLDER / f"{stem}.npz"
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        ref=np.array(distances.ref),
        steps=np.asarray(distances.steps, np.int64),
        distance=np.asarray(distances.distance, np.float64),
    )
    write_atomic(path, buffer.getvalue())
    return path


def read_distances(store_path: Path, commits: Commits | None = None) -> dict[str, WeightDistances]:
    """All distances of a store by the run's ref; rows have priority over matrices.

    Rows of a commit other than the one in `commits` for a step are left out. A damaged file counts
    as absent and is reported by name.
    """
    found: dict[str, dict[tuple[int, int], float]] = defaultdict(dict)
    steps_of: dict[str, set[int]] = defaultdict(set)
    for one in DistanceTable(store_path).all():
        if isinstance(one, WeightDistances):
            steps_of[one.ref].update(one.steps.tolist())
            for i, j in np.argwhere(~np.isnan(one.distance)).tolist():
                found[one.ref][int(one.steps[i]), int(one.steps[j])] = float(one.distance[i, j])
            continue
        current = (commits or {}).get(one.run, {})
        if current.get(one.step, one.commit) == one.commit:
            for (step, commit), distance in one.to.items():
                if current.get(step, commit) == commit:
                    steps_of[one.run] |= {step, one.step}
                    found[one.run][step, one.step] = distance
    return {run: _matrix(run, sorted(steps), found[run]) for run, steps in steps_of.items()}


def _matrix(
    run: str, steps: Sequence[int], pairs: Mapping[tuple[int, int], float]
) -> WeightDistances:
    place = {step: i for i, step in enumerate(steps)}
    distance_II = np.full((len(steps), len(steps)), np.nan)
    for (a, b), distance in pairs.items():
        distance_II[place[a], place[b]] = distance
    return WeightDistances(run, np.array(steps, np.int64), distance_II)


def _run_of(one: DistanceRow | WeightDistances) -> str:
    return one.run if isinstance(one, DistanceRow) else one.ref


def _run_name(written: object) -> str:
    """The run's name in today's form; earlier versions wrote `run/` for run/step1, ..."""
    return str(written).rstrip("/")


def _encode(row: DistanceRow) -> bytes:
    to = sorted(row.to)
    buffer = io.BytesIO()
    np.savez(
        buffer,
        run=np.array(row.run),
        step=np.int64(row.step),
        commit=np.array(row.commit),
        to_step=np.array([step for step, _ in to], np.int64),
        to_commit=np.array([commit for _, commit in to], str),
        distance=np.array([row.to[one] for one in to], np.float64),
    )
    return buffer.getvalue()


def _read(path: Path) -> DistanceRow | WeightDistances:
    """Reads a row or a matrix; raises CorruptError."""
    try:
        # From memory, because NumPy does not close a damaged file.
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        if "run" not in arrays:
            one = WeightDistances(str(arrays["ref"]), arrays["steps"], arrays["distance"])
            if one.distance.shape != (len(one.steps), len(one.steps)):
                raise ValueError(f"{one.distance.shape} distances of {len(one.steps)} checkpoints")
            return one
        to = zip(arrays["to_step"].tolist(), arrays["to_commit"].tolist(), strict=True)
        distances = dict(zip(to, arrays["distance"].tolist(), strict=True))
        return DistanceRow(
            _run_name(arrays["run"]), int(arrays["step"]), str(arrays["commit"]), distances
        )
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise CorruptError(f"not weight distances ({error}): remove it") from error


def _read_asked(path: Path) -> DistanceRequest:
    facts = decode_json(path)
    try:
        return DistanceRequest(
            _run_name(facts["run"]), tuple(map(int, facts["steps"])), int(facts["window"])
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptError(f"not a list of what was asked for ({error})") from error
