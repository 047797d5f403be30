"""Receptive fields by a gradient probe, and the crop of the image that one neuron needs."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vislib.errors import NetworkError
from vislib.network import Layer, Network, ReceptiveField
from vislib.relu import PASS, ReluRule
from vislib.whole import wholes

__all__ = ["Crop", "ReceptiveField", "crop_for", "receptive_field", "sees_little"]

# Random inputs whose supports are united: a gradient may happen to be zero at one of them.
PROBES = 2
_MAX_POOLS = {  # to their number of axes
    F.max_pool1d: 1,
    F.max_pool2d: 2,
    F.max_pool3d: 3,
    torch.max_pool1d: 1,
    torch.max_pool2d: 2,
    torch.max_pool3d: 3,
}
_MAX_POOLS_WITH_INDICES = {
    F.max_pool1d_with_indices: 1,
    F.max_pool2d_with_indices: 2,
    F.max_pool3d_with_indices: 3,
}
_ADAPTIVE_MAX_POOLS = {
    F.adaptive_max_pool1d: F.adaptive_avg_pool1d,
    F.adaptive_max_pool2d: F.adaptive_avg_pool2d,
    F.adaptive_max_pool3d: F.adaptive_avg_pool3d,
}
_FLAT = {F.hardswish, F.hardsigmoid}
_CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}

Position = tuple[int, ...]
Span = tuple[tuple[int, int], ...]  # first pixel and the one after the last, for each axis
# Of a network with another head the module is the same.
_fields: WeakKeyDictionary[nn.Module, dict[tuple[str, Position], ReceptiveField]] = WeakKeyDictionary()
_little: WeakKeyDictionary[nn.Module, dict[tuple[str, int], bool]] = WeakKeyDictionary()
_crops: WeakKeyDictionary[Network, dict[tuple[str, Position], "Crop"]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Crop:
    """A part of the image (`image[..., *slices]`), and where in the layer's output on it the neuron is."""

    slices: tuple[slice, ...]
    position: tuple[int, ...]


class _Support(ReluRule):
    """Makes gradients show what outputs depend on: ReLUs and max pools pass to all their inputs."""

    def __init__(self) -> None:
        super().__init__(PASS)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _FLAT:
            values = args[0]
            output = _through(func(values), values)
            return values.copy_(output) if kwargs.get("inplace") or args[1:] == (True,) else output
        if func in _ADAPTIVE_MAX_POOLS:
            return _through(func(*args, **kwargs), _ADAPTIVE_MAX_POOLS[func](*args[:2]))
        if func in _MAX_POOLS:
            result = func(*args, **kwargs)
            return _through(result, _window_sum(result, _MAX_POOLS[func], *args, **kwargs))
        if func in _MAX_POOLS_WITH_INDICES:
            result, indices = func(*args, **kwargs)
            return _through(
                result, _window_sum(result, _MAX_POOLS_WITH_INDICES[func], *args, **kwargs)
            ), indices
        return super().__torch_function__(func, types, args, kwargs)


def _through(values: Tensor, path: Tensor) -> Tensor:
    """These values with the gradient of `path`."""
    return values.detach() + (path - path.detach())


