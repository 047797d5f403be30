"""The files of one volume: found beside one another, unpacked while they are read, closed together."""

import io
import tempfile
import zlib
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from vislib.errors import ImageError

SHRINKS = 1032  # times that gzip makes a file smaller at most
UNPACKED = 1_000_000_000  # bytes that a gzipped MINC file may have once it is unpacked
_PART = 1 << 14  # packed bytes that are read at once
_GZIP = b"\x1f\x8b"


class Unpacked(io.RawIOBase):
    """A gzip file's content, one member after the other; `trailing` says whether other bytes came after the last.

    As `gzip.GzipFile`, but what follows the last member and is no gzip ends the content there, as gzip itself ends it.
    """

    def __init__(self, raw: io.BufferedIOBase) -> None:
        self._raw, self.trailing = raw, False
        self._begin()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer).cast("B")
        part = self._more(len(view))
        view[: len(part)] = part
        return len(part)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        if whence == io.SEEK_CUR:
            offset += self._at
        elif whence == io.SEEK_END:
            raise io.UnsupportedOperation("The length of a packed file is not known.")
        if offset < self._at:
            self._begin()
        while self._at < offset and self._more(min(_PART, offset - self._at)):
            pass
        return self._at

    def ends_at(self, length: int) -> bool:
        """Whether the file's last bytes are those with which gzip ends a content of so many bytes."""
        here, size = self._raw.tell(), self._raw.seek(0, io.SEEK_END)
        self._raw.seek(max(0, size - 4))
        last = self._raw.read(4)
        self._raw.seek(here)
        return last == (length % 2**32).to_bytes(4, "little")

    def _begin(self) -> None:
        self._raw.seek(0)
        self._unpack = zlib.decompressobj(wbits=31)
        self._left = b""  # packed bytes that were read and not unpacked
        self._at, self._ended = 0, False

    def _more(self, size: int) -> bytes:
        """At most so many bytes; none at the end. Raises EOFError or zlib.error for a file that is damaged."""
        while size and not self._ended:
            if self._unpack.eof and not self._next_member():
                break
            packed = self._left or self._raw.read(_PART)
            if not packed and not self._unpack.eof:
                raise EOFError("The packed file ended before its content did.")
            part = self._unpack.decompress(packed, size)
            self._left = self._unpack.unconsumed_tail or self._unpack.unused_data
            if part:
                self._at += len(part)
                return part
        return b""

    def _next_member(self) -> bool:
        """Whether another member follows; zeros may lie between, other bytes are `trailing`."""
        left = self._left.lstrip(b"\0")
        while len(left) < len(_GZIP) and (more := self._raw.read(_PART)):
            left = (left + more).lstrip(b"\0")
        self._left = left
        if left.startswith(_GZIP):
            self._unpack = zlib.decompressobj(wbits=31)
            return True
        self._ended, self.trailing = True, bool(left)
        return False


class Opened:
    """The files of one volume, closed together; `name` stands for them in sentences."""

    def __init__(self, path: Path, name: str, stack: ExitStack) -> None:
        self.path, self.name, self._stack = path, name, stack
        self._packed: list[Unpacked] = []

    def stream(self, path: Path) -> tuple[io.BufferedIOBase, int]:
        """A file, unpacked while it is read where gzip packed it, and the bytes that it can hold at most."""
        raw = self._stack.enter_context(path.open("rb"))
        packed = raw.read(2) == _GZIP
        raw.seek(0)
        size = path.stat().st_size
        if not packed:
            return raw, size
        self._packed.append(Unpacked(raw))
        return self._stack.enter_context(io.BufferedReader(self._packed[-1], _PART)), size * SHRINKS

    @property
    def trailing(self) -> bool:
        """Whether a packed file that was read to its end went on after that."""
        return any(one.trailing for one in self._packed)

    def may_go_on(self, length: int) -> bool:
        """Whether a packed file may hold more than so many bytes, by what gzip writes at its end."""
        return any(not one.ends_at(length) for one in self._packed)

    def plain(self, path: Path) -> Path:
        """A file that is not packed: itself, or a temporary one."""
        known = len(self._packed)
        stream, _ = self.stream(path)
        if len(self._packed) == known:
            return path
        whole = (
            Path(self._stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
            / "unpacked"
        )
        with whole.open("wb") as out:
            while part := stream.read(1 << 16):
                out.write(part)
                if out.tell() > UNPACKED:
                    raise ImageError(
                        f"{self.name} unpacks to more than {UNPACKED // 1_000_000} MB; unpack it yourself first."
                    )
        return whole

    def partner(self, *suffixes: str) -> Path | None:
        """The file beside it of the same name with one of these suffixes, whatever their case and packed or not."""
        stem = _stem(self.path)
        wanted = {f"{stem}{suffix}{packed}".lower() for suffix in suffixes for packed in ("", ".gz")}
        return next((one for one in sorted(self.path.parent.iterdir()) if one.name.lower() in wanted), None)

    def closing(self, one: Any) -> Any:
        """Have something closed with the files."""
        return self._stack.enter_context(one)


def _stem(path: Path) -> str:
    return Path(path.name.lower().removesuffix(".gz")).stem
