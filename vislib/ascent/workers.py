"""Rows of a batch side by side: one thread a core, each with its own share, in place of one row after the other."""

import concurrent.futures
import os
import threading
from collections.abc import Callable
from typing import TypeVar

import torch

T = TypeVar("T")
_own = threading.local()


def in_shares(rows: int, work: Callable[[int, slice], T], device: torch.device) -> list[T]:
    """Results of `work(worker, rows)` for shares of a batch that cover it, in order; first come, first raised.

    On a CPU and with no fewer rows than torch has threads there, every worker has one thread for itself, so that
    threads do not wait for each other at every operation. Anything else is one share, in the caller's thread.
    Shares follow from the number of rows and of threads alone, so the same work gives the same bits. All shares
    have ended when this returns or raises.
    """
    count = torch.get_num_threads()
    if device.type != "cpu" or not 1 < count <= rows:
        return [work(0, slice(0, rows))]
    shares = [slice(rows * k // count, rows * (k + 1) // count) for k in range(count)]
    pool = _pool_of(count)
    try:
        futures = [pool.submit(work, worker, share) for worker, share in enumerate(shares)]
    except RuntimeError:  # the interpreter is on its way out and takes no more work for other threads
        return [work(worker, share) for worker, share in enumerate(shares)]
    concurrent.futures.wait(futures)
    return [future.result() for future in futures]


def _pool_of(count: int) -> concurrent.futures.ThreadPoolExecutor:
    """The calling thread's own: nobody waits for another one's long rows. It ends with its thread.

    Idle threads cost nothing and serve all that their thread computes (a fork has none of them).
    """
    pools = _own.__dict__.setdefault("pools", {})
    key = count, os.getpid()
    if key not in pools:
        pools[key] = _pool(count)
    return pools[key]


def _pool(count: int) -> concurrent.futures.ThreadPoolExecutor:
    started = threading.Barrier(count)

    def begin() -> None:
        torch.get_num_threads()  # a thread's first use of torch sets its number to the process's: not after ours
        torch.set_num_threads(1)

    pool = concurrent.futures.ThreadPoolExecutor(count, "vislib rows", initializer=begin)
    concurrent.futures.wait([pool.submit(started.wait) for _ in range(count)])
    torch.set_num_threads(
        count
    )  # theirs is per thread, but threads that start later take over the last one set
    return pool
