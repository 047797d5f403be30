"""Bad volumes on the page: one clear sentence each, the server stays up and its memory where it was."""

import gzip
import io
import struct
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from dashboards import Dashboard, Visit, serve, visit
from playwright.sync_api import Browser
from volume_making import nifti

pytestmark = pytest.mark.browser
GROWTH = (
    60  # MB that a server may weigh more after all of them: less than one of the volumes that they promise
)

# The map is there to its last slice. `stale` counts: the browser hears of a map's bytes before it hears of its share.
WHOLE = "((v) => v.map.byteLength > 0 && v.progress == 1 && !v.stale)(m('volume-view'))"


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    folder = tmp_path_factory.mktemp("volume-trouble")
    words = ("--network", "brain2d", "--store", str(folder / "runs.sqlite"))
    quick = ("--unused-session-lifetime", "500", "--check-unused-sessions", "300")  # ms
    with serve(folder, *words, bokeh=quick) as one:
        yield one


@pytest.fixture(scope="module")
def page(browser: Browser, dashboard: Dashboard) -> Iterator[Visit]:
    with visit(browser, dashboard.url("?tab=Volume")) as one:
        one.until(WHOLE)
        dashboard.rest()  # what follows weighs it
        yield one


def scan(shape: tuple[int, ...] = (40, 50, 30), **header) -> bytes:
    values = np.random.default_rng(0).integers(0, 1000, shape).astype(np.int16)
    return nifti(values, np.diag([2.0, 2, 2, 1]), **header)


def bomb() -> bytes:
    """A header and 2 GB of zeros, packed to 2 MB."""
    head = bytearray(scan((4, 4, 4))[:352])
    struct.pack_into("<8h", head, 40, 3, 1000, 1000, 1000, 1, 1, 1, 1)
    return gzip.compress(bytes(head)) + 64 * gzip.compress(bytes(32 << 20))


def zip_bomb() -> bytes:
    """An archive whose one file is 1.1 GB of zeros."""
    packed = io.BytesIO()
    with (
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("a.nii", "w") as file,
    ):
        for _ in range(1100):
            file.write(bytes(1 << 20))
    return packed.getvalue()


def broken(field_offset: int, kind: str, *values: float) -> bytes:
    """A scan with a field of its header overwritten."""
    data = bytearray(scan())
    struct.pack_into(f"<{kind}", data, field_offset, *values)
    return bytes(data)


CASES = {
    "cut.nii.gz": lambda: gzip.compress(scan())[:20_000],
    "promises-more.nii": lambda: broken(40, "8h", 3, 400, 400, 400, 1, 1, 1, 1),
    "promises-terabytes.nii": lambda: broken(40, "8h", 3, 30_000, 30_000, 30_000, 1, 1, 1, 1),
    "bomb.nii.gz": bomb,
    "bomb.zip": zip_bomb,
    "no-size.nii": lambda: broken(40, "8h", 3, 0, 50, 30, 1, 1, 1, 1),
    "negative.nii": lambda: broken(40, "8h", 3, -40, 50, 30, 1, 1, 1, 1),
    "words.nii": lambda: b"these are only words, and no volume at all\n" * 20,
    "colours.nii": lambda: nifti(
        np.zeros((4, 4, 4), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])), np.eye(4)
    ),
}


def misplaced(*sform: float) -> bytes:
    """A scan with this sform, and no qform to take in its place."""
    return broken(252, "2h", 0, 1)[:280] + struct.pack("<12f", *sform) + scan()[328:]


def upload(page: Visit, name: str, data: bytes) -> None:
    page.element("upload", "input[type=file]").set_input_files(
        {"name": name, "mimeType": "application/octet-stream", "buffer": data}
    )


@pytest.mark.parametrize("name", CASES)
def test_a_bad_file_is_one_sentence_and_no_weight(page: Visit, dashboard: Dashboard, name: str) -> None:
    before, seen = dashboard.weight, page.get("volume-view", "tick")
    upload(page, name, CASES[name]())
    page.until("m('notice').text.includes(arg)", name)
    said = page.text("notice")
    assert said.count(name) == 1
    assert said.endswith(".")
    assert "Traceback" not in said
    page.press("notice-close")
    assert page.get("volume-view", "tick") == seen  # what was looked at is still there
    page.until("!m('volume-view').placeholder.startsWith('Reading')")
    assert name not in str(page.get("input-select", "options"))
    assert dashboard.weight < before + GROWTH


def test_an_empty_file_is_not_even_sent(page: Visit) -> None:
    upload(page, "empty.nii", b"")
    said = page.element("upload", ".said")
    page.page.wait_for_function("(el) => el.innerText.includes('empty.nii is empty')", arg=said)


ODD = {
    "constant.nii": (np.full((30, 30, 20), 7, np.int16), "there is nothing to see"),
    "inverted.nii": (
        1000 - np.pad(np.full((20, 20, 12), 900, np.int16), 6),
        "if it is inverted, networks will not know it",
    ),
    "not-finite.nii": (misplaced(*[float("nan")] * 12), "left and right are a guess"),
    "singular.nii": (misplaced(2, 0, 0, 0, 2, 0, 0, 0, 0, 0, 2, 0), "left and right are a guess"),
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_volume_is_shown_with_a_word_about_it(page: Visit, name: str) -> None:
    odd, words = ODD[name]
    data = odd if isinstance(odd, bytes) else nifti(odd, np.diag([2.0, 2, 2, 1]))
    shape = (40, 50, 30) if isinstance(odd, bytes) else odd.shape
    upload(page, name, data)
    page.until("m('volume-facts').text.includes(arg)", name)
    page.until("(m('volume-facts').text + m('preparation-words').text).includes(arg)", words)
    page.until("m('volume-view').shape.join() == arg", ",".join(map(str, shape)))
    page.until("m('volume-view').ack == m('volume-view').tick")


def test_the_server_is_as_well_as_before(page: Visit, browser: Browser, dashboard: Dashboard) -> None:
    good = scan()
    upload(page, "good.nii", good)
    page.until("m('volume-facts').text.includes('good.nii')")
    page.until(WHOLE)
    with visit(browser, dashboard.url("?tab=Volume")) as another:
        another.until(WHOLE)
    assert "Traceback" not in dashboard.log


def test_a_session_that_ends_lets_its_volume_go(
    browser: Browser, dashboard: Dashboard, page: Visit, tmp_path: Path
) -> None:
    dashboard.rest()
    before = dashboard.weight
    values = np.zeros((400, 400, 220), np.float32) + np.arange(220, dtype=np.float32)
    path = tmp_path / "large.nii.gz"
    path.write_bytes(gzip.compress(nifti(values, np.diag([0.5, 0.5, 0.7, 1])), 1))
    with visit(browser, dashboard.url("?tab=Volume")) as another:
        another.element("upload", "input[type=file]").set_input_files(path)
        another.until("m('volume-facts').text.includes('large.nii.gz') && m('volume-view').step == 2")
        another.until("m('volume-says').text != ''")
        held = dashboard.weight
    alone = 140  # MB of its values
    assert held > before + alone
    deadline = time.monotonic() + 60
    while dashboard.weight > before + alone - 40 and time.monotonic() < deadline:
        time.sleep(0.3)
    assert dashboard.weight < before + alone - 40
