"""Saved pictures of volumes: the right way round, in proportion, in the browser's colours, the same every time."""

import io

import numpy as np
import pytest
from PIL import Image
from volume_making import SAMPLES, box

from dashboard import palettes
from dashboard.orientation import LETTERS, letters
from dashboard.plane_picture import coloured, contour
from dashboard.volume_pictures import Look, Scene, lightbox, three_planes
from dashboard.volume_pictures import _nice_length as nice_length
from dashboard.volume_pictures import _number as number
from dashboard.volume_pictures import _plain as plain
from dashboard.volume_pictures import _position as position_words
from dashboard.volume_view import VolumeView
from vislib.volumes import PLANES, VIEWS, position, read_volume

PAGE = (18, 22, 27)
WHITE = Look(0, 255, smooth=False)
AXES = {"coronal": (0, 2), "sagittal": (1, 2), "axial": (0, 1)}  # columns, rows upwards


def opened(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def panes(picture: np.ndarray) -> dict[str, np.ndarray]:
    """The three planes' boxes, which the page's colour divides."""
    right = int(np.flatnonzero((picture[1] == PAGE).all(1))[0])
    below = int(np.flatnonzero((picture[:, 1] == PAGE).all(1))[0])
    return {
        "coronal": picture[:below, :right],
        "sagittal": picture[:below, right + 3 :],
        "axial": picture[below + 3 :, :right],
    }


def plane_in(pane: np.ndarray, levels: tuple[int, ...]) -> np.ndarray:
    """The part of a pane that shows voxels, all of which have one of these greys."""
    shown = np.isin(pane[..., 0], levels) & (pane.max(2) == pane.min(2))
    rows, columns = (np.flatnonzero(shown.mean(axis) > 0.3) for axis in (1, 0))
    return pane[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def spot(shape=(20, 24, 16), at=(16, 19, 12)) -> np.ndarray:
    """Grey, with a white cube at the patient's right, front and top."""
    data = np.full(shape, 50, np.float32)
    data[tuple(slice(one - 1, one + 2) for one in at)] = 255
    return data


@pytest.mark.parametrize("radiological", [True, False])
def test_the_patients_right_front_top_is_where_volume_view_shows_it(radiological):
    at, shape = (16, 19, 12), (20, 24, 16)
    scene = Scene(spot(shape, at), np.diag([2.0, 2, 2, 1]))
    look = Look(0, 255, smooth=False, radiological=radiological)
    for plane, pane in panes(opened(three_planes(scene, look, at))).items():
        part = plane_in(pane, (50, 255))
        rows, columns = np.nonzero((part == 255).all(2))
        across, up = AXES[plane]
        x, y = (columns.mean() + 0.5) / part.shape[1], (rows.mean() + 0.5) / part.shape[0]
        right = (at[across] + 0.5) / shape[across]
        flipped = radiological and plane != "sagittal"
        assert x == pytest.approx(1 - right if flipped else right, abs=0.01)
        assert y == pytest.approx(1 - (at[up] + 0.5) / shape[up], abs=0.01)
        side = "left" if flipped else "right"
        assert letters(plane, radiological)[side] == LETTERS[across][1]
        assert letters(plane, radiological)["top"] == LETTERS[up][1]
    assert letters("axial", True) == {"left": "R", "right": "L", "top": "A", "bottom": "P"}
    assert letters("axial", False) == {"left": "L", "right": "R", "top": "A", "bottom": "P"}
    assert letters("sagittal", True) == {"left": "P", "right": "A", "top": "S", "bottom": "I"}


def test_letters_are_drawn_at_the_sides_that_they_name():
    scene = Scene(np.zeros((20, 24, 16), np.float32), np.diag([2.0, 2, 2, 1]))
    both = [
        panes(opened(three_planes(scene, Look(0, 255, radiological=is_so), (10, 12, 8))))
        for is_so in (True, False)
    ]
    for plane in PLANES:
        one, other = (pane[plane].max(2) > 200 for pane in both)
        middle = slice(one.shape[0] // 2 - 12, one.shape[0] // 2 + 12)
        left, right = (slice(3, 22), slice(-22, -3))
        for side in (left, right):
            assert one[middle, side].any()
            assert (one[middle, side] == other[middle, side]).all() == (plane == "sagittal")


@pytest.mark.parametrize("voxel", [(1.0, 2.0, 4.0), (3.0, 1.0, 1.0), (0.5, 0.5, 5.0)])
def test_planes_are_in_proportion_in_millimetres_and_at_one_scale(voxel):
    shape = (20, 30, 12)
    scene = Scene(np.full(shape, 120, np.float32), np.diag([*voxel, 1]))
    scales = []
    for plane, pane in panes(opened(three_planes(scene, WHITE, (10, 15, 6)))).items():
        part = plane_in(pane, (120,))
        for axis, pixels in zip(AXES[plane], part.shape[1::-1], strict=True):
            scales.append(pixels / (shape[axis] * voxel[axis]))
    np.testing.assert_allclose(scales, scales[0], rtol=0.02)


def by_the_browsers_rule(scene: Scene, look: Look, ijk: tuple[int, int, int]) -> np.ndarray:
    """A voxel's colour, as planes.js and lens.js compute it for one value."""
    width, above = look.window_high - look.window_low, float(scene.data[ijk]) - look.window_low
    share = min(1, max(0, above / width)) if width > 0 else float(above > 0)
    under = palettes.table(look.palette)[int(share * 255 + 0.5)].astype(float)
    if scene.map is None or scene.strongest <= 0 or not np.isfinite(scene.map[ijk]):
        return under
    share = max(-1.0 if scene.signed else 0.0, min(1.0, float(scene.map[ijk]) / scene.strongest))
    if abs(share) < look.threshold:
        return under
    entry = 128 + int(np.floor(share * 127 + 0.5)) if scene.signed else int(share * 255 + 0.5)
    colour = palettes.table(look.diverging if scene.signed else look.map_palette)[entry]
    alpha = (int(abs(share) * 255 + 0.5) / 255 if look.alpha_by_value else 1) * look.opacity
    return under * (1 - alpha) + colour * alpha


@pytest.mark.parametrize(
    ("signed", "limit", "look"),
    [
        (False, 0.0, WHITE),
        (True, 0.0, Look(20, 180, smooth=False, threshold=0.25, opacity=0.9)),
        (True, 0.7, Look(20, 180, "cividis", False, 0.5, 0.1, False, "viridis", "purple-green", False)),
        (False, 0.7, Look(99, 99, "grey", False, 1.0, 0.0, False, "turbo")),
    ],
)
def test_every_voxel_has_the_colours_of_the_page(signed, limit, look):
    generator = np.random.default_rng(5)
    data = generator.uniform(0, 255, (9, 10, 8)).astype(np.float32)
    values = generator.normal(size=data.shape).astype(np.float32)
    values[generator.random(data.shape) < 0.2] = np.nan
    values[:, :, 3] = -np.abs(values[:, :, 3])  # a plane without anything above 0
    scene, at = Scene(data, np.diag([2.0, 2, 2, 1]), values, signed, limit), (4, 6, 3)
    found = panes(opened(three_planes(scene, look, at)))
    for plane, (columns, rows) in AXES.items():
        across = VIEWS[plane].across
        flip = look.radiological and plane != "sagittal"
        cut = coloured(scene, look, plane, at[across])
        pane = found[plane]
        height, width = cut.shape[:2]
        scale = min((pane.shape[0] - 48) / height, (pane.shape[1] - 48) / width)
        for row, column in np.ndindex(height, width):
            ijk = [0, 0, 0]
            ijk[across], ijk[rows] = at[across], height - 1 - row
            ijk[columns] = width - 1 - column if flip else column
            wanted = by_the_browsers_rule(scene, look, tuple(ijk))
            assert np.abs(cut[row, column] - wanted).max() <= 1
            if ijk[columns] != at[columns] and ijk[rows] != at[rows]:  # beside the crosshair
                y = pane.shape[0] / 2 + (row + 0.5 - height / 2) * scale
                x = pane.shape[1] / 2 + (column + 0.5 - width / 2) * scale
                assert np.array_equal(pane[int(y), int(x)], cut[row, column])


def test_smooth_planes_lie_between_their_voxels_and_a_map_of_nothing_changes_nothing():
    scene = Scene(spot(), np.diag([2.0, 2, 2, 1]))
    smooth = panes(opened(three_planes(scene, Look(0, 255), (16, 19, 12))))["axial"]
    assert len(np.unique(smooth[..., 0])) > 50
    nothing = Scene(spot(), np.diag([2.0, 2, 2, 1]), np.zeros((20, 24, 16), np.float32))
    blank = panes(opened(three_planes(nothing, Look(0, 255), (16, 19, 12))))["axial"]
    assert np.array_equal(smooth, blank)


def test_what_is_not_finite_in_a_volume_is_dark():
    data = np.full((6, 6, 6), 200, np.float32)
    data[2, 2, 2], data[3, 2, 2], data[4, 2, 2] = np.nan, np.inf, -np.inf
    cut = coloured(Scene(data, np.eye(4)), Look(0, 255, radiological=False), "axial", 2)
    assert cut[3, 1:6, 0].tolist() == [200, 0, 255, 0, 200]


def test_the_outline_runs_midway_between_voxels_in_and_outside():
    inside = np.random.default_rng(6).random((13, 17)) < 0.5
    ends = [end for x, y, to_x, to_y in contour(inside) for end in ((x, y), (to_x, to_y))]
    padded = np.pad(inside, 1)
    wanted = []
    for row, column in np.ndindex(14, 18):  # each border between two pixels is met from both of its corners
        here = padded[row, column]
        if column < 18 and row > 0 and here != padded[row, column + 1]:
            wanted += [(column, row - 0.5)] * 2
        if row < 14 and column > 0 and here != padded[row + 1, column]:
            wanted += [(column - 0.5, row)] * 2
    assert sorted(ends) == sorted(wanted)
    assert contour(np.zeros((4, 4), bool)) == []


def test_a_mask_is_outlined_and_nothing_else_changes():
    data, mask = np.full((20, 24, 16), 50, np.float32), np.zeros((20, 24, 16), np.uint8)
    mask[5:9, 10:15, 4:8] = 1
    plain_one, outlined = (
        panes(opened(three_planes(Scene(data, np.diag([2.0, 2, 2, 1]), mask=one), WHITE, (6, 12, 5))))
        for one in (None, mask)
    )
    for plane, (columns, rows) in AXES.items():
        changed = (plain_one[plane] != outlined[plane]).any(2)
        part = plane_in(plain_one[plane], (50,))
        scale = part.shape[1] / (data.shape[columns] * 2)
        high, wide = (np.ptp(np.flatnonzero(changed.any(axis))) for axis in (1, 0))
        sizes = {0: 4, 1: 5, 2: 4}
        assert wide == pytest.approx(2 * sizes[columns] * scale, abs=8)
        assert high == pytest.approx(2 * sizes[rows] * scale, abs=8)
        assert changed.sum() < 8 * 2 * (wide + high)
        assert (outlined[plane][changed].min(1) > 250).any()


def stretches(blank: np.ndarray) -> list[slice]:
    """Where something lies between the page's own colour, but for thin lines of words."""
    filled = np.flatnonzero(~blank)
    parts = np.split(filled, np.flatnonzero(np.diff(filled) > 1) + 1)
    return [slice(part[0], part[-1] + 1) for part in parts if len(part) > 40]


def cells(png: bytes, rows: int, columns: int) -> list[np.ndarray]:
    """A lightbox's cells, row by row."""
    page = opened(png)
    bands = stretches((page == PAGE).all((1, 2)))
    strips = stretches((page[bands[0]] == PAGE).all((0, 2)))
    assert (len(bands), len(strips)) == (rows, columns)
    return [page[band, strip] for band in bands for strip in strips]


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize(("rows", "columns"), [(2, 4), (3, 3), (1, 5)])
def test_a_lightbox_shows_evenly_spaced_slices_from_low_to_high(plane, rows, columns):
    shape, across = (40, 36, 44), VIEWS[plane].across
    data = np.zeros(shape, np.float32)
    bright = np.arange(5, shape[across] - 4)  # the others show nothing
    np.moveaxis(data, across, 0)[bright] = (40 + 4 * bright)[:, None, None]
    scene = Scene(data, np.diag([2.0, 2, 2, 1]))
    wanted = [int(at) for at in np.floor(np.linspace(5, shape[across] - 5, rows * columns) + 0.5)]
    found = cells(lightbox(scene, WHITE, plane, rows=rows, columns=columns), rows, columns)
    levels = [int(cell[cell.shape[0] // 3, cell.shape[1] // 3, 0]) for cell in found]
    assert levels == [40 + 4 * at for at in wanted]
    own = VIEWS[plane]
    ratio = shape[own.columns] / shape[own.rows]
    assert all(cell.shape[1] / cell.shape[0] == pytest.approx(ratio, rel=0.03) for cell in found)


@pytest.mark.parametrize("radiological", [True, False])
def test_a_lightbox_is_the_right_way_round(radiological):
    scene = Scene(spot(), np.diag([2.0, 2, 2, 1]))
    look = Look(0, 255, smooth=False, radiological=radiological)
    found = cells(lightbox(scene, look, rows=4, columns=4), 4, 4)  # all 16 slices
    for at, cell in enumerate(found):
        rows, columns = np.nonzero((cell == 255).all(2))
        assert (len(rows) > 0) == (at in (11, 12, 13))
        if len(rows):
            x, y = columns.mean() / cell.shape[1], rows.mean() / cell.shape[0]
            assert x == pytest.approx(1 - 16.5 / 20 if radiological else 16.5 / 20, abs=0.02)
            assert y == pytest.approx(1 - 19.5 / 24, abs=0.02)


def test_a_lightbox_chooses_its_rows_and_columns():
    scene = Scene(np.full((40, 40, 60), 99, np.float32), np.eye(4))
    assert len(cells(lightbox(scene, WHITE), 5, 7)) == 35
    assert len(cells(lightbox(scene, WHITE, columns=4), 8, 4)) == 32
    assert len(cells(lightbox(scene, WHITE, rows=3), 3, 10)) == 30
    few = Scene(np.full((40, 40, 3), 99, np.float32), np.diag([1.0, 1, 5, 1]))
    picture = opened(lightbox(few, WHITE))
    assert 900 <= picture.shape[1] <= 1200


def test_slices_say_where_they_lie():
    volume = read_volume(SAMPLES["brain_tumour"].path)
    scene = Scene(volume.data, volume.affine)
    for plane in PLANES:
        across = VIEWS[plane].across
        for at in (0, 17, volume.data.shape[across] - 1):
            words = f"{'xyz'[across]} = {round(position(volume, plane, at), 1) + 0.0:g} mm"
            assert position_words(scene, across, at) == words


def test_the_same_picture_has_the_same_bytes_and_a_page_fits_it():
    volume = read_volume(SAMPLES["brain_tumour"].path)
    mask = read_volume(SAMPLES["brain_tumour"].mask).data
    values = np.random.default_rng(8).normal(size=volume.data.shape).astype(np.float32)
    made = []
    for _ in range(2):
        scene = Scene(volume.data.copy(), volume.affine, values.copy(), True, 2.5, mask)
        pictures = (
            three_planes(scene, Look(0, 255), (20, 40, 50), title="Über – “all”", facts=["one", "two"]),
            lightbox(scene, Look(0, 255), "coronal", title="a title", facts=["one"]),
        )
        made.append(pictures)
        for picture in map(opened, pictures):
            assert all(800 <= size <= 1250 for size in picture.shape[:2])
    assert made[0] == made[1]


def test_facts_never_leave_the_picture():
    scene = Scene(np.full((20, 20, 3), 99, np.float32), np.diag([1.0, 1, 2, 1]))
    short, long = (
        opened(three_planes(scene, WHITE, (3, 3, 1), facts=["a fact of some length"] * count))
        for count in (1, 60)
    )
    assert len(long) > len(short) + 200
    assert (long[-200:, -200:] == PAGE).all(2).any()
    assert long[-60:, short.shape[1] // 2 + 20 :].max() > 120  # the last fact


@pytest.mark.parametrize(
    ("shape", "voxel"),
    [
        ((1, 1, 1), (1.0, 1.0, 1.0)),
        ((64, 64, 1), (1.0, 1.0, 5.0)),
        ((1, 50, 60), (9.0, 1.0, 1.0)),
        ((100, 4, 4), (1.0, 1.0, 1.0)),
        ((9, 8, 10), (0.1, 0.2, 7.0)),
    ],
)
def test_volumes_of_any_form_make_pictures(shape, voxel):
    data = np.random.default_rng(9).normal(100, 30, shape).astype(np.float32)
    scene = Scene(data, np.diag([*voxel, 1.0]), data - 100, True)
    pictures = [three_planes(scene, Look(0, 200), tuple(size // 2 for size in shape))]
    pictures += [lightbox(scene, Look(0, 200), plane) for plane in PLANES]
    for picture in map(opened, pictures):
        assert min(picture.shape[:2]) > 100
        assert max(picture.shape[:2]) < 1600


def test_the_look_is_that_of_a_view():
    view = VolumeView(
        window_low=3, window_high=90, palette="cividis", smooth=False, opacity=0.3, threshold=0.2
    )
    view.update(alpha_by_value=False, map_palette="turbo", diverging="purple-green", radiological=False)
    assert Look.of(view) == Look(3, 90, "cividis", False, 0.3, 0.2, False, "turbo", "purple-green", False)
    assert Look.of(VolumeView()) == Look(0, 255)


def test_the_strongest_colour_is_the_one_that_the_view_is_given():
    values = np.full((3, 3, 3), -2, np.float32)
    values[0, 0, 0] = 1
    volume = box((3, 3, 3), (1.0, 1.0, 1.0))
    for signed in (True, False):
        for limit in (0.0, 0.5):
            view = VolumeView()
            view.show(volume.data, volume.affine, (0, 255))
            view.set_map(values, signed, limit=limit)
            assert Scene(volume.data, volume.affine, values, signed, limit).strongest == view.limit
    assert Scene(volume.data, volume.affine, np.zeros((3, 3, 3), np.float32), True, 3.0).strongest == 0


def test_words_and_numbers():
    assert [nice_length(mm) for mm in (1, 4.9, 5, 23, 199, 0.3)] == [1, 2, 5, 20, 100, 0.2]
    assert [number(one) for one in (0, -0.0, 0.12345, 127.5, 1234.6, -3)] == [
        *("0", "0", "0.123", "128", "1235", "-3")
    ]
    assert plain("Größe 3 × 4 mm³ – é日") == "Grosse 3 x 4 mm3 - e?"


def test_what_cannot_be_drawn_is_said():
    scene = Scene(np.zeros((3, 4, 5), np.float32), np.eye(4))
    with pytest.raises(ValueError, match="no voxel"):
        three_planes(scene, WHITE, (3, 0, 0))
    with pytest.raises(ValueError, match="no plane 'oblique'"):
        lightbox(scene, WHITE, "oblique")
    with pytest.raises(ValueError, match="resample it"):
        Scene(scene.data, scene.affine, np.zeros((3, 4, 6), np.float32))
    with pytest.raises(ValueError, match="resample it"):
        Scene(scene.data, scene.affine, mask=np.zeros((3, 4, 6), bool))
