"""The training step and the number of tokens of a checkpoint, read from its name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

from jaxmap.naming.sizes import UNITS, sizes
from jaxmap.naming.words import EDGE, END, cut, without_words

# Words of a revision, and at the end of a reference, that say nothing about the run.
NOISE = frozenset("checkpoint checkpoints ckpt ckpts hf intermediate main model train".split())
_NOISE_OF_REF = frozenset("checkpoint checkpoints ckpt ckpts intermediate".split())

# Organisations with a family called Step.
_NO_STEPS = frozenset({"stepfun-ai"})
_NUMERALS = frozenset("single one two three multi few many each next per".split())

_DECIMAL = r"\d{1,15}(?:\.\d{1,6})?"
_FLAGS = re.IGNORECASE | re.ASCII

_TOKENS = [
    re.compile(pattern, _FLAGS)
    for pattern in (
        rf"(?<![a-z0-9])tokens?[-_=]?(?P<number>{_DECIMAL})(?P<unit>[kmbt])t?(?![a-z0-9])",
        rf"(?<![a-z0-9.])(?P<number>{_DECIMAL})(?P<unit>[kmbt])t?[-_]?tokens?(?![a-z0-9])",
        rf"(?<![a-z0-9.])(?P<number>{_DECIMAL})(?P<unit>[mb])t(?![a-z0-9])",
        r"(?<![a-z0-9])tokens?[-_=]?(?P<number>\d{7,15})(?P<unit>)(?![a-z0-9.])",
    )
]
_TOKENS_AFTER = re.compile(rf"[-_](?P<number>{_DECIMAL})(?P<unit>[bt])(?![a-z0-9])", _FLAGS)
_TOKENS_ALONE = re.compile(rf"(?P<number>{_DECIMAL})(?P<unit>[bt])", _FLAGS)

# A fraction only before a unit: 1.5k is a count, 1.5 a version.
_COUNT = r"(?P<number>\d{1,15}(?:\.\d{1,6}(?=[km]))?)(?P<unit>[km]?)"
# The first kind that a name has counts, and of one kind the last.
_STEPS = [
    re.compile(pattern, _FLAGS)
    for pattern in (
        rf"(?<![a-z])(?P<word>(?:global[-_]?)?steps?)[-_=]?{_COUNT}{END}",
        rf"(?<![a-z])ep\d{{1,6}}[-_](?P<word>ba){_COUNT}{END}",  # epoch and batch
        rf"(?<![a-z])(?P<word>iter(?:ation)?s?)[-_=]?{_COUNT}{END}",
        rf"(?<![a-z])(?P<word>checkpoint|ckpt|chck)[-_=]?{_COUNT}{END}",
        rf"(?<![a-z])(?P<word>epoch)[-_=]?{_COUNT}{END}",
        rf"(?<![a-z0-9.]){_COUNT}[-_]?(?P<word>steps|iters|iterations)(?![a-z0-9])",
    )
]
_EPOCH = re.compile(rf"(?<![a-z])epoch[-_=]?\d{{1,6}}{END}", _FLAGS)
_DATE = re.compile(r"(?:19|20)\d\d([-_.]?)(?:0[1-9]|1[0-2])\1(?:0[1-9]|[12]\d|3[01])(?!\d)")


@dataclass(frozen=True)
class TrainingTime:
    """The step and tokens of a checkpoint that a text names, and the rest of the text."""

    step: int | None = None
    tokens: int | None = None
    rest: str = ""

    @property
    def time(self) -> int | None:
        """The step, or where none is named the number of tokens; None: a finished model."""
        return self.tokens if self.step is None else self.step


def read_revision(revision: str) -> TrainingTime:
    """Reads step and tokens from a branch, tag or subfolder; `rest` is the name of the run."""
    alone = _TOKENS_ALONE.fullmatch(without_words(revision, NOISE))
    if alone:
        return TrainingTime(tokens=_number(alone))
    time = _read(revision)
    return TrainingTime(time.step, time.tokens, without_words(time.rest, NOISE))


def read_ref(ref: str) -> tuple[str, TrainingTime]:
    """The run of the checkpoint that a reference names, and its step and tokens."""
    folder, slash, last = ref.rstrip("/").rpartition("/")
    if folder in _NO_STEPS:
        return ref, TrainingTime()
    # Other forms cannot be a repository of the Hub, and are no finished model's name as a rule.
    may_be_repository = "/" not in folder and not ref.startswith((".", "~", "/"))
    time = _read(last, careful=may_be_repository)
    if may_be_repository and time.time is None and last[:1].islower():
        alone = _read(last)
        if not without_words(alone.rest, _NOISE_OF_REF):  # run/step3 says nothing but a step
            time = alone
    rest = without_words(time.rest, _NOISE_OF_REF, at_end=True)
    if time.step is None and (time.tokens is None or rest):
        return ref, TrainingTime()  # a finished model, though it may say on how much it was trained
    if rest:
        return f"{folder}{slash}{rest}", time
    return folder or ref, time


def _read(text: str, careful: bool = False) -> TrainingTime:
    """Takes tokens and step out of a text; `careful`: it may be the name of a finished model."""
    step, tokens, cuts = None, None, []
    counted = _find_step(text, careful)
    if counted:
        step = _number(counted)
        cuts.append(counted.span())
        cuts += [match.span() for match in _EPOCH.finditer(text)]
        after = _TOKENS_AFTER.match(text, counted.end())
        # The size of a model comes first: in Llama-step500-7B the last is no count of tokens.
        if after and not (careful and not any(sizes(text[: counted.start()]))):
            tokens = _number(after)
            cuts.append(after.span())
    for pattern in _TOKENS:
        match = pattern.search(text)
        if match and not (careful and match["unit"].lower() == "k"):  # 32k tokens of context
            tokens = _number(match)
            cuts.append(match.span())
            break
    return TrainingTime(step, tokens, cut(text, cuts))


def _find_step(text: str, careful: bool) -> re.Match[str] | None:
    for pattern in _STEPS:
        for match in reversed([*pattern.finditer(text)]):
            if not _is_date(match) and not _is_of_model(match, careful):
                return match
    return None


def _is_date(match: re.Match[str]) -> bool:
    """checkpoint-20240115 and step-2024-01-15 are dates, step20240115 is a step."""
    date = _DATE.match(match.string, match.start("number"))
    return bool(date and (date[1] or match["word"].lower() in ("checkpoint", "ckpt", "chck")))


def _is_of_model(match: re.Match[str], careful: bool) -> bool:
    """Whether what looks like a step belongs to the name of a model: multi-step-2, Step-3,
    step3-fp8, SPIN-iter3, sft-epoch-2, 4-steps."""
    text, word = match.string, match["word"]
    before = re.split(r"[-_.]", text[: match.start()].rstrip(EDGE).lower())[-1]
    if careful and (before in _NUMERALS or match.end("number") < match.start("word")):
        return True
    if len(match["number"]) >= 3 or match["unit"]:
        return False
    if careful:
        return not before or word.lower() not in ("step", "checkpoint", "ckpt")
    # Even of a folder: a copy of Step-3, or of Llama-3-8B-SPPO-Iter3.
    return word[0].isupper() and word.lower() in ("step", "iter")


def _number(match: re.Match[str]) -> int:
    return int(Decimal(match["number"]) * UNITS[match["unit"].lower()])
