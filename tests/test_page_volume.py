"""The Volume panel in a real browser: planes, slices as input, maps of whole volumes, uploads, files."""

import base64
import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from dashboards import Dashboard, Visit, serve, visit
from PIL import Image
from playwright.sync_api import Browser
from volume_making import nifti

import models
from dashboard import numbers
from models.inputs import samples
from vislib.attribution import VolumeAttribution, attribute_volume
from vislib.clusters import clusters
from vislib.volumes import Preparation, caption, read_volume

pytestmark = pytest.mark.browser
LESION = next(sample for sample in samples() if sample.label == "tumour-like")
REAL = Path(nib.__file__).parent / "tests" / "data"


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    folder = tmp_path_factory.mktemp("volume")
    words = ("--network", "brain2d", "--store", str(folder / "runs.sqlite"), "--upload-limit", "8")
    with serve(folder, *words) as one:
        yield one


@pytest.fixture(scope="module")
def opened(browser: Browser, dashboard: Dashboard) -> Iterator[Visit]:
    with visit(browser, dashboard.url(f"?tab=Volume&input={LESION.name}"), accept_downloads=True) as one:
        yield one


@pytest.fixture
def page(opened: Visit) -> Visit:
    """The lesion's volume with Grad-CAM for its class over it, whatever a test before has chosen."""
    opened.tab("Volume")
    if opened.get("input-select", "value") != LESION.name:
        opened.set("input-select", "value", LESION.name)
    opened.set("volume-overlay", "value", "")
    opened.set("input-plane", "value", "axial")
    opened.set("preparation-scaling", "value", "stored")
    opened.set("volume-method", "value", "Grad-CAM")
    opened.set("volume-target", "value", "1")
    whole(opened, "Grad-CAM for tumour-like, every axial slice")
    return opened


def whole(page: Visit, title: str) -> None:
    """Wait until a whole map of that title has been painted, and its clusters are listed."""
    page.until(
        "m('volume-view').title == arg && m('volume-view').progress == 1 && !m('volume-view').stale"
        " && m('volume-view').map.byteLength > 0 && m('volume-view').ack == m('volume-view').tick"
        " && !m('volume-maximum').disabled",
        title,
    )


def shown_map(page: Visit) -> np.ndarray:
    """The values that the browser's codes stand for."""
    name = "volume-view"
    codes = page.page.evaluate(
        "(name) => { const bytes = new Uint8Array(Bokeh.documents[0].get_model_by_name(name).map);"
        " let text = ''; for (let at = 0; at < bytes.length; at += 8192)"
        " text += String.fromCharCode(...bytes.subarray(at, at + 8192)); return btoa(text) }",
        name,
    )
    values = np.frombuffer(base64.b64decode(codes), "<u2").reshape(page.get(name, "map_shape")).astype(float)
    low, high = page.get(name, "map_low"), page.get(name, "map_high")
    return low + (values - 1) / 65534 * (high - low)


def on_slice(page: Visit, index: int, sample: str = LESION.name) -> None:
    """Wait until an axial slice of a sample is the input."""
    path = next(one.path for one in samples() if one.name == sample)
    page.until("m('input-caption').text.includes(arg)", caption(read_volume(path), "axial", index))


def crosshair(page: Visit) -> tuple[int, int, int]:
    return tuple(page.get("volume-view", name) for name in "ijk")


def expected(plane: str = "axial", preparation: Preparation | None = None) -> VolumeAttribution:
    volume = read_volume(LESION.path)
    return attribute_volume(
        models.load("brain2d"), volume, 1, "Grad-CAM", plane=plane, preparation=preparation or Preparation()
    )


def test_it_opens_on_the_lesion_with_a_map_of_every_slice(page: Visit) -> None:
    volume, mask = read_volume(LESION.path), read_volume(LESION.mask).data > 0
    assert page.get("volume-view", "shape") == list(volume.data.shape)
    assert mask[crosshair(page)]
    found = expected()
    np.testing.assert_allclose(shown_map(page), found.values, atol=found.values.max() / 30_000)
    assert "tumour-like" in page.text("volume-facts")
    assert "76 x 96 x 80 voxels" in page.text("volume-facts")
    best = int(np.nanargmax(found.scores))
    assert numbers.words(float(found.scores[best])) in page.text("volume-map-foot")
    drawn = page.page.evaluate("() => Bokeh.documents[0].get_model_by_name('volume-view').mask.byteLength")
    assert drawn == mask.size


