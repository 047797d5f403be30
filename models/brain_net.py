"""BrainNet: convolutions, global average pooling and one linear layer, the same for slices and for volumes."""

from collections import OrderedDict
from collections.abc import Collection, Sequence

from torch import Tensor, nn

# By the number of spatial axes: convolution, batch norm, maximum pooling, average pooling to one position.
PARTS = {
    2: (nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d),
    3: (nn.Conv3d, nn.BatchNorm3d, nn.MaxPool3d, nn.AdaptiveAvgPool3d),
}


class BrainNet(nn.Module):
    """conv1, conv2, … with ReLUs, pooling and a linear classifier; `norm` adds the batch norms of training."""

    def __init__(
        self,
        axes: int,
        channels: Sequence[int],
        kernels: Sequence[int],
        strides: Sequence[int],
        pooled: Collection[int],
        classes: int,
        norm: bool,
    ) -> None:
        super().__init__()
        convolution, batch_norm, max_pool, average = PARTS[axes]
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        before = 1
        for number, (after, kernel, stride) in enumerate(
            zip(channels, kernels, strides, strict=True), start=1
        ):
            parts[f"conv{number}"] = convolution(before, after, kernel, stride, kernel // 2, bias=not norm)
            if norm:
                parts[f"norm{number}"] = batch_norm(after)
            parts[f"relu{number}"] = nn.ReLU()
            if number in pooled:
                parts[f"pool{number}"] = max_pool(2)
            before = after
        parts["gap"] = average(1)
        parts["flatten"] = nn.Flatten()
        parts["classifier"] = nn.Linear(before, classes)
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (n, classes) of standardised images (n, 1, *spatial)."""
        for part in self.children():
            images = part(images)
        return images
