"""A large 3-D network on the page: what one unit takes, and how soon others are answered while it climbs.

`python -m benchmarks.large [--size N] [--asked N]`. A network of three 3-D convolutions over N x N x N voxels (random
weights: speed does not depend on them) climbs sixteen units in one browser session; a second session of the default
network asks for the classes of one slice after the other, a third one for those of the large network itself.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from browsing import FLAGS  # noqa: E402
from dashboards import Dashboard, serve  # noqa: E402
from get_chromium import find_chromium  # noqa: E402
from playwright.sync_api import Browser, Page, sync_playwright  # noqa: E402

from benchmarks.page import MODEL, _open, _press, _stop, _tab  # noqa: E402

PATIENCE = 600_000  # ms
SAYS = f"{MODEL}('volume-says').text"


def heavy() -> nn.Module:
    """Convolutions that put out a whole map of 48 channels: seconds a volume on two cores."""
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv3d(1, 48, 5, padding=2), nn.ReLU(), nn.MaxPool3d(2)),
        *(nn.Conv3d(48, 64, 3, padding=1), nn.ReLU(), nn.MaxPool3d(2)),
        *(nn.Conv3d(64, 128, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten()),
        nn.Linear(128, 2),
    )


def rows(size: int, asked: int) -> Iterator[tuple[str, str, str]]:
    """What was measured, the number and the target."""
    folder = Path(tempfile.mkdtemp(prefix="vislib-bench-"))
    card = folder / "heavy.toml"
    card.write_text(
        f'factory = "benchmarks.large:heavy"\ninput = [1, {size}, {size}, {size}]\nlabels = ["a", "b"]\n'
        'head = "softmax"\n'
    )
    words = ("--network", str(card), "--store", str(folder / "runs.sqlite"))
    try:
        with serve(folder, *words) as server, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS)
            yield from _measured(browser, server, size, asked)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _measured(browser: Browser, server: Dashboard, size: int, asked: int) -> Iterator[tuple[str, str, str]]:
    before = server.memory("VmRSS") / 2**20
    page, ready = _open(browser, server, "?layer=6")
    page.wait_for_function(f"{MODEL}('status').text.includes('Press Start')", timeout=PATIENCE)
    offer = str(page.evaluate(f"{MODEL}('settings-hint').text"))
    assert page.evaluate(f"{MODEL}('jobs').text") == "idle"
    alone = _times(_classes(browser, server, "", asked))
    yield f"{size} x {size} x {size} voxels: page ready, network opened", f"{ready:.1f} s", ""
    yield "what the page says before it starts", offer, "nothing climbs by itself"
    page.wait_for_function(f"{MODEL}('feature-mosaic').placeholder.includes('Press Start')")
    _press(page, "start")
    page.wait_for_function(f"{MODEL}('status').text.includes(' of 16 units')", timeout=PATIENCE)
    tabs = [_tab(page, title) for title in ("Runs", "Features") * 4]
    yield "click on another tab answered, worst of 8", f"{1000 * max(tabs):.0f} ms", "<= 200 ms"
    for title, query in (("the default network", "&network=brain2d"), ("the large network itself", "")):
        times = _times(_classes(browser, server, query, asked))
        yield f"class list of {title}, middle / worst of {asked}", times, "<= 2 s"
    yield "the same while nothing climbs", alone, ""
    start = time.perf_counter()
    _stop(page)
    yield "stop", f"{time.perf_counter() - start:.1f} s", "one unit"
    peak = server.memory("VmHWM") / 2**20
    yield "server's memory, idle / at the most", f"{before:.1f} / {peak:.1f} GB", ""
    page.close()


def _times(seconds: list[float]) -> str:
    return f"{sorted(seconds)[len(seconds) // 2]:.2f} / {max(seconds):.2f} s"


def _classes(browser: Browser, server: Dashboard, query: str, asked: int) -> list[float]:
    """Seconds from another slice, or volume, to its classes, in a session of its own."""
    page, _ = _open(browser, server, f"?tab=Volume{query}")
    page.wait_for_function(f"{MODEL}('class-list').labels.length > 0", timeout=PATIENCE)
    return [_answer(page, number, "brain2d" in query) for number in range(asked)]


def _answer(page: Page, number: int, slices: bool) -> float:
    names = ("brain_dark", "brain_white_matter", "brain_healthy", "brain_tumour")  # which it opened with
    change = (
        f"('input-slice').value = {(62, 20)[number % 2] + number}"
        if slices
        else f"('input-select').value = '{names[number % 4]}'"
    )
    said = page.evaluate(SAYS)
    start = time.perf_counter()
    page.evaluate(f"{MODEL}{change}")
    if not slices:  # of which it says much the same, but what was said of the one before is taken away first
        page.wait_for_function(f"!{SAYS}.includes('It says')", polling=5, timeout=PATIENCE)
        said = ""
    page.wait_for_function(
        f"(said) => {SAYS}.includes('It says') && {SAYS} != said", arg=said, polling=5, timeout=PATIENCE
    )
    return time.perf_counter() - start


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", type=int, default=96, help="voxels on each axis")
    parser.add_argument("--asked", type=int, default=6, help="class lists of each network")
    given = parser.parse_args(arguments)
    print("| a large network | measured | target |\n|---|---|---|")
    for what, number, target in rows(given.size, given.asked):
        print(f"| {what} | {number} | {target} |", flush=True)


if __name__ == "__main__":
    main()
