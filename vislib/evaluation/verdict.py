"""Verdict: in plain sentences, which of the maps of one image deserve trust, and why."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from vislib.evaluation.check import Check
from vislib.head import percent

Level = Literal["trust", "doubt", "do not trust"]
TRUST: Level = "trust"
DOUBT: Level = "doubt"
DISTRUST: Level = "do not trust"

# Similarity to the maps of a network whose upper half becomes random. On brain2d's held-out slices it is 0.39 of the
# gradient (95 % of the images below 0.64) and 0.3 of Grad-CAM and LayerCAM, but 0.71 of guided backprop and of input
# times gradient and 0.80 of guided Grad-CAM, which Adebayo et al. 2018 found to fail (95 % above 0.57, 0.59, 0.62).
SAME = 0.62  # the map shows the image more than the network
PARTLY_SAME = 0.5
# Areas and ROAD closer than this are as good as each other: about what another order of tied pixels changes.
MARGIN = 0.02
NEEDED = 2  # of the three removal tests, that a map must pass
# Below this the network hardly believes in the class, and there is too little for a removal to take away.
BELIEVED = 0.2

_NO_CLASS = "What is explained is no class, so removing pixels was not measured."
_UNMOVED = "Removing pixels hardly moves what the network says here, so it was not measured."

WORDS = {"Sobel edges": "edges", "|intensity|": "mere brightness", "uniform noise": "random pixels"}
CHANCE = "uniform noise"


@dataclass(frozen=True)
class Verdict:
    """What one map deserves, and why: `for_it` and `against_it` are clauses, `unknown` whole sentences."""

    name: str
    level: Level
    for_it: tuple[str, ...]
    against_it: tuple[str, ...]
    unknown: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """The verdict in words, its grounds included."""
        opening = {TRUST: "passes", DOUBT: "is open to doubt", DISTRUST: "is not to be trusted"}[self.level]
        grounds = self.for_it if self.level == TRUST else self.against_it
        said = f"{self.name} {opening}" + (f": {_listed(grounds)}." if grounds else ".")
        if self.level != TRUST and self.for_it:
            said += f" In its favour: {_listed(self.for_it)}."
        return " ".join([said, *self.unknown])


@dataclass(frozen=True)
class _Ground:
    good: bool | None  # None: neither
    clause: str


def verdict(checks: Sequence[Check]) -> tuple[Verdict, ...]:
    """One verdict a method from the finished checks of one image, the baselines among them."""
    baselines = [one for one in checks if one.baseline]
    return tuple(_judge(one, baselines) for one in checks if not one.baseline)


def summary(verdicts: Sequence[Verdict]) -> str:
    """One sentence on all of them: whom to trust here."""
    groups = {level: [v.name for v in verdicts if v.level == level] for level in (TRUST, DOUBT, DISTRUST)}
    parts = []
    if groups[TRUST]:
        parts.append(f"{_listed(groups[TRUST])} can be trusted here")
    if groups[DOUBT]:
        parts.append(f"{_listed(groups[DOUBT])} should be doubted")
    if groups[DISTRUST]:
        parts.append(f"{_listed(groups[DISTRUST])} should not be trusted")
    return "; ".join(parts) + "." if parts else "Nothing was checked."


def _judge(one: Check, baselines: Sequence[Check]) -> Verdict:
    sanity, removal, place = _sanity(one), _removal(one, baselines), _place(one, baselines)
    grounds = [ground for ground in (sanity, removal, place) if ground is not None]
    failed = any(ground is not None and ground.good is False for ground in (sanity, removal))
    if failed:
        level = DISTRUST
    elif sanity is None or len(grounds) < 2 or not all(ground.good for ground in grounds):
        level = DOUBT
    else:
        level = TRUST
    unknown = []
    if sanity is None:
        unknown.append("Whether it depends on the weights was not measured.")
    if removal is None:
        unknown.append(_UNMOVED if one.deletion is not None else _NO_CLASS)
    if place is None:
        unknown.append("There is no mask, so whether it lies on the object was not measured.")
    return Verdict(
        one.name,
        level,
        tuple(ground.clause for ground in grounds if ground.good),
        tuple(ground.clause for ground in grounds if not ground.good),
        tuple(unknown),
    )


def _sanity(one: Check) -> _Ground | None:
    same = one.similarity
    if same is None:
        return None
    if same >= SAME:
        return _Ground(
            False,
            f"its map hardly changes when the layers are made random (similarity {same:.2f}), so it shows the "
            "image more than the network",
        )
    if same >= PARTLY_SAME:
        return _Ground(
            None, f"it changes only in part when the layers are made random (similarity {same:.2f})"
        )
    return _Ground(True, f"it changes when the weights do (similarity {same:.2f})")


@dataclass(frozen=True)
class _Test:
    name: str
    value: Callable[[Check], float]  # NaN where it was not measured
    sign: int  # 1 where more is better
    words: str  # with a place for one of the next three and for whom it is compared with
    more: str
    equal: str
    less: str


_TESTS = (
    _Test(
        "deletion",
        lambda one: math.nan if one.deletion is None else float(one.deletion.auc[0]),
        -1,
        "removing what it marks lowers the score {how} removing {other}",
        *("sooner than", "as soon as", "later than"),
    ),
    _Test(
        "insertion",
        lambda one: math.nan if one.insertion is None else float(one.insertion.auc[0]),
        1,
        "showing what it marks brings the score back {how} showing {other}",
        *("sooner than", "as soon as", "later than"),
    ),
    _Test(
        "ROAD",
        lambda one: math.nan if one.road is None else float(one.road.score[0]),
        1,
        "painting over what it marks costs {how} painting over {other}",
        *("more than", "as much as", "less than"),
    ),
)


def _removal(one: Check, baselines: Sequence[Check]) -> _Ground | None:
    """Deletion, insertion and ROAD against the best baseline of each; against chance, whether it tells anything.

    None where nothing was measured: a removal that moves nothing is no tie in the map's favour.
    """
    if one.deletion is None or one.insertion is None or one.road is None:
        return None
    if one.probability is not None and one.probability < BELIEVED:
        return _Ground(
            None,
            f"the network gives this class only {percent(one.probability)} here, so that removing pixels tells little",
        )
    won: list[str] = []
    lost: list[str] = []
    for test in _TESTS:
        rivals = [other for other in baselines if math.isfinite(test.value(other))]
        if not rivals or not math.isfinite(test.value(one)):
            continue
        best = max(rivals, key=lambda other: test.sign * test.value(other))
        ahead = test.sign * (test.value(one) - test.value(best))
        how = test.more if ahead > MARGIN else test.equal if ahead >= -MARGIN else test.less
        words = test.words.format(how=how, other=WORDS.get(best.name, f"the {best.name}"))
        (won if ahead >= -MARGIN else lost).append(
            f"{words} ({test.name} {test.value(one):.2f} against {test.value(best):.2f})"
        )
    if len(won) >= NEEDED:
        return _Ground(True, won[0])
    if len(won) + len(lost) < NEEDED:
        return None
    return _Ground(False if _by_chance(one, baselines) else None, lost[0])


def _by_chance(one: Check, baselines: Sequence[Check]) -> bool:
    """Whether the map does no better than random pixels in most of the tests."""
    chance = [other for other in baselines if other.name == CHANCE and other.road is not None]
    if not chance:
        return False
    beaten = [test.sign * (test.value(one) - test.value(chance[0])) > MARGIN for test in _TESTS]
    return sum(beaten) < NEEDED


def _place(one: Check, baselines: Sequence[Check]) -> _Ground | None:
    if one.mass is None:
        return None
    rivals = {WORDS.get(other.name, f"the {other.name}"): other.mass for other in baselines}
    rivals["the same method with random weights"] = one.random_mass
    known = {name: mass for name, mass in rivals.items() if mass is not None}
    said = f"{one.mass:.0%} of it lies inside the mask"
    if not known:
        return _Ground(None, said)
    best = max(known, key=lambda name: known[name])
    if one.mass > known[best]:
        return _Ground(True, f"{said} ({known[best]:.0%} of {best})")
    return _Ground(None, f"only {said}, of {best} {known[best]:.0%}")


def _listed(items: Sequence[str]) -> str:
    if len(items) < 2:
        return "".join(items)
    if any("," in item for item in items):
        return f"{'; '.join(items[:-1])}; and {items[-1]}"
    return f"{', '.join(items[:-1])} and {items[-1]}"
