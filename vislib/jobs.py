"""Job, a run being computed, and Runner, which computes jobs one step at a time on one thread a device."""

import atexit
import logging
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

from vislib.errors import VislibError, out_of_memory
from vislib.frames import History
from vislib.turns import ASIDE, Turn

State = Literal["queued", "running", "paused", "done", "cancelled", "failed"]
ENDED: tuple[State, ...] = ("done", "cancelled", "failed")

GRACE = 0.06  # seconds: two ticks of a page, so that it can see one answer and ask the next question
PATIENCE = 0.25  # seconds that a brief job waits for a step of other work, before it is computed beside it
BESIDE = 2  # brief jobs that are computed beside a long step, at most

T = TypeVar("T")

_log = logging.getLogger(__name__)


@runtime_checkable
class Step(Protocol):
    """One partial result of long work: a `Frame`, an `Attribution`."""

    @property
    def step(self) -> int:
        """How far the work is."""


@runtime_checkable
class Record(Protocol):
    """Where a job's results go: a `History`, or `Latest`."""

    def append(self, frame: Any) -> None:
        """Take the next result."""

    def finish(self) -> None:
        """The work has ended."""


class Latest:
    """Keeps the newest result alone, for work whose earlier results nobody asks for again."""

    def __init__(self) -> None:
        self.result: Any = None

    def append(self, frame: Any) -> None:
        """Take the place of the result before."""
        self.result = frame

    def finish(self) -> None:
        """Keep it."""


