"""Cells of the mosaic: which units never fired, and a picture of them all at a fair size whatever their shape."""

import io
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dashboard import export_menu
from dashboard.cells import Cell, compose
from vislib.frames import Frame, History


def run(shape: tuple[int, ...], units: int, state: str = "done", **numbers: Any) -> Any:
    """What a cell asks of a run, with one frame of noise."""
    history = History()
    images = np.random.default_rng(0).random((units, *shape), np.float32)
    history.append(Frame(7, images, np.full(units, -0.5, np.float32), numbers))
    return SimpleNamespace(id=f"{shape}", history=history, state=state, units=tuple(range(units)))


def test_a_unit_is_silent_that_fired_nowhere_whatever_its_mean() -> None:
    alive = np.array([0.0, 1.0], np.float32)
    done, climbing = run((1, 4, 4), 2, alive=alive), run((1, 4, 4), 2, "running", alive=alive)
    assert [Cell(done, row).silent() for row in (0, 1)] == [True, False]
    assert not Cell(climbing, 0).silent()
    assert not Cell(run((1, 4, 4), 1), 0).silent()  # a run from elsewhere may not say


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((1, 128, 128), (4 * 128, 4 * 128)),
        ((3, 224, 224), (4 * 176, 4 * 176)),
        ((1, 64, 80, 64), (4 * 212, 4 * 80)),
    ],
)
def test_the_mosaic_has_the_pixels_of_its_pictures_as_far_as_it_has_room(
    shape: tuple[int, ...], size: tuple[int, int]
) -> None:
    one = run(shape, 16)
    with Image.open(io.BytesIO(compose([Cell(one, row) for row in range(16)], None))) as image:
        assert image.size == size


@pytest.mark.parametrize(
    ("size", "cell"),
    [((128, 128), (128, 128)), ((224, 224), (128, 128)), ((80, 212), (78, 208)), ((16, 16), (64, 64))],
)
def test_a_saved_mosaic_is_as_fair_to_wide_pictures(size: tuple[int, int], cell: tuple[int, int]) -> None:
    pictures = [np.full((1, *size), 90, np.uint8)] * 4
    gap = 2  # two rows and two columns, a gap between them
    assert export_menu._tiled(pictures).shape[:2] == (2 * cell[0] + gap, 2 * cell[1] + gap)
