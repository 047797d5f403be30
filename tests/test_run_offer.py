"""What climbs by itself: quick steps alone, measured in the background, where somebody looks at the Features panel."""

import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import job_making
import pytest
import torch
from bokeh.document import Document
from small_networks import working

from dashboard import run as run_module
from dashboard.features import Features
from dashboard.options import Options
from dashboard.run import QUICK, Run
from dashboard.services import Services
from dashboard.status import describe
from dashboard.workspace import Workspace
from vislib.ascent import PRESETS, ascent_spec, default_preset
from vislib.errors import AscentError
from vislib.network import Network
from vislib.pace import Cost

LONG = 60.0  # seconds that a test waits for something that comes at once
until = partial(job_making.until, seconds=LONG)
SLOW = Cost(2.5, 2.5, 1e6)  # of a unit: 40 s a step of 16


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    made = Services(Options(networks=("brain2d",), store=tmp_path / "runs.sqlite"))
    yield made
    made.close()


@pytest.fixture
def network() -> Network:
    return Network.from_module(working(), (1, 24, 24), mean=(0.5,), std=(0.25,), device="cpu", name="small")


def run_of(services: Services, network: Network, steps: int = 256) -> Run:
    return services.run(network, ascent_spec(network, "2", range(16), PRESETS["smooth steps"], steps=steps))


def slow(monkeypatch: pytest.MonkeyPatch, cost: Cost = SLOW) -> list[str]:
    """Have every row measured as so slow; returns the names of the threads that measured."""
    threads: list[str] = []

    def measure(_network: Network, _spec: Any) -> Cost:
        threads.append(threading.current_thread().name)
        return cost

    monkeypatch.setattr(run_module, "measure_ascent", measure)
    return threads


def test_a_quick_run_begins_by_itself(services: Services, network: Network) -> None:
    run = run_of(services, network, steps=2)
    run.watch()
    assert run.state == "new"
    run.begin()
    until(lambda: run.state == "done")
    assert run.step_seconds is not None
    assert run.step_seconds <= QUICK
    assert run.offer == ""


def test_a_slow_one_is_offered_with_what_it_takes(
    services: Services, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = slow(monkeypatch)
    run = run_of(services, network)
    run.watch()
    run.begin()
    until(lambda: bool(run.offer))
    assert (run.state, run.measuring) == ("new", False)
    assert threads == ["vislib runner cpu"]  # and not the event loop's
    assert run.offer == "One step of 16 units takes about 40 s here; 256 steps take about 2.8 h."
    assert describe(run) == f"16 units of 2 | {run.offer} Press Start."
    assert services.climbing() == []
    run.start()  # asked for, it climbs whatever it takes
    until(lambda: run.step >= 0)
    assert run.offer == ""
    assert "2.5 s a unit, which cannot be split" in describe(run)
    run.stop()
    until(lambda: not run.active)


def test_nobody_looks_any_more_when_it_was_measured(services: Services, network: Network) -> None:
    run = run_of(services, network)
    run.begin()
    until(lambda: not run.measuring)
    assert run.state == "new"


def test_a_network_that_fails_tells_so(
    services: Services, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(_network: Network, _spec: Any) -> Cost:
        raise AscentError("The camera is on fire.")

    monkeypatch.setattr(run_module, "measure_ascent", measure)
    run = run_of(services, network, steps=1)
    run.watch()
    run.begin()
    until(lambda: run.state in ("done", "failed"))  # the climb itself says what is wrong, if anything


@pytest.mark.parametrize("tab", ["Attribution", "Volume", "Runs"])
def test_nothing_climbs_behind_another_tab(services: Services, network: Network, tab: str) -> None:
    workspace = Workspace()
    features = Features(services, workspace, Document())
    workspace.change(
        tab=tab,
        network_name="small",
        network=network,
        layer="2",
        preset=default_preset(network).changed(steps=1),
    )
    features.begin()
    run = features.run
    assert run is not None
    assert (run.state, run.measuring) == ("new", False)
    assert services.runner.jobs() == []
    workspace.change(tab="Features")
    until(lambda: run.state == "done")
    features.close()


def test_a_step_in_pieces_says_how_far_it_is(
    services: Services, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, go = threading.Event(), threading.Event()
    real = torch.autograd.grad

    def grad(*args: Any, **kwargs: Any) -> Any:
        if services.runner.jobs() and run.turn is not None and run.turn.done >= 3:
            held.set()
            go.wait(LONG)
        return real(*args, **kwargs)

    monkeypatch.setattr("vislib.pace.known", lambda _network, _kind: SLOW)
    monkeypatch.setattr(torch.autograd, "grad", grad)
    run = run_of(services, network, steps=3)
    run.watch()
    run.begin()
    assert run.state == "new"
    run.start()
    assert held.wait(LONG)
    assert describe(run) == (
        "16 units of 2 | step 0 / 3 | 3 of 16 units | about 40 s a step | "
        "2.5 s a unit, which cannot be split | 2 min left"
    )
    run.pause()
    assert "pausing: the unit at work is finished first" in describe(run)
    go.set()
    until(lambda: run.state == "paused")
    assert "units" in describe(run).split("|")[1]
    run.stop()
    until(lambda: not run.active)
