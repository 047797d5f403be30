"""The probe: one forward pass that finds a module's layers, in execution order."""

import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.overrides import TorchFunctionMode

from vislib.axes import channels_first, follow, mark_maps
from vislib.fused import is_plain
from vislib.patching import activates, is_idle

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
LOGITS = "logits"
# A container of this share of all convolutions, or more, is the network's trunk (`features`), not a block.
TRUNK = 0.8
# What asks for a tensor's facts and not for its values.
_LOOKS = {
    *(
        "__get__",
        "size",
        "dim",
        "ndimension",
        "numel",
        "nelement",
        "stride",
        "is_contiguous",
        "is_inference",
        "type",
    ),
    *(
        "is_floating_point",
        "is_complex",
        "is_signed",
        "element_size",
        "get_device",
        "data_ptr",
        "__len__",
        "is_pinned",
    ),
}
_FRAMES = 16


@dataclass(frozen=True)
class Layer:
    """A named output of a network: `channels` units over `spatial` positions."""

    name: str
    kind: str  # "conv" | "block" | "dense" | "logits"
    channels: int
    spatial: tuple[int, ...]  # () for dense layers and flat logits
    capture: str  # dotted path of the module whose output is read, "" for the root
    activated: bool = False  # an activation such as ReLU is the first to see that output
    inside: bool = False  # that module ends in an activation of its own: what goes into it is read
    path: str = ""  # of the layer's own module, where that is not its name
    odd: str = ""  # how it is read otherwise than layers are: "before its norm" or "after its own function"


@dataclass(frozen=True)
class Call:
    """A module's first call in the probe; two tokens are equal when they stand for the same values."""

    name: str
    module: nn.Module
    order: int
    is_tensor: bool  # the output is one tensor, not a tuple or dict
    shape: tuple[int, ...]
    input_shape: tuple[int, ...]  # of the first input, () where there is no tensor
    taken: tuple[int, int] | None  # token of the first input
    given: tuple[int, int]  # token of the output; of what it is but a copy of, where it is one
    origin: frozenset[str]  # the convolutions that the output comes from with no other convolution between
    channels_first: bool  # the channels are the second axis, as far as that is known
    active: bool  # the output comes out of an activation
    activated: bool = False  # an activation is applied to the output


def first_tensor(output: Any) -> Tensor | None:
    """The tensor that stands for an output: itself, a dict's "out" or "logits", else the first one inside."""
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        named = [output[key] for key in ("out", LOGITS) if key in output]
        output = [*named, *output.values()]
    if isinstance(output, (tuple, list)):
        return next((found for item in output if (found := first_tensor(item)) is not None), None)
    return None


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Every tensor in nested arguments or results."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from tensors_in(item)
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from tensors_in(getattr(value, field.name))


class _Provenance(TorchFunctionMode):
    """Marks each tensor with the convolutions that it directly comes from, in the tensor's own attributes.

    `activated` collects the tokens of the tensors that one activation alone was applied to, and nothing else. What only
    passes values on, such as an idle dropout, is looked through: what it returns stands for what it was given.
    """

    def __init__(self) -> None:
        super().__init__()
        self._activated: set[tuple[int, int]] = set()
        self._read: set[tuple[int, int]] = set()
        self._same: dict[tuple[int, int], tuple[int, int]] = {}

    @property
    def activated(self) -> set[tuple[int, int]]:
        """As said of the class."""
        return self._activated - self._read

    def first(self, taken: tuple[int, int]) -> tuple[int, int]:
        """The token of the tensor that first held these values."""
        while taken in self._same:
            taken = self._same[taken]
        return taken

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        given = list(tensors_in((args, kwargs)))
        taken = [token(t) if "vislib_serial" in t.__dict__ else None for t in given]
        activating = activates(func, args, kwargs)
        result = func(*args, **kwargs)
        made = [t for t in tensors_in(result) if not isinstance(t, nn.Parameter)]
        if taken and taken[0] is not None and _passes_on(func, given[0], taken[0], made):
            if made[0] is not given[0]:
                self._same[token(made[0])] = taken[0]
        else:
            self._watch(func, taken, activating)
        if made:
            origins = [_origin(t) for t in given]
            origin = frozenset().union(*origins) if origins else frozenset()
            active = activating or (is_idle(func) and any(_is_active(t) for t in given))
            follow(func, args, kwargs, given, made)
            for tensor in made:
                tensor.__dict__["vislib_origin"] = origin
                tensor.__dict__["vislib_active"] = version(tensor) if active else None
        return result

    def _watch(
        self, func: Callable[..., Any], given: Sequence[tuple[int, int] | None], activating: bool
    ) -> None:
        """Note which outputs of modules this function takes."""
        if getattr(func, "__name__", "") in _LOOKS:
            return
        for place, known in enumerate(given):
            if known is not None:
                taken = self.first(known)
                alone = activating and place == 0 and taken not in self._activated
                # Inside of a function with a backward of its own, nothing that is put in between gets a gradient.
                (self._activated if alone and not _in_own_function() else self._read).add(taken)


