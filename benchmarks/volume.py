"""How fast volumes are: maps of whole ones, and the viewer with its strip from an event to redrawn planes."""

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from bokeh.models import Column

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from browsing import Served, chromium  # noqa: E402
from playwright.sync_api import Page  # noqa: E402

import models  # noqa: E402
from benchmarks.page import percentile  # noqa: E402
from dashboard.slice_strip import SliceStrip  # noqa: E402
from dashboard.volume_view import VOXELS, VolumeView  # noqa: E402
from vislib.attribution import attribute_volume  # noqa: E402
from vislib.volumes import PLANES, read_volume, resample  # noqa: E402

SIDE = 256
EVENTS = 100
PACE = 15  # ms from one answer to the next turn of the wheel: some 25 turns a second, as fast as a finger is
SIZE = (1180, 800)
STRIP = 100  # pixels of its height
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
# What the viewer itself does for an event: hear it and repaint.
WORK = """() => {
  const view = view_of('view')
  window.work = []
  for (const name of ['wheel', 'drag', 'repaint']) {
    const act = view[name].bind(view)
    view[name] = (...all) => {
      const start = performance.now()
      act(...all)
      if (name == 'repaint') window.work.push(window.heard + performance.now() - start)
      window.heard = name == 'repaint' ? 0 : performance.now() - start
    }
  }
  window.heard = 0
}"""
# Milliseconds from a jump of the crosshair to planes with every voxel, of which 120 are waited for it to rest.
SHARP = """(place) => new Promise((done) => {
  const view = view_of('view'), {model} = view, start = performance.now()
  const look = () => {
    const whole = [0, 1, 2].every((axis) => model.sharp_layers[axis]?.at == model.ijk[axis])
    if (whole) requestAnimationFrame(() => setTimeout(() => done(performance.now() - start)))
    else setTimeout(look, 2)
  }
  model.move({0: place, 1: place, 2: place})
  look()
})"""
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
        view = VolumeView(name="view", width=SIZE[0], height=SIZE[1] - STRIP)
        document.add_root(Column(view, SliceStrip(name="strip", view=view, width=SIZE[0], height=STRIP)))
        return view

    size = dict(zip(("width", "height"), SIZE, strict=True))
    with chromium() as browser, browser.open(build, viewport=size) as (page, served):
        view = served.made[-1]
        page.evaluate(WORK)
        eight = _sent(page, served, lambda: view.show(whole, np.eye(4), (0.0, 255.0)))
        yield "8-bit volume from the server to the page, painted", f"{eight:.1f} s", ""
        yield from _both("wheel to redrawn planes, no map", *_wheel(page, PACE))
        sent = _sent(page, served, lambda: view.set_map(values, signed=True))
        yield "map from the server to the page, painted", f"{sent:.1f} s", ""
        yield from _both("wheel to redrawn planes", *_wheel(page, PACE))
        yield "the same where an empty page writes one word, p50 / p95", _times(_nothing(page, PACE)), ""
        yield from _both(
            "wheel to redrawn planes, each turn as soon as the last is answered", *_wheel(page, 0)
        )
        yield from _both("crosshair drag to three redrawn planes", *_drag(page))
        yield from _both("window drag to three redrawn planes", *_drag(page, "right"), target="")
        pieces = [float(ms) for ms in page.evaluate("view_of('strip').model.pieces")]
        yield "work of the strip of slices between two pauses, p50 / p95", _times(pieces), ""
        _sent(page, served, lambda: view.show(values, np.eye(4), (-2.0, 2.0)))
        _sent(page, served, lambda: view.set_map(values, signed=True))
        yield from _both("wheel to redrawn planes, 16-bit volume", *_wheel(page, PACE), target="")
        beyond = int(VOXELS ** (1 / 3)) + 2
        large = np.pad(values, [(0, beyond - SIDE)] * 3, mode="wrap")
        _sent(page, served, lambda: view.show(large, np.eye(4), (-2.0, 2.0)))
        _sent(page, served, lambda: view.set_map(large, signed=True))
        yield from _both(
            f"wheel to redrawn planes, {beyond}³ voxels held coarsely", *_wheel(page, PACE), target=""
        )
        sharp = [_sharp(page, place) for place in range(20)]
        yield "from there to three whole planes from the server, p50 / p95", _times(sharp), ""


