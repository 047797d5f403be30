"""Labels: masks and atlases are known as such, never interpolated, counted by region and named by their tables."""

import math

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.orientations import io_orientation
from scipy import ndimage
from volume_making import SAMPLES, affines, assert_sentence

from vislib.clusters import regions
from vislib.errors import ImageError
from vislib.label_tables import labels_of_extension, named
from vislib.labels import Label, is_labels
from vislib.volumes import Volume, lay_over, read_label_table, read_volume


def volume(data: np.ndarray, affine: np.ndarray) -> Volume:
    data = data.astype(np.float32)
    return Volume(
        data, affine, "one", nib.Nifti1Image(data, affine).header, io_orientation(affine), "float32"
    )


def atlas(seed: int, count: int = 60, shape: tuple[int, int, int] = (24, 26, 22)) -> np.ndarray:
    """Regions around random seeds, with label numbers as atlases have them; 0 outside of a ball."""
    generator = np.random.default_rng(seed)
    seeds = np.stack([generator.integers(0, n, count) for n in shape])
    away = np.full(shape, True)
    away[tuple(seeds)] = False
    nearest = ndimage.distance_transform_edt(away, return_distances=False, return_indices=True)
    numbers = np.zeros(shape, np.float32)
    numbers[tuple(seeds)] = np.unique(generator.choice(np.arange(1, 14000), 2 * count, replace=False))[:count]
    found = numbers[tuple(nearest)]
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij"))
    return np.where((grid**2).sum(0) < 1, found, 0).astype(np.float32)


def test_masks_and_atlases_are_labels_and_scans_are_not():
    generator = np.random.default_rng(0)
    blob = atlas(3) > 0
    smooth = ndimage.gaussian_filter(generator.normal(size=(30, 30, 30)), 2)
    scan = (255 * (smooth - smooth.min()) / np.ptp(smooth)).round()
    saturated = scan.clip(100, 150)  # half of it lies at the ends, as in a CT
    for labels in (blob, blob.astype(np.float32), 0.5 * blob, atlas(1), atlas(2) * 100_003, blob * 7 - 3):
        assert is_labels(labels)
    for other in (
        scan,
        saturated,
        smooth,
        smooth * blob_of(30),
        generator.integers(0, 4000, (9, 9, 9)),
        np.zeros((5, 5, 5)),
        np.full((5, 5, 5), 3.0),
        np.full((5, 5, 5), np.nan),
    ):
        assert not is_labels(other)


def blob_of(side: int) -> np.ndarray:
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, side)] * 3))
    return (grid**2).sum(0) < 0.8


def shell(parcels: int, thick: float) -> np.ndarray:
    """A sheet of a ball's surface, in parcels."""
    away = np.sqrt(((np.indices((40, 40, 40)) - 20.0) ** 2).sum(0))
    inside = np.argwhere((away > 17) & (away < 17 + thick))
    seeds = inside[np.random.default_rng(1).choice(len(inside), parcels, replace=False)]
    data = np.zeros((40, 40, 40), np.float32)
    nearest = ((inside[:, None] - seeds[None]) ** 2).sum(2).argmin(1)
    data[tuple(inside.T)] = nearest + 1
    return data


@pytest.mark.parametrize("thick", [1.0, 2.0])
@pytest.mark.parametrize("parcels", [50, 200, 1000])
def test_sheets_of_a_voxel_are_labels(parcels, thick):
    assert is_labels(shell(parcels, thick))


def test_seeds_of_a_voxel_each_are_labels_and_keep_their_numbers_when_laid_over():
    places = np.array([(x, y, z) for x in range(2, 30, 4) for y in range(2, 30, 4) for z in range(2, 22, 4)])
    data = np.zeros((32, 32, 24), np.float32)
    data[tuple(places.T)] = np.arange(1, len(places) + 1)
    seeds = volume(data, np.diag([2.0, 2, 2, 1]))
    scan = volume(np.random.default_rng(0).normal(size=(64, 64, 48)), np.diag([1.0, 1, 1, 1]))
    assert seeds.labelled
    assert np.isin(lay_over(seeds, scan), np.arange(len(places) + 1)).all()