def test_a_slice_that_is_scrolled_to_is_the_input_of_all_tabs(page: Visit) -> None:
    before = crosshair(page)
    jobs = page.get("volume-view", "tick")
    pane = page.box("volume-view", ".pane.axial")
    page.page.mouse.move(pane["x"] + 40, pane["y"] + 60)
    for _ in range(3):
        page.page.mouse.wheel(0, 120)
    page.until("m('volume-view').k == arg", before[2] - 3)
    page.until("m('input-slice').value == arg", before[2] - 3)
    mm = read_volume(LESION.path).affine[2] @ [0, 0, before[2] - 3, 1]
    page.until("m('input-caption').text.includes(arg)", f"axial, z = {mm:g} mm")
    assert page.get("volume-view", "tick") == jobs  # neither volume nor map went over again
    page.until("location.search.includes(arg)", f"slice={before[2] - 3}")
    page.set("input-slice", "value", before[2])
    page.until("m('volume-view').k == arg", before[2])
    page.until("m('volume-says').text.includes('this slice: <b>tumour-like</b>')")


def test_another_plane_is_marked_and_cut_for_the_network(page: Visit) -> None:
    page.set("input-plane", "value", "coronal")
    whole(page, "Grad-CAM for tumour-like, every coronal slice")
    assert page.get("volume-view", "plane") == "coronal"
    found = expected("coronal")
    np.testing.assert_allclose(shown_map(page), found.values, atol=found.values.max() / 30_000)
    assert page.get("input-slice", "value") == crosshair(page)[1]


def test_the_window_slider_needs_no_server(page: Visit) -> None:
    tick = page.get("volume-view", "tick")
    page.set("volume-window", "value", [30, 180])
    assert (page.get("volume-view", "window_low"), page.get("volume-view", "window_high")) == (30, 180)
    page.set("volume-view", "window_high", 140)  # as a drag in a plane does
    assert page.get("volume-window", "value") == [30, 140]
    page.set("volume-view", "window_high", 400)  # beyond the slider
    assert page.get("volume-window", "value") == [30, 255]  # it stands at its end
    assert page.get("volume-view", "window_high") == 400  # and does not answer
    assert page.get("volume-view", "tick") == tick
    page.set("volume-window", "value", [0, 255])


def test_what_the_network_is_given_is_what_is_seen_and_said(page: Visit) -> None:
    page.set("preparation-scaling", "value", "percentiles")
    page.until("m('preparation-low').value == 1 && m('preparation-high').value == 99")
    volume = read_volume(LESION.path)
    prepared = Preparation("percentiles")
    page.until("m('preparation-words').text == arg", prepared.words(volume))
    page.until("m('volume-view').window_high == arg", prepared.window(volume).high)
    whole(page, "Grad-CAM for tumour-like, every axial slice")
    found = expected(preparation=prepared)
    page.until("Math.abs(m('volume-view').limit - arg) < 1e-3", float(found.values.max()))
    np.testing.assert_allclose(shown_map(page), found.values, atol=found.values.max() / 30_000)
    page.set("preparation-low", "value", 99.5)
    page.until("m('notice').text.includes('cannot be')")
    page.until("m('preparation-low').value == 1")
    page.press("notice-close")
    page.set("preparation-brain", "active", True)
    page.until("m('preparation-words').text.includes('outside the brain becomes 0')")
    page.set("preparation-brain", "active", False)


def test_clusters_and_the_maximum_are_a_click_away(page: Visit) -> None:
    found, affine = expected().values, read_volume(LESION.path).affine
    wanted = clusters(found, affine, 0.5 * float(found.max()))
    page.until("m('clusters-source').get_array('size').length == arg", len(wanted))
    assert page.column("clusters-source", "size") == [round(one.mm3) for one in wanted]
    assert page.column("clusters-source", "z") == [round(one.peak_mm[2]) for one in wanted]
    page.press("volume-maximum")
    peak = [int(at) for at in np.unravel_index(found.argmax(), found.shape)]
    page.until(
        "m('volume-view').i == arg[0] && m('volume-view').j == arg[1] && m('volume-view').k == arg[2]", peak
    )
    page.page.evaluate(
        "() => { Bokeh.documents[0].get_model_by_name('clusters-source').selected.indices = [1] }"
    )
    page.until(
        "m('volume-view').i == arg[0] && m('volume-view').j == arg[1] && m('volume-view').k == arg[2]",
        list(wanted[1].peak_ijk),
    )
    page.until("m('input-slice').value == arg", wanted[1].peak_ijk[2])
    page.page.evaluate("() => { Bokeh.documents[0].get_model_by_name('volume-threshold').value = 0.8 }")
    page.page.evaluate(
        "() => { Bokeh.documents[0].get_model_by_name('volume-threshold').value_throttled = 0.8 }"
    )
    fewer = clusters(found, affine, 0.8 * float(found.max()))
    page.until("m('clusters-source').get_array('size')[0] == arg", round(fewer[0].mm3))
    page.set("volume-threshold", "value", 0)