def _passes_on(
    func: Callable[..., Any], given: Tensor, taken: tuple[int, int], made: Sequence[Tensor]
) -> bool:
    """Whether the call gave back the very values that it was given, as dropout does in evaluation mode."""
    if not is_idle(func) or len(made) != 1:
        return False
    (result,) = made
    if result is given:
        return token(given) == taken
    if {result.layout, given.layout} != {torch.strided}:
        return False
    alike = (result.shape, result.dtype, result.device) == (given.shape, given.dtype, given.device)
    return alike and bool(torch.equal(result, given))


def _in_own_function() -> bool:
    """Whether a torch.autograd.Function's forward is what calls."""
    frame: FrameType | None = sys._getframe(2)
    for _ in range(_FRAMES):
        if frame is None:
            return False
        if isinstance(frame.f_locals.get("ctx"), FunctionCtx):
            return True
        frame = frame.f_back
    return False


def _is_active(tensor: Tensor) -> bool:
    """Whether the tensor's present values come out of an activation."""
    return tensor.__dict__.get("vislib_active") == version(tensor)


def _origin(tensor: Tensor) -> frozenset[str]:
    return tensor.__dict__.get("vislib_origin", frozenset())


_serial = itertools.count()


def token(tensor: Tensor) -> tuple[int, int]:
    """Two tokens are equal when they stand for the same values."""
    # An in-place operation keeps the tensor but changes its values: the version tells them apart.
    return tensor.__dict__.setdefault("vislib_serial", next(_serial)), version(tensor)


def version(tensor: Tensor) -> int:
    """How often the tensor has been written to; inference tensors do not count that."""
    return 0 if tensor.is_inference() else tensor._version


def _note(
    calls: dict[str, Call],
    scores: Callable[[Any], Tensor | None],
    name: str,
    called: nn.Module,
    inputs: tuple[Any, ...],
    output: Any,
) -> None:
    """Write down the first call of the module of that name."""
    if name in calls:
        return
    tensor = first_tensor(output) if name else scores(output)
    if tensor is None:
        return
    if isinstance(called, CONVOLUTIONS):
        tensor.__dict__["vislib_origin"] = frozenset({name})
        mark_maps(tensor)
    source = first_tensor(inputs)
    calls[name] = Call(
        name=name,
        module=called,
        order=len(calls),
        is_tensor=isinstance(output, Tensor),
        # What is no list of real numbers is no layer, but still the output where it is that.
        shape=tuple(tensor.shape) if not name or tensor.is_floating_point() else (),
        input_shape=() if source is None else tuple(source.shape),
        taken=None if source is None else token(source),
        given=token(tensor),
        origin=_origin(tensor),
        channels_first=channels_first(tensor),
        active=_is_active(tensor),
    )


def record(
    module: nn.Module, forward: Callable[[], Any], scores: Callable[[Any], Tensor | None]
) -> list[Call]:
    """First call of every module while `forward()` runs, in the order in which they finish.

    `scores` gives the tensor that stands for what the whole module puts out.
    """
    calls: dict[str, Call] = {}

    handles = [
        part.register_forward_hook(partial(_note, calls, scores, name))
        for name, part in module.named_modules()
    ]
    try:
        with torch.no_grad(), _Provenance() as provenance:
            forward()
    finally:
        for handle in handles:
            handle.remove()
    first, activated = provenance.first, provenance.activated
    return [
        replace(
            call,
            given=first(call.given),
            taken=None if call.taken is None else first(call.taken),
            activated=first(call.given) in activated,
        )
        for call in calls.values()
    ]


