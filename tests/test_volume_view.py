"""A volume's three planes in a real browser: sides, slices, map colours, outline, facts, and what is drawn anew."""

import numpy as np
import pytest
from browsing import FRAME, chromium
from volume_views import (
    AFFINE,
    DATA,
    GREY,
    PLANES,
    SHAPE,
    SPACING,
    VIEW,
    blocks,
    drawn,
    look,
    opened,
    pane,
    place,
    send,
    slowly,
    text,
    told,
)

from dashboard import palettes
from dashboard.volume_view import VolumeView


@pytest.fixture(scope="module")
def browser():
    with chromium() as one:
        yield one


@pytest.mark.browser
def test_every_voxel_is_where_the_convention_has_it(browser):
    with opened(browser) as (page, *_):
        for radiological, ijk in ((True, (4, 6, 3)), (False, (0, 11, 6)), (True, (8, 0, 0))):
            look(page, radiological=radiological, **dict(zip("ijk", ijk, strict=True)))
            for plane in PLANES:
                assert np.array_equal(
                    blocks(page, plane), GREY[slowly(DATA, plane, ijk, radiological).astype(int)]
                )


@pytest.mark.browser
def test_a_bright_voxel_on_the_patients_left_is_on_the_right_of_the_screen_with_letters_that_say_so(browser):
    data = np.full(SHAPE, 20, np.float32)
    data[1, 10, 5] = 255  # far left, in front, high
    with opened(browser, data) as (page, *_):
        look(page, i=1, j=10, k=5)
        for radiological in (True, False):
            look(page, radiological=radiological)
            sides = {}
            for plane in PLANES:
                picture, _ = drawn(page, plane)
                y, x = np.argwhere(picture[..., 0] > 200).mean(0) / picture.shape[:2]
                sides[plane] = x
                assert y < 0.4
                letters = page.evaluate(
                    f"['left', 'right', 'top', 'bottom'].map((s) => {pane(plane)}.letters[s].textContent)"
                )
                assert letters[2:] == (["A", "P"] if plane == "axial" else ["S", "I"])
                assert letters[:2] == (
                    ["P", "A"] if plane == "sagittal" else ["R", "L"] if radiological else ["L", "R"]
                )
                cross = page.evaluate(
                    f"['--x', '--y'].map((key) => parseFloat({pane(plane)}.crosses[0].style.getPropertyValue(key)))"
                )
                _, (left, top, width, height) = drawn(page, plane)
                assert cross == [
                    pytest.approx(left + x * width, abs=1.5),
                    pytest.approx(top + y * height, abs=1.5),
                ]
            assert sides["sagittal"] > 0.8
            assert (sides["axial"] > 0.8) == (sides["coronal"] > 0.8) == radiological


@pytest.mark.browser
def test_a_millimetre_is_as_long_in_every_direction_of_every_plane(browser):
    axes = {"coronal": (0, 2), "sagittal": (1, 2), "axial": (0, 1)}
    for shape, spacing in ((SHAPE, SPACING), ((30, 40, 1), (1, 1, 8)), ((2, 90, 60), (4, 0.5, 1))):
        with opened(browser, np.ones(shape, np.float32), np.diag([*spacing, 1]), (0.0, 1.0)) as (page, *_):
            scales = []
            for plane, (u, v) in axes.items():
                _, (_, _, width, height) = drawn(page, plane)
                scales += [(width, shape[u] * spacing[u]), (height, shape[v] * spacing[v])]
                long = page.evaluate(f"getComputedStyle({pane(plane)}.bar).width")
                scales.append(
                    (float(long[:-2]), float(page.evaluate(f"{pane(plane)}.bar.textContent").split(" mm")[0]))
                )
            largest = max(scales)
            for length, mm in scales:
                assert abs(length - mm * largest[0] / largest[1]) <= 2, (shape, scales)


@pytest.mark.browser
def test_smoothing_lies_between_the_voxels(browser):
    data = np.zeros((4, 4, 4), np.float32)
    data[2:] = 200
    with opened(browser, data, np.eye(4), smooth=True, radiological=False) as (page, *_):
        row = drawn(page, "axial")[0][20, :, 0]
        assert (np.diff(row) >= 0).all()
        assert len({*row}) > 10
        look(page, smooth=False)
        assert {*drawn(page, "axial")[0][20, :, 0]} == {0, 200}


