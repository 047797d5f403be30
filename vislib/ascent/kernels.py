"""Faster CPU kernels for a climb: the way back through a network's first convolution, and ReLU in bfloat16."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.overrides import TorchFunctionMode

from vislib.relu import as_rectifier
from vislib.turns import ASIDE

FEW = 4  # input channels up to which the rewritten gradient is the faster one
_CONVOLUTION: dict[Callable[..., Tensor], int] = {torch.conv2d: 2, torch.conv3d: 3}
_FUNCTION = {2: torch.conv2d, 3: torch.conv3d}


class FastKernels(TorchFunctionMode):
    """Inside the `with`, in this thread: other kernels for the same values, where a CPU's own are slow.

    Strided convolutions of few channels get `input_gradient` as their backward: on 2 cores, with SqueezeNet's first one
    (7 x 7, stride 2, 3 channels), oneDNN's input gradient takes six times as long in float32, three times in
    bfloat16. ReLUs of bfloat16 run on the bits as whole numbers, four times as fast (which takes a NaN for a
    negative or a huge number). The module stays what it is. Between two operations, and before each convolution's way
    back, a climb stands aside while a short answer is computed.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        ASIDE.stand()
        dims = _CONVOLUTION.get(func)
        if dims is None:
            found = as_rectifier(func, args, kwargs)
            if found is None or found.high != math.inf or not _suits(found.values):
                return func(*args, **kwargs)
            return _Relu.apply(found.values, found.inplace)
        images, weight, bias, stride, padding, dilation, groups = _arguments(*args, **kwargs)
        plain = not isinstance(padding, str) and set(_each(dilation, dims)) == {1} and groups == 1
        frozen = not weight.requires_grad and (bias is None or not bias.requires_grad)
        fits = images.ndim == dims + 2 and weight.shape[1] <= FEW and images.device.type == "cpu"
        strided = max(_each(stride, dims)) > 1  # at stride 1 there is nothing to gather, and nothing gained
        if not (plain and frozen and fits and strided and images.requires_grad):
            return _standing(func(*args, **kwargs))
        return _standing(_Convolution.apply(images, weight, bias, _each(stride, dims), _each(padding, dims)))


def _standing(output: Tensor) -> Tensor:
    """A convolution's output, before whose way back others have their turn."""
    if output.requires_grad:
        output.register_hook(_stand)
    return output


def _stand(_gradient: Tensor) -> None:
    ASIDE.stand()


def _suits(values: Tensor) -> bool:
    cpu = values.dtype == torch.bfloat16 and values.device.type == "cpu"
    return cpu and values.grad_fn is not None and not values._is_view()


class _Relu(torch.autograd.Function):
    """The bits of a bfloat16, read as int16, are negative for negative numbers and keep the order of the others."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, inplace: bool) -> Tensor:
        output = values if inplace else values.clone()
        if inplace:
            ctx.mark_dirty(values)
        output.view(torch.int16).clamp_min_(0)
        ctx.save_for_backward(output)
        return output

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        bits, output = grads[0].view(torch.int16), ctx.saved_tensors[0].view(torch.int16)
        return torch.ops.aten.threshold_backward(bits, output, 0).view(torch.bfloat16), None


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        images: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: tuple[int, ...],
        padding: tuple[int, ...],
    ) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.facts = images.shape[2:], images.dtype, stride, padding
        return _FUNCTION[len(stride)](images, weight, bias, stride, padding)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        size, dtype, stride, padding = ctx.facts
        return (
            input_gradient(grads[0], ctx.saved_tensors[0], size, stride, padding).to(dtype),
            None,
            None,
            None,
            None,
        )


def input_gradient(
    gradient: Float[Tensor, "n out *outputs"],
    weight: Float[Tensor, "out c *kernel"],
    size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
) -> Float[Tensor, "n c *spatial"]:
    """The gradient of a convolution with respect to its input of `size`, as one stride-1 convolution.

    With j = i + padding = stride q + r, input pixel j receives `sum_u g[q - u] w[stride u + r]`: for every residue r
    a correlation of `g` with a flipped kernel of ceil(k / stride) taps. All residues together are one convolution
    with c * stride^dims output channels (which fills vector registers where c alone does not), interleaved at the end.
    """
    dims, out, c = len(stride), *weight.shape[:2]
    taps = [-(-k // s) for k, s in zip(weight.shape[2:], stride, strict=True)]
    grown = [edge for k, s, t in _backwards(weight.shape[2:], stride, taps) for edge in (0, t * s - k)]
    split = F.pad(weight, grown).reshape(
        out, c, *(n for t, s in zip(taps, stride, strict=True) for n in (t, s))
    )
    order = (1, *range(3, 3 + 2 * dims, 2), 0, *range(2, 2 + 2 * dims, 2))
    kernel = split.permute(order).reshape(c * math.prod(stride), out, *taps).flip(tuple(range(2, 2 + dims)))
    kernel = kernel.to(gradient.dtype)
    if dims == 2:
        kernel = kernel.contiguous(memory_format=torch.channels_last)
    parts = _FUNCTION[dims](gradient, kernel, None, 1, [t - 1 for t in taps])
    counts = parts.shape[2:]
    interleaved = parts.reshape(len(gradient), c, *stride, *counts).permute(
        0, 1, *(axis for d in range(dims) for axis in (2 + dims + d, 2 + d))
    )
    whole = interleaved.reshape(len(gradient), c, *(q * s for q, s in zip(counts, stride, strict=True)))
    return F.pad(
        whole, [edge for n, p, w in _backwards(size, padding, whole.shape[2:]) for edge in (-p, n + p - w)]
    )


def _backwards(*sequences: Sequence[int]) -> list[tuple[int, ...]]:
    """Per axis, last first: the order in which `F.pad` counts."""
    return list(zip(*sequences, strict=True))[::-1]


def _arguments(
    input: Tensor,  # noqa: A002 (torch's own names: callers may use them as keywords)
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> tuple[Any, ...]:
    return input, weight, bias, stride, padding, dilation, groups


def _each(value: Any, dims: int) -> tuple[int, ...]:
    return (value,) * dims if isinstance(value, int) else tuple(value) * (dims if len(value) == 1 else 1)