def find_layers(calls: list[Call], batch: int, axes: int) -> tuple[dict[str, Layer], dict[str, str]]:
    """Layers in execution order, "logits" last, and aliases (other name -> layer).

    The calls come from a probe with `batch` images of `axes` spatial axes.
    """
    maps = [
        c for c in calls if c.name and len(c.shape) == axes + 2 and c.shape[0] == batch and c.channels_first
    ]
    root = next(c for c in calls if not c.name)
    convs = {c.name: c for c in maps if isinstance(c.module, CONVOLUTIONS) and c.given != root.given}
    found = dict.fromkeys(convs, "conv")
    blocks, aliases = _blocks([c for c in maps if c.given != root.given], convs)
    found |= dict.fromkeys(blocks, "block")
    found |= {
        c.name: "dense"
        for c in calls
        if isinstance(c.module, nn.Linear)
        and len(c.shape) == 2
        and c.shape[0] == batch
        and c.given != root.given
    }
    norms = {c.taken: c for c in reversed(calls) if isinstance(c.module, BATCH_NORMS)}
    shown = {name: name if name != LOGITS else _beside_logits(calls) for name in found}
    layers = {
        shown[c.name]: _layer(c, shown[c.name], found[c.name], norms.get(c.given))
        for c in calls
        if c.name in found
    }
    layers[LOGITS] = Layer(LOGITS, "logits", root.shape[1], root.shape[2:], "")
    aliases = {name: shown[target] for name, target in aliases.items() if target in shown}
    aliases |= {c.name: LOGITS for c in calls if c.given == root.given and c.name}
    return layers, {name: target for name, target in aliases.items() if name not in layers}


def _beside_logits(calls: Iterable[Call]) -> str:
    """What a layer of a module called "logits" is called, since that name stands for the network's output."""
    taken, name = {call.name for call in calls}, f"{LOGITS} (module)"
    while name in taken:
        name += "'"
    return name


def _layer(call: Call, name: str, kind: str, norm: Call | None) -> Layer:
    """A convolution is read after its batch norm, and both before their activation, also where that is inside."""
    read, odd, inside = call, "", False
    if kind != "block" and not is_plain(call.module, call.input_shape):
        inside = call.active
        odd = "" if inside else "after its own function"
    elif kind == "conv" and norm is not None and norm.shape == call.shape:
        plain = is_plain(norm.module, norm.input_shape)
        inside = not plain and norm.active
        read, odd = (norm, "") if plain or inside else (call, "before its norm")
    activated, path = read.activated and not inside, call.name if name != call.name else ""
    return Layer(name, kind, call.shape[1], call.shape[2:], read.name, activated, inside, path, odd)


def _blocks(maps: Iterable[Call], convs: Mapping[str, Call]) -> tuple[list[str], dict[str, str]]:
    """Names of the composites to list, and aliases for the others: one output is one block."""
    by_module = {c.module: c.name for c in convs.values()}
    groups: dict[tuple[int, int], list[tuple[Call, list[str]]]] = {}
    for call in maps:
        inside = [by_module[m] for m in call.module.modules() if m in by_module]
        if inside and call.is_tensor and not isinstance(call.module, CONVOLUTIONS):
            groups.setdefault(call.given, []).append((call, inside))
    listed: list[str] = []
    aliases: dict[str, str] = {}
    for members in groups.values():
        outermost_first = sorted(members, key=lambda member: -member[0].order)
        target = _representative(outermost_first, convs)
        if target is None:
            continue
        if target not in convs:
            listed.append(target)
        aliases |= {call.name: target for call, _ in members if call.name != target}
    return listed, aliases


def _representative(members: list[tuple[Call, list[str]]], convs: Mapping[str, Call]) -> str | None:
    """The layer that stands for composites with one and the same output (outermost first)."""
    trunks = []
    for call, inside in members:
        if _wraps_one(call, inside):
            continue
        if len(inside) >= TRUNK * len(convs):
            trunks.append(call.name)
        else:
            return call.name
    origin = members[0][0].origin
    if (
        len(origin) == 1
    ):  # a flat trunk, or a convolution with its norm and activation: the convolution says it all
        return next(iter(origin & convs.keys()), None)
    return trunks[0] if trunks else None


def holds_most(name: str, names: list[str]) -> bool:
    """Whether the container `name` is a trunk: it holds nearly all of `names`."""
    return sum(other.startswith(f"{name}.") for other in names) >= TRUNK * len(names)


def _wraps_one(call: Call, inside: list[str]) -> bool:
    """Whether the composite is one convolution with norm, activation or pooling, and nothing else."""
    dense = any(isinstance(part, nn.Linear) for part in call.module.modules())
    return len(inside) == 1 and call.origin == frozenset(inside) and not dense
