"""Random numbers as pure functions of what they are for, so that no generator's state is kept."""

import numpy as np

START, TRANSFORM, SEARCH = 1, 2, 3  # what a draw is for; the first entry of its key


def generator(purpose: int, seed: int, number: int) -> np.random.Generator:
    """A fresh generator whose numbers depend on (purpose, seed, number) alone; all three are 0 or more."""
    return np.random.default_rng([purpose, seed, number])
