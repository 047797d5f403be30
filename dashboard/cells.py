"""The cells of the mosaic: which run and row each shows, their order, and the picture of them all."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, sqrt

import numpy as np

from dashboard.run import Run
from dashboard.unit_planes import lettered
from vislib import display

_SIDE = 704  # pixels of the whole mosaic, at most, before a cell falls under its floor
_SMALLEST, _LARGEST = 64, 224
BACKGROUND = 127


@dataclass(frozen=True)
class Cell:
    """One cell: a row of a run."""

    run: Run
    row: int

    @property
    def unit(self) -> int:
        """The unit that it shows."""
        return self.run.units[self.row]

    def score(self) -> float:
        """The best objective so far, -inf before the first frame."""
        scores = self.run.history.best_scores
        return float(scores[self.row]) if self.row < len(scores) else float("-inf")

    def shown(self, step: int | None) -> tuple[float, int]:
        """Objective and step of what the cell shows: the newest frame, or the one kept nearest before `step`."""
        history = self.run.history
        latest = history.latest
        if latest is None:
            return float("nan"), -1
        frame = latest if step is None else history.at(step)
        return float(frame.scores[self.row]), frame.step

    def silent(self) -> bool:
        """Whether the unit never fired, at no place and step, although its run is over."""
        latest = self.run.history.latest
        alive = latest.numbers.get("alive") if latest is not None else None
        return self.run.state == "done" and alive is not None and not alive[self.row]


def called(cell: Cell) -> str:
    """What a cell is called where there is room for words: its unit, its class, or its random draw."""
    run, presets = cell.run, cell.run.spec["preset"]
    if isinstance(presets, list):
        names = ("decay", "blur_sigma", "blur_every", "norm_percentile", "contribution_percentile")
        said = [f"{name.replace('_', ' ')} {presets[cell.row][name]:.3g}" for name in names]
        return f"unit {cell.unit}, {', '.join(said)}"
    if run.layer == "logits" and cell.unit < len(run.network.labels):
        return f"unit {cell.unit}, {run.network.labels[cell.unit]}"
    return f"unit {cell.unit}"


def columns(count: int) -> int:
    """Columns of a grid of `count` cells that is about square."""
    return max(1, ceil(sqrt(count)))


def ordered(runs: Sequence[Run], by_score: bool) -> list[Cell]:
    """The cells of these runs by unit number, or with the highest objective first (without those not begun)."""
    cells = [Cell(run, row) for run in runs for row in range(len(run.units))]
    if not by_score:
        return cells
    scores = {cell: cell.score() for cell in cells}
    return sorted((cell for cell in cells if scores[cell] > float("-inf")), key=lambda cell: -scores[cell])


def compose(cells: Sequence[Cell], step: int | None, radiological: bool = True) -> bytes:
    """One JPEG of all cells; empty while there is nothing to show. Volumes are drawn as slices are."""
    pictures = _pictures(cells, step, radiological)
    shape = next((picture.shape for picture in pictures if picture is not None), None)
    if shape is None:
        return b""
    blank = np.full(shape, BACKGROUND, np.uint8)
    whole = np.stack(
        [blank if picture is None or picture.shape != shape else picture for picture in pictures]
    )
    across = columns(len(cells))
    long, short = max(shape[1:]), min(shape[1:])
    wanted = _SIDE // across * sqrt(long / short)  # of the same area, whatever its shape
    cell = int(np.clip(wanted, _SMALLEST, min(_LARGEST, max(_SMALLEST, long))))
    mosaic = display.tile(whole, across, cell, background=BACKGROUND)
    return display.jpeg(lettered(mosaic, sizes_of(cells), len(cells), across, 0, radiological))


def sizes_of(cells: Sequence[Cell]) -> tuple[int, ...]:
    """The spatial sizes of the cells' pictures; () while there is none."""
    latest = next((one for cell in cells if (one := cell.run.history.latest) is not None), None)
    return () if latest is None else tuple(latest.images.shape[2:])


def _pictures(cells: Sequence[Cell], step: int | None, radiological: bool) -> list[np.ndarray | None]:
    found: list[np.ndarray | None] = []
    stretched: dict[str, np.ndarray] = {}
    for cell in cells:
        latest = cell.run.history.latest
        if latest is None or cell.row >= len(latest.images):
            found.append(None)
        elif step is None:
            if cell.run.id not in stretched:
                stretched[cell.run.id] = display.stretch(latest.images)
            found.append(display.plane(stretched[cell.run.id][cell.row], None, radiological))
        else:
            picture = display.decode(cell.run.history.at(step).pictures[cell.row])
            found.append(display.plane(picture, None, radiological))
    return found
