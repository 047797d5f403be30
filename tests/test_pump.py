"""The pump without a browser, by hand-run callbacks, and with one: newest wins, nothing queues, it ends cleanly."""

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest
from browsing import chromium
from hypothesis import given
from hypothesis import strategies as st

from dashboard.canvas import Mosaic
from dashboard.pump import FramePump
from vislib import display


class FakeDocument:
    """Keeps next-tick callbacks until a test runs them."""

    def __init__(self) -> None:
        self.callbacks = []
        self.destroyed = False

    def add_next_tick_callback(self, callback):
        if self.destroyed:
            raise AttributeError("'NoneType' object has no attribute 'add_next_tick_callback'")
        self.callbacks.append(callback)

    def turn(self) -> None:
        due, self.callbacks = self.callbacks, []
        for callback in due:
            callback()


class HandRun:
    """An executor whose work is done when a test says so."""

    def __init__(self) -> None:
        self.work = []

    def submit(self, function, *arguments):
        self.work.append((function, arguments))
        return Future()

    def turn(self) -> None:
        due, self.work = self.work, []
        for function, arguments in due:
            function(*arguments)


class Bench:
    """A pump with everything around it made by hand."""

    def __init__(self, **options) -> None:
        self.now = 0.0
        self.document, self.executor, self.mosaic = FakeDocument(), HandRun(), Mosaic()
        self.pump = FramePump(self.document, self.mosaic, self.executor, clock=lambda: self.now, **options)
        self.made = []

    def offer(self, number: int) -> bool:
        def make() -> bytes:
            self.made.append(number)
            return str(number).encode()

        return self.pump.offer(make)

    def settle(self) -> None:
        while self.executor.work or self.document.callbacks:
            self.executor.turn()
            self.document.turn()


def test_the_newest_frame_goes_when_one_was_painted_and_the_others_are_never_made():
    bench = Bench(in_flight=2)
    for number in range(10):
        bench.offer(number)
        bench.settle()
    assert bench.made == [0, 1]
    assert (bench.mosaic.frame, bench.mosaic.tick) == (b"1", 2)
    bench.mosaic.ack = 1
    bench.settle()
    assert bench.made == [0, 1, 9]
    assert (bench.mosaic.frame, bench.mosaic.tick) == (b"9", 3)
    bench.mosaic.ack = 3
    bench.settle()
    assert bench.made == [0, 1, 9]  # nothing waits


def test_one_acknowledgement_counts_for_all_frames_before_it():
    bench = Bench(in_flight=2)
    for number in range(2):
        bench.offer(number)
        bench.settle()
    bench.mosaic.ack = 2
    for number in range(2, 5):
        bench.offer(number)
        bench.settle()
    assert bench.made == [0, 1, 2, 3]


def test_at_most_one_frame_is_made_and_one_callback_outstanding():
    bench = Bench(in_flight=5)
    for number in range(4):
        bench.offer(number)
    assert len(bench.executor.work) == 1
    bench.executor.turn()
    bench.offer(4)
    assert (len(bench.executor.work), len(bench.document.callbacks)) == (0, 1)
    assert not bench.pump.ready
    bench.document.turn()
    bench.settle()
    assert bench.made == [0, 4]


def test_a_lost_acknowledgement_is_waited_for_no_longer_than_the_patience():
    bench = Bench(in_flight=1, patience=2.0)
    bench.offer(0)
    bench.settle()
    bench.offer(1)
    bench.now = 1.9
    bench.pump.advance()
    bench.settle()
    assert bench.made == [0]
    bench.now = 2.1
    bench.pump.advance()
    bench.settle()
    assert bench.made == [0, 1]
    bench.offer(2)
    bench.settle()
    assert bench.made == [0, 1]  # the patience begins anew with each frame


def test_ticks_go_on_after_the_screen_was_cleared_and_with_another_pump():
    bench = Bench(in_flight=2)
    bench.offer(0)
    bench.settle()
    bench.mosaic.clear()
    assert bench.mosaic.tick == 2
    bench.offer(1)
    bench.settle()
    assert (bench.mosaic.frame, bench.mosaic.tick) == (b"1", 3)
    bench.mosaic.ack = 3
    bench.pump.close()
    second = FramePump(bench.document, bench.mosaic, bench.executor)
    second.offer(lambda: b"second")
    bench.settle()
    assert (bench.mosaic.frame, bench.mosaic.tick) == (b"second", 4)


