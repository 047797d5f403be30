"""Recorder, which writes one job into the run store while it goes on."""

import json
import logging
import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vislib import display, owner
from vislib.errors import ImageError
from vislib.frames import Best, Frame, History
from vislib.jobs import ENDED, Job
from vislib.packing import join, pack

if TYPE_CHECKING:
    from vislib.store import RunStore

# Writing may take this share of the time, for frames and for checkpoints each.
SHARE = 0.02
LONGEST = 60.0  # seconds between two writes, however long they take: an owner that is silent counts as gone

_log = logging.getLogger(__name__)


class _LostError(Exception):
    """The run was deleted, or is computed by another process."""


class Recorder:
    """Writes a job's frames as they come and, every few seconds, a checkpoint, on the runner's thread.

    A checkpoint is committed in one transaction with the best and newest images, the numbers and the frames
    up to its step, so that work which goes on from it fits what is stored. Nothing that fails here reaches
    the job: the store's `problem` says it, the history in memory goes on, and the next try writes what is
    missing. When the run is deleted, or is being computed by another process, nothing more is written.
    """

    def __init__(self, store: "RunStore", job: Job, spec: Mapping[str, Any], run_id: str, title: str) -> None:
        self.run_id = run_id
        self._store = store
        self._job = job
        assert isinstance(job.history, History), "only frames of images can be stored"
        self._history = job.history
        self._spec = json.dumps(spec)
        self._title = title
        self._name = owner.claim()
        self._claimed = self._detached = False
        self._fresh = job.checkpoint is None  # starts over: what is stored of an earlier try gives way
        self._stored: set[int] = set()  # steps of the frames that are committed
        self._cursor = 0
        self._best_steps: tuple[int, ...] = ()  # of the best images that are committed
        self._said = ""  # the trouble that is in the log already
        self._frames_due = 0.0
        self._checkpoint_due: float | None = None
        job.on_frame(self._on_frame)
        job.on_state(self._on_state)

    @property
    def detached(self) -> bool:
        """Whether recording has ended because the run was deleted or is computed by another process."""
        return self._detached

    @property
    def over(self) -> bool:
        """Whether nothing more will be written."""
        return self._detached or (self._job.state in ENDED and self not in self._store.unsaved)

    def flush(self) -> bool:
        """Write all that there is now, a checkpoint included; returns whether that went well."""
        return self._save(whole=True)

    def release(self) -> str:
        """Give the run up, so that it can show as interrupted unless it has ended; returns the owner's name."""
        owner.release(self._name)
        return self._name

    def _on_frame(self, frame: Frame) -> None:
        start = time.monotonic()
        if self._checkpoint_due is None:
            self._checkpoint_due = start + self._store.checkpoint_seconds
        whole = start >= self._checkpoint_due
        if not whole and start < self._frames_due:
            return
        try:
            self._save(whole=whole)
        finally:
            end = time.monotonic()
            rest = min(LONGEST, (end - start) / SHARE)
            self._frames_due = end + max(self._store.frame_seconds, rest)
            if whole:
                self._checkpoint_due = end + max(self._store.checkpoint_seconds, rest)

    def _on_state(self, job: Job) -> None:
        if job.state == "running":
            if self._claimed:
                self._save(whole=False)
            return  # else the first frame will tell
        saved = self._save(whole=True)
        if job.state in ENDED and not saved:
            self._store.unsaved.append(self)

    def _save(self, *, whole: bool) -> bool:
        latest = self._history.latest
        if self._detached or self._store.closed or latest is None:
            return True
        batch = self._gather(latest, whole)  # compressing is slow, so it comes before the transaction
        try:
            self._store.database.write(lambda connection: self._write(connection, batch))
        except _LostError:
            self._detached = True
            owner.release(self._name)
            return True
        except sqlite3.Error as error:
            said, self._said = self._said, self._store.database.sentence(error)
            if self._said != said:
                _log.warning("%s", self._said)
            return False
        # only what is committed counts as stored
        kept, self._cursor = self._history.since(0)
        self._stored = {one.step for one in kept}
        self._claimed, self._fresh = True, False
        if whole:
            self._best_steps = self._history.best_steps
        if self._job.state in ENDED:
            owner.release(self._name)
        self._store.retry()
        return True

    def _gather(self, latest: Frame, whole: bool) -> "_Batch":
        best = self._history.best() if whole or not self._claimed else None
        thumbnail = _thumbnail(best) if best else None
        if not whole or best is None:
            return _Batch(latest.step, thumbnail)
        known = self._best_steps or (-1,) * len(best.steps)
        images: list[tuple[Any, ...]] = [
            ("last", row, latest.step, score, pack(image))
            for row, (score, image) in enumerate(zip(latest.scores.tolist(), latest.images, strict=True))
        ]
        images += [
            ("best", row, step, score, pack(image))
            for row, (step, score, image) in enumerate(
                zip(best.steps, best.scores.tolist(), best.images, strict=True)
            )
            if step != known[row]
        ]
        steps, columns = self._history.table()
        numbers = [(name, pack(values)) for name, values in {"": steps, **columns}.items()]
        return _Batch(latest.step, thumbnail, images, numbers, self._snapshot(latest), True)

    def _snapshot(self, latest: Frame) -> bytes | None:
        # after a failure the generator has gone past the newest frame
        if latest.snapshot is None or self._job.state in ("done", "failed"):
            return None
        try:
            return latest.snapshot()
        except Exception:
            _log.exception("%s gave no checkpoint; the one before stays", self._job.title)
            return None

    def _write(self, connection: sqlite3.Connection, batch: "_Batch") -> None:
        run = self.run_id
        stored = self._stored if self._claimed else self._claim(connection)
        state = "running" if self._job.state == "queued" else self._job.state
        changed = connection.execute(
            "UPDATE runs SET state=?, error=?, step=?, stride=?, beat=?, saves=saves+?,"
            " thumbnail=coalesce(?, thumbnail) WHERE id=? AND owner=?",
            (
                *(state, self._job.error, batch.step, self._history.stride, time.time(), int(batch.whole)),
                *(batch.thumbnail, run, self._name),
            ),
        )
        if changed.rowcount == 0:
            raise _LostError
        self._write_frames(connection, stored)
        connection.executemany(
            "INSERT OR REPLACE INTO images VALUES (?, ?, ?, ?, ?, ?)", [(run, *one) for one in batch.images]
        )
        connection.executemany(
            "INSERT OR REPLACE INTO numbers VALUES (?, ?, ?)", [(run, *one) for one in batch.numbers]
        )
        if batch.checkpoint is not None:
            connection.execute(
                "INSERT OR REPLACE INTO checkpoints VALUES (?, ?, ?)", (run, batch.step, batch.checkpoint)
            )
        elif state == "done":
            connection.execute("DELETE FROM checkpoints WHERE run=?", (run,))
        if batch.whole or not self._claimed:
            connection.execute(_MEASURE, {"run": run})

    def _claim(self, connection: sqlite3.Connection) -> set[int]:
        """Make the run ours; returns the steps of its stored frames, raises _LostError when it is another's."""
        run = self.run_id
        row = connection.execute("SELECT state, owner, beat FROM runs WHERE id=?", (run,)).fetchone()
        if row is None:
            connection.execute(
                "INSERT INTO runs VALUES (?, ?, ?, 'running', NULL, ?, 0, ?, 0, ?, 1, 0, 0, NULL)",
                (run, self._title, self._spec, self._name, time.time(), self._job.steps),
            )
        elif row[0] in ("running", "paused") and row[1] != self._name and owner.alive(row[1], row[2]):
            raise _LostError
        connection.execute("UPDATE runs SET owner=? WHERE id=?", (self._name, run))
        if self._fresh:
            for table in ("frames", "images", "numbers", "checkpoints"):
                connection.execute(f"DELETE FROM {table} WHERE run=?", (run,))
        return {step for (step,) in connection.execute("SELECT step FROM frames WHERE run=?", (run,))}

    def _write_frames(self, connection: sqlite3.Connection, stored: set[int]) -> None:
        kept, _ = self._history.since(0)
        news = {one.step for one in self._history.since(self._cursor)[0]}
        gone = stored - {one.step for one in kept}
        connection.executemany(
            "DELETE FROM frames WHERE run=? AND step=?", [(self.run_id, step) for step in gone]
        )
        connection.executemany(
            "INSERT OR REPLACE INTO frames (run, step, scores, pictures) VALUES (?, ?, ?, ?)",
            (
                (self.run_id, one.step, one.scores.astype("<f4").tobytes(), join(one.pictures))
                for one in kept
                if one.step in news or one.step not in stored
            ),
        )


