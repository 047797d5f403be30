"""One side for the patient's left: an asymmetric slice through every place that makes a picture of it."""

import base64
import io
import re
from types import SimpleNamespace

import numpy as np
import pytest
from bokeh.layouts import row
from browsing import FRAME, chromium
from PIL import Image
from test_inputs import deep, flat
from volume_making import nifti
from volume_views import VIEW, drawn, opened

from dashboard import export_menu, map_files
from dashboard.answers import Question
from dashboard.cells import Cell, compose
from dashboard.check_view import _drawn as thumbnail
from dashboard.check_view import plane_of, strips
from dashboard.inputs import Choice, Input, Inputs
from dashboard.orientation import LETTERS, SIDES, axes_of, flipped, letters
from dashboard.overlay import Lens, Overlay
from dashboard.unit_planes import lettered, part_letters
from vislib import display
from vislib.attribution import METHODS, Attribution, Target
from vislib.evaluation import Check
from vislib.frames import Frame, History
from vislib.network import Network
from vislib.volumes import PLANES, VIEWS

CONVENTIONS = (True, False)
BALL = (4, 20, 13)  # of 20 x 24 x 18 voxels: left, front, top
SHAPE = (20, 24, 18)
DATA = np.full(SHAPE, 40, np.float32)
DATA[tuple(slice(at - 1, at + 2) for at in BALL)] = 200
AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])


def side(picture: np.ndarray) -> tuple[str, str]:
    """On which side, and at which end, of a picture the brightest tenth of its light lies."""
    light = picture.reshape(*picture.shape[:2], -1).astype(float).mean(-1)
    rows, columns = np.nonzero(light > 0.75 * light.max())
    across, down = columns.mean() / picture.shape[1], rows.mean() / picture.shape[0]
    return ("left" if across < 0.45 else "right"), ("top" if down < 0.45 else "bottom")


def wanted(plane: str, radiological: bool) -> tuple[str, str]:
    """Where a ball in the patient's left, front and top is seen."""
    if plane == "sagittal":
        return "right", "top"
    return ("right" if radiological else "left"), "top"


def of_slice(plane: str, network: Network, index: int | None = None) -> Input:
    """The ball as a network's input; the file's first axis runs to the left."""
    inputs = Inputs()
    try:
        file = io.BytesIO(nifti(DATA[::-1], np.diag([-2.0, 2.0, 2.0, 1.0])))
        name = inputs.add("ball.nii", file)
        choice = Choice(name, plane, BALL[VIEWS[plane].across] if index is None else index)
        return inputs.prepare(choice, network, inputs.scan(choice))
    finally:
        inputs.close()


def question(one: Input, network: Network) -> tuple[Question, Attribution]:
    """A map that is the input itself."""
    values = one.image[:, 0].astype(np.float32)
    found = Attribution("itself", values, values, False, np.ones(1, np.float32))
    return Question(network, Target(0), METHODS["Saliency"], None, {}, one), found


