"""Patching: what follows a layer is given another tensor, after the activation that directly follows the layer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

Patch = Callable[[Tensor], Tensor]

# Functions that act on each element and that a layer's output may go through before anything else sees it.
_NAMES = (
    *(
        "relu",
        "relu6",
        "hardtanh",
        "leaky_relu",
        "prelu",
        "rrelu",
        "elu",
        "selu",
        "celu",
        "gelu",
        "silu",
        "mish",
    ),
    *("softplus", "hardswish", "hardsigmoid", "sigmoid", "tanh", "logsigmoid", "softsign", "threshold"),
    *("hardshrink", "softshrink", "tanhshrink", "sin"),
)
_ACTIVATIONS = frozenset(f"{name}{suffix}" for name in _NAMES for suffix in ("", "_"))
# What may stand between a layer and its activation, or between that and a module's end, without changing a value.
_IDLE = frozenset(
    (
        *("dropout", "dropout_", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_dropout"),
        *("feature_alpha_dropout", "contiguous", "clone", "to", "float", "type_as"),
    )
)


def first_row(patch: Patch) -> Patch:
    """The patch of one image that is run beside a copy of itself."""

    def patched(maps: Tensor) -> Tensor:
        return torch.cat([patch(maps[:1]), maps[1:]])

    return patched


def is_activation(func: Callable[..., Any]) -> bool:
    """Whether a torch function is an activation, such as `F.relu` or `Tensor.relu_`."""
    return getattr(func, "__name__", "") in _ACTIVATIONS


def activates(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether this call is an activation: that of such a function, or a ReLU written as a clamp from 0 on."""
    if is_activation(func):
        return True
    name = getattr(func, "__name__", "").rstrip("_")
    if name not in ("clamp", "clip", "clamp_min"):
        return False
    low = args[1] if len(args) > 1 else kwargs.get("min")
    return isinstance(low, int | float) and low == 0


def is_idle(func: Callable[..., Any]) -> bool:
    """Whether a torch function may give back the values that it was given, such as dropout in evaluation mode."""
    return getattr(func, "__name__", "") in _IDLE


def first_argument(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The tensor that an activation is applied to."""
    return args[0] if args else kwargs.get("input")


class BeforeActivation(TorchFunctionMode):
    """Keeps what goes into the last activation of each module that is being called, inside the `with`, in this thread.

    Of modules that end in an activation of their own: that is what they computed before it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._within: dict[nn.Module, Tensor | None] = {}

    def enter(self, module: nn.Module) -> None:
        """The module is about to be called."""
        self._within[module] = None

    def leave(self, module: nn.Module) -> Tensor | None:
        """What went into its last activation; None where there was none."""
        return self._within.pop(module, None)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if self._within and activates(func, args, kwargs):
            source = first_argument(args, kwargs)
            # A copy, since the activation may work in place.
            self._within = dict.fromkeys(self._within, source.clone())
        return func(*args, **kwargs)


@dataclass(frozen=True)
class _Expected:
    """Which tensors stand for the same values, one of which the activation will be applied to."""

    tensors: list[Tensor]
    patch: Patch

    def has(self, tensor: Any) -> bool:
        return any(one is tensor for one in self.tensors)


class AfterActivation(TorchFunctionMode):
    """Applies patches to the activations of the tensors that `expect` named, inside the `with`, in this thread."""

    def __init__(self) -> None:
        super().__init__()
        self._expected: list[_Expected] = []

    def expect(self, tensor: Tensor, patch: Patch) -> None:
        """Have the activation of this very tensor patched, or of its copy, the next time that one is applied to it."""
        self._expected.append(_Expected([tensor], patch))

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        source = first_argument(args, kwargs) if self._expected else None
        index = next((at for at, one in enumerate(self._expected) if one.has(source)), None)
        if index is not None and source is not None and activates(func, args, kwargs):
            return _patched(func, source, args, kwargs, self._expected.pop(index).patch)
        result = func(*args, **kwargs)
        if index is not None and is_idle(func):
            self._expected[index].tensors.append(result)
        return result


def _patched(
    func: Callable[..., Any], source: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any], patch: Patch
) -> Tensor:
    copied = source.clone()
    result = func(copied, *args[1:], **kwargs) if args else func(**{**kwargs, "input": copied})
    patched = patch(result)
    # In place: written into the old tensor, so that code which goes on with that one sees it.
    return source.copy_(patched) if result is copied else patched