@dataclass(frozen=True, slots=True)
class _Batch:
    """What one transaction writes beside the frames; whole: it is a checkpoint, with all that belongs to it."""

    step: int
    thumbnail: bytes | None
    images: Sequence[tuple[Any, ...]] = ()  # kind, row, step, score, data
    numbers: Sequence[tuple[str, bytes]] = ()
    checkpoint: bytes | None = None
    whole: bool = False


# what a run takes in the file, in bytes; lengths are read without reading what is measured
_MEASURE = """
UPDATE runs SET size =
    (SELECT coalesce(sum(length(pictures) + length(scores)), 0) FROM frames WHERE run = :run)
    + (SELECT coalesce(sum(length(data)), 0) FROM images WHERE run = :run)
    + (SELECT coalesce(sum(length(data)), 0) FROM numbers WHERE run = :run)
    + (SELECT coalesce(sum(length(data)), 0) FROM checkpoints WHERE run = :run)
WHERE id = :run
"""


def _thumbnail(best: Best) -> bytes | None:
    """A mosaic of up to 16 units' best images, about 160 px wide; None for images that cannot be drawn."""
    columns = int(np.ceil(np.sqrt(min(16, len(best.images)))))
    try:
        pictures = display.stretch(best.images[: columns * columns])
        return display.jpeg(display.tile(pictures, columns, 160 // columns), quality=80)
    except ImageError:
        return None
