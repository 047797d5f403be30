"""Freezing: the copy of a person's module that a network owns, without its wrappers, in eval mode and one layout."""

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from vislib.errors import NetworkError
from vislib.probe import tensors_in

# What holds the network in `module` and hands every call on to it.
_HOLDERS = (nn.DataParallel, nn.parallel.DistributedDataParallel, AveragedModel)


def frozen(name: str, module: nn.Module, device: torch.device) -> nn.Module:
    """A copy on `device`, unwrapped, in eval mode, its weights without gradients; raises NetworkError.

    The caller's module is left as it is.
    """
    if not isinstance(module, nn.Module):
        raise NetworkError(
            f"{name} was given a {type(module).__name__}; give an nn.Module (of an exported program: its .module())."
        )
    module = unwrapped(module)
    _check_parts(name, module)
    # Parts that are wrapped inside of a larger module are copied without their wrappers: names and speed are theirs.
    wrappers = [part for part in module.modules() if unwrapped(part) is not part]
    memo = _copies_of_computed(module)
    try:
        for wrapper in reversed(wrappers):  # the innermost ones first
            memo[id(wrapper)] = copy.deepcopy(unwrapped(wrapper), memo)
        copied = copy.deepcopy(module, memo).to(device).eval().requires_grad_(False)
    except Exception as error:
        said = str(error).strip().splitlines() or ["no message"]
        raise NetworkError(
            f"{name} could not be copied to {device}: {type(error).__name__} ({said[0]}); "
            "give a module that copy.deepcopy can copy and a device that is there."
        ) from error
    for part in copied.modules():
        _as_written(part)
    return copied


def _copies_of_computed(module: nn.Module) -> dict[int, Any]:
    """A memo for copy.deepcopy: what a past pass with gradients left behind is copied without its graph."""
    return {id(held): held.detach().clone() for held in _computed(module)}


def copy_of(module: nn.Module, *, sharing: bool = False) -> nn.Module:
    """A deep copy of a module; `sharing`: of all but its weights, which are the same."""
    weights: dict[int, Any] = {id(one): one for one in module.parameters()} if sharing else {}
    return copy.deepcopy(module, _copies_of_computed(module) | weights)


def unwrapped(module: nn.Module) -> nn.Module:
    """The network itself, where it stands in wrappers of torch.compile, DataParallel and their like."""
    while (inner := _inner(module)) is not None:
        module = inner
    return module


def _inner(module: nn.Module) -> nn.Module | None:
    if isinstance(module, _HOLDERS):
        return module.module
    if type(module).__module__.startswith("torch._dynamo"):  # not imported for this: that takes seconds
        return module._modules.get("_orig_mod")
    return None


def _computed(module: nn.Module) -> Iterator[Tensor]:
    """Tensors of a past pass that modules hold, such as a weight that a norm or a pruning mask makes anew each time.

    Other tools' hooks, which are copied with the module, hold such tensors as well.
    """
    for part in module.modules():
        for value in (*part.__dict__.values(), *part._buffers.values(), *_of_hooks(part)):
            yield from (tensor for tensor in tensors_in(value) if tensor.requires_grad and not tensor.is_leaf)


def _of_hooks(part: nn.Module) -> Iterator[object]:
    """What the objects keep that a module calls before and after its passes."""
    for hooks in (
        part._forward_hooks,
        part._forward_pre_hooks,
        part._backward_hooks,
        part._backward_pre_hooks,
    ):
        for hook in hooks.values():
            yield from getattr(getattr(hook, "__self__", hook), "__dict__", {}).values()


def _check_parts(name: str, module: nn.Module) -> None:
    """Refuse what cannot be looked into, or has no weights yet."""
    for path, part in module.named_modules():
        if isinstance(part, torch.jit.ScriptModule):
            what = f"{name}'s part {path!r} is" if path else f"{name} is"
            raise NetworkError(
                f"{what} a TorchScript module, which runs outside of Python, so that its layers cannot be watched or "
                "changed; give the nn.Module that it was made from, with the same weights."
            )
    for path, tensor in (*module.named_parameters(), *module.named_buffers()):
        if nn.parameter.is_lazy(tensor):
            raise NetworkError(
                f"{name}'s weight {path!r} does not exist yet: a lazy module gets its shape from a first input; "
                "run the module once and load its trained weights before it is opened."
            )
        if tensor.is_meta:
            raise NetworkError(
                f"{name}'s weight {path!r} has a shape but no values (it is on the meta device); "
                "load the trained weights before it is opened."
            )


def _as_written(part: nn.Module) -> None:
    """A forward that was compiled by itself would go on running the original's: take the class's own again."""
    forward, own = part.__dict__.get("forward"), type(part).forward
    if hasattr(forward, "_torchdynamo_orig_callable") and _named(forward) == _named(own):
        del part.__dict__["forward"]


def _named(function: Any) -> tuple[str, str]:
    return function.__module__, function.__qualname__
