"""Lesions and decoys: shapes grown inside tissue to a wanted visible size, and the change of intensity they paint.

A shape is a scalar field, low inside. Its threshold is the k-th smallest value among the pixels of solid tissue, so
that exactly k pixels of tissue are covered, whatever the class and wherever the lesion lies.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.brain.fields import box_blur, pixel_grid, rotations, smooth_field, uniform

CLASSES = ("healthy", "tumour-like", "white-matter lesions", "dark lesion")
TUMOUR, WHITE, DARK = 1, 2, 3


@dataclass(frozen=True)
class Shapes:
    """Ranges that the shapes of one split are drawn from: no shape of one split can occur in another."""

    exponent: tuple[float, float]  # of the superellipse: 2 is an ellipse, more is boxier
    aspect: tuple[float, float]  # longest by shortest half axis
    ripple: tuple[float, float]  # amplitude of the boundary's noise, as a share of the radius
    ripple_knot: float  # mm between the control points of that noise
    warp_knot: float  # mm between the control points of the anatomy's deformation


SPLITS = {  # no range of "held-out" meets one of the others; it lies between them
    "train": Shapes((1.7, 2.5), (1.0, 1.4), (0.05, 0.22), 15.0, 40.0),
    "ragged": Shapes((3.9, 5.0), (2.0, 2.6), (0.34, 0.44), 9.0, 28.0),
    "held-out": Shapes((2.8, 3.6), (1.5, 1.9), (0.24, 0.32), 11.0, 33.0),
}
RADIUS = (9.0, 16.0)  # mm; of a disc (ball) with the lesion's whole visible area (volume), in every class
DOTS = (8, 16)  # how many dots a scan with white-matter lesions has
CHANGE = (0.22, 0.36)  # of intensity, in every class
LARGEST_SHARE = 0.3  # of the slice's white matter, that a lesion may cover


@dataclass(frozen=True)
class Ground:
    """Where shapes may lie, each (n, 1, *spatial): white matter, solid tissue, its surroundings, and well inside it."""

    white: Tensor  # probability
    solid: Tensor  # bool
    near: Tensor  # bool: tissue and what it encloses
    deep: Tensor  # weight
    spacing: float  # mm a pixel

    @classmethod
    def of(cls, tissue: Tensor, spacing: float) -> "Ground":
        """From grey and white matter (n, 2, *spatial)."""
        whole = tissue.sum(1, keepdim=True)
        blurred = box_blur(whole, 5)
        return cls(
            tissue[:, 1:], whole > 0.5, blurred > 0.4, (box_blur(blurred, 5) - 0.5).clamp(min=0), spacing
        )

    def rows(self, chosen: Tensor) -> "Ground":
        """The same for some of the rows."""
        return Ground(*(x[chosen] for x in (self.white, self.solid, self.near, self.deep)), self.spacing)

    def column(self) -> tuple[int, ...]:
        """Shape of one number a row that broadcasts over pixels (n, 1, *spatial)."""
        return (len(self.white), *[1] * (self.white.ndim - 1))


def pick(random: torch.Generator, weight: Tensor, count: int) -> Tensor:
    """Indices (n, count, d) of pixels drawn with probability proportional to `weight` (n, 1, *spatial)."""
    total = weight.flatten(1).cumsum(1)
    drawn = torch.rand((len(weight), count), generator=random) * total[:, -1:]
    flat = torch.searchsorted(total, drawn, right=True).clamp(max=total.shape[1] - 1)
    return torch.stack(torch.unravel_index(flat, weight.shape[2:]), dim=-1).float()


def superellipse(random: torch.Generator, centres: Tensor, spatial: Sequence[int], shapes: Shapes) -> Tensor:
    """Distance-like field (n, 1, *spatial) to the nearest of the `centres` (n, m, d), each with a shape of its own."""
    n, m, dims = centres.shape
    aspect = uniform(random, (n, m, dims), *shapes.aspect) ** torch.linspace(-0.5, 0.5, dims)
    axes = rotations(random, n * m, dims).view(n, m, dims, dims) / aspect[..., None]
    axes = axes / uniform(random, (n, m, 1, 1), 0.8, 1.25)
    exponent = uniform(random, (n, 1, 1), *shapes.exponent)
    grid = pixel_grid(spatial).expand(n, dims, -1)
    nearest = torch.full((n, grid.shape[-1]), torch.inf)
    for number in range(m):
        axis = axes[:, number]
        offset = torch.baddbmm(-(axis @ centres[:, number, :, None]), axis, grid).abs_().clamp_(min=1e-4)
        torch.minimum(nearest, offset.pow_(exponent).sum(1), out=nearest)
    return (nearest ** (1 / exponent[:, 0])).view(n, 1, *spatial)


def threshold(field: Tensor, solid: Tensor, count: Tensor) -> Tensor:
    """For each row the level of `field` that covers `count` pixels of `solid`."""
    levels = [row[inside].kthvalue(int(k)).values for row, inside, k in zip(field, solid, count, strict=True)]
    return torch.stack(levels)


def profile(relative: Tensor, edge: Tensor, label: int, core: Tensor) -> Tensor:
    """Change of intensity, in [-1, 1], where `relative` is 0 in the lesion's middle and 1 on its border."""
    inside = torch.sigmoid((1 - relative) / edge)
    if label == DARK:
        return -inside
    if label == WHITE:
        return inside
    return inside - 2 * torch.sigmoid((core - relative) / edge)


