"""Turn, a place within a step of long work where others may come in, and how long work stands aside for answers."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_PATIENCE = 10.0  # seconds that work stands aside at most


@dataclass(frozen=True)
class Turn:
    """Between two results of long work: others may have their turn; `done` of the next step's `rows` are computed."""

    step: int
    done: int
    rows: int


class _Aside:
    """Work that takes long stands aside, between two of its operations, while a short answer is computed."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._answering = 0

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Inside the `with` long work on other threads stands aside."""
        with self._changed:
            self._answering += 1
        try:
            yield
        finally:
            with self._changed:
                self._answering -= 1
                self._changed.notify_all()

    def stand(self) -> None:
        """Wait while others are answering; called between two operations, costs next to nothing where nobody is."""
        if self._answering:
            with self._changed:
                self._changed.wait_for(lambda: not self._answering, _PATIENCE)


ASIDE = _Aside()
