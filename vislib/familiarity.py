"""Familiarity: whether an image is like those that a network was made for, by the deepest features that they raise."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from vislib.domain import domain_images
from vislib.network import Network
from vislib.probe import LOGITS

LEAST = 12  # images of a domain, below which nothing is said
# Times the largest distance of a held-out domain image; the fewer there are, the less the largest of them says.
MARGIN, MARGIN_OF_FEW = 1.25, 10
STILL = (
    0.01  # of the features' usual standard deviation: what hardly ever changes is taken to change by so much
)
SUMMARIES = 3  # of a unit's map: mean, root mean square, maximum
BATCH_BYTES = 200_000_000


@dataclass(frozen=True, eq=False)
class Familiarity:
    """Distances from a network's own kind of images; those that were held out all lie below `limit`.

    `layer` is the one whose features are compared, `margin` how far below.
    """

    network: Network
    layer: str
    limit: float
    margin: float
    _middle: Float64[np.ndarray, " p"]
    _scale: Float64[np.ndarray, " p"]
    _directions: Float64[np.ndarray, "k p"]
    _variances: Float64[np.ndarray, " k"]
    _floor: float

    @classmethod
    def learned(cls, network: Network) -> "Familiarity | None":
        """Learn it from `network.domain()`; None where there is no domain, or too small a one to tell.

        Every other image is learned from, the others calibrate the limit. Distances are those of Mahalanobis (Lee et
        al. 2018, arXiv 1807.03888, without classes) with a covariance shrunk as by Ledoit and Wolf (2004, doi
        10.1016/S0047-259X(03)00096-4). Raises NetworkError where the domain cannot be made or run.
        """
        if network.domain is None:
            return None
        images = domain_images(network)
        if len(images) < LEAST:
            return None
        twin = network.twin()  # others may use the network meanwhile
        layer = deepest(twin)
        features = codes(twin, layer, images)
        summaries = SUMMARIES if twin.layer(layer).spatial else 1
        found = _fitted(twin, layer, features[::2], summaries)
        held_out = found.distances_of(features[1::2])
        margin = MARGIN + MARGIN_OF_FEW / len(held_out)
        # Where all images are one and the same, equality up to rounding is near enough.
        return replace(found, limit=margin * max(float(held_out.max()), 0.01), margin=margin)

    def distances(self, images: Float[Tensor, "n c *spatial"]) -> Float64[np.ndarray, " n"]:
        """How far each image is from the domain, in units of the limit: above 1 it is unlike it."""
        return self.distances_of(codes(self.network, self.layer, images)) / self.limit

    def distances_of(self, features: Float64[np.ndarray, "n p"]) -> Float64[np.ndarray, " n"]:
        """The same of features, in their own unit: the root mean square over them is about 1 in the domain."""
        offset = (features - self._middle) / self._scale
        along = offset @ self._directions.T
        rest = np.maximum(0.0, np.square(offset).sum(1) - np.square(along).sum(1))
        squares = (np.square(along) / self._variances).sum(1) + rest / self._floor
        root: np.ndarray = np.sqrt(squares / features.shape[1])
        return root


def deepest(network: Network) -> str:
    """The last layer that has positions; where there is none, the last one before the logits."""
    names = [layer for layer in network.layers.values() if layer.name != LOGITS]
    maps = [layer.name for layer in names if layer.spatial]
    return (maps or [layer.name for layer in names] or [LOGITS])[-1]


def codes(network: Network, layer: str, images: Float[Tensor, "n c *spatial"]) -> Float64[np.ndarray, "n p"]:
    """Of each unit of the layer, what its activation above 0 is over the image: its mean, root mean square, maximum."""
    count = max(1, int(BATCH_BYTES / max(1.0, network.footprint(images.shape[2:]))))
    made = []
    for first in range(0, len(images), min(count, 16)):
        with torch.inference_mode():
            values = network.activations(images[first : first + min(count, 16)], [layer])[layer].float()
        if values.ndim == 2:
            made.append(values)
            continue
        fired = values.flatten(2).relu()
        made.append(torch.cat([fired.mean(2), fired.square().mean(2).sqrt(), fired.amax(2)], 1))
    return torch.cat(made).double().cpu().numpy()


def sentence(what: str, reasons: list[str]) -> str:
    """What a person must know of an input that is unlike a network's own; `what` is "picture", "slice" or "volume"."""
    return (
        f"This {what} is unlike what the network was made for ({', '.join(reasons)}): "
        "what it says of it may mean nothing."
    )


def reason(times: float) -> str:
    """Why an image is unlike whose distance is so many times the largest of the domain's held-out images."""
    number = f"{times:.1f}" if times < 9.95 else f"{times:.0f}"
    return f"its features lie {number} times as far off as those of the network's own images do at most"


def _fitted(
    network: Network, layer: str, features: Float64[np.ndarray, "n p"], summaries: int
) -> Familiarity:
    """Middle and shrunk covariance, by singular values: there may be far fewer images than features."""
    middle, own_scale = features.mean(0), features.std(0).reshape(summaries, -1)
    usual = np.sqrt(np.square(own_scale).mean(1, keepdims=True))
    scale = np.sqrt(np.square(own_scale) + np.square(STILL * usual)).ravel()
    if not scale.all():  # nothing changes at all
        scale = np.maximum(scale, 1e-3 * np.abs(middle).max(initial=1e-6))
    offset = (features - middle) / scale
    n, p = offset.shape
    _, sizes, directions = np.linalg.svd(offset, full_matrices=False)
    own = np.square(sizes) / n
    average = float(own.sum() / p) or 1.0
    spread = float((np.square(own).sum() - p * average**2) / p)  # of the covariance from a sphere
    # The sum over all entries of the mean of (x_i x_j - s_ij)^2, without the p by p matrices.
    noise = float((np.square(np.square(offset).sum(1)).sum() / n - np.square(own).sum()) / n / p)
    share = min(1.0, max(noise, 0.0) / spread) if spread > 0 else 1.0
    share = min(1.0, max(share, 1e-3))
    variances = (1 - share) * own + share * average
    return Familiarity(network, layer, 1.0, 1.0, middle, scale, directions, variances, share * average)
