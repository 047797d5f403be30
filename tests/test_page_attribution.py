"""The Attribution panel in a real browser: six maps of one input, its classes, slices, uploads, methods and files."""

import gzip
import io
import re
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from dashboards import Dashboard, Visit, card, serve, visit
from PIL import Image
from playwright.sync_api import Browser

import models
from dashboard.attribution import FIRST
from models.inputs import samples
from vislib.attribution import METHODS, Target, attribute
from vislib.volumes import read_volume, slice_image

pytestmark = pytest.mark.browser
QUICK = ("Grad-CAM", "Saliency")
LESION = next(sample for sample in samples() if sample.label == "tumour-like")


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    folder = tmp_path_factory.mktemp("attribution")
    small = card(folder, "small", "no_head", 'labels = ["cat", "dog", "cow"]')
    words = ("--network", "brain2d", "--network", str(small), "--store", str(folder / "runs.sqlite"))
    with serve(folder, *words) as one:
        yield one


@pytest.fixture(scope="module")
def opened(browser: Browser, dashboard: Dashboard) -> Iterator[Visit]:
    """One page for the tests that leave two quick methods on it."""
    with visit(browser, dashboard.url("?tab=Attribution"), accept_downloads=True) as one:
        for number in (6, 5, 4, 3):
            one.press(f"method-{number}-remove")
            one.until("m('method-grid').children.length == arg", number - 1)
        yield one


@pytest.fixture
def quick(opened: Visit) -> Visit:
    """The lesion, its own class and two quick methods, whatever a test before has chosen."""
    for number, method in enumerate(QUICK, start=1):
        opened.set(f"method-{number}", "value", method)
    opened.set("method-1-layer", "value", "")
    opened.set("target-kind", "value", "a class")
    opened.set("target-against", "value", "")
    opened.set("input-select", "value", "brain_healthy")
    answered(opened, 2, "in brain_healthy")
    opened.set("input-select", "value", LESION.name)
    answered(opened, 2, f"in {LESION.name}")
    opened.page.get_by_role("button", name="tumour-like").click()
    answered(opened, 2, "Saliency for tumour-like in")
    return opened


def answered(page: Visit, count: int = 6, *words: str) -> None:
    """Wait until the first `count` maps are whole and painted, the last one of a question with these words."""
    page.until(
        "((ones) => ones.every((one) => one.tick > 0 && one.ack == one.tick && !one.stale && one.progress == 1"
        " && one.map.byteLength > 0) && arg[1].every((words) => ones.at(-1).description.includes(words)))"
        "(Array.from({length: arg[0]}, (_, at) => m(`method-${at + 1}-overlay`)))",
        [count, list(words)],
    )


def values(page: Visit, number: int = 1) -> np.ndarray:
    """The map that an overlay holds."""
    name = f"method-{number}-overlay"
    data = page.page.evaluate(
        "(name) => Array.from(new Uint8Array(Bokeh.documents[0].get_model_by_name(name).map))", name
    )
    return np.frombuffer(bytes(data), "<f4").reshape(page.get(name, "map_shape"))


def expected(method: str, target: Target | int = 1, index: int | None = None) -> np.ndarray:
    """The same map, asked for without a page."""
    network = models.load("brain2d")
    volume, mask = read_volume(LESION.path), read_volume(LESION.mask)
    at = int((mask.data > 0).sum((0, 1)).argmax()) if index is None else index
    image = slice_image(volume, "axial", at, network.input_shape, network.spacing).image
    return attribute(network, torch.from_numpy(image), target, method).values[0]


def test_six_explanations_of_a_lesion_without_a_click(browser: Browser, dashboard: Dashboard) -> None:
    with visit(browser, dashboard.url("?tab=Attribution")) as page:
        answered(page)
        six(page)


def six(opened: Visit) -> None:
    assert [opened.get(f"method-{number}", "value") for number in range(1, 7)] == list(FIRST)
    assert opened.get("input-select", "value") == LESION.name
    assert opened.get("class-list", "labels")[0].startswith("tumour-like")
    assert opened.get("class-list", "active") == 0
    assert "true class: tumour-like" in opened.text("input-caption")
    assert sum(opened.page.evaluate(OUTLINE)) > 50
    for number, method in enumerate(FIRST, start=1):
        assert opened.get(f"method-{number}-overlay", "signed") == METHODS[method].signed
    np.testing.assert_allclose(values(opened), expected("Grad-CAM"), atol=1e-4)


OUTLINE = "Array.from(new Uint8Array(Bokeh.documents[0].get_model_by_name('input-overlay').outline))"