# ---- crosshair ---------------------------------------------------------------------------------------------------


@pytest.mark.browser
def test_a_map_has_the_colours_of_the_rule(browser):
    values = np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)
    values[4, :4, 3] = [np.nan, np.inf, -np.inf, 0]
    cases = [
        (True, 0.0, {"opacity": 1, "alpha_by_value": False, "diverging": "blue-red", "threshold": 0}),
        (True, 1.3, {"opacity": 0.6, "alpha_by_value": True, "diverging": "purple-green", "threshold": 0.22}),
        (False, 0.0, {"opacity": 1, "alpha_by_value": True, "map_palette": "inferno", "threshold": 0}),
        (False, 0.8, {"opacity": 0.35, "alpha_by_value": False, "map_palette": "turbo", "threshold": 0.41}),
    ]
    with opened(browser) as (page, served, view):
        for signed, limit, settings in cases:
            send(page, served, lambda signed=signed, limit=limit: view.set_map(values, signed, limit=limit))
            look(page, **settings)
            name = settings["diverging" if signed else "map_palette"]
            coloured = palettes.coloured(
                values.reshape(9, -1), signed, name, settings["threshold"], settings["alpha_by_value"], limit
            ).reshape(*SHAPE, 4)
            for plane in PLANES:
                grey = GREY[slowly(DATA, plane, (4, 6, 3), True).astype(int)].astype(np.uint8)
                wanted = palettes.over(grey, slowly(coloured, plane, (4, 6, 3), True), settings["opacity"])
                assert np.abs(blocks(page, plane) - wanted).max() <= 2, (plane, settings)
            assert np.array_equal(blocks(page, "axial")[11, 4], grey_at(DATA[4, 0, 3]))  # the NaN
        look(page, show_map=False)
        assert np.array_equal(blocks(page, "axial"), GREY[slowly(DATA, "axial", (4, 6, 3), True).astype(int)])
        look(page, show_map=True)
        send(page, served, lambda: view.set_map(-np.abs(values)))
        assert np.array_equal(blocks(page, "axial"), GREY[slowly(DATA, "axial", (4, 6, 3), True).astype(int)])
        assert text(page, "note") == "the map is nowhere above 0"
        send(page, served, lambda: view.set_map(0 * DATA, True))
        assert text(page, "note") == "the map is zero everywhere"


def grey_at(value) -> np.ndarray:
    return GREY[int(value)]


@pytest.mark.browser
def test_an_outline_runs_along_the_mask_in_every_plane(browser):
    shape = (20, 20, 20)
    mask = np.zeros(shape, bool)
    mask[5:15, 4:16, 6:14] = True
    with opened(browser, np.full(shape, 128, np.float32), np.eye(4), mask=mask) as (page, *_):
        edges = {"axial": ((5, 15), (4, 16)), "coronal": ((5, 15), (6, 14)), "sagittal": ((4, 16), (6, 14))}
        for plane, ((left, right), (low, high)) in edges.items():
            picture, (_, _, width, height) = drawn(page, plane)
            bright = np.argwhere(picture[..., 0] > 200) / [height, width] * 20
            assert bright.min(0) == pytest.approx([20 - high, left], abs=0.6)
            assert bright.max(0) == pytest.approx([20 - low, right], abs=0.6)
            assert (np.abs(bright - 10) < 3).all(1).sum() == 0  # nothing inside
            assert (picture[..., 0] < 80).sum() > 100  # its dark rim
        look(page, i=2, j=2, k=2)
        for plane in PLANES:
            assert {*drawn(page, plane)[0].flat} == {128}


# ---- facts, updates ------------------------------------------------------------------------------------------------


