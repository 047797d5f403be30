"""Incremental inference: a network's answer to an image that is changed in one window, without all of the rest."""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vislib.attribution.local import Clean, Run, put
from vislib.attribution.spreading import handler
from vislib.attribution.tape import Tape, record
from vislib.network import Network
from vislib.pace import rows_at_once

# Multiplications and additions in one call: 40 to 80 ms on two cores, so that a page can ask in between.
BUDGET = 3_000_000_000
MOST_ROWS = 64
# At most, for networks that have to be computed as a whole for every window.
PLAIN_ROWS = 8
_CHECKED = 3  # windows; not as many as in the recording, so that a fixed number of rows shows


@runtime_checkable
class Rerun(Protocol):
    """What a layer puts out for one image that is changed in one window a row.

    `clean` is its output for the image itself; `rows` says how many windows a call should be given.
    """

    clean: Float[Tensor, "1 units *out"]
    rows: int

    def __call__(
        self, patches: Float[Tensor, "b c *window"], starts: Int[Tensor, "b axes"]
    ) -> Float[Tensor, "b units *out"]:
        """The output with each patch put into the image, its first element at `start` (on the CPU)."""
        ...


def reruns(
    network: Network,
    layer: str,
    images: Float[Tensor, "n c *spatial"],
    window: Sequence[int],
    units: Sequence[int] | None = None,
) -> Callable[[int], Rerun]:
    """Give, for the number of an image, what computes these units (default: all) of `layer` for changes of it.

    Exact up to rounding: each layer is computed where the window's influence has spread to, set into what the
    clean image gives around it; from where that no longer pays or is not known to be right, on whole maps. A
    network that cannot be watched at work, or that answers two windows otherwise than so, is computed as a
    whole each time.
    """
    try:
        whole = record(network, layer, tuple(images.shape[2:]))
        tape = whole if units is None else whole.keeping(units)
        kept = None if tape is not None else units
        first = _Incremental(tape or whole, images[:1], kept)
        first.rows = _checked(network, layer, first, images[:1], window, units)
    except Exception:  # whatever a call raises when it is played on other tensors
        return lambda image: _Plain(network, layer, images[image : image + 1], units)
    return lambda image: first if image == 0 else first.another(images[image : image + 1])


class _Incremental:
    """A Rerun by way of a tape."""

    def __init__(
        self, tape: Tape, image: Float[Tensor, "1 c *spatial"], units: Sequence[int] | None, rows: int = 1
    ) -> None:
        self.rows, self._tape, self._units = rows, tape, units
        with torch.no_grad():
            self._clean = Clean(tape, image)
        self.clean = self._kept(self._clean[tape.output])
        self.work = 0

    def __call__(
        self, patches: Float[Tensor, "b c *window"], starts: Int[Tensor, "b axes"]
    ) -> Float[Tensor, "b units *out"]:
        with torch.no_grad():
            run = Run(self._clean, patches, starts, handler)
            output = run.through(self._tape)
        self.work = run.work
        return self._kept(output)

    def another(self, image: Float[Tensor, "1 c *spatial"]) -> "_Incremental":
        """The same for another image."""
        return _Incremental(self._tape, image, self._units, self.rows)

    def _kept(self, output: Tensor) -> Tensor:
        return output if self._units is None else output[:, list(self._units)]


class _Plain:
    """A Rerun by way of the whole network."""

    def __init__(
        self,
        network: Network,
        layer: str,
        image: Float[Tensor, "1 c *spatial"],
        units: Sequence[int] | None,
    ) -> None:
        self._network, self._layer, self._image, self._units = network, layer, image, units
        self.rows = rows_at_once(network, tuple(image.shape[2:]), PLAIN_ROWS)
        self.clean = self._output(image)

    def __call__(
        self, patches: Float[Tensor, "b c *window"], starts: Int[Tensor, "b axes"]
    ) -> Float[Tensor, "b units *out"]:
        return self._output(pasted(self._image, patches, starts))

    def _output(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            output = self._network.activations(images, [self._layer])[self._layer]
        return output if self._units is None else output[:, list(self._units)]


def pasted(
    image: Float[Tensor, "1 c *spatial"], patches: Float[Tensor, "b c *window"], starts: Int[Tensor, "b axes"]
) -> Float[Tensor, "b c *spatial"]:
    """The image with each patch in its place."""
    images = image.repeat(len(patches), *[1] * (image.ndim - 1))
    put(images, patches, starts)
    return images


def _checked(
    network: Network,
    layer: str,
    rerun: _Incremental,
    image: Float[Tensor, "1 c *spatial"],
    window: Sequence[int],
    units: Sequence[int] | None,
) -> int:
    """How many windows to compute at once; raises AssertionError unless some are as the whole network has them."""
    generator = torch.Generator().manual_seed(0)
    patches = torch.rand(_CHECKED, image.shape[1], *window, generator=generator).to(image)
    room = [size - own for size, own in zip(image.shape[2:], window, strict=True)]
    starts = torch.tensor([[0 for _ in room], [(3 * free) // 7 for free in room], room])
    plain = _Plain(network, layer, image, units)
    for got, expected in ((rerun.clean, plain.clean), (rerun(patches, starts), plain(patches, starts))):
        # The algorithm of a convolution depends on its size: equal means up to rounding, to TF32's 10 bits on CUDA.
        tolerance = 1000 * torch.finfo(expected.dtype).eps if expected.device.type == "cpu" else 0.01
        torch.testing.assert_close(got, expected, rtol=0, atol=tolerance * float(expected.abs().max()))
    return max(1, min(MOST_ROWS, BUDGET * _CHECKED // max(1, rerun.work)))
