"""Runs that a store keeps: they come back to the bit, are listed, and go on after a stop."""

import io
import logging
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from job_making import LONG, until
from store_making import SPEC, assert_same, eager
from synthetic import climb, frame

from vislib import display
from vislib.errors import StoreError
from vislib.frames import Frame, History
from vislib.jobs import Job, Runner
from vislib.packing import join, pack, split, unpack
from vislib.store import RunStore, StoredRun, spec_id


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "deep" / "runs.sqlite"


def run(runner: Runner, store: RunStore, spec=SPEC, *, steps: int = 40, **more) -> Job:
    job = Job("climb", lambda checkpoint: climb(checkpoint, steps=steps, **more), steps=steps)
    store.record(job, spec)
    assert runner.submit(job).wait(LONG)
    return job


@pytest.mark.parametrize("shape", [(1, 12, 12), (3, 50, 50), (1, 6, 5, 4), (2, 7, 7)])
@pytest.mark.parametrize("steps", [0, 300])
def test_a_run_comes_back_to_the_bit(path, runner, shape, steps):
    store = RunStore(path)
    assert store.problem is None
    job = run(runner, store, steps=steps, shape=shape)
    store.close()
    again = RunStore(path)
    stored = again.find(SPEC)
    assert (stored.state, stored.step, stored.steps, stored.error) == ("done", steps, steps, None)
    assert (stored.spec, stored.title, stored.checkpoint) == (SPEC, "climb", None)
    assert_same(stored.history, job.history)
    again.close()


def test_the_list_shows_what_was_recorded(path, runner):
    store = RunStore(path)
    before = time.time()
    run(runner, store)
    searched = {**SPEC, "preset": [{"name": "a"}, {"name": "b"}], "layer": "conv1", "units": (0, 1, 2)}
    run(runner, store, searched)
    other, first = store.list()
    assert (first.id, first.network, first.layer) == (spec_id(SPEC), "brain2d", "conv3")
    assert (first.preset, first.units, first.state) == ("jitter + TV", (4, 5, 6), "done")
    assert (first.step, first.steps, first.error, first.title) == (40, 40, None, "climb")
    assert before <= first.created <= other.created <= time.time()
    assert (other.layer, other.preset, other.units) == ("conv1", "random search", (0, 1, 2))
    assert display.mime(first.thumbnail) == "image/jpeg"
    assert display.decode(first.thumbnail).shape == (1, 160, 160)
    with sqlite3.connect(path) as raw:
        blobs = [("frames", "pictures"), ("frames", "scores"), ("images", "data"), ("numbers", "data")]
        sizes = [
            raw.execute(f"SELECT sum(length({column})) FROM {table} WHERE run=?", (first.id,)).fetchone()[0]
            for table, column in blobs
        ]
    raw.close()
    assert first.size == sum(sizes)
    store.close()


def test_the_same_spec_is_the_same_run():
    assert spec_id(SPEC) == spec_id(dict(reversed(SPEC.items())))
    assert spec_id({"a": 1, "b": [1, 2]}) == spec_id({"b": (1.0, 2), "a": 1.0})
    assert spec_id({"a": 1}) != spec_id({"a": 1.5}) != spec_id({"a": "1"})
    assert len(spec_id(SPEC)) == 16
    assert int(spec_id(SPEC), 16) >= 0
    for bad in ({"a": float("nan")}, {"a": np.float32(1)}, {"a": {(1, 2): 3}}):
        with pytest.raises(StoreError, match="must consist of JSON values"):
            spec_id(bad)


def test_nothing_there(path):
    store = RunStore(path)
    assert store.list() == []
    assert store.find(SPEC) is None
    with pytest.raises(StoreError, match="has no run 'abc'"):
        store.open("abc")
    with pytest.raises(StoreError, match="has no run 'abc'"):
        store.rename("abc", "x")
    store.delete("abc")
    store.close()
    store.close()


def test_a_paused_run_goes_on_in_another_process_as_if_nothing_had_been(path):
    """All but the process: the store and the runner are closed and made anew, many times."""
    straight = History(planned=300)
    for one in climb(steps=300):
        straight.append(one)
    checkpoint, history, rounds = None, None, 0
    while True:
        store, runner = RunStore(path, frame_seconds=0, checkpoint_seconds=0.01), Runner()
        job = Job(
            "climb",
            lambda checkpoint: climb(checkpoint, steps=300),
            history=history,
            steps=300,
            checkpoint=checkpoint,
        )
        store.record(job, SPEC)
        goal = 23 * (rounds + 1)
        job.on_frame(lambda one, job=job, goal=goal, runner=runner: one.step >= goal and runner.pause(job))
        runner.submit(job)
        until(lambda job=job: job.state in ("paused", "done"))
        assert runner.shutdown(LONG)
        state = store.open(spec_id(SPEC)).state
        store.close()
        if job.state == "done":
            break
        assert state == "paused"
        again = RunStore(path)
        stored = again.find(SPEC)
        assert stored.state == "interrupted"
        assert stored.step == goal
        assert_same(stored.history, job.history)
        checkpoint, history, rounds = stored.checkpoint, stored.history, rounds + 1
        assert checkpoint is not None
        again.close()
    assert state == "done"
    assert rounds == 13
    again = RunStore(path)
    assert_same(again.find(SPEC).history, straight)
    again.close()


