"""The facts of a name, and their parser."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from jaxmap.naming.gguf_files import split_file_name
from jaxmap.naming.sizes import read_size
from jaxmap.naming.steps import NOISE, TrainingTime, read_ref, read_revision
from jaxmap.naming.words import END, cut, join, without_prefix, without_words

# What names a run inside its model's folder; any other word there is a model's own name.
_INNER = re.compile(
    r"(?:anneal(?:ing)?|cooldown|decay|dpo|extension|ingredient|it|lc|long|longctx|context|mid"
    r"|midtraining|phase|post|posttraining|pre|pretrain|pretraining|rlvr|seed|sft|soup|stage"
    r"|training|warmup)\d*",
    re.I,
)

_SEED = re.compile(rf"(?<![a-z0-9])seed[-_=]?(?P<seed>\d{{1,15}}){END}", re.I | re.ASCII)
_SEED_IN_WORDS = re.compile(
    r"(?<![a-z0-9])seed(?:[-_=]?|[-_](?:[a-z]+[-_])+)(?P<seed>\d{1,15})(?![a-z0-9])"
    r"|(?<![a-z0-9])seed[-_]default(?P<none>)(?![a-z0-9])",
    re.I | re.ASCII,
)
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Name:
    """What a reference and a revision say about a checkpoint; "" and None where they are silent.

    `org/OLMo-2-7B@stage2-ingredient1-step1000-tokens4B` has the organisation `org`, the model
    `OLMo-2-7B` of the family `OLMo-2-*`, the size 7e9, the run `stage2-ingredient1`, the step 1000
    and 4e9 tokens; its run_name is `org/OLMo-2-7B@stage2-ingredient1`.
    """

    organisation: str  # of a folder, the folder that it is in
    model: str  # without seed, run and step: pythia-160m
    family: str  # the model with `*` for its size: pythia-*
    size: float | None  # parameters
    size_word: str  # the size as written: 160m, xs
    stage: str  # the run without its seed: stage2-ingredient1
    seed: int | None
    run: str  # the name of the run among those of the same model: stage and seed, as written
    run_name: str  # two checkpoints belong to one run if and only if their run_names are equal
    step: int | None
    tokens: int | None  # seen in training, of a checkpoint
    file_type: str = ""  # of a GGUF file: Q4_K_M

    @property
    def time(self) -> int | None:
        """The time in the run: the step, else the tokens; None where neither is known."""
        return self.tokens if self.step is None else self.step

    @property
    def unit(self) -> Literal["step", "token", ""]:
        """The unit of `time`."""
        return "step" if self.step is not None else "token" if self.tokens is not None else ""

    @property
    def base(self) -> str:
        """The name of the run without its seed."""
        path = f"{self.organisation}/{self.model}" if self.organisation else self.model
        path += f".{self.file_type}" if self.file_type else ""
        return f"{path}@{self.stage}" if self.stage else path

    @property
    def series(self) -> tuple[str, str, str, str]:
        """The key that runs share which differ only in size and seed."""
        return self.organisation, self.family, self.stage, self.file_type


@lru_cache(maxsize=1 << 18)
def parse(ref: str, revision: str | None = None) -> Name:
    """Reads what a reference and a revision of it say about a checkpoint.

    Args:
      ref: `org/name`, `name`, `org/name/subfolder` or a folder, without an `@`.
      revision: a branch, a tag, a commit or a subfolder; None where none was named.
    """
    path, time, part = ref, TrainingTime(), ""
    if revision is not None and not _COMMIT.fullmatch(revision):
        time = read_revision(revision)
        part = time.rest
    if time.time is None:
        path, time = read_ref(ref)
    return name_of(path, part, time, is_run=time.time is not None)


def parse_run(run_name: str) -> Name:
    """Parses the name of a run in the form of `Name.run_name`, with or without its organisation.

    For joined stages (`org/name@stage1+stage2`) it is the first.
    """
    folder, slash, last = run_name.rpartition("/")
    run_name = f"{folder}{slash}{last.partition('+')[0] or last}"
    ref, at, part = run_name.rpartition("@")
    path, part = (ref, part) if at and ref else (run_name, "")
    return name_of(path, part, TrainingTime(), is_run=True)


def name_of(path: str, part: str, time: TrainingTime, is_run: bool) -> Name:
    """What a model's path and the part of it that names a run say; `is_run`: there are several."""
    organisation, model, inner = _describe(path, is_run)
    model, file_type = split_file_name(model)
    part = without_prefix(part, model)
    whole, (model, seed, seed_text) = model, _take_seed(model, _SEED)
    stages = []
    for text in (*inner, part):
        stage, found, found_text = _take_seed(text, _SEED_IN_WORDS)
        stages.append(stage)
        if found_text:
            seed, seed_text = found, join((seed_text, found_text))
    family, size, size_word = read_size(model or whole)
    return Name(
        organisation=organisation,
        model=model or whole,
        family=family,
        size=size,
        size_word=size_word,
        stage=join(stages),
        seed=seed,
        run=join((*stages, seed_text)),
        run_name=f"{path}@{part}" if part else path,
        step=time.step,
        tokens=time.tokens,
        file_type=file_type,
    )


def _describe(path: str, is_run: bool) -> tuple[str, str, list[str]]:
    """Organisation or folder, the model's own name, and the names of runs inside its folder."""
    parts = path.rstrip("/").split("/")
    inner: list[str] = []
    while is_run and len(parts) > 1 and parts[-2] not in ("", ".", "..", "~"):
        words = re.split(r"[-_]", parts[-1])
        if not all(w.isdigit() or w in NOISE or _INNER.fullmatch(w) for w in words):
            break
        inner.insert(0, without_words(parts.pop(), NOISE))
    return "/".join(parts[:-1]), parts[-1], inner


def _take_seed(text: str, pattern: re.Pattern[str]) -> tuple[str, int | None, str]:
    """A text without its seed, the seed as a number, and as written."""
    match = pattern.search(text)
    if match is None:
        return text, None, ""
    return cut(text, [match.span()]), int(match["seed"]) if match["seed"] else None, match[0]
