"""Files from a real browser: chosen, dropped, pasted, cancelled, too large; and what a lying browser gets."""

import hashlib
import io

import numpy as np
import pytest
from bokeh.layouts import column
from bokeh.models import TextInput
from browsing import chromium

from dashboard.upload import CHUNK, Receiver, Upload, UploadChunk, UploadError, shown_name, size_text

LIMIT = 9_500_000


@pytest.fixture(scope="module")
def browser():
    with chromium() as one:
        yield one


class Taken:
    """What came out on the server's side."""

    def __init__(self) -> None:
        self.files: list[tuple[str, bytes]] = []
        self.problems: list[str] = []
        self.upload = Upload(name="upload", limit=LIMIT, accept=".bin,image/*", label="Upload…")
        self.upload.on_done(self.keep)
        self.upload.on_problem(self.problems.append)

    def keep(self, name, file):
        with file:
            self.files.append((name, file.read()))
        if name == "strange.bin":
            raise UploadError("strange.bin cannot be read: give a picture.")


def upload_page(document):
    taken = Taken()
    document.add_root(column(taken.upload, TextInput(name="text")))
    return taken


NOTHING = "Bokeh.documents[0].get_model_by_name('upload').progress == -1 && !view_of('upload').model.sending"


def choose(page, name: str, data: bytes, mime: str = "application/octet-stream") -> None:
    page.locator("input[type=file]").set_input_files([{"name": name, "mimeType": mime, "buffer": data}])


def transfer(page, kind: str, files: str, target: str = "document.body") -> bool:
    """Dispatch a drag or paste event with files made in the page; tells whether somebody took it."""
    return page.evaluate(
        f"""() => {{
          const data = new DataTransfer()
          for (const [name, type, size] of {files}) {{
            data.items.add(new File([new Uint8Array(size).fill(7)], name, {{type}}))
          }}
          const options = {{bubbles: true, cancelable: true, composed: true}}
          const event = "{kind}" == "paste" ? new ClipboardEvent("paste", {{...options, clipboardData: data}})
                                            : new DragEvent("{kind}", {{...options, dataTransfer: data}})
          return !{target}.dispatchEvent(event)
        }}"""
    )


def drop(page, name: str, size: int) -> None:
    assert transfer(page, "drop", f'[["{name}", "", {size}]]')


@pytest.mark.browser
def test_a_file_of_several_pieces_arrives_as_it_was(browser):
    data = np.random.default_rng(0).bytes(9_000_001)
    with browser.open(upload_page) as (page, served):
        taken = served.made[-1]
        page.evaluate(
            """() => { const {model, button} = view_of("upload"); window.seen = []
              model.properties.progress.change.connect(() => window.seen.push(button.textContent)) }"""
        )
        choose(page, "brain scan.bin", data)
        page.wait_for_function("window.seen.length == 4")
        page.wait_for_function(NOTHING)
        assert page.evaluate("window.seen") == [
            "Uploading 0 %",
            "Uploading 46 %",
            "Uploading 93 %",
            "Upload…",
        ]
        [(name, got)] = served.do(lambda: taken.files)
        assert name == "brain scan.bin"
        assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest()
        assert served.do(lambda: taken.upload.progress) == -1
        assert taken.problems == []
        choose(page, "brain scan.bin", b"second")  # the same name again
        page.wait_for_function("window.seen.length == 6")
        assert served.do(lambda: taken.files[-1]) == ("brain scan.bin", b"second")


@pytest.mark.browser
def test_a_file_is_dropped_anywhere_on_the_page(browser):
    with browser.open(upload_page) as (page, served):
        taken = served.made[-1]
        zone = page.locator(".zone")
        assert not zone.is_visible()
        one = '[["photo.PNG", "image/png", 5000]]'
        assert transfer(page, "dragenter", one)
        assert zone.is_visible()
        assert "Drop the file to open it" in zone.inner_text()
        assert f"up to {size_text(LIMIT)}" in zone.inner_text()
        box = zone.bounding_box()
        assert (box["width"], box["height"]) == tuple(page.viewport_size.values())
        transfer(page, "dragleave", "[]")
        assert not zone.is_visible()
        assert not transfer(page, "dragover", "[]")  # a dragged text is left alone
        assert transfer(page, "dragover", one)
        assert transfer(page, "drop", one)
        assert not zone.is_visible()
        page.wait_for_function(NOTHING)
        assert served.do(lambda: taken.files) == [("photo.PNG", b"\x07" * 5000)]
        two = '[["a.bin", "", 5], ["b.bin", "", 5]]'
        transfer(page, "drop", two)
        assert page.locator(".said").inner_text() == "2 files were given: upload one at a time."
        served.do(lambda: setattr(taken.upload, "dropping", False))
        page.wait_for_function("!view_of('upload').model.dropping")
        assert not transfer(page, "drop", one)


