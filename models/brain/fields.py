"""Smooth random fields over any number of axes, and the random stream that everything is drawn from."""

import hashlib
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

POOL = {2: F.avg_pool2d, 3: F.avg_pool3d}


def stream(split: str, seed: int) -> torch.Generator:
    """The random stream of one batch; streams of other splits and seeds have nothing in common with it."""
    digest = hashlib.sha256(f"{split}/{seed}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def uniform(random: torch.Generator, shape: Sequence[int], low: float, high: float) -> Tensor:
    """Independent draws from [low, high)."""
    return low + (high - low) * torch.rand(tuple(shape), generator=random)


def spline_basis(size: int, knots: int) -> Tensor:
    """Cubic B-spline values (size, knots); each row has unit length, so white coefficients give unit variance."""
    place = torch.linspace(1, knots - 2, size)[:, None]
    x = (place - torch.arange(knots)).abs()
    inner = 2 / 3 - x**2 + x**3 / 2
    basis = torch.where(x < 1, inner, (2 - x).clamp(min=0) ** 3 / 6)
    return F.normalize(basis, dim=1)


def smooth_field(
    random: torch.Generator, n: int, channels: int, spatial: Sequence[int], knot: float
) -> Tensor:
    """Gaussian field (n, channels, *spatial) of unit variance whose control points lie `knot` pixels apart."""
    knots = [max(4, math.ceil(size / knot) + 3) for size in spatial]
    field = torch.randn((n, channels, *knots), generator=random)
    for size, count in zip(spatial, knots, strict=True):  # each turn takes the first spatial axis to the end
        field = torch.tensordot(field, spline_basis(size, count), dims=([2], [1]))
    return field.contiguous()


def box_blur(image: Tensor, width: int) -> Tensor:
    """Mean over a window of `width` (odd) pixels along every spatial axis; beyond the border there is zero."""
    return POOL[image.ndim - 2](image, width, stride=1, padding=width // 2)


def pixel_grid(spatial: Sequence[int]) -> Tensor:
    """Indices of every pixel in row-major order, shape (d, pixels)."""
    axes = [torch.arange(size, dtype=torch.float32) for size in spatial]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).flatten(1)


def rotations(random: torch.Generator, n: int, dims: int) -> Tensor:
    """Random orthogonal matrices (n, dims, dims)."""
    return torch.linalg.qr(torch.randn((n, dims, dims), generator=random))[0]
