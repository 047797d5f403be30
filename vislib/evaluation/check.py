"""Check: everything that can be measured of the maps that several methods give for one image, cheap things first."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from vislib.attribution.ask import attribution_steps
from vislib.attribution.result import Attribution
from vislib.attribution.target import Target, as_target
from vislib.errors import AttributionError
from vislib.evaluation.asked import Asked, evidence
from vislib.evaluation.baselines import BASELINES
from vislib.evaluation.faithfulness import STEPS, Curve, deletion_steps, insertion_steps
from vislib.evaluation.localisation import mass_accuracy, pointing_game, rank_accuracy
from vislib.evaluation.road import Road, road_steps
from vislib.evaluation.sanity import Stage, cascade, compare, overall_similarity, weighted_layers
from vislib.evaluation.scores import is_class
from vislib.network import Network
from vislib.parameters import Value

T = TypeVar("T")

STAGES = 8  # of the cascade, at most: deep networks have several layers made random at once


@dataclass(frozen=True, eq=False)
class Check:
    """What is known by now of one map; None and () are not measured, or not yet."""

    name: str  # unique among the maps that are checked together
    asked: Asked | None  # None for a baseline
    map: Float32[np.ndarray, "*spatial"] | None = None
    pointing: float | None = None
    mass: float | None = None
    rank: float | None = None
    deletion: Curve | None = None
    insertion: Curve | None = None
    road: Road | None = None
    stages: tuple[Stage, ...] = ()
    random_mass: float | None = None  # mass accuracy with all weights random
    notes: tuple[str, ...] = ()

    @property
    def baseline(self) -> bool:
        """Whether this map knows nothing of the network."""
        return self.asked is None

    @property
    def similarity(self) -> float | None:
        """How alike the maps of the cascade of random layers are to this one; None before its end."""
        if not self.stages or self.stages[-1].number < self.stages[-1].stages:
            return None
        return float(overall_similarity(self.stages)[0])

    @property
    def probability(self) -> float | None:
        """What the network gives the class on the whole image; None where its output is a value."""
        if self.deletion is None or self.deletion.values is not None:
            return None
        return float(self.deletion.probabilities[0, 0])


@dataclass(frozen=True, eq=False)
class CheckProgress:
    """How far a check is; the last one has `done`."""

    step: int  # things measured, of `steps`
    steps: int
    share: float  # 0 to 1, also within a step
    doing: str  # what comes or goes on, in words
    checks: tuple[Check, ...]  # the methods in the order asked for, then the baselines
    object_share: float | None = None  # of the image, that the mask covers
    stages: tuple[str, ...] = ()  # layers of the cascade, from the top

    @property
    def done(self) -> bool:
        """Whether everything is measured."""
        return self.step >= self.steps


def check(
    network: Network,
    image: Float[Tensor, "1 c *spatial"],
    target: Target | int,
    methods: Sequence[tuple[str, str | None, Mapping[str, Value]]],
    mask: Bool[np.ndarray, "*spatial"] | None = None,
    *,
    seed: int = 0,
    steps: int = STEPS,
    stages: int = STAGES,
    baselines: Sequence[str] = tuple(BASELINES),
) -> Iterator[CheckProgress]:
    """Measure the maps of `methods` (name, layer, parameters) and the baselines; close the generator to cancel.

    Without a mask nothing is said of localisation, for a target that is no class nothing of removal. All is
    checked before this returns: raises AttributionError or NetworkError.
    """
    asked = [Asked(*one) for one in methods]
    if not asked:
        raise AttributionError("No method was given to be checked; choose one or more.")
    checked = as_target(target).checked(network, 1)
    for one in asked:
        attribution_steps(network, image, checked, one.name, layer=one.layer, seed=seed, **one.parameters)
    given = mask if mask is not None and mask.any() else None
    names = [*_names(asked), *baselines]
    blank = [Check(name, one) for name, one in zip(names, [*asked, *[None] * len(baselines)], strict=True)]
    return _Checker(network, image, checked, given, seed, steps, stages, blank).run()


def _names(asked: Sequence[Asked]) -> list[str]:
    """The methods' names, with the layer or a number where one is asked several times."""
    names: list[str] = []
    for one in asked:
        several = sum(other.name == one.name for other in asked) > 1
        name = f"{one.name} ({one.layer})" if several and one.layer else one.name
        twins = sum(known == name or known.startswith(f"{name}, ") for known in names)
        names.append(f"{name}, {twins + 1}" if twins else name)
    return names


Doing = Generator[CheckProgress, None, None]


