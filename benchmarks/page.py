"""How fast the page is: ready, first frame, painted updates, tab answer, scrubbing, and memory over many sessions."""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from browsing import FLAGS, IDLE  # noqa: E402
from dashboards import Dashboard, serve  # noqa: E402
from get_chromium import find_chromium  # noqa: E402
from playwright.sync_api import Browser, Page, sync_playwright  # noqa: E402

MODEL = "Bokeh.documents[0].get_model_by_name"
LONG = 4_000  # steps


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def rows(sessions: int) -> Iterator[tuple[str, str, str]]:
    """What was measured, the number and the target, for the default network with 16 units climbing."""
    folder = Path(tempfile.mkdtemp(prefix="vislib-bench-"))
    try:
        with serve(folder, "--store", str(folder / "runs.sqlite")) as server, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS)
            yield from _speeds(browser, server)
            if sessions:
                yield _memory(browser, server, sessions)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _open(browser: Browser, server: Dashboard, query: str = "") -> tuple[Page, float]:
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    start = time.perf_counter()
    page.goto(server.url(query))
    page.wait_for_function(IDLE)
    return page, time.perf_counter() - start


def _speeds(browser: Browser, server: Dashboard) -> list[tuple[str, str, str]]:
    warm, _ = _open(browser, server)  # fills the browser's cache
    _stop(warm)  # its run must not share the processor with the measured one
    warm.close()
    fresh = "?layer=conv4"
    page, ready = _open(browser, server, fresh)
    start = time.perf_counter()
    page.wait_for_function(f"{MODEL}('feature-mosaic').ack > 0", polling=10)
    first = time.perf_counter() - start
    page.wait_for_function(f"{MODEL}('status').text.includes('done')", timeout=120_000)
    page.wait_for_timeout(1000)
    scrubs = _scrubs(page)
    _climb_long(page)
    page.wait_for_timeout(1500)
    painted, frames = _painted(page, 5.0)
    answers = [_tab(page, title) for title in ("Runs", "Features") * 4]
    page.evaluate(f"{MODEL}('player').following = false")
    busy = _scrubs(page)
    _stop(page)
    page.close()
    alone, meanwhile = (_maps(browser, server, climbing) for climbing in (False, True))
    return [
        ("page ready after the request, warm server", f"{ready:.2f} s", "<= 2 s"),
        ("first live frame after that", f"{first:.2f} s", "<= 1.5 s"),
        ("mosaic updates painted, 16 units climbing", f"{painted:.1f} per s", ">= 10 per s"),
        ("steps of the ascent meanwhile", f"{frames:.1f} per s", ""),
        ("click on another tab answered, worst of 8", f"{1000 * max(answers):.0f} ms", "<= 200 ms"),
        ("slider to redrawn image, p50 / p95", _both(scrubs), "p95 <= 33 ms"),
        ("the same while 16 units climb", _both(busy), ""),
        ("another slice to its two quick maps, p50 / p95", _both(alone), ""),
        ("the same while 16 units climb", _both(meanwhile), "<= 300 ms more"),
    ]


def _press(page: Page, name: str) -> None:
    click = "new (Bokeh.require('core/bokeh_events').ButtonClick)()"
    page.evaluate(f"{MODEL}('{name}').trigger_event({click})")


def _climb_long(page: Page) -> None:
    """Have the page's units climb for longer than anything that is measured takes, on any machine."""
    page.evaluate(f"{MODEL}('parameter-steps').value = {LONG}")
    page.wait_for_function(f"{MODEL}('settings-hint').text")
    _press(page, "start")
    page.wait_for_function(f"{MODEL}('status').text.includes('/ {LONG}')")


def _stop(page: Page) -> None:
    page.wait_for_function(f"!{MODEL}('stop').disabled")
    _press(page, "stop")
    page.wait_for_function(f"{MODEL}('status').text.includes('stopped')")


def _both(values: list[float]) -> str:
    return f"{percentile(values, 0.5):.0f} / {percentile(values, 0.95):.0f} ms"


