"""Meaning: what a module's output means, by what came out of it for a few images and by what somebody says."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vislib.errors import NetworkError
from vislib.head import Head, Kind, check_kind
from vislib.output import ENDINGS, Key, Output, Seen

_SUM = 1e-3  # how far from 1 probabilities may add up, in float16's 10 bits ...
_COARSE = 2e-2  # ... and those of a softmax that was computed in bfloat16's 7 bits, or rounded
LOGIT = 20.0  # a larger number is hardly a logit: its probability would be 1 to nine digits


@dataclass(frozen=True)
class Evidence:
    """What was seen of a module's scores: `values` (rows of units) as they came out, and what they came out of."""

    values: Float[Tensor, "rows units"]
    ending: str  # one of ENDINGS, or ""
    came_of: str = ""  # one of ENDINGS whose results were made into these values, or ""

    @property
    def finite(self) -> bool:
        """Whether anything can be told from them."""
        return bool(torch.isfinite(self.values).all())

    @property
    def shares(self) -> bool:
        """Whether all are from 0 to 1."""
        return self.finite and bool((self.values >= 0).all() and (self.values <= 1 + _SUM).all())

    @property
    def adds_up(self) -> bool:
        """Whether every row shares out 1 among several units."""
        if self.values.shape[1] < 2 or not self.shares:
            return False
        shared = ENDINGS.get(self.ending or self.came_of, False)
        allowed = _COARSE if shared else max(_SUM, 2 * torch.finfo(self.values.dtype).eps)
        return bool(((self.values.double().sum(1) - 1).abs() < allowed).all())

    @property
    def total(self) -> float | None:
        """What several units, never negative, add up to in every row: 1, of percentages 100, of a softmax also less."""
        if self.adds_up:
            return 1.0
        if self.values.shape[1] < 2 or not self.finite or not bool((self.values >= 0).all()):
            return None
        sums = self.values.double().sum(1)
        mean = float(sums.mean())
        alike = bool(((sums - mean).abs() < _SUM * mean).all())
        percentages = abs(mean - 100) < 100 * _SUM
        # More than 1 may be several softmaxes side by side.
        return mean if alike and (percentages or (self.came_of == "softmax" and 0 < mean < 1)) else None

    @property
    def logarithms(self) -> bool:
        """Whether these are log-probabilities that were taken apart or put together."""
        below = self.finite and bool((self.values <= 0).all() and (self.values < 0).any())
        return below and self.came_of.startswith("log") and not self.ending

    def exponential(self) -> "Evidence":
        """The same of the values' exponentials."""
        return dataclasses.replace(self, values=self.values.exp(), came_of=self.came_of.removeprefix("log_"))


HOW = "in the card, or in Network.from_module"


def several_images(shape: tuple[int, ...]) -> Iterator[Float[Tensor, "one c *spatial"]]:
    """Images that differ as much as can be, for what cannot be told from noise alone."""
    along = torch.linspace(0, 1, shape[-1]).expand(1, *shape)
    yield from (torch.zeros(1, *shape), torch.ones(1, *shape), torch.full((1, *shape), 0.5), along)


def ambiguous(seen: Evidence) -> bool:
    """Whether more inputs may tell more: one unit, and what looks like probabilities by chance."""
    open_still = seen.values.shape[1] == 1 or seen.total is not None or bool(seen.came_of)
    return not seen.ending and open_still


def reads_back(seen: Seen) -> bool:
    """Whether the softmax or sigmoid that was found gives what came out.

    Not where it is one over another axis than the units', or its results were changed out of torch's sight.
    """
    if seen.before is None:
        return True
    scores = flat(seen.before.reshape(seen.values.shape)).double()
    values = flat(seen.values).double()
    if seen.ending.startswith("log"):
        values = values.exp()
    expected = scores.softmax(1) if ENDINGS[seen.ending] else scores.sigmoid()
    allowed = max(_SUM, 4 * torch.finfo(seen.values.dtype).eps)
    return torch.allclose(values, expected, rtol=0.0, atol=allowed, equal_nan=True)


def flat(scores: Float[Tensor, "n *more"]) -> Float[Tensor, "rows units"]:
    """Each position a row of its own; scores without a unit axis have one unit."""
    if scores.ndim < 2:  # of one image even the axis of images may have been squeezed away
        return scores.reshape(-1, 1)
    return scores.movedim(1, -1).reshape(-1, scores.shape[1])


def understand(
    name: str, seen: Evidence, kind: str | None, unit: str, labelled: bool, key: Key | None
) -> tuple[Head, Output]:
    """What the output means and how its scores are read; raises NetworkError for a head that cannot be."""
    asked = check_kind(name, kind, seen.values.shape[1])
    if unit and asked not in (None, "score"):
        raise NetworkError(
            f"{name} was given the unit {unit!r} and head {asked!r}; only a head of kind 'score' has a unit."
        )
    if unit:
        asked = "score"
    exclusive = _normalised(seen)
    if asked is not None:
        return _as_said(name, seen, asked, unit, exclusive, key)
    if exclusive is not None:
        head, output = _as_said(name, seen, "probabilities", "", exclusive, key)
        return _inferred(head, _found(seen, exclusive)), output
    return _guessed(seen, labelled), Output(key)


