"""Output: which tensor of what a module returns is its scores, and how they are read before its last softmax."""

import dataclasses
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor
from torch.overrides import TorchFunctionMode

from vislib.errors import NetworkError
from vislib.head import as_scores
from vislib.probe import tensors_in

Key = str | int

# What a module may end with, and whether it shares one probability among the units.
ENDINGS = {
    "softmax": True,
    "log_softmax": True,
    "sigmoid": False,
    "expit": False,
    "logsigmoid": False,
    "log_sigmoid": False,
}
# Named so by who wrote the module: these are no guess.
SCORES = "logits"
# torchvision's segmentation networks: the scores, and those of a second classifier that only training uses.
SEGMENTATION = ("out", {"aux"})

_LAST = 4  # softmaxes and sigmoids that are remembered
_BEYOND = 0.01  # of what are taken for probabilities, rounding may go beyond 0 and 1
# Of a tensor: the softmax or sigmoid that it was computed from, and from nothing else ...
_CAME = "_vislib_came_of"
# ... and the number of the one whose results it is, in their order and perhaps in another shape.
_IS = "_vislib_is"
# What gives a tensor another shape and leaves its values as they are, in their order.
_SHAPES = {
    "view",
    "reshape",
    "flatten",
    "unflatten",
    "squeeze",
    "unsqueeze",
    "ravel",
    "view_as",
    "reshape_as",
    "contiguous",
    "clone",
}
# What takes tensors apart and puts them together: of logarithms anything else is another probability's, or none.
_KEEPING = _SHAPES | {
    *(
        "__getitem__",
        "cat",
        "concat",
        "stack",
        "hstack",
        "vstack",
        "select",
        "narrow",
        "chunk",
        "split",
        "unbind",
    ),
    *("index_select", "gather", "topk", "sort", "flip", "permute", "transpose", "movedim", "swapaxes", "t"),
    *("to", "float", "double", "half", "bfloat16"),
}


@dataclass(frozen=True)
class Output:
    """How a module's scores are got: the item `key` of what it returns, and what is done to it.

    `stepped` reads what goes into the softmax or sigmoid that the module ends with; `inverted` takes the logarithm,
    or the log-odds, of probabilities that come out of it in another way (`logs`: of their logarithms).
    """

    key: Key | None = None
    stepped: bool = False
    inverted: bool = False
    exclusive: bool = False
    # Not among what names a stored run: these follow from the module.
    logs: bool = field(default=False, repr=False)
    one_unit: bool = field(default=False, repr=False)  # its values (n, *spatial) are those of one unit
    flat: bool = field(default=False, repr=False)  # its values (n, units, 1, ...) have no positions

    def read(self, output: Any, endings: "Endings | None" = None) -> Tensor | None:
        """The scores (n, units, *spatial) in what the module returned; None where there is no tensor."""
        tensor = item(output, self.key)
        if tensor is None:
            return None
        if self.stepped and endings is not None and (before := endings.before(tensor)) is not None:
            tensor = before.reshape(tensor.shape)
        elif self.inverted or self.stepped:
            tensor = as_scores(tensor.exp() if self.logs else self._checked(tensor), self.exclusive)
        return self.formed(tensor)

    def formed(self, values: Tensor) -> Tensor:
        """The values with the axes (n, units, *spatial)."""
        if self.flat:
            return values.flatten(1)
        return values[:, None] if values.ndim == 1 or self.one_unit else values

    def _checked(self, values: Tensor) -> Tensor:
        """What were taken for probabilities; raises NetworkError where an image shows that they are none."""
        wrong = values < -_BEYOND
        if not self.exclusive:  # these may be percentages
            wrong = wrong | (values > 1 + _BEYOND)
        if bool(wrong.any()):
            raise NetworkError(
                f"The network puts out {float(values[wrong][0]):.3g} for this image, where the values for others, "
                'between 0 and 1, were taken for probabilities; say head = "score" (in the card, or in '
                "Network.from_module)."
            )
        return values

    @property
    def normalised(self) -> bool:
        """Whether the module puts out probabilities itself."""
        return self.stepped or self.inverted

    def averaged(self, scores: Float[Tensor, "n units *spatial"]) -> Float[Tensor, "n units"]:
        """One score a unit: the mean over positions, or, where each has a probability, the score of their mean."""
        if scores.ndim <= 2:
            return scores
        if not self.normalised or scores[0, 0].numel() == 1:
            return scores.flatten(2).mean(2)
        exact = scores.double().flatten(2)
        shares = exact.softmax(1) if self.exclusive else exact.sigmoid()
        return as_scores(shares.mean(2), self.exclusive).to(scores.dtype)

    def watch(self) -> "Endings | None":
        """What must be active while the module runs, for `read`."""
        return Endings() if self.stepped else None


