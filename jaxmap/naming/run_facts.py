"""Facts about training runs that users give because the names do not contain them.

A file of them is TOML (or JSON with the same fields):

    [[runs]]
    model = "marin-community/marin-8b-base"      # a reference; * and ? match
    order = ["kestrel", "ocelot", "jellyfish"]   # its checkpoints: steps 1, 2, 3

    [[runs]]
    model = "org/name"
    run = "stage2-*"                             # of its runs, those that match
    tokens_per_step = 2097152
    continues = "stage1"
    at = 238000
"""

from __future__ import annotations

import dataclasses
import fnmatch
import json
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from jaxmap.errors import InputError
from jaxmap.naming.names import Name, name_of, parse
from jaxmap.naming.sizes import UNITS
from jaxmap.naming.steps import TrainingTime

_GROUPS = {"run", "step", "tokens"}
_COUNT = re.compile(r"(\d{1,15}(?:\.\d{1,6})?)([kmbt]?)", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True)
class RunFacts:
    """What is known of some runs. Raises InputError for a field that cannot be.

    Fields:
      model: the reference of the checkpoints (`org/name`, a folder or its last part); `*`, `?` and
        `[...]` match.
      run: of its runs, those whose name matches, as in docs/names.md; "": the one without a name.
      order: the checkpoints of a run in the order of training: revisions, or last parts of
        references. They are steps 1, 2, 3, ..., unless `steps` or `tokens` are given.
      steps, tokens: of single checkpoints, by the same names.
      pattern: a regular expression that finds the groups `run`, `step` and `tokens` (each may be
        absent; numbers may end in k, M, B or T) in a revision, or in the last part of a reference.
      tokens_per_step: tokens per training step; has priority over the rounded tokens in names.
      steps_before, tokens_before: those of training before step 0 of the run, where its steps or
        the tokens in its names are counted from its own start.
      continues: the name of the run of the same model that this run continues.
      at: the step of that run from which it continues; None: its last.
    """

    model: str
    run: str = "*"
    order: tuple[str, ...] = ()
    steps: tuple[tuple[str, int], ...] = ()
    tokens: tuple[tuple[str, int], ...] = ()
    pattern: str = ""
    tokens_per_step: float | None = None
    tokens_before: float | None = None
    steps_before: int | None = None
    continues: str | None = None
    at: int | None = None

    def __post_init__(self) -> None:
        if not self.model:
            raise InputError("runs: an entry names no model: set its field `model`")
        try:
            groups = set(re.compile(self.pattern).groupindex)
        except re.error as error:
            raise self._refused("pattern", f"not a regular expression ({error})") from error
        if (self.pattern and not groups & {"step", "tokens"}) or groups - _GROUPS:
            why = "name a group (?P<step>...) or (?P<tokens>...), and (?P<run>...) if need be"
            raise self._refused("pattern", why)
        if len(set(self.order)) < len(self.order):
            raise self._refused("order", "names a checkpoint twice")
        for field in ("tokens_per_step", "tokens_before", "steps_before", "at"):
            value = getattr(self, field)
            if value is not None and not value >= (0 if field != "tokens_per_step" else 1):
                raise self._refused(field, f"{value!r} is no number of tokens or steps")

    def _refused(self, field: str, why: str) -> InputError:
        return InputError(f"runs: {self.model}: {field}: {why}")

    @classmethod
    def of_fields(cls, fields: Mapping[str, Any]) -> RunFacts:
        """From plain values, as of a file; InputError names a field that is unknown or bad."""
        model = str(fields.get("model", ""))
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(fields) - known):
            raise InputError(
                f"runs: {model}: unknown field {unknown[0]!r}; known: {', '.join(sorted(known))}"
            )
        read: dict[str, Any] = {}
        for name, value in fields.items():
            if name == "order":
                good = isinstance(value, list | tuple) and all(isinstance(v, str) for v in value)
                value = tuple(value) if good else value
            elif name in ("steps", "tokens"):
                good = isinstance(value, Mapping) and all(type(v) is int for v in value.values())
                value = tuple(value.items()) if good else value
            elif name in ("tokens_per_step", "tokens_before"):
                good = type(value) in (int, float)
            elif name in ("at", "steps_before"):
                good = type(value) is int
            else:
                good = isinstance(value, str)
            if not good:
                raise InputError(f"runs: {model}: {name}: {value!r} is not what it takes")
            read[name] = value
        if not read.get("model"):
            raise InputError("runs: an entry names no model: set its field `model`")
        return cls(**read)

    @property
    def fields(self) -> dict[str, Any]:
        """The inverse of `of_fields`: what is set."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        values |= {"steps": dict(self.steps), "tokens": dict(self.tokens)}
        values["order"] = list(self.order)
        default = {"steps": {}, "tokens": {}, "order": [], "run": "*", "pattern": ""}
        return {n: v for n, v in values.items() if v != default.get(n)}

    def fits(self, ref: str) -> bool:
        """Whether a reference is of this model: the whole of it, its folder, their last parts."""
        ref = ref.rstrip("/")
        folder = ref.rpartition("/")[0]
        names = {ref, folder, ref.rpartition("/")[2], folder.rpartition("/")[2]} - {""}
        return any(fnmatch.fnmatchcase(name, self.model) for name in names)

    def read(self, ref: str, revision: str | None) -> Name | None:
        """The name of a checkpoint of this model; None if these facts do not determine it."""
        word = ref.rstrip("/").rpartition("/")[2] if revision is None else revision
        path = ref if revision is not None else ref.rstrip("/").rpartition("/")[0] or ref
        steps, tokens = dict(self.steps), dict(self.tokens)
        if word in steps or word in tokens:
            time = TrainingTime(steps.get(word), tokens.get(word))
        elif word in self.order:
            time = TrainingTime(1 + self.order.index(word))
        else:
            return self._matched(path, word)
        return name_of(path, self.run if self._names_one_run else "", time, is_run=True)

    def _matched(self, path: str, word: str) -> Name | None:
        found = re.search(self.pattern, word) if self.pattern else None
        if found is None:
            return None
        told = found.groupdict()
        time = TrainingTime(self._count(told.get("step")), self._count(told.get("tokens")))
        if time.time is None:
            return None
        run = told.get("run") if "run" in told else self.run if self._names_one_run else ""
        return name_of(path, run or "", time, is_run=True)

    @property
    def _names_one_run(self) -> bool:
        return not set(self.run) & set("*?[")

    def _count(self, text: str | None) -> int | None:
        match = _COUNT.fullmatch(text or "")
        if match is None:
            if text:
                why = f"found {text!r}, which is no number such as 1000, 1.5k or 12B"
                raise self._refused("pattern", why)
            return None
        return int(Decimal(match[1]) * UNITS[match[2].lower()])


@dataclass(frozen=True)
class Names:
    """A parser of names that uses facts given by users; without any it is `parse`."""

    given: tuple[RunFacts, ...] = ()
    _known: dict[tuple[str, str | None], Name] = dataclasses.field(
        default_factory=dict, compare=False, repr=False
    )

    def parse(self, ref: str, revision: str | None = None) -> Name:
        """Parses a checkpoint's name; the first given facts that determine it have priority."""
        if not self.given:
            return parse(ref, revision)
        key = ref, revision
        if key not in self._known:
            told = (one.read(ref, revision) for one in self.given if one.fits(ref))
            self._known[key] = next(filter(None, told), None) or parse(ref, revision)
        return self._known[key]

    def facts(self, ref: str, revision: str | None = None) -> RunFacts:
        """The given facts about a checkpoint's run; the first that set a field have priority."""
        run = self.parse(ref, revision).run if self.given else ""
        found = RunFacts(ref, run)
        for one in self.given:
            if one.fits(ref) and fnmatch.fnmatchcase(run, one.run):
                fields = ("tokens_per_step", "tokens_before", "steps_before", "continues", "at")
                new = {f: getattr(one, f) for f in fields if getattr(found, f) is None}
                found = dataclasses.replace(found, **new)
        return found

    def over(self, others: Names) -> Names:
        """These facts, and those of `others` about what these say nothing of."""
        return Names(tuple(dict.fromkeys((*self.given, *others.given))))


GRAMMAR = Names()  # nothing given


def names_of(entries: Iterable[Mapping[str, Any]]) -> Names:
    """From plain values, as of a file or a config."""
    return Names(tuple(map(RunFacts.of_fields, entries)))


def read_runs_file(path: str | os.PathLike[str]) -> Names:
    """The facts of a .toml or .json file; InputError names the file and what is wrong."""
    path = Path(path).expanduser()

    def refused(why: str) -> InputError:
        return InputError(f"{path}: {why}", field="runs_file")

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise refused(f"cannot be read: {reason}") from error
    try:
        values = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except ValueError as error:
        kind = "JSON" if path.suffix == ".json" else "TOML"
        raise refused(f"not {kind}: {error}") from error
    runs = values.get("runs") if isinstance(values, dict) else None
    if not isinstance(runs, list) or not all(isinstance(one, dict) for one in runs):
        raise refused("holds no [[runs]]: see docs/runs.md")
    try:
        return names_of(runs)
    except InputError as error:
        raise refused(str(error)) from error
