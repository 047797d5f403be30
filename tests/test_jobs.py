"""Jobs and runners: order of work, wishes, failures, and that no sequence of them loses a job or a thread."""

import gc
import logging
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import climb, frame

from vislib.errors import AscentError, VislibError
from vislib.frames import Frame
from vislib.jobs import ENDED, GRACE, Job, Latest, Runner
from vislib.turns import ASIDE, Turn

LONG = 20.0  # seconds that a test waits for something that comes at once


@pytest.fixture
def runner() -> Iterator[Runner]:
    runner = Runner()
    yield runner
    assert runner.shutdown(LONG)


def endless(log: list | None = None, name: str = "") -> Callable[[bytes | None], Iterator[Frame]]:
    """Frames without end; each step, and the closing, is written into the log."""

    def frames(_: bytes | None) -> Iterator[Frame]:
        step = 0
        try:
            while True:
                if log is not None:
                    log.append(f"{name}{step}")
                yield frame(step, [0.0], size=1)
                step += 1
        finally:
            if log is not None:
                log.append(f"{name}closed")

    return frames


def raising(error: BaseException, after: int = 2) -> Callable[[bytes | None], Iterator[Frame]]:
    def frames(_: bytes | None) -> Iterator[Frame]:
        for step in range(after):
            yield frame(step, [0.0], size=1)
        raise error

    return frames


class Gate:
    """Holds the runner's thread in a step until opened, so that what is submitted meanwhile waits."""

    def __init__(self, runner: Runner) -> None:
        self.entered, self.opened = threading.Event(), threading.Event()

        def frames(_: bytes | None) -> Iterator[Frame]:
            self.entered.set()
            self.opened.wait(LONG)
            yield frame(0, [0.0], size=1)

        self.job = runner.submit(Job("gate", frames))
        assert self.entered.wait(LONG)


