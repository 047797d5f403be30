"""Per-step numbers of a run's units: a table that grows by a row a step and is thinned evenly when full."""

from collections.abc import Mapping

import numpy as np

_START = 256  # rows of the first allocation


class Series:
    """Rows of named numbers, one a step, at most `limit` of them; not locked, its History is.

    When full, every other row is dropped and from then on only every second step is kept, so spacing stays
    even; the newest row is always there. What is kept depends on the steps alone, never on when they came.
    """

    def __init__(self, limit: int = 8192) -> None:
        self._limit = limit
        self._stride = 1
        self._count = 0
        self._steps = np.zeros(0, np.int64)
        self._columns: dict[str, np.ndarray] = {}

    def __len__(self) -> int:
        return self._count

    def names(self) -> list[str]:
        return list(self._columns)

    def append(self, step: int, numbers: Mapping[str, np.ndarray]) -> None:
        """Add a row; rows at or after `step` (from before a resume) are dropped first."""
        self.drop_from(step)
        if self._count > 1 and not self._on_stride(int(self._steps[self._count - 1])):
            self._count -= 1  # it was there only as the newest
        if self._count == self._limit:
            self._thin()
        if self._count == len(self._steps):
            self._resize(min(self._limit, max(_START, 2 * self._count)))
        for name, values in numbers.items():
            if name not in self._columns:
                self._columns[name] = _blank(len(self._steps), np.asarray(values))
        for name, column in self._columns.items():
            column[self._count] = numbers[name] if name in numbers else _blank(1, column[0])[0]
        self._steps[self._count] = step
        self._count += 1

    def drop_from(self, step: int) -> None:
        """Forget every row at or after `step`."""
        self._count = int(np.searchsorted(self._steps[: self._count], step))

    def get(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Steps (t,) and values (t, n) under one name, as copies; both empty for a name never given."""
        if name not in self._columns:
            return np.zeros(0, np.int64), np.zeros((0, 0), np.float32)
        return self._steps[: self._count].copy(), self._columns[name][: self._count].copy()

    def load(self, steps: np.ndarray, columns: Mapping[str, np.ndarray]) -> None:
        """Replace everything by stored rows."""
        self._count = len(steps)
        self._steps = np.array(steps, np.int64)
        self._columns = {name: np.array(values) for name, values in columns.items()}
        self._stride = 1
        if len(steps) > 2:  # the newest row may lie off the stride, the others are evenly spaced
            self._stride = max(1, int(np.diff(self._steps[:-1]).min()))
        while self._count > self._limit:
            self._thin()

    def _on_stride(self, step: int) -> bool:
        return (step - int(self._steps[0])) % self._stride == 0

    def _thin(self) -> None:
        self._stride *= 2
        rows = np.flatnonzero((self._steps[: self._count] - self._steps[0]) % self._stride == 0)
        self._count = len(rows)
        self._steps[: self._count] = self._steps[rows]
        for column in self._columns.values():
            column[: self._count] = column[rows]

    def _resize(self, rows: int) -> None:
        steps = np.zeros(rows, np.int64)
        steps[: self._count] = self._steps[: self._count]
        self._steps = steps
        for name, column in self._columns.items():
            grown = np.empty((rows, *column.shape[1:]), column.dtype)
            grown[: self._count] = column[: self._count]
            self._columns[name] = grown


def _blank(rows: int, like: np.ndarray) -> np.ndarray:
    """Rows that say "not given": NaN for floats, -1 for signed integers, False for truth values."""
    fill = np.nan if like.dtype.kind == "f" else -1 if like.dtype.kind == "i" else 0
    return np.full((rows, *like.shape), fill, like.dtype)
