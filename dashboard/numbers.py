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
