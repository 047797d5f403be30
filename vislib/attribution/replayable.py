"""Known calls: the torch functions that may be played again on other images, and those that are affine in them."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vislib.patching import first_argument, is_activation

# A call on this list checks what it is given, keeps nothing from one call to the next, draws nothing at random and
# gives each row of a batch what it would give that row alone. Recurrent calls are not on it: they take the state they
# start from as it is, and read and write out of bounds when it has another batch's size. Nor is attention, whose fast
# path checks as little.
_WEIGHTED = (
    *("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "linear"),
    *("batch_norm", "layer_norm", "group_norm", "rms_norm", "local_response_norm", "instance_norm"),
    "matmul",
)
_POOLING = (
    *(f"{kind}_pool{axes}d" for kind in ("max", "avg", "adaptive_avg", "lp") for axes in (1, 2, 3)),
    *(f"adaptive_max_pool{axes}d" for axes in (1, 2, 3)),
    *(f"{kind}max_pool{axes}d_with_indices" for kind in ("", "adaptive_") for axes in (1, 2, 3)),
    *("mean", "sum", "amax", "amin", "var", "std"),
)
_ELEMENTWISE = (
    *("add", "sub", "mul", "div", "truediv", "true_divide", "radd", "rsub", "rmul", "rtruediv", "rdiv"),
    *("iadd", "isub", "imul", "itruediv", "neg", "abs", "exp", "log", "sqrt", "rsqrt", "square", "pow"),
    *(
        "clamp",
        "clamp_min",
        "clamp_max",
        "maximum",
        "minimum",
        "clone",
        "contiguous",
        "to",
        "float",
        "double",
    ),
    *(
        "detach",
        "data",
        "sign",
        "erf",
        "log1p",
        "expm1",
        "sin",
        "cos",
        "tanhshrink",
        "softshrink",
        "hardshrink",
    ),
    *("threshold", "log_sigmoid"),
)
_DROPOUTS = ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout")
_ARRANGING = (
    *("flatten", "view", "reshape", "unflatten", "expand", "permute", "transpose", "swapaxes", "movedim"),
    *("squeeze", "unsqueeze", "chunk", "split", "unbind", "getitem", "narrow", "select", "cat", "concat"),
    *("concatenate", "stack", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "pad", "interpolate"),
)
_AFFINE_ARRANGING = frozenset(_ARRANGING) - {"interpolate"} | {
    "to",
    "float",
    "double",
    "clone",
    "contiguous",
    "flip",
}
_MOVING = ("permute", "transpose", "swapaxes", "movedim", "flip")
_SUMS = frozenset(("add", "sub", "radd", "rsub", "iadd", "isub", "neg", "mean", "sum"))
_PRODUCTS = frozenset(("mul", "rmul", "imul"))
_QUOTIENTS = frozenset(("div", "truediv", "true_divide", "itruediv"))
_ALONG = {"softmax": 1, "log_softmax": 1, "softmin": 1, "normalize": 2, "glu": 1}  # where the axis stands
_NAMES = frozenset((*_WEIGHTED, *_POOLING, *_ELEMENTWISE, *_DROPOUTS, *_ARRANGING, *_ALONG))
_HOMES = (torch, Tensor, F, torch._C._nn)
# What tells of a tensor's form and not of its values.
_FORM = frozenset(
    (
        *("size", "dim", "ndimension", "numel", "nelement", "stride", "len", "is_contiguous", "get_device"),
        *("is_floating_point", "is_complex", "element_size", "storage_offset", "is_inference", "result_type"),
        *("is_same_size", "hash", "type"),
    )
)


def call_name(func: Callable[..., Any]) -> str:
    """A torch function's name without the underscores of in-place and operator variants; a property's own."""
    name = getattr(func, "__name__", "")
    if name == "__get__":
        name = getattr(getattr(func, "__self__", None), "__name__", "")
    return str(name).strip("_")


def tells_form_alone(func: Callable[..., Any]) -> bool:
    """Whether what a call gives, no tensor, says nothing of the values of the tensors that it is given."""
    return getattr(func, "__name__", "") == "__get__" or call_name(func) in _FORM


def is_replayable(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether this call may be played again on other tensors in the place of some of its arguments."""
    name = call_name(func)
    if name == "flip":
        return False  # over the rows, perhaps
    if func in _ACTIVATIONS:
        return not (name == "rrelu" and _given(args, kwargs, 3, "training", False))
    if func not in _SAFE and not (name == "data" and getattr(func, "__name__", "") == "__get__"):
        return False
    if name in _DROPOUTS:
        # As a function it drops unless told otherwise; as torch.dropout it has to be told.
        return _given(args, kwargs, 2, "training", kwargs.get("train", True)) is False
    if name == "batch_norm":
        return _given(args, kwargs, 5, "training", False) is False
    if name == "instance_norm":  # whose own statistics are not kept
        return _given(args, kwargs, 1, "running_mean", None) is None or not _given(
            args, kwargs, 5, "use_input_stats", True
        )
    if name == "getitem":
        return _is_plain(args[1])
    if name in _ALONG:
        axis = _given(args, kwargs, _ALONG[name], "dim", 1 if name == "normalize" else -1)
        return isinstance(axis, int) and axis not in (0, -first_argument(args, kwargs).ndim)
    return True


def is_affine(
    func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], derived: Sequence[Tensor]
) -> bool:
    """Whether a call is affine in the tensors `derived` among its arguments, all else being constant.

    Nor may it move the first axis, that of the images.
    """
    name, data = call_name(func), first_argument(args, kwargs)
    if func not in _SAFE:
        return False
    if name in _MOVING:
        axes = [
            axis
            for part in (*args[1:], *kwargs.values())
            for axis in (part if isinstance(part, tuple | list) else [part])
        ]
        return axes[0] == 0 if name == "permute" else not {0, -data.ndim} & set(axes)
    if name == "getitem":
        return _is_plain(args[1])
    if name in _PRODUCTS:
        return len(derived) == 1
    if name in _QUOTIENTS:
        return len(derived) == 1 and derived[0] is data and not kwargs.get("rounding_mode")
    return name in _SUMS | _AFFINE_ARRANGING


def _is_plain(index: Any) -> bool:
    """Whether an index keeps the rows and names its places: no masks, no tensors."""
    items = index if isinstance(index, tuple) else (index,)
    plain = all(item is None or item is Ellipsis or type(item) in (int, slice) for item in items)
    return plain and len(items) > 0 and (items[0] is Ellipsis or items[0] == slice(None))


def _given(args: tuple[Any, ...], kwargs: dict[str, Any], place: int, name: str, default: Any) -> Any:
    return args[place] if len(args) > place else kwargs.get(name, default)


def _functions(wanted: Callable[[Callable[..., Any]], bool]) -> frozenset[Callable[..., Any]]:
    """Torch's own functions, by identity: a function of somebody else's may have the same name."""
    own = (getattr(home, name, None) for home in _HOMES for name in dir(home) if name != "__get__")
    return frozenset(func for func in own if callable(func) and _is_hashable(func) and wanted(func))


def _is_hashable(func: Any) -> bool:
    return type(func).__hash__ is not None


_SAFE = _functions(lambda func: call_name(func) in _NAMES | {"flip"})
_ACTIVATIONS = _functions(is_activation)
