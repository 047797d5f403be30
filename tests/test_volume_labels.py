"""Masks and atlases over a volume: labels that stay what they are, with names, colours and a list of regions."""

import base64
import io
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from browsing import FRAME, chromium
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from test_volume_map import Session, session  # noqa: F401
from volume_making import nifti
from volume_views import AFFINE, DATA, SHAPE, VIEW, blocks, look, opened, send, slowly, text

from dashboard import palettes
from dashboard.cluster_table import _called
from dashboard.label_input import LabelInput
from dashboard.plane_picture import Look, Pane, Scene
from dashboard.plane_picture import regions as drawn_regions
from dashboard.volume_codes import LabelCodes
from dashboard.volume_files import Sight, build
from dashboard.volume_view import VolumeView
from vislib.clusters import regions
from vislib.head import percent
from vislib.label_tables import region_words
from vislib.labels import Label
from vislib.volumes import PLANES, read_volume

ATLAS = np.zeros(SHAPE, np.float32)
ATLAS[1:4, 2:9, 1:5], ATLAS[4:8, 2:9, 1:5], ATLAS[4:8, 9:, 3:] = 11, 1035, 14175
NAMES = {11: Label("Left one", (200, 30, 30)), 1035: Label("<b>Right</b> & one")}


@given(
    arrays.arrays(
        np.float32,
        arrays.array_shapes(min_dims=3, max_dims=3, max_side=5),
        elements=st.sampled_from([0, 1, 2, 11, 88, -3, 14175, 65536, 0.5, np.nan]),
    )
)
def test_codes_give_every_label_back(values: np.ndarray) -> None:
    codes = LabelCodes.among(values)
    table = np.concatenate([[0], codes.values]).astype(np.float32)
    np.testing.assert_array_equal(table[codes.of(values)], np.nan_to_num(values))
    assert codes.of(np.full((1, 1, 1), 7.0, np.float32)).max() == 0  # a label that it does not know


def test_too_many_labels_are_none() -> None:
    assert LabelCodes.among(np.arange(70_000, dtype=np.float32).reshape(70, 100, 10)) is None
    assert LabelCodes.among(np.arange(60_000, dtype=np.float32).reshape(60, 100, 10)) is not None


def test_colours_are_a_labels_own_and_neighbours_differ() -> None:
    many = palettes.categorical(np.arange(1, 300, dtype=np.float32)).astype(int)
    np.testing.assert_array_equal(palettes.categorical(np.array([88], np.float32))[0], many[87])
    for near in range(1, 8):
        assert np.abs(many[near:] - many[:-near]).sum(1).min() > 40
    assert many.max(1).min() > 100  # none is too dark to be seen over a scan
    named = palettes.label_colours(np.array([11, 1035], np.float32), NAMES)
    assert named[0].tolist() == [200, 30, 30]


