"""Attribution: a signed map over the input that answers for one target, at its own resolution and at the input's."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float32

PIXELS_BELOW = 0.995
_SEEN = 1_000_000  # values that a quantile is taken of, evenly spread, where there are more


@dataclass(frozen=True, eq=False)
class Attribution:
    """Maps of one method; its arrays are never written to after it was yielded.

    values    at the input's size; larger speaks for the target, below 0 (where `signed`) against it
    raw       at the method's own resolution: the layer's positions, the windows, or the input's pixels
    signed    whether values below 0 mean something, so that a diverging palette is due
    scores    the target's score of each image
    step      of `steps`: the last one is whole, earlier ones are coarse or noisy first answers
    notes     sentences that a reader of the map must know
    numbers   facts of each image, such as `completeness_error`
    colour    the map before its channels were summed up, where a method has one
    layer     whose maps were taken; "" for a method that takes none
    """

    method: str
    values: Float32[np.ndarray, "n *spatial"]
    raw: Float32[np.ndarray, "n *coarse"]
    signed: bool
    scores: Float32[np.ndarray, " n"]
    step: int = 1
    steps: int = 1
    notes: tuple[str, ...] = ()
    numbers: Mapping[str, Float32[np.ndarray, " n"]] = field(default_factory=dict)
    colour: Float32[np.ndarray, "n c *spatial"] | None = None
    layer: str = ""

    @property
    def done(self) -> bool:
        """Whether this is the whole answer."""
        return self.step >= self.steps

    @property
    def of_pixels(self) -> bool:
        """Whether the method's own resolution is the input's, as that of gradients is."""
        return self.raw.shape == self.values.shape

    def limit(self, values: Float32[np.ndarray, "*places"]) -> float:
        """The value that should have the strongest colour where `values` of this map are shown; 0 for the largest."""
        return strongest(values, self.of_pixels)


def strongest(values: Float32[np.ndarray, "*places"], of_pixels: bool) -> float:
    """The value that should have the strongest colour of a map; 0 for the largest.

    A map of single pixels has a few outliers beside which all else would be pale: there it is the PIXELS_BELOW
    quantile of |value|, of _SEEN values where there are more.
    """
    if not of_pixels:
        return 0.0
    flat = values.reshape(-1)
    seen = flat[:: max(1, -(-flat.size // _SEEN))]
    known = np.abs(seen[np.isfinite(seen)])
    return float(np.quantile(known, PIXELS_BELOW)) if known.size else 0.0
