"""Occlusion: hide one window of the image after the other and see how the score falls."""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, Int64
from scipy import ndimage
from torch import Tensor

from vislib.attribution.incremental import Rerun, reruns
from vislib.attribution.method import method, parameter
from vislib.attribution.query import Query
from vislib.attribution.result import Attribution
from vislib.attribution.windows import Grid, fitted, sweep, units_of
from vislib.errors import AttributionError

FILLS = ("mean", "zero", "blur", "noise")


@method(
    "Occlusion",
    family="perturbation",
    description="how far the score falls when a window of the image is hidden: the mean over the windows on a pixel",
    source="Zeiler and Fergus 2013, arXiv 1311.2901",
    quick=False,
    parameters=(
        parameter("window", "int", 1, 1024, "pixels", "side of the window that is hidden", default=24),
        parameter(
            "stride", "int", 1, 512, "pixels", "from one window to the next; at most the window", default=8
        ),
        parameter(
            *("fill", "choice", 0, 0, ""),
            "what hides the window: the image's mean colour, black, the image blurred, or noise",
            choices=FILLS,
            default="mean",
        ),
    ),
)
def occlusion(query: Query) -> Iterator[Attribution]:
    """`y(x) - y(x with the window hidden)`, for each element the mean over the windows on it (Zeiler & Fergus 2013).

    The first window is at 0, then one every `stride`; the last may be cut off. Raises AttributionError for a
    stride above the window, which would leave elements that no window covers.
    """
    window, stride = query.whole("window"), query.whole("stride")
    if stride > window:
        raise AttributionError(
            f"Occlusion was given a stride of {stride} pixels and windows of {window}, which leave pixels that "
            f"no window covers; give a stride of at most {window}."
        )
    sizes, notes = fitted(query, window)
    grid = Grid.cut_off(query.images.shape[2:], sizes, stride)
    return _steps(query, grid, notes)


def _steps(query: Query, grid: Grid, notes: tuple[str, ...]) -> Iterator[Attribution]:
    units, target = units_of(query.target)
    rerun_of = reruns(query.network, target.layer, query.images, grid.window, units)
    hidden = fill(query.images, query.choice("fill"), grid.window, query.generator())

    def relevance(rerun: Rerun, image: int, windows: Int64[np.ndarray, " m"]) -> Float[Tensor, "m"]:
        patches, starts = hide(query.images[image], hidden[image], grid, windows)
        output = rerun(patches, starts)
        return target.of(rerun.clean, [image]) - target.of(output, [image] * len(output))

    yield from sweep(query, grid, rerun_of, relevance, lambda rerun: rerun.rows, notes=notes)


def hide(
    image: Float[Tensor, "c *spatial"],
    hidden: Float[Tensor, "c *spatial"],
    grid: Grid,
    windows: Int64[np.ndarray, " m"],
) -> tuple[Float[Tensor, "m c *window"], Tensor]:
    """Patches with what `hidden` has in each window, and where they start: all whole and inside of the image.

    A window that is cut off by the image's end becomes the last whole one, with the image as it is in front.
    """
    places = grid.places(windows)
    starts = torch.minimum(places, torch.tensor(grid.spatial) - torch.tensor(grid.window))
    patches = []
    for place, start in zip(places.tolist(), starts.tolist(), strict=True):
        inside = tuple(slice(at, at + size) for at, size in zip(start, grid.window, strict=True))
        patch = hidden[:, *inside]
        if place != start:
            free = tuple(slice(own - at, None) for own, at in zip(place, start, strict=True))
            patch, covered = image[:, *inside].clone(), patch
            patch[:, *free] = covered[:, *free]
        patches.append(patch)
    return torch.stack(patches), starts


def fill(
    images: Float[Tensor, "n c *spatial"], kind: str, window: tuple[int, ...], generator: torch.Generator
) -> Float[Tensor, "n c *spatial"]:
    """What windows are filled with, for every pixel of the images.

    zero   black
    mean   the image's mean in each channel
    blur   the image, blurred by a Gaussian with a quarter of the window as its standard deviation
    noise  normal numbers with the image's mean and standard deviation in each channel, clipped to [0, 1]
    """
    if kind == "zero":
        return torch.zeros_like(images)
    if kind == "blur":
        sigma = (0, 0, *(size / 4 for size in window))
        blurred = ndimage.gaussian_filter(images.cpu().numpy(), sigma, mode="nearest")
        return torch.from_numpy(blurred).to(images)
    axes = tuple(range(2, images.ndim))
    mean = images.mean(axes, keepdim=True).expand_as(images)
    if kind == "mean":
        return mean
    noise = torch.randn(images.shape, generator=generator).to(images)
    return (mean + noise * images.std(axes, correction=0, keepdim=True)).clamp(0, 1)
