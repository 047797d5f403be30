"""A step in pieces: the same pictures for any split, nothing held between two pieces, and others get their turn."""

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from vislib import memory, pace
from vislib.ascent import (
    PRESETS,
    Preset,
    ascend_spec,
    ascent_cost,
    ascent_spec,
    ascent_turns,
    climb,
    measure_ascent,
)
from vislib.ascent.evaluation import even_edges
from vislib.frames import Frame
from vislib.jobs import Job, Latest, Runner
from vislib.multiplications import Multiplications
from vislib.network import Network
from vislib.pace import Cost
from vislib.turns import Turn

LONG = 20.0  # seconds that a test waits for something that comes at once
UNITS, STEPS = 7, 3
SLOW = Cost(10.0, 10.0, 0.0)  # of a row that nothing can be computed beside
SPECS = {
    "pixels": PRESETS["Yosinski 3"],
    "shares of pixels": PRESETS["Yosinski 4"],
    "spectrum, Adam, transforms": PRESETS["Fourier, robust"],
    "penalty": PRESETS["jitter + TV"],
}


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    module = nn.Sequential(
        *(nn.Conv2d(1, 8, 5, 2), nn.ReLU(), nn.Conv2d(8, UNITS, 3), nn.Flatten(), nn.LazyLinear(3))
    )
    module(torch.zeros(1, 1, 32, 32))
    return Network.from_module(module, (1, 32, 32), mean=(0.4,), std=(0.2,), device="cpu")


def spec_of(network: Network, preset: Preset = PRESETS["Yosinski 3"]) -> dict[str, Any]:
    return ascent_spec(network, "2", range(UNITS), preset, steps=STEPS, seed=3)


def says(monkeypatch: pytest.MonkeyPatch, cost: Cost, free: float = 1e12) -> None:
    monkeypatch.setattr(pace, "known", lambda _network, _kind: cost)
    monkeypatch.setattr(memory, "free", lambda _device: free)


def of_rows(rows: int) -> Cost:
    """A cost with which so many rows go at once."""
    return Cost(0.01, pace.TURN / (rows + 0.5), 0.0)


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("name", SPECS)
def test_the_pictures_are_the_same_to_the_bit_for_any_split(
    network: Network, monkeypatch: pytest.MonkeyPatch, name: str, large: bool
) -> None:
    monkeypatch.setattr(climb, "LARGE", 0 if large else 1e15)
    spec = ascent_spec(network, "2", range(UNITS), SPECS[name], steps=12, seed=3)
    says(monkeypatch, Cost(1e-4, 1e-4, 0.0))
    whole = list(ascent_turns(network, spec))
    assert [type(one) for one in whole] == [Frame] * 13
    for rows in (1, 2, 4):
        says(monkeypatch, of_rows(rows))
        turns = list(ascent_turns(network, spec))
        least = 1 if large else 2 * pace.threads(network.device)
        told = [one.done for one in turns if isinstance(one, Turn) and one.step == 5]
        assert told == even_edges(UNITS, max(rows, least), least)[1:-1]
        for one, other in zip(whole, (one for one in turns if isinstance(one, Frame)), strict=True):
            assert isinstance(one, Frame)
            np.testing.assert_array_equal(other.images, one.images)
            np.testing.assert_allclose(other.scores, one.scores, rtol=1e-5, atol=1e-6)
            for number, values in one.numbers.items():
                np.testing.assert_allclose(other.numbers[number], values, rtol=1e-4, atol=1e-6)


