"""Samplers: what could stand in a window of an image instead, given what is around it, or given nothing."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from vislib.domain import domain_images
from vislib.errors import AttributionError, NetworkError
from vislib.network import Network

FITTED = 20_000  # patches that a Gaussian is fitted on
_AT_ONCE = 2_000
# Pixels of the largest surround that a Gaussian is fitted on: its covariance has their square.
LARGEST = 1_500
# Added to variances, as a share of their mean: patches may hold pixels that never change.
RIDGE = 1e-6

Sampler = Callable[[Tensor, Sequence[int], int, torch.Generator], Tensor]


@dataclass(frozen=True, eq=False)
class Reference:
    """Images of the network's domain, and the sentence to read where it has none and others had to do."""

    images: Float[Tensor, "n c *spatial"]
    notes: tuple[str, ...]
    others: bool  # these are other images than those that are asked about


def reference(network: Network, images: Float[Tensor, "n c *spatial"]) -> Reference:
    """The network's own domain, or else the images asked about themselves; raises AttributionError."""
    if network.domain is None:
        note = (
            f"{network.name} comes with no images of its domain, so what could stand in a window was learnt "
            f"from the given image{'s' if len(images) > 1 else ''} alone."
        )
        return Reference(images.cpu(), (note,), False)
    try:
        found = domain_images(network)
    except NetworkError as error:
        raise AttributionError(str(error)) from error
    return Reference(found.to("cpu", images.dtype), (), True)


