"""The Volume panel without a browser: whose map is shown and saved, whatever is chosen while answers are pending."""

import gzip
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from bokeh.document import Document
from volume_making import nifti

from dashboard import input_bar, label_input, map_places, volume_files, volume_map, volume_panel
from dashboard.class_list import ClassList
from dashboard.input_bar import InputBar
from dashboard.options import Options
from dashboard.services import Services
from dashboard.volume_files import Sight, build
from dashboard.volume_panel import VolumePanel
from dashboard.workspace import Workspace
from vislib.attribution import Target
from vislib.errors import ImageError
from vislib.preparation import Preparation


class Session:
    """A panel whose callbacks from other threads wait until `step` calls them, as a document would."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.queue: list[Callable[[], None]] = []
        for module in (input_bar, label_input, map_places, volume_map, volume_panel):
            monkeypatch.setattr(module, "later", lambda _document, callback: self.queue.append(callback))
        self.services = Services(Options(networks=("brain2d",), store=folder / "runs.sqlite"))
        self.workspace = Workspace()
        self.said: list[str] = []
        self.workspace.on_notice(lambda sentence, _kind: self.said.append(sentence))
        self.bar = InputBar(self.workspace, self.services)
        self.classes = ClassList(self.services.answers, self.workspace)
        self.panel = VolumePanel(self.services, self.workspace, Document(), self.bar, self.classes)
        self.map, self.view = self.panel.map, self.panel.view
        network = self.services.network("brain2d")
        self.workspace.change(tab="Volume", network_name="brain2d", network=network, layer="conv3", unit=2)

    def step(self) -> None:
        """What a tick of the page and the browser's answer do."""
        waiting, self.queue[:] = list(self.queue), []
        for callback in waiting:
            callback()
        self.classes.tick()
        self.panel.tick()
        self.view.ack = self.view.tick

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, (self.map.foot.text, self.view.title, self.said)
            self.step()
            time.sleep(0.005)

    def settled(self, name: str) -> bool:
        """Whether the whole map of that volume is shown."""
        shown = self.map.shown
        return shown is not None and shown[1].done and shown[0].scan.name == name

    def choose(self, name: str) -> None:
        """Choose an input, and wait until its volume is there but nothing more."""
        self.bar.choose(name=name, index=None)
        deadline = time.monotonic() + 60
        while (scan := self.workspace.now.scan) is None or scan.name != name:
            assert time.monotonic() < deadline, self.said
            waiting, self.queue[:] = list(self.queue), []
            for callback in waiting:
                callback()
            time.sleep(0.002)


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    one = Session(tmp_path, monkeypatch)
    yield one
    one.panel.close()
    one.bar.close()
    one.services.reader.shutdown(wait=True)  # the uploads are deleted there
    one.services.close()


def test_a_map_never_lies_over_another_volume_of_its_shape(session: Session) -> None:
    session.choose("brain_tumour")
    session.until(lambda: session.settled("brain_tumour"))
    shape = session.view.grid
    session.choose("brain_healthy")
    assert session.view.grid == shape
    for _ in range(3):  # before the network has said anything of it
        session.panel.tick()
        assert session.view.map == b""
        assert session.map.shown is None
    sight = Sight.of(session.view, "axial", session.map.limit)
    with pytest.raises(ImageError, match="no map to save yet"):
        build("map.nii.gz", session.workspace.now.scan, session.map.shown, sight)
    session.until(lambda: session.settled("brain_healthy"))
    assert session.view.title.startswith("Grad-CAM for healthy")
    session.choose("brain_tumour")  # its answer is remembered
    session.until(lambda: session.settled("brain_tumour"))
    name, data = build("map.nii.gz", session.workspace.now.scan, session.map.shown, sight)
    assert name == "brain_tumour-Grad-CAM.nii.gz"
    saved = nib.as_closest_canonical(nib.Nifti1Image.from_bytes(gzip.decompress(data))).get_fdata()
    np.testing.assert_allclose(saved, session.map.shown[1].values, rtol=1e-6)


def test_a_hidden_units_map_comes_for_every_volume(session: Session) -> None:
    session.choose("brain_tumour")
    session.until(lambda: session.settled("brain_tumour"))
    session.workspace.change(target=Target(2, layer="conv3"))
    session.until(lambda: session.view.title.startswith("Grad-CAM for unit 2 of conv3") and session.map.shown)
    session.choose("brain_dark")
    session.until(lambda: session.settled("brain_dark"))
    assert session.view.title.startswith("Grad-CAM for unit 2 of conv3")


def test_times_of_a_volume_have_maps_of_their_own(session: Session, tmp_path: Path) -> None:
    values = np.random.default_rng(0).uniform(0, 100, (40, 48, 30, 2)).astype(np.float32)
    path = tmp_path / "film.nii"
    path.write_bytes(nifti(values, np.diag([4.0, 4, 4, 1])))
    with path.open("rb") as file:
        name = session.bar.inputs.add("film.nii", file)
    session.choose(name)
    session.until(lambda: session.settled(name))
    first, target = session.map.shown[1].values, session.view.title
    session.bar.choose(time=1)
    session.until(lambda: session.workspace.now.scan.volume.time == 1 and session.settled(name))
    assert session.view.title == target
    assert session.map.shown[0].scan.volume.time == 1
    assert not np.array_equal(session.map.shown[1].values, first)


