"""Tape: a network's forward pass as a list of torch calls, recorded to be played again on other images."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from vislib.attribution.replayable import call_name, is_replayable, tells_form_alone
from vislib.network import Network
from vislib.patching import is_activation

# Images in the two recordings: what differs between them hangs on the images, or on their number.
BATCHES = (2, 5)
_SHAPES = {"view", "reshape", "expand"}
_CHANNELWISE = {"clone", "contiguous", "dropout", "batch_norm", "flatten", "to", "detach"}


class TapeError(Exception):
    """The forward pass cannot be played again from what was recorded of it."""


@dataclass(frozen=True)
class Ref:
    """Stands for the value of this number in a call's arguments."""

    value: int


@dataclass(frozen=True)
class Rows:
    """Stands for the number of rows in a call's arguments."""


@dataclass(frozen=True, eq=False)
class Step:
    """One call: values in, values out; `mutates` lists the values whose memory it writes its result to."""

    name: str  # of the function, without the underscores of in-place and operator variants
    func: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    ins: tuple[int, ...]
    outs: tuple[int, ...]
    mutates: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Tape:
    """Steps from value 0, the images, to the value `output`; `shapes` are those of BATCHES[0] images.

    `layout` is the order of axes in memory that the network keeps 2-D maps in.
    """

    steps: tuple[Step, ...]
    shapes: dict[int, tuple[int, ...]]
    output: int
    layout: torch.memory_format = torch.contiguous_format

    def last_use(self) -> dict[int, list[int]]:
        """For each step's index, the values that nothing after it reads."""
        last = {value: index for index, step in enumerate(self.steps) for value in (*step.ins, *step.outs)}
        freed: dict[int, list[int]] = {}
        for value, index in last.items():
            if value != self.output:
                freed.setdefault(index, []).append(value)
        return freed

    def keeping(self, units: Sequence[int]) -> "Tape | None":
        """This tape with these channels of the output alone, where its last weights can be cut to them."""
        made = {out: index for index, step in enumerate(self.steps) for out in step.outs}
        readers = [value for step in self.steps for value in step.ins]
        steps, shapes, value = list(self.steps), dict(self.shapes), self.output
        while True:
            index = made.get(value)
            if index is None or shapes[value][1] != self.shapes[self.output][1]:
                return None
            step = steps[index]
            shapes[value] = (shapes[value][0], len(units), *shapes[value][2:])
            if step.name in ("conv1d", "conv2d", "conv3d", "linear"):
                steps[index] = _cut(step, units, self.shapes[value][1])
                before = self.shapes[step.ins[0]]
                plain = len(before) == 2 if step.name == "linear" else before[1] == _weight(step).shape[1]
                return replace(self, steps=tuple(steps), shapes=shapes) if plain else None
            if (
                len(step.ins) != 1
                or readers.count(step.ins[0]) != 1
                or not _is_channelwise(step, self.shapes)
            ):
                return None
            steps[index] = _cut(step, units, self.shapes[value][1])
            value = step.ins[0]


def record(network: Network, layer: str, spatial: Sequence[int]) -> Tape:
    """Watch `network` compute `layer` for images of these sizes; raises TapeError, NetworkError.

    It is watched twice, with other images and another number of them. A tape is made only where both passes were the
    same calls, all of them known to be replayable, with the same constants, and where each value had one row an image:
    what a pass keeps of its own batch (a mask, a state, a number, the side that an `if` took) shows as a difference.
    """
    if network.mixes:
        raise TapeError("The network's answer to an image depends on what else is in the batch.")
    first, second = (_recorded(network, layer, spatial, batch, seed) for seed, batch in enumerate(BATCHES))
    return _merged(first, second)


def _recorded(network: Network, layer: str, spatial: Sequence[int], batch: int, seed: int) -> Tape:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(batch, network.input_shape[0], *spatial, generator=generator)
    images = images.to(network.device, network.dtype)
    recorder = _Recorder(images)
    with torch.no_grad(), recorder:
        output = network.activations(images, [layer])[layer]
    return replace(recorder.tape(output), layout=network.layout)


