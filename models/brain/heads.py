"""Brain pictures with known lesions, made from one template: random anatomy and contrast, 2-D slices or 3-D volumes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from models.brain.fields import box_blur, pixel_grid, smooth_field, stream, uniform
from models.brain.lesions import CLASSES, SPLITS, Ground, paint_decoys, paint_lesions
from models.brain.template import SPACING, template

PLANES = ("axial", "coronal", "sagittal")
CENTRE = (0.0, -17.0, 6.0)  # mm; of the brain in the template's space
# For each plane: rows and columns of the picture as directions in space (right, anterior, superior), the slice's
# axis, and the range of slices, in mm from CENTRE, in which there is white matter enough for a lesion.
VIEWS = (
    (((0, -1, 0), (1, 0, 0)), 2, (-32.0, 48.0)),
    (((0, 0, -1), (1, 0, 0)), 1, (-62.0, 56.0)),
    (((0, 0, -1), (0, 1, 0)), 0, (-50.0, 50.0)),
)


@dataclass(frozen=True, eq=False)
class Batch:
    """Pictures in [0, 1] (n, 1, *spatial) and all that is known of them."""

    images: Tensor
    labels: Tensor  # (n,), index into CLASSES
    lesions: Tensor  # (n, 1, *spatial) bool: where the lesion is
    decoys: Tensor  # (n, 1, *spatial) bool: where a bright streak is that says nothing of the class
    tissue: Tensor  # (n, 2, *spatial): grey and white matter, in [0, 1]
    planes: Tensor  # (n,), index into PLANES; -1 in 3-D
    affine: Tensor  # (d + 1, d + 1): pixel to mm, before the random deformation


def balanced_labels(random: torch.Generator, n: int) -> Tensor:
    """Every class as often as every other (to one), in random order."""
    return (torch.arange(n) % len(CLASSES))[torch.randperm(n, generator=random)]


def place(random: torch.Generator, n: int, dims: int) -> tuple[Tensor, Tensor, Tensor]:
    """For each row: picture axes as columns (n, 3, d) in space, the picture's centre (n, 3) in mm, and its plane."""
    planes = torch.randint(len(PLANES), (n,), generator=random)
    depth = torch.rand(n, generator=random)
    centre = torch.tensor(CENTRE).repeat(n, 1)
    if dims == 3:
        return torch.eye(3).repeat(n, 1, 1), centre, torch.full((n,), -1)
    directions = torch.tensor([view[0] for view in VIEWS], dtype=torch.float32).transpose(1, 2)
    axes = torch.tensor([view[1] for view in VIEWS])[planes]
    low, high = torch.tensor([view[2] for view in VIEWS])[planes].T
    centre[torch.arange(n), axes] += low + (high - low) * depth
    return directions[planes], centre, planes


def affine_jitter(random: torch.Generator, n: int) -> Tensor:
    """Small rotations, scalings, shears and, for every other row, a mirror image: (n, 3, 3)."""
    angles = torch.randn((n, 3), generator=random) * 0.09  # radians, about 5 degrees
    skew = torch.zeros(n, 3, 3)
    skew[:, 0, 1], skew[:, 0, 2], skew[:, 1, 2] = angles.T
    turn = torch.matrix_exp(skew - skew.transpose(1, 2))
    scale = torch.diag_embed(uniform(random, (n, 3), 0.9, 1.1))
    shear = torch.eye(3) + 0.03 * torch.randn((n, 3, 3), generator=random)
    mirror = torch.ones(n, 3)
    mirror[:, 0] = 2.0 * torch.randint(2, (n,), generator=random) - 1
    return turn @ scale @ shear @ torch.diag_embed(mirror)