class Seen(NamedTuple):
    """Values that a module put out, what went into the last softmax or sigmoid, and which of ENDINGS it was, or "".

    `came_of` names a softmax or sigmoid whose results were taken apart, put together or rounded to these values.
    """

    values: Tensor
    before: Tensor | None
    ending: str
    came_of: str


class Endings(TorchFunctionMode):
    """Remembers what went into the last softmaxes and sigmoids, in this thread, inside the `with`."""

    def __init__(self) -> None:
        super().__init__()
        # A module that attends has many large ones before its last; a few suffice for modules of several heads.
        self._seen: deque[tuple[int, Tensor, str]] = deque(maxlen=_LAST)
        # Their results and copies of these; kept, so that no other tensor gets their memory.
        self._results: deque[tuple[int, Tensor]] = deque(maxlen=2 * _LAST)
        self._changed: set[int] = set()  # the numbers of those that were written into
        self._count = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name = getattr(func, "__name__", "").removeprefix("special_")
        source = args[0] if args else (kwargs or {}).get("input")
        if name.endswith("_") and name.rstrip("_") in ENDINGS and isinstance(source, Tensor):
            name, source = name.rstrip("_"), source.clone()  # it will be overwritten
        result = func(*args, **(kwargs or {}))
        written = (kwargs or {}).get("out")
        if _overwrites(name) or written is not None:
            self._note_writing(source if written is None else written)
        if isinstance(result, tuple | list):
            self._part(name, source, result)
        if not isinstance(result, Tensor) or not result.is_floating_point():
            return result
        if name in ENDINGS and isinstance(source, Tensor):
            self._count += 1
            self._seen.append((self._count, source, name))
            setattr(result, _CAME, name)
            self._mark(result, self._count)
        elif name != "__get__":
            given = [one for one in tensors_in((args, kwargs or {})) if one.is_floating_point()]
            came = [getattr(one, _CAME, "") for one in given]
            if given and all(came) and (name in _KEEPING or not came[0].startswith("log")):
                setattr(result, _CAME, came[0])
            if given and (name in _SHAPES or _only_axes(name, args)) and result.numel() == given[0].numel():
                self._mark(result, getattr(given[0], _IS, None))
        return result

    def _mark(self, tensor: Tensor, number: int | None) -> None:
        setattr(tensor, _IS, number)
        if number is not None:
            self._results.append((number, tensor))

    def _note_writing(self, written: Any) -> None:
        """What shares memory with a result is no longer that result, through whichever view it was written to."""
        if not self._results:  # as for every ReLU in place before the first softmax
            return
        for tensor in tensors_in(written):
            setattr(tensor, _IS, None)
        memory = {_memory(tensor) for tensor in tensors_in(written)} - {None}
        self._changed |= {number for number, result in self._results if _memory(result) in memory}

    def _part(self, name: str, source: Any, parts: Any) -> None:
        """What a tensor is taken apart into, as by `chunk`, comes of what it came of."""
        came = getattr(source, _CAME, "")
        for part in parts if came and name in _KEEPING else ():
            if isinstance(part, Tensor):
                setattr(part, _CAME, came)

    def before(self, tensor: Tensor) -> Tensor | None:
        """What went into the softmax or sigmoid that `tensor` came out of."""
        return self.seen(tensor).before

    def seen(self, tensor: Tensor) -> "Seen":
        """What `tensor` came out of."""
        # By where it came from and not by its values: they may be the same for some images and not for others.
        known = getattr(tensor, _IS, None)
        known = None if known in self._changed else known
        found = ((source, name) for number, source, name in self._seen if number == known)
        before, ending = next(found, (None, ""))
        return Seen(tensor, before, ending, getattr(tensor, _CAME, ""))


