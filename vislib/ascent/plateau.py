"""Plateau: notices when no unit's objective rises any more, so that a climb need not make the rest of its steps."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

WEIGHT = 0.25  # of the newest objective in the running mean; transforms shake single ones
NOTICEABLE = 0.02  # a rise counts from this share of all that was gained so far


class Plateau:
    """Running means of the objectives; over when none has risen noticeably for `patience` steps (0: never)."""

    def __init__(self, rows: int, patience: int) -> None:
        self._patience = patience
        self._level = np.full(rows, np.nan, np.float32)
        self._best = np.full(rows, np.nan, np.float32)
        self._start = np.full(rows, np.nan, np.float32)
        self._since = np.zeros(rows, np.int64)

    def over(self, scores: Float32[np.ndarray, " n"], step: int) -> bool:
        """Take note of the objectives of `step`; whether the climb may end after it."""
        if not self._patience:
            return False
        if np.isnan(self._level).any():
            self._level, self._best, self._start = scores.copy(), scores.copy(), scores.copy()
            self._since[:] = step
            return False
        self._level = self._level + np.float32(WEIGHT) * (scores - self._level)
        least = np.float32(NOTICEABLE) * (self._best - self._start)
        risen = (self._level > self._best) & (self._level - self._best >= least)
        self._best[risen], self._since[risen] = self._level[risen], step
        return bool((step - self._since >= self._patience).all())

    @property
    def state(self) -> dict[str, Tensor]:
        """What a checkpoint holds of it."""
        rows: dict[str, np.ndarray] = {
            "level": self._level,
            "best": self._best,
            "start": self._start,
            "since": self._since,
        }
        return {f"plateau_{name}": torch.from_numpy(values.copy()) for name, values in rows.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint's `state`; one that was written without begins anew."""
        if all(name in state for name in self.state):
            rows = [state[name].numpy().copy() for name in self.state]
            self._level, self._best, self._start, self._since = rows