def anatomy(
    random: torch.Generator, n: int, spatial: Sequence[int], spacing: float, knot: float
) -> tuple[Tensor, Tensor]:
    """T1, grey and white matter (n, 3, *spatial) of `n` deformed heads, and the planes they are seen in."""
    dims = len(spatial)
    axes, centre, planes = place(random, n, dims)
    middle, source = torch.tensor(CENTRE), template()
    jitter = affine_jitter(random, n)
    centre = torch.einsum("njk,nk->nj", jitter, centre - middle) + middle + uniform(random, (n, 3), -5, 5)
    warp = 4.5 * smooth_field(random, n, 3, spatial, knot / spacing)  # mm
    unit = 2 / (torch.tensor(source.maps.shape[1:]) - 1) / SPACING  # mm to grid_sample's [-1, 1] ...
    steps = ((jitter @ axes) * unit[:, None]).flip(1)  # ... which counts axes from the last
    origin = ((centre - source.affine[:3, 3]) * unit - 1).flip(1)
    offset = pixel_grid(spatial) - (torch.tensor(spatial)[:, None] - 1) / 2
    grid = warp.flatten(2).mul_(unit.flip(0)[:, None]).add_(origin[..., None])
    grid = grid.baddbmm_(steps, (offset * spacing).expand(n, dims, -1))
    grid = grid.unflatten(2, (-1, spatial[-1])).permute(0, 2, 3, 1)[None]  # one call for any number of axes
    maps = F.grid_sample(source.maps[None], grid, align_corners=True)[0]
    return maps.transpose(0, 1).reshape(n, 3, *spatial), planes  # zero outside the template


def contrast(random: torch.Generator, maps: Tensor) -> Tensor:
    """Half the template's own T1, half three tissues of random brightness."""
    column = (len(maps), 1, *[1] * (maps.ndim - 2))
    t1, grey, white = maps.split(1, dim=1)
    fluid = ((t1 > 0.05).float() - grey - white).clamp(min=0)
    levels = [uniform(random, column, *bounds) for bounds in ((0.08, 0.25), (0.34, 0.48), (0.54, 0.68))]
    return 0.5 * (levels[0] * fluid + levels[1] * grey + levels[2] * white) + 0.36 * t1


def scanner(random: torch.Generator, image: Tensor, spacing: float) -> Tensor:
    """Random sharpness, gamma, bias field and noise, as scanners differ; the result is clipped to [0, 1]."""
    n, column = len(image), (len(image), 1, *[1] * (image.ndim - 2))
    blur = uniform(random, column, 0, 0.5)
    image = (1 - blur) * image + blur * box_blur(image, 3)
    image = image.clamp(1e-4, 1) ** uniform(random, column, -0.25, 0.25).exp()
    image = image * (0.1 * smooth_field(random, n, 1, image.shape[2:], 90 / spacing)).exp()
    noise = uniform(random, column, 0.005, 0.045) * torch.randn(image.shape, generator=random)
    return (image + noise).clamp(0, 1)


def generate(
    n: int,
    seed: int,
    split: str = "train",
    *,
    labels: Sequence[int] | None = None,
    spatial: Sequence[int] = (128, 128),
    spacing: float = SPACING,
    paint: bool = True,
) -> Batch:
    """`n` pictures, a pure function of the arguments; `split` is "train", "ragged" or "held-out" (shapes and warps).

    Classes are balanced unless `labels` names one for each row. `spacing` is in mm a pixel. With `paint` off the same
    heads come without their lesions (the masks still tell where these would have been).
    """
    random, shapes = stream(split, seed), SPLITS[split]
    drawn = balanced_labels(random, n)
    classes = drawn if labels is None else torch.tensor(list(labels))
    maps, planes = anatomy(random, n, spatial, spacing, shapes.warp_knot)
    tissue = maps[:, 1:]
    image = contrast(random, maps)
    ground = Ground.of(tissue, spacing)
    streak, decoys = paint_decoys(random, ground)
    change, lesions = paint_lesions(random, classes, ground, shapes)
    image = (image + streak).clamp(0, 1)
    if paint:
        image = (image + change).clamp(0, 1)
    image = scanner(random, image, spacing)
    affine = torch.diag(torch.tensor([*[spacing] * len(spatial), 1.0]))
    if len(spatial) == 3:
        affine[:3, 3] = torch.tensor(CENTRE) - spacing * (torch.tensor(spatial) - 1) / 2
    return Batch(image, classes, lesions, decoys, tissue, planes, affine)


@cache
def domain() -> Tensor:
    """300 slices (300, 1, 128, 128), always the same ones: what the brain networks were made for."""
    return generate(300, seed=0, split="train").images
