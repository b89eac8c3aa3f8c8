"""Sizes in bytes, read and written."""

from __future__ import annotations

import pytest

from jaxmap.byte_sizes import byte_text, parse_size
from jaxmap.errors import InputError


@pytest.mark.parametrize(
    ("text", "size"),
    [("200GB", 200e9), ("1.5TB", 1.5e12), ("64GiB", 64 * 2**30), ("12B", 12), ("3 kb", 3000),
     ("10M", 1e7), ("0", 0), (12, 12), (0, 0)],
)  # fmt: skip
def test_sizes(text, size):
    assert parse_size(text, "x") == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "1e9", "12iB", "1,5TB", "200 G B"])
def test_sizes_that_are_none(text):
    with pytest.raises(InputError, match="is not a size"):
        parse_size(text, "cache_budget")


@pytest.mark.parametrize("text", ["200", "1.5", " 12 "])
def test_sizes_without_a_unit(text):
    number = text.strip()
    with pytest.raises(InputError) as caught:
        parse_size(text, "cache_budget")
    assert str(caught.value) == (
        f"cache_budget: {text!r} has no unit; "
        f"write it as {number}GB, {number}MB or {number}B (bytes)"
    )


@pytest.mark.parametrize("size", [-1, 1.5e9, True])
def test_numbers_that_are_no_bytes(size):
    with pytest.raises(InputError, match="is not a number of bytes"):
        parse_size(size, "cache_budget")


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (512, "512 B"), (999.9, "1 kB"), (28_800, "28.8 kB"), (999_600, "1 MB"),
     (1.59e9, "1.59 GB"), (1e12, "1 TB"), (2.5e15, "2500 TB")],
)  # fmt: skip
def test_sizes_for_people(size, text):
    assert byte_text(size) == text
    assert parse_size(text, "x") == pytest.approx(size, rel=5e-3)
