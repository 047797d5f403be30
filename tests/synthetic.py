"""A tiny deterministic ascent with momentum, noise and checkpoints, for tests of what keeps runs; no torch."""

import io
import time
from collections.abc import Iterator

import numpy as np

from vislib.frames import Frame


def climb(
    resume: bytes | None = None,
    *,
    units: int = 3,
    shape: tuple[int, ...] = (1, 12, 12),
    steps: int = 40,
    seconds: float = 0.0,
) -> Iterator[Frame]:
    """Gradient ascent of -|x - target|^2 with momentum; scores wobble, so that the best is not the last."""
    target = np.random.default_rng(99).random((units, *shape), np.float32)
    start, x, v = 0, np.full_like(target, 0.5), np.zeros_like(target)
    if resume is not None:
        with np.load(io.BytesIO(resume), allow_pickle=False) as stored:
            start, x, v = int(stored["step"]), stored["x"], stored["v"]
    for step in range(start, steps + 1):
        noise = np.random.default_rng((7, step)).standard_normal(x.shape).astype(np.float32)
        axes = tuple(range(1, x.ndim))
        scores = -((x - target) ** 2).mean(axis=axes) + np.float32(0.05 * np.sin(step))
        gradient = target - x
        numbers = {
            "gradient_norm": np.sqrt((gradient**2).sum(axis=axes)),
            "argmax": np.full(units, step % 5, np.int64),
            "alive": np.ones(units, bool),
        }
        yield Frame(step, np.clip(x, 0, 1), scores.astype(np.float32), numbers, _snapshot(step, x, v))
        if seconds:
            time.sleep(seconds)
        v = np.float32(0.9) * v + np.float32(0.02) * gradient + np.float32(0.003) * noise
        x = x + v


def _snapshot(step: int, x: np.ndarray, v: np.ndarray):
    def snapshot() -> bytes:
        buffer = io.BytesIO()
        np.savez(buffer, step=step, x=x, v=v)
        return buffer.getvalue()

    return snapshot


def frame(step: int, scores: list[float], *, size: int = 8, shade: float | None = None) -> Frame:
    """A frame whose images are all of one shade with a dark corner, by default one that tells the step."""
    value = (step % 97) / 97 if shade is None else shade
    images = np.full((len(scores), 1, size, size), value, np.float32)
    images[:, :, 0, 0] = 0
    return Frame(step, images, np.array(scores, np.float32), {"norm": np.full(len(scores), step, np.float32)})