def test_a_class_that_is_chosen_stays_while_slices_are_scrolled(page: Visit) -> None:
    page.set("volume-target", "value", "3")
    whole(page, "Grad-CAM for dark lesion, every axial slice")
    page.set("input-slice", "value", 20)
    on_slice(page, 20)
    page.tab("Attribution")
    page.until("m('class-list').labels[m('class-list').active].startsWith('dark lesion')")
    page.tab("Volume")
    assert page.get("volume-view", "title").startswith("Grad-CAM for dark lesion")


def test_another_volume_is_asked_about_its_own_class(browser: Browser, dashboard: Dashboard) -> None:
    with visit(browser, dashboard.url(f"?tab=Volume&input={LESION.name}")) as fresh:
        whole(fresh, "Grad-CAM for tumour-like, every axial slice")
        fresh.set("input-select", "value", "brain_healthy")
        whole(fresh, "Grad-CAM for healthy, every axial slice")
        fresh.set("input-slice", "value", 30)
        on_slice(fresh, 30, "brain_healthy")
        assert fresh.get("volume-view", "title") == "Grad-CAM for healthy, every axial slice"


def test_a_long_map_can_be_stopped_and_says_so(page: Visit) -> None:
    page.set("volume-method", "value", "Occlusion")
    page.until(
        "m('volume-map-stop').visible && m('volume-view').progress < 1 && m('volume-view').title.startsWith('Occ')"
    )
    page.press("volume-map-stop")
    page.until("m('volume-map-foot').text.includes('stopped') && m('volume-map-stop').label == 'Start again'")
    tick = page.get("volume-view", "tick")
    page.set("input-slice", "value", 30)
    on_slice(page, 30)
    assert page.get("volume-map-stop", "label") == "Start again"  # scrolling starts nothing
    assert page.get("volume-view", "tick") == tick
    page.press("volume-map-stop")
    page.until("m('volume-map-stop').label == 'Stop' && m('volume-view').progress < 1")
    page.set("volume-method", "value", "Grad-CAM")
    whole(page, "Grad-CAM for tumour-like, every axial slice")


def saved(page: Visit, what: str) -> tuple[str, bytes]:
    with page.page.expect_download() as download:
        page.press("volume-save")
        page.page.get_by_text(what).click()
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def test_the_saved_map_lies_on_the_file_it_was_made_of(page: Visit) -> None:
    name, data = saved(page, "NIfTI on the volume")
    assert name == f"{LESION.name}-Grad-CAM.nii.gz"
    image = nib.Nifti1Image.from_bytes(gzip.decompress(data))
    own = nib.load(LESION.path)
    np.testing.assert_array_equal(image.affine, own.affine)
    assert image.shape == own.shape
    assert image.header.get_intent()[0] == "estimate"
    assert b"Grad-CAM for tumour-like" in image.header["descrip"].tobytes()
    spec = json.loads(image.header.extensions[0].get_content())
    assert spec["network"] == "brain2d"
    assert spec["preparation"]["scaling"] == "stored"
    assert spec["plane"] == "axial"
    ras = nib.as_closest_canonical(image)
    np.testing.assert_allclose(ras.get_fdata(), expected().values, rtol=1e-6)


def test_planes_and_lightbox_are_saved_as_pictures(page: Visit) -> None:
    for what, name in (("Three planes", "planes"), ("Lightbox", "lightbox")):
        called, data = saved(page, what)
        assert called == f"{LESION.name}-{name}.png"
        with Image.open(io.BytesIO(data)) as picture:
            picture.load()
            pixels = np.asarray(picture.convert("RGB")).astype(int)
        assert pixels.shape[1] >= 800
        assert (np.abs(pixels[..., 0] - pixels[..., 2]) > 60).any()  # the map has colours


def test_a_saved_map_lies_over_its_volume_again(page: Visit) -> None:
    _, data = saved(page, "NIfTI on the volume")
    wanted = expected().values
    upload(page, "mine.nii.gz", data)
    page.until("m('volume-facts').text.includes('mine.nii.gz')")
    page.set("input-select", "value", LESION.name)
    page.until("m('volume-overlay').options.some((one) => one[0] == 'mine.nii.gz')")
    page.set("volume-overlay", "value", "mine.nii.gz")
    whole(page, "mine.nii.gz")
    np.testing.assert_allclose(shown_map(page), wanted, atol=wanted.max() / 30_000)
    assert "values from 0 to" in page.text("volume-map-foot")
    found = clusters(wanted, read_volume(LESION.path).affine, 0.5 * float(wanted.max()))
    page.until("m('clusters-source').get_array('size').length == arg", len(found))
    page.set("volume-overlay", "value", "")
    whole(page, "Grad-CAM for tumour-like, every axial slice")


