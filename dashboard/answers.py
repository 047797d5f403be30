"""Answers: attributions of inputs and of volumes, computed in the background, remembered for every session."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from dashboard.inputs import Input
from vislib.attribution import Attribution, Method, Target, VolumeAttribution, attribution_steps
from vislib.jobs import Job, Latest, Runner
from vislib.network import Network
from vislib.parameters import Value

_REMEMBERED = 96
_BYTES = 256_000_000  # of remembered answers in all


class Asked(Protocol):
    """What can be asked: equal keys have equal answers."""

    @property
    def key(self) -> tuple[Any, ...]:
        """Names the answer."""

    @property
    def title(self) -> str:
        """Names the job."""

    @property
    def quick(self) -> bool:
        """Whether it goes before every other work."""

    def steps(self) -> Iterator[Any]:
        """Compute it, coarse first."""


class HasSpec(Protocol):
    """A question that says what its answer depends on."""

    @property
    def spec(self) -> dict[str, Any]:
        """JSON-able values."""


@dataclass(frozen=True)
class MethodQuestion:
    """What is asked of whom by which method, about whatever it may be."""

    network: Network
    target: Target
    method: Method
    layer: str | None
    values: Mapping[str, Value]

    @property
    def how(self) -> tuple[Any, ...]:
        """Of the key, all but what it is asked about."""
        values = tuple(sorted(self.values.items()))
        return self.network.fingerprint, self.network.head, self.target, self.method.name, self.layer, values

    @property
    def how_spec(self) -> dict[str, Any]:
        """Of the spec, all but what it is asked about."""
        return {
            "network": self.network.name,
            "fingerprint": self.network.fingerprint,
            "target": self.target.words(self.network),
            "head": {
                "kind": self.network.head.kind,
                "unit": self.network.head.unit,
                "said": self.network.head.said,
            },
            "method": self.method.name,
            "layer": self.layer,
            "parameters": dict(self.values),
            "seed": 0,
        }

    @property
    def quick(self) -> bool:
        """Whether it goes before every other work; slices go a few at a time, so that others have their turn."""
        return self.method.quick


def spec_of(question: HasSpec, found: Attribution | VolumeAttribution) -> dict[str, Any]:
    """All that a map depends on, with the layer taken where the question left it to the method, and its weights."""
    weights = found.spec if isinstance(found, VolumeAttribution) else {}
    return question.spec | ({"layer": found.layer} if found.layer else {}) | weights


def warned(warning: str) -> dict[str, str]:
    """What a file's spec says of an input that is unlike the network's own."""
    return {"warning": warning} if warning else {}


@dataclass(frozen=True)
class Question(MethodQuestion):
    """One method's question about one input, by value: equal questions have equal answers."""

    input: Input

    @property
    def key(self) -> tuple[Any, ...]:
        """Names the answer."""
        return self.input.key, *self.how

    @property
    def spec(self) -> dict[str, Any]:
        """All that the map depends on, as JSON-able values, for the files that are made of it."""
        choice, volume = self.input.choice, self.input.scan is not None
        return self.how_spec | {
            "input": self.input.words,
            "data": self.input.key,
            "preparation": choice.preparation.to_dict() if volume else {"fit": choice.fit},
        }

    @property
    def title(self) -> str:
        """Names the job."""
        return f"{self.method.name} of {self.input.words}"

    def steps(self) -> Iterator[Attribution]:
        """Compute it, coarse first."""
        images = torch.from_numpy(self.input.image)
        return attribution_steps(
            self.network, images, self.target, self.method, layer=self.layer, **dict(self.values)
        )


class Answer:
    """What is known of a question: a whole answer, or one that a job is computing."""

    def __init__(self, result: Any = None, job: Job | None = None) -> None:
        self._result, self.job = result, job

    @property
    def result(self) -> Any:
        """The newest map."""
        return self._result if self.job is None else self.job.history.result

    @property
    def state(self) -> str:
        """A job's state; "done" for a remembered answer."""
        return "done" if self.job is None else self.job.state

    @property
    def error(self) -> str | None:
        """Why there is no answer, in one sentence."""
        return None if self.job is None else self.job.error


class Answers:
    """Asks a runner, and remembers the newest whole answers; may be called from any thread."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._known: OrderedDict[tuple[Any, ...], Any] = OrderedDict()
        self._lock = threading.Lock()

    def ask(self, question: Asked) -> Answer:
        """The answer, at once where it is remembered; quick questions go before every other work."""
        with self._lock:
            if question.key in self._known:
                self._known.move_to_end(question.key)
                return Answer(self._known[question.key])
        job = self.run(question.title, question.steps, interactive=question.quick)
        job.on_end(lambda job: self._remember(question, job))
        return Answer(job=job)

    def run(
        self, title: str, steps: Callable[[], Iterator[Any]], *, interactive: bool, brief: bool = False
    ) -> Job:
        """Compute anything that counts its steps; its newest result is `job.history.result`.

        What is `brief`, a forward pass of one image, does not wait for a long step of other work.
        """
        job = Job(title, lambda _checkpoint: steps(), history=Latest(), interactive=interactive, brief=brief)
        return self._runner.submit(job)

    def stop(self, job: Job | None) -> None:
        """Nobody waits for it any more."""
        if job is not None:
            self._runner.cancel(job)

    def _remember(self, question: Asked, job: Job) -> None:
        if job.state != "done" or job.history.result is None:
            return
        with self._lock:
            self._known[question.key] = job.history.result
            while len(self._known) > _REMEMBERED or self._size() > _BYTES:
                self._known.popitem(last=False)

    def _size(self) -> int:
        parts = (
            getattr(one, name, None) for one in self._known.values() for name in ("values", "raw", "colour")
        )
        return sum(part.nbytes for part in parts if part is not None)
