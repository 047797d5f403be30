"""Answers: attributions computed in the background, the whole ones remembered for every session."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from dashboard.inputs import Input
from vislib.attribution import Attribution, Method, Target, attribution_steps
from vislib.jobs import Job, Latest, Runner
from vislib.network import Network
from vislib.parameters import Value

_REMEMBERED = 96


@dataclass(frozen=True)
class Question:
    """One method's question about one input, by value: equal questions have equal answers."""

    network: Network
    input: Input
    target: Target
    method: Method
    layer: str | None
    values: Mapping[str, Value]

    @property
    def key(self) -> tuple[Any, ...]:
        """Names the answer."""
        return (
            self.network.fingerprint,
            self.input.key,
            self.target,
            self.method.name,
            self.layer,
            tuple(sorted(self.values.items())),
        )

    def steps(self) -> Iterator[Attribution]:
        """Compute it, coarse first."""
        images = torch.from_numpy(self.input.image)
        return attribution_steps(
            self.network, images, self.target, self.method, layer=self.layer, **dict(self.values)
        )


class Answer:
    """What is known of a question: a whole answer, or one that a job is computing."""

    def __init__(self, result: Attribution | None = None, job: Job | None = None) -> None:
        self._result, self.job = result, job

    @property
    def result(self) -> Attribution | None:
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
        self._known: OrderedDict[tuple[Any, ...], Attribution] = OrderedDict()
        self._lock = threading.Lock()

    def ask(self, question: Question) -> Answer:
        """The answer, at once where it is remembered; quick methods go before every other work."""
        with self._lock:
            if question.key in self._known:
                self._known.move_to_end(question.key)
                return Answer(self._known[question.key])
        title = f"{question.method.name} of {question.input.words}"
        job = self.run(title, question.steps, interactive=question.method.quick)
        job.on_end(lambda job: self._remember(question, job))
        return Answer(job=job)

    def run(self, title: str, steps: Callable[[], Iterator[Any]], *, interactive: bool) -> Job:
        """Compute anything that counts its steps; its newest result is `job.history.result`."""
        job = Job(title, lambda _checkpoint: steps(), history=Latest(), interactive=interactive)
        return self._runner.submit(job)

    def stop(self, job: Job | None) -> None:
        """Nobody waits for it any more."""
        if job is not None:
            self._runner.cancel(job)

    def _remember(self, question: Question, job: Job) -> None:
        if job.state != "done" or job.history.result is None:
            return
        with self._lock:
            self._known[question.key] = job.history.result
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
