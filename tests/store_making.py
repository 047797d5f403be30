"""Run stores for tests: the spec of a run, a store that writes at once, and two histories compared to the bit."""

from pathlib import Path

import numpy as np

from vislib.frames import History
from vislib.store import RunStore

SPEC = {
    "method": "ascent",
    "network": "brain2d",
    "fingerprint": "0123456789abcdef",
    "layer": "conv3",
    "units": [4, 5, 6],
    "preset": {"name": "jitter + TV", "rate": 0.5},
    "steps": 40,
    "seed": 0,
}


def eager(path: Path) -> RunStore:
    """A store that commits at every frame and checkpoint that time allows."""
    return RunStore(path, frame_seconds=0.0, checkpoint_seconds=0.0)


def assert_same(stored: History, live: History) -> None:
    assert stored.steps() == live.steps()
    assert stored.stride == live.stride
    assert stored.best_steps == live.best_steps
    assert stored.best_images.tobytes() == live.best_images.tobytes()
    np.testing.assert_array_equal(stored.best_scores, live.best_scores)
    assert stored.latest.step == live.latest.step
    assert stored.latest.images.tobytes() == live.latest.images.tobytes()
    np.testing.assert_array_equal(stored.latest.scores, live.latest.scores)
    for name, values in live.latest.numbers.items():
        np.testing.assert_array_equal(stored.latest.numbers[name], values)
    for row in range(len(live.best_steps)):
        assert stored.film(row) == live.film(row)
    assert sorted(stored.names()) == sorted(live.names())
    for name in live.names():
        for mine, yours in zip(stored.series(name), live.series(name), strict=True):
            np.testing.assert_array_equal(mine, yours)
            assert mine.dtype == yours.dtype
