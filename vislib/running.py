"""Running: a module's forward pass, of which every exception becomes one sentence."""

import traceback
from typing import Any

from torch import Tensor, nn

from vislib.errors import NetworkError, VislibError, out_of_memory

# Images that a network is opened with. Two: a module that drops or invents the batch axis shows itself at once.
PROBE_BATCH = 2


def run(module: nn.Module, prepared: Tensor, name: str, input_shape: tuple[int, ...]) -> Any:
    """What the module puts out for standardised images; raises NetworkError where it fails."""
    try:
        return module(prepared)
    except VislibError:
        raise
    except Exception as error:
        if out_of_memory(error):
            raise NetworkError(_out_of_memory(prepared, name)) from error
        raise NetworkError(_failure(module, prepared, name, input_shape, error)) from error


def _out_of_memory(prepared: Tensor, name: str) -> str:
    return (
        f"{name} ran out of memory on {prepared.device} with images of shape {tuple(prepared.shape)}; "
        "use fewer units at once or smaller images."
    )


def _failure(
    module: nn.Module, prepared: Tensor, name: str, input_shape: tuple[int, ...], error: Exception
) -> str:
    """Which module failed is read from the traceback: the innermost frame whose `self` is one of ours."""
    names = {part: path for path, part in module.named_modules()}
    culprit = ""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        owner = frame.f_locals.get("self")
        if isinstance(owner, nn.Module):
            culprit = names.get(owner, "") or culprit
    place = f"its module {culprit!r}" if culprit else "its forward"
    said = str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else "no message"
    why = f"it was made for images of shape {input_shape} each"
    if tuple(prepared.shape[1:]) == input_shape and len(prepared) > PROBE_BATCH:
        why = f"it ran {PROBE_BATCH} images of this shape, so its forward may not take any number of them"
    return (
        f"{name} cannot run images of shape {tuple(prepared.shape)}: {place} raised "
        f"{type(error).__name__} ({said}); {why}."
    )