def _sent(page: Page, served: Served, action: Callable[[], None]) -> float:
    """Seconds from an update in Python to its paint, by the page's clock: Playwright hears of large messages late."""
    page.evaluate(PAINTED)
    start = time.time()
    served.do(action)
    page.wait_for_function(f"{MODEL}.ack == {served.made[-1].tick}", polling=20)
    return float(page.evaluate("window.painted")) / 1000 - start


def _times(values: list[float]) -> str:
    return f"{percentile(values, 0.5):.0f} / {percentile(values, 0.95):.0f} ms"


def _both(
    what: str, times: list[float], work: list[float], target: str = TARGET
) -> Iterator[tuple[str, str, str]]:
    yield f"{what}, p50 / p95", _times(times), target
    own = f"{percentile(work, 0.5):.1f} / {percentile(work, 0.95):.1f} ms"
    yield "… of which the viewer’s own work", own, ""


def _middles(page: Page) -> list[tuple[float, float]]:
    boxes = page.evaluate("view_of('view').panes.map(({el}) => el.getBoundingClientRect().toJSON())")
    return [(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2) for box in boxes]


def _measured(
    page: Page, act: Callable[[int], None], events: int = EVENTS
) -> tuple[list[float], list[float]]:
    """Milliseconds from each of some events to the paint of what it changed, and of the viewer's own work for it."""
    page.wait_for_timeout(1000)  # what is done when the browser is idle has been done
    page.evaluate(f"{MODEL}.timings.length = window.work.length = 0")
    for number in range(events):
        act(number)
        page.wait_for_function(f"{MODEL}.timings.length > {number}", polling=5)
    times, work = page.evaluate(f"[{MODEL}.timings, window.work]")
    return [float(value) for value in times], [float(value) for value in work]


def _wheel(page: Page, pause: float) -> tuple[list[float], list[float]]:
    """A third of the events over each plane, there and back, `pause` ms after each answer."""
    middles = _middles(page)

    def turn(number: int) -> None:
        if number % (EVENTS // 3) == 0:
            page.mouse.move(*middles[min(2, number * 3 // EVENTS)])
        if pause:
            page.wait_for_timeout(pause)
        page.mouse.wheel(0, 100 if number // 10 % 2 else -100)

    return _measured(page, turn)


def _nothing(page: Page, pause: float) -> list[float]:
    """What the browser itself takes, on this machine and now, to hear of a wheel and to paint."""
    bare = page.context.new_page()
    bare.set_content("<body style='height: 100vh'>")
    bare.evaluate(EMPTY)
    bare.mouse.move(300, 300)
    for number in range(EVENTS):
        bare.wait_for_timeout(pause)
        bare.mouse.wheel(0, 100)
        bare.wait_for_function(f"window.ages.length > {number}", polling=5)
    times = [float(value) for value in bare.evaluate("window.ages")]
    bare.close()
    return times


def _sharp(page: Page, place: int) -> float:
    return float(page.evaluate(SHARP, 2 * place + 101))


def _drag(page: Page, button: str = "left") -> tuple[list[float], list[float]]:
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


def whole_volumes() -> Iterator[tuple[str, float]]:
    """Seconds of maps of a whole volume of 182 x 218 x 182 voxels of 1 mm, the best of two."""
    sample = read_volume(next(one.path for one in models.samples() if one.name == "brain_tumour"))
    affine = np.eye(4)
    affine[:3, 3] = sample.affine[:3, 3]
    data = resample(sample.data, sample.affine, (182, 218, 182), affine)
    volume = replace(sample, data=data, affine=affine)
    asked = [("brain2d", "Grad-CAM", plane) for plane in PLANES]
    asked += [("brain3d", method, "axial") for method in ("Grad-CAM", "Saliency", "Guided backprop")]
    for name, method, plane in asked:
        network = models.load(name, device="cpu")
        times = []
        for _ in range(2):
            begun = time.perf_counter()
            attribute_volume(network, volume, 1, method, plane=plane)
            times.append(time.perf_counter() - begun)
        yield f"{name}, {method}" + (f", every {plane} slice" if name == "brain2d" else ""), min(times)


def main() -> None:
    """Print the tables."""
    print("| map of a whole volume of 182 x 218 x 182 voxels | measured |\n|---|---|")
    for what, seconds in whole_volumes():
        print(f"| {what} | {seconds:.1f} s |", flush=True)
    print()
    print(f"| volume of {SIDE}³ voxels with a map | measured | target |\n|---|---|---|")
    for what, number, target in rows():
        print(f"| {what} | {number} | {target} |", flush=True)


if __name__ == "__main__":
    main()
