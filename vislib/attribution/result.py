"""Attribution: a signed map over the input that answers for one target, at its own resolution and at the input's."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float32


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

    @property
    def done(self) -> bool:
        """Whether this is the whole answer."""
        return self.step >= self.steps
