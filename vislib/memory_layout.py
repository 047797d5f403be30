"""Memory layout: the order of axes in which a network's 2-D maps lie in memory, fast where the module allows it."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vislib.errors import VislibError

PLAIN = torch.contiguous_format
# A gradient may differ so much of its largest value with the batch; a wrong one differs by a tenth and more.
_ROUNDED = 0.02
# What looks past a tensor's values at the memory that they lie in.
_READERS = {
    "as_strided",
    "as_strided_",
    "stride",
    "data_ptr",
    "storage",
    "untyped_storage",
    "storage_offset",
    "is_contiguous",
}


def fast_layout(axes: int) -> torch.memory_format:
    """The layout in which a CPU's convolutions over so many spatial axes are fastest."""
    return torch.channels_last if axes == 2 else PLAIN


def lay_out(module: nn.Module, layout: torch.memory_format) -> None:
    """Keep the weights of 2-D convolutions in this layout; their values stay."""
    for parameter in module.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=layout)


class MemoryWatch(TorchFunctionMode):
    """Notes inside the `with` what depends on how tensors lie in memory.

    `.read`: something asks for it. `.norms`: a norm standardises by what it is given, of which torch has wrong
    gradients for one image where channels lie last.
    """

    def __init__(self) -> None:
        super().__init__()
        self.read = self.norms = False

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        self.read = self.read or name in _READERS
        self.norms = self.norms or name == "instance_norm" or (name == "batch_norm" and _trains(args, kwargs))
        return func(*args, **(kwargs or {}))


def _trains(args: Any, kwargs: Any) -> bool:
    """Whether a call of `F.batch_norm` or `torch.batch_norm` standardises by what it is given."""
    return bool((kwargs or {}).get("training", args[5] if len(args) > 5 else False))


def same_way_back(answer: Callable[[Tensor], Any], image: Float[Tensor, "one c *spatial"]) -> bool:
    """Whether an image alone has the gradient that it has beside a copy of itself.

    With channels last, torch 2.15's instance norm gives another one for a batch of one.
    """
    gradients = []
    for batch in (image, torch.cat([image, image])):
        leaf = batch.clone().requires_grad_()
        try:
            scores = answer(leaf)
            (gradient,) = torch.autograd.grad(scores[:1].double().square().sum(), leaf)
        except (VislibError, RuntimeError, TypeError, IndexError, AttributeError):
            return True  # there is none to be wrong
        gradients.append(gradient[0])
    one, other = gradients
    # What is not finite is told elsewhere, and is no layout's fault.
    known = torch.isfinite(one) & torch.isfinite(other)
    if not bool(known.any()):
        return True
    return bool((one - other)[known].abs().amax() <= _ROUNDED * other[known].abs().amax())
