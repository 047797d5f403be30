"""Work on other threads for a session: its result or why there is none, and the way back into the document."""

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from bokeh.document import Document

from vislib.errors import VislibError
from vislib.jobs import sentence

T = TypeVar("T")

log = logging.getLogger(__name__)


def attempt(work: Callable[[], T]) -> tuple[T | None, str]:
    """The result of work and "", or None and a sentence that tells why there is none; unforeseen errors are logged."""
    try:
        return work(), ""
    except Exception as error:
        if not isinstance(error, VislibError):
            log.exception("unforeseen")
        return None, sentence(error)


def later(document: Document | None, callback: Callable[[], None]) -> None:
    """Have `callback` called in the document at its next tick; nothing where the session has ended meanwhile."""
    if document is not None:
        with suppress(AttributeError):  # what Bokeh raises for a document without a session
            document.add_next_tick_callback(callback)
