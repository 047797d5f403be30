"""How jobs pause and end: by a wish, by an error or with their runner, and no job or thread is ever lost."""

import gc
import logging
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from job_making import LONG, Gate, endless, until
from synthetic import climb, frame

from vislib.errors import AscentError, VislibError
from vislib.frames import Frame
from vislib.jobs import ENDED, Job, Runner


def raising(error: BaseException, after: int = 2) -> Callable[[bytes | None], Iterator[Frame]]:
    def frames(_: bytes | None) -> Iterator[Frame]:
        for step in range(after):
            yield frame(step, [0.0], size=1)
        raise error

    return frames


def test_cancel_closes_the_generator(runner):
    log: list[str] = []
    job = runner.submit(Job("long", endless(log)))
    order = []
    job.on_state(lambda _: order.append(log[-1]))
    job.on_end(lambda _: order.append(log[-1]))
    until(lambda: job.step > 2)
    runner.cancel(job)
    assert job.wait(LONG)
    assert (job.state, job.error, log[-1]) == ("cancelled", None, "closed")
    assert order[-2] != "closed", "a checkpoint must still be possible when the state changes"
    assert order[-1] == "closed"


def test_pause_keeps_the_generator_open_and_resume_goes_on(runner):
    log: list[str] = []
    job = runner.submit(Job("long", endless(log)))
    until(lambda: job.step > 2)
    runner.pause(job)
    until(lambda: job.state == "paused")
    made = list(log)
    assert not job.wait(0.05)
    assert log == made
    assert "closed" not in log
    runner.resume(job)
    until(lambda: len(log) > len(made) + 3)
    assert log == [str(step) for step in range(len(log))]
    assert job.state == "running"
    runner.cancel(job)
    assert job.wait(LONG)


@pytest.mark.parametrize("interactive", [False, True])
def test_wishes_before_the_first_step(runner, interactive):
    gate = Gate(runner)
    log: list[str] = []
    jobs = [
        Job(name, endless(log, name), interactive=interactive) for name in ("cancelled", "paused", "both")
    ]
    back = Job("back", lambda _: climb(steps=1))
    for job in [*jobs, back]:
        runner.submit(job)
    runner.cancel(jobs[0])
    runner.resume(jobs[0])  # nothing undoes a cancel
    runner.pause(jobs[1])
    runner.pause(jobs[2])
    runner.cancel(jobs[2])
    runner.pause(back)
    runner.resume(back)
    gate.opened.set()
    assert all(job.wait(LONG) for job in (jobs[0], jobs[2], back))
    until(lambda: jobs[1].state == "paused")
    assert [job.state for job in jobs] == ["cancelled", "paused", "cancelled"]
    assert back.state == "done"
    assert log == []


class OutOfMemoryError(RuntimeError):
    """As torch names its own."""


MEMORY = "The memory of this machine ran out: choose fewer units or a smaller image."


@pytest.mark.parametrize(
    ("error", "sentence", "traced"),
    [
        (AscentError("Unit 3 is dead: choose another."), "Unit 3 is dead: choose another.", False),
        (ValueError("bad\n  value"), "ValueError: bad value", True),
        (KeyboardInterrupt(), "KeyboardInterrupt was raised without a message.", True),
        (SystemExit(3), "SystemExit: 3", True),
        (MemoryError(), MEMORY, True),
        (OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), MEMORY, True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes"), MEMORY, True),
    ],
)
def test_failure_is_one_sentence_and_the_others_go_on(runner, caplog, error, sentence, traced):
    other = runner.submit(Job("other", lambda _: climb(steps=30)))
    with caplog.at_level(logging.ERROR):
        job = runner.submit(Job("work", raising(error)))
        assert job.wait(LONG)
    assert (job.state, job.error, job.step) == ("failed", sentence, 1)
    assert sentence in caplog.text
    assert ("Traceback" in caplog.text) == traced
    assert other.wait(LONG)
    assert other.state == "done"


