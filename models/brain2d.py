"""BrainNet2D: six convolutions, global average pooling and one linear layer, for slices of brains."""

from models.brain_net import BrainNet

CHANNELS = (16, 32, 64, 64, 96, 128)
KERNELS = (9, 3, 3, 3, 3, 3)  # the first is large enough to be looked at
STRIDES = (2, 1, 1, 1, 1, 1)
POOLED = (1, 3)  # the convolutions that a maximum pooling follows


class BrainNet2D(BrainNet):
    """conv1 … conv6 with ReLUs, pooling and a linear classifier; `norm` adds the batch norms of training.

    With 128 × 128 pixels the last maps are 16 × 16. Class activation maps exist: the mean of each map is all that
    the classifier sees.
    """

    def __init__(self, classes: int = 4, *, norm: bool = False) -> None:
        super().__init__(2, CHANNELS, KERNELS, STRIDES, POOLED, classes, norm)
