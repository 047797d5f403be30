"""Volumes that the browser holds coarsely: what is drawn at once, and the planes that come once the crosshair rests."""

import numpy as np
import pytest
from browsing import FRAME, chromium
from volume_views import (
    GREY,
    PLANES,
    VIEW,
    blocks,
    crosshair,
    look,
    opened,
    send,
    slowly,
    text,
    told,
)

from dashboard import palettes, volume_view
from dashboard.volume_view import PlaneWanted, VolumeView

SHAPE = (17, 24, 14)
AFFINE = np.diag([2.0, 1.0, 3.0, 1.0])
DATA = np.random.default_rng(0).integers(0, 256, SHAPE).astype(np.float32)
AXES = {"sagittal": 0, "coronal": 1, "axial": 2}
SHARP = f"""{VIEW}.model.awaited.size == 0 && [0, 1, 2].every((axis) => {{
  const layer = {VIEW}.model.sharp_layers[axis]
  return layer?.exact && layer.at == {VIEW}.model.ijk[axis] }})"""
WAITING = f"{VIEW}.model.awaited.add('nobody')"  # no plane is asked for
GO_ON = f"{VIEW}.model.awaited.clear(), {VIEW}.model.expect()"
NOTE = "drawn in steps of 3 voxels until the crosshair rests"


@pytest.fixture(scope="module")
def browser():
    with chromium() as one:
        yield one


@pytest.fixture(autouse=True)
def few_voxels(monkeypatch):
    monkeypatch.setattr(volume_view, "VOXELS", 300)  # every third is 6 x 8 x 5


