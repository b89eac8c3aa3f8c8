"""Numbers have the digits that their errors allow."""

from __future__ import annotations

import pytest

from jaxmap.figures.digits import number, tick, with_error

NAN = float("nan")


@pytest.mark.parametrize(
    ("value", "error", "told"),
    [
        (0.767, 0.058, "0.77 ± 0.06"),
        (4.11432, 0.00123, "4.1143 ± 0.0012"),
        (6.53e-5, 3.1e-6, "(6.5 ± 0.3) × 10⁻⁵"),
        (0.99, 0.0961, "1.0 ± 0.1"),
        (123456.0, 1520.0, "123,456 ± 1,520"),
        (-0.52, 0.2, "−0.5 ± 0.2"),
        (0.5, NAN, "0.500"),
        (0.0, 0.0, "0"),
        (NAN, 0.1, "–"),
        (-0.001, 0.07, "0.00 ± 0.07"),
        (-6.53e-5, 3.1e-6, "(−6.5 ± 0.3) × 10⁻⁵"),
        (-9.53e-5, 4.1e-5, "(−1.0 ± 0.4) × 10⁻⁴"),
    ],
)
def test_value_and_error_end_at_one_digit(value, error, told):
    assert with_error(value, error) == told


@pytest.mark.parametrize(
    ("value", "digits", "told"),
    [
        (12345.0, 3, "12,300"),
        (0.9996, 3, "1.00"),
        (6.53e-5, 2, "6.5 × 10⁻⁵"),
        (0.0010, 2, "0.0010"),
        (0.0, 3, "0"),
        (float("inf"), 3, "–"),
    ],
)
def test_significant_digits(value, digits, told):
    assert number(value, digits) == told


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (0.05, "0.05"),
        (3000.0, "3,000"),
        (1e-4, "10⁻⁴"),
        (3e-5, "3 × 10⁻⁵"),
        (0.001, "0.001"),
        (0.0, "0"),
        (-0.5, "−0.5"),
        (0.1 + 0.2, "0.3"),
    ],
)
def test_numbers_of_an_axis(value, told):
    assert tick(value) == told