def test_the_input_bar_survives_what_nobody_foresaw(
    session: Session, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    session.choose("brain_tumour")
    prepare = session.bar.inputs.prepare
    monkeypatch.setattr(session.bar.inputs, "prepare", lambda *_: 1 / 0)
    session.bar.choose(index=10)
    session.until(lambda: session.said)
    assert "ZeroDivisionError" in session.said[-1]
    assert session.workspace.now.input is None
    monkeypatch.setattr(session.bar.inputs, "prepare", prepare)
    session.bar.choose(index=12)
    session.until(lambda: session.workspace.now.input is not None)
    assert session.workspace.now.input.slice.index == 12
    assert "unforeseen" in caplog.text


def test_the_brains_mask_is_found_off_the_loop(session: Session) -> None:
    session.choose("brain_white_matter")
    session.until(lambda: session.settled("brain_white_matter"))
    volume = session.workspace.now.scan.volume
    volume.__dict__.pop("brain", None)
    wanted = Preparation("z-score", brain_only=True)
    session.bar.choose(preparation=wanted)
    assert "brain" not in volume.__dict__  # nothing was computed here
    assert session.panel.preparation.words.text == wanted.words()
    session.until(lambda: session.panel.preparation.words.text == wanted.words(volume))
    assert session.view.window_high == pytest.approx(wanted.window(volume).high)


def test_an_input_is_prepared_once(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    session.choose("brain_tumour")
    session.until(lambda: session.workspace.now.input is not None)
    prepared, prepare = [], session.bar.inputs.prepare

    def counted(*given):
        prepared.append(given[0])
        return prepare(*given)

    monkeypatch.setattr(session.bar.inputs, "prepare", counted)
    other = session.services.network("brain2d-robust")
    session.workspace.change(network_name="brain2d-robust", network=other, layer="conv3", unit=0)
    session.until(lambda: session.settled("brain_tumour") and session.map.shown[0].network is other)
    assert len(prepared) == 1


def test_an_overlay_that_cannot_be_read_gives_way_to_the_network(session: Session) -> None:
    session.choose("brain_tumour")
    session.until(lambda: session.settled("brain_tumour"))
    scans = session.bar.inputs.scans
    with Path(nib.__file__).parent.joinpath("tests/data/anatomical.nii").open("rb") as file:
        name = session.bar.inputs.add("other.nii", file)
    session.workspace.change(uploaded=name)
    assert (name, name) in session.map.overlay.options
    scans._held.clear()
    scans._files[name][0].write_bytes(b"no longer a volume")
    session.map.overlay.value = name
    assert session.map.shown is None  # stale: the map is not of what was chosen
    session.until(lambda: session.said)
    session.until(lambda: session.settled("brain_tumour"))
    assert session.map.overlay.value == ""
    assert session.map.asked.visible


def test_another_scan_under_an_overlay_forgets_the_class_of_the_one_before(session: Session) -> None:
    session.choose("brain_tumour")
    session.until(lambda: session.settled("brain_tumour"))
    assert session.view.title.startswith("Grad-CAM for tumour-like")
    session.map.overlay.value = "brain_dark"
    session.until(lambda: session.view.title == "brain_dark" and session.map.shown is not None)
    session.choose("brain_healthy")
    session.until(lambda: session.settled("brain_healthy") and session.view.title == "brain_dark")
    session.map.overlay.value = ""
    session.until(lambda: session.view.title.startswith("Grad-CAM for") and session.map.shown is not None)
    assert session.view.title.startswith("Grad-CAM for healthy")


def test_another_network_takes_the_old_ones_map_and_words_away(session: Session) -> None:
    session.choose("brain_tumour")
    session.until(lambda: session.settled("brain_tumour"))
    other = session.services.network("brain2d-robust")
    session.workspace.change(network_name="brain2d-robust", network=other, layer="conv3", unit=0)
    assert (session.view.map, session.view.title, session.map.foot.text) == (b"", "", "")
    assert session.map.places.table.maximum.disabled
    assert session.map.shown is None
    session.until(lambda: session.settled("brain_tumour"))
    assert session.map.shown[0].network is other


def test_a_stopped_map_is_called_not_whole_where_it_is_kept(session: Session) -> None:
    session.choose("brain_tumour")
    session.until(lambda: session.settled("brain_tumour"))
    session.map.chooser.method.value = "Occlusion"
    assert session.view.title.startswith("Occlusion")
    assert session.map.foot.text == "computing …"
    session.until(lambda: session.map.shown is not None and session.map.shown[1].step > 0)
    session.map._stop_or_start()
    session.until(lambda: "stopped" in session.map.foot.text)
    scan, sight = session.workspace.now.scan, Sight.of(session.view, "axial", session.map.limit)
    with pytest.raises(ImageError, match="not whole"):
        build("map.nii.gz", scan, session.map.shown, sight)
    told: list[str] = []

    def picture(*_given: object, facts: list[str], **_named: object) -> bytes:
        told.extend(facts)
        return b""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(volume_files, "three_planes", picture)
        build("planes.png", scan, session.map.shown, sight)
    assert any("Not whole" in fact for fact in told)
