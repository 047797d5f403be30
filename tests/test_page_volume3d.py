"""A network of volumes on the page: its map in the Volume panel, its planes in the Attribution panel, its files."""

import gzip
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from dashboards import Dashboard, Visit, serve, visit
from playwright.sync_api import Browser
from test_page_attribution import answered, values
from test_page_volume import crosshair, on_slice, shown_map, whole

import models
from dashboard.inputs import Choice, Input, Inputs
from models.inputs import samples
from vislib.attribution import attribute, attribute_volume
from vislib.volumes import read_volume

pytestmark = pytest.mark.browser
LESION = next(sample for sample in samples() if sample.label == "dark lesion")


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    folder = tmp_path_factory.mktemp("volume3d")
    with serve(folder, "--network", "brain3d", "--store", str(folder / "runs.sqlite")) as one:
        yield one


@pytest.fixture(scope="module")
def page(browser: Browser, dashboard: Dashboard) -> Iterator[Visit]:
    with visit(browser, dashboard.url(f"?tab=Volume&input={LESION.name}"), accept_downloads=True) as one:
        yield one


def expected() -> np.ndarray:
    found = attribute_volume(models.load("brain3d"), read_volume(LESION.path), 3, "Grad-CAM")
    assert found.plane == ""
    return found.values


def test_the_map_of_the_whole_volume_lies_on_the_volumes_grid(page: Visit) -> None:
    whole(page, "Grad-CAM for dark lesion")
    wanted = expected()
    np.testing.assert_allclose(
        shown_map(page), wanted, atol=wanted.max() / 1000
    )  # fewer threads, other roundings
    assert "score" in page.text("volume-map-foot")
    mask = read_volume(LESION.mask).data > 0
    share = wanted[mask].sum() / wanted.sum()
    assert share > 20 * mask.mean()  # of the map, in the lesion


def test_scrolling_slices_asks_nothing_anew(page: Visit) -> None:
    tick, k = page.get("volume-view", "tick"), crosshair(page)[2]
    page.set("volume-view", "k", k + 4)
    page.until("m('input-slice').value == arg", k + 4)
    on_slice(page, k + 4, LESION.name)
    assert page.get("volume-view", "tick") == tick


def test_cards_show_the_plane_of_the_map_that_is_looked_at(page: Visit) -> None:
    page.tab("Attribution")
    for number in (6, 5, 4, 3):
        page.press(f"method-{number}-remove")
        page.until("m('method-grid').children.length == arg", number - 1)
    page.set("method-2", "value", "Saliency")
    network, inputs = models.load("brain3d"), Inputs()
    for plane, index in (("axial", 50), ("sagittal", 30), ("sagittal", 36)):
        page.set("input-plane", "value", plane)
        page.set("input-slice", "value", index)
        choice = Choice(LESION.name, plane, index)
        one = inputs.prepare(choice, network, inputs.scan(choice))
        answered(page, 2, one.words)
        page.until("m('input-caption').text.includes(arg)", one.words)
        assert page.get("method-1-overlay", "map_shape") == list(one.seen(one.image[0, 0]).shape)
        whole_map = attribute_of(one)
        np.testing.assert_allclose(values(page), one.seen(whole_map), atol=whole_map.max() / 1000)


def attribute_of(one: Input) -> np.ndarray:
    return attribute(models.load("brain3d"), torch.from_numpy(one.image), 3, "Grad-CAM").values[0]


def test_a_cards_nifti_is_the_whole_map_on_the_files_grid(page: Visit) -> None:
    with page.page.expect_download() as download:
        page.press("method-1-export")
        page.page.get_by_text("NIfTI on the volume's grid").first.click()
    image = nib.Nifti1Image.from_bytes(gzip.decompress(Path(download.value.path()).read_bytes()))
    np.testing.assert_array_equal(image.affine, nib.load(LESION.path).affine)
    got = nib.as_closest_canonical(image).get_fdata()
    wanted = expected()
    np.testing.assert_allclose(got, wanted, atol=wanted.max() / 1000)


def test_a_photograph_is_refused_with_a_word(page: Visit) -> None:
    page.set("input-select", "value", "china")
    page.until("m('notice').text.includes('which a picture cannot be')")