def test_another_class_another_slice_and_one_class_rather_than_another(quick: Visit) -> None:
    page = quick
    before = values(page, 2)
    other = next(at for at, words in enumerate(page.get("class-list", "labels")) if "healthy" in words)
    page.page.get_by_role("button", name="healthy").click()
    answered(page, 2, "for healthy in")
    assert "target=0" in page.get("address", "query")
    assert page.get("class-list", "active") == other
    np.testing.assert_allclose(values(page, 2), expected("Saliency", 0), atol=1e-4)
    assert not np.allclose(values(page, 2), before, atol=1e-4)
    page.set("target-against", "value", "tumour-like")
    answered(page, 2, "for healthy rather than tumour-like in")
    np.testing.assert_allclose(values(page, 2), expected("Saliency", Target(0, against=1)), atol=1e-4)
    page.set("input-slice", "value", 30)
    answered(page, 2, "axial, z = -13 mm")
    assert "slice=30" in page.get("address", "query")
    np.testing.assert_allclose(values(page, 2), expected("Saliency", Target(0, against=1), 30), atol=1e-4)


def test_the_address_brings_input_slice_and_target_back(browser: Browser, dashboard: Dashboard) -> None:
    query = "?tab=Attribution&input=brain_dark&plane=coronal&slice=40&target=2"
    with visit(browser, dashboard.url(query)) as page:
        answered(page, 1)
        assert page.get("input-select", "value") == "brain_dark"
        assert page.get("input-plane", "value") == "coronal"
        assert page.get("input-slice", "value") == 40
        active = page.get("class-list", "labels")[page.get("class-list", "active")]
        assert active.startswith("white-matter lesions")
        for words in ("input=brain_dark", "plane=coronal", "slice=40", "target=2"):
            assert words in page.get("address", "query")
    with visit(browser, dashboard.url("?tab=Attribution&input=../../etc&target=77")) as page:
        page.until("m('notice').text.includes('unit 77') || m('notice').text.includes('no sample')")


def test_a_unit_of_a_layer_can_be_explained(quick: Visit) -> None:
    page = quick
    page.set("target-kind", "value", "the chosen unit")
    answered(page, 2, "unit 0 of conv5")
    assert page.get("target-against", "disabled")
    np.testing.assert_allclose(values(page, 2), expected("Saliency", Target(0, layer="conv5")), atol=1e-4)
    page.set("layer-list", "active", 2)
    answered(page, 2, "unit 0 of conv3")
    np.testing.assert_allclose(values(page, 2), expected("Saliency", Target(0, layer="conv3")), atol=1e-4)


def test_methods_and_parameters_are_chosen_and_wrong_ones_told(quick: Visit) -> None:
    page = quick
    page.set("method-2", "value", "SmoothGrad")
    page.until("m('method-2-SmoothGrad-samples') != null")
    page.set("method-2-SmoothGrad-samples", "value", 4)
    page.until("m('method-2-overlay').tick > 2")
    answered(page, 2, "SmoothGrad for")
    network = models.load("brain2d")
    volume, mask = read_volume(LESION.path), read_volume(LESION.mask)
    at = int((mask.data > 0).sum((0, 1)).argmax())
    image = slice_image(volume, "axial", at, network.input_shape, network.spacing).image
    alone = attribute(network, torch.from_numpy(image), 1, "SmoothGrad", samples=4).values[0]
    page.until("!m('method-2-overlay').stale")
    np.testing.assert_allclose(values(page, 2), alone, atol=1e-4)
    page.set("method-2-SmoothGrad-samples", "value", -3)
    page.until("m('notice').text.includes('samples cannot be')")
    page.set("method-1-layer", "value", "conv3")
    page.until("m('method-1-overlay').raw_shape[0] == 32")
    for number in (3, 4, 5, 6):
        page.press("method-add")
        page.until("m('method-grid').children.length == arg", number)
    page.until("m('method-add').disabled")
    for number in (6, 5, 4, 3):
        page.press(f"method-{number}-remove")
        page.until("m('method-grid').children.length == arg", number - 1)
    assert page.get("method-1-remove", "disabled")


def test_a_slow_method_refines_and_stops(quick: Visit) -> None:
    page = quick
    page.set("method-2", "value", "Prediction difference")
    page.until(
        "m('method-2-stop').visible && m('method-2-overlay').progress < 1 && !m('method-2-overlay').stale"
    )
    first = page.get("method-2-overlay", "tick")
    page.until("m('method-2-overlay').tick > arg + 1", first)
    page.press("method-2-stop")
    page.until("m('method-2-foot').text.includes('stopped') && !m('method-2-stop').visible")
    page.set("method-2", "value", "Saliency")
    answered(page, 2)


