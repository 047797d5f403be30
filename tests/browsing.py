"""A real Chromium for tests: serve a document, open it, and fail on any error that the browser reports."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from bokeh.application import Application
from bokeh.application.handlers import FunctionHandler
from bokeh.document import Document
from bokeh.server.server import Server
from get_chromium import find_chromium
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from tornado.ioloop import IOLoop

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
WAIT = 60_000  # ms: two busy cores may need as long
IDLE = "() => window.Bokeh && Bokeh.documents.length > 0 && Bokeh.documents.every((one) => one.is_idle)"
# Until what is asked for in this frame has been painted.
FRAME = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
# Count in `window.layouts` how often Bokeh lays the page out from now on.
COUNT_LAYOUTS = """() => {
  window.layouts = 0
  for (const root of Bokeh.index) {
    if (root.compute_layout == null) continue  // a menu, no part of the page
    const compute = root.compute_layout.bind(root)
    root.compute_layout = () => { window.layouts += 1; compute() }
  }
}"""
# Every view of a model, found from the roots down.
VIEW = """(name) => {
  const model = Bokeh.documents[0].get_model_by_name(name)
  const look = (view) => view.model === model ? view : [...view.children_views()].map(look).find((v) => v != null)
  return [...Bokeh.index].map(look).find((v) => v != null)
}"""


class Served:
    """Documents behind one server in a thread of its own; `build` makes the next one."""

    def __init__(self) -> None:
        self.page: Page | None = None
        self._done = 0
        self.made: list[Any] = []
        self.documents: list[Document] = []
        self.build: Callable[[Document], Any] = lambda document: None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(20)

    def _run(self) -> None:
        asyncio.set_event_loop(asyncio.new_event_loop())
        self.loop = IOLoop.current()

        def build(document: Document) -> None:
            self.documents.append(document)
            self.made.append(self.build(document))

        application = Application(FunctionHandler(build))
        # Not at "/": there an application's own static files hide those of extensions.
        self.server = Server({"/page": application}, port=0, io_loop=self.loop)
        self.server.start()
        self.loop.add_callback(self._ready.set)
        self.loop.start()
        self.loop.close(all_fds=False)

    @property
    def url(self) -> str:
        return f"http://localhost:{self.server.port}/page"

    def do(self, action: Callable[[], Any]) -> Any:
        """Run `action` in the newest document, and hand back what it returns or raises, once the browser knows.

        What an action changes travels in several messages, and a slow browser shows what lies between.
        """
        done, document = threading.Event(), self.documents[-1]
        outcome: list[Any] = []
        self._done += 1
        title = f"after action {self._done}"

        def run() -> None:
            try:
                outcome.append((action(), None))
            except BaseException as error:
                outcome.append((None, error))
            document.title = title  # messages keep their order
            done.set()

        document.add_next_tick_callback(run)
        assert done.wait(WAIT / 1000), "the document did not run the action"
        if self.page is not None:
            self.page.wait_for_function("(title) => Bokeh.documents[0].title() == title", arg=title)
        value, error = outcome[0]
        if error is not None:
            raise error
        return value

    def stop(self) -> None:
        def end() -> None:
            self.server.stop()
            self.loop.stop()

        self.loop.add_callback(end)
        self._thread.join(20)


class Chromium:
    """The system's Chromium without a window, and one server for all that it opens, so that its cache serves."""

    def __init__(self, browser: Browser, served: Served) -> None:
        self._browser, self._served = browser, served
        self._contexts: dict[str, BrowserContext] = {}

    @contextmanager
    def open(self, build: Callable[[Document], Any], **context: Any) -> Iterator[tuple[Page, Served]]:
        """A page that shows what `build` put into its document; console and page errors fail the test."""
        self._served.build = build
        errors: list[str] = []
        if str(context) not in self._contexts:
            self._contexts[str(context)] = self._browser.new_context(**context)
        page = self._contexts[str(context)].new_page()
        page.set_default_timeout(WAIT)
        try:
            page.on(
                "console", lambda message: errors.append(message.text) if message.type == "error" else None
            )
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.goto(self._served.url)
            page.wait_for_function(IDLE)
            page.evaluate(f"() => {{ window.view_of = {VIEW} }}")
            self._served.page = page
            yield page, self._served
            assert not errors, errors
        finally:
            self._served.page = None
            page.close()


@contextmanager
def chromium() -> Iterator[Chromium]:
    """A browser and its server, closed at the end."""
    executable = find_chromium()
    served = Served()
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
            try:
                yield Chromium(browser, served)
            finally:
                browser.close()
    finally:
        served.stop()
