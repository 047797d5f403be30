"""`kill -9` at any moment: the store opens, holds what was committed, and the run ends as if left alone."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from synthetic import climb

from vislib import display
from vislib.frames import History
from vislib.store import RunStore

SPEC = {"method": "synthetic"}
STEPS = 2000
KILLS = 20


class Worker:
    def __init__(self, path: Path) -> None:
        here = Path(__file__).parent
        self._process = subprocess.Popen(
            [sys.executable, str(here / "store_worker.py"), str(path), str(STEPS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=here,
        )

    def start(self, last_statement: int = 0) -> int:
        """Start a child that computes, up to that SQL statement; returns its process id."""
        self._process.stdin.write(f"{last_statement}\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def status(self) -> int:
        """Wait for the child's end; minus nine when it was killed."""
        return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate(timeout=30)


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "runs.sqlite"


@pytest.fixture
def worker(path) -> Iterator[Worker]:
    worker = Worker(path)
    yield worker
    worker.close()


def until_running(path: Path) -> None:
    store = RunStore(path)
    for _ in range(4000):
        if any(one.state == "running" for one in store.list()):
            break
        time.sleep(0.005)
    store.close()


def check(path: Path, straight: list, pictures: dict) -> tuple[int, str]:
    """Open the store after a kill; returns the step that it knows and the run's state."""
    store = RunStore(path)
    assert store.problem is None
    stored = store.find(SPEC)
    if stored is None:
        assert store.list() == []
        store.close()
        return -1, "nothing"
    assert [one.state for one in store.list()] == [stored.state]
    history = stored.history
    kept, _ = history.since(0)
    assert kept
    for one in kept:
        if one.step not in pictures:
            shown = display.stretch(straight[one.step].images)
            pictures[one.step] = tuple(map(display.encode, shown))
        assert one.pictures == pictures[one.step]
        np.testing.assert_array_equal(one.scores, straight[one.step].scores)
    latest = history.latest
    if latest is not None:
        # all of a checkpoint is of one step
        assert latest.images.tobytes() == straight[latest.step].images.tobytes()
        steps, scores = history.series("score")
        assert steps[-1] == latest.step
        np.testing.assert_array_equal(scores, np.stack([straight[step].scores for step in steps.tolist()]))
        so_far = np.stack([one.scores for one in straight[: latest.step + 1]])
        assert list(history.best_steps) == so_far.argmax(axis=0).tolist()
        for row, step in enumerate(history.best_steps):
            assert history.best_images[row].tobytes() == straight[step].images[row].tobytes()
    if stored.state == "interrupted" and stored.checkpoint is not None:
        assert next(climb(stored.checkpoint, steps=STEPS)).step == latest.step
    store.close()
    with sqlite3.connect(path) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert raw.execute("PRAGMA foreign_key_check").fetchall() == []
    raw.close()
    return stored.step, stored.state


def test_twenty_kills(path, worker):
    moments = random.Random(5)
    straight = list(climb(steps=STEPS))
    pictures: dict[int, tuple[bytes, ...]] = {}
    for kill in range(KILLS):
        child = worker.start()
        if kill % 4:  # the others are killed while they open the store
            until_running(path)
        time.sleep(moments.uniform(0, 0.1))
        os.kill(child, signal.SIGKILL)
        assert worker.status() == -signal.SIGKILL, "the run ended before it could be killed: make it longer"
        step, state = check(path, straight, pictures)
        assert state == ("nothing" if step < 0 else "interrupted")
    finish(worker, path, straight, pictures)


def test_kills_between_any_two_statements(path, worker):
    moments = random.Random(6)
    straight = list(climb(steps=STEPS))
    pictures: dict[int, tuple[bytes, ...]] = {}
    statements = [*range(1, 12), *(moments.randrange(12, 120) for _ in range(9))]
    for statement in statements:
        worker.start(statement)
        assert worker.status() == -signal.SIGKILL
        step, state = check(path, straight, pictures)
        assert state == ("nothing" if step < 0 else "interrupted")
    finish(worker, path, straight, pictures)


def finish(worker: Worker, path: Path, straight: list, pictures: dict) -> None:
    """Let the run go on to its end, which must be that of an undisturbed one."""
    worker.start()
    assert worker.status() == 0
    assert check(path, straight, pictures) == (STEPS, "done")
    undisturbed = History(planned=STEPS)
    for one in straight:
        undisturbed.append(one)
    store = RunStore(path)
    history = store.find(SPEC).history
    assert history.latest.images.tobytes() == undisturbed.latest.images.tobytes()
    assert history.best_images.tobytes() == undisturbed.best_images.tobytes()
    assert history.best_steps == undisturbed.best_steps
    assert history.steps() == undisturbed.steps()
    assert [history.film(row) for row in range(3)] == [undisturbed.film(row) for row in range(3)]
    for name in undisturbed.names():
        for mine, theirs in zip(history.series(name), undisturbed.series(name), strict=True):
            np.testing.assert_array_equal(mine, theirs)
    assert store.find(SPEC).checkpoint is None
    store.close()


def test_a_run_of_a_living_process_is_running_and_of_a_killed_one_interrupted(path, worker):
    child = worker.start()
    until_running(path)
    store = RunStore(path)
    assert [one.state for one in store.list()] == ["running"]
    os.kill(child, signal.SIGSTOP)
    assert store.find(SPEC).state == "running"
    os.kill(child, signal.SIGKILL)
    assert worker.status() == -signal.SIGKILL
    assert [one.state for one in store.list()] == ["interrupted"]
    assert store.find(SPEC).state == "interrupted"
    store.close()
