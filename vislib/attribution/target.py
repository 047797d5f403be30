"""Target: what an attribution answers for, a class or any unit of any layer, or one unit rather than another."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, SupportsIndex

import torch
from jaxtyping import Float
from torch import Tensor

from vislib.errors import AttributionError
from vislib.network import Network
from vislib.probe import LOGITS
from vislib.whole import each, whole, wholes
from vislib.words import counted

Units = int | tuple[int, ...]


@dataclass(frozen=True)
class Target:
    """The score that is explained: `unit` of `layer` (default: a class score before softmax).

    Several units are one for each image. `against` is a second unit whose score is taken off: why A rather
    than B. A unit with positions counts with its mean over them, or with its value at `position` alone. `opposite`
    explains what lowers the score: why not A.
    """

    unit: Units
    layer: str = LOGITS
    against: Units | None = None
    position: tuple[int, ...] | None = None
    opposite: bool = False

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
        if self.position is not None and len(wholes(self.position) or ()) != len(layer.spatial):
            raise AttributionError(
                f"{layer.name} was given position {self.position!r}; it has "
                f"{counted(len(layer.spatial), 'spatial axis')}, so give one whole number an axis or none."
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
        return -score if self.opposite else score

    def words(self, network: Network) -> str:
        """What is explained, for a caption: "tumour-like rather than healthy", "not ill", "unit 3 of conv5"."""

        def name(units: Units) -> str:
            unit = units if isinstance(units, int) else units[0]
            return unit_name(network, unit) if self.layer == LOGITS else f"unit {unit} of {self.layer}"

        said = name(self.unit)
        if self.against is not None:
            said = f"{said} rather than {name(self.against)}"
        if self.layer == LOGITS and not network.head.has_probability:
            return f"what {'lowers' if self.opposite else 'raises'} {said}"
        return f"not {said}" if self.opposite else said

    def facts(self, network: Network) -> tuple[str, ...]:
        """Sentences on how the score comes out of the network's output, where that is not plain."""
        if self.layer != LOGITS:
            return ()
        spatial = network.layers[LOGITS].spatial
        averaged = ""
        if math.prod(spatial) > 1 and self.position is None:
            over = f"the mean over the {' x '.join(map(str, spatial))} positions of"
            averaged = f"The score is {over} the output."
            if network.output.normalised:
                averaged = (
                    f"The score is {over} what the network's probabilities are made from; percentages are the means of "
                    "these probabilities."
                )
        return tuple(fact for fact in (network.head.of_scores, averaged) if fact)

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


class Outcome(NamedTuple):
    """Something that a network may say to an image, in words, and the target that explains it."""

    words: str
    target: Target


def unit_name(network: Network, unit: int) -> str:
    """What a unit of the network's output stands for: its label, or words such as "class 3", "the value"."""
    if network.labels:
        return network.labels[unit]
    if network.head.exclusive:
        return f"class {unit}"
    return f"output {unit}" if network.layers[LOGITS].channels > 1 else "the output"


def outcomes(network: Network) -> tuple[Outcome, ...]:
    """All that the network may say, as its head means it.

    A class each where they share one probability, a finding each where they do not; where there is one unit, also its
    opposite ("ill", "not ill"); of values what raises and what lowers each.
    """
    units = range(network.layers[LOGITS].channels)
    both = len(units) == 1 or not network.head.has_probability
    targets = [
        Target(unit, opposite=opposite)
        for unit in units
        for opposite in ((False, True) if both else (False,))
    ]
    return tuple(Outcome(target.words(network), target) for target in targets)


def as_target(given: Target | SupportsIndex) -> Target:
    """A class's number, also numpy's or a tensor's, as a Target; raises AttributionError for what is neither."""
    if isinstance(given, Target):
        return given
    if (unit := whole(given)) is None:
        raise AttributionError(f"A target cannot be {given!r}; give a class's number or a Target.")
    return Target(unit)


def _one_each(network: Network, layer: str, units: Units, n: int) -> tuple[int, ...]:
    several = each(units, n)
    if several is None:
        raise AttributionError(
            f"A unit of {layer} cannot be {units!r}; give its number, or a list with one for each image."
        )
    if len(several) != n:
        raise AttributionError(
            f"{counted(len(several), 'unit')} of {layer} {'was' if len(several) == 1 else 'were'} given for "
            f"{counted(n, 'image')}; give one unit for all or one for each."
        )
    return network.check_units(layer, several)
