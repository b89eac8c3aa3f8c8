from __future__ import annotations

import pytest
from support.stores import filled, record, texts

from jaxmap.errors import InputError
from jaxmap.store.labels import rows_by_run

TEXTS = texts()


def test_rows_of_a_run_are_in_order_of_time(tmp_path):
    revisions = ["step-1M", "step-50K", "step-900k", "stage2-step20", "stage2-step10", "main",
                 "240b_tokens", "10B", "longctx-step5"]  # fmt: skip
    store, _ = filled(tmp_path, TEXTS, *(record(TEXTS, "org/m", name) for name in revisions))
    entries = store.records()
    found = {
        (key.name, key.unit): [entries[row].identity.revision for row in rows]
        for key, rows in rows_by_run(entries).items()
    }
    assert found == {
        ("org/m", "step"): ["step-50K", "step-900k", "step-1M"],
        ("org/m", "token"): ["10B", "240b_tokens"],
        ("org/m@stage2", "step"): ["stage2-step10", "stage2-step20"],
        ("org/m@longctx", "step"): ["longctx-step5"],
    }


def test_variants_are_apart(tmp_path):
    variants = ({}, {"quantisation": "int8"}, {"layer": 1}, {"layer": 2},
                {"dtype": "float16", "is_default_dtype": False})  # fmt: skip
    records = [record(TEXTS, "a", f"step{n}", **one) for one in variants for n in (1, 2)]
    store, _ = filled(tmp_path, TEXTS, *records)
    assert [len(rows) for rows in rows_by_run(store.records()).values()] == [2] * len(variants)


@pytest.mark.parametrize(
    ("one", "other", "place"),
    [
        ("step1000", "ckpt_1000", "step 1000"),
        ("step1000-tokens4B", "step1000-tokens5B", "step 1000"),
        ("stage1-step-10", "stage1_step10", "step 10"),
        ("10B", "train_00010B", "token 10000000000"),
    ],
)
def test_two_of_one_time_are_named(one, other, place, tmp_path):
    store, _ = filled(tmp_path, TEXTS, *(record(TEXTS, "org/m", name) for name in (one, other)))
    with pytest.raises(InputError, match=f"are both {place} of the run org/m") as caught:
        rows_by_run(store.records())
    assert {f"org/m@{one}", f"org/m@{other}"} <= set(str(caught.value).split())
