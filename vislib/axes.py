"""Axes: where the channels of a map have gone to while a network permutes, adds and normalises it."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

Axes = tuple[int, ...]  # for each axis of a tensor, which one of (images, channels, *spatial) it is

_TURNING = {"permute", "transpose", "movedim", "moveaxis", "swapaxes", "swapdims"}
# What gives an axis another meaning, unless the shape stays as it was.
_REGROUPING = {
    "reshape",
    "view",
    "flatten",
    "unflatten",
    "squeeze",
    "unsqueeze",
    "matmul",
    "__matmul__",
    "bmm",
    "einsum",
}


def axes_of(tensor: Tensor) -> Axes | None:
    """The axes of a tensor that stems from a convolution's maps; None where they are not known."""
    return tensor.__dict__.get("vislib_axes")


def mark_maps(tensor: Tensor) -> None:
    """A convolution's output: channels after the images."""
    tensor.__dict__["vislib_axes"] = tuple(range(tensor.ndim))


def follow(
    func: Callable[..., Any], args: Any, kwargs: Any, given: Iterable[Tensor], made: Iterable[Tensor]
) -> None:
    """Mark what a function made of the tensors that it was given."""
    source = next((tensor for tensor in given if axes_of(tensor) is not None), None)
    if source is None:
        return
    axes = axes_of(source)
    assert axes is not None
    name = getattr(func, "__name__", "")
    if name in _TURNING and args and args[0] is source:
        # The same turn of a tensor whose sizes name its axes.
        sizes = torch.empty([axis + 1 for axis in axes], device="meta")
        axes = tuple(size - 1 for size in func(sizes, *args[1:], **kwargs).shape)
    for tensor in made:
        same = tensor.shape == source.shape if name in _REGROUPING else tensor.ndim == len(axes)
        tensor.__dict__["vislib_axes"] = axes if same else None


def channels_first(tensor: Tensor) -> bool:
    """Whether a map's channels are where a convolution puts them, as far as that is known."""
    axes = axes_of(tensor)
    return axes is None or (len(axes) > 1 and axes[1] == 1)
