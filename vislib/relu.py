"""ReLU backward rules: plain, deconvnet, guided, redirect, without touching the model."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from vislib.errors import NetworkError

RULES: Mapping[str, str] = {
    "plain": "backpropagation: the gradient passes where the input was positive",
    "deconvnet": "Zeiler & Fergus 2013: positive gradient passes, whatever the input was",
    "guided": "Springenberg et al. 2014: positive gradient passes where the input was positive",
    "redirect": "plain, but an image whose gradient would vanish here gets the one that revives dead units",
}
PASS = "pass"  # everything passes: of use for receptive fields, not for pictures

_RELU = {F.relu, torch.relu, Tensor.relu}
_RELU_INPLACE = {torch.relu_, Tensor.relu_}
_RELU6 = {F.relu6, torch._C._nn.relu6}
_RELU6_INPLACE = {torch._C._nn.relu6_}
_HARDTANH = {F.hardtanh, torch._C._nn.hardtanh}
_HARDTANH_INPLACE = {F.hardtanh_, torch._C._nn.hardtanh_}


@dataclass(frozen=True)
class Rectifier:
    """A call of max(0, x), or of min(max(0, x), high) as in ReLU6."""

    values: Tensor
    high: float
    inplace: bool


def as_rectifier(
    func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Rectifier | None:
    """Read a torch call as a rectifier; None for others, clamp among them: most clamps guard numbers."""
    if func in _RELU or func in _RELU_INPLACE:
        high = math.inf
    elif func in _RELU6 or func in _RELU6_INPLACE:
        high = 6.0
    elif func in _HARDTANH or func in _HARDTANH_INPLACE:
        low, high = _argument(args, kwargs, 1, "min_val", -1.0), _argument(args, kwargs, 2, "max_val", 1.0)
        if low != 0 or high <= 0:
            return None
    else:
        return None
    inplace = func in _RELU_INPLACE | _RELU6_INPLACE | _HARDTANH_INPLACE
    flag = _argument(args, kwargs, 3 if func in _HARDTANH else 1, "inplace", False)
    return Rectifier(_argument(args, kwargs, 0, "input", None), float(high), inplace or bool(flag))


def _argument(args: tuple[Any, ...], kwargs: Mapping[str, Any], place: int, name: str, default: Any) -> Any:
    return args[place] if len(args) > place else kwargs.get(name, default)


class _Ruled(torch.autograd.Function):
    """A rectifier whose backward follows a rule; which inputs were cut off is read from the output."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, high: float, rule: str, inplace: bool) -> Tensor:
        # In place it stays, also on a view: code that relies on the side effect sees it.
        clamp = values.clamp_ if inplace else values.clamp
        output = clamp(min=0) if math.isinf(high) else clamp(min=0, max=high)
        if inplace:
            ctx.mark_dirty(output)
        ctx.save_for_backward(output)
        ctx.set_materialize_grads(False)  # where no gradient comes from above, none goes on
        ctx.high, ctx.rule = high, rule
        return output

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, None, None, None]:
        if grads[0] is None:
            return None, None, None, None
        (output,) = ctx.saved_tensors
        return _BACKWARD[ctx.rule](grads[0], output, ctx.high), None, None, None


def _deconvnet(grad: Tensor, output: Tensor, high: float) -> Tensor:
    return grad.clamp(min=0)


def _guided(grad: Tensor, output: Tensor, high: float) -> Tensor:
    passed = torch.ops.aten.threshold_backward(grad, output, 0)  # in one go where output > 0
    return passed.clamp_(min=0) if math.isinf(high) else passed.clamp_(min=0).masked_fill_(output >= high, 0)


def _redirect(grad: Tensor, output: Tensor, high: float) -> Tensor:
    """Row by row, so that the images of a batch stay independent."""
    below, above = output <= 0, output >= high
    plain = grad.masked_fill(below | above, 0)
    dead = plain.reshape(len(plain), -1).eq(0).all(1)
    deeper = (below & (grad < 0)) | (above & (grad > 0))
    revived = grad.masked_fill(deeper, 0)
    return torch.where(dead.view(-1, *[1] * (grad.ndim - 1)), revived, plain)


def _pass(grad: Tensor, output: Tensor, high: float) -> Tensor:
    return grad


_BACKWARD: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "deconvnet": _deconvnet,
    "guided": _guided,
    "redirect": _redirect,
    PASS: _pass,
}


class ReluRule(TorchFunctionMode):
    """Applies a rule to every ReLU called inside the `with`, in this thread; `calls` counts them."""

    def __init__(self, rule: str) -> None:
        super().__init__()
        self.rule = rule
        self.calls = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        found = as_rectifier(func, args, kwargs)
        if found is None:
            return func(*args, **kwargs)
        self.calls += 1
        if self.rule == "plain":
            return func(*args, **kwargs)
        return _Ruled.apply(found.values, found.high, self.rule, found.inplace)


def relu_rule(rule: str) -> ReluRule:
    """Context manager: ReLUs called inside it differentiate by `rule`; nothing in the model changes.

    Caught and counted in `.calls`: nn.ReLU, nn.ReLU6, `F.relu`, `torch.relu`, `Tensor.relu`, hardtanh from 0,
    in place too. When there were none (SiLU, GELU), every rule equals the plain gradient. The rule belongs to
    the forward: `torch.autograd.grad` may be called after the `with`. With z the input and R the gradient
    from above:

    - plain: R [z > 0];
    - deconvnet: R [R > 0] (Zeiler & Fergus 2013, arXiv 1311.2901);
    - guided: R [z > 0] [R > 0] (Springenberg et al. 2014, arXiv 1412.6806);
    - redirect: plain, but a batch row whose plain gradient is all zero keeps R where z <= 0 and R > 0 (Olah
      et al. 2017, lucid's redirected ReLU; there for a loss, here R is the gradient of an objective to
      maximise).

    ReLU6 is cut off at its upper end too. Raises NetworkError for an unknown rule.
    """
    if rule not in RULES:
        raise NetworkError(f"There is no ReLU rule {rule!r}; the rules are {', '.join(RULES)}.")
    return ReluRule(rule)
