"""The table of `jaxmap families`: models on the published map, layers, differences from PyTorch.

The kinds of a family's layers and its differences from PyTorch are read from parity.json, which
`make parity` writes when it runs the parity tests; no number in it is typed by hand.
"""

from __future__ import annotations

import dataclasses
import json
import textwrap
from functools import cache
from pathlib import Path
from typing import Any

from jaxmap.architectures.registry import families, refused
from jaxmap.model.sublayers import quantisable

# Models of each type in the published list (Oyama et al. 2025, arXiv:2502.16173, model types).
PUBLISHED = {
    "llama": 571,
    "mistral": 232,
    "gpt_neox": 54,
    "deepseek": 26,
    "gptj": 19,
    "gemma": 18,
    "opt": 15,
    "bloom": 12,
    "falcon": 11,
    "qwen2": 10,
    "mixtral": 9,
    "mpt": 6,
    "stablelm": 6,
    "gpt_bigcode": 3,
    "gpt_neo": 3,
    "phi": 3,
    "phi3": 3,
    "rwkv": 3,
    "xglm": 3,
    "camelidae": 2,
    "codegen": 2,
    "olmo": 2,
    "starcoder2": 2,
    "deci": 1,
    "recurrent_gemma": 1,
    "stablelm_alpha": 1,
}

_PARITY = Path(__file__).with_name("parity.json")


@dataclasses.dataclass(frozen=True)
class ParityResult:
    """The results of the parity tests for one model type; the largest difference of all cases.

    Fields:
      cases: the number of test cases.
      remote: whether transformers needs code from the model's repository.
      mixers, mlps: the mixers and MLPs that occur, keys of sublayers.MIXERS and sublayers.MLPS.
      whole: those of them that a mesh's "model" axis does not divide.
      logits: the largest difference of a logit.
      text, lens: the largest difference of a text's log-likelihood at the output and at any layer,
        in nats; None: not compared.
      date: the day of the oldest of these comparisons, in UTC, such as "2026-11-29".
    """

    cases: int
    remote: bool
    mixers: tuple[str, ...]
    mlps: tuple[str, ...]
    whole: tuple[str, ...]
    logits: float
    text: float | None
    lens: float | None
    date: str


@cache
def _record() -> dict[str, Any]:
    return json.loads(_PARITY.read_text(encoding="utf-8"))


def versions() -> dict[str, str]:
    """The versions of the compared libraries in the last run of the parity tests."""
    return _record()["versions"]


def measured() -> dict[str, ParityResult]:
    """The results of the last run of the parity tests, by model type."""
    by_type: dict[str, list[dict[str, Any]]] = {}
    for case in _record()["cases"]:
        by_type.setdefault(case["model_type"], []).append(case)

    def joined(cases: list[dict[str, Any]], key: str) -> tuple[str, ...]:
        return tuple(sorted({part for case in cases for part in case[key]}))

    def worst(cases: list[dict[str, Any]], key: str) -> float | None:
        return max((case[key] for case in cases if key in case), default=None)

    return {
        kind: ParityResult(
            len(cases),
            any(case["remote"] for case in cases),
            mixers=joined(cases, "mixers"),
            mlps=joined(cases, "mlps"),
            whole=joined(cases, "whole"),
            logits=max(case["logits"] for case in cases),
            text=worst(cases, "text"),
            lens=worst(cases, "lens"),
            date=min(case["date"] for case in cases),
        )
        for kind, cases in by_type.items()
    }


_HEADINGS = (
    *("model type", "models", "layers", "logits", "text", "lens", "measured"),
    *("quantised", "sharded"),
)


def _cells(kind: str, seen: ParityResult | None) -> tuple[str, ...]:
    """The cells of one row of the table, without the paper."""
    count = str(PUBLISHED.get(kind, ""))
    if seen is None:
        return (kind, count, *("-",) * (len(_HEADINGS) - 2))
    errors = (
        f"{error:.0e}" if error is not None else "-"
        for error in (seen.logits, seen.text, seen.lens)
    )
    refused = [part for part in (*seen.mixers, *seen.mlps) if not quantisable(part)]
    return (
        kind,
        count,
        " ".join((*seen.mixers, *seen.mlps)),
        *errors,
        seen.date,
        f"not {' '.join(refused)}" if refused else "yes",
        f"not {' '.join(seen.whole)}" if seen.whole else "yes",
    )


