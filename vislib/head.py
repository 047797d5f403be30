"""Head: what a network's output means, said once: probabilities of one kind or another, or values with a unit."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from vislib.errors import NetworkError

Kind = Literal["softmax", "sigmoid", "probabilities", "score"]
KINDS: tuple[Kind, ...] = get_args(Kind)

NOT_FINITE = "not a finite number"


@dataclass(frozen=True)
class Head:
    """What the scores of a network mean.

    kind       "softmax": one probability is shared among the classes; "sigmoid": each unit is a yes or no of its own;
               "probabilities": the module puts out probabilities itself; "score": real values
    exclusive  whether the units share one probability
    unit       of a score, such as "years"
    said       whether somebody said so, rather than that it was inferred from what came out
    note       in a sentence, what was inferred and how to change it; "" where it was said
    of_scores  in a sentence, what maps and gradients are taken of where it is not the module's own scores; else ""
    """

    kind: Kind
    exclusive: bool = False
    unit: str = ""
    said: bool = True
    note: str = ""
    of_scores: str = ""

    @property
    def has_probability(self) -> bool:
        """Whether its numbers are probabilities."""
        return self.kind != "score"

    def probabilities(self, scores: Float[Tensor, "n units"]) -> Float64[Tensor, "n units"]:
        """Probabilities of real-valued scores; raises NetworkError for a head of kind "score"."""
        if self.kind == "score":
            raise NetworkError(
                "The output is a value and no probability; look at the scores themselves, or say head = 'sigmoid' "
                "or 'softmax' where they are logits."
            )
        return scores.double().softmax(1) if self.exclusive else scores.double().sigmoid()

    def values(self, scores: Float[Tensor, "n units"]) -> Float64[Tensor, "n units"]:
        """The numbers that a reader is shown: probabilities, or the values of a head of kind "score"."""
        return scores.double() if self.kind == "score" else self.probabilities(scores)

    def text(self, value: float) -> str:
        """A number of `values` in words, such as "1.8 %", "50.2 years"."""
        if not math.isfinite(value):
            return NOT_FINITE
        if self.kind != "score":
            return percent(value)
        return f"{plain(value)} {self.unit}".rstrip()


def percent(share: float) -> str:
    """A probability as a percentage: never 0 or 100 %, which no finite score amounts to."""
    if not math.isfinite(share):
        return NOT_FINITE
    if share >= 0.9995:
        return "> 99.9 %"
    return f"{share * 100:.1f} %" if share >= 0.0005 else "< 0.1 %"


def plain(value: float) -> str:
    """A real number with four digits or so, without an exponent where people would not write one."""
    size = abs(value)
    if size != 0 and not 1e-4 <= size < 1e7:
        return f"{value:.3g}"
    digits = max(0, 3 - math.floor(math.log10(size))) if 0 < size < 1000 else 0 if size else 1
    return f"{round(value, digits) + 0.0:,.{min(digits, 2 if size >= 1 else 6)}f}".replace(",", " ")


def check_kind(name: str, kind: str | None, units: int) -> Kind | None:
    """The kind that was asked for; raises NetworkError for others, and for a softmax over one unit."""
    if kind is None:
        return None
    if kind not in KINDS:
        raise NetworkError(f"{name} was given head {kind!r}; it must be one of {', '.join(KINDS)}.")
    if kind == "softmax" and units == 1:
        raise NetworkError(
            f"{name} was given head 'softmax' but has one unit, whose softmax is always 100 %; "
            "say head = 'sigmoid' where it is a logit, 'score' where it is a value."
        )
    return kind


def as_scores(values: Float[Tensor, "n ..."], exclusive: bool) -> Float[Tensor, "n ..."]:
    """Real-valued scores whose softmax (`exclusive`) or sigmoid these probabilities are."""
    tiny = torch.finfo(values.dtype).tiny
    if exclusive:
        return values.clamp_min(tiny).log()
    # 1 - p is exact near 1, so the largest probability below 1 keeps its own odds.
    return values.clamp_min(tiny).log() - (1 - values).clamp_min(torch.finfo(values.dtype).eps / 2).log()