def opened_png(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("plane", PLANES)
def test_letters_say_what_is_on_the_left(plane: str) -> None:
    for radiological in CONVENTIONS:
        low, high = LETTERS[VIEWS[plane].columns]
        turned = radiological and plane != "sagittal"
        assert flipped(plane, radiological) == turned
        assert letters(plane, radiological)["left"] == (high if turned else low)
    assert letters("", True) == {}
    assert not flipped("", True)


@pytest.mark.parametrize("make", [flat, deep])
@pytest.mark.parametrize("plane", PLANES)
def test_pictures_that_are_saved_have_the_patients_left_where_their_letter_is(plane: str, make) -> None:
    network = make()
    one = of_slice(plane, network)
    asked, found = question(one, network)
    for radiological in CONVENTIONS:
        look = map_files.look_of(Lens(opacity=0.0)) | {"radiological": radiological}
        for what in ("overlay.png", "map.png"):
            _, data = map_files.build(what, asked, found, look)
            picture = opened_png(data)
            assert side(picture) == wanted(plane, radiological), (what, radiological)
            assert _letter_is_there(picture), what


def _letter_is_there(picture: np.ndarray) -> bool:
    """Whether something bright is written on the dark left edge."""
    height = len(picture)
    edge = picture[height // 2 - height // 24 : height // 2 + height // 24, : height // 20]
    return bool((edge > 180).all(-1).any())


@pytest.mark.parametrize("make", [flat, deep])
@pytest.mark.parametrize("plane", PLANES)
def test_numbers_are_never_flipped_and_their_file_says_how_they_run(plane: str, make) -> None:
    network = make()
    one = of_slice(plane, network)
    asked, found = question(one, network)
    saved = {}
    for radiological in CONVENTIONS:
        name, data = map_files.build(
            "map.npy", asked, found, map_files.look_of(Lens()) | {"radiological": radiological}
        )
        saved[name] = np.load(io.BytesIO(data))
    ((name, values),) = saved.items()
    np.testing.assert_array_equal(values, found.values[0])
    if make is flat:
        rows, columns = re.search(r"rows-(.-to-.)-columns-(.-to-.)\.npy$", name).groups()
        assert rows == ("A-to-P" if plane == "axial" else "S-to-I")
        assert columns == ("P-to-A" if plane == "sagittal" else "L-to-R")
        assert side(values) == wanted(plane, False)
    else:
        assert name.endswith("x-L-to-R-y-P-to-A-z-I-to-S.npy")
        place = np.unravel_index(values.argmax(), values.shape)
        assert [at < size / 2 for at, size in zip(place, values.shape, strict=True)] == [True, False, False]


def test_a_photograph_has_no_letters_and_is_not_flipped() -> None:
    inputs = Inputs()
    choice = Choice(
        next(name for group, names in inputs.names().items() if "photo" in group for name in names)
    )
    network = flat(3)
    one = inputs.prepare(choice, network, None)
    asked, found = question(one, network)
    pictures = [
        map_files.build("map.png", asked, found, map_files.look_of(Lens()) | {"radiological": one})[1]
        for one in CONVENTIONS
    ]
    assert pictures[0] == pictures[1]
    assert (
        axes_of("")
        not in map_files.build("map.npy", asked, found, map_files.look_of(Lens()) | {"radiological": True})[0]
    )


@pytest.mark.parametrize("plane", PLANES)
def test_the_checks_thumbnails_are_drawn_the_same_way_round(plane: str) -> None:
    values = of_slice(plane, flat()).image[0, 0]
    whole = of_slice("axial", deep(), SHAPE[2] // 2)
    for radiological in CONVENTIONS:
        said = letters(plane, radiological)
        picture = _of_address(thumbnail(values, Lens(), plane, radiological))
        assert side(picture) == wanted(plane, radiological)
        text = strips([_check(values)], lambda _: "", "".join(said[one] for one in SIDES))
        assert re.findall(r"<u>(.)</u>", text) == [said[one] for one in SIDES]
        volume = np.zeros(whole.image.shape[2:], np.float32)
        volume[4, -5, volume.shape[2] // 2] = 1
        assert side(plane_of(volume)) == ("left", "top")
        assert (
            side(_of_address(thumbnail(volume, Lens(), "axial", radiological)))[0]
            == wanted("axial", radiological)[0]
        )


def _check(values: np.ndarray) -> Check:
    return Check("one", None, values)


def _of_address(text: str) -> np.ndarray:
    return opened_png(base64.b64decode(text.partition(",")[2]))


@pytest.fixture(scope="module")
def browser():
    with chromium() as one:
        yield one


def _pair(document):
    lens = Lens(name="lens", smooth=False, opacity=1.0, palette="grey", alpha_by_value=False)
    pair = [Overlay(name=name, lens=lens, width=256, height=280) for name in "ab"]
    document.add_root(row(*pair, spacing=20))
    return pair


def _canvas(page, which: str = "canvas", name: str = "a") -> np.ndarray:
    url = page.evaluate("([name, canvas]) => view_of(name)[canvas].toDataURL()", [name, which])
    with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as image:
        return np.asarray(image.convert("RGBA"))


@pytest.mark.browser
@pytest.mark.parametrize("plane", PLANES)
def test_the_overlay_turns_picture_map_outline_pointer_and_lens_together(browser, plane: str) -> None:
    one = of_slice(plane, flat())
    image = one.image[0, 0]
    inside = image > 0.5
    place = tuple(int(at) for at in np.argwhere(inside).mean(0))
    with browser.open(_pair) as (page, served):
        overlay = served.made[-1][0]
        lens = overlay.lens

        def painted(action) -> None:
            tick = served.do(lambda: action() or overlay.tick)
            page.wait_for_function(f"view_of('a').model.ack == {tick}")

        for radiological in CONVENTIONS:
            painted(
                lambda turned=radiological: overlay.show(
                    one.picture, outline=inside, plane=plane, radiological=turned
                )
            )
            edge = 3 * (_canvas(page, "lines")[..., 3:] > 128)
            for picture in (_canvas(page)[..., :3], edge):
                assert side(picture) == wanted(plane, radiological)
            said = page.evaluate("view_of('a').letters.map((one) => one.textContent)")
            assert said == [letters(plane, radiological)[name] for name in SIDES]
            painted(
                lambda turned=radiological: overlay.show(
                    None, image, limit=1.0, plane=plane, radiological=turned
                )
            )
            assert side(_canvas(page)[..., :3]) == wanted(plane, radiological)
            box = page.evaluate(
                "(() => { const b = view_of('a').window.getBoundingClientRect();"
                " return [b.x, b.y, b.width, b.height] })()"
            )
            across, down = (
                (at + 0.5) / size for at, size in zip(place[::-1], image.shape[::-1], strict=True)
            )
            seen = 1 - across if flipped(plane, radiological) else across
            page.mouse.move(box[0] + seen * box[2], box[1] + down * box[3])
            page.evaluate(FRAME)
            # The pointer is on the ball, and what is said is its place in the array.
            told = page.evaluate("view_of('a').chips.value.textContent")
            assert told.startswith(f"x {place[1]}, y {place[0]} · ")
            assert float(told.rpartition(" ")[2]) == pytest.approx(image[place], abs=0.01)
            page.mouse.wheel(0, -400)
            page.wait_for_function("view_of('a').model.lens.zoom > 2")
            page.evaluate(FRAME)
            middle = _canvas(page)[..., 0].astype(float)
            at = int(seen * middle.shape[1]), int(down * middle.shape[0])
            assert middle[at[1], at[0]] > 200  # what is under the pointer stays there
            served.do(lambda: lens.update(zoom=1.0, centre_x=0.5, centre_y=0.5))
            page.evaluate(FRAME)
            # Turned without being sent anew.
            painted(lambda turned=radiological: overlay.turn(plane, not turned))
            assert side(_canvas(page)[..., :3]) == wanted(plane, not radiological)


class _Units:
    """What a mosaic asks of a run of a 3-D network whose unit is the ball."""

    def __init__(self) -> None:
        self.id, self.state, self.layer, self.units = "ball", "done", "conv", (0, 1)
        self.network = SimpleNamespace(name="deep", labels=(), cautions=())
        self.history = History()
        images = np.stack([DATA[None] / 255] * 2)
        self.history.append(Frame(3, images, np.zeros(2, np.float32), {}))


def _planes(picture: np.ndarray) -> dict[str, np.ndarray]:
    """The parts of a unit's picture, without the black above and below a lower one."""
    x, y, z = SHAPE
    width = 2 * x + y + 2 * display.GAP
    parts, left = {}, 0
    for plane, (across, down) in zip(display.PLANES, ((x, y), (x, z), (y, z)), strict=True):
        ends = [round(at * picture.shape[1] / width) for at in (left, left + across)]
        margin = round((1 - down / y) / 2 * len(picture))
        parts[plane] = picture[margin : len(picture) - margin, ends[0] : ends[1]]
        left += across + display.GAP
    return parts


def _checked(picture: np.ndarray, radiological: bool, seed: str) -> None:
    for plane, part in _planes(picture).items():
        inner = part[len(part) // 8 : -len(part) // 8, part.shape[1] // 8 : -part.shape[1] // 8]
        assert side(inner) == wanted(plane, radiological), (plane, radiological, seed)


def test_units_of_a_volume_network_are_drawn_so_in_the_mosaic_the_film_and_every_file() -> None:
    cells = [Cell(_Units(), row) for row in (0, 1)]
    for radiological in CONVENTIONS:
        volume = display.stretch(cells[0].run.history.latest.images)[0]
        plain = display.plane(volume, BALL, radiological)[0]
        _checked(plain, radiological, "film")
        np.testing.assert_array_equal(display.plane(volume, BALL), display.plane(volume, BALL, False))
        assert part_letters(radiological)[0][0] == letters("axial", radiological)["left"]
        for step in (None, 3):
            mosaic = opened_png(compose(cells, step, radiological))
            assert _letters_are_there(mosaic, columns=2)
        for what in ("mosaic-png", "unit-gif", "page-gif", "unit-webp"):
            name, data = export_menu.build(what, cells, cells[0], radiological)
            assert _letters_are_there(
                opened_png(data), columns=2 if "page" in what or "mosaic" in what else 1
            ), name


def _letters_are_there(picture: np.ndarray, columns: int) -> bool:
    """Whether something brighter than a grey unit stands at the left edge of the first plane."""
    wide = picture.shape[1] // columns
    edge = picture[:, : max(6, wide // 16)]
    return bool((edge.min(-1) > 150).any())


def test_letters_are_written_where_the_planes_are_and_nowhere_in_flat_pictures() -> None:
    mosaic = np.full((100, 300, 1), 90, np.uint8)
    assert lettered(mosaic, (24, 24), 1, 1, 0, True) is mosaic
    one, other = (lettered(mosaic, SHAPE, 1, 1, 0, convention) for convention in CONVENTIONS)
    x, y, _ = SHAPE
    axial = 300 * x // (2 * x + y + 2 * display.GAP)
    left, right = slice(0, axial // 4), slice(axial - axial // 4, axial)
    assert (one[:, left] > 200).any()
    assert (one[:, right] > 200).any()
    assert not np.array_equal(one[:, left], other[:, left])  # R in place of L
    sagittal = slice(300 - 300 * y // (2 * x + y + 2 * display.GAP), 300)
    np.testing.assert_array_equal(one[:, sagittal], other[:, sagittal])


@pytest.mark.browser
def test_the_viewer_agrees_with_them(browser) -> None:
    for radiological in CONVENTIONS:
        with opened(browser, DATA, AFFINE, window=(0.0, 200.0), radiological=radiological) as (page, _, view):
            page.evaluate(f"{VIEW}.model.move({list(BALL)})")
            page.evaluate(FRAME)
            for plane in PLANES:
                picture, _ = drawn(page, plane)
                assert side(picture) == wanted(plane, radiological)
            assert view.radiological == radiological
