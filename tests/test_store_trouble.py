"""Files that cannot be used: the run goes on in memory, one sentence says so, and nothing stored is lost."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from job_making import LONG, until
from synthetic import climb

from vislib import owner
from vislib.errors import StoreError
from vislib.jobs import Job, Runner
from vislib.store import RunStore, spec_id

SPEC = {"method": "synthetic", "layer": "conv1"}
OTHER = {"method": "synthetic", "layer": "conv2"}


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "runs.sqlite"


@pytest.fixture
def runner() -> Iterator[Runner]:
    runner = Runner()
    yield runner
    assert runner.shutdown(LONG)


def eager(path: Path) -> RunStore:
    return RunStore(path, frame_seconds=0.0, checkpoint_seconds=0.0)


def run(runner: Runner, store: RunStore, spec=SPEC, *, steps: int = 30) -> Job:
    job = Job("climb", lambda checkpoint: climb(checkpoint, steps=steps), steps=steps)
    store.record(job, spec)
    assert runner.submit(job).wait(LONG)
    assert (job.state, job.step) == ("done", steps)
    return job


def stored_run(path: Path, runner: Runner) -> str:
    store = RunStore(path)
    run(runner, store)
    store.close()
    return spec_id(SPEC)


def one_sentence(store: RunStore, *parts: str) -> None:
    assert store.problem is not None
    assert store.problem.startswith(f"The run store {store.path} ")
    assert store.problem.endswith(".")
    assert "\n" not in store.problem
    for part in (*parts, "in memory"):
        assert part in store.problem


def works_in_memory(store: RunStore, runner: Runner) -> None:
    assert store.list() == []
    job = run(runner, store)
    stored = store.find(SPEC)
    assert stored.state == "done"
    assert stored.history.film(0) == job.history.film(0)
    store.rename(stored.id, "renamed")
    assert [one.title for one in store.list()] == ["renamed"]
    store.delete(stored.id)
    assert store.list() == []


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def database_of(path: Path, *statements: str) -> None:
    raw = sqlite3.connect(path)
    for statement in statements:
        raw.execute(statement)
    raw.commit()
    raw.close()


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: path.mkdir(), "is no file"),
        (os.mkfifo, "is no file"),
        (lambda path: path.write_text("my shopping list"), "is no database"),
        (lambda path: path.write_bytes(b"SQLite format 3\0" + bytes(200)), "is damaged or no database"),
        (lambda path: database_of(path, "CREATE TABLE mine (x)"), "database of another program"),
        (
            lambda path: database_of(path, "PRAGMA user_version=1", "CREATE TABLE mine (x)"),
            "another program",
        ),
        (lambda path: database_of(path, "PRAGMA application_id=7", "CREATE TABLE t (x)"), "another program"),
    ],
)
def test_a_file_that_is_no_run_store_is_left_untouched(path, runner, make, why):
    make(path)
    before = contents(path.parent)
    store = RunStore(path)
    one_sentence(store, why, "--store")
    works_in_memory(store, runner)
    store.close()
    assert contents(path.parent) == before


@pytest.mark.parametrize("place", ["file/below/runs.sqlite", "/proc/vislib/runs.sqlite"])
def test_a_folder_that_cannot_be_made(tmp_path, runner, place):
    (tmp_path / "file").write_text("in the way")
    store = RunStore(tmp_path / place)
    one_sentence(store)
    works_in_memory(store, runner)
    store.close()


@pytest.mark.parametrize("logged", [False, True])
def test_a_store_of_another_version_is_left_untouched(path, runner, logged):
    stored_run(path, runner)
    database_of(path, "PRAGMA user_version=2")
    if logged:  # and also where its latest state stands in the log only, as after a kill
        raw = sqlite3.connect(path)
        raw.execute("UPDATE runs SET title='later'")
        raw.commit()
        shutil.copytree(path.parent, path.parent.parent / "copy")
        raw.close()
        path = path.parent.parent / "copy" / path.name
        assert path.with_name("runs.sqlite-wal").stat().st_size
    before = contents(path.parent)
    store = RunStore(path)
    one_sentence(store, "another version of vislib", "its format is 2, not 1")
    works_in_memory(store, runner)
    store.close()
    assert contents(path.parent) == before
    if logged:
        shutil.rmtree(path.parent)


def test_a_full_disk_while_a_run_climbs(path, runner):
    """SQLite's own limit on the file's pages stands in for the disk: writing fails with the same error."""
    first = stored_run(path, runner)
    store = eager(path)
    pages = store.database.write(lambda connection: connection.execute("PRAGMA page_count").fetchone()[0])
    store.database.write(lambda connection: connection.execute(f"PRAGMA max_page_count={pages + 8}"))
    job = Job("climb", lambda data: climb(data, steps=200, shape=(1, 40, 40)), steps=200)
    store.record(job, OTHER)
    problems = set()
    job.on_frame(lambda _: problems.add(store.problem))
    assert runner.submit(job).wait(LONG)
    assert (job.state, job.error, job.step) == ("done", None, 200)
    one_sentence(store, "disk is full", "kept again once there is room")
    assert store.find(SPEC).state == "done", "what was stored before is still there"
    assert len(job.history.film(0)) > 50
    # room again: the next run is kept, and with it the one that could not be
    store.database.write(lambda connection: connection.execute("PRAGMA max_page_count=100000"))
    run(runner, store, {**SPEC, "layer": "conv3"})
    assert store.problem is None
    again = store.find(OTHER)
    assert (again.state, again.step) == ("done", 200)
    assert again.history.film(1) == job.history.film(1)
    assert {one.id for one in store.list()} == {first, spec_id(OTHER), spec_id({**SPEC, "layer": "conv3"})}
    store.close()


def test_a_run_that_could_not_be_kept_is_written_at_the_latest_when_the_store_is_closed(path, runner):
    store = eager(path)
    store.database.write(lambda connection: connection.execute("PRAGMA max_page_count=1"))
    job = run(runner, store)
    assert store.problem is not None
    assert store.list() == []
    store.database.write(lambda connection: connection.execute("PRAGMA max_page_count=100000"))
    store.close()
    store = RunStore(path)
    assert store.find(SPEC).history.film(0) == job.history.film(0)
    store.close()


def test_a_file_that_becomes_read_only_while_a_run_climbs(path, runner):
    """query_only makes SQLite refuse to write with the error of a read-only file, for root too."""
    store = eager(path)
    job = Job("climb", lambda data: climb(data, steps=10**9, seconds=0.0005))
    store.record(job, SPEC)
    runner.submit(job)
    until(lambda: store.list() and store.list()[0].step > 2)
    store.database._writer.execute("PRAGMA query_only=1")
    until(lambda: store.problem is not None)
    one_sentence(store, "cannot be written")
    with pytest.raises(StoreError, match="cannot be written"):
        store.rename(spec_id(SPEC), "x")
    with pytest.raises(StoreError, match="cannot be written"):
        store.delete(spec_id(SPEC))
    stored, step = store.find(SPEC).step, job.step
    until(lambda: job.step > step + 5)
    assert store.find(SPEC).step == stored
    store.database._writer.execute("PRAGMA query_only=0")
    until(lambda: store.problem is None)
    assert store.find(SPEC).step > stored
    runner.cancel(job)
    assert job.wait(LONG)
    assert store.find(SPEC).history.film(0) == job.history.film(0)
    store.close()


def test_a_file_that_another_program_keeps_locked(path, runner, monkeypatch):
    monkeypatch.setattr("vislib.database.BUSY_SECONDS", 0.02)
    first = stored_run(path, runner)
    store = eager(path)
    raw = sqlite3.connect(path, isolation_level=None)
    raw.execute("BEGIN IMMEDIATE")
    run(runner, store, OTHER, steps=5)
    one_sentence(store, "locked by another program")
    assert [one.id for one in store.list()] == [first], "reading goes on meanwhile"
    raw.execute("COMMIT")
    store.retry()
    assert store.problem is None
    assert store.find(OTHER).state == "done"
    raw.execute("BEGIN IMMEDIATE")
    late = RunStore(path)  # also opening it waits for nobody for long
    raw.execute("COMMIT")
    raw.close()
    assert {one.id for one in late.list()} == {first, spec_id(OTHER)}
    run(runner, late, {**SPEC, "layer": "conv3"}, steps=2)
    assert late.problem is None
    late.close()
    store.close()


def test_a_file_damaged_in_the_middle(path, runner):
    stored_run(path, runner)
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(size - 4096))
    store = RunStore(path)
    assert store.list() == []
    assert store.find(SPEC) is None
    one_sentence(store, "is damaged")
    run(runner, store, OTHER)
    store.close()


READ = """
import os, sys
from pathlib import Path
from vislib.store import RunStore
from vislib.jobs import Job, Runner
from synthetic import climb
from test_store_trouble import SPEC, run
list(climb(steps=1))
Job("warm", climb).history.append(next(climb()))
if os.geteuid() == 0:  # root may write everything
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
store, runner = RunStore(Path(sys.argv[1])), Runner()
print(store.problem)
print([(one.title, one.state) for one in store.list()], len(store.find(SPEC).history.film(0)))
print(run(runner, store, {"method": "new"}).state, len(store.list()), runner.shutdown())
store.close()
"""


@pytest.mark.parametrize("folder", [0o755, 0o555])
def test_a_read_only_file_is_read(runner, folder):
    place = Path(tempfile.mkdtemp(prefix="vislib-"))  # others may not enter tmp_path
    try:
        stored_run(place / "runs.sqlite", runner)
        (place / "runs.sqlite").chmod(0o444)
        place.chmod(folder)
        before = contents(place)
        ask = [sys.executable, "-c", READ, str(place / "runs.sqlite")]
        answer = subprocess.run(ask, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
        assert answer.returncode == 0, answer.stderr
        problem, listed, job = answer.stdout.splitlines()
        assert problem.startswith(f"The run store {place / 'runs.sqlite'} cannot be")
        assert listed == "[('climb', 'done')] 31"
        assert job == "done 1 True"
        assert {name: data for name, data in contents(place).items() if name in before} == before
    finally:
        place.chmod(0o755)
        shutil.rmtree(place)


def test_memory_that_stands_in_for_a_file_is_bounded(path, runner, monkeypatch):
    monkeypatch.setattr("vislib.database.MEMORY_PAGES", 40)
    path.mkdir()
    store = RunStore(path)
    for seed in range(8):
        run(runner, store, {**SPEC, "seed": seed})
    assert len(store.list()) > 0
    pages = store.database.read(lambda connection: connection.execute("PRAGMA page_count").fetchone()[0])
    assert 20 < pages <= 40
    store.close()


def test_owners(monkeypatch):
    mine = owner.claim()
    assert owner.alive(mine, 0)
    owner.release(mine)
    assert not owner.alive(mine, time.time())
    assert not owner.alive(None, time.time())
    assert not owner.alive("junk", time.time())
    script = "import time; from vislib import owner; print(owner.claim(), flush=True); time.sleep(60)"
    other = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    theirs = other.stdout.readline().strip()
    assert owner.alive(theirs, 0)
    host, pid, started, token = json.loads(theirs)
    assert not owner.alive(json.dumps([host, pid, f"{started}0", token]), time.time()), (
        "the id was given anew"
    )
    elsewhere = json.dumps(["another host", pid, started, token])
    assert owner.alive(elsewhere, time.time() - 10)
    assert not owner.alive(elsewhere, time.time() - 1000)
    os.kill(other.pid, 9)
    until(lambda: not owner.alive(theirs, time.time()))  # a zombie counts as gone
    other.wait()
    assert not owner.alive(theirs, time.time())
    other.stdout.close()