def test_a_map_that_a_tab_looks_away_from_waits(page: Visit) -> None:
    page.tab("Features")
    page.set("input-plane", "value", "sagittal")
    page.until("m('input-caption').text.includes('sagittal')")
    assert "sagittal" not in page.get("volume-view", "title")
    page.tab("Volume")
    whole(page, "Grad-CAM for tumour-like, every sagittal slice")


def upload(page: Visit, name: str, data: bytes) -> None:
    page.element("upload", "input[type=file]").set_input_files(
        {"name": name, "mimeType": "application/octet-stream", "buffer": data}
    )


def test_a_real_4d_scan_is_uploaded_and_its_times_are_chosen(page: Visit) -> None:
    upload(page, "example4d.nii.gz", (REAL / "example4d.nii.gz").read_bytes())
    page.until("m('volume-facts').text.includes('example4d.nii.gz')")
    path = REAL / "example4d.nii.gz"
    first, second = read_volume(path), read_volume(path, time=1)
    assert page.get("volume-view", "shape") == list(first.data.shape)
    np.testing.assert_allclose(page.get("volume-view", "affine"), first.affine.ravel())
    assert "2 time points" in page.text("volume-facts")
    assert "oblique" in page.text("volume-facts")
    assert page.get("volume-time", "visible")
    assert page.get("volume-view", "value_high") == pytest.approx(first.data.max(), rel=1e-4)
    page.page.evaluate("() => { Bokeh.documents[0].get_model_by_name('volume-time').value_throttled = 1 }")
    page.until("Math.abs(m('volume-view').value_high - arg) < 1e-3 * arg", float(second.data.max()))
    page.until("m('volume-facts').text.includes('this is number 1')")
    page.until("m('input-caption').text.includes('time 1')")
    page.until("((v) => v.map.byteLength > 0 && v.progress == 1 && !v.stale)(m('volume-view'))")
    found = attribute_volume(
        models.load("brain2d"), second, int(page.get("volume-target", "value")), "Grad-CAM"
    )
    page.until("Math.abs(m('volume-view').limit - arg) < 1e-4", float(found.values.max()))
    np.testing.assert_allclose(shown_map(page), found.values, atol=found.values.max() / 30_000)


def test_a_marked_voxel_is_where_the_file_says(page: Visit) -> None:
    values = np.zeros((30, 40, 20), np.float32)
    values[3, 30, 5] = 100
    affine = np.array([[0, 2.0, 0, -30], [0, 0, 3.0, -20], [-1.5, 0, 0, 25], [0, 0, 0, 1]])
    upload(page, "marked.nii", nifti(values, affine))
    page.until("m('volume-facts').text.includes('marked.nii')")
    mm = affine @ [3, 30, 5, 1]
    ras = read_back(nifti(values, affine))
    at = [int(one) for one in np.unravel_index(ras.get_fdata().argmax(), ras.shape)]
    np.testing.assert_allclose(ras.affine @ [*at, 1], mm)
    for name, voxel in zip("ijk", at, strict=True):
        page.set("volume-view", name, voxel)
    facts = page.element("volume-view", ".facts")
    page.page.wait_for_function("(el) => el.innerText.includes('100')", arg=facts)
    words = facts.inner_text().replace("−", "-")
    for number in mm[:3]:
        assert f"{number:.1f}" in words


def read_back(data: bytes) -> nib.Nifti1Image:
    return nib.as_closest_canonical(nib.Nifti1Image.from_bytes(data))


def test_an_upload_is_shown_wherever_one_was(page: Visit) -> None:
    page.tab("Features")
    upload(page, "elsewhere.nii", nifti(np.ones((8, 9, 7), np.float32)))
    page.on_tab("Volume")
    page.until("m('volume-facts').text.includes('elsewhere.nii')")
    picture = io.BytesIO()
    Image.new("L", (40, 30), 128).save(picture, "PNG")
    upload(page, "grey.png", picture.getvalue())
    page.on_tab("Attribution")
    page.until("m('input-caption').text.includes('grey.png')")


def test_what_is_too_large_is_refused_by_its_size(page: Visit) -> None:
    upload(page, "huge.nii", bytes(9_000_000))
    said = page.element("upload", ".said")
    page.page.wait_for_function("(el) => el.innerText.includes('8 MB')", arg=said)
    assert "9 MB" in said.inner_text()


def test_a_photograph_leaves_the_panel_empty_and_says_what_to_do(page: Visit) -> None:
    page.set("input-select", "value", "china")
    page.until("m('volume-view').volume.byteLength == 0 && !m('volume-save').visible")
    assert not page.get("volume-strip", "visible")
    assert "Choose a brain volume" in page.get("volume-view", "placeholder")
    page.set("input-select", "value", LESION.name)
    whole(page, "Grad-CAM for tumour-like, every axial slice")
