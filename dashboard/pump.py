"""Pace by paint: frames go to a browser as fast as it paints them, the newest wins, none is ever queued."""

import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from threading import Lock
from typing import Any, Protocol

from bokeh.document import Document

log = logging.getLogger(__name__)


class Screen(Protocol):
    """What a pump feeds: a `Mosaic`, or anything with its tick and acknowledgement."""

    tick: int
    ack: int

    def show(self, frame: bytes, tick: int | None = None) -> None:
        """Show a frame; `ack` becomes its tick when it is painted."""

    def on_change(self, attr: str, *callbacks: Any) -> None:
        """Call back when `attr` changes."""


class FramePump:
    """Sends a document's screen the newest frame whenever one of its last `in_flight` frames has been painted.

    Frames are made (composed, encoded) on `executor`, and only those that will be sent. From there a single
    next-tick callback, never more than one outstanding, crosses into the document. An acknowledgement that does
    not come within `patience` seconds is taken as lost.
    """

    def __init__(
        self,
        document: Document,
        screen: Screen,
        executor: Executor,
        *,
        in_flight: int = 2,
        patience: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._document, self._screen, self._executor = document, screen, executor
        self._in_flight, self._patience, self._clock = in_flight, patience, clock
        self._lock = Lock()
        self._waiting: tuple[Callable[[], bytes], Callable[[], None] | None] | None = None
        self._busy = False  # a frame is being made, or its callback is outstanding
        self._closed = False
        self._dropped = 0  # how often what was on its way became worthless
        # Ticks go on from where another pump of the same screen stopped: an equal tick would change nothing.
        self.sent = self._acked = screen.tick
        self._sent_at = clock()
        screen.on_change("ack", self._painted)

    @property
    def closed(self) -> bool:
        """Whether it sends nothing more: closed, or its session has ended."""
        return self._closed

    @property
    def ready(self) -> bool:
        """Whether a frame offered now would be sent at once; else it would wait, and give way to a newer one."""
        with self._lock:
            return self._open()

    def offer(self, make: Callable[[], bytes], published: Callable[[], None] | None = None) -> bool:
        """Offer a frame from any thread; False once the pump is closed.

        `make` gives the encoded frame and is called on the executor, if at all; `published` is called in the
        document right after the frame was set.
        """
        with self._lock:
            if self._closed:
                return False
            self._waiting = (make, published)
        self.advance()
        return not self._closed

    def advance(self) -> None:
        """Send what waits if it may go; a page calls it now and then, so that a lost acknowledgement is noticed."""
        with self._lock:
            if self._waiting is None or not self._open():
                return
            work, self._waiting, self._busy = self._waiting, None, True
            subject = self._dropped
        try:
            self._executor.submit(self._make, subject, *work)
        except RuntimeError:  # the executor has been shut down
            self.close()

    def _open(self) -> bool:
        if self.sent - self._acked >= self._in_flight and self._clock() - self._sent_at > self._patience:
            self._acked = self.sent - self._in_flight + 1
        return not (self._closed or self._busy or self.sent - self._acked >= self._in_flight)

    def drop(self) -> None:
        """Send nothing of what was offered so far: the screen is to show something else from now on."""
        with self._lock:
            self._waiting = None
            self._dropped += 1

    def _make(self, subject: int, make: Callable[[], bytes], published: Callable[[], None] | None) -> None:
        try:
            frame = make()
        except Exception:
            log.exception("a frame of the page could not be made")
            with self._lock:
                self._busy = False
            return
        try:
            self._document.add_next_tick_callback(partial(self._publish, subject, frame, published))
        except Exception:
            # A document whose session was destroyed takes no more callbacks.
            self.close()

    def _publish(self, subject: int, frame: bytes, published: Callable[[], None] | None) -> None:
        with self._lock:
            self._busy = False
            dropped = subject != self._dropped
        if dropped:
            self.advance()
            return
        with self._lock:
            if self._closed:
                return
            # The screen may have been cleared meanwhile, which takes a tick too.
            self.sent = max(self.sent, self._screen.tick) + 1
            self._sent_at = self._clock()
            tick = self.sent
        self._screen.show(frame, tick)
        if published is not None:
            published()
        self.advance()

    def _painted(self, _attr: str, _old: int, tick: int) -> None:
        with self._lock:
            self._acked = max(self._acked, min(tick, self._screen.tick))
        self.advance()

    def close(self) -> None:
        """Send nothing more and let go of what waits."""
        with self._lock:
            self._closed, self._waiting = True, None
