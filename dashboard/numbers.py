"""Numbers as people read them."""

import numpy as np


def words(value: float) -> str:
    """Three digits that count, without an exponent from a thousandth to a million; thousands apart."""
    if not np.isfinite(value):
        return "not a number"
    size = abs(value)
    if size != 0 and not 1e-3 <= size < 1e6:
        return f"{value:.2e}"
    if size >= 100:
        return f"{value:,.0f}"
    return np.format_float_positional(float(f"{value:.3g}"), trim="-")


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    if seconds < 0.095:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 9.5:
        return f"{seconds:.1f} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 86400 * 2 else f"{seconds / 86400:.0f} days"