def _memory(tensor: Tensor) -> int | None:
    """Where a tensor's values lie, the same for all its views; None where that cannot be asked."""
    try:
        return tensor.untyped_storage().data_ptr() or None
    except RuntimeError:  # as of what torch.func maps over
        return None


def _overwrites(name: str) -> bool:
    """Whether a call changes the values of its first tensor, as `mul_`, `*=` and `p[0] = 1` do."""
    special = name.startswith("__")
    return name in ("__setitem__", "__set__") or (name.startswith("__i") if special else name.endswith("_"))


def _only_axes(name: str, args: Any) -> bool:
    """Whether a call takes whole axes of a tensor, as `p[:, :, None]` does."""
    if name != "__getitem__" or len(args) < 2:
        return False
    places = args[1] if isinstance(args[1], tuple) else (args[1],)
    return all(
        one is None or one is ... or (isinstance(one, slice) and one.step in (None, 1)) for one in places
    )


def items(output: Any, path: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor in what a module returned, with its place in words."""
    if isinstance(output, Tensor):
        yield path, output
        return
    if dataclasses.is_dataclass(output) and not isinstance(output, Mapping):
        output = {field.name: getattr(output, field.name) for field in dataclasses.fields(output)}
    names = _names(output)
    if isinstance(output, Mapping):
        for key, value in output.items():
            yield from items(value, f"{path}.{key}" if path else str(key))
    elif isinstance(output, (tuple, list)):
        for index, value in enumerate(output):
            key = names[index] if names else index
            yield from items(value, f"{path}.{key}" if path else str(key))


def _names(output: Any) -> tuple[str, ...]:
    """The names of a named tuple's items; none of anything else."""
    return getattr(output, "_fields", ()) if isinstance(output, tuple) else ()


def item(output: Any, key: Key | None) -> Tensor | None:
    """The tensor at `key` ("logits", 1, "heads.0"), or the first where no key is needed; None where there is none."""
    found = list(items(output))
    if key is None:
        return found[0][1] if found else None
    # A key of that very name is meant before a nested item ("a.b" of {"a.b": x, "a": {"b": y}}).
    if isinstance(output, Mapping) and isinstance(itself := _get(output, key), Tensor):
        return itself
    same = [tensor for path, tensor in found if path == str(key)]
    inside = same[:1] or [tensor for path, tensor in found if path.startswith(f"{key}.")]
    if not inside and isinstance(key, int) and _names(output):
        inside = [tensor for _, tensor in found[key : key + 1]]
    return inside[0] if len(inside) == 1 else None


def _get(output: Mapping[Any, Any], key: Key) -> Any:
    """The mapping's value of that key; None where it has none."""
    return next((value for name, value in output.items() if type(name) is type(key) and name == key), None)


def choose(name: str, output: Any, key: Key | None, batch: int) -> Key | None:
    """The key of the scores in the answer to `batch` images; raises NetworkError where it would be a guess."""
    found: list[tuple[str, Tensor]] = []
    for path, tensor in items(output):
        known = any(tensor is other for _, other in found)
        if tensor.is_floating_point() and tensor.ndim >= 1 and tensor.shape[0] == batch and not known:
            found.append((path, tensor))
    if key is not None:
        if item(output, key) is None:
            raise NetworkError(
                f"{name} was given output {key!r}, which its output does not have; it has {listed(output)}."
            )
        return key
    if isinstance(output, Tensor) or not found:
        return None
    first, others = SEGMENTATION
    paths = [path for path, _ in found]
    named = [path for path in paths if path == SCORES]
    if first in paths and set(paths) - {first} <= others:
        named = [first]
    if len(found) > 1 and not named:
        raise NetworkError(
            f"{name} puts out several tensors that may be its class scores: {listed(output)}; name the one that is "
            'with the key output, such as output = 1 or output = "logits" (in the card or in Network.from_module).'
        )
    return (named or paths)[0]


def listed(output: Any) -> str:
    """Each tensor of an output with its shape, for a message."""
    found = list(items(output))
    if isinstance(output, Tensor):
        return f"one tensor of shape {tuple(output.shape)}"
    return ", ".join(f"{path} {tuple(tensor.shape)}" for path, tensor in found) or "no tensor"
