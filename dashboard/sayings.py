"""Sayings: what a network says to an input, in words and numbers as its head means them, for every view of the page."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float64

from dashboard import numbers
from vislib.attribution import Target, outcomes, unit_name
from vislib.head import NOT_FINITE, Head
from vislib.network import Network
from vislib.probe import LOGITS
from vislib.words import counted

# How each kind is called where a person is asked which one an output is: of one unit, and of several.
KINDS = {
    "softmax": "classes, of which one is true",
    "sigmoid": "findings, each for itself",
    "score": "values",
}
ONE = {"sigmoid": "a logit", "score": "a value"}


@dataclass(frozen=True)
class Saying:
    """One thing that a network may say: its words, the number that it gives to it, and what explains it."""

    words: str
    number: str  # "" where the number is said elsewhere
    share: float  # of a bar, 0 where there is none to draw
    target: Target


def sayings(network: Network, scores: Float64[np.ndarray, " units"]) -> list[Saying]:
    """All that the network may say to an input, the most probable first; of values in their own order."""
    head = network.head
    found = []
    for words, target in outcomes(network):
        value = _value(head, scores, target)
        share = value if head.has_probability and math.isfinite(value) else 0.0
        found.append(Saying(words, head.text(value) if head.has_probability else "", share, target))
    return sorted(found, key=lambda one: -one.share) if head.has_probability else found


def values(network: Network, scores: Float64[np.ndarray, " units"]) -> list[tuple[str, str]]:
    """Name and number of each value that the network puts out; none where it gives probabilities."""
    if network.head.has_probability:
        return []
    return [(unit_name(network, unit), network.head.text(float(one))) for unit, one in enumerate(scores)]


def in_short(network: Network, scores: Float64[np.ndarray, " units"]) -> tuple[str, str]:
    """The one thing that is worth a line: the most probable one, or the first value, with its number."""
    if named := values(network, scores):
        return named[0]
    first = sayings(network, scores)[0]
    return first.words, first.number


def remarks(network: Network, scores: Float64[np.ndarray, " units"] | None = None) -> list[str]:
    """What is to be known of the numbers: what was assumed, what they are the mean of, that they are none."""
    said = [network.head.note, *Target(0).facts(network)]
    if scores is not None and not (finite := np.isfinite(scores)).all():
        if not finite.any():
            said.append(
                "The network's answer to this input is not a finite number: there is nothing to explain."
            )
        elif network.head.exclusive:
            said.append(
                "Some of the network's scores for this input are not finite numbers, so that no class has a "
                "probability; a map is of its class's own score alone."
            )
        else:
            said.append("Some of the network's answers to this input are not finite numbers.")
    return [one for one in said if one]


def score_words(network: Network, target: Target, score: float) -> str:
    """A target's score as it stands below a map: of a value in its unit, else as a plain number."""
    if not math.isfinite(score):
        return f"score {NOT_FINITE}"
    if target.layer != LOGITS or network.head.has_probability:
        return f"score {numbers.words(score)}"
    value = network.head.text(-score if target.opposite else score)
    return f"difference {value}" if target.against is not None else value


def called(network: Network) -> str:
    """What the network puts out, in a few words: "4 classes", "1 value (years)"."""
    head, count = network.head, network.layers[LOGITS].channels
    if not head.has_probability:
        what = counted(count, "value") + (f" ({head.unit})" if head.unit else "")
    else:
        what = counted(count, "class" if head.exclusive else "finding")
    return what if head.said else f"{what}, assumed"


def switches(network: Network, assumed: Head | None) -> dict[str, str]:
    """The kinds for which a session may take an output of which nothing was said, with their words."""
    if assumed is None:
        return {}
    offered = ONE if network.layers[LOGITS].channels == 1 else KINDS
    return offered if assumed.kind in offered else {}


def against_names(network: Network, target: Target | None, order: Sequence[int]) -> dict[str, int]:
    """The units that a target can be set against, by name; none for a hidden unit or where there is one unit."""
    if target is None or target.layer != LOGITS:
        return {}
    return {unit_name(network, unit): unit for unit in order if unit != target.unit}


def same(one: Target, other: Target | None) -> bool:
    """Whether two targets are the same entry of the list, whatever they are set against."""
    return other is not None and replace(one, against=None) == replace(other, against=None)


def _value(head: Head, scores: Float64[np.ndarray, " units"], target: Target) -> float:
    """A probability of the opposite is that of the score's negative, which loses no digits near 1."""
    rows = torch.from_numpy(np.asarray(scores, np.float64))[None]
    found = head.values(-rows if target.opposite and head.has_probability else rows)
    assert isinstance(target.unit, int)
    return float(found[0, target.unit])
