"""Stem: the way from the images to a network's first convolution, and whether it is all that is seen of them."""

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.overrides import TorchFunctionMode

from vislib.attribution.replayable import call_name, is_affine, tells_form_alone
from vislib.patching import first_argument
from vislib.probe import tensors_in

_CONVOLUTIONS = {F.conv1d, F.conv2d, F.conv3d}
_SIZED = ("view", "reshape", "expand")


class Stem(TorchFunctionMode):
    """Follows the images through one forward pass, inside the `with`, in this thread.

    `edge` is the first convolution's output in the graph. `way` lists the calls that lead there, each with its
    constants; it is None where the network sees the images otherwise, too, or by a call that is not known to be affine
    in them. Two passes of equal ways have the same Jacobian from the images to that convolution, whatever the images
    are: nothing is measured on some images and believed of others.
    """

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self.edge: GradientEdge | None = None
        self.way: list[tuple[Any, ...]] | None = []
        self._rows = len(images)
        self._before = {id(images): images}  # kept: another tensor would get a dead one's id

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        mine = self.way is not None and any(id(t) in self._before for t in tensors_in((args, kwargs)))
        call = self._call(func, args, kwargs) if mine else ()
        result = func(*args, **kwargs)
        if mine:
            self._follow(func, args, kwargs, call, result)
        return result

    def _follow(
        self,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        call: tuple[Any, ...],
        result: Any,
    ) -> None:
        made = [tensor for tensor in tensors_in(result) if tensor.ndim > 0]
        if not made and (result is None or tells_form_alone(func)):
            return
        derived = [t for t in tensors_in((args, kwargs)) if id(t) in self._before]
        data = first_argument(args, kwargs)
        if self.way is None or self.edge is not None:
            self.way = None  # the images are seen again, past the first convolution
        elif any(len(tensor) != self._rows for tensor in made):
            self.way = None  # slices, crops or channels folded into the batch
        elif func in _CONVOLUTIONS and len(derived) == 1 and derived[0] is data and result.requires_grad:
            # An edge stays what it is when a ReLU works in place on the tensor.
            self.edge = get_gradient_edge(result)
            self.way.append(call)
        elif is_affine(func, args, kwargs, derived):
            self._before |= {id(tensor): tensor for tensor in made}
            self.way.append(call)
        else:
            self.way = None

    def _call(self, func: Callable[..., Any], args: Any, kwargs: Any) -> tuple[Any, ...]:
        sized = call_name(func) in _SIZED
        return (func, self._plain(args, sized), self._plain(kwargs, sized))

    def _plain(self, item: Any, sized: bool) -> Any:
        """An argument without the images, and in calls that are given sizes without their number."""
        if isinstance(item, (tuple, list)):
            return tuple(self._plain(part, sized) for part in item)
        if isinstance(item, dict):
            return {key: self._plain(part, sized) for key, part in item.items()}
        if isinstance(item, Tensor) and id(item) in self._before:
            return "images"
        return "rows" if sized and type(item) is int and item == self._rows else item


def same_way(one: Any, other: Any) -> bool:
    """Whether two ways, or parts of them, are the same calls with the same constants."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one is other or (
            one.shape == other.shape and one.dtype == other.dtype and bool((one == other).all())
        )
    if type(one) is not type(other):
        return False
    if isinstance(one, (tuple, list)):
        return len(one) == len(other) and all(same_way(*pair) for pair in zip(one, other, strict=True))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same_way(part, other[key]) for key, part in one.items())
    return bool(one == other)