def test_failing_before_the_first_frame(runner):
    def broken(_: bytes | None) -> Iterator[Frame]:
        raise NameError("no such thing")

    job = runner.submit(Job("broken", broken))
    assert job.wait(LONG)
    assert (job.state, job.error) == ("failed", "NameError: no such thing")


def test_no_frames_at_all_is_done(runner):
    job = runner.submit(Job("nothing", lambda _: iter(())))
    assert job.wait(LONG)
    assert (job.state, job.history.latest) == ("done", None)


def test_a_frame_that_cannot_be_kept_fails_the_job_and_closes_it(runner, caplog):
    log: list[str] = []

    def frames(_: bytes | None) -> Iterator[Frame]:
        try:
            yield frame(0, [1.0, 2.0], size=2)
            bad = frame(1, [1.0, 2.0], size=2)
            yield Frame(1, bad.images, bad.scores, {"norm": bad.scores[:0].repeat(1).reshape(0, 5)})
        finally:
            log.append("closed")

    job = runner.submit(Job("bad", frames))
    assert job.wait(LONG)
    assert job.state == "failed"
    assert log == ["closed"]


@pytest.mark.parametrize("error", [ValueError("in close"), GeneratorExit(), None])
def test_a_generator_that_misbehaves_in_close(runner, caplog, error):
    def frames(_: bytes | None) -> Iterator[Frame]:
        step = 0
        while True:
            try:
                yield frame(step, [0.0], size=1)
            except GeneratorExit:
                if error is not None:
                    raise error from None
                yield frame(step, [0.0], size=1)  # refuses to end
            step += 1

    job = runner.submit(Job("stubborn", frames))
    until(lambda: job.step > 0)
    runner.cancel(job)
    assert job.wait(LONG)
    assert job.state == "cancelled"
    after = runner.submit(Job("after", lambda _: climb(steps=1)))
    assert after.wait(LONG)


def test_a_listener_that_raises_is_logged(runner, caplog):
    job = Job("climb", lambda _: climb(steps=3))
    for listen in (job.on_frame, job.on_state, job.on_end):
        listen(lambda _: 1 / 0)
    assert runner.submit(job).wait(LONG)
    assert job.state == "done"
    assert caplog.text.count("ZeroDivisionError: division by zero") == 4 + 2 + 1


def test_shutdown_leaves_jobs_paused_and_closed():
    runner = Runner("cuda:7")
    log: list[str] = []
    jobs = [runner.submit(Job(str(one), endless(log, f"{one} "))) for one in range(3)]
    states: list[str] = []
    jobs[0].on_state(lambda job: states.append(job.state))
    until(lambda: all(job.step > 1 for job in jobs))
    runner.pause(jobs[2])
    waiting = threading.Thread(target=jobs[1].wait)
    waiting.start()
    assert runner.shutdown(LONG)
    assert runner.shutdown(LONG)
    waiting.join(LONG)
    assert not waiting.is_alive()
    assert [job.state for job in jobs] == ["paused"] * 3
    assert not jobs[0].wait(0)
    assert states[-1] == "paused"
    assert sorted(log[-3:]) == ["0 closed", "1 closed", "2 closed"]
    with pytest.raises(VislibError, match="The runner of cuda:7 was shut down"):
        runner.submit(Job("late", endless()))
    assert not [thread for thread in threading.enumerate() if "cuda:7" in thread.name]


def test_shutdown_does_not_wait_for_a_step_that_hangs():
    runner = Runner()
    gate = Gate(runner)
    assert not runner.shutdown(0.05)
    gate.opened.set()
    assert runner.shutdown(LONG)
    assert gate.job.state == "paused"


def test_a_runner_without_jobs_has_no_thread():
    before = threading.active_count()
    runner = Runner()
    assert threading.active_count() == before
    assert runner.shutdown()
    assert runner.jobs() == []


def test_a_job_is_submitted_once(runner):
    job = runner.submit(Job("climb", lambda _: climb(steps=1)))
    assert job.wait(LONG)
    with pytest.raises(ValueError, match="submitted before"):
        runner.submit(job)
    stranger = Job("stranger", endless())
    runner.cancel(stranger)
    runner.cancel(job)
    assert (stranger.state, job.state) == ("queued", "done")


