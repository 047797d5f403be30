"""BrainNet2D: six convolutions, global average pooling and one linear layer, for slices of brains."""

from collections import OrderedDict

from torch import Tensor, nn

CHANNELS = (16, 32, 64, 64, 96, 128)
KERNELS = (9, 3, 3, 3, 3, 3)  # the first is large enough to be looked at
STRIDES = (2, 1, 1, 1, 1, 1)
POOLED = (1, 3)  # the convolutions that a maximum pooling follows


class BrainNet2D(nn.Module):
    """conv1 … conv6 with ReLUs, pooling and a linear classifier; `norm` adds the batch norms of training.

    With 128 × 128 pixels the last maps are 16 × 16. Class activation maps exist: the mean of each map is all that
    the classifier sees.
    """

    def __init__(self, classes: int = 4, *, norm: bool = False) -> None:
        super().__init__()
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        before = 1
        for number, (channels, kernel, stride) in enumerate(
            zip(CHANNELS, KERNELS, STRIDES, strict=True), start=1
        ):
            parts[f"conv{number}"] = nn.Conv2d(before, channels, kernel, stride, kernel // 2, bias=not norm)
            if norm:
                parts[f"norm{number}"] = nn.BatchNorm2d(channels)
            parts[f"relu{number}"] = nn.ReLU()
            if number in POOLED:
                parts[f"pool{number}"] = nn.MaxPool2d(2)
            before = channels
        parts["gap"] = nn.AdaptiveAvgPool2d(1)
        parts["flatten"] = nn.Flatten()
        parts["classifier"] = nn.Linear(before, classes)
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (n, classes) of standardised images (n, 1, h, w)."""
        for part in self.children():
            images = part(images)
        return images