@pytest.mark.browser
def test_facts_tell_voxel_millimetres_and_values_at_the_crosshair(browser):
    values = np.zeros(SHAPE, np.float32)
    values[1, 10, 5], values[2, 10, 5] = -0.0625, np.nan
    with opened(browser, (DATA / 3 - 40).astype(np.float32), window=(-40.0, 45.0), title="A map") as (
        page,
        served,
        view,
    ):
        assert page.evaluate(f"{VIEW}.facts.map.hidden && {VIEW}.facts.map_scale.el.hidden")
        send(page, served, lambda: view.set_map(values, signed=True, limit=0.125))
        look(page, i=1, j=10, k=5)
        assert [place(page, axis) for axis in range(3)] == [
            ["1", "x−6.0", "L6.0"],
            ["10", "y4.0", "A4.0"],
            ["5", "z6.0", "S6.0"],
        ]
        value = DATA[1, 10, 5] / 3 - 40
        assert float(text(page, "value").replace("−", "-")) == pytest.approx(value, rel=0.006)
        assert (text(page, "map"), text(page, "title")) == ("−0.0625", "A map")
        ends = f"['window_scale', 'map_scale'].map((one) => {VIEW}.facts[one].ends.map((end) => end.textContent))"
        assert page.evaluate(ends) == [["−40", "2.5", "45"], ["−0.125", "0", "+0.125"]]
        assert text(page, "window_scale.said") == "width 85, level 2.5"
        marks = page.evaluate(
            f"['window_scale', 'map_scale'].map((one) => parseFloat({VIEW}.facts[one].mark.style.left))"
        )
        assert marks == [pytest.approx(100 * (value + 40) / 85, abs=0.1), pytest.approx(25, abs=0.1)]
        look(page, i=2)
        assert text(page, "map") == "not known"
        assert page.evaluate(f"{VIEW}.facts.map_scale.mark.hidden")
        label = page.evaluate(f"{pane('axial')}.el.getAttribute('aria-label')")
        assert label == "Axial plane, k 5 of 0 to 6; the patient's right is on the left"
        assert page.evaluate(f"{VIEW}.stage.getAttribute('aria-label')") == "A map"


@pytest.mark.browser
def test_an_update_is_painted_whole_once_a_tick_and_a_stale_map_is_faint(browser):
    values = np.ones(SHAPE, np.float32)
    with opened(browser, show=False, placeholder="Choose a volume.", opacity=1, alpha_by_value=False) as (
        page,
        served,
        view,
    ):
        state = f"[{VIEW}.model.ack, {VIEW}.model.paints, {VIEW}.stage.classList.contains('filled')]"
        assert page.locator(".placeholder").inner_text() == "Choose a volume."
        served.do(lambda: view.update(shape=list(SHAPE), volume=DATA.astype(np.uint8).tobytes()))
        page.wait_for_function(f"{VIEW}.model.volume.byteLength > 0")
        page.evaluate(FRAME)
        assert page.evaluate(state) == [0, 0, False]
        send(page, served, lambda: view.show(DATA, AFFINE, (0.0, 255.0)))
        assert page.evaluate(state) == [1, 1, True]
        assert not page.locator(".placeholder").is_visible()
        told(served, lambda: view.ack, 1)
        send(page, served, lambda: view.set_map(values))
        bright = palettes.table("inferno")[255].astype(int)
        assert (blocks(page, "axial") == bright).all()
        served.do(lambda: view.update(stale=True, progress=0.25))
        page.wait_for_function(f"{pane('axial')}.waiting.textContent == 'updating…'")
        faint = 0.35 * bright + 0.65 * slowly(DATA, "axial", (4, 6, 3), True)[..., None]
        assert np.abs(blocks(page, "axial") - faint).max() <= 1
        assert page.evaluate(f"{VIEW}.progress.firstChild.style.width") == "25%"
        assert page.locator(".progress").is_visible()
        served.do(lambda: setattr(view, "stale", False))  # said to be fresh before it is there
        page.wait_for_function(f"!{VIEW}.model.stale")
        page.evaluate(FRAME)
        assert page.evaluate(f"{pane('axial')}.waiting.textContent") == "updating…"
        served.do(lambda: setattr(view, "visible", False))
        page.wait_for_function(f"{VIEW}.box.width == 0")
        served.do(lambda: view.set_map(values))
        page.wait_for_function(f"{VIEW}.held.tick == 3")
        page.evaluate(FRAME)
        assert page.evaluate(f"{VIEW}.model.ack") == 2
        served.do(lambda: setattr(view, "visible", True))
        page.wait_for_function(f"{VIEW}.model.ack == 3")
        assert (blocks(page, "axial") == bright).all()
        assert not page.locator(".progress").is_visible()
        send(page, served, view.clear)
        assert page.locator(".placeholder").is_visible()


