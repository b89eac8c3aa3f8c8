"""Any change to a value of config.json is taken, or refused by name."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cases.core import CASES
from support.checkpoints import (
    GPT2,
    LLAMA,
    NEOX,
    make_checkpoint,
    write_config,
)
from support.spoilt import check_named

from jaxmap.checkpoint import weights
from jaxmap.errors import InputError

BASES = {
    "gpt_neox": NEOX,
    "gpt2": GPT2,
    "llama": LLAMA,
    **{name: CASES[name] for name in ("qwen2-layer-types", "mistral")},
    **{name: CASES[name] for name in CASES if "-rope-" in name},
}

VALUES = [
    "delete", None, "64", "x", 0, -1, 1, 2.5, 10**12, 10**400, True, False, [], ["x"], [1], {},
    {"a": 1}, float("nan"), float("inf"), -1.5, 1e-300,
]  # fmt: skip


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mutated")
    return {name: make_checkpoint(folder / name, base) for name, base in BASES.items()}


def test_any_mutation_of_config_is_taken_or_refused_by_name(checkpoints):
    @settings(max_examples=250, deadline=None, derandomize=True, database=None)
    @given(st.data())
    def mutate(data):
        name = data.draw(st.sampled_from(sorted(BASES)))
        mutated = copy.deepcopy(BASES[name])
        nested = mutated.get("rope_parameters")
        inside = bool(nested) and data.draw(st.booleans())
        where = nested if inside else mutated
        key = data.draw(st.sampled_from(sorted(where)))
        value = data.draw(st.sampled_from(VALUES))
        if value == "delete":
            del where[key]
        else:
            where[key] = value
        folder = checkpoints[name]
        write_config(folder, mutated)
        try:
            weights.load(folder)
        except InputError as error:
            check_named(error, folder)

    mutate()
