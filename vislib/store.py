"""RunStore, the one SQLite file in which every run is kept and from which it comes back."""

import contextlib
import hashlib
import json
import sqlite3
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import platformdirs

from vislib import owner
from vislib.database import Database
from vislib.errors import StoreError
from vislib.frames import Best, Frame, History, Kept
from vislib.jobs import Job
from vislib.packing import split, unpack
from vislib.recorder import Recorder

T = TypeVar("T")


def spec_id(spec: Mapping[str, Any]) -> str:
    """Name a run by its spec: 16 hex digits of the SHA-256 of canonical JSON, in which 1 and 1.0 are equal.

    Raises StoreError for a spec that is not JSON.
    """
    try:
        text = json.dumps(_canonical(spec), sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise StoreError(
            f"The spec of a run must consist of JSON values, text as keys and finite numbers ({error})."
        ) from error
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _canonical(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _canonical(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A stored run as the list shows it; `created` in seconds of time.time(), `size` in bytes."""

    id: str
    title: str
    network: str
    layer: str
    preset: str
    units: tuple[int, ...]
    state: str  # running, paused, done, cancelled, failed, or interrupted: its process is gone
    error: str | None
    step: int
    steps: int | None
    created: float
    size: int
    thumbnail: bytes | None  # JPEG


class RunStore:
    """Every run, kept in one SQLite file that several processes may share.

    `path` defaults to runs.sqlite in the platform's folder for a user's data. A file that cannot be used
    never raises: `problem` says in one sentence what is wrong, the file is left as it is, and what can go on
    does so in memory. `frame_seconds` and `checkpoint_seconds` are the shortest times between two commits of
    frames and between two checkpoints; both grow so that writing takes less than a twentieth of the time.
    """

    def __init__(
        self, path: Path | None = None, *, frame_seconds: float = 0.5, checkpoint_seconds: float = 2.0
    ) -> None:
        self.path = platformdirs.user_data_path("vislib") / "runs.sqlite" if path is None else path
        self.frame_seconds = frame_seconds
        self.checkpoint_seconds = checkpoint_seconds
        self.database = Database(self.path)
        self.unsaved: deque[Recorder] = deque(maxlen=8)  # of jobs that ended while nothing could be written
        self.closed = False
        self._recorders: list[Recorder] = []

    @property
    def problem(self) -> str | None:
        """One sentence for the user while runs are not kept, else None."""
        return self.database.problem

    def record(self, job: Job, spec: Mapping[str, Any], title: str = "") -> Recorder:
        """Keep a job under its spec from its first frame on; to be called before the job is submitted.

        A job with a checkpoint continues the stored run of the same spec. One without starts over, and its
        first frame replaces what is stored. A run that another process is computing is left to that one.
        """
        recorder = Recorder(self, job, spec, spec_id(spec), title or job.title)
        self._recorders = [one for one in self._recorders if not one.over]
        self._recorders.append(recorder)
        return recorder

    def find(self, spec: Mapping[str, Any]) -> "StoredRun | None":
        """The stored run of a spec; None when there is none that can be read."""
        try:
            return self.open(spec_id(spec))
        except StoreError:
            return None

    def open(self, run_id: str) -> "StoredRun":
        """A stored run by its id; StoreError when there is none or it cannot be read."""
        return StoredRun(self, run_id)

    def list(self) -> list[RunSummary]:
        """All stored runs, the newest first; empty when the file cannot be read."""
        try:
            rows = self.database.read(lambda connection: connection.execute(_LIST).fetchall())
        except sqlite3.Error:
            return []
        living: dict[str | None, bool] = {}
        return [_summary(row, living) for row in rows]

    def rename(self, run_id: str, title: str) -> None:
        """Give a run another title; StoreError when that cannot be written."""
        if not self._change("UPDATE runs SET title=? WHERE id=?", (title, run_id)):
            raise _unknown(run_id)

    def delete(self, run_id: str) -> None:
        """Remove a run for good, also one that is being recorded; StoreError when that cannot be written."""
        self._change("DELETE FROM runs WHERE id=?", (run_id,))
        self.database.shrink()

    def retry(self) -> None:
        """Write one run that ended while nothing could be written, if there is such a one."""
        try:
            recorder = self.unsaved.popleft()
        except IndexError:
            return
        if not recorder.flush():
            self.unsaved.append(recorder)

    def close(self) -> None:
        """Close the file; runs that have not ended show as interrupted from now on."""
        if self.closed:
            return
        self.retry()
        self.closed = True
        names = [(recorder.release(),) for recorder in self._recorders]
        with contextlib.suppress(sqlite3.Error):  # other processes see it when this one has ended
            self.database.write(
                lambda connection: connection.executemany("UPDATE runs SET owner=NULL WHERE owner=?", names)
            )
        self.database.close()

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do `work` on one consistent state of the file; StoreError when it cannot be read."""
        try:
            return self.database.read(work)
        except sqlite3.Error as error:
            raise StoreError(self.database.sentence(error)) from error

    def _change(self, statement: str, values: tuple[str, ...]) -> bool:
        try:
            return self.database.write(lambda connection: connection.execute(statement, values).rowcount > 0)
        except sqlite3.Error as error:
            raise StoreError(self.database.sentence(error)) from error


_LIST = (
    "SELECT id, title, spec, state, error, owner, beat, step, steps, created, size, thumbnail"
    " FROM runs ORDER BY created DESC, id"
)


def _summary(row: tuple[Any, ...], living: dict[str | None, bool]) -> RunSummary:
    run_id, title, text, state, error, name, beat, step, steps, created, size, thumbnail = row
    spec = json.loads(text)
    preset = spec.get("preset", "")
    if isinstance(preset, list):
        preset = "random search" if len(preset) > 1 else next(iter(preset), "")
    if isinstance(preset, dict):
        preset = preset.get("name", "")
    if name not in living:
        living[name] = state in ("running", "paused") and owner.alive(name, beat)
    return RunSummary(
        run_id,
        title,
        str(spec.get("network", "")),
        str(spec.get("layer", "")),
        str(preset),
        tuple(spec.get("units") or ()),
        _state(state, living[name]),
        error,
        step,
        steps,
        created,
        size,
        thumbnail,
    )


def _state(state: str, alive: bool) -> str:
    return "interrupted" if state in ("running", "paused") and not alive else state


def _unknown(run_id: str) -> StoreError:
    return StoreError(f"The run store has no run {run_id!r}: it may have been deleted, choose another one.")


class StoredRun:
    """A run as it is stored, also while another process is computing it; `refresh` reads what is new.

    To go on with it, give a job its `checkpoint` (None: from the start) and its `history`, and record that
    job under its `spec`; from then on the history is the job's, and refresh must not be called any more.
    """

    id: str
    title: str
    spec: dict[str, Any]
    state: str  # running, paused, done, cancelled, failed, or interrupted: its process is gone
    error: str | None
    step: int
    steps: int | None
    created: float  # seconds of time.time()
    size: int  # bytes

    def __init__(self, store: RunStore, run_id: str) -> None:
        self.id = run_id
        self._store = store
        self._history: History | None = None
        self._kept: dict[int, Kept] = {}  # by the row's id, which grows when a frame is replaced
        self._seen: tuple[object, ...] = ()
        self._saves = -1
        self._saved: dict[str, Any] = {}
        self.refresh()

    @property
    def history(self) -> History:
        """The stored history; read when first asked for."""
        if self._history is None:
            history = History(planned=self.steps)
            self._store.read(lambda connection: self._read_history(connection, history))
            self._history = history
        return self._history

    @property
    def checkpoint(self) -> bytes | None:
        """Where the work goes on from; None when it starts over, or has been done."""
        row = self._store.read(
            lambda connection: connection.execute(
                "SELECT data FROM checkpoints WHERE run=?", (self.id,)
            ).fetchone()
        )
        return row[0] if row else None

    def refresh(self) -> bool:
        """Read again; returns whether anything is new, raises StoreError when the run is gone."""
        return self._store.read(self._read)

    def _read(self, connection: sqlite3.Connection) -> bool:
        row = connection.execute(
            "SELECT title, spec, state, error, owner, beat, step, steps, created, size, stride, saves"
            " FROM runs WHERE id=?",
            (self.id,),
        ).fetchone()
        if row is None:
            raise _unknown(self.id)
        self.title, text, state, self.error, name, beat, self.step, self.steps, self.created = row[:9]
        self.size, self._stride, self._saves_now = row[9:]
        self.spec = json.loads(text)
        self.state = _state(state, owner.alive(name, beat))
        seen = (*row, self.state)
        changed, self._seen = seen != self._seen, seen
        if changed and self._history is not None:
            self._read_history(connection, self._history)
        return changed

    def _read_history(self, connection: sqlite3.Connection, history: History) -> None:
        run = (self.id,)
        rows = {one for (one,) in connection.execute("SELECT id FROM frames WHERE run=?", run)}
        self._kept = {row: kept for row, kept in self._kept.items() if row in rows}
        newest = max(self._kept, default=0)
        for row, step, scores, pictures in connection.execute(
            "SELECT id, step, scores, pictures FROM frames WHERE run=? AND id>?", (self.id, newest)
        ):
            values = np.frombuffer(scores, "<f4").astype(np.float32)
            self._kept[row] = Kept(step, values, split(pictures))
        if self._saves != self._saves_now:
            self._saved = self._read_saved(connection)
            self._saves = self._saves_now
        history.load(list(self._kept.values()), stride=self._stride, **self._saved)

    def _read_saved(self, connection: sqlite3.Connection) -> dict[str, Any]:
        """What is written with a checkpoint: best and newest images, and the numbers."""
        numbers = {
            name: unpack(data)
            for name, data in connection.execute("SELECT name, data FROM numbers WHERE run=?", (self.id,))
        }
        steps = numbers.pop("", None)
        best = self._read_images(connection, "best")
        last = self._read_images(connection, "last")
        latest = None
        if last is not None:
            at_end = {name: values[-1] for name, values in numbers.items() if name != "score" and len(values)}
            latest = Frame(last.steps[0], last.images, last.scores, at_end)
        return {"best": best, "latest": latest, "steps": steps, "numbers": numbers}

    def _read_images(self, connection: sqlite3.Connection, kind: str) -> Best | None:
        rows = connection.execute(
            "SELECT data, score, step FROM images WHERE run=? AND kind=? ORDER BY row", (self.id, kind)
        ).fetchall()
        if not rows:
            return None
        # SQLite keeps NaN as NULL
        scores = np.array([np.nan if score is None else score for _, score, _ in rows], np.float32)
        images = np.stack([unpack(data) for data, _, _ in rows])
        return Best(images, scores, tuple(step for _, _, step in rows))