def test_the_view_is_sent_exact_codes_at_any_step(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = LabelCodes.among(ATLAS)
    for most in (32_000_000, 200):
        monkeypatch.setattr("dashboard.volume_view.VOXELS", most)
        view = VolumeView()
        view.show(DATA, AFFINE, (0.0, 255.0))
        view.set_labels(ATLAS, codes, NAMES)
        step = view.step
        assert (step == 1) == (most > 200)
        sent = np.frombuffer(view.map, "<u2").reshape(view.map_shape)
        table = np.array([0, *view.label_values])
        np.testing.assert_array_equal(table[sent], ATLAS[::step, ::step, ::step])
        assert view.label_names == ["Left one", "<b>Right</b> & one", "14175"]
        if step > 1:
            sharp = np.frombuffer(view._whole.plane(2, 3)["sharp_map"], "<u2").reshape(SHAPE[:2])
            np.testing.assert_array_equal(table[sharp], ATLAS[:, :, 3])
        view.set_map(DATA / 255, probabilities=[0.5] * SHAPE[2], probability_name="P(x)")
        assert (view.label_values, len(view.probabilities)) == ([], SHAPE[2])
        with pytest.raises(ValueError, match="resample"):
            view.set_labels(ATLAS[:-1], codes, {})


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("smooth", [True, False])
def test_pictures_show_labels_in_their_own_colours_alone(plane: str, smooth: bool) -> None:
    codes = LabelCodes.among(ATLAS)
    scene = Scene(np.zeros(SHAPE, np.float32), AFFINE, ATLAS, labels=codes, names=NAMES)
    chosen = Look(0, 255, smooth=smooth, opacity=1.0)
    at = {"axial": 3, "coronal": 5, "sagittal": 5}[plane]
    wanted = slowly(ATLAS, plane, (at, at, at), True)
    over = drawn_regions(scene, chosen, plane, at)
    known = {0: (0, 0, 0, 0)} | {
        value: (*colour, 255)
        for value, colour in zip(
            codes.values.tolist(), palettes.label_colours(codes.values, NAMES).tolist(), strict=True
        )
    }
    assert all(tuple(over[place]) == known[value] for place, value in np.ndenumerate(wanted))
    sheet = Image.new("RGB", (300, 300))
    Pane(scene, chosen, plane, at, (0, 0, 300, 300), 8.0).paint(sheet)
    assert {*map(tuple, np.asarray(sheet).reshape(-1, 3).tolist())} <= {one[:3] for one in known.values()}


@pytest.fixture(scope="module")
def browser():
    with chromium() as one:
        yield one


@pytest.mark.browser
def test_the_browser_blends_no_labels_and_tells_the_region_under_the_crosshair(browser) -> None:
    codes = LabelCodes.among(ATLAS)
    colours = {0: [0, 0, 0]} | dict(
        zip(codes.values.tolist(), palettes.label_colours(codes.values, NAMES).tolist(), strict=True)
    )
    dark = np.zeros(SHAPE, np.float32)
    with opened(browser, dark, AFFINE, smooth=True, opacity=1.0) as (page, served, view):
        send(page, served, lambda: view.set_labels(ATLAS, codes, NAMES))
        for ijk, said in (
            ((2, 4, 3), "11 Left one"),
            ((5, 4, 3), "1035 <b>Right</b> & one"),
            ((5, 10, 4), "14175"),
            ((0, 0, 0), "none"),
        ):
            look(page, **dict(zip("ijk", ijk, strict=True)))
            assert text(page, "map") == said
            for plane in PLANES:
                wanted = slowly(ATLAS, plane, ijk, True)
                shown = blocks(page, plane)
                assert all(shown[place].tolist() == colours[value] for place, value in np.ndenumerate(wanted))
        url = page.evaluate(f"{VIEW}.panes[2].canvas.toDataURL()")
        with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as image:
            every = {*map(tuple, np.asarray(image.convert("RGB")).reshape(-1, 3).tolist())}
        assert every <= {tuple(one) for one in colours.values()}
        # A map after it is a map again.
        send(page, served, lambda: view.set_map(DATA / 255))
        page.evaluate(FRAME)
        assert page.evaluate(f"{VIEW}.facts.map.previousSibling.textContent") == "Map"


def _atlas(shape: tuple[int, ...], affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Three regions half a voxel off a volume's grid, and where they lie."""
    labels = np.zeros(shape, np.int32)
    labels[20:30, 30:40, 20:30], labels[40:50, 30:40, 20:30], labels[20:30, 60:64, 40:42] = 11, 22, 70_001
    shifted = affine.copy()
    shifted[:3, 3] += affine[:3, :3] @ np.full(3, 0.4)
    return labels, shifted


def test_an_atlas_over_a_scan_is_listed_by_regions_and_named_by_a_table(
    session: Session,  # noqa: F811
    tmp_path: Path,
) -> None:
    session.choose("brain_tumour")
    session.until(lambda: session.settled("brain_tumour"))
    volume = session.workspace.now.scan.volume
    labels, affine = _atlas(volume.data.shape, volume.affine)
    name = session.bar.inputs.add("atlas.nii", io.BytesIO(nifti(labels, affine)))
    session.workspace.change(uploaded=name)
    session.map.overlay.value = name
    source = session.map.places.table.source
    session.until(lambda: session.view.label_values == [11, 22, 70_001] and source.data["name"])
    sent = np.frombuffer(session.view.map, "<u2").reshape(session.view.map_shape)
    np.testing.assert_array_equal(np.array([0, 11, 22, 70_001])[sent], labels)
    assert source.data["name"] == ["11", "22", "70001"]
    each = abs(np.linalg.det(volume.affine[:3, :3]))
    assert source.data["size"] == [round(count * each) for count in (1000, 1000, 80)]
    middle = [int(one) for one in source.data["voxel"][0].split()]
    assert labels[tuple(volume.canonical_index(middle))] == 11
    assert session.map.labels.root.visible
    assert "numbers" in session.map.labels.said.text
    # Names come by a table; what is no table is told.
    table = b"index,name,r,g,b\n11,Precuneus,1,2,3\n22,<script>alert(1)</script>,4,5,6\n"
    session.map.labels._sent("names.csv", io.BytesIO(table))
    session.until(lambda: session.view.label_names[:1] == ["Precuneus"])
    session.until(lambda: source.data["name"][0] == "11 Precuneus")
    assert session.view.label_colours[:3] == bytes([1, 2, 3])
    assert session.map.labels.said.text.startswith("2 of 3 regions")
    session.map.labels._sent("noise.csv", io.BytesIO(bytes(range(256)) * 4))
    session.until(lambda: any("noise.csv" in one for one in session.said))
    # What is saved says the same.
    scan = session.workspace.now.scan
    session.view.update(i=25, j=35, k=25)
    sight = Sight.of(session.view, "axial", session.map.limit)
    file, data = build("planes.png", scan, session.map.shown, sight)
    assert file.endswith(".png")
    with Image.open(io.BytesIO(data)) as image:
        assert image.size[0] > 500
    # The network's map comes back without labels.
    session.map.overlay.value = ""
    session.until(lambda: session.settled("brain_tumour") and not session.view.label_values)
    assert not session.map.labels.root.visible


def test_maps_are_weighted_by_the_probability_of_their_slices_until_it_is_switched_off(
    session: Session,  # noqa: F811
) -> None:
    session.choose("brain_tumour")
    session.until(lambda: session.settled("brain_tumour"))
    found = session.map.shown[1]
    across = found.probabilities
    assert session.view.probabilities == pytest.approx(across.tolist())
    assert session.view.probability_name == "P(tumour-like)"
    assert session.map.weighted.visible
    np.testing.assert_allclose(found.values, found.maps * across[None, None].astype(np.float32), rtol=1e-6)
    source = session.map.places.table.source
    session.until(lambda: source.data["p"])
    scan = session.workspace.now.scan
    for voxel, p in zip(source.data["voxel"], source.data["p"], strict=True):
        k = scan.volume.canonical_index([int(one) for one in voxel.split()])[2]
        assert p == percent(across[k])
    assert "is weighted by the probability" in session.map.foot.text
    session.map.weighted.active = False
    session.until(lambda: session.settled("brain_tumour") and not session.map.shown[1].weighted)
    plain = session.map.shown[1]
    np.testing.assert_array_equal(plain.values, found.maps)
    assert "not weighted" in session.map.foot.text
    sight = Sight.of(session.view, "axial", session.map.limit)
    saved = {}
    for weighted, one in ((True, found), (False, plain)):
        _, data = build("map.nii.gz", scan, (session.map.shown[0], one), sight)
        image = nib.Nifti1Image.from_bytes(__import__("gzip").decompress(data))
        saved[weighted] = image
        text_of = image.header.extensions[0].get_content()
        assert (b'"weighted": true' in bytes(str(text_of), "utf8")) == weighted
        assert (b"weighted by P" in bytes(image.header["descrip"])) == weighted
    assert saved[True].get_fdata().max() <= saved[False].get_fdata().max()


def test_a_hidden_unit_has_no_probability_and_that_is_said(session: Session) -> None:  # noqa: F811
    from vislib.attribution import Target

    session.choose("brain_tumour")
    session.until(lambda: session.settled("brain_tumour"))
    session.workspace.change(target=Target(2, layer="conv3"))
    session.until(lambda: session.view.title.startswith("Grad-CAM for unit 2") and session.map.shown)
    assert session.view.probabilities == []
    assert session.map.weighted.disabled
    assert "no probability" in session.map.foot.text
    assert not any(session.map.places.table.source.data["p"])


def test_only_regions_that_a_table_names_count_as_named(tmp_path):
    """Of labels that float32 cannot hold each has its own number for a name, which no table gave."""
    numbers = (0, 312_782_546, 312_782_550)
    places = np.arange(27).repeat(64).reshape(12, 12, 12) % 3
    (tmp_path / "atlas.nii").write_bytes(nifti(np.array(numbers, np.int32)[places], np.eye(4)))
    volume = read_volume(tmp_path / "atlas.nii")
    assert volume.numbers == numbers
    scan = SimpleNamespace(key="atlas", volume=volume, label_codes=LabelCodes.among(volume.data))
    one = LabelInput(SimpleNamespace(), lambda: None, pytest.fail)
    assert one._words(scan).startswith("Regions are called by their numbers")
    one._read(scan, "names.csv", {312_782_550: Label("VISa"), 7: Label("elsewhere")}, "")
    assert one._words(scan) == "1 of 2 regions are named by the table that was sent."
    assert one.of(scan)[2] == Label("VISa", number=312_782_550)
    listed = regions(volume.data, volume.affine, one.of(scan))
    assert sorted(_called(region) for region in listed) == ["312782546", "312782550 VISa"]
    assert {region.peak for region in listed} == {312_782_546.0, 312_782_550.0}
    assert region_words(2.0, one.of(scan)) == "312782550 VISa"
    assert region_words(1.0, one.of(scan)) == "312782546"
    assert region_words(7.0, {}) == "7"
