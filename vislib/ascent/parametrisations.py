"""Parametrisations: what an ascent optimises (pixels, or a Fourier spectrum) and the image that follows from it."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vislib.ascent.presets import Preset
from vislib.ascent.randomness import START, generator

# Square root of ImageNet's colour covariance (lucid, Olah et al. 2017), scaled so that its largest column has norm 1.
_COLOUR = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])
COLOUR_CORRELATION = _COLOUR / np.linalg.norm(_COLOUR, axis=0).max()


class Parametrisation(Protocol):
    """Parameters of shape (n, …), one row a unit, and the [0, 1] images that they stand for."""

    def start(self, units: Sequence[int], seed: int) -> Tensor:
        """The parameters of the start images; a row depends on its unit and the seed alone."""
        ...

    def images(self, parameters: Tensor) -> Float[Tensor, "n c *spatial"]:
        """The [0, 1] images, differentiable with respect to the parameters."""
        ...


class Pixels:
    """The pixels themselves; the start is noise around the data's mean, N(mean, start_sd / 255).

    The noise is drawn on the whole canvas and cut to `crop` afterwards, so that a climb on a crop starts from what
    the whole climb has there.
    """

    def __init__(
        self,
        presets: Sequence[Preset],
        canvas: Sequence[int],
        mean: Float[Tensor, "1 c *ones"],
        crop: tuple[slice, ...] = (),
    ) -> None:
        self._deviations = [preset.start_sd / 255.0 for preset in presets]
        self._canvas, self._mean, self._crop = tuple(canvas), mean, crop

    def start(self, units: Sequence[int], seed: int) -> Float[Tensor, "n c *spatial"]:
        """Noise images, clipped into [0, 1] by `images`."""
        channels = self._mean.shape[1]
        rows = []
        for unit, deviation in zip(units, self._deviations, strict=True):
            noise = generator(START, seed, unit).standard_normal((channels, *self._canvas), dtype=np.float32)
            rows.append(noise[(slice(None), *self._crop)] * np.float32(deviation))
        return self._mean + torch.from_numpy(np.stack(rows)).to(self._mean.device)

    def images(self, parameters: Float[Tensor, "n c *spatial"]) -> Float[Tensor, "n c *spatial"]:
        """The pixels, clipped into [0, 1]."""
        return parameters.clamp(0.0, 1.0)


class Fourier:
    """A real spectrum, orthonormally transformed, colours correlated, through a sigmoid into [0, 1].

    Olah et al. 2017: coefficients start as N(0, spectrum_sd) and are scaled by `1 / max(f, 1 / max(size))` (to the
    power spectrum_decay), so that one learning rate suits all frequencies. ImageNet's colour correlation is used for
    three channels, none otherwise. Deviation: the sigmoid is shifted so that a zero spectrum gives the data's mean
    (theirs gives 0.5), which matters where most of an image is black.
    """

    def __init__(self, preset: Preset, canvas: Sequence[int], mean: Float[Tensor, "1 c *ones"]) -> None:
        self._deviation, self._mean, self._canvas = preset.spectrum_sd, mean, tuple(canvas)
        self._axes = tuple(range(2, 2 + len(self._canvas)))
        self._shift = torch.logit(mean.clamp(0.02, 0.98))
        scale = spectrum_scale(self._canvas, preset.spectrum_decay) / preset.spectrum_divisor
        self._scale = torch.from_numpy(scale).to(mean)[..., None]
        self._colour = torch.from_numpy(COLOUR_CORRELATION).to(mean) if mean.shape[1] == 3 else None

    def start(self, units: Sequence[int], seed: int) -> Float[Tensor, "n c *frequencies two"]:
        """Small random spectra; the last axis is real and imaginary part."""
        shape = (self._mean.shape[1], *self._scale.shape)
        shape = (*shape[:-1], 2)
        rows = [generator(START, seed, unit).standard_normal(shape, dtype=np.float32) for unit in units]
        return torch.from_numpy(np.stack(rows) * np.float32(self._deviation)).to(self._mean.device)

    def images(self, parameters: Float[Tensor, "n c *frequencies two"]) -> Float[Tensor, "n c *spatial"]:
        """The images of these spectra."""
        spectrum = torch.view_as_complex(parameters * self._scale)
        image = torch.fft.irfftn(spectrum, s=self._canvas, dim=self._axes, norm="ortho")
        if self._colour is not None:
            image = torch.einsum("dc,nc...->nd...", self._colour, image)
        return torch.sigmoid(image + self._shift)


def spectrum_scale(canvas: Sequence[int], decay: float) -> Float[np.ndarray, "*frequencies"]:
    """`1 / max(f, 1 / max(size))^decay` for every coefficient of a real FFT over `canvas`; f in cycles per pixel."""
    axes = [np.fft.fftfreq(size) for size in canvas[:-1]] + [np.fft.rfftfreq(canvas[-1])]
    frequency = np.sqrt(sum(np.square(axis) for axis in np.meshgrid(*axes, indexing="ij")))
    scale: np.ndarray = 1.0 / np.maximum(frequency, 1.0 / max(canvas)) ** decay
    return scale


def mean_image(
    mean: Sequence[float], channels: int, dims: int, device: torch.device
) -> Float[Tensor, "1 c *ones"]:
    """The data's mean, one number or one a channel, shaped for `dims` spatial axes."""
    each = torch.tensor(tuple(mean) * (channels // len(mean)), dtype=torch.float32, device=device)
    return each.view(1, channels, *[1] * dims)
