"""Steadiness: whether a module answers equal images equally, whatever ran before and whatever else is in the batch."""

import random
from collections.abc import Callable
from types import FunctionType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from vislib.errors import VislibError
from vislib.probe import tensors_in

# Rounding differs between batches of one and of more images; of the largest value of an output.
_TOLERANCE = 1e-3
_ROUNDING = 30
# Passes in which a module that draws random numbers may show that its answer depends on them.
_TRIALS = 4
_UNEQUAL = (
    "{name} gives equal images unequal answers (by up to {share} of its largest value here): it stays random in "
    "evaluation mode, as with dropout that is left on, or keeps something of what it saw before. Every number and "
    "picture of it is one draw of many."
)
_TOGETHER = (
    "{name}'s answer to an image depends on what else is in the batch (by up to {share} of its largest value here), as "
    "with a batch norm that is left in training mode. Every image is computed alone here{beside}."
)
_TWO = (
    "{name} takes two images at a time and no other number, as with a view(2, ...) or an export for a batch of two. "
    "Every image is computed alone here, beside a copy of itself."
)
_KEEPS = (
    "{name} keeps something of the first images that it is given and answers all later ones by it (which changes an "
    "answer by up to {share} of its largest value here). Its first ones here were vislib's own noise, so that its "
    "numbers and pictures are not what it gives elsewhere."
)
_DRAWS = (
    "{name} draws random numbers in evaluation mode. Its answers to equal images were equal in {trials} trials, but "
    "need not be."
)


class RandomNumbers:
    """The random numbers that a module may draw from, as they stood.

    Those of Python's `random` are left out: much that is no part of a module draws from them meanwhile. Whether a
    module does is seen in its code: `uses_python_random`.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._states = self._read()

    @property
    def drawn(self) -> bool:
        """Whether some have been drawn since."""
        return self._read() != self._states

    def _read(self) -> tuple[object, ...]:
        name, keys, *rest = np.random.get_state()
        states = [torch.get_rng_state()]
        if self._device.type == "cuda":
            states.append(torch.cuda.get_rng_state(self._device))
        return (
            *(state.numpy().tobytes() for state in states),
            name,
            np.asarray(keys).tobytes(),
            *rest,
        )


def uses_python_random(module: nn.Module) -> bool:
    """Whether the code of a module or of its parts names Python's `random`, as stochastic depth by hand does."""
    own = random.random.__self__  # type: ignore[attr-defined]
    for kind in {kind for part in module.modules() for kind in type(part).__mro__}:
        if kind.__module__.partition(".")[0] == "torch":
            continue
        for one in vars(kind).values():
            if not isinstance(one, FunctionType):
                continue
            known = [one.__globals__.get(name) for name in one.__code__.co_names]
            if any(value is random or getattr(value, "__self__", None) is own for value in known):
                return True
    return False


class Steadiness(NamedTuple):
    """What was found: sentences on answers that are not the same for equal images, and how to run one image."""

    cautions: tuple[str, ...]
    paired: bool  # an image alone fails or gives no numbers or no axis: it is run beside a copy of itself
    mixes: bool  # an answer depends on what else is in the batch, so that each image must be run alone


