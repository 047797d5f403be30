"""Who computes a stored run: the name of a process, and whether the process of such a name still lives."""

import functools
import json
import os
import platform
import subprocess
import time
import uuid

# A process on another host (or in another container) cannot be asked; it counts as gone when it has written
# nothing for this long, in seconds. Writes are never further apart than half of it while a run climbs.
SILENCE = 120.0

_here: set[str] = set()  # the names given out by this process that are still in use


def claim() -> str:
    """Give a new name for the present process: host, process id, its start, and a random token."""
    name = json.dumps([_host(), os.getpid(), _started(os.getpid()), uuid.uuid4().hex])
    _here.add(name)
    return name


def release(name: str) -> None:
    """Say that nothing goes on under this name any more."""
    _here.discard(name)


def alive(name: str | None, beat: float) -> bool:
    """Say whether the process of that name still lives; `beat` is when it last wrote (time.time(), s)."""
    if not name:
        return False
    if name in _here:
        return True
    try:
        host, pid, started, _ = json.loads(name)
    except ValueError:
        return False
    if host != _host():
        return abs(time.time() - beat) < SILENCE
    # a new process may have got the same id, hence its start
    return pid != os.getpid() and started is not None and _started(pid) == started


@functools.cache
def _host() -> str:
    try:
        # equal process ids mean nothing between containers
        return f"{platform.node()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return platform.node()


def _started(pid: int) -> str | None:
    """When a process was started, in the system's own words; None when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
        with open("/proc/sys/kernel/random/boot_id", encoding="utf-8") as file:
            boot = file.read().strip()
        return None if fields[0] in "ZX" else f"{boot} {fields[19]}"
    except OSError:
        if os.path.exists("/proc/self/stat"):
            return None
    asked = subprocess.run(
        ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return asked.stdout.strip() or None
