"""Objectives: what an ascent maximises, one number a batch row; they compose with +, - and scalar *."""

import enum
from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from vislib.errors import AscentError
from vislib.words import counted


class ImageKey(enum.Enum):
    """The key under which an objective finds the images themselves: no layer's name, whatever layers are called."""

    IMAGE = enum.auto()


IMAGE = ImageKey.IMAGE
Captures = Mapping[str | ImageKey, Tensor]


class Objective:
    """A function of the captured layers and of the image, one value a row; rows do not see each other.

    `layers` are the names that it reads. Called with the captures of batch rows `start` to `stop` alone, it gives
    those rows' values: an ascent may evaluate its batch in parts. `position` is set for a lone neuron objective,
    which may then climb on a crop as large as what it sees.
    """

    def __init__(
        self,
        value: Callable[[Captures, slice], Float[Tensor, " n"]],
        layers: frozenset[str],
        *,
        neuron: "tuple[str, tuple[int, ...], tuple[int, ...] | None] | None" = None,
    ) -> None:
        self._value = value
        self.layers = layers
        self.neuron = neuron  # (layer, units, position) of a lone neuron objective

    def __call__(self, captures: Captures, rows: slice = slice(None)) -> Float[Tensor, " n"]:
        """The objective of each row of `captures`; `rows` says which rows of the whole batch these are."""
        return self._value(captures, rows)

    def __add__(self, other: "Objective") -> "Objective":
        if not isinstance(other, Objective):
            return NotImplemented
        return Objective(
            lambda captures, rows: self(captures, rows) + other(captures, rows), self.layers | other.layers
        )

    def __sub__(self, other: "Objective") -> "Objective":
        if not isinstance(other, Objective):
            return NotImplemented
        return self + -1.0 * other

    def __mul__(self, weight: float) -> "Objective":
        if not isinstance(weight, float | int):
            return NotImplemented
        return Objective(lambda captures, rows: self(captures, rows) * weight, self.layers)

    __rmul__ = __mul__

    def __neg__(self) -> "Objective":
        return -1.0 * self


def channel(layer: str, units: Sequence[int]) -> Objective:
    """The mean over the map of unit `units[row]`, or its value in a dense layer or the logits.

    A convolution is read before its ReLU (after its batch norm), the logits before softmax: after the ReLU a third
    of the units have no gradient at the start.
    """
    chosen = tuple(units)

    def value(captures: Captures, rows: slice) -> Tensor:
        picked = _pick(captures[layer], chosen[rows])
        return picked.flatten(1).mean(1) if picked.ndim > 1 else picked

    return Objective(value, frozenset({layer}))


def neuron(layer: str, units: Sequence[int], position: Sequence[int] | None = None) -> Objective:
    """The value of unit `units[row]` at one `position` of its map (default: the centre), taken as in `channel`.

    Raises AscentError when the map has no such position.
    """
    chosen = tuple(units)
    where = None if position is None else tuple(position)

    def value(captures: Captures, rows: slice) -> Tensor:
        picked = _pick(captures[layer], chosen[rows])
        place: tuple[slice | int, ...] = resolve_position(layer, tuple(picked.shape[1:]), where)
        return picked[(slice(None), *place)]

    return Objective(value, frozenset({layer}), neuron=(layer, chosen, where))


def l2(mean: Sequence[float] = (0.0,)) -> Objective:
    """The mean squared distance of the image from `mean` (one number, or one a channel), in [0, 1] units.

    Simonyan et al. 2013, arXiv 1312.6034, subtract `lambda ||I||^2`; a mean instead of a sum makes the weight
    independent of the image's size.
    """
    middle = tuple(float(value) for value in mean)

    def value(captures: Captures, rows: slice) -> Tensor:
        image = captures[IMAGE]
        offset = torch.tensor(middle, dtype=image.dtype, device=image.device).view(
            1, -1, *[1] * (image.ndim - 2)
        )
        return (image - offset).square().flatten(1).mean(1)

    return Objective(value, frozenset())


def total_variation() -> Objective:
    """The mean absolute difference of neighbouring pixels, summed over the axes, in [0, 1] units (anisotropic)."""

    def value(captures: Captures, rows: slice) -> Tensor:
        image = captures[IMAGE]
        parts = [
            image.diff(dim=axis).abs().flatten(1).mean(1)
            for axis in range(2, image.ndim)
            if image.shape[axis] > 1
        ]
        return sum(parts, start=torch.zeros(len(image), dtype=image.dtype, device=image.device))

    return Objective(value, frozenset())


def weighted(objective: Objective, weights: Sequence[float]) -> Objective:
    """`objective` times one weight a row of the batch."""
    each = tuple(float(weight) for weight in weights)

    def value(captures: Captures, rows: slice) -> Tensor:
        values = objective(captures, rows)
        return values * torch.tensor(each[rows], dtype=values.dtype, device=values.device)

    return Objective(value, objective.layers)


def resolve_position(
    layer: str, spatial: tuple[int, ...], position: tuple[int, ...] | None
) -> tuple[int, ...]:
    """`position`, or the centre where it is None; raises AscentError when a map of this size does not have it."""
    if position is None:
        return tuple(size // 2 for size in spatial)
    if len(position) != len(spatial) or any(
        not 0 <= p < size for p, size in zip(position, spatial, strict=True)
    ):
        allowed = " x ".join(f"0-{size - 1}" for size in spatial) or "none (the layer has no map)"
        raise AscentError(f"Layer {layer!r} has no position {position}; allowed is {allowed}.")
    return position


def _pick(output: Float[Tensor, "n units *spatial"], units: tuple[int, ...]) -> Float[Tensor, "n *spatial"]:
    if len(units) != len(output):
        raise AscentError(
            f"The objective names {counted(len(units), 'unit')} for {counted(len(output), 'image')}; give one unit for "
            "each image."
        )
    rows = torch.arange(len(units), device=output.device)
    # The objective is summed in float32 also where the network ran in bfloat16.
    return output[rows, torch.tensor(units, device=output.device)].float()