def test_it_tells_when_a_frame_was_published_after_setting_it():
    bench, seen = Bench(), []
    bench.pump.offer(lambda: b"new", lambda: seen.append((bench.mosaic.frame, bench.mosaic.tick)))
    bench.settle()
    assert seen == [(b"new", 1)]


def test_a_frame_that_cannot_be_made_is_logged_and_the_next_one_goes(caplog):
    bench = Bench()

    def broken() -> bytes:
        raise ValueError("no picture")

    bench.pump.offer(broken)
    bench.settle()
    assert "could not be made" in caplog.text
    bench.offer(1)
    bench.settle()
    assert bench.mosaic.frame == b"1"


@pytest.mark.parametrize("moment", ["before", "made", "called back"])
def test_nothing_is_shown_once_it_is_closed(moment):
    bench = Bench()
    if moment == "before":
        bench.pump.close()
        assert bench.offer(0) is False
    bench.offer(0)
    if moment == "made":
        bench.pump.close()
    bench.executor.turn()
    bench.pump.close()
    bench.settle()
    assert bench.mosaic.frame == b""
    assert bench.pump.closed
    assert bench.offer(1) is False


def test_a_destroyed_session_and_a_shut_executor_close_it():
    bench = Bench()
    bench.document.destroyed = True
    bench.offer(0)
    bench.settle()
    assert bench.pump.closed
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    pump = FramePump(FakeDocument(), Mosaic(), executor)
    assert pump.offer(lambda: b"") is False
    assert pump.closed


@given(st.lists(st.sampled_from(["offer", "make", "turn", "paint", "wait"]), max_size=60), st.integers(1, 3))
def test_in_any_order_frames_are_bounded_in_order_and_the_last_one_arrives(moves, in_flight):
    bench = Bench(in_flight=in_flight, patience=10.0)
    offered, shown = 0, []
    bench.mosaic.on_change("frame", lambda _attr, _old, new: shown.append(int(new)))
    for move in moves:
        if move == "offer":
            bench.offer(offered)
            offered += 1
        elif move == "make":
            bench.executor.turn()
        elif move == "turn":
            bench.document.turn()
        elif move == "paint":
            bench.mosaic.ack = bench.mosaic.tick
        else:
            bench.now += 3.0
            bench.pump.advance()
        assert len(bench.executor.work) + len(bench.document.callbacks) <= 1
    for _ in range(4):
        bench.settle()
        bench.mosaic.ack = bench.mosaic.tick
    bench.settle()
    assert shown == sorted(set(shown))
    assert len(bench.executor.work) + len(bench.document.callbacks) == 0
    if offered:
        assert shown[-1] == offered - 1


def test_many_threads_may_offer_at_once():
    bench = Bench(in_flight=1)
    threads = [threading.Thread(target=lambda k=k: [bench.offer(k) for _ in range(200)]) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(bench.executor.work) == 1
    bench.settle()
    assert len(bench.made) == 1


@pytest.mark.browser
def test_a_fast_producer_is_paced_by_what_the_browser_paints():
    """Every frame's brightness is its number: the browser skips, never lags, and shows the last one."""
    executor = ThreadPoolExecutor(1)

    def build(document):
        mosaic = Mosaic(name="mosaic", n=16, columns=4, width=400, height=400)
        document.add_root(mosaic)
        return mosaic, FramePump(document, mosaic, executor, patience=60.0)

    def frame(number: int) -> bytes:
        return display.jpeg(np.full((512, 512), number % 200, np.uint8))

    with chromium() as browser, browser.open(build) as (page, served):
        mosaic, pump = served.made[-1]
        offers, lags, end = 0, [], time.monotonic() + 2.0
        while time.monotonic() < end:
            offers += 1
            pump.offer(lambda number=offers: frame(number))
            lags.append(mosaic.tick - mosaic.ack)
            time.sleep(0.002)
        pump.offer(lambda: frame(77))
        page.wait_for_function(
            """() => { const view = view_of("mosaic"), {left, top} = view.boxes?.[15] ?? {left: 0, top: 0}
              const pixel = view.canvas.getContext("2d").getImageData(left + 20, top + 20, 1, 1).data
              return Math.abs(pixel[0] - 77) <= 2 }"""
        )
        paints = page.evaluate("Bokeh.documents[0].get_model_by_name('mosaic').paints")
        assert 2 <= paints <= pump.sent < offers
        assert max(lags) <= 3  # two in flight, and one whose acknowledgement is on its way
        pump.close()
        assert pump.offer(lambda: frame(1)) is False
    executor.shutdown()
