"""A file from the browser in pieces: the button that sends it, and the receiver that trusts nothing of it.

The browser's side is plain JavaScript in `dist/upload.js`; what is said of a property here holds there too.
"""

import unicodedata
from collections.abc import Callable
from tempfile import SpooledTemporaryFile
from typing import IO, Any, ClassVar

from bokeh.core.properties import Bool, Float, Int, Override, String
from bokeh.core.properties import Tuple as TupleOf
from bokeh.events import ModelEvent
from bokeh.models import LayoutDOM

from vislib.errors import VislibError

CHUNK = 4 << 20  # bytes of a piece; Bokeh takes messages of up to 20 MB
_IN_MEMORY = 16 << 20  # bytes kept in memory before a temporary file is made
_NAME = 120  # characters
_OVER = -1  # in place of the next piece's number: no more is wanted

_SCRIPT = "static/extensions/dashboard/upload.js"


class UploadError(VislibError):
    """A file from the browser that is not taken."""


class UploadChunk(ModelEvent):
    """The browser sends a piece; nothing in it is to be believed."""

    event_name = "vislib_upload_chunk"

    def __init__(
        self,
        model: "Upload | None",
        transfer: Any = 0,
        name: Any = "",
        size: Any = 0,
        seq: Any = 0,
        chunk: Any = b"",
    ) -> None:
        super().__init__(model)
        self.transfer, self.name, self.size, self.seq, self.chunk = transfer, name, size, seq, chunk


class UploadCancelled(ModelEvent):
    """The person has changed their mind."""

    event_name = "vislib_upload_cancelled"


class Receiver:
    """Puts one file at a time together from its pieces; raises UploadError, and forgets the file, at any lie."""

    def __init__(self, limit: int) -> None:
        self.limit = limit  # bytes
        self._file: IO[bytes] | None = None
        self._told: tuple[Any, ...] = ()  # what the first piece said: transfer, name, size
        self._next = 0
        self._got = 0

    @property
    def open(self) -> bool:
        """Whether a file has begun and not ended."""
        return self._file is not None

    def take(self, transfer: Any, name: Any, size: Any, seq: Any, chunk: Any) -> tuple[str, IO[bytes]] | None:
        """Take the next piece; after the last one, hand over the name to show and the file, to be closed."""
        try:
            if not all(type(one) is int for one in (transfer, size, seq)) or not isinstance(name, str):
                raise UploadError(
                    "The browser sent a file without name or size: reload the page and try again."
                )
            if seq == 0:
                self._begin(transfer, name, size)
            if self._file is None or (transfer, name, size) != self._told:
                raise UploadError("A piece of a file came that belongs to none: upload the file again.")
            self._check(name, size, seq, chunk)
            self._file.write(chunk)
        except UploadError:
            self.drop()
            raise
        except OSError as error:
            self.drop()
            raise UploadError(
                f"The file could not be kept on the server ({error.strerror}): tell who runs it."
            ) from error
        self._next += 1
        self._got += len(chunk)
        if self._got < size:
            return None
        file, self._file = self._file, None
        file.seek(0)
        return shown_name(name), file

    def drop(self) -> None:
        """Forget what has come of an unfinished file."""
        if self._file is not None:
            self._file.close()
        self._file = None

    def _begin(self, transfer: int, name: str, size: int) -> None:
        self.drop()
        if size == 0:
            raise UploadError(f"{shown_name(name)} is empty: choose another file.")
        if not 0 < size <= self.limit:
            raise UploadError(
                f"{shown_name(name)} has {size_text(size)}: up to {size_text(self.limit)} can be taken here."
            )
        self._file = SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115
        self._told = (transfer, name, size)
        self._next = self._got = 0

    def _check(self, name: str, size: int, seq: int, chunk: Any) -> None:
        if seq != self._next:
            raise UploadError(
                f"Piece {seq} of {shown_name(name)} came where piece {self._next} was due: upload the file again."
            )
        if not isinstance(chunk, bytes | memoryview) or not 0 < len(chunk) <= CHUNK:
            raise UploadError(
                f"A piece of {shown_name(name)} is empty or too large: reload the page and try again."
            )
        if self._got + len(chunk) > size:
            raise UploadError(
                f"More came of {shown_name(name)} than its {size} bytes: upload the file again."
            )


class Upload(LayoutDOM):
    """A button that sends one file to the server; files dropped on the page and pasted pictures go the same way."""

    __javascript__: ClassVar[list[str]] = [_SCRIPT]

    label = String(default="Upload…", help="On the button.")
    accept = String(default="", help="Kinds of files as in HTML, `.png,image/*`; empty for all.")
    words = String(
        default="Drop the file to open it", help="Over the page while a file is dragged across it."
    )
    limit = Int(
        default=64 << 20, help="Largest file in bytes, for the browser; the server keeps its first value."
    )
    dropping = Bool(default=True, help="Whether files can be dropped anywhere on the page.")
    pasting = Bool(default=True, help="Whether pictures can be pasted.")

    margin = Override(default=5)  # as every widget has it

    progress = Float(
        default=-1.0, help="Share that the server has, -1 while nothing is sent; set by the browser."
    )
    answer = TupleOf(
        Int,
        Int,
        String,
        default=(0, _OVER, ""),
        help="To the browser: which transfer, its next piece or -1 for none, what is wrong.",
    )

    def __init__(self, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self._receiver = Receiver(self.limit)
        self._done: Callable[[str, IO[bytes]], None] | None = None
        self._problem: Callable[[str], None] | None = None
        self.on_event(UploadChunk, self._take)
        self.on_event(UploadCancelled, lambda _: self._receiver.drop())

    def on_done(self, callback: Callable[[str, IO[bytes]], None]) -> None:
        """Let `callback(name, file)` have each file that came whole; it closes the file.

        The name is for showing alone. A VislibError that it raises is a problem like any other.
        """
        self._done = callback

    def on_problem(self, callback: Callable[[str], None]) -> None:
        """Let `callback(sentence)` know why a file was not taken; the browser shows the sentence too."""
        self._problem = callback

    def close(self) -> None:
        """Drop an unfinished file: the session has ended."""
        self._receiver.drop()

    def _take(self, event: UploadChunk) -> None:
        following, problem = _OVER, ""
        try:
            whole = self._receiver.take(event.transfer, event.name, event.size, event.seq, event.chunk)
            if whole is None:
                following = event.seq + 1
            elif self._done is not None:
                self._done(*whole)
            else:
                whole[1].close()
        except VislibError as error:
            problem = str(error)
        self.answer = (event.transfer if type(event.transfer) is int else 0, following, problem)
        if problem and self._problem is not None:
            self._problem(problem)


def shown_name(name: str) -> str:
    """A file's name as it can be shown: no folders, no control characters, 120 characters at most; not a path."""
    name = name.replace("\\", "/").rstrip("/").rpartition("/")[2][-4 * _NAME :]
    name = "".join(one for one in name if not unicodedata.category(one).startswith("C")).strip()
    if len(name) > _NAME:
        name = f"{name[: _NAME - 13]}…{name[-12:]}"
    return name or "unnamed file"


def size_text(size: int) -> str:
    """Bytes in words."""
    for unit, one in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= one:
            return f"{float(f'{size / one:.3g}'):g} {unit}"
    return f"{size} bytes"
