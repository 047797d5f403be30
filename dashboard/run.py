"""A run as the page sees it: climbing here, climbing in another process, paused, ended or only stored."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from vislib.ascent import ascend_spec
from vislib.frames import Frame, History
from vislib.jobs import Job
from vislib.network import Network
from vislib.store import StoredRun, spec_id

if TYPE_CHECKING:
    from dashboard.services import Services

_REREAD = 1.0  # seconds between looks at a run that another process computes


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

    def watch(self) -> None:
        """One more session looks at this run: it goes before those that nobody looks at."""
        self.watchers += 1
        self._prefer()

    def unwatch(self) -> None:
        """A session looks elsewhere; the run goes on."""
        self.watchers -= 1
        self._prefer()

    def start(self) -> None:
        """Begin, or go on from the last checkpoint; nothing where it climbs already or is done."""
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

        def frames(resume: bytes | None) -> Iterator[Frame]:
            return ascend_spec(network, spec, resume=resume)

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
