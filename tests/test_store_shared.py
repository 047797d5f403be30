"""A store that several use: renamed, deleted and read while it is written, and written in a small share of the time."""

import sqlite3
import threading
from pathlib import Path

import pytest
from job_making import LONG, until
from store_making import SPEC, assert_same, eager
from synthetic import climb

from vislib import display
from vislib.errors import StoreError
from vislib.jobs import Job
from vislib.store import RunStore, spec_id


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "deep" / "runs.sqlite"


def test_rename_and_delete_while_it_is_recorded(path, runner):
    """By another store on the same file, as another process would."""
    store, other = eager(path), RunStore(path)
    job = Job("climb", lambda data: climb(data, steps=10**9, seconds=0.0005))
    recorder = store.record(job, SPEC, title="first title")
    runner.submit(job)
    until(lambda: other.list() and other.list()[0].step > 3)
    assert other.list()[0].title == "first title"
    other.rename(spec_id(SPEC), "new title")
    seen = other.list()[0].step
    until(lambda: other.list()[0].step > seen)
    assert other.list()[0].title == "new title"
    other.delete(spec_id(SPEC))
    until(lambda: recorder.detached)
    step = job.step
    until(lambda: job.step > step + 5)
    assert (other.list(), store.problem, job.state) == ([], None, "running")
    runner.cancel(job)
    assert job.wait(LONG)
    with sqlite3.connect(path) as raw:
        for table in ("frames", "images", "numbers", "checkpoints"):
            assert raw.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
    raw.close()
    store.close()
    other.close()


def test_a_run_can_be_read_while_another_store_writes_it(path, runner):
    store, other = eager(path), RunStore(path)
    job = Job("climb", lambda data: climb(data, steps=10**9, seconds=0.0005))
    store.record(job, SPEC)
    runner.submit(job)
    until(lambda: other.find(SPEC) is not None)
    stored = other.find(SPEC)
    assert stored.state == "running"
    cursor, seen = 0, set()
    expected = climb(steps=10**9)
    pictures: dict[int, tuple[bytes, ...]] = {}
    while stored.step < 150:
        stored.refresh()
        news, cursor = stored.history.since(cursor)
        assert not seen & {kept.step for kept in news}, "told twice"
        seen |= {kept.step for kept in news}
        while len(pictures) <= stored.history.steps()[-1]:
            one = next(expected)
            pictures[one.step] = tuple(map(display.encode, display.stretch(one.images)))
        assert all(kept.pictures == pictures[kept.step] for kept in news)
    runner.pause(job)
    until(lambda: stored.refresh() and stored.state == "paused")
    assert stored.refresh() is False
    assert_same(stored.history, job.history)
    # what another computes is neither overwritten nor taken over
    rival = Job("rival", lambda _: climb(steps=3))
    recorder = other.record(rival, SPEC)
    assert runner.submit(rival).wait(LONG)
    assert recorder.detached
    assert other.find(SPEC).step == job.step
    runner.cancel(job)
    assert job.wait(LONG)
    stored.refresh()
    assert stored.state == "cancelled"
    store.delete(stored.id)
    with pytest.raises(StoreError, match="has no run"):
        stored.refresh()
    store.close()
    other.close()


def test_many_stores_made_at_once_share_one_new_file(path):
    stores: list[RunStore] = []
    threads = [threading.Thread(target=lambda: stores.append(RunStore(path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [store.problem for store in stores] == [None] * 8
    for store in stores:
        store.close()


def test_writing_takes_a_small_share_of_the_time(path, runner, monkeypatch):
    """A clock that only writing moves: then the pauses between writes must be long against them."""
    clock = [0.0]
    monkeypatch.setattr("vislib.recorder.time.monotonic", lambda: clock[0])
    store = RunStore(path, frame_seconds=0.1, checkpoint_seconds=0.1)
    write, spent, commits = store.database.write, [0.0], [0]

    def slow(work):
        commits[0] += 1
        clock[0] += 0.5
        spent[0] += 0.5
        return write(work)

    monkeypatch.setattr(store.database, "write", slow)
    job = Job("climb", lambda data: climb(data, steps=2000, units=1, shape=(1, 2, 2)), steps=2000)
    job.on_frame(lambda _: clock.__setitem__(0, clock[0] + 0.5))
    store.record(job, SPEC)
    assert runner.submit(job).wait(LONG)
    assert commits[0] > 20
    assert spent[0] < 0.05 * clock[0]
    store.close()
