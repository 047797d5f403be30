"""Query: one question to an attribution method, checked, with what every method needs to answer it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor

from vislib.attribution.alignment import alignment
from vislib.attribution.result import Attribution
from vislib.attribution.target import Target
from vislib.errors import AttributionError
from vislib.network import Network
from vislib.pace import rows_at_once
from vislib.parameters import Value
from vislib.patching import Patch

_MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}
# Bytes that the activations of one batch may take: caches and memory both like small batches.
_BUDGET = 384 * 2**20
_LARGEST_BATCH = 32


@dataclass(frozen=True, eq=False)
class Query:
    """What is asked: `images` [0, 1] on the network's device, a checked `target`, and every parameter's value."""

    method: str
    signed: bool
    network: Network
    images: Float[Tensor, "n c *spatial"]
    target: Target
    layer: str  # whose maps a CAM takes; "" for methods without one
    values: Mapping[str, Value]
    seed: int

    def number(self, name: str) -> float:
        """A parameter's value as a float."""
        return float(self.values[name])

    def whole(self, name: str) -> int:
        """A parameter's value as an int."""
        return int(self.values[name])

    def choice(self, name: str) -> str:
        """A parameter's value as a text."""
        return str(self.values[name])

    def generator(self) -> torch.Generator:
        """Random numbers of this query: the same query gives the same map, whatever ran before (CPU)."""
        return torch.Generator().manual_seed(self.seed)

    def score(
        self,
        images: Float[Tensor, "m c *spatial"],
        rows: Sequence[int] | None = None,
        through: Mapping[str, Patch] | None = None,
    ) -> Float[Tensor, "m"]:
        """The target's score of changed images, differentiable; `rows` says which image each stands for."""
        output = self.network.activations(images, [self.target.layer], through=through)[self.target.layer]
        return self.target.of(output, rows)

    def batches(self, m: int, *, gradients: bool = False) -> Iterator[range]:
        """Split `m` rows into ranges that take a turn each."""
        size = self.batch_size(gradients=gradients) if m > 1 else 1
        for start in range(0, m, size):
            yield range(start, min(m, start + size))

    def batch_size(self, *, gradients: bool = False) -> int:
        """Images that go through the network at once: what suits caches, and takes a turn's time and no more."""
        spatial = tuple(self.images.shape[2:])
        bytes_an_image = self.network.footprint(spatial) * (1.5 if gradients else 1)
        most = int(max(1, min(_LARGEST_BATCH, _BUDGET // bytes_an_image)))
        return rows_at_once(self.network, spatial, most, gradients=gradients)

    def upsample(self, raw: Float[Tensor, "n *coarse"]) -> Float[Tensor, "n *spatial"]:
        """Maps at the input's size, by (tri)linear interpolation."""
        size = tuple(self.images.shape[2:])
        if tuple(raw.shape[1:]) == size:
            return raw
        mode = _MODES[len(size)]
        return F.interpolate(raw[:, None], size=size, mode=mode, align_corners=False)[:, 0]

    def result(
        self,
        raw: Float[Tensor, "n *coarse"],
        scores: Float[Tensor, "n"],
        *,
        values: Float[Tensor, "n *spatial"] | None = None,
        step: int = 1,
        steps: int = 1,
        notes: Sequence[str] = (),
        numbers: Mapping[str, Float[Tensor, "n"]] | None = None,
        colour: Float[Tensor, "n c *spatial"] | None = None,
        signed: bool | None = None,
        layer: str | None = None,
        rectified: bool = False,
    ) -> Attribution:
        """An Attribution of this query; `values` is interpolated from `raw` where a method has no better one.

        `rectified` maps say themselves where all was below 0. `signed` is the method's own unless its parameters
        decide, `layer` the query's unless the method has one of its own. Raises AttributionError for values that are
        not finite.
        """
        if not bool(torch.isfinite(raw).all() and torch.isfinite(scores).all()):
            raise AttributionError(
                f"{self.method} of {self.network.name} gave values that are not finite; look at the network's "
                "weights, or choose another image."
            )
        full = self.upsample(raw) if values is None else values
        layer = self.layer if layer is None else layer
        placed = alignment(self.network, layer, self.images.shape[2:]).notes if layer else ()
        empty = _all_zero(raw, self.images) if step == steps and not rectified else ()
        return Attribution(
            method=self.method,
            values=array(full),
            raw=array(raw),
            signed=self.signed if signed is None else signed,
            scores=array(scores),
            step=step,
            steps=steps,
            notes=(*notes, *placed, *empty, *self.target.facts(self.network), *self.network.cautions),
            numbers={name: array(value) for name, value in (numbers or {}).items()},
            colour=None if colour is None else array(colour),
            layer=layer,
        )


def _all_zero(raw: Float[Tensor, "n *coarse"], images: Float[Tensor, "n c *spatial"]) -> tuple[str, ...]:
    """A sentence where a map is 0 everywhere, which would be drawn without a word; none of a flat image."""
    rows = [
        str(row + 1)
        for row, (one, image) in enumerate(zip(raw, images, strict=True))
        if not bool(one.any()) and bool(image.amax() > image.amin())
    ]
    which = "" if len(raw) == 1 else f" of image {', '.join(rows)}"
    said = "is exactly 0 everywhere: by this method nothing speaks for or against the target, as behind a rounding."
    return (f"The map{which} {said}",) if rows else ()


def array(tensor: Float[Tensor, "..."]) -> Float32[np.ndarray, "..."]:
    """A float32 copy that nobody else holds, in the usual order of axes."""
    return np.ascontiguousarray(tensor.detach().to("cpu", torch.float32).numpy(), dtype=np.float32).copy()