def test_a_cancelled_run_can_go_on_and_a_failed_one_from_its_last_checkpoint(path, runner):
    def failing(checkpoint: bytes | None) -> Iterator[Frame]:
        for one in climb(checkpoint, steps=60):
            if one.step == 30:
                raise MemoryError
            yield one

    store = eager(path)
    job = Job("fails", failing, steps=60)
    store.record(job, SPEC)
    assert runner.submit(job).wait(LONG)
    stored = store.find(SPEC)
    assert (stored.state, stored.step) == ("failed", 29)
    assert stored.error.startswith("The memory of this machine ran out")
    assert_same(stored.history, job.history)
    more = Job(
        "climb",
        lambda data: climb(data, steps=10**9, seconds=0.001),
        history=stored.history,
        checkpoint=stored.checkpoint,
    )
    store.record(more, SPEC)
    runner.submit(more)
    until(lambda: more.step >= 40)
    runner.cancel(more)
    assert more.wait(LONG)
    stored = store.find(SPEC)
    assert (stored.state, stored.error, stored.step) == ("cancelled", None, more.step)
    expected = list(climb(steps=more.step + 1))
    went_on = next(climb(stored.checkpoint, steps=more.step + 1))
    assert went_on.step == more.step
    assert went_on.images.tobytes() == expected[more.step].images.tobytes()
    store.close()


def test_starting_over_replaces_the_stored_run_with_its_first_frame(path, runner):
    store = eager(path)
    run(runner, store, steps=40)
    gate = threading.Event()

    def frames(_: bytes | None) -> Iterator[Frame]:
        gate.wait(LONG)
        yield frame(0, [1.0, 2.0, 3.0])
        raise ValueError("enough")

    job = Job("again", frames, steps=5)
    store.record(job, SPEC)
    runner.submit(job)
    until(lambda: job.state == "running")
    assert store.find(SPEC).state == "done"
    gate.set()
    assert job.wait(LONG)
    stored = store.find(SPEC)
    assert (stored.state, stored.step, stored.error) == ("failed", 0, "ValueError: enough")
    assert_same(stored.history, job.history)
    store.close()


def test_scores_that_are_no_numbers_come_back(path, runner):
    def frames(_: bytes | None) -> Iterator[Frame]:
        yield frame(0, [float("nan"), float("inf"), 1.0])

    store = RunStore(path)
    job = Job("odd", frames)
    store.record(job, SPEC)
    assert runner.submit(job).wait(LONG)
    np.testing.assert_array_equal(store.find(SPEC).history.best_scores, [np.nan, np.inf, 1])
    np.testing.assert_array_equal(store.find(SPEC).history.at(0).scores, [np.nan, np.inf, 1])
    store.close()


def test_a_job_that_never_had_a_frame_leaves_nothing(path, runner):
    store = RunStore(path)
    job = Job("nothing", lambda _: iter(()))
    store.record(job, SPEC)
    assert runner.submit(job).wait(LONG)
    assert store.list() == []
    store.close()


def test_a_snapshot_that_fails_leaves_the_one_before(path, runner, caplog):
    def broken() -> bytes:
        raise RuntimeError("no checkpoint")

    def frames(_: bytes | None) -> Iterator[Frame]:
        for one in climb(steps=50):
            good = one.step < 20
            yield Frame(one.step, one.images, one.scores, one.numbers, one.snapshot if good else broken)
        raise ValueError("the end")

    store = eager(path)
    job = Job("climb", frames)
    store.record(job, SPEC)
    with caplog.at_level(logging.ERROR):
        assert runner.submit(job).wait(LONG)
    stored = store.find(SPEC)
    assert (stored.state, stored.step) == ("failed", 50)
    with np.load(io.BytesIO(stored.checkpoint), allow_pickle=False) as checkpoint:
        assert int(checkpoint["step"]) < 20
    store.close()


def test_two_hundred_runs_are_listed_and_each_is_found(path, runner):
    store = RunStore(path)
    specs = [{**SPEC, "seed": seed} for seed in range(200)]
    for spec in specs:
        job = Job("climb", lambda data: climb(data, steps=0, units=1))
        store.record(job, spec)
        assert runner.submit(job).wait(LONG)
    assert {one.id for one in store.list()} == {spec_id(spec) for spec in specs}
    assert [isinstance(store.find(spec), StoredRun) for spec in specs[::50]] == [True] * 4
    store.delete(spec_id(specs[7]))
    assert len(store.list()) == 199
    store.close()


def test_packing_comes_back_to_the_bit():
    values = np.array([[np.nan, -0.0], [np.inf, 1e-40]], np.float32)
    back = unpack(pack(values))
    assert (back.tobytes(), back.dtype, back.shape) == (values.tobytes(), values.dtype, values.shape)
    for pictures in ((), (b"",), (b"abc", b"", b"\0" * 300)):
        assert split(join(pictures)) == pictures
    good = join((b"abc", b"de"))
    for bad in (good[:-1], good + b"x", good[:6], b""):
        with pytest.raises(StoreError, match="damaged"):
            split(bad)
    for bad in (b"", b"junk", pack(values)[:-9]):
        with pytest.raises(StoreError, match="damaged"):
            unpack(bad)


def test_the_default_place_is_the_users_data_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("platformdirs.user_data_path", lambda name: tmp_path / name)
    store = RunStore()
    assert store.path == tmp_path / "vislib" / "runs.sqlite"
    assert store.path.is_file()
    store.close()
