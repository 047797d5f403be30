"""Causes: what a network itself does to its input, and why what arrives at its first layer is not what was promised."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from vislib.network import Network
from vislib.standardisation import UNIT, Standardisation

IMAGENET = (0.485, 0.456, 0.406)  # red, green, blue
EXACT = 1e-3  # of its sd: a channel that differs by no more is a multiple of another one, up to rounding
SCALED = 30  # a factor of so much is no standardisation but another range of values
FLAT = 0.01  # of what was promised between black and white: an sd below it is that of one grey everywhere
FAR_MEAN, LEAST_SD, MOST_SD = 1.5, 0.25, 2.5  # where about 0 and 1 were promised
# What a first batch norm may see of what it was trained on: means away by so many sd, variances by such factors. The
# least one is for an image as lively as USUAL_SD, and less for a dull one.
NORM_MEAN, MOST_VARIANCE, LEAST_VARIANCE, USUAL_SD = 3.0, 16.0, 1 / 30, 0.25
BETTER = 0.3  # of the mismatch at a batch norm is left by a change that is named as the likely cause


@dataclass(frozen=True, eq=False)
class Seen:
    """The images given, what the module got of them, and what arrived at its first layer."""

    images: Float32[np.ndarray, "n c *spatial"]
    prepared: Float32[np.ndarray, "n c *spatial"]
    arrived: Float32[np.ndarray, "n d ..."]
    between: tuple[str, ...]  # the modules that came before that layer
    norm: str  # the batch norm that directly follows it, "" where there is none that can tell
    normed: Float32[np.ndarray, "n k ..."] | None  # its output without its scale and shift ...
    otherwise: Callable[
        [Standardisation], np.ndarray
    ]  # ... and what that would be with another standardisation


@dataclass(frozen=True)
class Own:
    """What the network does before its first layer: for each arriving channel (prepared channel, factor, offset)."""

    fits: tuple[tuple[int, float, float], ...]  # () where it is no such thing
    changes: bool
    by: str  # the modules that did it, in words
    made: str  # what became of it, where it is no factor and offset

    @property
    def exchanged(self) -> bool:
        """Whether red and blue change places."""
        return [place for place, _, _ in self.fits] == [2, 1, 0]

    @property
    def factor(self) -> float:
        """The middle one of the factors; 1 where there are none."""
        return float(np.median([factor for _, factor, _ in self.fits])) if self.fits else 1.0

    @property
    def standardises(self) -> bool:
        """Whether factor and offset are those of a standardisation of values of about 0 to 1."""
        middle = [-offset / factor for _, factor, offset in self.fits if factor > 0]
        plausible = bool(middle) and all(-0.1 < m < 1.1 for m in middle)
        return plausible and 1.25 < self.factor < SCALED and max(middle, default=0.0) > 0.02

    def words(self, layer: str) -> str:
        """A sentence on it; "" where nothing is done."""
        if not self.changes:
            return ""
        deeds = ["exchanges red and blue"] if self.exchanged else []
        moved = [fit for fit in self.fits if abs(fit[1] - 1) > EXACT or abs(fit[2]) > EXACT]
        if moved and all(abs(offset) <= EXACT * abs(factor) for _, factor, offset in self.fits):
            small = self.factor < 1
            deeds.append(
                f"{'divides' if small else 'multiplies'} by {_few([1 / f if small else f for _, f, _ in self.fits])}"
            )
        elif moved:
            middle = _few([-offset / factor for _, factor, offset in self.fits])
            deeds.append(
                f"takes off {middle} and divides by {_few([1 / factor for _, factor, _ in self.fits])}"
            )
        if not self.fits:
            deeds.append(self.made)
        by = f", in {self.by}" if self.by else ""
        return f"Before {layer} the network itself {' and '.join(deeds)}{by}." if deeds else ""


def own_step(probe: Seen, network: Network) -> Own:
    """What the network did to a probe's random pixels on their way to the first layer."""
    before, after = probe.prepared, probe.arrived  # two images: what is done to each by its own values shows
    by = ", ".join(probe.between[:3]) + (" …" if len(probe.between) > 3 else "")
    if before.shape != after.shape:
        size = " x ".join(map(str, after.shape[2:]))
        of = f" of {size}" if size else ""
        return Own((), True, by, f"makes {after.shape[1]} channels{of} of its input")
    if np.allclose(before, after, rtol=0, atol=EXACT * float(before.std())):
        return Own(tuple((place, 1.0, 0.0) for place in range(before.shape[1])), False, "", "")
    fits = [_fit(before, after[:, place]) for place in range(after.shape[1])]
    if all(fit is not None for fit in fits):
        return Own(tuple(fit for fit in fits if fit is not None), True, by, "")
    each = after.reshape(len(after), -1).astype(np.float64)
    alone = np.abs(each.mean(1)).max() < 0.02 and np.abs(each.std(1) - 1).max() < 0.02
    made = "standardises each image by its own mean and sd" if alone else "changes the values of its input"
    return Own((), True, by, made)