def test_jobs_that_have_ended_are_let_go():
    runner = Runner(keep=3)
    histories = []
    for _ in range(10):
        job = Job("climb", lambda _: climb(steps=1))
        histories.append(weakref.ref(job.history))
        assert runner.submit(job).wait(LONG)
    until(lambda: len(runner.jobs()) == 3)
    del job
    gc.collect()
    assert sum(history() is not None for history in histories) == 3
    assert runner.shutdown(LONG)


def test_the_interpreter_ends_while_a_job_climbs():
    script = (
        "from synthetic import climb\nfrom vislib.jobs import Job, Runner\n"
        "runner = Runner()\njob = runner.submit(Job('long', lambda _: climb(steps=10**9)))\n"
        "job.on_end(print)\njob.on_state(lambda job: print(job.state))\n"
        "while job.step < 3: pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr, done.stdout.split()[-1]) == (0, "", "paused")


KINDS = {
    "short": lambda _: climb(steps=3, units=1, shape=(1, 2, 2)),
    "endless": endless(),
    "fails": raising(ValueError("no")),
    "fails at once": raising(MemoryError(), after=0),
    "bad close": raising(GeneratorExit()),
}
ACTS = st.one_of(
    st.tuples(st.just("submit"), st.sampled_from(sorted(KINDS)), st.booleans()),
    st.tuples(st.sampled_from(["pause", "resume", "cancel"]), st.integers(0, 6), st.just(False)),
    st.tuples(st.just("let run"), st.integers(0, 6), st.just(False)),
)


@settings(max_examples=60, deadline=None)
@given(acts=st.lists(ACTS, max_size=30))
def test_no_order_of_wishes_loses_a_job_or_a_thread(acts):
    logging.disable(logging.CRITICAL)
    runner = Runner(keep=4)
    jobs: list[Job] = []
    kinds: list[str] = []
    last: dict[Job, str] = {}
    ends: dict[Job, int] = {}
    try:
        for act, which, interactive in acts:
            if act == "submit":
                job = Job(which, KINDS[which], interactive=interactive)
                job.on_end(lambda job: ends.update({job: ends.get(job, 0) + 1}))
                jobs.append(runner.submit(job))
                kinds.append(which)
            elif jobs and act == "let run":
                job = jobs[which % len(jobs)]
                job.wait(0.002)
            elif jobs:
                job = jobs[which % len(jobs)]
                getattr(runner, act)(job)
                if last.get(job) != "cancel":
                    last[job] = act
        for job, kind in zip(jobs, kinds, strict=True):
            wish = last.get(job)
            if wish == "cancel":
                assert job.wait(LONG)
                assert job.state == "cancelled" or kind != "endless"
            elif wish == "pause":
                until(lambda job=job: job.state in ("paused", *ENDED))
                assert job.state == "paused" or kind != "endless"
            elif kind == "endless":
                until(lambda job=job: job.state in ("queued", "running"))
        # those that still climb must not keep the others from their end
        for job, kind in zip(jobs, kinds, strict=True):
            if kind == "endless" and last.get(job) not in ("pause", "cancel"):
                until(lambda job=job: job.state == "running" or any(one.interactive for one in jobs))
                runner.cancel(job)
                assert job.wait(LONG)
        for job in jobs:
            if last.get(job) != "pause":
                assert job.wait(LONG)
        until(lambda: sum(job.state in ENDED for job in runner.jobs()) <= 4)
        unfinished = {job for job in jobs if job.state not in ENDED}
        assert unfinished <= set(runner.jobs())
        assert all(job.state == "paused" for job in unfinished)
        for job in unfinished:
            runner.resume(job)
            runner.cancel(job)
            assert job.wait(LONG)
        assert ends == dict.fromkeys(jobs, 1)
        assert all(job._iterator is None for job in jobs)
    finally:
        assert runner.shutdown(LONG)
        logging.disable(logging.NOTSET)
    assert runner._thread is None or not runner._thread.is_alive()
