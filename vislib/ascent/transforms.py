"""Transforms: the random shift, zoom and turn between image and network at each step, inside the gradient."""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vislib.ascent.presets import Preset
from vislib.ascent.randomness import TRANSFORM, generator


@dataclass(frozen=True)
class Draw:
    """One step's transform: shifts in pixels an axis, zoom, turns in radians, grey border in pixels.

    `angles` holds one turn in 2-D, three in 3-D (about the first, second and third axis, in this order).
    """

    shift: tuple[int, ...]
    zoom: float
    angles: tuple[float, ...]
    shift2: tuple[int, ...]
    pad: int

    @property
    def whole_pixels(self) -> bool:
        """True for a pure shift, which needs no interpolation."""
        return self.zoom == 1.0 and not any(self.angles) and self.pad == 0


def transforms_on(preset: Preset) -> bool:
    """Whether the preset transforms images at all."""
    return any((preset.pad, preset.jitter, preset.scale, preset.rotate, preset.jitter2))


def draw(preset: Preset, seed: int, step: int, dims: int) -> Draw:
    """The transform of one step, a pure function of (seed, step) and shared by all rows.

    Shifts are uniform over `jitter` whole pixels around 0, the zoom over 1 - scale … 1 + scale, turns over -rotate …
    +rotate degrees: about the one axis there is in 2-D, about each of the three axes in 3-D.
    """
    random = generator(TRANSFORM, seed, step)
    uniform = random.random(2 * dims + 4)
    turns = {2: 1, 3: 3}.get(dims, 0)
    return Draw(
        shift=_shifts(uniform[:dims], preset.jitter),
        zoom=1.0 + preset.scale * (2.0 * float(uniform[2 * dims]) - 1.0),
        angles=tuple(
            math.radians(preset.rotate * (2.0 * float(u) - 1.0)) for u in uniform[2 * dims + 1 :][:turns]
        ),
        shift2=_shifts(uniform[dims : 2 * dims], preset.jitter2),
        pad=preset.pad,
    )


def view(
    images: Float[Tensor, "n c *spatial"], drawn: Draw, fill: Float[Tensor, "1 c *ones"]
) -> Float[Tensor, "n c *spatial"]:
    """The images as the network gets to see them, at the same size; what comes from outside is `fill`.

    Olah et al. 2017: pad, jitter, scale, rotate, jitter. Deviations: the chain is one affine map with one (bi- or
    tri-)linear interpolation, which blurs less than a chain of them, and the padded view is squeezed back to the
    image's size, so that networks of a fixed input size can use it. Pure shifts move whole pixels, exactly.
    """
    offset = images - fill
    if drawn.whole_pixels:
        amount = [a + b for a, b in zip(drawn.shift, drawn.shift2, strict=True)]
        edges = [edge for shift in reversed(amount) for edge in (shift, -shift)]
        return F.pad(offset, edges) + fill
    size = images.shape[2:]
    theta = torch.from_numpy(_sampling_matrix(drawn, tuple(size))).to(images)[None]
    n, c = images.shape[:2]
    # One grid for all: rows are laid out as channels, so that coordinates are worked out once, not once a row.
    parts = math.gcd(n, torch.get_num_threads()) if images.device.type == "cpu" else 1
    grid = F.affine_grid(theta, [1, 1, *size], align_corners=False).expand(parts, *size, len(size))
    stacked = offset.reshape(parts, n * c // parts, *size)
    return F.grid_sample(stacked, grid, align_corners=False).view(images.shape) + fill


def _shifts(uniform: np.ndarray, span: int) -> tuple[int, ...]:
    return tuple(int(u * span) - span // 2 for u in uniform) if span else (0,) * len(uniform)


def _sampling_matrix(drawn: Draw, size: tuple[int, ...]) -> Float[np.ndarray, "dims columns"]:
    """From the view's coordinates to the image's, both in -1 … 1 and in x, y, z order, as `affine_grid` takes it."""
    dims = len(size)
    # In pixels around the centre: image -> shift -> zoom -> turn -> shift2 is undone from its end.
    undo = _rotation(drawn.angles, dims).T / drawn.zoom
    constant = -undo @ np.array(drawn.shift2, float) - np.array(drawn.shift, float)
    half = np.array(size) / 2.0
    squeeze = 1.0 + drawn.pad / half
    matrix = (undo * (squeeze * half)) / half[:, None]
    return np.concatenate([matrix[::-1, ::-1], (constant / half)[::-1, None]], axis=1).astype(np.float32)


def _rotation(angles: tuple[float, ...], dims: int) -> Float[np.ndarray, "dims dims"]:
    """Turns in the planes of every two axes: of (1, 0) in 2-D, of (2, 1), (0, 2) and (1, 0) in 3-D."""
    planes = ((0, 1),) if dims == 2 else ((1, 2), (2, 0), (0, 1))
    turned = np.eye(dims)
    for angle, (first, second) in zip(angles, planes, strict=False):
        turn = np.eye(dims)
        turn[first, first] = turn[second, second] = math.cos(angle)
        turn[first, second], turn[second, first] = -math.sin(angle), math.sin(angle)
        turned = turn @ turned
    return turned
