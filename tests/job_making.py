"""Jobs that tests run: one without end, one that is held in its step, and waiting until something comes true."""

import threading
from collections.abc import Callable, Iterator

from synthetic import frame

from vislib.frames import Frame
from vislib.jobs import Job, Runner

LONG = 20.0  # seconds that a test waits for something that comes at once


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


def until(condition: Callable[[], bool], seconds: float = LONG) -> None:
    """Wait until the condition holds."""
    pause = threading.Event()
    for _ in range(int(seconds / 0.002)):
        if condition():
            return
        pause.wait(0.002)
    raise AssertionError("it never came true")
