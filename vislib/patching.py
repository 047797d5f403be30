"""Patching: what follows a layer is given another tensor, after the activation that directly follows the layer."""

from collections.abc import Callable
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
)
_ACTIVATIONS = frozenset(f"{name}{suffix}" for name in _NAMES for suffix in ("", "_"))


def first_row(patch: Patch) -> Patch:
    """The patch of one image that is run beside a copy of itself."""

    def patched(maps: Tensor) -> Tensor:
        return torch.cat([patch(maps[:1]), maps[1:]])

    return patched


def is_activation(func: Callable[..., Any]) -> bool:
    """Whether a torch function is an activation, such as `F.relu` or `Tensor.relu_`."""
    return getattr(func, "__name__", "") in _ACTIVATIONS


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
        if self._within and is_activation(func):
            source = first_argument(args, kwargs)
            # A copy, since the activation may work in place.
            self._within = dict.fromkeys(self._within, source.clone())
        return func(*args, **kwargs)


class AfterActivation(TorchFunctionMode):
    """Applies patches to the activations of the tensors that `expect` named, inside the `with`, in this thread."""

    def __init__(self) -> None:
        super().__init__()
        self._expected: list[tuple[Tensor, Patch]] = []

    def expect(self, tensor: Tensor, patch: Patch) -> None:
        """Have the activation of this very tensor patched, the next time that one is applied to it."""
        self._expected.append((tensor, patch))

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if self._expected and is_activation(func):
            source = first_argument(args, kwargs)
            for index, (tensor, patch) in enumerate(self._expected):
                if tensor is source:
                    del self._expected[index]
                    return _patched(func, source, args, kwargs, patch)
        return func(*args, **kwargs)


def _patched(
    func: Callable[..., Any], source: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any], patch: Patch
) -> Tensor:
    copied = source.clone()
    result = func(copied, *args[1:], **kwargs) if args else func(**{**kwargs, "input": copied})
    patched = patch(result)
    # In place: written into the old tensor, so that code which goes on with that one sees it.
    return source.copy_(patched) if result is copied else patched
