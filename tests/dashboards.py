"""The whole dashboard for tests: a server process of its own, and what a test wants to know of an open page."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from browsing import IDLE, VIEW, WAIT
from playwright.sync_api import Browser, ElementHandle, Page
from playwright.sync_api import Error as PlaywrightError

ROOT = Path(__file__).resolve().parents[1]


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def environment() -> dict[str, str]:
    """The tests' environment, with their own modules importable by the server's cards."""
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT / "tests"),
        "BOKEH_LOG_LEVEL": "info",
        "OMP_NUM_THREADS": "2",
    }


def card(folder: Path, name: str, factory: str, extra: str = "", shape: str = "[1, 24, 24]") -> Path:
    """A card of a network from small_networks.py."""
    path = folder / f"{name}.toml"
    path.write_text(
        f'factory = "small_networks:{factory}"\ninput = {shape}\nmean = [0.5]\nstd = [0.25]\n{extra}\n'
    )
    return path


class Dashboard:
    """A server process of the dashboard and where it is."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process, self.port, self._log = process, port, log

    def url(self, query: str = "") -> str:
        """The address of the page."""
        return f"http://localhost:{self.port}/dashboard{query}"

    @property
    def log(self) -> str:
        """What the server has printed so far."""
        return self._log.read_text()

    @property
    def weight(self) -> float:
        """MB of the server's memory."""
        return self.memory("VmRSS") / 1000

    def memory(self, name: str) -> int:
        """kB that the server's process takes (VmRSS), or has taken at the most (VmHWM)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split(f"{name}:")[1].split()[0])

    def rest(self) -> None:
        """Wait until the server has nothing more to do in its threads, such as learning what inputs are familiar."""
        deadline = time.monotonic() + 240
        quiet = 0
        while quiet < 15:  # the clocks of its sessions tick now and then
            assert time.monotonic() < deadline, "the server does not come to rest"
            quiet = max(0, quiet - 2) if self._runs() else quiet + 1
            time.sleep(0.1)

    def _runs(self) -> bool:
        """Whether a thread works, or would if there were a core for it."""
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            try:
                state = (task / "stat").read_text().rsplit(")", 1)[1].split()[0]
            except OSError:  # it has ended
                continue
            if state in "RD":
                return True
        return False

    def stop(self) -> None:
        """End the server as Ctrl-C does."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)


@contextmanager
def serve(folder: Path, *arguments: str, bokeh: tuple[str, ...] = ()) -> Iterator[Dashboard]:
    """Serve the dashboard with these words after --args, and Bokeh's own before, until the block ends."""
    port, log = free_port(), folder / f"server-{time.monotonic_ns()}.log"
    command = [sys.executable, "-m", "bokeh", "serve", "dashboard", "--port", str(port), *bokeh]
    command += ["--args", *arguments]
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=out, stderr=subprocess.STDOUT)
    dashboard = Dashboard(process, port, log)
    try:
        deadline = time.monotonic() + 240  # a busy machine takes its time to import torch
        while True:
            assert process.poll() is None, dashboard.log
            assert time.monotonic() < deadline, dashboard.log
            try:
                with urlopen(f"http://localhost:{port}/dashboard/static/icon.svg", timeout=5):
                    break
            except OSError:
                time.sleep(0.1)
        yield dashboard
    finally:
        dashboard.stop()


