"""Reading: one forward pass that keeps what some layers put out, and has the network go on with other values."""

import contextlib
import threading
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any

from torch import Tensor, nn

from vislib.output import Output
from vislib.patching import AfterActivation, BeforeActivation, Patch
from vislib.probe import LOGITS, Layer, first_tensor


class _ReachedError(BaseException):
    """Leaves a forward pass whose rest nobody needs; no `except Exception` of a module stops it."""


class Reading:
    """Inside the `with`, hooks of this thread; `captured` holds clones of what the modules of the layers put out.

    The pass is left after the last layer asked for: the `with` takes that for its end. Hooks are gone afterwards,
    also after an exception.
    """

    def __init__(
        self,
        captures: Mapping[str, nn.Module],
        output: Output,
        layers: Iterable[Layer],
        patches: Mapping[Layer, Patch],
    ) -> None:
        self.captured: dict[nn.Module, Tensor] = {}
        self._captures, self._output, self._patches = captures, output, patches
        listed = list(layers)
        self._asked = {captures[layer.name]: layer for layer in listed}
        # A layer whose activation happens inside of what it is read from.
        self._inside = {captures[layer.name] for layer in listed if layer.inside}
        self._patched: set[Layer] = set()
        self._owner = threading.get_ident()
        self._before, self._after = BeforeActivation(), AfterActivation()
        asks_scores = any(layer.name == LOGITS for layer in self._asked.values())
        self._endings = output.watch() if asks_scores else None
        self._active = contextlib.ExitStack()

    @property
    def not_patched(self) -> list[Layer]:
        """Layers to be gone through that the pass did not come to."""
        return [layer for layer in self._patches if layer not in self._patched]

    def __enter__(self) -> "Reading":
        # Read first, patched then: what a layer puts out is its own.
        handles = [part.register_forward_hook(self._keep) for part in self._asked]
        handles += [part.register_forward_pre_hook(self._enter) for part in self._inside]
        handles += [
            self._captures[layer.name].register_forward_hook(self._put(layer)) for layer in self._patches
        ]
        for handle in handles:
            self._active.callback(handle.remove)
        if self._patches:
            self._active.enter_context(self._after)
        if self._inside:
            self._active.enter_context(self._before)
        if self._endings is not None:
            self._active.enter_context(self._endings)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> bool:
        self._active.close()
        return kind is _ReachedError

    def _keep(self, called: nn.Module, _inputs: Any, output: Any) -> None:
        # A module used twice counts once; another thread that runs the module itself is none of ours.
        if called in self.captured or threading.get_ident() != self._owner:
            return
        if self._asked[called].name == LOGITS:
            tensor = self._output.read(output, self._endings)
        else:
            tensor = self._before.leave(called) if called in self._inside else first_tensor(output)
        if tensor is not None:
            self.captured[called] = tensor.clone()
        if len(self.captured) == len(self._asked):
            raise _ReachedError

    def _enter(self, called: nn.Module, _inputs: Any) -> None:
        if threading.get_ident() == self._owner:
            self._before.enter(called)

    def _put(self, layer: Layer) -> Callable[..., Tensor | None]:
        def hook(_called: nn.Module, _inputs: Any, output: Any) -> Tensor | None:
            if layer in self._patched or threading.get_ident() != self._owner:
                return None
            self._patched.add(layer)
            if not layer.activated:
                return self._patches[layer](output)
            self._after.expect(output, self._patches[layer])
            return None

        return hook