def _merged(first: Tape, second: Tape) -> Tape:
    """What two recordings have in common; raises TapeError where that is not all."""
    if first.output != second.output or len(first.steps) != len(second.steps):
        raise TapeError("The network took another way for other images.")
    steps = []
    for one, other in zip(first.steps, second.steps, strict=True):
        same = ("name", "func", "ins", "outs", "mutates")
        if any(getattr(one, part) != getattr(other, part) for part in same):
            raise TapeError("The network took another way for other images.")
        args, kwargs = _common((one.args, one.kwargs), (other.args, other.kwargs))
        steps.append(replace(one, args=args, kwargs=kwargs))
    for value in {first.output, *(value for step in steps for value in (*step.ins, *step.outs))}:
        shapes = first.shapes[value], second.shapes[value]
        if tuple(shape[:1] for shape in shapes) != tuple((batch,) for batch in BATCHES):
            raise TapeError("A value on the way has not one row an image.")
        if shapes[0][1:] != shapes[1][1:]:
            raise TapeError("A value's form hangs on the images or their number.")
    return replace(first, steps=tuple(steps))


def _common(one: Any, other: Any) -> Any:
    """An argument of both recordings, with Rows for the number of images; raises TapeError where they differ."""
    if type(one) is not type(other):
        raise TapeError("A constant hangs on the images.")
    if isinstance(one, (tuple, list)) and len(one) == len(other):
        items = [_common(*pair) for pair in zip(one, other, strict=True)]
        return items if isinstance(one, list) else tuple(items)
    if isinstance(one, dict) and one.keys() == other.keys():
        return {key: _common(item, other[key]) for key, item in one.items()}
    if isinstance(one, Tensor):
        if one is other or (
            one.shape == other.shape and one.dtype == other.dtype and torch.equal(one, other)
        ):
            return one
    elif type(one) is int and (one, other) == BATCHES:
        return Rows()
    elif bool(one == other):
        return one
    raise TapeError("A constant hangs on the images or their number.")


def play(step: Step, values: Callable[[int], Any], rows: int) -> tuple[Tensor, ...]:
    """Call again with other values; what the call writes to is copied first. One tensor for each of `outs`."""
    if step.name == "relu":
        return (torch.relu(values(step.ins[0])),)  # the usual in-place one, without the copy
    copied = {value: values(value).clone() for value in step.mutates}
    given = partial(_given, copied, values, rows)
    result = step.func(*mapped(step.args, given), **mapped(step.kwargs, given))
    return tuple(result) if isinstance(result, (tuple, list)) else (result,)


def _given(copied: dict[int, Tensor], values: Callable[[int], Any], rows: int, item: Any) -> Any:
    """What an argument of a recorded call stands for."""
    if isinstance(item, Ref):
        return copied[item.value] if item.value in copied else values(item.value)
    return rows if isinstance(item, Rows) else item