def until(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(int(LONG / 0.002)):
        if condition():
            return
        pause.wait(0.002)
    raise AssertionError("it never came true")


def test_a_job_runs_to_its_end(runner):
    states, steps, ended = [], [], []
    job = Job("climb", lambda checkpoint: climb(checkpoint, steps=30), steps=30)
    job.on_state(lambda job: states.append(job.state))
    job.on_frame(lambda one: steps.append(one.step))
    job.on_end(lambda job: ended.append((job.state, job.history.latest.step)))
    assert (job.state, job.rate, job.wait(0)) == ("queued", 0.0, False)
    assert runner.submit(job) is job
    assert job.wait(LONG)
    assert (job.state, job.error, job.step) == ("done", None, 30)
    assert states == ["running", "done"]
    assert steps == list(range(31))
    assert ended == [("done", 30)]
    assert job.rate > 0
    assert job.history.latest.snapshot is None  # nothing holds on to what the generator used
    assert runner.jobs() == [job]


def test_a_checkpoint_reaches_the_generator(runner):
    straight = list(climb(steps=20))
    checkpoint = straight[12].snapshot()
    job = Job("climb", lambda checkpoint: climb(checkpoint, steps=20), checkpoint=checkpoint)
    assert runner.submit(job).wait(LONG)
    assert job.history.steps()[0] == 12
    assert (job.history.latest.images == straight[20].images).all()


def test_jobs_take_turns_step_by_step(runner):
    gate = Gate(runner)
    log: list[str] = []

    def three(name: str) -> Callable[[bytes | None], Iterator[Frame]]:
        def frames(_: bytes | None) -> Iterator[Frame]:
            for step in range(3):
                log.append(f"{name}{step}")
                yield frame(step, [0.0], size=1)

        return frames

    jobs = [runner.submit(Job(name, three(name))) for name in "abc"]
    jobs.append(runner.submit(Job("i", three("i"), interactive=True)))
    gate.opened.set()
    assert all(job.wait(LONG) for job in jobs)
    assert log == ["i0", "i1", "i2", *[f"{name}{step}" for step in range(3) for name in "abc"]]


def test_an_interactive_job_is_answered_between_two_steps(runner):
    log: list[str] = []
    long = runner.submit(Job("long", endless(log, "long")))
    until(lambda: long.step > 3)
    quick = Job("quick", lambda _: climb(steps=2), interactive=True)
    seen = []
    quick.on_frame(lambda _: seen.append(len(log)))
    assert runner.submit(quick).wait(LONG)
    assert len(set(seen)) == 1, "the long job stepped in between"
    runner.cancel(long)
    assert long.wait(LONG)


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


def test_a_job_of_anything_that_counts_its_steps_keeps_the_newest_result(runner: Runner) -> None:
    @dataclass
    class Guess:
        step: int

    latest = Latest()
    job = runner.submit(Job("guesses", lambda _: map(Guess, range(5)), history=latest))
    assert job.wait(LONG)
    assert job.state == "done"
    assert (job.step, latest.result) == (4, Guess(4))


def test_long_work_waits_a_moment_for_the_next_question_after_an_answer(runner: Runner) -> None:
    order: list[str] = []

    def work(name: str, steps: int) -> Iterator[Frame]:
        for step in range(steps):
            order.append(name)
            yield frame(step, [0.0])

    started = threading.Event()
    long = Job("long", lambda _: work("long", 100_000))
    long.on_frame(lambda _: started.set())
    runner.submit(long)
    assert started.wait(LONG)
    first = Job("first", lambda _: work("first", 1), interactive=True)
    second = Job("second", lambda _: work("second", 1), interactive=True)
    first.on_end(lambda _: threading.Timer(GRACE / 4, lambda: runner.submit(second)).start())
    runner.submit(first)
    assert first.wait(LONG)
    deadline = time.monotonic() + LONG
    while second.state != "done" and time.monotonic() < deadline:
        time.sleep(0.001)
    between = order[order.index("first") + 1 : order.index("second")]
    assert between == []
    count = len(order)
    deadline = time.monotonic() + LONG
    while len(order) < count + 3 and time.monotonic() < deadline:  # and then it goes on
        time.sleep(0.001)
    assert len(order) >= count + 3
    runner.cancel(long)
    assert long.wait(LONG)


def test_a_brief_job_does_not_wait_for_a_long_step(runner):
    gate = Gate(runner)
    long = runner.submit(Job("long", endless(), interactive=True))
    brief = Job("brief", lambda _: climb(steps=3), interactive=True, brief=True)
    threads: set[str] = set()
    brief.on_frame(lambda _frame: threads.add(threading.current_thread().name))
    assert runner.submit(brief).wait(LONG)
    assert (brief.state, brief.step) == ("done", 3)
    assert all("beside" in name for name in threads)
    assert (gate.job.state, long.state) == ("running", "queued")  # what is not brief waits
    gate.opened.set()
    until(lambda: long.step > 3)
    runner.cancel(long)
    assert long.wait(LONG)


def test_a_second_brief_job_does_not_wait_for_a_long_first_one(runner):
    gate = Gate(runner)
    entered, opened = threading.Event(), threading.Event()

    def slow(_: bytes | None) -> Iterator[Frame]:
        entered.set()
        opened.wait(LONG)
        yield frame(0, [0.0], size=1)

    first = runner.submit(Job("slow answer", slow, interactive=True, brief=True))
    assert entered.wait(LONG)
    second = runner.submit(Job("answer", lambda _: climb(steps=1), interactive=True, brief=True))
    assert second.wait(LONG)
    assert first.state == "running"
    runner.cancel(first)  # done when its step has ended
    opened.set()
    gate.opened.set()
    assert first.wait(LONG)
    assert first.state == "cancelled"


def test_a_turn_is_no_result_and_lets_a_wish_in(runner):
    def frames(_: bytes | None) -> Iterator[Frame | Turn]:
        for step in range(10**6):
            yield Turn(step, 1, 2)
            yield frame(step, [0.0], size=1)

    job = Job("pieces", frames)
    job.on_frame(lambda one: runner.pause(job) if one.step == 4 else None)
    runner.submit(job)
    until(lambda: job.state == "paused")
    assert (job.step, job.turn, job.history.latest.step) == (4, None, 4)
    runner.cancel(job)
    assert job.wait(LONG)


def test_long_work_stands_aside_while_an_answer_is_computed():
    passed = threading.Event()

    def work() -> None:
        ASIDE.stand()
        passed.set()

    with ASIDE.answering():
        thread = threading.Thread(target=work)
        thread.start()
        assert not passed.wait(0.05)
    assert passed.wait(LONG)
    thread.join()
    ASIDE.stand()  # nobody is answering: at once
