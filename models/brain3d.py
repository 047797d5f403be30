"""BrainNet3D: five convolutions, global average pooling and one linear layer, for whole volumes of brains."""

from collections import OrderedDict
from functools import cache

from torch import Tensor, nn

from models.brain import generate

SPATIAL, SPACING = (64, 80, 64), 2.5  # voxels (x, y, z in RAS order), mm a voxel: 160 x 200 x 160 mm
CHANNELS = (8, 16, 32, 64, 64)
KERNELS = (5, 3, 3, 3, 3)
STRIDES = (2, 1, 1, 1, 1)
POOLED = (2,)  # the convolutions that a maximum pooling follows


class BrainNet3D(nn.Module):
    """conv1 … conv5 with ReLUs, pooling and a linear classifier; `norm` adds the batch norms of training.

    With 64 × 80 × 64 voxels the last maps are 16 × 20 × 16. Class activation maps exist: the mean of each map is all
    that the classifier sees.
    """

    def __init__(self, classes: int = 4, *, norm: bool = False) -> None:
        super().__init__()
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        before = 1
        for number, (channels, kernel, stride) in enumerate(
            zip(CHANNELS, KERNELS, STRIDES, strict=True), start=1
        ):
            parts[f"conv{number}"] = nn.Conv3d(before, channels, kernel, stride, kernel // 2, bias=not norm)
            if norm:
                parts[f"norm{number}"] = nn.BatchNorm3d(channels)
            parts[f"relu{number}"] = nn.ReLU()
            if number in POOLED:
                parts[f"pool{number}"] = nn.MaxPool3d(2)
            before = channels
        parts["gap"] = nn.AdaptiveAvgPool3d(1)
        parts["flatten"] = nn.Flatten()
        parts["classifier"] = nn.Linear(before, classes)
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (n, classes) of standardised volumes (n, 1, x, y, z)."""
        for part in self.children():
            images = part(images)
        return images


@cache
def domain() -> Tensor:
    """16 volumes (16, 1, 64, 80, 64), always the same ones: what the network was made for."""
    return generate(16, seed=0, split="train", spatial=SPATIAL, spacing=SPACING).images
