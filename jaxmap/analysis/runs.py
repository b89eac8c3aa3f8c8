"""Which results of a store belong to which training run, and what their names tell."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from jaxmap.store import Store
from jaxmap.store.labels import natural_key, step_of, trajectory_of
from jaxmap.store.record import Entry

_SEED = re.compile(r"^(?P<base>.+?)[-_]seed(?P<seed>\d+)$")
_SIZE = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<unit>[kmbt])", re.IGNORECASE)
_CHECKPOINT = re.compile(r"[-_]?(?:global_)?(?:step|checkpoint|iter)[-_]?\d+.*$", re.IGNORECASE)
_UNITS = {"k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}


@dataclass(frozen=True)
class Name:
    """What the name of a run tells: `org/pythia-410m-seed3` is family pythia, 410m, seed 3."""

    family: str  # the name with `*` for the size and without the seed
    size: str  # "410m"; "" for a name of one word
    seed: int | None


@dataclass(frozen=True)
class Run:
    """The saved checkpoints of one training run, earliest first, and the plain results of each.

    Plain: unquantised, in the default dtype, the model's own output. A checkpoint that was asked
    for, or failed, and has no result is a gap: it has a step and no entry.
    """

    name: str  # short, unique in the store
    full_name: str  # with its organisation or folder
    facts: Name
    entries: tuple[Entry | None, ...]
    steps: np.ndarray  # int64 [I]

    @property
    def parameters(self) -> float:
        """As recorded, else as the size in the name says, else NaN."""
        for entry in self.entries:
            known = entry and entry.provenance.model.get("num_parameters")
            if known:
                return float(known)
        return parameters_of(self.facts.size)


def size_of(entry: Entry) -> float | None:
    """Parameters of a model: as recorded, else as its name says (llama-2-7b), else None."""
    known = entry.provenance.model.get("num_parameters")
    if known:
        return float(known)
    one = entry.identity
    named = parse_name(one.ref if one.revision is not None else _full_name(one.ref, None))
    parameters = parameters_of(named.size)
    return parameters if parameters >= 1e6 else None  # 32k is a context


def parse_name(name: str) -> Name:
    """Splits a run's name. The size is its first word like 410m or 1.4b, else its last word."""
    match = _SEED.match(name)
    base, seed = (match["base"], int(match["seed"])) if match else (name, None)
    folder, slash, last = base.rpartition("/")
    words = re.split(r"([-_])", last)
    place = next((i for i, word in enumerate(words) if _SIZE.fullmatch(word)), len(words) - 1)
    if len(words) == 1 and not _SIZE.fullmatch(words[0]):
        return Name(base, "", seed)
    size, words[place] = words[place], "*"
    return Name(folder + slash + "".join(words), size, seed)


def parameters_of(size: str) -> float:
    """1.4e9 for "1.4b"; NaN for a size that is no number."""
    match = _SIZE.fullmatch(size)
    return float(match["number"]) * _UNITS[match["unit"].lower()] if match else float("nan")


def runs_of(store: Store, entries: Iterable[Entry] | None = None) -> list[Run]:
    """The runs with two results or more, by size and name; `entries` are `store.records()`.

    Runs whose short names coincide keep their full ones.
    """
    groups: dict[tuple[object, ...], list[Entry]] = defaultdict(list)
    for entry in store.records() if entries is None else entries:
        key = trajectory_of(entry)
        if key is not None and entry.variant.is_plain:
            groups[key].append(entry)
    gaps: dict[str, set[int]] = defaultdict(set)
    for item in (*(failure.item for failure in store.failures()), *store.missing()):
        step = step_of(item.ref, item.revision)
        if step is not None and not item.variant.is_quantised:
            gaps[_full_name(item.ref, item.revision)].add(step)
    found = {
        _full_name(group[0].identity.ref, group[0].identity.revision): group
        for group in groups.values()
        if len(group) > 1
    }
    count = Counter(name.rpartition("/")[2] for name in found)
    runs = []
    for full_name, group in found.items():
        short = full_name.rpartition("/")[2]
        by_step: dict[int, Entry | None] = dict.fromkeys(gaps[full_name])
        for entry in group:
            by_step[_step(entry)] = entry
        steps = sorted(by_step)
        runs.append(
            Run(
                short if count[short] == 1 else full_name,
                full_name,
                parse_name(full_name),
                tuple(by_step[step] for step in steps),
                np.array(steps, np.int64),
            )
        )
    return sorted(runs, key=_order)


def single_models(entries: Sequence[Entry]) -> list[Entry]:
    """The models that are no checkpoint of a run: what a map of models shows."""
    return [
        entry
        for entry in entries
        if entry.variant.is_plain and step_of(entry.identity.ref, entry.identity.revision) is None
    ]


def _step(entry: Entry) -> int:
    step = step_of(entry.identity.ref, entry.identity.revision)
    assert step is not None  # trajectory_of knows one
    return step


def _full_name(ref: str, revision: str | None) -> str:
    """The run that a checkpoint belongs to: org/name, or the folder that its folder lies in."""
    if revision is not None:
        return ref
    folder, _, last = ref.rpartition("/")
    # run/step10 is of the run; runs/seed1-step10 of runs/seed1.
    before = _CHECKPOINT.sub("", last)
    return f"{folder}/{before}" if before and folder else before or folder


def _order(run: Run) -> tuple[object, ...]:
    parameters = run.parameters
    known = parameters == parameters
    return (
        natural_key(run.facts.family),
        not known,
        parameters if known else 0.0,
        natural_key(run.name),
    )