@pytest.mark.parametrize("times", [(2, 2, 2), (3, 3, 1), (1, 1, 4), (4, 4, 4)])
def test_a_scan_whose_voxels_are_repeated_is_a_scan_and_an_atlas_an_atlas(times):
    scan = np.random.default_rng(0).integers(0, 90, (12, 10, 14))
    for one, labels in ((scan, False), (atlas(4), True), (shell(200, 1.0), True)):
        assert is_labels(np.kron(one, np.ones(times, one.dtype))) == labels


def test_the_samples_are_scans_and_their_masks_labels():
    sample = SAMPLES["brain_tumour"]
    assert not read_volume(sample.path).labelled
    assert read_volume(sample.mask).labelled


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), affine=affines(), other=affines())
def test_no_value_appears_that_an_atlas_does_not_hold(seed, affine, other):
    here = volume(np.random.default_rng(seed).normal(size=(12, 11, 13)), np.abs(other))
    there = volume(atlas(seed, 20, (12, 13, 14)), affine)
    laid = lay_over(there, here)
    assert set(np.unique(laid)) <= {0.0, *np.unique(there.data)}
    back = np.linalg.inv(affine) @ here.affine
    for _ in range(40):  # as the nearest voxel says, by hand
        voxel = tuple(int(at) for at in np.random.default_rng(seed).integers(here.data.shape))
        at = (back @ [*voxel, 1])[:3]
        if np.abs(at - np.floor(at) - 0.5).min() < 1e-3:
            continue  # between two
        near = tuple(math.floor(one + 0.5) for one in at)
        inside = all(0 <= one < size for one, size in zip(near, there.data.shape, strict=True))
        assert laid[voxel] == (there.data[near] if inside else 0)


def test_intensities_stay_linear():
    x = np.arange(8, dtype=np.float32)
    ramp = x[:, None, None] + 10.5 * x[:, None] + 100.25 * x
    half = np.eye(4)
    half[:3, 3] = 0.5
    laid = lay_over(volume(ramp, np.eye(4)), volume(np.random.default_rng(0).normal(size=(7, 7, 7)), half))
    np.testing.assert_allclose(laid, ramp[:7, :7, :7] + (1 + 10.5 + 100.25) / 2, rtol=1e-5)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), affine=affines())
def test_regions_are_counted_by_their_number(seed, affine):
    data = atlas(seed, 9, (9, 8, 7))
    found = regions(data, affine, {int(np.unique(data)[1]): Label("first")})
    assert {one.label for one in found} == {float(one) for one in np.unique(data) if one != 0}
    assert [one.voxels for one in found] == sorted((one.voxels for one in found), reverse=True)
    for one in found:
        places = np.argwhere(data == one.label)
        assert one.voxels == len(places)
        assert one.mm3 == pytest.approx(len(places) * abs(np.linalg.det(affine)))
        mm = places @ affine[:3, :3].T + affine[:3, 3]
        np.testing.assert_allclose(one.centre_mm, mm.mean(0), atol=1e-6)
        assert data[one.peak_ijk] == one.peak == one.label
        nearest = np.linalg.norm(mm - mm.mean(0), axis=1).min()
        assert np.linalg.norm(np.subtract(one.peak_mm, one.centre_mm)) == pytest.approx(nearest, abs=1e-6)
        assert one.name == ("first" if one.label == np.unique(data)[1] else "")
    assert regions(data, affine, most=2) == [one.__class__(**{**vars(one), "name": ""}) for one in found[:2]]


def test_a_region_in_two_pieces_is_one_and_what_is_not_finite_is_none():
    data = np.zeros((5, 5, 5), np.float32)
    data[0, 0, 0] = data[4, 4, 4] = -2
    data[2, 2, 2] = np.nan
    data[1, 1, 1] = 0.5
    two, half = regions(data, np.eye(4))
    assert (two.label, two.voxels, half.label) == (-2, 2, 0.5)