@pytest.mark.browser
def test_a_picture_is_pasted_but_not_while_somebody_types(browser):
    with browser.open(upload_page) as (page, served):
        taken = served.made[-1]
        assert transfer(page, "paste", '[["image.png", "image/png", 300]]')
        page.wait_for_function(NOTHING)
        assert served.do(lambda: [(name, len(data)) for name, data in taken.files]) == [("image.png", 300)]
        assert not transfer(page, "paste", '[["notes.bin", "text/plain", 300]]')
        field = "view_of('text').shadow_el.querySelector('input')"
        assert not transfer(page, "paste", '[["image.png", "image/png", 300]]', field)
        served.do(lambda: setattr(taken.upload, "disabled", True))
        page.wait_for_function("view_of('upload').button.disabled")
        assert not transfer(page, "paste", '[["image.png", "image/png", 300]]')
        assert len(taken.files) == 1


@pytest.mark.browser
def test_what_cannot_be_taken_is_said_at_once_and_next_to_the_button(browser):
    with browser.open(upload_page) as (page, served):
        taken = served.made[-1]
        said = page.locator(".said")
        drop(page, "large.bin", LIMIT + 100_000)
        assert said.inner_text() == "large.bin has 9.6 MB: up to 9.5 MB can be taken here."
        button, box = page.locator("button.main").bounding_box(), said.bounding_box()
        assert 0 < box["y"] - button["y"] - button["height"] < 12
        choose(page, "words.txt", b"abc", "text/plain")
        assert said.inner_text() == "words.txt is of another kind than can be opened here: .bin, image/*."
        choose(page, "nothing.bin", b"")
        assert said.inner_text() == "nothing.bin is empty: choose another file."
        assert page.evaluate(NOTHING)
        assert served.do(lambda: (taken.files, taken.problems)) == ([], [])
        # What the server finds wrong is told in the same place, and to whoever asked.
        choose(page, "strange.bin", b"x")
        page.wait_for_function("view_of('upload').model.problem.startsWith('strange.bin')")
        assert said.inner_text() == "strange.bin cannot be read: give a picture."
        assert served.do(lambda: taken.problems) == ["strange.bin cannot be read: give a picture."]
        choose(page, "good.bin", b"good")
        page.wait_for_function(NOTHING)
        assert not said.is_visible()
        # A browser that does not keep to the limit is refused by the server.
        page.evaluate("view_of('upload').model.setv({limit: 1e9}, {sync: false})")
        drop(page, "large.bin", LIMIT + 100_000)
        page.wait_for_function(NOTHING)
        assert said.inner_text() == "large.bin has 9.6 MB: up to 9.5 MB can be taken here."
        assert served.do(lambda: (len(taken.files), taken.upload._receiver.open)) == (2, False)


@pytest.mark.browser
def test_an_upload_is_cancelled_and_the_next_one_is_whole(browser):
    with browser.open(upload_page) as (page, served):
        taken = served.made[-1]
        # The browser no longer hears the server, so that the upload stays half done.
        page.evaluate(
            "() => { const {model} = view_of('upload'); window.hear = model.hear; model.hear = () => {} }"
        )
        drop(page, "long.bin", CHUNK + 10)
        cancel = page.locator("button.cancel")
        cancel.wait_for(state="visible")
        page.wait_for_function("view_of('upload').model.answer[1] == 1")
        assert served.do(lambda: taken.upload._receiver.open)
        transfer(page, "drop", '[["other.bin", "", 5]]')
        assert page.locator(".said").inner_text() == "A file is being uploaded: cancel it first, or wait."
        cancel.click()
        page.wait_for_function(NOTHING)
        assert page.locator("button.main").inner_text() == "Upload…"
        assert not cancel.is_visible()
        page.evaluate("() => { view_of('upload').model.hear = window.hear }")
        drop(page, "next.bin", CHUNK + 10)
        page.wait_for_function(NOTHING)
        assert served.do(lambda: taken.files) == [("next.bin", b"\x07" * (CHUNK + 10))]


def pieces(data: bytes, size: int | None = None, transfer: int = 1, name: str = "a.bin"):
    for seq, at in enumerate(range(0, len(data), 4)):
        yield transfer, name, len(data) if size is None else size, seq, data[at : at + 4]