def nearest(array: np.ndarray) -> np.ndarray:
    """What the coarse copy says of every voxel: the value of the nearest one in it."""
    places = [
        np.minimum(3 * np.rint(np.arange(size) / 3), 3 * ((size - 1) // 3)).astype(int)
        for size in array.shape
    ]
    return array[np.ix_(*places)]


def looks_like(page, data, ijk) -> None:
    """But for y 23, which no pixel of the coarse copy reaches: the last one is stretched there."""
    for plane in PLANES:
        wanted = GREY[slowly(data, plane, ijk, True).astype(int)]
        away = np.abs(blocks(page, plane, SHAPE) - wanted).max(-1)
        assert not away[plane == "axial" :, :23].any(), (plane, np.argwhere(away).tolist())


@pytest.mark.browser
def test_a_coarse_copy_is_drawn_at_once_and_every_voxel_once_the_crosshair_rests(browser):
    with opened(browser, DATA, AFFINE) as (page, served, view):
        page.wait_for_function(SHARP)
        assert crosshair(page) == [8, 12, 7]
        looks_like(page, DATA, (8, 12, 7))
        page.evaluate(WAITING)
        look(page, i=11, j=5, k=2)
        page.evaluate(FRAME)
        looks_like(page, nearest(DATA), (11, 5, 2))
        assert text(page, "value") == f"≈ {nearest(DATA)[11, 5, 2]:g}"
        assert text(page, "note") == NOTE
        page.evaluate(GO_ON)
        page.wait_for_function(SHARP)
        page.evaluate(FRAME)
        looks_like(page, DATA, (11, 5, 2))
        assert text(page, "value") == f"{DATA[11, 5, 2]:g}"
        served.do(lambda: setattr(view, "k", 13))
        page.wait_for_function(f"{VIEW}.model.k == 13")
        page.wait_for_function(SHARP)
        page.evaluate(FRAME)
        looks_like(page, DATA, (11, 5, 13))
        look(page, window_high=100)
        assert blocks(page, "axial", SHAPE)[0, 0] == pytest.approx(
            GREY[min(255, int(DATA[16, 23, 13] * 2.55 + 0.5))], abs=1
        )
        send(page, served, lambda: view.show(DATA[:6, :6, :6], AFFINE, (0.0, 255.0)))
        assert page.evaluate(f"[{VIEW}.model.sharp_layers.length, {VIEW}.facts.note.textContent]") == [0, ""]
        assert served.do(lambda: (view.step, view.sharp, view.sharp_volume)) == (1, [], b"")


@pytest.mark.browser
def test_a_map_and_an_outline_are_sharp_too_and_a_new_map_takes_no_detail_from_the_volume(browser):
    values = np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)
    values[11, 5, 2], values[12, 5, 2] = 1.25, np.nan
    mask = np.zeros(SHAPE, bool)
    mask[11, 5, 2] = True  # between the voxels of the coarse copy
    with opened(browser, DATA, AFFINE, mask=mask, alpha_by_value=False, opacity=1.0) as (page, served, view):
        page.wait_for_function(SHARP)
        assert page.evaluate(f"{VIEW}.panes.map(({{contour}}) => contour != null)") == [False] * 3
        page.evaluate(f"{VIEW}.model.move({{0: 11, 1: 5, 2: 2}})")
        page.wait_for_function(SHARP)
        page.evaluate(FRAME)
        assert page.evaluate(f"{VIEW}.panes.map(({{contour}}) => contour != null)") == [True] * 3
        page.evaluate(f"{VIEW}.model.resting, {VIEW}.model.expect = () => clearTimeout({VIEW}.model.resting)")
        send(page, served, lambda: view.set_map(values, signed=True))
        assert text(page, "value") == f"{DATA[11, 5, 2]:g}"
        assert text(page, "map") == f"≈ {nearest(values)[11, 5, 2]:.3g}".replace("-", "−")
        colours = palettes.coloured(nearest(values).reshape(17, -1), True, "blue-red", alpha_by_value=False)
        wanted = slowly(colours.reshape(*SHAPE, 4), "axial", (11, 5, 2), True)
        limit = np.abs(values[np.isfinite(values)]).max()
        assert served.do(lambda: view.limit) == pytest.approx(limit)
        page.evaluate(f"delete {VIEW}.model.expect, {VIEW}.model.expect()")
        page.wait_for_function(SHARP)
        page.evaluate(FRAME)
        assert text(page, "map") == "1.25"
        colours = palettes.coloured(values.reshape(17, -1), True, "blue-red", alpha_by_value=False)
        wanted = slowly(colours.reshape(*SHAPE, 4), "sagittal", (11, 5, 2), True)[..., :3].astype(int)
        away = np.abs(blocks(page, "sagittal", SHAPE) - wanted).max(-1)
        assert np.median(away) <= 1
        assert (away > 2).sum() <= 9  # the outline about one voxel
        page.evaluate(f"{VIEW}.model.move({{0: 12}})")
        page.wait_for_function(SHARP)
        page.evaluate(FRAME)
        assert text(page, "map") == "not known"
        before = page.evaluate(f"{VIEW}.model.sharp_layers.map(({{codes}}) => codes.length)")
        send(page, served, lambda: view.set_map(None))
        assert page.evaluate(SHARP)  # nothing to ask for
        assert page.evaluate(f"{VIEW}.model.sharp_layers.map(({{codes}}) => codes.length)") == before


@pytest.mark.browser
def test_the_server_hears_what_the_page_shows_in_voxels_of_the_whole_grid(browser):
    with opened(browser, DATA, AFFINE) as (page, served, view):
        left, top = page.evaluate(
            f"(() => {{ const b = {VIEW}.panes[2].el.getBoundingClientRect(); return [b.x, b.y] }})()"
        )
        x, y = page.evaluate(
            f"(() => {{ const pane = {VIEW}.panes[2]; return pane.place_of([3, 21, 7], {VIEW}.frame_of(pane)) }})()"
        )
        page.mouse.click(left + x, top + y)
        told(served, lambda: (view.i, view.j, view.k), (3, 21, 7))
        page.evaluate(FRAME)
        assert page.evaluate(f"{VIEW}.facts.places.map(({{voxel}}) => voxel.words.data)") == ["3", "21", "7"]


# ---- in Python -----------------------------------------------------------------------------------------------------


def test_the_smallest_step_that_suffices_is_taken(monkeypatch):
    view = VolumeView()
    for most, step in ((17 * 24 * 14, 1), (17 * 24 * 14 - 1, 2), (756, 2), (755, 3), (1, 24)):
        monkeypatch.setattr(volume_view, "VOXELS", most)
        view.show(DATA, AFFINE, (0.0, 255.0), DATA > 99)
        view.set_map(DATA)
        coarse = DATA[::step, ::step, ::step]
        assert view.step == step
        assert (view.shape, view.map_shape) == (list(SHAPE), list(coarse.shape))
        low = view.value_low
        assert (np.frombuffer(view.volume, np.uint8).reshape(coarse.shape) + low == coarse).all()
        assert (np.frombuffer(view.mask, np.uint8).reshape(coarse.shape) == (coarse > 99)).all()
        assert len(view.map) == 2 * coarse.size
    assert view.limit == DATA.max()


def test_a_plane_is_sent_only_to_who_asks_rightly_and_nothing_is_kept_after_clear():
    view = VolumeView()
    data = (DATA * np.pi).astype(np.float32)
    values = np.random.default_rng(2).normal(size=SHAPE).astype(np.float32)
    view.show(data, AFFINE, (0.0, 800.0), DATA > 99)
    view.set_map(values, signed=True)
    for wrong in (
        (view.tick - 1, 2, 3),
        (view.tick, 3, 0),
        (view.tick, -1, 0),
        (view.tick, 2, 14),
        (view.tick, 2, -1),
        (view.tick, 2, 3.0),
        (view.tick, True, 3),
        (str(view.tick), 2, 3),
        (view.tick, [2], 3),
        (None, None, None),
    ):
        view._trigger_event(PlaneWanted(view, *wrong))
        assert (view.sharp, view.sharp_volume) == ([], b""), wrong
    for axis, index in ((0, 16), (1, 0), (2, 5)):
        view._trigger_event(PlaneWanted(view, view.tick, axis, index))
        assert view.sharp == [view.tick, axis, index]
        wanted = np.take(data, index, axis)
        step = (view.value_high - view.value_low) / 65535
        codes = np.frombuffer(view.sharp_volume, "<u2").reshape(wanted.shape)
        assert np.abs(codes * step + view.value_low - wanted).max() <= step
        codes = np.frombuffer(view.sharp_map, "<u2").reshape(wanted.shape) - 32768.0
        assert (
            np.abs(codes / 32767 * view.map_high - np.take(values, index, axis)).max()
            <= view.map_high / 32767
        )
        assert np.frombuffer(view.sharp_mask, np.uint8).sum() == (np.take(DATA, index, axis) > 99).sum()
    view.clear()
    assert (view.sharp, view.sharp_volume, view.sharp_map, view.sharp_mask) == ([], b"", b"", b"")
    assert (view._whole, view.step) == (None, 1)
    view._trigger_event(PlaneWanted(view, view.tick, 2, 5))
    assert view.sharp == []
    with pytest.raises(ValueError, match="map is of shape"):
        view.set_map(values)
