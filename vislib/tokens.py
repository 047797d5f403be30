"""Tokens: how much of a network comes after its last maps, in layers over tokens or over maps in another order."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from vislib.probe import CONVOLUTIONS, Call, Layer

_ATTENTION = (nn.MultiheadAttention,)
# From this share on the last maps are not where the network decides.
MOST = 0.5


@dataclass(frozen=True)
class Tokens:
    """What comes after the last listed maps without being listed.

    `after` is that layer's name; `share` says how much of all multiplications comes after it in such layers (at most
    1.0); `patches` whether it is a stem that cuts the image into patches which it sees one at a time; `example` is one
    of the layers that are not listed.
    """

    after: str
    share: float
    patches: bool
    example: str

    @property
    def decide(self) -> bool:
        """Whether the last maps know little of what the network decides by."""
        return self.patches or self.share > MOST


def find_tokens(calls: Sequence[Call], layers: Sequence[Layer]) -> Tokens | None:
    """What there is after the last listed layer with positions; None where nothing is or no layer has positions."""
    maps = [layer for layer in layers if layer.capture and max(layer.spatial, default=1) > 1]
    if not maps:
        return None
    order = {call.name: call.order for call in calls}
    last = maps[-1]
    convolutions = {c.name: c for c in calls if isinstance(c.module, CONVOLUTIONS)}
    work = {call.name: _work(call) for call in calls}
    tokens = {c.name: work[c.name] for c in calls if _over_tokens(c) and c.order > order[last.capture]}
    if not tokens:
        return None
    own = convolutions.get(last.name)
    first = min((call.order for call in convolutions.values()), default=-1)
    stem = own is not None and own.order == first and _cuts(own.module)
    share = sum(tokens.values()) / max(1.0, sum(work.values()))
    return Tokens(last.name, share, stem, max(tokens, key=tokens.__getitem__))


def _over_tokens(call: Call) -> bool:
    """Whether this is a dense layer or attention at every place of something that is no list of maps."""
    if isinstance(call.module, _ATTENTION):
        return True
    return isinstance(call.module, nn.Linear) and len(call.shape) > 2


def _work(call: Call) -> float:
    """Multiplications of a layer's own weights, for one image."""
    if isinstance(call.module, CONVOLUTIONS):
        places = math.prod(call.shape[2:])
    elif isinstance(call.module, nn.Linear):
        places = math.prod(call.shape[1:-1])
    elif isinstance(call.module, _ATTENTION):
        places = call.shape[-2] if call.module.batch_first else call.shape[0]
    else:
        return 0.0
    return float(places * sum(p.numel() for p in call.module.parameters() if p.ndim > 1))


def _cuts(convolution: nn.Module) -> bool:
    """Whether its windows lie side by side, each larger than a pixel."""
    kernel, stride = convolution.kernel_size, convolution.stride
    assert isinstance(kernel, tuple)
    return kernel == stride and max(kernel) > 1