def paint_class(random: torch.Generator, label: int, ground: Ground, shapes: Shapes) -> tuple[Tensor, Tensor]:
    """Change (n, 1, *spatial) of intensity and mask of one lesion class."""
    column, spatial = ground.column(), ground.white.shape[2:]
    n, dims = len(ground.white), len(spatial)
    radius = uniform(random, column, *RADIUS) / ground.spacing
    ball = math.pi ** (dims / 2) / math.gamma(dims / 2 + 1)
    room = LARGEST_SHARE * (ground.white > 0.5).flatten(1).sum(1)
    count = torch.minimum(ball * radius.flatten() ** dims, room).clamp(min=1)
    if label == WHITE:
        solid, support, dots = ground.white > 0.5, ground.white > 0.35, DOTS[1]
        centres = pick(random, (ground.white > 0.8).float(), dots)
        kept = torch.randint(DOTS[0], dots + 1, (n, 1), generator=random) > torch.arange(dots)
        centres = torch.where(kept[..., None], centres, centres[:, :1])
        size = radius / (sum(DOTS) / 2) ** (1 / dims)
    else:
        solid, support, size = ground.solid, ground.near, radius
        centres = pick(random, ground.deep**2, 1)
    field = superellipse(random, centres, spatial, shapes)
    ripple = smooth_field(random, n, 1, spatial, shapes.ripple_knot / ground.spacing)
    field += uniform(random, column, *shapes.ripple) * size * ripple
    field -= field.flatten(1).min(1).values.view(column)
    level = threshold(field, solid, count).clamp(min=0.5).view(column)
    core = uniform(random, column, 0.5, 0.68)
    change = profile(field / level, 0.45 / level, label, core) * uniform(random, column, *CHANGE)
    return change * support, (field <= level) & support


def paint_lesions(
    random: torch.Generator, labels: Tensor, ground: Ground, shapes: Shapes
) -> tuple[Tensor, Tensor]:
    """Change of intensity and mask (n, 1, *spatial) of every row's lesion; healthy rows stay empty."""
    change = torch.zeros_like(ground.white)
    mask = torch.zeros_like(ground.solid)
    for label in (TUMOUR, WHITE, DARK):
        rows = (labels == label).nonzero()[:, 0]
        if len(rows):
            change[rows], mask[rows] = paint_class(random, label, ground.rows(rows), shapes)
    return change, mask


def paint_decoys(random: torch.Generator, ground: Ground) -> tuple[Tensor, Tensor]:
    """Change and mask of one bright, thin, bent streak (a vessel) in every row, which says nothing of the class."""
    spatial, (n, *_) = ground.white.shape[2:], ground.white.shape
    dims = len(spatial)
    centre = pick(random, ground.deep, 1).transpose(1, 2)
    frame = rotations(random, n, dims)
    half = uniform(random, (n, 1), 12, 21) / ground.spacing
    width = uniform(random, ground.column(), 1.2, 1.8) / ground.spacing
    bend = uniform(random, (n, 1), -0.5, 0.5) / half
    # Along the streak, across it in the plane of its bend, and (in 3-D) out of that plane.
    along, across, *out = torch.baddbmm(
        -(frame @ centre), frame, pixel_grid(spatial).expand(n, dims, -1)
    ).unbind(1)
    inside = along.clamp(-half, half)
    square = (along - inside) ** 2 + (across - bend * inside**2) ** 2
    for rest in out:
        square = square + rest**2
    distance = square.sqrt().view(ground.white.shape)
    change = torch.sigmoid((width - distance) / 0.35) * ground.near
    return change * uniform(random, ground.column(), *CHANGE), (distance <= width) & ground.near
