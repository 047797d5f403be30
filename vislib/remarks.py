"""Remarks: what a page must say of a network before anything is asked of it."""

import math
from collections.abc import Sequence

from vislib.memory_layout import PLAIN
from vislib.probe import CONVOLUTIONS, Call, Layer
from vislib.tokens import Tokens
from vislib.words import counted

__all__ = ["of_layers", "of_layout", "of_one_unit", "of_output", "of_tokens", "of_units"]

_ALIKE = 1.3  # by so much may an output's proportions differ from the image's


def of_layers(name: str, layers: Sequence[Layer], calls: Sequence[Call], batch: int) -> tuple[str, ...]:
    """Which convolutions are not listed as layers, or that no layer but the output is, and why."""
    found = [c for c in calls if isinstance(c.module, CONVOLUTIONS)]
    if any(layer.capture for layer in layers):
        return _left_out(name, layers, found, calls)
    folded = [c for c in found if c.shape and c.shape[0] != batch]
    if folded:
        works = "works" if len(folded) == 1 else "work"
        rows = counted(folded[0].shape[0], "row")
        why = (
            f"its {_convolutions(len(folded))} {works} on {rows} for {batch} images, as where "
            "slices or crops are folded into the batch"
        )
    elif found:
        puts = "puts" if len(found) == 1 else "put"
        why = f"its {_convolutions(len(found))} {puts} out other things than maps of real numbers over the image"
    else:
        why = "it has no convolution or dense layer module before its output"
    return (
        f"No layer of {name} but its output is listed: {why}. Its hidden units cannot be shown, and class activation "
        "maps have nothing to start from.",
    )


def _left_out(
    name: str, layers: Sequence[Layer], found: Sequence[Call], calls: Sequence[Call]
) -> tuple[str, ...]:
    """That some convolutions are not listed, such as 1-D ones behind a mean over rows."""
    scores = {call.given for call in calls if not call.name}
    listed = {layer.path or layer.name for layer in layers}
    missing = [call.name for call in found if call.name not in listed and call.given not in scores]
    if not missing:
        return ()
    are, put, work = ("is", "it puts", "works") if len(missing) == 1 else ("are", "they put", "work")
    return (
        f"{name}'s {_first(missing)} {are} not listed: {put} out other things than maps of real numbers over the "
        f"image, or {work} on other rows than its images.",
    )


def _first(names: Sequence[str]) -> str:
    """The first three names, and how many more there are."""
    return ", ".join(map(repr, names[:3])) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _convolutions(count: int) -> str:
    return "convolution" if count == 1 else f"{count} convolutions"


def of_tokens(name: str, tokens: Tokens | None) -> tuple[str, ...]:
    """That layers over tokens are not listed."""
    if tokens is None or not tokens.decide:
        return ()
    return (
        f"{name}'s layers over tokens, such as {tokens.example!r}, are not listed: {100 * tokens.share:.0f} % of its "
        f"computation comes after its last maps, those of {tokens.after!r}.",
    )


def of_units(name: str, layers: Sequence[Layer]) -> tuple[str, ...]:
    """Where units are read otherwise than before the activation and after the norm."""
    sentences = []
    for odd in dict.fromkeys(layer.odd for layer in layers if layer.odd):
        listed = _first([layer.name for layer in layers if layer.odd == odd])
        sentences.append(f"Units of {name}'s {listed} are read {odd}, which does more than its class says.")
    return tuple(sentences)


def of_output(name: str, shape: Sequence[int], spatial: Sequence[int]) -> tuple[str, ...]:
    """That an output's classes may come last: where its first axes, and not its last ones, lie as the image does."""
    units, *places = shape
    if len(places) != len(spatial) or math.prod(places) == 1 or places[-1] >= min(units, *places[:-1]):
        return ()

    def as_the_image(axes: Sequence[int]) -> bool:
        shares = [size / whole for size, whole in zip(axes, spatial, strict=True)]
        return max(shares) <= _ALIKE * min(shares)

    if as_the_image(places) or not as_the_image((units, *places[:-1])):
        return ()
    return (
        f"{name}'s output of shape {tuple(shape)} for an image is read as {units} units over "
        f"{' x '.join(map(str, places))} positions; where its units come last, have its forward return them first.",
    )


def of_one_unit(name: str, places: Sequence[int], one_unit: bool) -> tuple[str, ...]:
    """That an output as large as the image is taken for the positions of one unit."""
    if not one_unit:
        return ()
    return (
        f"{name}'s output of shape {tuple(places)} for an image of that size is read as one unit over "
        f"{' x '.join(map(str, places))} positions.",
    )


def of_layout(name: str, layout: object, axes: int, back: bool) -> tuple[str, ...]:
    """That the plain memory layout was needed: for the way there, or only for the way `back`."""
    if axes != 2 or layout != PLAIN:
        return ()
    why = (
        "'s gradients are wrong for one image where channels lie last in memory (torch's instance norm is)"
        if back
        else " reads its maps in the order in which they lie in memory (such as by view)"
    )
    return (f"{name}{why}, so it runs in the plain layout, slower on some processors.",)
