"""Confidence intervals of a mean by the percentile bootstrap."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean over `n` images and the interval that holds it with 95 % confidence."""

    mean: float
    low: float
    high: float
    n: int

    def above(self, other: "Interval") -> bool:
        """Whether the whole interval lies above the whole other one."""
        return self.low > other.high

    def __str__(self) -> str:
        return f"{self.mean:.2f} [{self.low:.2f}, {self.high:.2f}]"


def bootstrap(
    values: Float[np.ndarray, " n"],
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap of the mean (Efron 1979): images are drawn anew with replacement `resamples` times."""
    values = values.astype(np.float64)
    drawn = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    low, high = np.quantile(values[drawn].mean(1), ((1 - level) / 2, (1 + level) / 2))
    return Interval(float(values.mean()), float(low), float(high), len(values))
