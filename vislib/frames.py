"""Frame, one moment of long work, and History, the bounded and thread-safe record of a run's frames."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32

from vislib import display
from vislib.series import Series


@dataclass(frozen=True, eq=False, slots=True)
class Frame:
    """One moment of long work; its arrays are never written to after it was yielded.

    step      0 is the start image, before any update
    images    in [0, 1]
    scores    the objective of these images (not of the ones before the update)
    numbers   per-unit facts of this step, each (n,): gradient_norm, norm, distance, std, argmax,
              became_argmax, alive
    snapshot  gives the checkpoint from which the work goes on before the update of this step; to be
              called before the generator is asked for its next frame
    """

    step: int
    images: Float32[np.ndarray, "n c *spatial"]
    scores: Float32[np.ndarray, " n"]
    numbers: Mapping[str, np.ndarray]
    snapshot: Callable[[], bytes] | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Kept:
    """A frame as a history keeps it: scores, and `display.encode(display.stretch(image))` of every unit."""

    step: int
    scores: Float32[np.ndarray, " n"]
    pictures: tuple[bytes, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Best:
    """The best image of every unit so far, lossless, with its score and the step at which it was seen."""

    images: Float32[np.ndarray, "n c *spatial"]
    scores: Float32[np.ndarray, " n"]
    steps: tuple[int, ...]


class History:
    """The frames of a run: bounded, thread-safe, without a thread of its own.

    Every `stride`-th frame is kept as pictures; when they are too many, every other one is dropped and the
    stride doubles, so spacing stays even and depends on the steps alone. The first frame, the newest and
    each unit's best are always reachable; the latter two are held as float images and encoded only when
    somebody looks. `planned`, the number of steps that the run is meant to make, sets the first stride, so
    that fewer pictures are encoded in vain.

    One thread appends, any number read. Pictures are encoded outside the lock: nobody waits for an encoder.
    """

    def __init__(self, capacity: int = 128, planned: int | None = None) -> None:
        if capacity < 4:
            raise ValueError(f"a history keeps at least 4 frames, {capacity} were asked for")
        self.capacity = capacity
        self._room = capacity - 2  # a unit's film has its best and the newest beside the evenly spaced ones
        self._lock = threading.Lock()
        self._stride = 1 if planned is None else max(0, planned) // self._room + 1
        self._first: int | None = None
        self._kept: dict[int, tuple[int, Kept]] = {}  # step -> (version at which it was kept, frame), by step
        self._version = 0
        self._latest: Frame | None = None
        self._latest_kept: Kept | None = None
        self._best_images: list[np.ndarray] = []
        self._best_scores = np.zeros(0, np.float32)
        self._best_steps: list[int] = []
        self._best_pictures: dict[int, tuple[int, bytes]] = {}
        self._series = Series()

    def append(self, frame: Frame) -> None:
        """Add the next frame; a step seen before (after a resume) replaces that one and all that followed."""
        with self._lock:
            wanted = self._first is None or frame.step <= self._first or self._on_stride(frame.step)
        kept = _keep(frame) if wanted else None
        with self._lock:
            self._version += 1
            for step in [step for step in self._kept if step >= frame.step]:
                del self._kept[step]
            if self._first is None or frame.step <= self._first:
                self._first = frame.step
            if kept is not None:
                self._insert(kept)
            self._latest, self._latest_kept = frame, kept
            self._improve(frame)
            self._series.append(frame.step, {"score": frame.scores, **frame.numbers})

    def finish(self) -> None:
        """Let go of the newest frame's checkpoint, which holds on to the memory of work that has ended."""
        with self._lock:
            if self._latest is not None:
                self._latest = replace(self._latest, snapshot=None)

    def load(
        self,
        kept: Sequence[Kept],
        *,
        stride: int = 1,
        best: Best | None = None,
        latest: Frame | None = None,
        steps: np.ndarray | None = None,
        numbers: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Replace the content by a stored one; kept frames that are the very same objects are not news."""
        with self._lock:
            self._version += 1
            before = self._kept
            self._kept = {}
            for one in sorted(kept, key=lambda one: one.step):
                known = before.get(one.step)
                self._kept[one.step] = known if known and known[1] is one else (self._version, one)
            self._first = next(iter(self._kept), None)
            self._stride = max(1, stride)
            while len(self._kept) > self._room:
                self._thin()
            self._latest, self._latest_kept = latest, None
            self._best_images = list(best.images) if best else []
            self._best_scores = best.scores.copy() if best else np.zeros(0, np.float32)
            self._best_steps = list(best.steps) if best else []
            self._best_pictures = {}
            self._series.load(np.zeros(0, np.int64) if steps is None else steps, numbers or {})

    def _insert(self, kept: Kept) -> None:
        if len(self._kept) == self._room:
            self._thin()
        if self._on_stride(kept.step):
            self._kept[kept.step] = (self._version, kept)

    def _thin(self) -> None:
        self._stride *= 2
        self._kept = {step: one for step, one in self._kept.items() if self._on_stride(step)}

    def _on_stride(self, step: int) -> bool:
        return self._first is not None and (step - self._first) % self._stride == 0

    def _improve(self, frame: Frame) -> None:
        if len(self._best_images) != len(frame.images):
            self._best_images = [image.copy() for image in frame.images]
            self._best_scores = frame.scores.copy()
            self._best_steps = [frame.step] * len(frame.images)
            return
        # a NaN never wins, and never stays where a number came
        better = (frame.scores > self._best_scores) | (np.isnan(self._best_scores) & ~np.isnan(frame.scores))
        for row in np.flatnonzero(better).tolist():
            self._best_images[row] = frame.images[row].copy()  # a view would hold on to the whole batch
            self._best_scores[row] = frame.scores[row]
            self._best_steps[row] = frame.step

    @property
    def version(self) -> int:
        """Grows with every frame: a cheap "anything new?"."""
        return self._version

    @property
    def stride(self) -> int:
        """Distance in steps between kept frames."""
        return self._stride

    @property
    def latest(self) -> Frame | None:
        """The newest frame with its float images; None before the first."""
        return self._latest

    def best(self) -> Best | None:
        """Images, scores and steps of every unit's best, all of one moment; None before the first frame."""
        with self._lock:
            images, scores = list(self._best_images), self._best_scores.copy()
            steps = tuple(self._best_steps)
        return Best(np.stack(images), scores, steps) if images else None

    @property
    def best_images(self) -> np.ndarray | None:
        """The best image of every unit (n, c, *spatial), lossless; None before the first frame."""
        best = self.best()
        return best.images if best else None

    @property
    def best_scores(self) -> np.ndarray:
        """The highest score of every unit (n,); empty before the first frame."""
        with self._lock:
            return self._best_scores.copy()

    @property
    def best_steps(self) -> tuple[int, ...]:
        """The step at which every unit was best; empty before the first frame."""
        with self._lock:
            return tuple(self._best_steps)

    def since(self, cursor: int) -> tuple[list[Kept], int]:
        """What was kept after that cursor (0: from the start) and is still here, and the next cursor."""
        with self._lock:
            return [one for version, one in self._kept.values() if version > cursor], self._version

    def steps(self) -> list[int]:
        """The steps that `at` can give exactly: the evenly kept ones and the newest."""
        with self._lock:
            steps = list(self._kept)
            if self._latest is not None and self._latest.step not in self._kept:
                steps = sorted([*steps, self._latest.step])
            return steps

    def at(self, step: int) -> Kept:
        """The nearest frame at or before `step`, or the first; LookupError while the history is empty."""
        with self._lock:
            before = [one for at, (_, one) in self._kept.items() if at <= step]
            latest = self._latest
            first = next((one for _, one in self._kept.values()), None)
        nearest = before[-1] if before else None
        if latest is not None and latest.step <= step and (nearest is None or latest.step > nearest.step):
            return self._keep_latest(latest)
        found = nearest or first or (self._keep_latest(latest) if latest else None)
        if found is None:
            raise LookupError("the history has no frame yet")
        return found

    def film(self, row: int) -> list[tuple[int, float, bytes]]:
        """Step, score and picture of all that is kept of one unit, its best and the newest included."""
        with self._lock:
            kept = [one for _, one in self._kept.values()]
            latest = self._latest
            best = None
            if row < len(self._best_images):
                best = (self._best_steps[row], float(self._best_scores[row]), self._best_images[row])
        shots = {one.step: (one.step, float(one.scores[row]), one.pictures[row]) for one in kept}
        if best is not None and best[0] not in shots:
            shots[best[0]] = (best[0], best[1], self._best_picture(row, best[0], best[2]))
        if latest is not None and latest.step not in shots:
            newest = self._keep_latest(latest)
            shots[latest.step] = (latest.step, float(latest.scores[row]), newest.pictures[row])
        return [shots[step] for step in sorted(shots)]

    def names(self) -> list[str]:
        """The names that `series` knows: "score" and those of the frames' numbers."""
        with self._lock:
            return self._series.names()

    def series(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Steps (t,) and values (t, n) of a per-step number, at most 8192 rows; empty for an unknown name."""
        with self._lock:
            return self._series.get(name)

    def table(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """All per-step numbers of one moment: steps (t,) and values (t, n) by name."""
        with self._lock:
            columns = {name: self._series.get(name) for name in self._series.names()}
        steps = next((at for at, _ in columns.values()), np.zeros(0, np.int64))
        return steps, {name: values for name, (_, values) in columns.items()}

    def _keep_latest(self, latest: Frame) -> Kept:
        with self._lock:
            if self._latest_kept is not None and self._latest_kept.step == latest.step:
                return self._latest_kept
        kept = _keep(latest)
        with self._lock:
            if self._latest is latest:
                self._latest_kept = kept
        return kept

    def _best_picture(self, row: int, step: int, image: np.ndarray) -> bytes:
        known = self._best_pictures.get(row)
        if known is None or known[0] != step:
            known = (step, _pictures(image[None])[0])
            self._best_pictures[row] = known
        return known[1]


def _keep(frame: Frame) -> Kept:
    return Kept(frame.step, frame.scores.copy(), _pictures(frame.images))


def _pictures(images: Float32[np.ndarray, "n c *spatial"]) -> tuple[bytes, ...]:
    return tuple(display.encode(picture) for picture in display.stretch(images))
