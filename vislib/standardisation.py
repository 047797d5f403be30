"""Standardisation: a network's own first step, from [0, 1] RGB images to the values that it was trained on."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vislib.errors import NetworkError

ORDERS = ("RGB", "BGR")
UNIT = (0.0, 1.0)


@dataclass(frozen=True)
class Standardisation:
    """`x' = low + (high - low) x` of the channels in the network's order, then `(x' - mean) / std`.

    `mean` and `std` are in the network's own units and channel order, one number or one a channel; `range` is
    (low, high), what an image's 0 and 1 become; `channels` is one of ORDERS.
    """

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    channels: str = "RGB"
    range: tuple[float, float] = UNIT

    @classmethod
    def checked(
        cls,
        name: str,
        count: int,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        channels: str,
        range: Sequence[float],  # noqa: A002 - the key of a card
    ) -> "Standardisation":
        """The standardisation of the network `name` over `count` channels; raises NetworkError."""
        for what, values in (("mean", mean), ("std", std)):
            if len(values) not in (1, count) or not all(math.isfinite(value) for value in values):
                raise NetworkError(
                    f"{name} was given {what} {tuple(values)}; it must be one finite number, or "
                    f"one for each channel (of {count})."
                )
        if any(s <= 0 for s in std):
            raise NetworkError(f"{name} was given std {tuple(std)}; every number of it must be above 0.")
        if channels not in ORDERS:
            raise NetworkError(f"{name} was given channels {channels!r}; choose one of {', '.join(ORDERS)}.")
        if channels != "RGB" and count != 3:
            raise NetworkError(
                f"{name} was given channels {channels!r}, but its images have {count}; only three colours have an "
                "order: leave it out."
            )
        low, high = range if len(range) == 2 else (0.0, 0.0)
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise NetworkError(
                f"{name} was given range {tuple(range)}; it must be two finite numbers, what black and white are to "
                "the network, the smaller one first, such as (0, 255)."
            )
        return cls(
            tuple(float(m) for m in mean),
            tuple(float(s) for s in std),
            channels,
            (float(low), float(high)),
        )

    @cached_property
    def image_mean(self) -> tuple[float, ...]:
        """The colour that becomes 0, in the images' own units and order: one number or one a channel."""
        low, high = self.range
        return self._in_order(tuple((m - low) / (high - low) for m in self.mean))

    @cached_property
    def image_std(self) -> tuple[float, ...]:
        """What of the images' own units becomes 1, in their own order: one number or one a channel."""
        low, high = self.range
        return self._in_order(tuple(s / (high - low) for s in self.std))

    @property
    def usual(self) -> bool:
        """Whether channels and range are the images' own."""
        return self.channels == "RGB" and self.range == UNIT

    @property
    def plain(self) -> bool:
        """Whether images go in as they are."""
        return self.usual and all(m == 0 for m in self.mean) and all(s == 1 for s in self.std)

    @property
    def identity(self) -> tuple[Any, ...]:
        """What a network's fingerprint takes of it; of the usual channels and range as before these could be said."""
        return (self.mean, self.std) if self.usual else (self.mean, self.std, self.channels, self.range)

    @property
    def arguments(self) -> dict[str, Any]:
        """The same as keyword arguments of `Network.from_module`."""
        return {"mean": self.mean, "std": self.std, "channels": self.channels, "range": self.range}

    def __call__(self, images: Float[Tensor, "n c *spatial"]) -> Float[Tensor, "n c *spatial"]:
        """The images as the module takes them: a new tensor, since a module may write into what it is given."""
        if self.plain:
            return images.clone()
        axes = (1, -1, *[1] * (images.ndim - 2))
        mean, std = (
            torch.tensor(v, dtype=images.dtype, device=images.device).view(axes) for v in self._folded
        )
        return (self.reordered(images) - mean) / std

    def reordered(self, images: Float[Tensor, "n c *any"]) -> Float[Tensor, "n c *any"]:
        """Colours from the images' order to the network's, or back: both are one exchange of red and blue."""
        if self.channels == "RGB":
            return images
        # Slices, since incremental inference knows how these act on a window.
        return torch.cat([images[:, 2:3], images[:, 1:2], images[:, 0:1]], dim=1)

    @cached_property
    def _folded(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and std in the network's order and the images' units: one step less than the definition's."""
        return self._in_order(self.image_mean), self._in_order(self.image_std)

    def _in_order(self, values: tuple[float, ...]) -> tuple[float, ...]:
        return values[::-1] if self.channels == "BGR" else values