def _fit(before: np.ndarray, after: np.ndarray) -> tuple[int, float, float] | None:
    """The channel of `before` of which `after` is a multiple with an offset, and those two numbers."""
    y = after.ravel().astype(np.float64)
    for place in range(before.shape[1]):
        x = before[:, place].ravel().astype(np.float64)
        factor, offset = np.polyfit(x, y, 1) if x.std() > 0 else (0.0, 0.0)
        if y.std() > 0 and np.abs(factor * x + offset - y).max() <= EXACT * y.std():
            return place, float(factor), float(offset)
    return None


Finding = tuple[str, str]  # what differs, and the likely cause
AGREES: Finding = ("", "")


def cause(network: Network, seen: Seen, own: Own) -> Finding:
    """What differs from the card's promise and the likely cause, in sentences; "" twice where nothing does."""
    rules: Sequence[Callable[[Network, Seen, Own], Finding]]
    rules = (_given, _not_finite, _units, _order, _own, _flat, _norm, _far)
    return next((found for rule in rules if (found := rule(network, seen, own)) != AGREES), AGREES)


def _given(network: Network, seen: Seen, own: Own) -> Finding:
    low, high = float(np.nanmin(seen.images)), float(np.nanmax(seen.images))
    if low >= -0.05 and high <= 1.05:
        return AGREES
    said = f"The images that were given go from {low:.3g} to {high:.3g}, but images are [0, 1]."
    if low < -0.05 and high < SCALED:
        return (
            said,
            "Likely standardised twice: give them as they were before, standardising is the network's own first step.",
        )
    return said, "Likely values of 0 to 255: divide them by 255."


def _not_finite(network: Network, seen: Seen, own: Own) -> Finding:
    bad = int((~np.isfinite(seen.arrived)).sum())
    return (f"{bad} of the values that arrive are not finite.", "") if bad else AGREES


def _units(network: Network, seen: Seen, own: Own) -> Finding:
    """Whether mean and std are in other units than the card's range."""
    said = network.standardisation
    low, high = said.range
    span = f"[{low:g}, {high:g}]"
    if max(*network.mean, *network.std, 0) > 2:
        return (
            f"The card's mean {_few(said.mean)} and std {_few(said.std)} do not belong to values in {span}.",
            "Likely they are of values of 0 to 255: say range = [0, 255] in the card.",
        )
    tiny = high - low > SCALED and (
        (any(s != 1 for s in said.std) and max(said.std) < 1)
        or (any(said.mean) and 0 <= min(said.mean) <= max(said.mean) < 1)
    )
    if tiny:
        return (
            f"The card's mean {_few(said.mean)} and std {_few(said.std)} are next to nothing in its range {span}.",
            "Likely they are of values of 0 to 1: leave range out of the card, or give them in its units.",
        )
    return AGREES


def _order(network: Network, seen: Seen, own: Own) -> Finding:
    """Whether the card's mean has its colours in another order than the card's channels."""
    said = network.standardisation
    if network.input_shape[0] != 3 or len(said.mean) != 3:
        return AGREES
    known = np.array(IMAGENET)
    if np.allclose(network.mean, known[::-1], atol=0.01):
        if said.channels == "RGB":
            return (
                f"The card's mean {_few(said.mean)} is ImageNet's with blue first, but red arrives first.",
                'Likely the network takes BGR: say channels = "BGR" in the card.',
            )
        return (
            f'The card says channels = "BGR", but its mean {_few(said.mean)} is ImageNet\'s with red first.',
            "Likely the mean and std are in RGB order: give them blue first, or leave channels out.",
        )
    return AGREES


