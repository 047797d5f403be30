"""The whole page of a session without a browser: turned by hand, painted at once, looked at by name."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs

from bokeh.document import Document
from bokeh.server.callbacks import NextTickCallback

from dashboard.options import Options
from dashboard.page import Page
from dashboard.services import Services

PATIENCE = 120  # seconds: a busy machine may need as long


class HandPage:
    """One session's page in this process; `turn` is what server and browser do between two clicks."""

    def __init__(self, shared: Services, query: str = "") -> None:
        self.document = Document()
        arguments = {name: [one.encode() for one in ones] for name, ones in parse_qs(query).items()}
        context = SimpleNamespace(request=SimpleNamespace(arguments=arguments))
        self.document._session_context = lambda: context
        self.page = Page(self.document, shared)
        self.page._begin()

    def turn(self) -> None:
        """Run what is due in the document, tick once, and let the browser paint all of it."""
        for one in self.document.session_callbacks:
            if isinstance(one, NextTickCallback):
                self.document.remove_next_tick_callback(one)
                one.callback()
        self.page._tick()
        for model in self.document.models:
            kind = type(model)  # asked of a model itself, Bokeh looks for similar names, which takes long
            if hasattr(kind, "ack") and hasattr(kind, "tick"):
                model.ack = model.tick

    def until(self, condition: Callable[[], object], what: str = "it") -> None:
        """Turn until the condition holds."""
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, f"{what} did not come; the notice says {self.text('notice')!r}"
            self.turn()
            time.sleep(0.01)  # the threads that are waited for need the interpreter

    def get(self, name: str) -> Any:
        """The model of that name."""
        model = self.document.get_model_by_name(name)
        assert model is not None, f"there is no {name}"
        return model

    def text(self, name: str) -> str:
        """The words of a Div, without its tags."""
        return re.sub(r"<[^>]*>", "", str(self.get(name).text))

    def open(self, network: str) -> None:
        """Choose a network in the menu and wait until the page shows it and what it says of its input."""
        self.get("network-select").value = network
        self.settle()

    def path(self, name: str) -> str:
        """The path of the card of that name."""
        return next(one for one in self.page._services.options.networks if Path(one).stem == name)

    def settle(self) -> None:
        """Wait until a network is open and its answer to the chosen input is shown."""
        now = self.page.workspace.now
        self.until(
            lambda: (
                now.network is not None
                and not self.page.workspace.loading
                and (now.tab == "Features" or self.page.attribution.classes.settled)
            ),
            "the network and what it says",
        )

    def tab(self, title: str) -> None:
        """Open the tab of that title."""
        tabs = self.get("tabs")
        tabs.active = [one.title for one in tabs.tabs].index(title)

    def query(self) -> str:
        """The address, without its question mark."""
        return str(self.get("address").query)[1:]

    def close(self) -> None:
        """The browser has gone."""
        self.page.close()


@contextmanager
def shared(folder: Path, *networks: str | Path) -> Iterator[Services]:
    """What the sessions of one server share, until the block ends."""
    services = Services(
        Options(networks=tuple(map(str, networks)), store=folder / "runs.sqlite", device="cpu")
    )
    try:
        yield services
    finally:
        services.close()


@contextmanager
def page(services: Services, query: str = "") -> Iterator[HandPage]:
    """A session's page, until the block ends."""
    one = HandPage(services, query)
    try:
        yield one
    finally:
        one.close()