def _normalised(seen: Evidence) -> bool | None:
    """Whether the module puts out probabilities itself: True shared, False one a unit, None it does not seem so."""
    if seen.ending.startswith("log"):
        alone = ENDINGS[seen.ending] and seen.values.shape[1] == 1  # always 0
        return None if alone else ENDINGS[seen.ending]
    if seen.logarithms:
        return seen.exponential().adds_up
    if seen.total is not None:
        return True
    if seen.shares and seen.ending and not ENDINGS[seen.ending]:
        return False
    # Parts of a softmax, or sigmoids that were put together, are probabilities each for itself.
    parts = seen.shares and seen.came_of and not seen.came_of.startswith("log") and not seen.ending
    return False if parts and not _constant(seen) else None


def _constant(seen: Evidence) -> bool:
    """Whether all is 1, as of a softmax over one unit."""
    return bool((seen.values == 1).all())


def _as_said(
    name: str, seen: Evidence, kind: Kind, unit: str, exclusive: bool | None, key: Key | None
) -> tuple[Head, Output]:
    if kind == "score":
        return Head("score", unit=unit), Output(key)
    if kind == "probabilities" and exclusive is None:
        if not seen.shares:
            low, high = float(seen.values.min()), float(seen.values.max())
            raise NetworkError(
                f"{name} was given head 'probabilities', but puts out values from {low:.3g} to {high:.3g}; say "
                "head = 'softmax' or 'sigmoid' where they are logits, 'score' where they are values."
            )
        exclusive = False
    if exclusive is None:
        return Head(kind, exclusive=kind == "softmax"), Output(key)
    if kind != "probabilities" and exclusive != (kind == "softmax"):
        ends = "with probabilities that add up to 1" if exclusive else "with a sigmoid for each unit"
        raise NetworkError(
            f"{name} was given head {kind!r}, but ends {ends}; say head = 'probabilities' or leave it out."
        )
    stepped = bool(seen.ending)
    return (
        Head(kind, exclusive=exclusive, of_scores="" if stepped else _INVERTED[exclusive]),
        Output(key, stepped=stepped, inverted=not stepped, exclusive=exclusive, logs=seen.logarithms),
    )


_INVERTED = {
    True: "The network puts out probabilities; the map is of the logarithm of the class's.",
    False: "The network puts out probabilities; the map is of the log-odds of the unit's.",
}


def _found(seen: Evidence, exclusive: bool) -> str:
    if seen.ending.startswith("log"):
        return f"Log-probabilities found: the network ends with a {seen.ending}. If not, say head = … {HOW}."
    if seen.logarithms:
        return f"Log-probabilities found: the outputs come of a {seen.came_of}. If not, say head = … {HOW}."
    if exclusive:
        total = f"{seen.total or 1:.3g}"
        return f"Probabilities found: the outputs are never negative and add up to {total}. If not, say head = … {HOW}."
    ending = "sigmoid for each unit" if seen.ending else f"{seen.came_of} whose results are from 0 to 1 still"
    return f'Probabilities found: the network ends with a {ending}. Where they are values, say head = "score" {HOW}.'


def _guessed(seen: Evidence, labelled: bool) -> Head:
    """The head of scores that nobody said anything of and that are no probabilities."""
    if seen.values.shape[1] > 1:
        between = (
            " All outputs lie between 0 and 1: where they are probabilities already, say "
            'head = "probabilities".'
            if seen.shares
            else ""
        )
        return Head(
            "softmax",
            exclusive=True,
            said=False,
            note="Softmax assumed: the classes share 100 %. Where each is a finding of its own, say "
            f'head = "sigmoid", where they are values head = "score" ({HOW}).{between}',
        )
    if ENDINGS.get(seen.ending):
        return Head(
            "score",
            said=False,
            note="The network ends with a softmax over one unit, which is always 1: its output says nothing of an "
            "image.",
        )
    largest = float(seen.values.abs().max()) if seen.finite else float("inf")
    between = (
        ' It lay between 0 and 1 for every image tried: where it is a probability already, say head = "probabilities".'
        if seen.shares
        else ""
    )
    if labelled and largest <= LOGIT:
        return Head(
            "sigmoid",
            said=False,
            note="Taken for a logit: one output may be a logit or a value. Say which with "
            f'head = "sigmoid" or "score" ({HOW}).{between}',
        )
    return Head(
        "score",
        said=False,
        note="Taken for a value: one output may be a value or a logit. Say which with "
        f'head = "score" or "sigmoid" ({HOW}).{between}',
    )


def _inferred(head: Head, note: str) -> Head:
    return dataclasses.replace(head, said=False, note=note)
