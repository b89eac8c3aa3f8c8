"""Numbers in figures and on pages: as many digits as their errors allow, and no more."""

from __future__ import annotations

import math
import re

SMALL = 1e-3  # numbers below it are written with a power of ten
_ZERO = re.compile(r"-(0(\.0*)?)$")
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float, digits: int = 3) -> str:
    """A number with so many significant digits: 0.767, 12,300, 6.5 × 10⁻⁵; – for NaN."""
    if not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    if abs(value) < SMALL:
        mantissa, power = f"{value:.{digits - 1}e}".split("e")
        return _minus(f"{mantissa} × {_power(int(power))}")
    rounded = float(f"{value:.{digits}g}")
    places = max(digits - 1 - math.floor(math.log10(abs(rounded))), 0)
    return _minus(f"{rounded:,.{places}f}")


def with_error(value: float, error: float, *, signed: bool = False) -> str:
    """A number and its error, which end at the same digit: 0.77 ± 0.06, (6.5 ± 0.3) × 10⁻⁵.

    The error has one significant digit, or two if it begins with a 1. Without an error, or with
    one of zero, the number is written by itself. `signed`: above zero it begins with a +.
    """
    plus = "+" if signed and value > 0 else ""
    if not (math.isfinite(value) and math.isfinite(error) and error > 0):
        return plus + number(value)
    power = math.floor(math.log10(abs(value))) if 0 < abs(value) < SMALL else 0
    places = _places(error / 10.0**power)
    if power and round(abs(value) / 10.0**power, places) >= 10:
        power += 1  # 9.6 without a decimal place is 10
        places = _places(error / 10.0**power)
    value, error = value / 10.0**power, error / 10.0**power
    told = f"{plus}{_minus(f'{value:,.{places}f}')} ± {error:,.{places}f}"
    return f"({told}) × {_power(power)}" if power else told


def _places(error: float) -> int:
    """The decimal places of an error's last significant digit."""
    two, one = f"{error:.1e}", f"{error:.0e}"
    return max(1 - int(two[4:]) if two[0] == "1" else -int(one[2:]), 0)


def fixed(value: float, places: int) -> str:
    """A number with so many decimal places: −0.47, 12.30; – for NaN."""
    return _minus(f"{value:,.{places}f}") if math.isfinite(value) else "–"


def tick(value: float) -> str:
    """A number of an axis: 0.05, 3,000, and from 0.0001 down a power of ten: 10⁻⁴, 3 × 10⁻⁵."""
    if not 0 < abs(value) < SMALL:
        return f"{value:,.10g}".replace("-", "−")
    mantissa, power = f"{value:.9e}".split("e")
    digits = f"{float(mantissa):g}".replace("-", "−")
    return _power(int(power)) if digits == "1" else f"{digits} × {_power(int(power))}"


def _power(power: int) -> str:
    return f"10{str(power).translate(_RAISED)}"


def _minus(written: str) -> str:
    """A number with a minus sign in the place of a hyphen, and none before a zero."""
    return _ZERO.sub(r"\1", written).replace("-", "−")
