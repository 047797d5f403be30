"""Memory: how much of it is free, how much a piece of work takes at the most, and what is given back."""

import ctypes
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import torch

_EVERY = 0.002  # seconds between two looks
_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
_LIMITS = Path("/sys/fs/cgroup")  # of a container


def free(device: torch.device) -> float:
    """Bytes that can still be taken on a device, by what the machine and the container leave."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return float(torch.cuda.mem_get_info(device)[0] + unused)
    return min(_of_machine(), _of_container(_LIMITS))


def _of_machine() -> float:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return float(line.split()[1]) * 1024
    except OSError:
        pass
    try:  # no machine but Linux says what is left: half of all
        return 0.5 * os.sysconf("SC_PHYS_PAGES") * _PAGE
    except (AttributeError, ValueError, OSError):
        return 4.0 * 2**30


def _of_container(folder: Path) -> float:
    """What a control group (version 2) leaves; caches of files give way."""
    try:
        limit = float((folder / "memory.max").read_text())
        taken = float((folder / "memory.current").read_text())
        facts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return limit - taken + float(facts.get("inactive_file", 0))
    except (OSError, ValueError):  # no such group, or no limit ("max")
        return float("inf")


def resident() -> float:
    """Bytes of this process that lie in memory; elsewhere than on Linux the most there ever were."""
    try:
        return float(Path("/proc/self/statm").read_text().split()[1]) * _PAGE
    except OSError:
        pass
    try:
        import resource

        most = float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        return most if sys.platform == "darwin" else most * 1024
    except ImportError:
        return 0.0


def give_back() -> None:
    """Return what was freed to the machine: glibc keeps arrays of up to 32 MB for itself. Elsewhere nothing is done."""
    try:
        trim = ctypes.CDLL("libc.so.6").malloc_trim
    except (OSError, AttributeError):  # another system, or another C library
        return
    trim(0)


class Meter:
    """Inside the `with`: how many `bytes` more than before were taken at once.

    On a CPU it looks at the process again and again, libraries' own memory included; what other threads take at
    the same time counts too, so the number may be too large.
    """

    def __init__(self, device: torch.device, look: Callable[[], float] = resident) -> None:
        self.bytes = 0.0
        self._device, self._look = device, look
        self._before = self._most = 0.0
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "Meter":
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
            self._before = float(torch.cuda.memory_allocated(self._device))
            return self
        self._before = self._most = self._look()
        self._thread = threading.Thread(target=self._watch, name="vislib meter", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread is None:
            self._most = float(torch.cuda.max_memory_allocated(self._device))
        else:
            self._over.set()
            self._thread.join()
            self._most = max(self._most, self._look())
        self.bytes = max(0.0, self._most - self._before)

    def _watch(self) -> None:
        while not self._over.wait(_EVERY):
            self._most = max(self._most, self._look())