def test_a_row_that_takes_longer_than_a_turn_goes_by_itself(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    says(monkeypatch, SLOW)
    turns = [one.done for one in ascent_turns(network, spec_of(network)) if isinstance(one, Turn)]
    assert turns == [*range(1, UNITS)] * (STEPS + 1)


def test_no_part_is_of_one_row_where_there_are_more() -> None:
    for rows in range(1, 40):
        for most in range(1, 20):
            for least in range(1, most + 1):
                edges = even_edges(rows, most, least)
                sizes = np.diff(edges)
                assert edges[0] == 0
                assert edges[-1] == rows
                assert max(sizes) - min(sizes) <= 1
                assert min(sizes) >= min(least, rows)
                assert max(sizes) <= max(most, 2 * least - 1)


def test_multiplications_are_counted_up_to_the_layer_in_this_thread(network: Network) -> None:
    first, second = 14 * 14 * 8 * 25, 12 * 12 * UNITS * 8 * 9
    images = torch.rand(1, 1, 32, 32)
    for layer, expected in {
        "0": first,
        "2": first + second,
        "logits": first + second + 3 * 144 * UNITS,
    }.items():
        with torch.no_grad(), Multiplications() as counted:
            network.activations(images, layer)
            elsewhere = threading.Thread(target=lambda: torch.rand(9, 9) @ torch.rand(9, 9))
            elsewhere.start()
            elsewhere.join()
        assert counted.total == expected, layer


def test_a_script_gets_frames_alone(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    says(monkeypatch, SLOW)
    assert [one.step for one in ascend_spec(network, spec_of(network))] == [0, 1, 2, 3]


@pytest.mark.parametrize("name", SPECS)
def test_a_run_that_was_stopped_within_a_step_goes_on_as_the_unbroken_one(
    network: Network, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(climb, "LARGE", 0)
    spec = spec_of(network, SPECS[name])
    says(monkeypatch, of_rows(2))
    frames = list(ascend_spec(network, spec))
    turns = ascent_turns(network, spec)
    last: Frame | None = None
    for one in turns:
        last = one if isinstance(one, Frame) else last
        if isinstance(one, Turn) and one.step == 2 and one.done == 5:
            break
    assert last is not None
    assert last.snapshot is not None
    checkpoint = last.snapshot()
    turns.close()  # type: ignore[attr-defined]
    says(monkeypatch, SLOW)  # a busier machine: the run goes on in its own pieces
    rest = list(ascend_spec(network, spec, resume=checkpoint))
    assert [one.step for one in rest] == [2, 3]
    for one, other in zip(rest, frames[2:], strict=True):
        np.testing.assert_array_equal(one.images, other.images)
        np.testing.assert_array_equal(one.numbers["became_argmax"], other.numbers["became_argmax"])


def test_a_piece_keeps_to_the_memory_that_the_first_row_was_measured_to_need(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    says(monkeypatch, Cost(1e-4, 1e-4, 1000.0), free=2.5 * 1000 / pace.SHARE)
    turns = [
        one for one in ascent_turns(network, spec_of(network)) if isinstance(one, Turn) and one.step == 0
    ]
    assert [one.done for one in turns] == [1, 3, 5]  # none of three


def test_a_row_is_measured_once_for_each_layer_and_size(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    real = pace.measure

    def measure(run: Any, rows: int, device: torch.device) -> Cost:
        asked.append(rows)
        return real(run, rows, device)

    monkeypatch.setattr(pace, "measure", measure)
    spec = spec_of(network)
    assert ascent_cost(network, spec) is None
    cost = measure_ascent(network, spec)
    assert 0 < cost.together <= cost.alone
    assert ascent_cost(network, spec) == cost
    list(ascend_spec(network, spec))
    list(ascend_spec(network, {**spec, "seed": 4}))
    assert asked == [UNITS]
    list(ascend_spec(network, {**spec, "layer": "0"}))
    list(ascend_spec(network, {**spec, "size": [24, 24]}))
    assert asked == [UNITS] * 3


def test_nothing_is_locked_between_two_pieces(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    says(monkeypatch, SLOW)
    answers: list[torch.Tensor] = []

    def ask() -> None:
        answers.append(network.logits(torch.rand(1, 1, 32, 32)))

    for count, _one in enumerate(ascent_turns(network, spec_of(network)), start=1):
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join(LONG)
        assert len(answers) == count
        assert torch.is_grad_enabled()


def test_a_question_is_answered_between_two_pieces_of_one_step(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    says(monkeypatch, SLOW)
    runner = Runner()
    done: list[str] = []
    asked: list[Job] = []

    def classes() -> Iterator[Frame]:
        scores = network.logits(torch.rand(1, 1, 32, 32)).numpy()[0]
        yield Frame(1, np.zeros((1, 1, 1, 1), np.float32), scores, {})

    def climb(_checkpoint: bytes | None) -> Iterator[Frame | Turn]:
        for one in ascent_turns(network, spec_of(network)):
            if not asked:
                job = Job("classes", lambda _: classes(), history=Latest(), interactive=True, brief=True)
                job.on_end(lambda _job: done.append("classes"))
                asked.append(runner.submit(job))
            done.append(f"step {one.step}, {one.done if isinstance(one, Turn) else UNITS} units")
            yield one

    job = runner.submit(Job("climb", climb))
    assert job.wait(LONG)
    assert done[:3] == ["step 0, 1 units", "classes", "step 0, 2 units"]
    assert (job.state, job.step, job.turn) == ("done", STEPS, None)
    assert len(done) == 1 + UNITS * (STEPS + 1)
    assert runner.shutdown(LONG)
