"""Rows side by side: shares, the thread that each gets, errors, and a climb that does not care how it was shared."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

from vislib.ascent import PRESETS, ascend
from vislib.ascent.workers import in_shares
from vislib.network import Network

CPU = torch.device("cpu")


@pytest.fixture(params=[2, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def threads_of_a_new_thread() -> int:
    counts: list[int] = []
    thread = threading.Thread(target=lambda: counts.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return counts[0]


def test_every_share_has_one_thread_and_the_others_keep_theirs(threads: int) -> None:
    meet = threading.Barrier(threads)

    def work(worker: int, rows: slice) -> tuple[int, slice, int, int]:
        meet.wait(10)  # all at once, or not at all
        return worker, rows, torch.get_num_threads(), threading.get_ident()

    told = in_shares(7, work, CPU)
    assert [worker for worker, *_ in told] == list(range(threads))
    assert [row for _, rows, *_ in told for row in range(7)[rows]] == list(range(7))
    assert [count for _, _, count, _ in told] == [1] * threads
    assert len({ident for *_, ident in told} | {threading.get_ident()}) == threads + 1
    assert torch.get_num_threads() == threads
    assert threads_of_a_new_thread() == threads


@pytest.mark.parametrize(("rows", "device"), [(1, "cpu"), (8, "cuda")])
def test_few_rows_and_other_devices_are_one_share_in_the_callers_thread(
    threads: int, rows: int, device: str
) -> None:
    told = in_shares(rows, lambda worker, share: (worker, share, threading.get_ident()), torch.device(device))
    assert told == [(0, slice(0, rows), threading.get_ident())]


def test_the_first_error_is_raised_when_all_have_ended(threads: int) -> None:
    ended: list[int] = []

    def work(worker: int, rows: slice) -> None:
        time.sleep(0.05 * worker)
        ended.append(worker)
        raise ValueError(f"share {worker}")

    with pytest.raises(ValueError, match="share 0"):
        in_shares(threads, work, CPU)
    assert ended == list(range(threads))


@pytest.mark.parametrize("name", ["Fourier, robust", "Yosinski 3"])
def test_a_climb_is_the_same_however_it_is_shared(threads: int, name: str) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 6, 5, 2), nn.ReLU(), nn.Conv2d(6, 5, 3), nn.Flatten(), nn.LazyLinear(3)
    )
    module(torch.zeros(1, 1, 32, 32))
    network = Network.from_module(module, (1, 32, 32), mean=(0.4,), std=(0.2,), device="cpu")
    shared = list(ascend(network, "2", range(5), PRESETS[name].changed(tv=0.1), steps=4))
    again = list(ascend(network, "2", range(5), PRESETS[name].changed(tv=0.1), steps=4))
    torch.set_num_threads(1)
    whole = list(ascend(network, "2", range(5), PRESETS[name].changed(tv=0.1), steps=4))
    for one, same, other in zip(shared, again, whole, strict=True):
        assert np.array_equal(one.images, same.images)
        assert one.numbers.keys() == other.numbers.keys()
        np.testing.assert_allclose(one.images, other.images, atol=1e-4)
        np.testing.assert_allclose(one.scores, other.scores, rtol=1e-3, atol=1e-4)
        for number, values in one.numbers.items():
            np.testing.assert_array_equal(values, same.numbers[number])
            np.testing.assert_allclose(values, other.numbers[number], rtol=2e-3, atol=1e-4)


def test_a_process_that_shared_rows_ends_by_itself() -> None:
    code = (
        "import torch; torch.set_num_threads(2)\n"
        "from vislib.ascent.workers import in_shares\n"
        "print(in_shares(4, lambda worker, rows: rows.stop, torch.device('cpu')))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert told.stdout.strip() == "[2, 4]"
