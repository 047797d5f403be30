"""First-layer kernels as one picture: `python -m models.kernels brain2d kernels.png`."""

import sys

import numpy as np
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from models.cards import load
from vislib.errors import CardError
from vislib.network import Network


def first_kernels(network: Network) -> Tensor:
    """Kernels (n, c, *size) of the network's first convolution, colours RGB; raises CardError where there is none."""
    for part in network.module.modules():
        if isinstance(part, nn.Conv2d | nn.Conv3d):
            kernels = part.weight.detach().cpu()
            return network.standardisation.reordered(kernels) if kernels.shape[1] == 3 else kernels
    raise CardError(f"{network.name} has no convolution, so it has no kernels to show.")


def mosaic(kernels: Tensor, columns: int = 8, zoom: int = 10, gap: int = 1) -> np.ndarray:
    """Kernels (n, c, h, w) side by side as uint8 (height, width, 3); mid-grey is 0.

    Each is scaled by its own largest weight. One channel is shown grey, three as colours, others by their mean.
    """
    if kernels.shape[1] != 3:
        kernels = kernels.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    scaled = kernels / kernels.abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-12)
    cells = F.pad(scaled, (gap, gap, gap, gap))
    spare = -len(cells) % columns
    cells = F.pad(cells, (0, 0, 0, 0, 0, 0, 0, spare)).unflatten(0, (-1, columns))
    rows, columns, channels, high, wide = cells.shape
    picture = cells.permute(0, 3, 1, 4, 2).reshape(rows * high, columns * wide, channels)
    pixels = (255 * (picture + 1) / 2).round().numpy().astype(np.uint8)
    return pixels.repeat(zoom, axis=0).repeat(zoom, axis=1)


def main(arguments: list[str]) -> int:
    """Write the picture of the network named first into the file named second."""
    if len(arguments) != 2:
        sys.stderr.write("Say which network and where to: python -m models.kernels brain2d kernels.png\n")
        return 2
    Image.fromarray(mosaic(first_kernels(load(arguments[0])))).save(arguments[1])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