def steadiness(
    name: str,
    run: Callable[[Tensor], Any],
    images: Tensor,
    first: Any,
    *,
    drawn: bool,
    kept: bool,
    fresh: Callable[[Tensor], Any],
    hidden: bool = False,
) -> Steadiness:
    """Whether answers are the same for equal images, up to rounding.

    `first` is what `run` gave for the two `images`; `drawn` says whether random numbers were drawn meanwhile, `kept`
    whether the module changed itself, `hidden` whether it may draw numbers that cannot be seen; `fresh` runs the module
    as it was before. Costs one pass of an image, and a few more where something is amiss.
    """

    def again(some: Tensor) -> list[Tensor]:
        return _copied(run(some))

    whole = _copied(first)
    expected, alone = _rows(whole, slice(1, None)), images[1:]
    with torch.no_grad():
        try:
            one = again(alone)
            paired = any(
                a.shape != b.shape
                or (_finite(a) and not _finite(b))  # such as the deviation over a batch of one
                for a, b in zip(expected, one, strict=True)
                if a.ndim
            )
        except (VislibError, ValueError):  # more images are needed at once
            paired = True
        if paired:
            alone = alone.repeat(2, *[1] * (alone.ndim - 1))
            one = again(alone)
            if not _takes(again, torch.cat([images, images[:1]])):
                return Steadiness((_TWO.format(name=name),), True, True)
        apart = _difference(expected, _rows(one, slice(1)))
        drawn = drawn or hidden
        if not apart and not drawn and not kept:
            return Steadiness((), paired, False)
        between = 0.0
        for _ in range(_TRIALS if drawn else 1):
            numbers = RandomNumbers(images.device)
            between = max(between, _difference(one, again(alone), exact=drawn))
            drawn = drawn and (hidden or numbers.drawn)  # else it was another thread
    if between:
        sentence = _UNEQUAL.format(name=name, share=_share(max(apart, between)))
    elif apart:
        beside = ", beside a copy of itself" if paired else ""
        sentence = _TOGETHER.format(name=name, share=_share(apart), beside=beside)
    elif kept and (off := _kept_off(fresh, alone, one)):
        sentence = _KEEPS.format(name=name, share=_share(off))
    else:
        sentence = _DRAWS.format(name=name, trials=_TRIALS) if drawn else ""
    return Steadiness((sentence,) if sentence else (), paired, bool(apart) and not between)


def _kept_off(fresh: Callable[[Tensor], Any], images: Tensor, expected: list[Tensor]) -> float:
    """How far the answer of a module that has seen no other images is from this one."""
    with torch.no_grad():
        try:
            return _difference(expected, _copied(fresh(images)))
        except (VislibError, ValueError):
            return 0.0


def _copied(output: Any) -> list[Tensor]:
    """The tensors of an output; copies, since a module may give its own memory again."""
    return [tensor.detach().clone() for tensor in tensors_in(output)]


def _finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor).all())


def _takes(again: Callable[[Tensor], list[Tensor]], images: Tensor) -> bool:
    """Whether that many images are answered with as many rows."""
    try:
        return all(tensor.shape[0] == len(images) for tensor in again(images) if tensor.ndim)
    except (VislibError, ValueError):
        return False


class Belongings:
    """What a module's parts hold beside their weights and parts, as it stood: values of a pass may be kept there."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._held = self._read()

    @property
    def changed(self) -> bool:
        """Whether something has been put there or written to since."""
        now = self._read()
        return now.keys() != self._held.keys() or any(
            one is not self._held[key][0] or version != self._held[key][1]
            for key, (one, version) in now.items()
        )

    def _read(self) -> dict[tuple[str, str], tuple[object, int]]:
        return {
            (path, key): (
                value,
                value._version if isinstance(value, Tensor) and not value.is_inference() else 0,
            )
            for path, part in self._module.named_modules()
            for key, value in (*part.__dict__.items(), *part._buffers.items())
            if not key.startswith("_forward") and not isinstance(value, dict)
        }


def _rows(tensors: list[Tensor], rows: slice) -> list[Tensor]:
    """These images' part of each output."""
    return [tensor[rows] if tensor.ndim else tensor for tensor in tensors]


def _difference(one: list[Tensor], other: list[Tensor], *, exact: bool = False) -> float:
    """The largest difference beyond rounding, as a share of its output's largest value; 0.0 for none.

    `exact`: of one computation done twice, which rounds alike.
    """
    worst = 0.0
    for a, b in zip(one, other, strict=False):
        if a.shape != b.shape or not a.is_floating_point() or not a.numel():
            continue
        size = float(torch.maximum(a.abs().float().amax(), b.abs().float().amax()))
        off = float((a.float() - b.float()).abs().nan_to_num(0.0, 0.0, 0.0).amax())
        allowed = max(0.0 if exact else _TOLERANCE, _ROUNDING * torch.finfo(a.dtype).eps)
        if size > 0 and off > allowed * size:
            worst = max(worst, off / size)
    return worst


def _share(value: float) -> str:
    return f"{100 * value:.0f} %" if value >= 0.01 else "less than 1 %"