def _painted(page: Page, seconds: float) -> tuple[float, float]:
    read = f"[{MODEL}('feature-mosaic').paints, {MODEL}('feature-source').get_array('step')[0], performance.now()]"
    before = page.evaluate(read)
    page.wait_for_timeout(1000 * seconds)
    after = page.evaluate(read)
    span = (after[2] - before[2]) / 1000
    return (after[0] - before[0]) / span, (after[1] - before[1]) / span


def _tab(page: Page, title: str) -> float:
    """Seconds from a click on a tab to its panel being drawn."""
    return page.evaluate(
        f"""async (title) => {{
          const look = (view) => view.model.name === "tabs" ? view : [...view.children_views()].map(look).find((v) => v)
          const tabs = [...Bokeh.index].map(look).find((v) => v)
          const index = {MODEL}("tabs").tabs.findIndex((one) => one.title == title)
          const start = performance.now()
          tabs.shadow_el.querySelectorAll(".bk-tab")[index].click()
          const shown = () => {MODEL}("tabs").active === index
          while (!shown()) await new Promise((done) => setTimeout(done, 1))
          await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))
          return (performance.now() - start) / 1000
        }}""",
        title,
    )


def _maps(browser: Browser, server: Dashboard, climbing: bool) -> list[float]:
    """Milliseconds from another slice to Grad-CAM and saliency of it painted, the classes among what is computed."""
    page, _ = _open(browser, server, "?tab=Attribution&layer=" + ("conv3" if climbing else "conv4"))
    model = f"{MODEL}"
    for number in (6, 5, 4, 3):
        page.wait_for_function(f"{model}('method-{number}') != null")
        _press(page, f"method-{number}-remove")
        page.wait_for_function(f"{model}('method-grid').children.length == {number - 1}")
    page.evaluate(f"{model}('method-2').value = 'Saliency'")
    if climbing:
        _climb_long(page)
    page.wait_for_timeout(3000)
    words = page.evaluate(f"{model}('jobs').text")
    assert ("climbing" in words) == climbing, words
    times = page.evaluate(
        f"""async () => {{
          const cards = [1, 2].map((at) => {model}(`method-${{at}}-overlay`)), times = []
          for (let slice = 26; slice < 46; slice++) {{
            const before = cards.map((one) => one.tick), start = performance.now()
            {model}("input-slice").value = slice
            const whole = (one, at) => one.tick > before[at] && one.ack == one.tick && !one.stale
            while (!cards.every(whole)) await new Promise((done) => setTimeout(done, 2))
            times.push(performance.now() - start)
          }}
          return times
        }}"""
    )
    if climbing:
        _stop(page)
    page.close()
    return [float(value) for value in times]


def _scrubs(page: Page) -> list[float]:
    """Milliseconds from a move of the slider to the painted image, over all kept steps, there and back, 100 or more."""
    timings = page.evaluate(
        f"""async () => {{
          const slider = {MODEL}("history-slider"), film = {MODEL}("unit-image")
          film.timings.length = 0
          do for (const step of [...film.steps, ...[...film.steps].reverse()]) {{
            slider.value = step
            await new Promise((done) => setTimeout(done, 40))
          }}
          while (film.timings.length < 100)
          return Array.from(film.timings)
        }}"""
    )
    return [float(value) for value in timings]


def _memory(browser: Browser, server: Dashboard, sessions: int) -> tuple[str, str, str]:
    """Resident memory of the server, idle, before and after many sessions that were opened and closed."""

    def visit(count: int) -> None:
        for _ in range(count):
            page, _ = _open(browser, server)
            page.wait_for_function(f"{MODEL}('feature-mosaic').ack > 0")
            page.close()

    def resident() -> float:
        time.sleep(40)  # a session lives for up to 32 s after its browser has gone
        return server.memory("VmRSS") / 1024

    visit(30)
    before = resident()
    visit(sessions)
    after = resident()
    change = 100 * (after - before) / before
    number = f"{before:.0f} -> {after:.0f} MB ({change:+.1f} %)"
    return f"idle server memory over {sessions} sessions", number, "+-5 %"


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=200, help="for the memory; 0 leaves that out")
    given = parser.parse_args(arguments)
    print("| page | measured | target |\n|---|---|---|")
    for what, number, target in rows(given.sessions):
        print(f"| {what} | {number} | {target} |", flush=True)


if __name__ == "__main__":
    main()