class Job:
    """Long work that yields frames into a history, and Turns between two of them where others may come in.

    `frames` is called with a checkpoint to go on from, or None, once the job's turn has come; cancelling closes the
    generator that it returned. A `brief` job answers a question: it does not wait for a long step of other work.
    Listeners are called on the runner's threads, and one that raises is logged and otherwise ignored:

    on_frame  after each frame has been appended to the history, before the next one is asked for
    on_state  when the job starts, is paused, goes on or has ended; the generator is not closed yet
    on_end    when the job has ended and its generator is closed
    """

    def __init__(
        self,
        title: str,
        frames: Callable[[bytes | None], Iterator[Step | Turn]],
        *,
        history: Record | None = None,
        interactive: bool = False,
        brief: bool = False,
        steps: int | None = None,
        checkpoint: bytes | None = None,
    ) -> None:
        self.id = uuid.uuid4().hex[:12]
        self.title = title
        self.frames = frames
        self.history: Record = History(planned=steps) if history is None else history
        self.interactive = interactive
        self.brief = brief
        self.steps = steps
        self.checkpoint = checkpoint
        self.state: State = "queued"
        self.error: str | None = None
        self.step = 0
        self.turn: Turn | None = None  # how far the next step is; None where it came as one piece
        self._pace: tuple[tuple[float, int], ...] = ()  # when the newest frames came
        self._frame_listeners: list[Callable[[Any], object]] = []
        self._state_listeners: list[Callable[[Job], object]] = []
        self._end_listeners: list[Callable[[Job], object]] = []
        self._submitted = False
        self._iterator: Iterator[Step | Turn] | None = None
        self._wish: Literal["pause", "resume", "cancel"] | None = None
        self._over = threading.Event()

    @property
    def wish(self) -> str | None:
        """What was asked of it (pause, resume, cancel) and not yet done."""
        return self._wish

    @property
    def rate(self) -> float:
        """Steps a second over the last frames, other jobs' turns included; 0 until two frames have come."""
        pace = self._pace
        if len(pace) < 2 or pace[-1][0] <= pace[0][0]:
            return 0.0
        return (pace[-1][1] - pace[0][1]) / (pace[-1][0] - pace[0][0])

    def on_frame(self, listener: Callable[[Any], object]) -> None:
        self._frame_listeners.append(listener)

    def on_state(self, listener: Callable[["Job"], object]) -> None:
        self._state_listeners.append(listener)

    def on_end(self, listener: Callable[["Job"], object]) -> None:
        self._end_listeners.append(listener)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the job has ended; False when first `timeout` (s) passed or its runner was shut down."""
        self._over.wait(timeout)
        return self._over.is_set() and self.state in ENDED


class Runner:
    """Computes the jobs of one device on one thread, which starts with the first job, one step or Turn at a time.

    Interactive jobs go first; among equals each makes a step in turn. For GRACE seconds after an interactive one
    has ended, others wait for the next: the answer to one question is often what the next is asked of. Where a step
    takes longer than PATIENCE, brief jobs are computed beside it, on threads of their own, and an ascent stands aside
    for them between two operations; no job is ever stepped by two threads at once. What is asked of a job (pause,
    resume, cancel) is done between two steps or Turns; the last wish counts, and nothing undoes a cancel. Of the jobs
    that have ended the newest `keep` are remembered.
    """

    def __init__(self, device: str = "cpu", *, keep: int = 8) -> None:
        self.device = device
        self._changed = threading.Condition()
        self._queue: deque[Job] = deque()  # not ended; the next in turn first
        self._ended: deque[Job] = deque(maxlen=keep)
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._grace = 0.0  # until when nothing but interactive jobs makes a step
        self._busy: dict[Job, float] = {}  # jobs that are making a step, and since when
        self._beside: list[threading.Thread] = []

    def submit(self, job: Job) -> Job:
        """Queue a job; VislibError after a shutdown, ValueError for a job that was submitted before."""
        with self._changed:
            if self._stopping:
                raise VislibError(f"The runner of {self.device} was shut down and takes no more jobs.")
            if job._submitted:
                raise ValueError(f"the job {job.title!r} was submitted before: make a new one")
            if self._thread is None:
                thread = threading.Thread(target=self._work, name=f"vislib runner {self.device}", daemon=True)
                thread.start()
                self._thread = thread
                # a daemon thread that is still computing while the interpreter is torn down can crash it
                atexit.register(self.shutdown, 5.0)
            if job.brief and not self._beside:
                self._start_beside()
            job._submitted = True
            self._queue.append(job)
            self._changed.notify_all()
        return job

    def pause(self, job: Job) -> None:
        """Ask that the job make no more steps; its generator stays open, so that resuming costs nothing."""
        self._ask(job, "pause")

    def resume(self, job: Job) -> None:
        """Ask that a paused job go on."""
        self._ask(job, "resume")

    def cancel(self, job: Job) -> None:
        """Ask that the job end; its generator is closed."""
        self._ask(job, "cancel")

    def jobs(self) -> list[Job]:
        """The newest jobs that have ended, then those that have not."""
        with self._changed:
            return [*self._ended, *self._queue]

    def shutdown(self, timeout: float | None = 10.0) -> bool:
        """Stop after the current step: jobs that have not ended stay paused, their generators closed.

        Returns whether the thread has ended within `timeout` seconds; if not it ends with its current step.
        """
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
            thread = self._thread
        if thread is None or thread is threading.current_thread():
            return True
        thread.join(timeout)
        atexit.unregister(self.shutdown)
        return not thread.is_alive()

    def _ask(self, job: Job, wish: Literal["pause", "resume", "cancel"]) -> None:
        with self._changed:
            if job in self._queue and job._wish != "cancel":
                job._wish = wish
                self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._hold()
                while (job := self._next()) is None and not self._stopping:
                    self._changed.wait()
                if self._stopping:
                    break
                assert job is not None
                wish, job._wish = job._wish, None
                self._busy[job] = time.monotonic()
                self._changed.notify_all()  # whoever works beside it counts the time from now
            if wish is None:
                self._advance(job)
            elif wish == "cancel":
                self._end(job, "cancelled")
            else:
                self._pause(job)
            self._free(job)
            del job  # an idle thread holds on to nothing
        for thread in self._beside:
            thread.join()
        for job in list(self._queue):
            if job._wish == "cancel":
                self._end(job, "cancelled")
            else:
                self._abandon(job)

    def _start_beside(self) -> None:
        for number in range(BESIDE):
            name = f"vislib runner {self.device}, beside {number + 1}"
            thread = threading.Thread(target=self._work_beside, name=name, daemon=True)
            thread.start()
            self._beside.append(thread)

    def _work_beside(self) -> None:
        """Step brief jobs while every other thread is in a step that takes long."""
        while True:
            with self._changed:
                while (job := self._waiting()) is None and not self._stopping:
                    self._changed.wait(self._patience())
                if self._stopping or job is None:
                    return
                self._busy[job] = time.monotonic()
            with ASIDE.answering():
                self._advance(job)
            self._free(job)
            del job

    def _waiting(self) -> Job | None:
        """The brief job that has waited long enough for the steps that are being made."""
        if not self._busy or self._patience() != 0:
            return None
        return next((job for job in self._queue if self._may_beside(job)), None)

    def _may_beside(self, job: Job) -> bool:
        return job.brief and job not in self._busy and job.state != "paused" and job._wish is None

    def _patience(self) -> float | None:
        """Seconds until all the steps that are being made have taken long; None: nobody waits for them."""
        if not self._busy or not any(self._may_beside(job) for job in self._queue):
            return None
        return max(0.0, max(self._busy.values()) + PATIENCE - time.monotonic())

    def _free(self, job: Job) -> None:
        with self._changed:
            self._busy.pop(job, None)
            self._changed.notify_all()

    def _hold(self) -> None:
        """Wait for another interactive job while the grace lasts; whatever is asked meanwhile ends the wait."""
        while (
            (left := self._grace - time.monotonic()) > 0
            and self._queue
            and not any(job.interactive or job._wish is not None for job in self._queue)
            and not self._stopping
        ):
            self._changed.wait(left)

    def _next(self) -> Job | None:
        """The job whose turn it is, to be paused, cancelled or stepped; None when there is nothing to do."""
        free = [job for job in self._queue if job not in self._busy]
        for job in free:
            if job._wish == "resume" and job.state == "paused":
                job.state = "queued"
            if job._wish == "resume" or (job._wish == "pause" and job.state == "paused"):
                job._wish = None
            if job._wish is not None:
                return job
        ready = [job for job in free if job.state != "paused"]
        if not ready:
            return None
        chosen = next((job for job in ready if job.interactive), ready[0])
        self._queue.remove(chosen)
        self._queue.append(chosen)
        return chosen

    def _advance(self, job: Job) -> None:
        if job.state != "running":
            job._pace = ()
            job.state = "running"
            _tell(job._state_listeners, job)
        try:
            if job._iterator is None:
                job._iterator = iter(job.frames(job.checkpoint))
            frame = next(job._iterator)
            if not isinstance(frame, Turn):
                job.history.append(frame)
        except StopIteration:
            self._end(job, "done")
        except BaseException as error:  # whatever the work raised ends this job and no other
            job.error = sentence(error)
            traced = not isinstance(error, VislibError)
            _log.error("%s failed after step %d: %s", job.title, job.step, job.error, exc_info=traced)
            self._end(job, "failed")
        else:
            self._made(job, frame)

    def _made(self, job: Job, result: Step | Turn) -> None:
        if isinstance(result, Turn):
            job.turn = result
            return
        job.step, job.turn = result.step, None
        job._pace = (*job._pace[-31:], (time.monotonic(), result.step))
        _tell(job._frame_listeners, result)

    def _pause(self, job: Job) -> None:
        job._pace = ()  # `turn` stays: the generator is open in the middle of its step
        job.state = "paused"
        _tell(job._state_listeners, job)

    def _end(self, job: Job, state: State) -> None:
        job.state = state
        _tell(job._state_listeners, job)
        _close(job)
        _tell(job._end_listeners, job)
        with self._changed:
            if job.interactive:
                self._grace = time.monotonic() + GRACE
            self._queue.remove(job)
            self._busy.pop(job, None)
            self._ended.append(job)
        job._over.set()

    def _abandon(self, job: Job) -> None:
        if job.state != "paused":
            self._pause(job)
        _close(job)
        job._over.set()


def sentence(error: BaseException) -> str:
    """One sentence for the user that says why work failed."""
    if isinstance(error, VislibError):
        return str(error)
    text = " ".join(str(error).split())
    kind = type(error).__name__
    if out_of_memory(error):
        return "The memory of this machine ran out: choose fewer units or a smaller image."
    return f"{kind}: {text[:300]}" if text else f"{kind} was raised without a message."


def _tell(listeners: list[Callable[[T], object]], about: T) -> None:
    for listener in list(listeners):
        try:
            listener(about)
        except Exception:
            _log.exception("a listener failed; the job goes on")


def _close(job: Job) -> None:
    iterator, job._iterator = job._iterator, None
    try:
        close = getattr(iterator, "close", None)
        if close is not None:
            close()
    except BaseException:
        _log.exception("%s failed while it was being closed", job.title)
    job.history.finish()