def test_the_receiver_puts_pieces_together():
    receiver = Receiver(100)
    results = [receiver.take(*piece) for piece in pieces(b"0123456789")]
    assert results[:-1] == [None, None]
    name, file = results[-1]
    with file:
        assert (name, file.read()) == ("a.bin", b"0123456789")
    assert not receiver.open
    receiver.take(1, "a.bin", 10, 0, b"01")
    _, file = receiver.take(2, "b.bin", 3, 0, memoryview(b"abc"))  # begins anew
    with file:
        assert file.read() == b"abc"


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        ((1, "a.bin", 10, 2, b"89"), "piece 1 was due"),
        ((1, "a.bin", 10, -1, b"89"), "piece 1 was due"),
        ((2, "a.bin", 10, 1, b"4567"), "belongs to none"),
        ((1, "b.bin", 10, 1, b"4567"), "belongs to none"),
        ((1, "a.bin", 99, 1, b"4567"), "belongs to none"),
        ((1, "a.bin", 10, 1, b"4567890"), "More came of a.bin than its 10 bytes"),
        ((1, "a.bin", 10, 1, b""), "empty or too large"),
        ((1, "a.bin", 10, 1, "4567"), "empty or too large"),
        ((1, "a.bin", 10, True, b"4567"), "without name or size"),
        ((1, "a.bin", 10.0, 1, b"4567"), "without name or size"),
        ((1, b"a.bin", 10, 1, b"4567"), "without name or size"),
        ((np.zeros(2), "a.bin", 10, 1, b"4567"), "without name or size"),
        ((3, "c.bin", 101, 0, b"0123"), "c.bin has 101 bytes: up to 100 bytes"),
        ((3, "c.bin", -1, 0, b"0123"), "c.bin has -1 bytes"),
        ((3, "c.bin", 0, 0, b""), "c.bin is empty"),
    ],
)
def test_a_browser_that_lies_is_refused_and_its_file_dropped(lie, words):
    receiver = Receiver(100)
    assert receiver.take(1, "a.bin", 10, 0, b"0123") is None
    with pytest.raises(UploadError, match=words):
        receiver.take(*lie)
    assert not receiver.open
    with pytest.raises(UploadError, match="belongs to none"):
        receiver.take(1, "a.bin", 10, 1, b"4567")


def test_a_piece_larger_than_pieces_are_is_refused():
    with pytest.raises(UploadError, match="too large"):
        Receiver(3 * CHUNK).take(1, "a.bin", 2 * CHUNK, 0, bytes(CHUNK + 1))


def test_the_model_answers_each_piece_and_keeps_its_limit():
    taken = Taken()
    taken.upload.limit = 10**9  # as a browser may set it
    for seq, chunk in enumerate((b"ab", b"cd")):
        taken.upload._trigger_event(UploadChunk(taken.upload, 7, "../etc/a.bin", 4, seq, chunk))
        assert taken.upload.answer == (7, 1 if seq == 0 else -1, "")
    assert taken.files == [("a.bin", b"abcd")]
    taken.upload._trigger_event(UploadChunk(taken.upload, 8, "b.bin", LIMIT + 1, 0, b"a"))
    transfer, following, problem = taken.upload.answer
    assert (transfer, following) == (8, -1)
    assert taken.problems == [problem]
    taken.upload._trigger_event(UploadChunk(taken.upload, "9", "b.bin", 4, 0, b"a"))
    assert taken.upload.answer[0] == 0
    taken.upload._trigger_event(UploadChunk(taken.upload, 9, "b.bin", 4, 0, b"a"))
    assert taken.upload._receiver.open
    taken.upload.close()
    assert not taken.upload._receiver.open


def test_a_file_that_nobody_wants_is_closed():
    upload = Upload()
    upload._trigger_event(UploadChunk(upload, 1, "a", 1, 0, b"a"))
    assert upload.answer == (1, -1, "")


def test_a_full_disk_is_a_sentence(monkeypatch):
    class Full(io.BytesIO):
        def write(self, data):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("dashboard.upload.SpooledTemporaryFile", lambda max_size: Full())
    receiver = Receiver(10)
    with pytest.raises(UploadError, match="No space left on device"):
        receiver.take(1, "a", 4, 0, b"ab")
    assert not receiver.open


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("cat.png", "cat.png"),
        ("/etc/passwd", "passwd"),
        ("C:\\pictures\\cat.png", "cat.png"),
        ("../../..", ".."),
        ("folder/", "folder"),
        ("a\x00b\n\x1b[31mc.png", "ab[31mc.png"),
        ("gpj.\u202egnp.exe", "gpj.gnp.exe"),
        ("", "unnamed file"),
        ("\ud800", "unnamed file"),
        ("Übergröße 漢字.nii.gz", "Übergröße 漢字.nii.gz"),
    ],
)
def test_a_name_is_made_fit_to_be_shown(given, shown):
    assert shown_name(given) == shown


def test_a_long_name_keeps_its_ending():
    shown = shown_name("x" * 500 + ".nii.gz")
    assert len(shown) == 120
    assert shown.endswith("xxxxx.nii.gz")


def test_sizes_are_told_in_words():
    assert [size_text(n) for n in (12, 1500, 999_999, 64 << 20, 3 * 10**9)] == [
        "12 bytes",
        "1.5 kB",
        "1000 kB",
        "67.1 MB",
        "3 GB",
    ]
