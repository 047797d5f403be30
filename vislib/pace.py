"""Pace: how many rows of a batch go through a network at once, by what a row was measured to take."""

import threading
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch

from vislib import memory
from vislib.network import Network

TURN = 0.15  # seconds that a piece of long work may take, so that others have their turn
SHARE = 0.25  # of the memory that is free: as much may a piece of work take
_NEARLY = 1.5  # a batch that takes so many turns is not worth being split

Run = Callable[[int], object]
Watch = Callable[[torch.device], Callable[[], float]]


@dataclass(frozen=True)
class Cost:
    """What one row of a batch takes: seconds by itself and beside others, and bytes at the most."""

    alone: float
    together: float
    bytes: float

    def at_once(self, rows: int, free: float, turn: float = TURN, least: int = 1) -> int:
        """Rows of so many that go at once: all of them where that takes hardly longer than a turn.

        Else a power of two, so that the split hardly hangs on how busy the machine was when a row was measured, or
        `least`; and never more than a share of the `free` bytes holds.
        """
        room = int(SHARE * free / self.bytes) if self.bytes > 0 else rows
        if rows * self.together <= _NEARLY * turn and rows <= room:
            return rows
        fitting = min(room, int(turn / self.together) if self.together > 0 else rows, rows)
        return max(1 << (max(1, fitting).bit_length() - 1), min(least, room, rows))

    def step(self, rows: int, free: float) -> float:
        """Seconds that so many rows take."""
        return rows * (self.alone if self.at_once(rows, free) == 1 else self.together)


def measure(
    run: Run,
    rows: int,
    device: torch.device,
    *,
    turn: float = TURN,
    watch: Watch | None = None,
    meter: Callable[[torch.device], memory.Meter] = memory.Meter,
) -> Cost:
    """Find a row's cost by `run(k)`, which computes k rows; once more where the first time was short.

    What is short is also tried as a batch of about one turn, since rows beside each other are quicker.
    """

    def timed(k: int) -> tuple[float, float]:
        with meter(device) as taken:
            seconds = (watch or stopwatch)(device)
            run(k)
            passed = seconds()
        return passed, taken.bytes / k

    alone, needs = timed(1)
    if alone > turn:
        return Cost(alone, alone, needs)
    alone = min(alone, timed(1)[0])  # the first time something is prepared
    together = alone
    if (several := min(rows, max(int(turn / max(alone, 1e-6)), threads(device)))) > 1:
        (first, more), (again, _) = timed(several), timed(several)
        together, needs = min(alone, first / several, again / several), max(needs, more)
    return Cost(alone, together, needs)


def stopwatch(device: torch.device) -> Callable[[], float]:
    """Starts now; gives the seconds that the work took since, as if nothing else kept the machine busy.

    On a CPU that is the larger of this thread's own time and an even share of the process's time, and at most what
    passed: what a network takes must not hang on what others do meanwhile.
    """
    start, own, process = time.perf_counter(), time.thread_time(), time.process_time()

    def seconds() -> float:
        passed = time.perf_counter() - start
        if device.type != "cpu":
            return passed
        shared = (time.process_time() - process) / threads(device)
        return min(passed, max(time.thread_time() - own, shared))

    return seconds


def threads(device: torch.device) -> int:
    """Rows that are computed side by side."""
    return torch.get_num_threads() if device.type == "cpu" else 1


def rows_at_once(network: Network, spatial: Sequence[int], most: int, *, gradients: bool = False) -> int:
    """Images of this size, `most` at the most, that go through the network in a turn, with their gradients or without.

    What one takes is measured once for each network and size, on random images and to the logits. One, where the
    answer to an image depends on what else is in the batch.
    """
    if most <= 1 or network.mixes:
        return 1
    key = "gradient" if gradients else "forward", tuple(spatial), torch.get_num_threads()
    cost = known(network, key)
    if cost is None:
        generator = torch.Generator().manual_seed(0)
        image = torch.rand(1, network.input_shape[0], *spatial, generator=generator).to(network.device)

        def run(rows: int) -> None:
            images = image.expand(rows, *image.shape[1:]).clone().requires_grad_(gradients)
            with torch.set_grad_enabled(gradients):
                score = network.logits(images).sum()
            if gradients and score.requires_grad:
                torch.autograd.grad(score, images, allow_unused=True)

        try:
            cost = remember(network, key, measure(run, most, network.device))
        except Exception:  # whoever asked the network in earnest will say it better
            return most
    return cost.at_once(most, memory.free(network.device))


_known: WeakKeyDictionary[Network, dict[Hashable, Cost]] = WeakKeyDictionary()
_lock = threading.Lock()


def known(network: Network, key: Hashable) -> Cost | None:
    """What a row of that kind of work on a network was measured to take; None where it was not yet."""
    with _lock:
        return _known.get(network, {}).get(key)


def remember(network: Network, key: Hashable, cost: Cost) -> Cost:
    """Keep what was measured; what was kept before counts, so that the same work is always split alike."""
    with _lock:
        return _known.setdefault(network, {}).setdefault(key, cost)
