"""Spreading: for each torch call known to act locally, how it changes a window of a map."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vislib.attribution.local import Handler, Local, Run
from vislib.attribution.tape import Ref, Rows, Step, mapped
from vislib.patching import is_activation

Made = tuple[Local | Tensor, ...] | None  # None: compute it on whole maps

_CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_MAX_POOLS = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVG_POOLS = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def handler(step: Step) -> Handler | None:
    """What computes this call on windows alone; None where only the whole maps will do."""
    return _HANDLERS.get(step.name) or (_elementwise if is_activation(step.func) else None)


@dataclass(frozen=True)
class _Sliding:
    """The geometry of a convolution or a pooling, one number an axis."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    before: tuple[int, ...]  # padding in front of the first element
    dilation: tuple[int, ...]

    def reached(self, held: Local, out: Sequence[int]) -> tuple[Tensor, tuple[int, ...]]:
        """Where the outputs start that the window has a part in, and how many they are at most."""
        starts, sizes = [], []
        for axis, own in enumerate(held.size):
            stride, span = self.stride[axis], self.dilation[axis] * (self.kernel[axis] - 1)
            size = min(out[axis], (own - 1 + span) // stride + 1)
            # Output o sees inputs from o * stride - before to that + span: the first that reaches the window.
            first = held.start[:, axis] + self.before[axis] - span
            first = -torch.div(-first, stride, rounding_mode="floor")
            starts.append(first.clamp(0, out[axis] - size))
            sizes.append(size)
        return torch.stack(starts, 1), tuple(sizes)

    def needed(self, start: Tensor, size: Sequence[int]) -> tuple[Tensor, tuple[int, ...]]:
        """Where the inputs start that these outputs see, and how many they are."""
        first = start * torch.tensor(self.stride) - torch.tensor(self.before)
        axes = zip(size, self.kernel, self.stride, self.dilation, strict=True)
        return first, tuple((many - 1) * by + step * (kernel - 1) + 1 for many, kernel, by, step in axes)


def _slide(
    run: Run, step: Step, sliding: _Sliding, fill: float, compute: Callable[[Tensor, Tensor], Tensor]
) -> Made:
    """`compute(region, start)` wherever the window has spread to."""
    source = _bound(step, "input")[0]
    held, out = run.local(source), step.outs[0]
    if held is None or len(step.outs) != 1 or not run.clean.is_map(source.value):
        return None
    start, size = sliding.reached(held, run.clean.spatial(out))
    if not run.pays(out, size):
        return None
    return (Local(compute(run.region(source.value, *sliding.needed(start, size), fill), start), start),)


def _convolution(run: Run, step: Step) -> Made:
    _, weight, bias, stride, padding, dilation, groups = _bound(
        step,
        *("input", "weight", "bias", "stride", "padding", "dilation", "groups"),
        **{"stride": 1, "padding": 0, "dilation": 1, "groups": 1},
    )
    axes = run.clean.axes
    kernel, by, step_by = tuple(weight.shape[2:]), _each(stride, axes), _each(dilation, axes)
    if padding == "same":
        before = tuple(gap * (size - 1) // 2 for gap, size in zip(step_by, kernel, strict=True))
    else:
        before = _each(0 if padding == "valid" else padding, axes)
    sliding = _Sliding(kernel, by, before, step_by)
    convolve = _CONVOLUTIONS[axes]
    return _slide(run, step, sliding, 0.0, lambda cut, _: convolve(cut, weight, bias, by, 0, step_by, groups))


def _max_pool(run: Run, step: Step) -> Made:
    _, kernel, stride, padding, dilation = _bound(
        step, "input", "kernel_size", "stride", "padding", "dilation", padding=0, dilation=1
    )
    axes = run.clean.axes
    size, step_by = _each(kernel, axes), _each(dilation, axes)
    by, pool = _each(stride, axes) if stride else size, _MAX_POOLS[axes]
    sliding = _Sliding(size, by, _each(padding, axes), step_by)
    return _slide(run, step, sliding, -math.inf, lambda cut, _: pool(cut, size, by, 0, step_by))


def _avg_pool(run: Run, step: Step) -> Made:
    source, kernel, stride, padding, _, includes, divisor = _bound(
        step,
        *("input", "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override"),
        **{"padding": 0, "count_include_pad": True},
    )
    axes, spatial = run.clean.axes, run.clean.spatial(source.value)
    size = _each(kernel, axes)
    by, before = _each(stride, axes) if stride else size, _each(padding, axes)
    if size == spatial and not any(before) and not divisor:
        return _global_mean(run, step)

    def divisors(start: Tensor, many: Sequence[int]) -> Tensor:
        """What each output's sum is divided by: less than the kernel's size where it hangs over the border."""
        result = torch.ones(())
        for axis, length in enumerate(many):
            first = (start[:, axis, None] + torch.arange(length)) * by[axis] - before[axis]
            last = (first + size[axis]).clamp(max=spatial[axis] + before[axis])
            if not includes:
                first, last = first.clamp(min=0), last.clamp(max=spatial[axis])
            result = result[..., None] * (last - first).view(-1, *[1] * axis, length)
        return result[:, None]

    def pool(cut: Tensor, start: Tensor) -> Tensor:
        summed = _AVG_POOLS[axes](cut, size, by) * math.prod(size)
        return summed / (divisor or divisors(start, summed.shape[2:]).to(summed))

    return _slide(run, step, _Sliding(size, by, before, (1,) * axes), 0.0, pool)


def _global_pool(run: Run, step: Step) -> Made:
    return _global_mean(run, step) if math.prod(run.clean.spatial(step.outs[0])) == 1 else None


def _mean(run: Run, step: Step) -> Made:
    dims = _bound(step, "input", "dim")[1]
    rank, axes = run.clean[step.ins[0]].ndim, run.clean.axes
    every = {dim % rank for dim in ([dims] if isinstance(dims, int) else dims or ())}
    return _global_mean(run, step) if every == set(range(rank - axes, rank)) else None


def _global_mean(run: Run, step: Step) -> Made:
    """The clean mean and what the window adds to it."""
    value, out = step.ins[0], run.clean[step.outs[0]]
    held = run.local(Ref(value))
    if held is None or not run.clean.is_map(value):
        return None
    positions = math.prod(run.clean.spatial(value))
    change = (held.data - run.clean_region(value)).flatten(2).sum(2) / positions
    return (out + change.view(run.rows, *out.shape[1:]),)


def _elementwise(run: Run, step: Step) -> Made:
    """A function of each element of one map, or of several maps at the same place."""
    axes = run.clean.axes
    constants = [item for item in _leaves((step.args, step.kwargs)) if isinstance(item, Tensor)]
    if any(size != 1 for item in constants for size in item.shape[-axes:]):
        return None  # a constant that differs from place to place
    return _at_each_place(run, step)


def _batch_norm(run: Run, step: Step) -> Made:
    training = _bound(step, "input", "mean", "var", "weight", "bias", "training")[5]
    return None if training else _at_each_place(run, step)


def _cat(run: Run, step: Step) -> Made:
    _, dim = _bound(step, "tensors", "dim", dim=0)
    return _at_each_place(run, step) if dim % (run.clean.axes + 2) == 1 else None


def _at_each_place(run: Run, step: Step) -> Made:
    """The call on the windows of its maps, first made to cover the same part."""
    values = (*step.ins, *step.outs)
    ranks = {run.clean[value].ndim for value in values}
    if len({run.clean.spatial(value) for value in values}) > 1 or len(ranks) > 1:
        return None
    start, size = run.joined(step.ins)
    several = len(step.ins) > 1
    if several and not (run.clean.is_map(step.ins[0]) and run.pays(step.ins[0], size)):
        return None
    if (
        step.name == "relu"
    ):  # in place without the copy: nothing reads its input any more, or the tape were no good
        relu = torch.relu_ if step.mutates else torch.relu
        return (Local(relu(run.region(step.ins[0], start, size)), start),)
    parts = {value: run.region(value, start, size) for value in step.ins}
    parts |= {value: parts[value].clone() for value in step.mutates}

    def change(item: Any) -> Any:
        return parts[item.value] if isinstance(item, Ref) else item

    return (Local(step.func(*mapped(step.args, change), **mapped(step.kwargs, change)), start),)


def _leading(run: Run, step: Step) -> Made:
    """Calls that only rearrange what stands before the spatial axes, such as `x[:, :3]`, chunk and view."""
    held, axes = run.local(_bound(step, "input")[0]), run.clean.axes
    if held is None or any(run.clean.spatial(out) != run.clean.spatial(step.ins[0]) for out in step.outs):
        return None
    rank = run.clean[step.ins[0]].ndim
    if not _LEADING[step.name](step, rank, rank - axes):
        return None
    args = step.args
    if step.name in ("view", "reshape"):
        args = (args[0], (*args[1][:-axes], *held.size))
    given = {Ref: held.data, Rows: run.rows}

    def change(item: Any) -> Any:
        return given.get(type(item), item)

    result = step.func(*mapped(args, change), **mapped(step.kwargs, change))
    made = result if isinstance(result, (tuple, list)) else (result,)
    return tuple(Local(data, held.start) for data in made)


def _leads(dim: Any, rank: int, leading: int) -> bool:
    return isinstance(dim, int) and 0 < dim % rank < leading


def _indexes_leading(step: Step, rank: int, leading: int) -> bool:
    index = step.args[1] if isinstance(step.args[1], tuple) else (step.args[1],)
    plain = all(isinstance(item, (int, slice)) for item in index)
    return plain and len(index) <= leading and index[0] == slice(None)


# Whether a call leaves the rows and the spatial axes alone, for a map of `rank` axes, `leading` before the spatial.
_LEADING: dict[str, Callable[[Step, int, int], bool]] = {
    "getitem": _indexes_leading,
    "unsqueeze": lambda step, rank, leading: _leads(_bound(step, "input", "dim")[1], rank + 1, leading + 1),
    "chunk": lambda step, rank, leading: _leads(_bound(step, "input", "chunks", "dim")[2], rank, leading),
    "split": lambda step, rank, leading: _leads(_bound(step, "input", "split", "dim")[2], rank, leading),
    "transpose": lambda step, rank, leading: all(_leads(dim, rank, leading) for dim in step.args[1:]),
    "view": lambda step, _rank, _leading: isinstance(step.args[1][0], Rows),
    "reshape": lambda step, _rank, _leading: isinstance(step.args[1][0], Rows),
}


def _leaves(value: Any) -> list[Any]:
    found: list[Any] = []
    mapped(value, found.append)
    return found


def _bound(step: Step, *names: str, **defaults: Any) -> list[Any]:
    """The arguments of a call in the order of these names."""
    return [
        step.args[place] if place < len(step.args) else step.kwargs.get(name, defaults.get(name))
        for place, name in enumerate(names)
    ]


def _each(value: Any, axes: int) -> tuple[int, ...]:
    """One number for each axis."""
    if isinstance(value, int):
        return (value,) * axes
    return tuple(value) * axes if len(value) == 1 else tuple(value)


_ELEMENTWISE = (
    *("add", "sub", "mul", "div", "truediv", "true_divide", "radd", "rsub", "rmul", "rtruediv", "rdiv"),
    *("iadd", "isub", "imul", "itruediv", "neg", "abs", "exp", "log", "sqrt", "rsqrt", "square", "pow"),
    *("clamp", "clamp_min", "clamp_max", "maximum", "minimum", "clone", "contiguous", "to", "float"),
    *("detach", "dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout"),
)
_HANDLERS: dict[str, Handler] = {
    **{f"conv{axes}d": _convolution for axes in (1, 2, 3)},
    **{f"max_pool{axes}d": _max_pool for axes in (1, 2, 3)},
    **{f"avg_pool{axes}d": _avg_pool for axes in (1, 2, 3)},
    **{f"adaptive_avg_pool{axes}d": _global_pool for axes in (1, 2, 3)},
    **dict.fromkeys(_ELEMENTWISE, _elementwise),
    **dict.fromkeys(_LEADING, _leading),
    **dict.fromkeys(("cat", "concat", "concatenate"), _cat),
    "mean": _mean,
    "batch_norm": _batch_norm,
    "prelu": _batch_norm,
}