class Conditional:
    """A Gaussian for each channel over patches of `surround`, given what is around a window (Zintgraf et al. 2017).

    Fitted on FITTED patches at random places of the reference images. At the image's border the surround is
    moved inside, as in the authors' own code. Samples are clipped to the range of the reference images.
    """

    def __init__(
        self, images: Float[Tensor, "n c *spatial"], window: Sequence[int], surround: Sequence[int]
    ) -> None:
        self.window, self.surround = tuple(window), tuple(surround)
        self.low, self.high = _range(images)
        self.mean, self.covariance = _moments(images, self.surround)
        self._laws: dict[tuple[int, ...], tuple[Tensor, Tensor, Tensor, Tensor]] = {}

    def __call__(
        self,
        image: Float[Tensor, "c *spatial"],
        start: Sequence[int],
        samples: int,
        generator: torch.Generator,
    ) -> Float64[Tensor, "samples c *window"]:
        """Draw what could stand in the window from `start` on."""
        outer = [
            min(max(0, at - (around - own) // 2), size - around)
            for at, own, around, size in zip(start, self.window, self.surround, image.shape[1:], strict=True)
        ]
        offset = tuple(at - first for at, first in zip(start, outer, strict=True))
        place = tuple(
            slice(first, first + around) for first, around in zip(outer, self.surround, strict=True)
        )
        inner, around, gain, root = self.law(offset)
        seen = image[:, *place].flatten(1).double()[:, around] - self.mean[:, around]
        middle = self.mean[:, inner] + (gain @ seen[..., None])[..., 0]
        normal = torch.randn(samples, *middle.shape, generator=generator, dtype=torch.float64)
        drawn = middle + torch.einsum("cij,scj->sci", root, normal)
        return drawn.clamp(self.low, self.high).view(samples, -1, *self.window)

    def law(self, offset: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """For a window that far inside its surround: the pixels of both, `S12 S22^-1`, and the Cholesky factor of
        `S11 - S12 S22^-1 S21`."""
        if offset not in self._laws:
            inside = torch.zeros(self.surround, dtype=torch.bool)
            inside[tuple(slice(at, at + own) for at, own in zip(offset, self.window, strict=True))] = True
            inner, around = inside.flatten().nonzero()[:, 0], (~inside).flatten().nonzero()[:, 0]
            s11 = self.covariance[:, inner][:, :, inner]
            s12 = self.covariance[:, inner][:, :, around]
            s22 = self.covariance[:, around][:, :, around]
            gain = torch.linalg.solve(s22, s12.mT).mT
            left = s11 - gain @ s12.mT
            self._laws[offset] = inner, around, gain, torch.linalg.cholesky((left + left.mT) / 2)
        return self._laws[offset]


class Marginal:
    """What stands in the same place of other images; where there are none of that size, anywhere in them."""

    def __init__(
        self, images: Float[Tensor, "n c *spatial"], window: Sequence[int], *, same_place: bool
    ) -> None:
        self.images, self.window, self.same_place = images, tuple(window), same_place

    def __call__(
        self,
        image: Float[Tensor, "c *spatial"],
        start: Sequence[int],
        samples: int,
        generator: torch.Generator,
    ) -> Float64[Tensor, "samples c *window"]:
        """Draw what could stand in the window from `start` on; images are drawn without repetition where enough."""
        n = len(self.images)
        chosen = torch.randperm(n, generator=generator)[:samples]
        if n < samples:
            chosen = torch.randint(n, (samples,), generator=generator)
        starts = torch.tensor(start).repeat(samples, 1)
        if not self.same_place:
            starts = _places(self.images.shape[2:], self.window, samples, generator)
        return _cut(self.images, chosen, starts, self.window).double()


def check_surround(kind: str, window: Sequence[int], padding: int, spatial: Sequence[int]) -> None:
    """Raise AttributionError for windows whose surround is too large for a Gaussian."""
    surround = _surround(window, padding, spatial)
    if kind == "conditional" and math.prod(surround) > LARGEST:
        side = int((LARGEST + 0.5) ** (1 / len(surround)))
        raise AttributionError(
            f"A Gaussian over surrounds of {_words(surround)} pixels is too large (at most {LARGEST} pixels); "
            f"choose the marginal sampler, or a window and twice its padding of {side} pixels together."
        )


def sampler(
    kind: str, known: Reference, window: Sequence[int], padding: int, spatial: Sequence[int]
) -> Sampler:
    """The sampler of that kind, "conditional" or "marginal", for images of these sizes; raises AttributionError."""
    sizes = tuple(known.images.shape[2:])
    if any(own > size for own, size in zip(window, sizes, strict=True)):
        raise AttributionError(
            f"Windows of {_words(window)} pixels do not fit into the domain's images of {_words(sizes)}; "
            "choose a smaller window."
        )
    if kind == "marginal":
        return Marginal(known.images, window, same_place=known.others and sizes == tuple(spatial))
    smaller = [min(size, other) for size, other in zip(spatial, sizes, strict=True)]
    return Conditional(known.images, window, _surround(window, padding, smaller))


def _surround(window: Sequence[int], padding: int, spatial: Sequence[int]) -> tuple[int, ...]:
    return tuple(min(own + 2 * padding, size) for own, size in zip(window, spatial, strict=True))


def _words(sizes: Sequence[int]) -> str:
    return " x ".join(str(size) for size in sizes)


def _range(images: Tensor) -> tuple[Float64[Tensor, "c 1"], Float64[Tensor, "c 1"]]:
    by_channel = images.transpose(0, 1).flatten(1).double()
    return by_channel.amin(1, keepdim=True), by_channel.amax(1, keepdim=True)


def _moments(
    images: Float[Tensor, "n c *spatial"], size: Sequence[int]
) -> tuple[Float64[Tensor, "c p"], Float64[Tensor, "c p p"]]:
    """Mean and covariance of patches at random places, always the same ones."""
    generator = torch.Generator().manual_seed(0)
    middle = images.double().mean((0, *range(2, images.ndim)))[:, None]  # taken off first: sums stay exact
    many = math.prod(size)
    total = torch.zeros(images.shape[1], many, dtype=torch.float64)
    squares = torch.zeros(images.shape[1], many, many, dtype=torch.float64)
    for _ in range(FITTED // _AT_ONCE):
        chosen = torch.randint(len(images), (_AT_ONCE,), generator=generator)
        starts = _places(images.shape[2:], size, _AT_ONCE, generator)
        patches = (_cut(images, chosen, starts, size).flatten(2).double() - middle).transpose(0, 1)
        total += patches.sum(1)
        squares += patches.mT @ patches
    covariance = (squares - total[:, :, None] * total[:, None] / FITTED) / (FITTED - 1)
    diagonal = covariance.diagonal(dim1=1, dim2=2)
    diagonal += RIDGE * diagonal.mean(1, keepdim=True) + torch.finfo(torch.float32).eps ** 2
    return total / FITTED + middle, covariance


def _places(
    spatial: Sequence[int], window: Sequence[int], n: int, generator: torch.Generator
) -> Int[Tensor, "n axes"]:
    """Where windows start, anywhere inside."""
    axes = zip(spatial, window, strict=True)
    return torch.stack([torch.randint(size - own + 1, (n,), generator=generator) for size, own in axes], 1)


def _cut(
    images: Float[Tensor, "m c *spatial"],
    chosen: Int[Tensor, "n"],
    starts: Int[Tensor, "n axes"],
    size: Sequence[int],
) -> Float[Tensor, "n c *window"]:
    """Patches of these images from these places on."""
    windows = images
    for axis, own in enumerate(size):
        windows = windows.unfold(2 + axis, own, 1)
    place: tuple[Any, ...] = (chosen, slice(None), *starts.unbind(1))
    return windows[place]