@pytest.mark.browser
def test_only_planes_whose_slice_or_colours_changed_are_cut_anew(browser):
    with opened(browser) as (page, *_):
        page.evaluate(
            f"""() => {{ window.cuts = []
              for (const pane of {VIEW}.panes) {{
                const cut = pane.cut.bind(pane)
                pane.cut = (...all) => {{ window.cuts.push(pane.plane.name); cut(...all) }}
              }} }}"""
        )
        for change, wanted in (
            ({"k": 5}, ["axial"]),
            ({"i": 5, "j": 5}, ["coronal", "sagittal"]),
            ({"window_high": 99}, [*PLANES]),
            ({"opacity": 0.3}, []),
        ):
            page.evaluate("window.cuts.length = 0")
            look(page, **change)
            assert page.evaluate("window.cuts") == wanted
        page.wait_for_function(f"{VIEW}.model.timings.length >= 4")


@pytest.mark.browser
def test_axial_slices_that_were_copied_ahead_are_what_they_are_in_the_volume(browser):
    shape, random = (6, 5, 27), np.random.default_rng(3)
    data = random.integers(0, 256, shape).astype(np.float32)
    values, mask = random.normal(size=shape).astype(np.float32), random.random(shape) > 0.9
    with opened(browser, data, np.eye(4), mask=mask, alpha_by_value=False, opacity=1) as (page, served, view):
        send(page, served, lambda: view.set_map(values, signed=True))
        coloured = palettes.coloured(values.reshape(6, -1), True, "blue-red", alpha_by_value=False)
        copies = f"[...{VIEW}.model.nearby.blocks.keys()].sort().join()"
        for k, blocks_there in ((13, "0,1,2"), (2, "0,1"), (26, "2,3"), (0, "0,1")):
            look(page, k=k)
            page.wait_for_function(f"{copies} == '{blocks_there}'")
            for near in {k, max(0, k - 1), min(26, k + 1)}:
                copied, plain = page.evaluate(
                    f"""(() => {{ const {{model, panes}} = {VIEW}, plane = panes[2].plane
                      const all = ({{codes, map, mask, from, column, row, width, height}}) =>
                        [codes, map, mask].map((one) => Array.from({{length: width * height}}, (_, n) =>
                          one[from + Math.floor(n / height) * column + n % height * row]))
                      return [all(model.layer(plane, {near})), all(model.coarse_layer(plane, {near}))] }})()"""
                )
                assert copied == plain
                assert copied[0] == data[:, :, near].ravel().astype(int).tolist()
        wanted = slowly(coloured.reshape(*shape, 4), "axial", (3, 2, 0), True)[..., :3].astype(int)
        plain = ~slowly(mask, "axial", (3, 2, 0), True)
        assert np.median(np.abs(blocks(page, "axial", shape) - wanted)[plain]) <= 1


@pytest.mark.browser
def test_what_does_not_fit_together_is_said_not_drawn(browser):
    with opened(browser) as (page, served, view):
        send(page, served, lambda: view.update(map=bytes(10), map_shape=[5, 1, 1], mask=b"123", tick=2))
        assert text(page, "note") == "the map cannot be read · the outline cannot be read"
        assert np.array_equal(blocks(page, "axial"), GREY[slowly(DATA, "axial", (4, 6, 3), True).astype(int)])
        send(page, served, lambda: view.update(volume=bytes(5), tick=3))
        assert page.locator(".placeholder").inner_text().startswith("the volume cannot be read")
        turn = np.deg2rad(20)
        oblique = np.eye(4)
        oblique[1:3, 1:3] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
        send(page, served, lambda: view.show(DATA, oblique @ AFFINE, (0.0, 255.0)))
        assert text(page, "note") == "planes follow the voxels, 20° from the patient’s axes"
        assert page.evaluate(f"{pane('sagittal')}.letters.right.textContent") == "A"


