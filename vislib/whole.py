"""Whole numbers: what counts as one where a unit, a position, a size or a seed is given."""

import operator
from collections.abc import Iterable
from typing import Any

from vislib.errors import VislibError

MOST_SEED = 2**63 - 1  # what torch's generators take


def whole(value: Any) -> int | None:
    """The whole number that a value is, also numpy's or a tensor's; None for all else, such as 1.0 and "1"."""
    try:
        return int(operator.index(value))  # a bool is an index too
    except (TypeError, ValueError, RuntimeError):
        return None


def wholes(values: Any) -> tuple[int, ...] | None:
    """The whole numbers of a list, an array or a range; None where it is none or holds something else."""
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        return None
    try:
        numbers = [whole(value) for value in values]
    except TypeError:  # an array or a tensor without an axis
        return None
    return None if None in numbers else tuple(number for number in numbers if number is not None)


def each(value: Any, count: int) -> tuple[int, ...] | None:
    """One whole number for all of so many, or those of a list as `wholes` reads it."""
    return wholes(value) if (one := whole(value)) is None else (one,) * count


def checked_seed(seed: Any, error: type[VislibError]) -> int:
    """The seed as an int; raises `error` where it is none that random numbers can start from."""
    number = whole(seed)
    if number is None or not 0 <= number <= MOST_SEED:
        raise error(f"A seed cannot be {seed!r}; give a whole number from 0 to 2^63 - 1.")
    return number
