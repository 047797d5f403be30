"""Frames of climbs for the ascent's tests: their numbers, the last of them, and two climbs compared bit by bit."""

from collections.abc import Iterator

import numpy as np

from vislib.frames import Frame

NUMBERS = {
    *("gradient_norm", "norm", "distance", "std", "saturated", "sharpness"),
    *("argmax", "became_argmax", "alive"),
}


def last(frames: Iterator[Frame]) -> Frame:
    """The frame with which a climb ends."""
    return list(frames)[-1]


def assert_same(one: list[Frame], other: list[Frame]) -> None:
    """Bit by bit."""
    assert [frame.step for frame in one] == [frame.step for frame in other]
    for a, b in zip(one, other, strict=True):
        assert np.array_equal(a.images, b.images)
        assert np.array_equal(a.scores, b.scores)
        assert all(np.array_equal(a.numbers[name], b.numbers[name]) for name in NUMBERS)
