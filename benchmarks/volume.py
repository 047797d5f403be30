"""How fast the volume viewer is: from wheel, crosshair or window to redrawn planes, and from the server to the page."""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from browsing import Served, chromium  # noqa: E402
from playwright.sync_api import Page  # noqa: E402

from benchmarks.page import percentile  # noqa: E402
from dashboard.volume_view import VolumeView  # noqa: E402

SIDE = 256
EVENTS = 100
SIZE = (1180, 700)
MODEL = "view_of('view').model"
EMPTY = """() => {
  window.ages = []
  const answer = (event) => {
    event.preventDefault()
    requestAnimationFrame(() => {
      document.body.textContent = String(event.timeStamp)
      setTimeout(() => window.ages.push(performance.now() - event.timeStamp))
    })
  }
  addEventListener("wheel", answer, {passive: false})
}"""
PAINTED = (
    f"() => {{ {MODEL}.connect({MODEL}.properties.ack.change, () => {{ window.painted = Date.now() }}) }}"
)
TARGET = "p95 <= 33 ms"


def rows() -> Iterator[tuple[str, str, str]]:
    """What was measured, the number and the target, for SIDE ** 3 voxels as 8 and as 16 bits with a signed map."""
    random = np.random.default_rng(0)
    values = random.normal(size=(SIDE, SIDE, SIDE)).astype(np.float32)
    whole = np.clip(np.rint(40 * values + 128), 0, 255).astype(np.float32)

    def build(document):
        view = VolumeView(name="view", width=SIZE[0], height=SIZE[1])
        document.add_root(view)
        return view

    with (
        chromium() as browser,
        browser.open(build, viewport=dict(zip(("width", "height"), SIZE, strict=True))) as (
            page,
            served,
        ),
    ):
        view = served.made[-1]
        eight = _sent(page, served, lambda: view.show(whole, np.eye(4), (0.0, 255.0)))
        yield "8-bit volume from the server to the page, painted", f"{eight:.1f} s", ""
        yield "wheel to redrawn planes, no map, p50 / p95", _both(_wheel(page)), TARGET
        sent = _sent(page, served, lambda: view.set_map(values, signed=True))
        yield "map from the server to the page, painted", f"{sent:.1f} s", ""
        yield "wheel to redrawn planes, p50 / p95", _both(_wheel(page)), TARGET
        yield "the same where an empty page writes one word, p50 / p95", _both(_nothing(page)), ""
        yield "crosshair drag to three redrawn planes, p50 / p95", _both(_drag(page)), TARGET
        yield "window drag to three redrawn planes, p50 / p95", _both(_drag(page, "right")), ""
        _sent(page, served, lambda: view.show(values, np.eye(4), (-2.0, 2.0)))
        _sent(page, served, lambda: view.set_map(values, signed=True))
        yield "wheel to redrawn planes, 16-bit volume, p50 / p95", _both(_wheel(page)), ""


def _sent(page: Page, served: Served, action: Callable[[], None]) -> float:
    """Seconds from an update in Python to its paint, by the page's clock: Playwright hears of large messages late."""
    page.evaluate(PAINTED)
    start = time.time()
    served.do(action)
    page.wait_for_function(f"{MODEL}.ack == {served.made[-1].tick}", polling=20)
    return float(page.evaluate("window.painted")) / 1000 - start


def _both(values: list[float]) -> str:
    return f"{percentile(values, 0.5):.0f} / {percentile(values, 0.95):.0f} ms"


def _middles(page: Page) -> list[tuple[float, float]]:
    boxes = page.evaluate("view_of('view').panes.map(({el}) => el.getBoundingClientRect().toJSON())")
    return [(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2) for box in boxes]


def _measured(page: Page, act: Callable[[int], None], events: int = EVENTS) -> list[float]:
    """Milliseconds from each of some events to the paint of what it changed."""
    page.evaluate(f"{MODEL}.timings.length = 0")
    for number in range(events):
        act(number)
        page.wait_for_function(f"{MODEL}.timings.length > {number}", polling=5)
    return [float(value) for value in page.evaluate(f"{MODEL}.timings")]


def _wheel(page: Page) -> list[float]:
    """A third of the events over each plane, there and back."""
    middles = _middles(page)

    def turn(number: int) -> None:
        if number % (EVENTS // 3) == 0:
            page.mouse.move(*middles[min(2, number * 3 // EVENTS)])
        page.mouse.wheel(0, 100 if number // 10 % 2 else -100)

    return _measured(page, turn)


def _nothing(page: Page) -> list[float]:
    """What the browser itself takes, on this machine and now, to hear of a wheel and to paint."""
    bare = page.context.new_page()
    bare.set_content("<body style='height: 100vh'>")
    bare.evaluate(EMPTY)
    bare.mouse.move(300, 300)
    for number in range(EVENTS):
        bare.mouse.wheel(0, 100)
        bare.wait_for_function(f"window.ages.length > {number}", polling=5)
    times = [float(value) for value in bare.evaluate("window.ages")]
    bare.close()
    return times


def _drag(page: Page, button: str = "left") -> list[float]:
    """Over the axial plane, slanting, while the slice is changed too: with the left button all planes change."""
    x, y = _middles(page)[2]
    page.mouse.move(x, y)
    page.mouse.down(button=button)
    page.wait_for_timeout(200)

    def move(number: int) -> None:
        away = 2 * (number % 20) - 19
        page.mouse.move(x + away, y + away)
        if button == "left":
            page.mouse.wheel(0, 100 if number // 10 % 2 else -100)

    times = _measured(page, move)
    page.mouse.up(button=button)
    return times


def main() -> None:
    """Print the table."""
    print(f"| volume of {SIDE}³ voxels with a map | measured | target |\n|---|---|---|")
    for what, number, target in rows():
        print(f"| {what} | {number} | {target} |", flush=True)


if __name__ == "__main__":
    main()
