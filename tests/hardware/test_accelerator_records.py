"""The records of benchmarks/accelerator.py, and the table of docs/accelerators.md."""

from __future__ import annotations

import json
import runpy

import pytest
from support import REPOSITORY


@pytest.fixture(scope="module")
def records():
    return runpy.run_path(str(REPOSITORY / "benchmarks" / "accelerator_records.py"))


def test_a_record_takes_the_place_of_one_with_the_same_settings(records, tmp_path):
    file = tmp_path / "records.jsonl"
    given = [("v5e", "plain", 3), ("v5e", "kernels", 2), ("v6e", "kernels", 1), ("v5e", "plain", 4)]
    for device, program, seconds in given:
        record = {"device": device, "program": program, "seconds": seconds, "dearest": [["a"]]}
        records["recorded"](file, record, ("device", "program"))
    found = [json.loads(line) for line in file.read_text().splitlines()]
    assert [tuple(one.values())[:3] for one in found] == given[1:]


def test_the_page_shows_the_records(records):
    page = records["PAGE"].read_text("utf-8")
    assert page.count(records["BEGIN"]) == page.count(records["END"]) == 1
    assert page == records["with_table"](page, records["read"]())


def test_no_two_records_have_the_same_settings(records):
    rows = [(*records["_row"](one), one["program"]) for one in records["read"]()]
    assert len(rows) == len(set(rows))
