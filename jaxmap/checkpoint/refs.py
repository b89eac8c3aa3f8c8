"""References: what a user writes to name models.

A reference is `org/name` or `org/name/subfolder` on the Hub, a folder, or a GGUF file
(`folder/name.gguf`, `org/name/file.gguf`). After each, `@` and a revision may follow, which is a
branch, tag or commit, or a subfolder of a folder (`folder@step1000`). Commas separate references
and braces expand as in a shell: `EleutherAI/pythia-{70m,160m}@step0`. Two or three integers in
braces are a range, `start:stop:step`, which does not include the stop.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from jaxmap.errors import InputError

MOST_REFS = 100_000  # more is a typing error, and would fill memory before anything is scored

_MOST_BRACES = 100
_WEIGHTS = (".safetensors", ".safetensors.index.json", ".bin")
_HUB_NAME = re.compile(r"[\w.-]{1,96}(/[\w.-]{1,96})?(/[\w.=+-]{1,255}){0,8}", re.ASCII)


@dataclass(frozen=True)
class Ref:
    """A reference: the name of a model on the Hub, or a folder; and a revision or None."""

    name: str
    revision: str | None = None

    @property
    def repository(self) -> str:
        """`org/name`, for a model on the Hub."""
        return "/".join(self.name.split("/")[:2])

    @property
    def subfolder(self) -> str:
        """Of a model on the Hub: the folder in its repository, "" for the top."""
        return "/".join(self.name.split("/")[2 : -1 if self.file else None])

    @property
    def file(self) -> str:
        """The GGUF file that it names; "" for a folder or a repository."""
        last = self.name.rpartition("/")[2]
        return last if last.endswith(".gguf") and not os.path.isdir(self.name) else ""

    def __str__(self) -> str:
        return self.name if self.revision is None else f"{self.name}@{self.revision}"


def is_folder(name: str) -> bool:
    """Whether a name means a folder, which may not exist, and not a model on the Hub."""
    looks_like_path = name.startswith(("/", "./", "../", "~")) or name in (".", "..")
    # On the Hub a GGUF file is org/name/file.gguf, and other weights are never named by their file.
    is_file = name.endswith(_WEIGHTS) or (name.endswith(".gguf") and name.count("/") < 2)
    is_there = os.path.isdir(name) or (name.endswith(".gguf") and os.path.isfile(name))
    return looks_like_path or is_file or is_there or not _HUB_NAME.fullmatch(name)


def folder_like(name: str) -> str:
    """The folder on this machine with which a name begins that is read as one on the Hub, or "".

    `runs/base` may be a model of the organisation `runs`, or a slip where there is a folder `runs`.
    """
    first = name.partition("/")[0]
    return first if not is_folder(name) and os.path.isdir(first) else ""


def is_hub_name(name: str) -> bool:
    """Whether a name has the form of a model on the Hub, whatever there is on this machine."""
    parts = name.split("/")
    return bool(_HUB_NAME.fullmatch(name)) and not any(set(part) <= {"."} for part in parts)


def parse_refs(spec: str) -> list[Ref]:
    """Reads a comma-separated list of references and expands braces, in the order written.

    With several braces, the leftmost varies slowest. Repeated references are dropped with a warning
    on stderr. If `spec` as a whole is the name of an existing folder, its commas and braces are
    part of the name. Raises InputError for an empty item, an unbalanced brace or a bad range. It is
    not checked whether a model exists, so that a missing model does not stop the others.
    """
    if "\0" in spec:
        raise InputError(f"{spec!r}: a model's name holds no NUL")
    whole = os.path.expanduser(spec)
    if os.path.isdir(whole) or (spec.endswith(".gguf") and os.path.isfile(whole)):
        return [parse_ref(spec)]
    refs: dict[Ref, None] = {}
    repeated: dict[Ref, None] = {}
    written = 0
    for item in _split(spec, spec):
        if not item.strip():
            raise InputError(f"{spec!r}: an empty model name; remove the extra comma")
        for text in _expand(item.strip(), spec):
            written += 1
            if written > MOST_REFS:
                raise InputError(f"{spec!r}: names more than {MOST_REFS:,} models; narrow a range")
            ref = parse_ref(text)
            (repeated if ref in refs else refs)[ref] = None
    if repeated:
        some = ", ".join(str(ref) for ref in list(repeated)[:3])
        more = ", ..." if len(repeated) > 3 else ""
        print(f"warning: models named more than once, kept once: {some}{more}", file=sys.stderr)
    return list(refs)


def parse_ref(text: str) -> Ref:
    """Reads one reference; commas and braces are part of the name."""
    whole = os.path.expanduser(text)
    name, at, revision = text.rpartition("@")
    if not at or os.path.isdir(whole) or (text.endswith(".gguf") and os.path.isfile(whole)):
        name, revision = text, ""
    elif not name or not revision:
        raise InputError(f"{text!r}: write a model as name@revision, or name alone")
    if name.startswith("~"):
        name = os.path.expanduser(name)
    name = name.rstrip("/") or "/"
    return Ref(name, revision.rstrip("/") or None)


def _split(text: str, spec: str) -> list[str]:
    """Splits at the commas outside braces."""
    parts, depth, start = [], 0, 0
    if text.count("{") > _MOST_BRACES:
        raise InputError(f"{spec[:60]!r}...: more than {_MOST_BRACES} braces")
    for i, char in enumerate(text):
        if char == "{":
            depth += 1
        elif char == "}":
            depth -= 1
            if depth < 0:
                break
        elif char == "," and depth == 0:
            parts.append(text[start:i])
            start = i + 1
    if depth:
        missing = "{" if depth < 0 else "}"
        raise InputError(f"{spec!r}: unbalanced brace, a {missing!r} is missing")
    return [*parts, text[start:]]


def _expand(text: str, spec: str) -> Iterator[str]:
    """Expands the first brace and, for each of its choices, the rest.

    It is a generator, so that a product that is too large is refused before it is built.
    """
    start = text.find("{")
    if start < 0:
        yield text
        return
    depth = 0
    for end in range(start, len(text)):  # braces are balanced: _split has checked it
        depth += {"{": 1, "}": -1}.get(text[end], 0)
        if depth == 0:
            break
    before, inside, after = text[:start], text[start + 1 : end], text[end + 1 :]
    for choice in _split(inside, spec):
        choice = choice.strip()
        if not choice:
            raise InputError(f"{spec!r}: an empty choice in {text[start : end + 1]!r}")
        choices = (
            _expand(choice, spec) if "{" in choice or ":" not in choice else _range(choice, spec)
        )
        for chosen in choices:
            for rest in _expand(after, spec):
                yield before + chosen + rest


def _range(choice: str, spec: str) -> Iterator[str]:
    parts = choice.split(":")
    try:
        numbers = [int(part) for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) not in (2, 3):
        raise InputError(f"{spec!r}: bad range {choice!r}; write start:stop or start:stop:step")
    if len(numbers) == 3 and numbers[2] == 0:
        raise InputError(f"{spec!r}: range {choice!r} has a step of zero")
    values = range(*numbers)
    if not values:
        raise InputError(f"{spec!r}: range {choice!r} is empty; its stop is not included")
    # Not len(values): it overflows on huge ranges.
    if (values[-1] - values[0]) // values.step >= MOST_REFS:
        raise InputError(f"{spec!r}: range {choice!r} has more than {MOST_REFS:,} items")
    return map(str, values)