class Visit:
    """An open page, and short ways to read and move its models by name."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.problems: list[str] = []
        page.on(
            "console", lambda message: self.problems.append(message.text) if message.type == "error" else None
        )
        page.on("pageerror", lambda error: self.problems.append(str(error)))

    def get(self, name: str, attribute: str) -> Any:
        """The value of a model's property in the browser."""
        self.until("m(arg) != null", name)
        return self.page.evaluate(
            "([name, attribute]) => Bokeh.documents[0].get_model_by_name(name)[attribute]", [name, attribute]
        )

    def set(self, name: str, attribute: str, value: Any) -> None:
        """Set a model's property as a widget would."""
        self.until("m(arg) != null", name)
        self.page.evaluate(
            "([name, attribute, value]) => { Bokeh.documents[0].get_model_by_name(name)[attribute] = value }",
            [name, attribute, value],
        )

    def tab(self, title: str) -> None:
        """Open the tab of that title."""
        self.until("m('tabs') != null")
        self.page.evaluate(
            "(title) => { const tabs = Bokeh.documents[0].get_model_by_name('tabs');"
            " tabs.active = tabs.tabs.findIndex((one) => one.title == title) }",
            title,
        )

    def on_tab(self, title: str) -> None:
        """Wait until the tab of that title is open."""
        self.until("m('tabs').tabs[m('tabs').active].title == arg", title)

    def column(self, name: str, column: str) -> list[Any]:
        """A column of a data source as a list."""
        self.until("m(arg) != null", name)
        return self.page.evaluate(
            "([name, column]) => Array.from(Bokeh.documents[0].get_model_by_name(name).get_array(column))",
            [name, column],
        )

    def press(self, name: str) -> None:
        """Click the button of that name with the mouse, as soon as it can be clicked."""
        self.until("!m(arg).disabled", name)
        for _ in range(5):
            try:
                self.element(name, "button, input, .bk-btn").click(timeout=WAIT / 4)
                return
            except (
                PlaywrightError
            ) as error:  # a new label draws a button anew; a new layout hides it for a moment
                if "not attached" not in str(error) and "not visible" not in str(error):
                    raise
        raise AssertionError(f"{name} could not be clicked")

    def element(self, name: str, selector: str) -> ElementHandle:
        """The first element in a model's view that the CSS selector fits, as soon as it is there."""
        self.until("m(arg) != null", name)
        handle = self.page.wait_for_function(
            f"([name, selector]) => {{ const view = ({VIEW})(name);"
            " return view?.shadow_el?.querySelector(selector) ?? null }",
            arg=[name, selector],
            timeout=WAIT,
        ).as_element()
        assert handle is not None, f"{name} shows no {selector}"
        return handle

    def box(self, name: str, selector: str) -> dict[str, float]:
        """Where such an element is, as soon as it is laid out and rests: the same from one frame to the next."""
        self.until("m(arg) != null", name)
        found = self.page.wait_for_function(
            f"([name, selector]) => {{ const one = ({VIEW})(name)?.shadow_el?.querySelector(selector);"
            " if (!one) return null; const {x, y, width, height} = one.getBoundingClientRect();"
            " const now = JSON.stringify([x, y, width, height]), key = `${name} ${selector}`;"
            " const kept = (window.resting ??= {}), rests = kept[key] == now; kept[key] = now;"
            " return rests && width > 0 && height > 0 ? {x, y, width, height} : null }",
            arg=[name, selector],
            timeout=WAIT,
        )
        box: dict[str, float] = found.json_value()
        return box

    def text(self, name: str) -> str:
        """The words of a Div, without its tags."""
        return re.sub(r"<[^>]*>", "", str(self.get(name, "text")))

    def until(self, condition: str, argument: Any = None, timeout: float = WAIT) -> None:
        """Wait until a JavaScript condition holds; `m(name)` is the model of that name in it."""
        # While a message is being applied, models are there whose properties are not set yet: look again then.
        wrapped = (
            "(arg) => { const m = (name) => Bokeh.documents[0].get_model_by_name(name);"
            f" try {{ return {condition} }} catch (_) {{ return false }} }}"
        )
        self.page.wait_for_function(wrapped, arg=argument, timeout=timeout)

    def live(self) -> None:
        """Wait until the mosaic has been painted."""
        self.until(
            "m('feature-mosaic').ack > 0 && m('feature-source').get_array('step').some((step) => step >= 0)"
        )

    def state(self, words: str) -> None:
        """Wait until the status line says these words."""
        self.until("m('status').text.includes(arg)", words)


@contextmanager
def visit(browser: Browser, url: str, **context: Any) -> Iterator[Visit]:
    """Open the page in a browser context of its own; console and page errors fail the test."""
    room = browser.new_context(viewport={"width": 1440, "height": 900}, **context)
    try:
        page = room.new_page()
        page.set_default_timeout(WAIT)
        one = Visit(page)
        page.goto(url)
        page.wait_for_function(IDLE)
        yield one
        assert not one.problems, one.problems
    finally:
        room.close()
