"""The number that falls when what matters is removed: the probability of the class that is explained."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vislib.attribution.target import Target
from vislib.errors import AttributionError
from vislib.network import Network
from vislib.probe import LOGITS

# Bytes of activations of one forward pass: small ones keep every step short, and lie well in the caches.
_BUDGET = 48 * 2**20
_LARGEST = 32


def is_class(network: Network, target: Target) -> bool:
    """Whether a target is a class (or one class rather than another), which alone has a probability."""
    return network.layer(target.layer).name == LOGITS and target.position is None


def class_target(network: Network, target: Target | int, n: int) -> Target:
    """A checked target that is a class; raises AttributionError for others."""
    checked = (Target(target) if isinstance(target, int) else target).checked(network, n)
    if not is_class(network, checked):
        raise AttributionError(
            f"{checked.layer} was given as the layer to explain; removal is measured on the probability of a "
            f"class: give a unit of {LOGITS} without a position."
        )
    return checked


def probability(
    network: Network, images: Float[Tensor, "m c *spatial"], target: Target, rows: Sequence[int]
) -> Float[np.ndarray, " m"]:
    """Softmax probability of the target's class; of a class rather than another: among these two alone.

    `rows` says which image of the target's each of the images stands for.
    """
    with torch.no_grad():
        logits = network.logits(images).double()
        if target.against is None:
            logits = logits.log_softmax(1)
        chosen = target.of(logits, rows)
    return (chosen.exp() if target.against is None else chosen.sigmoid()).cpu().numpy()


def batch_size(network: Network, images: Float[Tensor, "n c *spatial"]) -> int:
    """Images that go through the network in one short step."""
    return int(max(1, min(_LARGEST, _BUDGET // network.footprint(tuple(images.shape[2:])))))
