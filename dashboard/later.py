"""The way from a worker thread into a session's document."""

from collections.abc import Callable
from contextlib import suppress

from bokeh.document import Document


def later(document: Document | None, callback: Callable[[], None]) -> None:
    """Have `callback` called in the document at its next tick; nothing where the session has ended meanwhile."""
    if document is not None:
        with suppress(AttributeError):  # what Bokeh raises for a document without a session
            document.add_next_tick_callback(callback)
