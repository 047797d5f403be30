"""The SQLite file beneath the run store: opened or stood in for, written in transactions, errors in words."""

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

VERSION = 1
APPLICATION = 0x7669736C  # "visl", in the file's header
BUSY_SECONDS = 1.0
# What runs may take when there is no file to keep them in, in pages of 4096 bytes.
MEMORY_PAGES = 65536

_SCHEMA = """
CREATE TABLE runs (
    id TEXT PRIMARY KEY, title TEXT NOT NULL, spec TEXT NOT NULL, state TEXT NOT NULL, error TEXT,
    owner TEXT, beat REAL NOT NULL, created REAL NOT NULL,
    step INTEGER NOT NULL, steps INTEGER, stride INTEGER NOT NULL, saves INTEGER NOT NULL, size INTEGER NOT NULL,
    thumbnail BLOB);
CREATE TABLE frames (
    id INTEGER PRIMARY KEY AUTOINCREMENT, run TEXT NOT NULL REFERENCES runs ON DELETE CASCADE,
    step INTEGER NOT NULL, scores BLOB NOT NULL, pictures BLOB NOT NULL, UNIQUE (run, step));
CREATE TABLE images (
    run TEXT NOT NULL REFERENCES runs ON DELETE CASCADE, kind TEXT NOT NULL, row INTEGER NOT NULL,
    step INTEGER NOT NULL, score REAL, data BLOB NOT NULL, PRIMARY KEY (run, kind, row));
CREATE TABLE numbers (
    run TEXT NOT NULL REFERENCES runs ON DELETE CASCADE, name TEXT NOT NULL, data BLOB NOT NULL,
    PRIMARY KEY (run, name));
CREATE TABLE checkpoints (
    run TEXT PRIMARY KEY REFERENCES runs ON DELETE CASCADE, step INTEGER NOT NULL, data BLOB NOT NULL);
"""

T = TypeVar("T")


class UnusableError(Exception):
    """A file that must not be touched; the text ends the sentence "The run store PATH ..."."""


