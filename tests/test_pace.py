"""What a row takes, measured with a made-up clock and meter, and how many rows then go at once."""

import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from vislib import memory, pace
from vislib.attribution import attribute
from vislib.attribution.incremental import _Plain as Plain
from vislib.evaluation.faithfulness import deletion
from vislib.evaluation.road import road
from vislib.network import Network
from vislib.pace import SHARE, TURN, Cost

CPU = torch.device("cpu")
ROOM = 1e12  # bytes: more than any of these rows needs


class Machine:
    """A clock and a meter of work that takes `alone` seconds for one row and `together` for each of several."""

    def __init__(self, alone: float, together: float, needs: float) -> None:
        self.alone, self.together, self.needs = alone, together, needs
        self.now, self.bytes, self.asked = 0.0, 0.0, list[int]()

    def run(self, rows: int) -> None:
        self.asked.append(rows)
        self.now += self.alone if rows == 1 else rows * self.together
        self.bytes = self.needs * rows

    def watch(self, _device: torch.device) -> Callable[[], float]:
        start = self.now
        return lambda: self.now - start

    def meter(self, _device: torch.device) -> "Machine":
        return self

    def __enter__(self) -> "Machine":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def measure(self, rows: int) -> Cost:
        return pace.measure(self.run, rows, CPU, watch=self.watch, meter=self.meter)  # type: ignore[arg-type]


def test_what_is_long_is_measured_once() -> None:
    machine = Machine(alone=7.0, together=3.0, needs=1e9)
    assert machine.measure(16) == Cost(7.0, 7.0, 1e9)
    assert machine.asked == [1]


def test_what_is_short_is_measured_again_and_beside_others() -> None:
    machine = Machine(alone=0.0101, together=0.005, needs=1e6)
    cost = machine.measure(16)
    assert machine.asked == [1, 1, 14, 14]  # as many as take a turn by themselves
    assert (cost.alone, cost.together, cost.bytes) == pytest.approx((0.0101, 0.005, 1e6))


@given(
    rows=st.integers(1, 64),
    together=st.floats(1e-6, 100),
    needs=st.floats(1.0, 1e11),
    free=st.floats(1e6, 1e12),
)
def test_a_piece_keeps_to_time_and_memory(rows: int, together: float, needs: float, free: float) -> None:
    piece = Cost(together, together, needs).at_once(rows, free)
    assert 1 <= piece <= rows
    assert piece == 1 or piece * together <= 1.5 * TURN
    assert piece == 1 or piece * needs <= SHARE * free
    assert piece == rows or piece & (piece - 1) == 0
    if piece < rows:  # twice as much would not have fitted
        assert 2 * piece * together > TURN or 2 * piece * needs > SHARE * free or 2 * piece > rows


@pytest.mark.parametrize(
    ("cost", "free", "piece"),
    [
        (Cost(0.01, 0.005, 1e6), ROOM, 16),
        (Cost(0.04, 0.03, 1e6), ROOM, 4),
        (Cost(0.2, 0.2, 1e6), ROOM, 1),
        (Cost(0.01, 0.005, 1e9), 16e9, 4),
        (Cost(0.01, 0.005, 1e9), 1e8, 1),
    ],
)
def test_sixteen_units(cost: Cost, free: float, piece: int) -> None:
    assert cost.at_once(16, free) == piece
    assert cost.step(16, free) == pytest.approx(16 * (cost.alone if piece == 1 else cost.together))


def test_a_stopwatch_counts_work_and_not_waiting() -> None:
    seconds = pace.stopwatch(CPU)
    threading.Event().wait(0.2)
    assert seconds() < 0.15
    busy = time.thread_time() + 0.1
    while time.thread_time() < busy:
        pass
    assert 0.09 < seconds() < 0.4


