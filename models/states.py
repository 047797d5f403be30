"""State dicts: read without running anything, unwrapped, checked against a module, and loaded."""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from vislib.errors import CardError

# Heads that only training uses; torchvision's GoogLeNet and Inception are built without them.
AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
OLD_DENSENET = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\.\w+)$")


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a state dict file, also of one wrapped in {"state_dict": …} or named "module.…".

    Read with weights_only=True: a file cannot run code. Raises CardError.
    """
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CardError(f"There are no weights at {path}; give the path of a PyTorch state dict.") from None
    except MemoryError:
        raise
    except Exception as error:  # torch raises whatever its unpickler, zip reader or the system does
        reason = str(error).strip().split("\n")[0][:200]
        raise CardError(
            f"The weights {path} cannot be read ({type(error).__name__}: {reason}); the file must be a state dict as "
            "torch.save(model.state_dict(), …) writes it."
        ) from error
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(held, Mapping) and isinstance(held.get(key), Mapping):
            held = held[key]
    if not isinstance(held, Mapping) or not held or not all(isinstance(v, Tensor) for v in held.values()):
        raise CardError(
            f"The weights {path} hold a {type(held).__name__} that is no state dict; save them with "
            "torch.save(model.state_dict(), …)."
        )
    state = {str(key): value for key, value in held.items()}
    if all(key.startswith("module.") for key in state):  # as torch's DataParallel names them
        state = {key.removeprefix("module."): value for key, value in state.items()}
    return state


def fit(name: str, module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load `state` into `module`; when it does not fit, raises CardError and changes nothing."""
    known = module.state_dict()
    given = {OLD_DENSENET.sub(r"\1\2", key): value for key, value in state.items()}
    given = {key: value for key, value in given.items() if key in known or not key.startswith(AUXILIARY)}
    missing = [key for key in known if key not in given and not key.endswith("num_batches_tracked")]
    extra = [key for key in given if key not in known]
    if missing or extra:
        says = [
            f"{len(keys)} {what} ({keys[0]}{', …' if keys[1:] else ''})"
            for keys, what in ((missing, "missing"), (extra, "unknown"))
            if keys
        ]
        raise CardError(
            f"The weights do not belong to {name}: {' and '.join(says)} of its {len(known)} tensors; "
            "give the weights of this architecture."
        )
    for key, value in given.items():
        if value.shape != known[key].shape:
            raise CardError(
                f"The weights do not fit {name}: {key} has shape {tuple(value.shape)}, but the network needs "
                f"{tuple(known[key].shape)}; give the weights of this architecture."
            )
    for key, value in given.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise CardError(f"The weights of {name} hold NaN or infinity in {key}; give sound weights.")
    module.load_state_dict(given, strict=False)