@pytest.mark.browser
def test_the_convention_is_turned_by_a_click_and_told(browser):
    with opened(browser) as (page, served, view):
        assert page.evaluate(f"{VIEW}.model.radiological")
        page.get_by_role("button", name="Radiological").click()
        page.evaluate(FRAME)
        assert np.array_equal(
            blocks(page, "axial"), GREY[slowly(DATA, "axial", (4, 6, 3), False).astype(int)]
        )
        told(served, lambda: view.radiological, False)


# ---- in Python -----------------------------------------------------------------------------------------------------


def test_whole_numbers_stay_what_they_are_and_others_are_finely_told():
    view = VolumeView()
    view.show(DATA - 100, AFFINE, (0.0, 100.0))
    assert (np.frombuffer(view.volume, np.uint8).reshape(SHAPE) + view.value_low == DATA - 100).all()
    assert (view.value_low, view.value_high, view.shape) == (-100 + DATA.min(), 155 + DATA.min(), list(SHAPE))
    assert (view.i, view.j, view.k, view.tick) == (4, 6, 3, 1)
    assert view.affine == list(AFFINE.flat)
    data = (DATA * np.pi).astype(np.float32)
    data[0, 0, :3] = [np.nan, np.inf, 1e9]
    view.i = 1
    view.show(data, AFFINE, (0.0, 400.0), DATA > 99)
    assert len(view.volume) == 2 * DATA.size
    values = (
        np.frombuffer(view.volume, "<u2").reshape(SHAPE) / 65535 * (view.value_high - view.value_low)
        + view.value_low
    )
    assert np.abs(values - data)[1:].max() <= 40_400 / 65535 / 2 + 1e-3
    assert values[0, 0, :2].tolist() == pytest.approx([view.value_low] * 2)
    assert values[0, 0, 2] == pytest.approx(40_400)  # 100 windows above the window
    assert (np.frombuffer(view.mask, np.uint8).reshape(SHAPE) == (DATA > 99)).all()
    assert view.i == 1  # the same grid
    view.show(np.full((2, 3, 4), 0.5, np.float32), AFFINE, (0.5, 0.5))
    assert (view.mask, view.i) == (b"", 1)


def test_zero_in_a_map_is_exact_and_what_is_no_number_is_code_0():
    view = VolumeView()
    view.show(DATA, AFFINE, (0.0, 255.0))
    values = np.random.default_rng(2).normal(size=SHAPE).astype(np.float32)
    values[0, 0, :4] = [0, np.nan, np.inf, -np.inf]
    view.stale = True
    view.set_map(values, signed=True, progress=0.5)
    codes = np.frombuffer(view.map, "<u2").reshape(SHAPE)
    assert codes[0, 0, :4].tolist() == [32768, 0, 65535, 1]
    back = view.map_low + (codes - 1.0) / 65534 * (view.map_high - view.map_low)
    assert np.abs(back - values)[1:].max() <= view.map_high / 32767
    assert view.limit == view.map_high == -view.map_low == np.abs(values[np.isfinite(values)]).max()
    assert (view.map_shape, view.stale, view.progress, view.tick) == (list(SHAPE), False, 0.5, 2)
    view.set_map(values)
    assert view.limit == pytest.approx(values[np.isfinite(values)].max())
    view.show(DATA, AFFINE, (0.0, 255.0))
    assert (view.map, view.map_shape, view.limit) == (b"", [], 0)
    view.clear()
    assert (view.volume, view.shape, view.tick) == (b"", [], 5)


def test_what_cannot_be_shown_is_refused():
    view = VolumeView()
    for data, affine, mask, words in (
        (DATA[0], AFFINE, None, "three axes"),
        (DATA[:0], AFFINE, None, "three axes"),
        (DATA, AFFINE, DATA[1:], "mask is of shape"),
        (DATA, np.diag([-1.0, 1, 1, 1]), None, "RAS"),
        (DATA, AFFINE * np.nan, None, "RAS"),
        (DATA, np.eye(3), None, "RAS"),
    ):
        with pytest.raises(ValueError, match=words):
            view.show(data, affine, (0.0, 1.0), mask)
    with pytest.raises(ValueError, match="map is of shape"):
        view.set_map(DATA)
