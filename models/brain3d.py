"""BrainNet3D: five convolutions, global average pooling and one linear layer, for whole volumes of brains."""

from functools import cache

from torch import Tensor

from models.brain import generate
from models.brain_net import BrainNet

SPATIAL, SPACING = (64, 80, 64), 2.5  # voxels (x, y, z in RAS order), mm a voxel: 160 x 200 x 160 mm
CHANNELS = (8, 16, 32, 64, 64)
KERNELS = (5, 3, 3, 3, 3)
STRIDES = (2, 1, 1, 1, 1)
POOLED = (2,)  # the convolutions that a maximum pooling follows


class BrainNet3D(BrainNet):
    """conv1 … conv5 with ReLUs, pooling and a linear classifier; `norm` adds the batch norms of training.

    With 64 × 80 × 64 voxels the last maps are 16 × 20 × 16. Class activation maps exist: the mean of each map is all
    that the classifier sees.
    """

    def __init__(self, classes: int = 4, *, norm: bool = False) -> None:
        super().__init__(3, CHANNELS, KERNELS, STRIDES, POOLED, classes, norm)


@cache
def domain() -> Tensor:
    """16 volumes (16, 1, 64, 80, 64), always the same ones: what the network was made for."""
    return generate(16, seed=0, split="train", spatial=SPATIAL, spacing=SPACING).images