def _own(network: Network, seen: Seen, own: Own) -> Finding:
    """Whether the network does once more, or undoes, what the card says."""
    said, factor = network.standardisation, own.factor
    if not own.changes or not own.fits:
        return AGREES
    if own.exchanged and said.channels == "BGR":
        return (
            "Red and blue are exchanged by the card and once more by the network, so that red arrives first.",
            "Likely BGR twice: leave channels out of the card.",
        )
    arrives = f"{_numbers(seen)} arrive, which is not what the card promises."
    if factor >= SCALED:
        if said.range != UNIT:
            return (
                arrives,
                (
                    f"Likely values of 0 to 255 made twice: the network multiplies by {factor:.3g} itself, so "
                    "leave range out of the card."
                ),
            )
        return arrives, (
            f"Likely values of 0 to 255: the network multiplies by {factor:.3g} itself, which is right only if it was "
            "trained so."
        )
    if 0 < factor <= 1 / SCALED and said.range[1] - said.range[0] <= SCALED:
        return arrives, (
            f"Likely the network expects values of 0 to 255, since it divides by {1 / factor:.3g} itself: say "
            "range = [0, 255] in the card."
        )
    standardised = any(said.mean) or any(s != 1 for s in said.std)
    if standardised and own.standardises:
        return (
            arrives,
            "Likely standardised twice, by the card and by the network itself: leave mean and std out of the card.",
        )
    return AGREES


def _flat(network: Network, seen: Seen, own: Own) -> Finding:
    contrast = float(seen.images.std())
    if contrast >= FLAT:
        return AGREES
    return (
        f"{_numbers(seen)} arrive: next to one value everywhere.",
        "The input is flat: look at how its values become black and white, or choose another one.",
    )


def _norm(network: Network, seen: Seen, own: Own) -> Finding:
    """Whether the batch norm after the first layer sees what it was trained on, by its running mean and variance."""
    if seen.normed is None or not seen.normed.size:
        return AGREES
    mean, variance = _moments(seen.normed)
    off, ratio = float(np.median(np.abs(mean))), float(np.median(variance))
    lively = min(1.0, float(seen.images.std()) / USUAL_SD) ** 2
    if off <= NORM_MEAN and LEAST_VARIANCE * lively <= ratio <= MOST_VARIANCE:
        return AGREES
    said = (
        f"What the first batch norm, {seen.norm}, sees of this input is {math.sqrt(ratio):.2g} times as wide as in "
        f"training and {off:.2g} sd away from it (medians over its channels)."
    )
    return said, _likely(network, seen)


def _likely(network: Network, seen: Seen) -> str:
    """Of other ways to prepare the images, the one with which the batch norm sees what is most like its training."""
    sd = float(seen.images.std())
    ways = {
        "Likely the network takes values of 0 to 255: say range = [0, 255] in the card.": Standardisation(
            range=(0.0, 255.0)
        ),
        "Likely the network takes values of -1 to 1: say range = [-1, 1] in the card.": Standardisation(
            range=(-1.0, 1.0)
        ),
        "Likely standardised where it should not be: leave mean and std out of the card.": Standardisation(),
        "Likely not z-scored as it was in training: give mean and std in the card.": Standardisation(
            (float(seen.images.mean()),), (sd,)
        ),
    }
    others = {words: way for words, way in ways.items() if way != network.standardisation}
    left = {words: _mismatch(seen.otherwise(way)) for words, way in others.items()}
    best = min(left, key=lambda words: left[words])
    assert seen.normed is not None
    return (
        best
        if left[best] < BETTER * _mismatch(seen.normed)
        else "Its values are of another kind than those of training."
    )


def _moments(normed: np.ndarray) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    axes = (0, *range(2, normed.ndim))
    return normed.mean(axes, dtype=np.float64), normed.var(axes, dtype=np.float64)


def _mismatch(normed: np.ndarray) -> float:
    """Kullback-Leibler divergence from a standard normal, the mean over the channels."""
    mean, variance = _moments(normed)
    variance = np.maximum(variance, 1e-6)
    return float((mean**2 + variance - 1 - np.log(variance)).mean() / 2)


def _far(network: Network, seen: Seen, own: Own) -> Finding:
    said = network.standardisation
    if not any(said.mean) or all(s == 1 for s in said.std) or (own.changes and not own.fits):
        return AGREES
    mean, sd = float(seen.arrived.mean(dtype=np.float64)), float(seen.arrived.std(dtype=np.float64))
    if abs(mean) <= FAR_MEAN and LEAST_SD <= sd <= MOST_SD:
        return AGREES
    return (
        f"{_numbers(seen)} arrive, where a mean of about 0 and an sd of about 1 were promised.",
        "Likely this input is not z-scored as the network's own images were, or a picture of another kind.",
    )


def _numbers(seen: Seen) -> str:
    values = seen.arrived.astype(np.float64)
    spread = f"mean {values.mean():.2g} and sd {values.std():.2g}"
    return f"Values from {values.min():.3g} to {values.max():.3g} with {spread}"


def _few(values: Sequence[float]) -> str:
    """One number where all are equal, else all of them."""
    texts = list(dict.fromkeys(f"{value:.3g}" for value in values))
    return texts[0] if len(texts) == 1 else f"({', '.join(f'{value:.3g}' for value in values)})"
