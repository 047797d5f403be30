"""A run as the page sees it: climbing here, climbing in another process, paused, ended or only stored."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dashboard.numbers import duration
from vislib import memory
from vislib.ascent import ascent_cost, ascent_turns, measure_ascent
from vislib.errors import VislibError
from vislib.frames import Frame, History
from vislib.jobs import Job, Latest
from vislib.network import Network
from vislib.pace import Cost
from vislib.store import StoredRun, spec_id
from vislib.turns import Turn

if TYPE_CHECKING:
    from dashboard.services import Services

_REREAD = 1.0  # seconds between looks at a run that another process computes
QUICK = 2.0  # seconds of a step, above which nothing climbs by itself


@dataclass(frozen=True)
class _Measured:
    """What a row was measured to take, as a job's result."""

    step: int
    cost: Cost


class Run:
    """One spec with its history; every session that shows it shares this object.

    `state` is "new", a job's state (queued, running, paused, done, cancelled, failed), "interrupted" (its
    process is gone) or "elsewhere" (another process computes it).
    """

    def __init__(
        self, services: "Services", network: Network, spec: dict[str, Any], stored: StoredRun | None
    ) -> None:
        self.id = spec_id(spec)
        self.spec = spec
        self.network = network
        self.layer: str = spec["layer"]
        self.units: tuple[int, ...] = tuple(spec["units"])
        self.steps: int = spec["steps"]
        self.watchers = 0
        self._services = services
        self._job: Job | None = None
        self._stored = stored
        self._looked = time.monotonic()
        self._starting = threading.RLock()
        self._measuring: Job | None = None
        self._step_seconds: float | None = None  # that a step takes here, where it was measured
        self._unit_seconds: float | None = None  # and of it one unit, which nothing can come between

    @property
    def history(self) -> History:
        """The frames, growing while the run climbs."""
        if self._job is not None:
            return self._job.history
        return self._stored.history if self._stored is not None else _EMPTY

    @property
    def state(self) -> str:
        """What the run is doing; see the class."""
        if self._job is not None:
            return self._job.state
        if self._stored is None:
            return "new"
        return "elsewhere" if self._stored.state == "running" else self._stored.state

    @property
    def active(self) -> bool:
        """Whether this process computes it or will."""
        return self._job is not None and self._job.state in ("queued", "running", "paused")

    @property
    def error(self) -> str | None:
        """Why it failed, in one sentence."""
        return self._job.error if self._job is not None else getattr(self._stored, "error", None)

    @property
    def step(self) -> int:
        """The newest step, -1 before the first frame."""
        latest = self.history.latest
        return latest.step if latest is not None else -1

    @property
    def rate(self) -> float:
        """Steps a second while it climbs here, else 0."""
        return self._job.rate if self._job is not None and self._job.state == "running" else 0.0

    @property
    def turn(self) -> Turn | None:
        """How far the step is that is being computed, where it comes in pieces."""
        return self._job.turn if self._job is not None else None

    @property
    def wish(self) -> str | None:
        """What was asked of it (pause, resume, cancel) and waits for the end of a piece of work."""
        return self._job.wish if self._job is not None and self.active else None

    @property
    def measuring(self) -> bool:
        """Whether what a step takes is being measured, before it climbs by itself or not."""
        return self._measuring is not None

    @property
    def step_seconds(self) -> float | None:
        """Seconds that a step takes here; None where it was not measured."""
        return self._step_seconds

    @property
    def unit_seconds(self) -> float | None:
        """Seconds of a unit's part of a step, within which nothing else has its turn; None where not measured."""
        return self._unit_seconds

    @property
    def offer(self) -> str:
        """What it would take, in a sentence, where it waits to be started because a step takes long; else ""."""
        seconds = self._step_seconds
        if seconds is None or seconds <= QUICK or self.state not in ("new", "interrupted"):
            return ""
        count, left = len(self.units), self.steps - max(0, self.step)
        units = f"{count} units" if count != 1 else "1 unit"
        return (
            f"One step of {units} takes about {duration(seconds)} here; {left} steps take about "
            f"{duration(seconds * left)}."
        )

    def watch(self) -> None:
        """One more session looks at this run: it goes before those that nobody looks at."""
        self.watchers += 1
        self._prefer()

    def unwatch(self) -> None:
        """A session looks elsewhere; the run goes on."""
        self.watchers -= 1
        self._prefer()
        if self.watchers <= 0 and (measuring := self._measuring) is not None:
            self._services.runner.cancel(measuring)

    def begin(self) -> None:
        """Climb where nobody has ended it yet and a step is quick; else `offer` says what it would take.

        What a step takes is measured first, in the background, where that is not known yet.
        """
        with self._starting:
            if self.state not in ("new", "interrupted") or self._measuring is not None:
                return
            try:
                cost = ascent_cost(self.network, self.spec)
            except VislibError:
                self.start()  # which says what is wrong
                return
            if cost is not None:
                self._weigh(cost)
                return
            title = f"what a step of {self.layer} of {self.network.name} takes"
            job = Job(title, lambda _checkpoint: self._measure(), history=Latest(), interactive=True)
            job.on_end(self._measured)
            self._measuring = job
        self._services.runner.submit(job)

    def _measure(self) -> Iterator[_Measured]:
        yield _Measured(1, measure_ascent(self.network, self.spec))

    def _measured(self, job: Job) -> None:
        """On the runner's thread; a network that fails is started all the same, so that the run tells of it."""
        with self._starting:
            self._measuring = None
            found = job.history.result if isinstance(job.history, Latest) else None
            if found is not None:
                self._weigh(found.cost)
            elif job.state == "failed" and self.watchers > 0:
                self.start()

    def _weigh(self, cost: Cost) -> None:
        free = memory.free(self.network.device)
        self._step_seconds = cost.step(len(self.units), free)
        self._unit_seconds = cost.alone
        if self._step_seconds <= QUICK and self.watchers > 0 and self.state in ("new", "interrupted"):
            self.start()

    def start(self) -> None:
        """Begin, or go on from the last checkpoint; nothing where it climbs already or is done."""
        with self._starting:
            self._start()

    def _start(self) -> None:
        if self._job is not None and self._job.state == "paused":
            self._services.runner.resume(self._job)
            return
        if self.active or self.state in ("done", "elsewhere"):
            return
        if self._job is not None:  # ended: what is kept of it is in the store
            self._stored = self._services.store.find(self.spec)
        checkpoint = self._stored.checkpoint if self._stored is not None else None
        history = (
            self._stored.history
            if self._stored is not None and checkpoint is not None
            else History(planned=self.steps)
        )
        network, spec = self.network, self.spec

        def frames(resume: bytes | None) -> Iterator[Frame | Turn]:
            return ascent_turns(network, spec, resume=resume)

        job = Job(
            f"{self.layer} of {network.name}",
            frames,
            history=history,
            checkpoint=checkpoint,
            steps=self.steps,
        )
        self._services.store.record(job, spec)
        self._job = job
        self._prefer()
        self._services.runner.submit(job)

    def pause(self) -> None:
        """Hold it where it is; it keeps its place and its checkpoint."""
        if self._job is not None:
            self._services.runner.pause(self._job)

    def stop(self) -> None:
        """End it; what it found so far is kept and it can be resumed from its checkpoint."""
        if self._job is not None and self.active:
            self._services.runner.cancel(self._job)

    def refresh(self) -> None:
        """Look again at what another process is computing; cheap enough for every tick."""
        if (
            self._stored is not None
            and self.state == "elsewhere"
            and time.monotonic() - self._looked > _REREAD
        ):
            self._looked = time.monotonic()
            self._stored.refresh()

    def _prefer(self) -> None:
        if self._job is not None:
            self._job.interactive = self.watchers > 0


_EMPTY = History()