def _window_sum(
    pooled: Tensor,
    axes: int,
    input: Tensor,  # noqa: A002 (torch's own names: callers may use them as keywords)
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    """Sum over each window of a max pool, whose gradient reaches the whole window, not its maximum alone."""
    kernel, pad, step = (_each(value, axes) for value in (kernel_size, padding, dilation))
    move = kernel if stride is None or stride == [] else _each(stride, axes)
    sizes = pooled.shape[-axes:]
    need = [(o - 1) * m + d * (k - 1) + 1 for o, m, d, k in zip(sizes, move, step, kernel, strict=True)]
    after = [max(0, n - s - p) for n, s, p in zip(need, input.shape[-axes:], pad, strict=True)]
    around = [amount for p, a in zip(reversed(pad), reversed(after), strict=True) for amount in (p, a)]
    padded = F.pad(input.reshape(-1, 1, *input.shape[-axes:]), around)
    ones = torch.ones(1, 1, *kernel, dtype=input.dtype, device=input.device)
    summed = _CONVOLUTIONS[axes](padded, ones, stride=move, dilation=step)
    return summed[:, :, *(slice(size) for size in sizes)].reshape(pooled.shape)


def _each(value: Any, axes: int) -> tuple[int, ...]:
    if isinstance(value, int):
        return (value,) * axes
    return tuple(value) * axes if len(value) == 1 else tuple(value)


def receptive_field(network: Network, layer: str, position: Sequence[int] | None = None) -> ReceptiveField:
    """What a unit of `layer` at `position` (default: the centre) sees, in input pixels.

    Found by a gradient probe: the extent of the nonzero gradients of all channels, so it is right for any
    graph (Luo et al. 2016, arXiv 1701.04128, call it the theoretical receptive field). Only the part inside
    the image is given, for images of `input_shape`; where it touches the border it may go on outside, and
    `clipped` says so. The stride is that at the layer's centre; where it cannot be seen (the field covers the
    whole axis), it is input size / layer size. Raises NetworkError for an unknown layer or a position outside
    it.
    """
    known = network.layer(layer)
    place = _checked_position(network, known, position)
    known_fields = _fields.setdefault(network.module, {})
    if (known.name, place) not in known_fields:
        known_fields[known.name, place] = _measure(network, known, place)
    return known_fields[known.name, place]


def sees_little(network: Network, layer: str, limit: int) -> bool:
    """Whether a unit of `layer` has a map and sees at most `limit` pixels on every axis.

    Quicker than `receptive_field`, because a small image tells. Raises NetworkError for an unknown layer.
    """
    known = network.layer(layer)
    known_answers = _little.setdefault(network.module, {})
    if (known.name, limit) not in known_answers:
        known_answers[known.name, limit] = _sees_little(network, known, limit)
    return known_answers[known.name, limit]


def _sees_little(network: Network, layer: Layer, limit: int) -> bool:
    own = network.input_shape[1:]
    # A stride is hardly ever longer than what its layer sees.
    if limit < 1 or not layer.spatial or any(n > limit * s for n, s in zip(own, layer.spatial, strict=True)):
        return False
    for sizes in (tuple(min(size, 3 * limit) for size in own), own):
        try:
            with _exact_convolutions(network):
                span = _prober(network, layer, sizes)(None)
        except (NetworkError, RuntimeError):  # too small for the module, or not to be differentiated
            continue
        return all(stop - start <= limit for start, stop in span)
    return False


def _centre(layer: Layer) -> Position:
    return tuple(size // 2 for size in layer.spatial)


def _checked_position(network: Network, layer: Layer, position: Sequence[int] | None) -> Position:
    if position is None:
        return _centre(layer)
    place = wholes(position)
    inside = place is not None and len(place) == len(layer.spatial)
    if place is None or not inside or not all(0 <= p < s for p, s in zip(place, layer.spatial, strict=True)):
        given = position if place is None else place
        raise NetworkError(
            f"{network.name}'s layer {layer.name!r} has no position {given!r}; its positions start "
            f"at 0 on each axis and stay below {layer.spatial}."
        )
    return place


def _measure(network: Network, layer: Layer, place: Position) -> ReceptiveField:
    sizes = network.input_shape[1:]
    if not layer.spatial:
        return ReceptiveField(layer.name, place, (0,) * len(sizes), sizes, sizes, True)
    with _exact_convolutions(network):
        span_at = _prober(network, layer)
        span = span_at(place)
        stride = tuple(_stride(span_at, layer, axis, size) for axis, size in enumerate(sizes))
    return ReceptiveField(
        layer=layer.name,
        position=place,
        start=tuple(start for start, _ in span),
        size=tuple(stop - start for start, stop in span),
        stride=stride,
        clipped=any(start == 0 or stop == size for (start, stop), size in zip(span, sizes, strict=True)),
    )


def _stride(span_at: Callable[[Position | None], Span], layer: Layer, axis: int, size: int) -> int:
    """Seen at the layer's centre, where padding between layers shortens fields least."""
    centre = _centre(layer)
    beside = [centre[axis] + by for by in (1, -1) if 0 <= centre[axis] + by < layer.spatial[axis]]
    for other in beside:
        moved = (*centre[:axis], other, *centre[axis + 1 :])
        if distance := _distance(span_at(centre)[axis], span_at(moved)[axis], size):
            return distance
    return round(size / layer.spatial[axis])


def _distance(one: tuple[int, int], other: tuple[int, int], size: int) -> int:
    """Pixels between two fields on one axis, by an edge that the image cuts in neither; else 0."""
    if one[0] > 0 and other[0] > 0:
        return abs(one[0] - other[0])
    return abs(one[1] - other[1]) if one[1] < size and other[1] < size else 0


def _prober(
    network: Network, layer: Layer, sizes: tuple[int, ...] | None = None
) -> Callable[[Position | None], Span]:
    """One forward pass for each random input; the returned function goes back from one position (None: the centre)."""
    sizes = tuple(network.input_shape[1:]) if sizes is None else sizes
    generator = torch.Generator().manual_seed(0)
    runs: list[tuple[Tensor, Tensor, Tensor]] = []
    for _ in range(PROBES):
        images = torch.rand(1, network.input_shape[0], *sizes, generator=generator)
        images = images.to(network.device, network.dtype)
        mix = torch.randn(layer.channels, generator=generator).to(network.device, network.dtype)
        with torch.enable_grad(), _Support():
            output = network.activations(images.requires_grad_(), (layer.name,))[layer.name]
        runs.append((images, output, mix))

    @functools.cache
    def span_at(place: Position | None) -> Span:
        seen = torch.zeros(sizes, dtype=torch.bool, device=network.device)
        for images, output, mix in runs:
            place = tuple(size // 2 for size in output.shape[2:]) if place is None else place
            # A random mixture of the channels depends on a pixel wherever one of them does.
            mixed = (_neurons(output, place) * mix).sum()
            (grad,) = torch.autograd.grad(mixed, images, retain_graph=True)
            seen |= (grad[0] != 0).any(0)
        if not seen.any():
            return tuple((0, size) for size in seen.shape)
        where = seen.nonzero()
        first, last = where.amin(0).tolist(), where.amax(0).tolist()
        return tuple((start, stop + 1) for start, stop in zip(first, last, strict=True))

    return span_at


def _neurons(output: Tensor, place: Position) -> Tensor:
    """All channels at one position of the first image."""
    for index in place:
        output = output.select(2, index)
    return output[0]


@contextlib.contextmanager
def _exact_convolutions(network: Network) -> Iterator[None]:
    """Without cuDNN, whose Winograd and FFT algorithms leave rounding noise where a gradient is zero."""
    if network.device.type != "cuda":
        yield
        return
    with torch.backends.cudnn.flags(enabled=False):
        yield


def crop_for(network: Network, layer: str, position: Sequence[int] | None = None) -> Crop:
    """The part of the image that the neuron of `layer` at `position` (default: the centre) needs.

    For images of `input_shape`. The neuron's value on the crop alone equals its value on the whole image,
    because the crop holds its receptive field and starts at a multiple of the layer's stride. That is
    verified on a random image, once for each layer and position; when it does not hold (global pooling,
    squeeze and excitation) the crop is the whole image. Raises NetworkError for an unknown layer or a
    position outside it.
    """
    known = network.layer(layer)
    place = _checked_position(network, known, position)
    known_crops = _crops.setdefault(network, {})
    if (known.name, place) not in known_crops:
        crop = _aligned(receptive_field(network, known.name, place), network.input_shape[1:])
        whole = Crop(tuple(slice(0, size) for size in network.input_shape[1:]), place)
        known_crops[known.name, place] = crop if _same_value(network, known, place, crop) else whole
    return known_crops[known.name, place]


def _aligned(field: ReceptiveField, sizes: tuple[int, ...]) -> Crop:
    if not field.position:
        return Crop(tuple(slice(0, size) for size in sizes), ())
    starts = [start // stride * stride for start, stride in zip(field.start, field.stride, strict=True)]
    stops = [start + size for start, size in zip(field.start, field.size, strict=True)]
    steps = zip(field.position, starts, field.stride, strict=True)
    return Crop(
        tuple(slice(start, stop) for start, stop in zip(starts, stops, strict=True)),
        tuple(place - start // stride for place, start, stride in steps),
    )


@torch.no_grad()
def _same_value(network: Network, layer: Layer, place: Position, crop: Crop) -> bool:
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(1, *network.input_shape, generator=generator)
    whole = network.activations(images, (layer.name,))[layer.name]
    try:
        part = network.activations(images[:, :, *crop.slices], (layer.name,))[layer.name]
    except NetworkError:  # too small for the module
        return False
    if not all(0 <= p < s for p, s in zip(crop.position, part.shape[2:], strict=True)):
        return False
    difference = (_neurons(whole, place) - _neurons(part, crop.position)).abs().max()
    # The algorithm of a convolution depends on its size: equal means up to rounding.
    return bool(difference <= 1000 * torch.finfo(whole.dtype).eps * whole.abs().max())
