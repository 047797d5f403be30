"""The order in which jobs are computed: turns, answers between two steps, and who waits for whom."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from job_making import LONG, Gate, endless, until
from synthetic import climb, frame

from vislib.frames import Frame
from vislib.jobs import GRACE, Job, Latest, Runner
from vislib.turns import ASIDE, Turn


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