def kinds_of(find: str = "") -> list[str]:
    """The model types whose name contains `find`, in alphabetical order."""
    return sorted((kind for kind in families() if find.lower() in kind.lower()), key=str.lower)


def rows(find: str = "") -> list[dict[str, object]]:
    """The values of `table`, one row per model type; None where nothing is known."""
    seen, found = measured(), []
    for kind in kinds_of(find):
        row: dict[str, object] = {"model_type": kind, "models": PUBLISHED.get(kind)}
        one = seen.get(kind)
        parts = () if one is None else (*one.mixers, *one.mlps)
        row |= {
            "mixers": one and " ".join(one.mixers),
            "mlps": one and " ".join(one.mlps),
            "logits": one and one.logits,
            "text": one and one.text,
            "lens": one and one.lens,
            "measured": one and one.date,
            "not_quantised": one and " ".join(part for part in parts if not quantisable(part)),
            "not_sharded": one and " ".join(one.whole),
            "language_model": families()[kind].text_type or None,
            "paper": families()[kind].paper,
        }
        found.append(row)
    return found


def around(find: str = "") -> dict[str, list[str]]:
    """The types of language models beside pictures or sound -> the types around each."""
    found: dict[str, list[str]] = {}
    for kind in kinds_of(find):
        if inside := families()[kind].text_type:
            found.setdefault(inside, []).append(kind)
    return dict(sorted(found.items()))


def without_a_page(find: str = "") -> dict[str, list[str]]:
    """A reason -> the types that transformers has and this package, for this reason, has not."""
    found: dict[str, list[str]] = {}
    for kind, reason in refused().items():
        if find.lower() in kind.lower():
            found.setdefault(reason, []).append(kind)
    return found


def _listed(title: str, lines: list[str]) -> list[str]:
    """Lines of text under a title, each folded and indented; none without lines."""
    folded = [
        part
        for line in lines
        for part in textwrap.wrap(line, 98, initial_indent="  ", subsequent_indent="    ")
    ]
    return ["", title, *folded] if folded else []


def table(find: str = "") -> str:
    """The table, as text, of the families whose name contains `find`, with a legend."""
    seen = measured()
    kinds = kinds_of(find)
    cells_of = [_HEADINGS, *(_cells(kind, seen.get(kind)) for kind in kinds)]
    papers = ["paper", *(families()[kind].paper for kind in kinds)]
    widths = [max(map(len, column)) for column in zip(*cells_of, strict=True)]
    lines = []
    for row, paper in zip(cells_of, papers, strict=True):
        cells = (
            cell.rjust(width) if i in (1, 3, 4, 5) else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join((*cells, paper)))
    compared = ", ".join(f"{name} {version}" for name, version in versions().items())
    absent = {kind: n for kind, n in PUBLISHED.items() if kind not in families()}
    covered = sum(PUBLISHED.values()) - sum(absent.values())
    lines += [
        "",
        "models: of each type on the published map of 1,018",
        "logits, text, lens: largest difference from PyTorch in float32 on CPU, of a logit, of a",
        f"  text's score and of its score at any layer in nats ({compared})",
        "measured: the day of the oldest of these comparisons",
        "quantised: to 8 and 4 bit; sharded: cut by tensor parallelism, else whole on each device",
    ]
    remote = [kind for kind in kinds if kind in seen and seen[kind].remote]
    if remote:
        named = "read without their repositories' own code: " + ", ".join(remote)
        lines += textwrap.wrap(named, 98, subsequent_indent="  ")
    lines += [
        "",
        f"{covered:,} of {sum(PUBLISHED.values()):,} models of the published map",
    ]
    lines += [f"  {kind} ({count}): no page for it" for kind, count in absent.items()]
    lines += _listed(
        "types with pictures or sound beside text, scored as the language model inside:",
        [f"{', '.join(kinds)}: {inside}" for inside, kinds in around(find).items()],
    )
    lines += _listed(
        "types without a page, which score and sweep can try with `engine=torch`:",
        [f"{', '.join(kinds)}: {reason}" for reason, kinds in without_a_page(find).items()],
    )
    return "\n".join(lines) + "\n"