class Database:
    """One SQLite file in WAL mode with a connection to write and one to read: readers wait for nobody.

    A file that cannot be used is left as it is and a bounded database in memory stands in for it; a file
    that can be read but not written is read. `problem` says so in one sentence, and likewise when reading or
    writing failed the last time (full disk, locked by another program); that clears with the next success.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.permanent: str | None = None
        self._troubles: dict[str, str] = {}  # by what was tried: "read", "write"
        self._write_lock = threading.RLock()
        self._read_lock = threading.RLock()
        self._open()

    @property
    def problem(self) -> str | None:
        return self.permanent or next(iter(self._troubles.values()), None)

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do `work` in one transaction; raises sqlite3.Error when nothing of it could be written."""
        with self._write_lock, self._watch("write"), _transaction(self._writer):
            return work(self._writer)

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do `work` on one consistent state of the file; raises sqlite3.Error."""
        with self._read_lock, self._watch("read"), _transaction(self._reader, "BEGIN"):
            return work(self._reader)

    def shrink(self) -> None:
        """Give some of what was deleted back to the disk; the rest is used again."""
        with self._write_lock, contextlib.suppress(sqlite3.Error):
            self._writer.execute("PRAGMA incremental_vacuum(2000)").fetchall()

    def close(self) -> None:
        with self._write_lock, self._read_lock:
            self._reader.close()
            self._writer.close()

    def sentence(self, error: Exception) -> str:
        """One sentence that says why the file cannot be used and what follows."""
        text = str(error)
        if isinstance(error, UnusableError):
            why, cure = text, "move it away or start with --store and another file"
        elif "full" in text:
            why, cure = "cannot grow, its disk is full", "they are kept again once there is room"
        elif "locked" in text or "busy" in text:
            why, cure = "is locked by another program", "they are kept again once it is free"
        elif "readonly" in text or "read-only" in text or isinstance(error, PermissionError):
            why, cure = "cannot be written", "make it writable or start with --store and another file"
        elif "not a database" in text or "malformed" in text:
            why, cure = "is damaged or no database", "move it away or start with --store and another file"
        else:
            why, cure = f"cannot be used ({text})", "start with --store and another file"
        return f"The run store {self.path} {why}: new runs go on in memory only; {cure}."

    @contextlib.contextmanager
    def _watch(self, what: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            self._troubles = {**self._troubles, what: self.sentence(error)}
            raise
        self._troubles = {key: text for key, text in self._troubles.items() if key != what}

    def _open(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._check_header()
            self._open_to_write()
            return
        except (sqlite3.Error, OSError, UnusableError) as error:
            self.permanent = self.sentence(error)
            untouchable = isinstance(error, UnusableError)
        if untouchable or not self._open_to_read():
            self._writer = self._reader = _connect(":memory:")
            _prepare(self._writer)
            self._writer.execute(f"PRAGMA max_page_count={MEMORY_PAGES}")
        self._read_lock = self._write_lock  # there is one connection only

    def _open_to_write(self) -> None:
        patience = time.monotonic() + BUSY_SECONDS
        while True:
            connection = _connect(f"{self._uri()}?mode=rwc")
            try:
                _prepare(connection)
                self._reader = _connect(f"{self._uri()}?mode=rw")
                self._writer = connection
                return
            except BaseException as error:
                connection.close()
                # switching to WAL does not wait when another process is just doing the same
                if "locked" not in str(error) or time.monotonic() > patience:
                    raise
                time.sleep(0.05)

    def _open_to_read(self) -> bool:
        """Open a file that cannot be written, or where not even WAL's side files can be made."""
        idle = not _size(self.path.with_name(self.path.name + "-wal"))
        for mode in ["mode=ro", *["mode=ro&immutable=1"] * idle]:
            connection = None
            try:
                connection = _connect(f"{self._uri()}?{mode}")
                if connection.execute("PRAGMA user_version").fetchone()[0] == VERSION:
                    connection.execute("SELECT count(*) FROM runs").fetchone()
                    self._writer = self._reader = connection
                    return True
            except sqlite3.Error:
                pass
            if connection is not None:
                connection.close()
        return False

    def _check_header(self) -> None:
        """Look at the file's first bytes, so that a file that is not ours is not even opened by SQLite."""
        if self.path.exists() and not self.path.is_file():
            raise UnusableError("is no file")
        if not _size(self.path):
            return
        with self.path.open("rb") as file:
            header = file.read(100)
        if not header.startswith(b"SQLite format 3\0"):
            raise UnusableError("is no database")
        version, application = (int.from_bytes(header[at : at + 4], "big") for at in (60, 68))
        if application == APPLICATION and version != VERSION:
            raise UnusableError(
                f"was made by another version of vislib (its format is {version}, not {VERSION})"
            )
        if application not in (0, APPLICATION) or (version and not application):
            raise UnusableError("is a database of another program")

    def _uri(self) -> str:
        return self.path.absolute().as_uri()


def _connect(name: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        name, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA foreign_keys=ON")
    return connection


def _prepare(connection: sqlite3.Connection) -> None:
    """Make the tables where there are none; raises UnusableError for tables of somebody else."""
    if connection.execute("PRAGMA user_version").fetchone()[0] == 0:
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
            connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
            connection.execute("PRAGMA journal_mode=WAL")
        with _transaction(connection):  # several processes may be at it at once
            if connection.execute("PRAGMA user_version").fetchone()[0] == 0:
                if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] != 0:
                    raise UnusableError("is a database of another program")
                for statement in _SCHEMA.split(";"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id={APPLICATION}")
                connection.execute(f"PRAGMA user_version={VERSION}")
        # the version must stand in the file itself, where another version looks first, not only in its log
        connection.execute("PRAGMA wal_checkpoint(FULL)").fetchall()
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version != VERSION:
        raise UnusableError(f"was made by another version of vislib (its format is {version}, not {VERSION})")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA journal_size_limit=16000000")  # a large checkpoint's log is cut back
    try:
        with _transaction(connection):  # SQLite opens a read-only file without a word; this finds out
            pass
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):  # somebody writes just now, which is no reason to give the file up
            raise


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection, begin: str = "BEGIN IMMEDIATE") -> Iterator[None]:
    connection.execute(begin)
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk may have rolled back by itself
            connection.execute("ROLLBACK")
        raise


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