class _Recorder(TorchFunctionMode):
    """Writes down each torch call of this thread that a value derived from the images goes into."""

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self._numbers = {id(images): 0}
        self._kept = [images]  # no tensor may die: another one would get its id
        self._steps: list[Step] = []
        self._shapes = {0: tuple(images.shape)}
        self._stale: set[int] = set()
        self._unsafe: set[int] = set()
        self._read = ""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        given = list(_tensors((args, kwargs)))
        versions = [_version(tensor) for tensor in given]
        numbered = [mapped(part, self._reference) for part in (args, kwargs)]
        safe = is_replayable(func, args, kwargs)
        result = func(*args, **kwargs)
        written = [t for t, version in zip(given, versions, strict=True) if _version(t) != version]
        before = len(self._shapes)
        self._note(func, numbered, result, written)
        if not safe:
            self._unsafe |= set(range(before, len(self._shapes)))
        return result

    def tape(self, output: Tensor) -> Tape:
        """What `output` came from; raises TapeError."""
        if id(output) not in self._numbers:
            raise TapeError("The output was not computed by torch calls that can be seen.")
        if self._read:
            raise TapeError(f"The network reads values with {self._read}, and may go by them.")
        number = self._numbers[id(output)]
        needed, steps = {number}, []
        for step in reversed(self._steps):
            if needed & set(step.outs):
                needed |= set(step.ins)
                steps.append(step)
        if needed & self._stale:
            raise TapeError("A tensor was read after another view of its memory was written to.")
        if needed & self._unsafe:
            raise TapeError("A call on the way is not known to be the same for other images.")
        return Tape(tuple(reversed(steps)), self._shapes, number)

    def _reference(self, item: Any) -> Any:
        if isinstance(item, Tensor) and id(item) in self._numbers:
            return Ref(self._numbers[id(item)])
        return item

    def _note(
        self, func: Callable[..., Any], numbered: Sequence[Any], result: Any, written: Sequence[Tensor]
    ) -> None:
        args, kwargs = numbered
        ins = tuple(dict.fromkeys(item.value for item in _items((args, kwargs)) if isinstance(item, Ref)))
        single = isinstance(result, Tensor)
        made = [result] if single else list(result) if isinstance(result, (tuple, list)) else []
        if not ins:
            return
        if any(not isinstance(item, Tensor) and item is not None for item in made or [result]):
            self._read = self._read if tells_form_alone(func) else call_name(func)
        mutates = tuple(self._numbers.get(id(tensor), -1) for tensor in written)
        if written and (-1 in mutates or not single or not any(result is tensor for tensor in written)):
            self._stale |= set(ins)  # such as x[:, 0] = y: what was written to is nowhere in the result
            return
        if not made or not all(isinstance(tensor, Tensor) for tensor in made):
            return
        if single and id(result) in self._numbers and not written:
            return  # the very tensor that went in
        for tensor in written:
            self._outdate(tensor)
        name = call_name(func)
        if name in _SHAPES:
            args = _sized(args)
        outs = tuple(self._number(tensor) for tensor in made)
        self._steps.append(Step(name, func, args, kwargs, ins, outs, mutates))

    def _number(self, tensor: Tensor) -> int:
        number = len(self._shapes)
        self._kept.append(tensor)
        self._numbers[id(tensor)] = number
        self._shapes[number] = tuple(tensor.shape)
        return number

    def _outdate(self, written: Tensor) -> None:
        """Other tensors over the same memory have changed too: none of them may be read any more."""
        memory = written.untyped_storage().data_ptr()
        for tensor in self._kept:
            if tensor is not written and tensor.untyped_storage().data_ptr() == memory:
                self._shapes[len(self._shapes)] = tuple(tensor.shape)
                self._numbers[id(tensor)] = len(self._shapes) - 1
                self._stale.add(len(self._shapes) - 1)


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


def mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """Nested arguments with each leaf changed."""
    if isinstance(value, tuple) and not isinstance(value, torch.Size):
        return tuple(mapped(item, change) for item in value)
    if isinstance(value, list):
        return [mapped(item, change) for item in value]
    if isinstance(value, dict):
        return {key: mapped(item, change) for key, item in value.items()}
    return change(value)


def _items(value: Any) -> Iterator[Any]:
    """Each leaf of nested arguments."""
    if isinstance(value, (tuple, list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _items(item)
    else:
        yield value


def _tensors(value: Any) -> Iterator[Tensor]:
    return (item for item in _items(value) if isinstance(item, Tensor))


def _sized(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """A reshaping call's arguments, its sizes as one tuple."""
    sizes = args[1] if len(args) == 2 and isinstance(args[1], (tuple, list)) else args[1:]
    return (args[0], tuple(sizes))


def _weight(step: Step) -> Tensor:
    weight = step.args[1] if len(step.args) > 1 else step.kwargs["weight"]
    assert isinstance(weight, Tensor)
    return weight


def _is_channelwise(step: Step, shapes: dict[int, tuple[int, ...]]) -> bool:
    """Whether each channel of the output depends on that channel of the one input alone."""
    before, after = shapes[step.ins[0]], shapes[step.outs[0]]
    pooled = step.name.startswith(("max_pool", "avg_pool", "adaptive_avg_pool", "adaptive_max_pool", "mean"))
    fine = is_activation(step.func) and step.name != "prelu"
    same = len(step.outs) == 1 and before[:2] == after[:2]
    return same and (pooled or fine or step.name in _CHANNELWISE)


def _cut(step: Step, units: Sequence[int], channels: int) -> Step:
    """A call whose constant tensors, one entry a channel, are cut to those of `units`."""

    def cut(item: Any) -> Any:
        if isinstance(item, Tensor) and item.ndim > 0 and len(item) == channels:
            return item.detach()[list(units)]
        return item

    return replace(step, args=mapped(step.args, cut), kwargs=mapped(step.kwargs, cut))