TABLES = {
    "CSV": b"index,name,r,g,b\n0,Background,0,0,0\n11,Left thalamus,118,118,118\n12,Right thalamus,0,118,14\n",
    "TSV, as BIDS has it": "\ufeffindex\tname\tabbreviation\tcolor\n11\tLeft thalamus\tLT\t#767676\n"
    "12\tRight thalamus\tRT\t#00760e\n".encode(),
    "semicolons": b'Label;Region\r\n11;"Left thalamus"\r\n12;Right thalamus\r\n',
    "number under label": b"label,name\n11.0,Left thalamus\n12.0,Right thalamus\n",
    "name under label": b"id,label\n11,Left thalamus\n12,Right thalamus\n",
    "no header": b"11, Left thalamus\n12, Right thalamus\n",
    "FreeSurfer": b"#$Id: a table\n#No. Label Name: R G B A\n\n  0  Unknown 0 0 0 0\n11  Left-thalamus  118 118 118 0\n"
    b"12  Right-thalamus  0 118 14 0\n",
    "ITK-SNAP": b'# ITK-SnAP Label Description File\n 0 0 0 0 0 0 0 "Clear Label"\n'
    b' 11 118 118 118 1 1 1 "Left thalamus"\n 12 0 118 14 0.5 1 0 "Right thalamus"\n',
    "UTF-16": "index\tname\n11\tLeft thalamus\n12\tRight thalamus\n".encode("utf-16"),
}


@pytest.mark.parametrize("kind", TABLES)
def test_every_kind_of_table_names_its_regions(kind):
    found = read_label_table(TABLES[kind], "table.txt")
    names = {number: label.name.replace("-", " ") for number, label in found.items() if number}
    assert names == {11: "Left thalamus", 12: "Right thalamus"}
    if kind in ("CSV", "TSV, as BIDS has it", "FreeSurfer", "ITK-SNAP"):
        assert (found[11].colour, found[12].colour) == ((118, 118, 118), (0, 118, 14))
    assert named(11, found).replace("-", " ") == "Left thalamus"
    assert (named(13, found), named(11.5, found)) == ("13", "11.5")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"Dear all, please find attached",
        b"a,b\n1,2\n",
        b"1 2 3\n4 5 6\n",
        bytes(range(256)) * 9,
        b"x" * 5_000_000,
        b"1\n" * 30_000,
    ],
)
def test_what_is_no_table_is_said(data):
    with pytest.raises(ImageError, match=r"table\.csv") as caught:
        read_label_table(data, "table.csv")
    assert_sentence(caught.value)


@settings(max_examples=200, deadline=None)
@given(
    data=st.one_of(st.binary(max_size=300), st.text(max_size=300).map(str.encode)),
    kind=st.sampled_from([*TABLES]),
)
def test_any_bytes_are_a_table_or_refused(data, kind):
    for given_ in (data, TABLES[kind] + data, data + TABLES[kind]):
        try:
            found = read_label_table(given_)
        except ImageError as error:
            assert_sentence(error)
        else:
            assert all(one.name and one.name.isprintable() for one in found.values())
    labels_of_extension(data.decode("latin-1"))


def test_the_first_of_two_names_is_kept():
    assert read_label_table(b"index,name\n3,one\n3,two\n") == {3: Label("one")}


def test_labels_in_extensions():
    caret = (
        '<?xml version="1.0"?><CaretExtension><VolumeInformation Index="0"><LabelTable>'
        '<Label Key="0" Red="1" Green="1" Blue="1" Alpha="0">???</Label>'
        '<Label Key="11" Red="0.5" Green="0" Blue="1" Alpha="1">Left &amp; inner</Label></LabelTable>'
    )
    assert labels_of_extension(caret)[11] == Label("Left & inner", (128, 0, 255))
    afni = '<AFNI_attributes><VALUE_LABEL_DTABLE ni_type="2*String">\n"11" "Left"\n"12" "Right"\n</VALUE_LABEL_DTABLE>'
    assert labels_of_extension(afni) == {11: Label("Left"), 12: Label("Right")}
    assert labels_of_extension("index\tname\n4\tfour\n\0\0") == {4: Label("four")}
    assert labels_of_extension('{"method": "Grad-CAM"}') == labels_of_extension("") == {}