def test_what_was_measured_first_is_kept() -> None:
    network = Network.from_module(
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(72, 2)), (1, 8, 8)
    )
    assert pace.known(network, "a") is None
    assert pace.remember(network, "a", Cost(1, 1, 1)) == Cost(1, 1, 1)
    assert pace.remember(network, "a", Cost(2, 2, 2)) == Cost(1, 1, 1)
    assert pace.known(network, "a") == Cost(1, 1, 1)
    assert pace.known(network, "b") is None


def test_a_meter_sees_the_most_that_was_taken() -> None:
    looks = iter([100.0, 350.0, 120.0])
    last = 120.0
    with memory.Meter(CPU, lambda: next(looks, last)) as taken:
        while next(looks, None) is not None:  # whatever the watching thread left
            pass
    assert 0 <= taken.bytes <= 250
    with memory.Meter(CPU) as taken:
        held = torch.ones(2**26)  # 256 MB
        del held
    assert taken.bytes >= 0.9 * 2**28


def test_a_container_leaves_what_its_limit_says(tmp_path: Path) -> None:
    assert memory._of_container(tmp_path) == float("inf")
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 400\ninactive_file 100\n")
    assert memory._of_container(tmp_path) == float("inf")
    (tmp_path / "memory.max").write_text("1000\n")
    assert memory._of_container(tmp_path) == 400.0
    assert 0 < memory.free(CPU) < 1e15


class _Counting(nn.Module):
    """Tells how many images it is given at once."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 2, 3), nn.Linear(2, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        SEEN.append(len(images))
        return self.head(self.conv(images).relu().mean((2, 3)))


SEEN: list[int] = []
METHODS_ASKED: tuple[tuple[str, dict[str, Any]], ...] = (
    ("Integrated gradients", {"steps": 16}),
    ("SmoothGrad", {"samples": 16}),
    ("Score-CAM", {}),
)


@pytest.mark.parametrize("seconds", [1e-4, 0.06, 3.0])
def test_everything_that_asks_in_batches_keeps_to_a_turn(
    monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    network = Network.from_module(_Counting(), (1, 16, 16), device="cpu")
    monkeypatch.setattr(pace, "known", lambda _network, _key: Cost(seconds, seconds, 0.0))
    image, maps = torch.rand(1, 1, 16, 16), np.random.default_rng(0).random((1, 16, 16))
    asks: dict[str, Callable[[], object]] = {
        **{name: partial(attribute, network, image, 0, name, **few) for name, few in METHODS_ASKED},
        "many at once": lambda: attribute(network, image.expand(24, -1, -1, -1), 0, "Saliency"),
        "curve": lambda: deletion(network, image, 0, maps),
        "ROAD": lambda: road(network, image, 0, maps),
        "prediction by whole passes": lambda: Plain(network, "logits", image, None)(
            torch.zeros(Plain(network, "logits", image, None).rows, 1, 4, 4),
            torch.zeros(Plain(network, "logits", image, None).rows, 2, dtype=torch.long),
        ),
    }
    for name, ask in asks.items():
        SEEN.clear()
        ask()
        assert max(SEEN) <= max(1, 1.5 * TURN / seconds), name
        if seconds == 1e-4:
            assert max(SEEN) > 1, name


def test_rows_at_once_measures_a_network_once(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network.from_module(_Counting(), (1, 16, 16), device="cpu")
    SEEN.clear()
    assert pace.rows_at_once(network, (16, 16), 1) == 1
    assert SEEN == []  # there is nothing to choose
    rows = pace.rows_at_once(network, (16, 16), 8, gradients=True)
    assert SEEN[0] == 1
    SEEN.clear()
    assert pace.rows_at_once(network, (16, 16), 8, gradients=True) == rows
    assert SEEN == []
    assert pace.rows_at_once(network, (16, 16), 3) <= 3
    assert SEEN != []  # without gradients it is another question


def test_a_network_that_fails_is_left_to_whoever_asks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network.from_module(_Counting(), (1, 16, 16), device="cpu")
    monkeypatch.setattr(network.module, "forward", lambda _images: 1 / 0)
    assert pace.rows_at_once(network, (16, 16), 8) == 8
