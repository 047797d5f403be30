"""Target: what an attribution answers for, a class or any unit of any layer, or one unit rather than another."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vislib.errors import AttributionError
from vislib.network import Network
from vislib.probe import LOGITS

Units = int | tuple[int, ...]


@dataclass(frozen=True)
class Target:
    """The score that is explained: `unit` of `layer` (default: a class score before softmax).

    Several units are one for each image. `against` is a second unit whose score is taken off: why A rather
    than B. A unit with positions counts with its mean over them, or with its value at `position` alone.
    """

    unit: Units
    layer: str = LOGITS
    against: Units | None = None
    position: tuple[int, ...] | None = None

    def checked(self, network: Network, n: int) -> "Target":
        """This target with the layer's own name and one unit for each of `n` images.

        Raises NetworkError for a layer or unit that is not there, AttributionError for units that are not as
        many as the images, a position outside the layer, and a unit that is set against itself.
        """
        layer = network.layer(self.layer)
        unit = _one_each(network, layer.name, self.unit, n)
        against = None if self.against is None else _one_each(network, layer.name, self.against, n)
        if against is not None and any(a == b for a, b in zip(unit, against, strict=True)):
            raise AttributionError(
                f"A unit of {layer.name} was set against itself, which explains nothing; choose another one."
            )
        if self.position is not None and len(self.position) != len(layer.spatial):
            raise AttributionError(
                f"{layer.name} was given position {self.position}; it has {len(layer.spatial)} spatial axes, "
                "so give one index an axis or none."
            )
        return replace(self, layer=layer.name, unit=unit, against=against)

    def of(
        self, output: Float[Tensor, "m channels *spatial"], rows: Sequence[int] | None = None
    ) -> Float[Tensor, "m"]:
        """The score of every row of the layer's output; `rows` says which image each row belongs to."""
        if self.position is not None:
            place: tuple[Any, ...] = (..., *self._place(tuple(output.shape[2:])))
            values = output[place]
        else:
            values = output.flatten(2).mean(2) if output.ndim > 2 else output
        score = values.gather(1, self._column(self.unit, rows, values))[:, 0]
        if self.against is not None:
            score = score - values.gather(1, self._column(self.against, rows, values))[:, 0]
        return score

    def words(self, network: Network) -> str:
        """What is explained, for a caption: "tumour-like rather than healthy", "unit 3 of conv5"."""

        def name(unit: Units) -> str:
            first = unit if isinstance(unit, int) else unit[0]
            if self.layer == LOGITS and network.labels:
                return network.labels[first]
            return f"class {first}" if self.layer == LOGITS else f"unit {first} of {self.layer}"

        said = name(self.unit)
        return said if self.against is None else f"{said} rather than {name(self.against)}"

    def _place(self, spatial: tuple[int, ...]) -> tuple[int, ...]:
        assert self.position is not None
        if not all(0 <= place < size for place, size in zip(self.position, spatial, strict=True)):
            raise AttributionError(
                f"{self.layer} was given position {self.position}, but it has {spatial} positions for this image."
            )
        return self.position

    @staticmethod
    def _column(units: Units, rows: Sequence[int] | None, values: Tensor) -> Tensor:
        if isinstance(units, int):
            chosen = [units] * len(values)
        else:
            chosen = [units[row] for row in (range(len(values)) if rows is None else rows)]
        return torch.tensor(chosen, device=values.device)[:, None]


def _one_each(network: Network, layer: str, units: Units, n: int) -> tuple[int, ...]:
    several = (units,) * n if isinstance(units, int) else tuple(units)
    if len(several) != n:
        raise AttributionError(
            f"{len(several)} units of {layer} were given for {n} images; give one unit for all or one for each."
        )
    return network.check_units(layer, several)