class _Checker:
    """One check under way; every piece of work is a generator of progress."""

    def __init__(
        self,
        network: Network,
        image: Tensor,
        target: Target,
        mask: np.ndarray | None,
        seed: int,
        steps: int,
        stages: int,
        checks: list[Check],
    ) -> None:
        self.network, self.target, self.mask, self.seed = network, target, mask, seed
        self.image = image.to(network.device, network.dtype)
        self.curve_steps, self.checks = steps, checks
        self.methods = [number for number, one in enumerate(checks) if not one.baseline]
        self.removable = is_class(network, target)
        self.depth = min(stages, len(weighted_layers(network)))
        self.layers: list[str] = []
        self.step = 0
        self.steps = len(checks) * (4 if self.removable else 1) + self.depth * len(self.methods)

    def run(self) -> Iterator[CheckProgress]:
        """Maps and where they lie, curves, ROAD, and last the cascade."""
        for number in range(len(self.checks)):
            yield from self._map(number)
        if self.removable:
            for number in range(len(self.checks)):
                yield from self._curves(number)
            for number in range(len(self.checks)):
                yield from self._road(number)
        yield from self._cascade()

    def _progress(self, doing: str, part: float = 0.0) -> CheckProgress:
        share = None if self.mask is None else float(self.mask.mean())
        done = min(1.0, (self.step + part) / self.steps)
        return CheckProgress(
            self.step, self.steps, done, doing, tuple(self.checks), share, tuple(self.layers)
        )

    def _finished(self, doing: str) -> CheckProgress:
        self.step += 1
        return self._progress(doing)

    def _map(self, number: int) -> Doing:
        one = self.checks[number]
        doing = f"{one.name}: where it looks"
        if one.asked is None:
            values = BASELINES[one.name](self.network, self.image)
        else:
            answer = yield from self._ask(self.network, one.asked, doing)
            values, one = answer.values, replace(one, notes=answer.notes)
        one = replace(one, map=values[0])
        if self.mask is not None:
            masks = self.mask[None]
            one = replace(
                one,
                pointing=float(pointing_game(evidence(one.asked, values), masks)[0]),
                mass=float(mass_accuracy(values, masks)[0]),
                rank=float(rank_accuracy(values, masks)[0]),
            )
        self.checks[number] = one
        yield self._finished(doing)

    def _ask(self, network: Network, asked: Asked, doing: str) -> Generator[CheckProgress, None, Attribution]:
        partial = attribution_steps(
            network,
            self.image,
            self.target,
            asked.name,
            layer=asked.layer,
            seed=self.seed,
            **asked.parameters,
        )
        for answer in partial:
            if not answer.done:
                yield self._progress(doing, answer.step / answer.steps)
        return answer

    def _curves(self, number: int) -> Doing:
        one = self.checks[number]
        assert one.map is not None
        given = (self.network, self.image, self.target, evidence(one.asked, one.map[None]))
        doing = f"{one.name}: deleting what it marks"
        curve = yield from self._relay(deletion_steps(*given, steps=self.curve_steps, seed=self.seed), doing)
        self.checks[number] = one = replace(one, deletion=curve)
        yield self._finished(doing)
        doing = f"{one.name}: inserting what it marks"
        curve = yield from self._relay(insertion_steps(*given, steps=self.curve_steps, seed=self.seed), doing)
        self.checks[number] = replace(one, insertion=curve)
        yield self._finished(doing)

    def _road(self, number: int) -> Doing:
        one = self.checks[number]
        assert one.map is not None
        doing = f"{one.name}: removing what it marks without a trace"
        found = yield from self._relay(
            road_steps(
                self.network, self.image, self.target, evidence(one.asked, one.map[None]), seed=self.seed
            ),
            doing,
        )
        self.checks[number] = replace(one, road=found)
        yield self._finished(doing)

    def _relay(self, steps: Generator[float, None, T], doing: str) -> Generator[CheckProgress, None, T]:
        while True:
            try:
                part = next(steps)
            except StopIteration as end:
                return end.value
            yield self._progress(doing, part)

    def _cascade(self) -> Doing:
        """Stage by stage, so that the maps of all methods lose their weights side by side."""
        for place, (layer, changed) in enumerate(
            cascade(self.network, seed=self.seed, stages=self.depth), start=1
        ):
            self.layers.append(layer)
            for number in self.methods:
                doing = f"{self.checks[number].name}: weights random down to {layer}"
                asked, original = self.checks[number].asked, self.checks[number].map
                assert asked is not None
                assert original is not None
                answer = yield from self._ask(changed, asked, doing)
                stage = compare(layer, place, self.depth, answer.values, original[None])
                one = self.checks[number]
                one = replace(one, stages=(*one.stages, stage))
                if place == self.depth and self.mask is not None:
                    one = replace(one, random_mass=float(mass_accuracy(answer.values, self.mask[None])[0]))
                self.checks[number] = one
                yield self._finished(doing)
