"""Keeps what the parity tests measure: `make parity` runs them and writes parity.json from it.

With JAXMAP_PARITY=FILE in the environment every comparison appends a line to FILE; as a program,
this puts such lines together: python tests/support/parity_record.py FILE... OUT.json

With --update first, the cases that OUT.json has and that did not run again stay in it, if they were
run with the same versions of the libraries.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jaxmap.checkpoint.weights import Model
from jaxmap.model.decoder import named
from jaxmap.model.mesh import _CUT, letters_of


def record(model: Model, reference: Any, **errors: float) -> None:
    """Notes the largest differences of the test that is running: logits, text, lens (nats)."""
    path = os.environ.get("JAXMAP_PARITY")
    if path is None:
        return
    test = os.environ["PYTEST_CURRENT_TEST"].split("::", 1)[1].removesuffix(" (call)")
    kinds = [kind for kind, _, _ in model.spec.stacks()]
    line = {
        "model_type": model.model_type.split("/")[0],
        "case": test,
        "reference": _named(reference),
        "remote": _remote(model.model_type.split("/")[0]),
        "mixers": sorted({kind.mixer for kind in kinds} - {"none"}),
        "mlps": sorted({kind.mlp for kind in kinds} - {"none"}),
        "whole": _whole(model),
        "date": datetime.now(UTC).date().isoformat(),
        **{name: float(f"{error:.2g}") for name, error in errors.items()},
    }
    with open(path, "a", encoding="utf-8") as file:  # one write a line: workers share the file
        file.write(json.dumps(line) + "\n")


def _named(reference: Any) -> str:
    """What computed it, with the attention that it was told to use."""
    if not type(reference).__module__.startswith("transformers."):
        return f"{type(reference).__module__}.{type(reference).__name__}"
    name = f"{type(reference).__name__} ({reference.config._attn_implementation})"
    # Types that the library lacks are made of one that it has, by other functions for some layers.
    replaced = any("forward" in vars(module) for module in reference.modules())
    return f"{name}, layers replaced" if replaced else name


def _remote(model_type: str) -> bool:
    """Whether the library needs a repository's own code for it."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    return model_type not in CONFIG_MAPPING_NAMES


def _whole(model: Model) -> list[str]:
    """Mixers and MLPs of which a mesh's "model" axis can cut nothing."""
    cut: dict[str, bool] = {}
    kinds = [kind for kind, _, _ in model.spec.stacks()]
    for path, leaf in named(model.params).items():
        stack = re.match(r"blocks/(\d+)/(attn|mlp)/", path)
        if stack is not None:
            kind = kinds[int(stack[1])]
            part = kind.mixer if stack[2] == "attn" else kind.mlp
            cuts = any(_CUT.get(letter) == "model" for letter in letters_of(leaf))
            cut[part] = cut.get(part, False) or cuts
    return sorted(part for part, cuts in cut.items() if not cuts)


def merged(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """The contents of parity.json: one entry a test, in order of model type and name."""
    cases: dict[tuple[str, str], dict[str, Any]] = {}
    for line in lines:
        cases.setdefault((line["model_type"], line["case"]), {}).update(line)
    names = ("jax", "numpy", "torch", "transformers")
    return {
        "versions": {name: importlib.metadata.version(name) for name in names},
        "cases": [cases[key] for key in sorted(cases)],
    }


def kept(out: Path, versions: dict[str, str]) -> list[dict[str, Any]]:
    """The cases of a parity.json; SystemExit if other versions than these ran them."""
    there = json.loads(out.read_text(encoding="utf-8"))
    if there["versions"] != versions:
        raise SystemExit(f"{out}: of other versions, {there['versions']}; run `make parity`")
    return there["cases"]


def main(*arguments: str) -> None:
    update = arguments[0] == "--update"
    *sources, out = map(Path, arguments[update:])
    lines = [json.loads(line) for source in sources for line in source.read_text().splitlines()]
    whole = merged(lines)
    if update:
        whole = merged([*kept(out, whole["versions"]), *lines])
    # A line a case, so that a change can be read.
    cases = ",\n  ".join(json.dumps(case) for case in whole["cases"])
    text = f'{{"versions": {json.dumps(whole["versions"])},\n "cases": [\n  {cases}\n]}}\n'
    temporary = out.with_suffix(".tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, out)
    types = {case["model_type"] for case in whole["cases"]}
    print(f"{out}: {len(whole['cases'])} cases of {len(types)} model types")


if __name__ == "__main__":
    main(*sys.argv[1:])