def test_a_picture_comes_in_by_upload_and_what_is_none_is_told(quick: Visit, tmp_path: Path) -> None:
    page = quick
    ramp = np.linspace(0, 255, 200 * 300).reshape(200, 300).astype(np.uint8)
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    broken = tmp_path / "words.png"
    broken.write_text("these are words")
    page.element("upload", "input[type=file]").set_input_files(tmp_path / "ramp.png")
    page.until("m('input-select').value == 'ramp.png' && m('input-caption').text.includes('300 x 200')")
    answered(page, 2)
    assert page.get("input-fit", "visible")
    assert not page.get("input-slice", "visible")
    before = values(page, 2)
    page.set("input-fit", "value", "stretch")
    page.until("!m('method-2-overlay').stale && m('input-caption').text != ''")
    page.page.wait_for_function(
        "(old) => { const one = Bokeh.documents[0].get_model_by_name('method-2-overlay');"
        " const now = new Float32Array(one.map.slice(0)); return now.some((value, at) => value != old[at]) }",
        arg=before.ravel().tolist(),
    )
    page.element("upload", "input[type=file]").set_input_files(broken)
    page.until("m('notice').text.includes('words.png is text')")
    assert page.get("input-select", "value") == "ramp.png"


def saved(page: Visit, number: int, item: str) -> tuple[str, bytes]:
    """Name and content of the file that an entry of a card's menu gives."""
    with page.page.expect_download() as download:
        page.page.evaluate(
            "([name, item]) => { const one = Bokeh.documents[0].get_model_by_name(name);"
            " const {MenuItemClick} = Bokeh.require('core/bokeh_events');"
            " one.trigger_event(new MenuItemClick(item)) }",
            [f"method-{number}-export", item],
        )
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def test_maps_are_saved_as_pictures_numbers_and_on_the_volumes_grid(quick: Visit) -> None:
    page = quick
    name, data = saved(page, 2, "map.npy")
    assert name.endswith("Saliency-tumour-like-rows-A-to-P-columns-L-to-R.npy")
    np.testing.assert_array_equal(np.load(io.BytesIO(data)), values(page, 2))
    for item in ("overlay.png", "map.png"):
        name, data = saved(page, 2, item)
        with Image.open(io.BytesIO(data)) as image:
            assert image.size == (512, 512)
            assert np.asarray(image).std() > 5
    name, data = saved(page, 2, "map.nii.gz")
    written = nib.Nifti1Image.from_bytes(gzip.decompress(data))
    own = nib.load(LESION.path)
    np.testing.assert_array_equal(written.affine, own.affine)
    assert written.shape == own.shape
    inside = np.asarray(nib.load(LESION.mask).dataobj) > 0
    strongest = np.unravel_index(np.asarray(written.dataobj).argmax(), own.shape)
    reach = np.argwhere(inside) - strongest
    assert np.abs(reach).max(1).min() <= 4  # voxels: the strongest pixel lies at the lesion


def test_a_network_that_a_method_cannot_ask_says_so_in_the_maps_place(
    browser: Browser, dashboard: Dashboard
) -> None:
    with visit(browser, dashboard.url("?tab=Attribution")) as page:
        answered(page, 1)
        other = next(
            one[0]
            for group in page.get("network-select", "options").values()
            for one in group
            if "small" in one[0]
        )
        page.set("network-select", "value", other)
        page.until("m('class-list').labels.some((words) => words.includes('cow'))")
        page.set("method-1", "value", "CAM")
        page.until("m('method-1-overlay').placeholder.includes('global average pooling')")
        assert page.get("method-1-overlay", "map") is not None
        page.set("method-1", "value", "Saliency")
        answered(page, 1, "Saliency for")


def test_a_check_says_which_map_deserves_trust_and_is_forgotten_with_its_question(quick: Visit) -> None:
    page = quick
    page.set("attribution-view", "active", 1)
    page.until("m('check').visible && m('check-state').text.includes('%')")
    page.until("m('check-state').text == 'Done.'")
    words = page.text("check-table")
    for method in QUICK:
        assert re.search(rf"{method}.*?(trust|doubt|do not trust)", words)
    for baseline in ("Sobel edges", "centre"):
        assert baseline in words
    assert "being measured" not in words
    assert page.column("deletion-source", "name")[-2:] == list(QUICK)
    for curve in page.column("deletion-source", "ys"):
        assert 0 <= min(curve) <= max(curve) <= 1
    strips = page.get("check-strips", "text")
    layers = 7  # conv1 to conv6 and the classifier
    assert strips.count("<img") == len(QUICK) * (1 + layers)
    assert strips.count("classifier") >= len(QUICK)
    page.set("method-2", "value", "Prediction difference")  # whose check lasts until it can be stopped
    page.page.get_by_role("button", name="healthy").click()
    page.until("!m('check-strips').text.includes('classifier')")
    page.until("m('check-stop').disabled == false && m('check-state').text.includes('%')")
    page.press("check-stop")
    page.until("m('check-state').text.startsWith('Stopped')")
    assert page.text("check-table").count("not measured to the end") == len(QUICK)
    assert "being measured" not in page.text("check-table")
    page.set("attribution-view", "active", 0)
    page.until("m('method-grid').visible")
