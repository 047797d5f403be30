"""Arrival: what really arrives at a network's first layer, beside what its card promises."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from vislib.arrival_causes import Own, Seen, cause, own_step
from vislib.errors import NetworkError
from vislib.network import Network
from vislib.probe import BATCH_NORMS, LOGITS
from vislib.standardisation import Standardisation

BINS = 48
MOST_CHANNELS = 12  # of which there are numbers; more are hardly looked at
_COLOURS = {"R": "red", "G": "green", "B": "blue"}


@dataclass(frozen=True)
class Channel:
    """One channel of what arrives; `counts` are of the histogram's bins, `promised` is its range by the card."""

    name: str
    mean: float
    sd: float
    low: float
    high: float
    counts: tuple[int, ...]
    promised: tuple[float, float] | None  # None where the network made other channels of them


@dataclass(frozen=True)
class Arrival:
    """What arrives; all sentences are "" where there is nothing to say."""

    layer: str  # the first layer's name; "" where the network has none that can be watched
    shape: tuple[int, ...]  # (n, channels, *spatial) of what arrives there
    channels: tuple[Channel, ...]
    edges: tuple[float, ...]  # of the bins, for all channels
    promise: str  # what the card says should arrive
    own: str  # what the network itself does to its input before that layer
    differs: str  # where this is not what was promised
    cause: str  # ... and what the likely cause is

    @property
    def agrees(self) -> bool:
        """Whether what arrives is what was promised."""
        return not self.differs


def arrival(network: Network, images: Float[Tensor, "n c *spatial"]) -> Arrival:
    """Watch these images arrive at the first layer; raises NetworkError where the network cannot run them.

    Sd is that of all values (not a sample's). A mean and std on the card promise a mean of about 0 and an sd of
    about 1 over the network's own kind of images, and values between what black and white become; without them
    it is the range alone.
    """
    layer = first_layer(network)
    seen = _watched(network, layer, images)
    probe = torch.rand(2, *images.shape[1:], generator=torch.Generator().manual_seed(0))
    probe[1] = (
        0.25 + 0.5 * probe[1]
    )  # what a network does to each image by its values is no fixed factor then
    own = own_step(_watched(network, layer, probe), network)
    differs, why = cause(network, seen, own)
    arrived = seen.arrived
    finite = arrived[np.isfinite(arrived)]
    promised = promised_ranges(network)
    names, order = _names(network, own, arrived.shape[1])
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    if order is not None:
        low, high = min(low, *(p[0] for p in promised)), max(high, *(p[1] for p in promised))
    edges = np.linspace(low, high if high > low else low + 1.0, BINS + 1)
    channels = tuple(
        _channel(name, arrived[:, place], edges, None if order is None else promised[place])
        for place, name in enumerate(names[:MOST_CHANNELS])
    )
    return Arrival(
        layer=layer,
        shape=tuple(arrived.shape),
        channels=channels,
        edges=tuple(edges.tolist()),
        promise=promise(network),
        own=own.words(layer or "the first layer"),
        differs=differs,
        cause=why,
    )


def first_layer(network: Network) -> str:
    """The first layer that has weights, by execution; "" where none is listed."""
    return next((layer.name for layer in network.layers.values() if layer.kind in ("conv", "dense")), "")


def promised_ranges(network: Network) -> list[tuple[float, float]]:
    """What black and white become by the card, for each channel in the network's own order."""
    count = network.input_shape[0]
    said = network.standardisation
    mean, std = (np.broadcast_to(np.array(values), count).tolist() for values in (said.mean, said.std))
    return [tuple((end - m) / s for end in said.range) for m, s in zip(mean, std, strict=True)]


def promise(network: Network) -> str:
    """What the card says should arrive, in words."""
    said, ranges = network.standardisation, promised_ranges(network)
    low, high = min(r[0] for r in ranges), max(r[1] for r in ranges)
    middle = ["mean about 0"] if any(said.mean) else []
    middle += ["sd about 1"] if any(s != 1 for s in said.std) else []
    over = f"{' and '.join(middle)} over its kind of images, " if middle else ""
    first = ", blue first" if said.channels == "BGR" else ""
    return f"{over}values from {low:.3g} to {high:.3g}{first}"


def _channel(
    name: str, values: np.ndarray, edges: np.ndarray, promised: tuple[float, float] | None
) -> Channel:
    known = values[np.isfinite(values)].astype(np.float64)
    if not known.size:
        nothing = float("nan")
        return Channel(name, nothing, nothing, nothing, nothing, (0,) * BINS, promised)
    counts, _ = np.histogram(known, edges)
    return Channel(
        name,
        float(known.mean()),
        float(known.std()),
        float(known.min()),
        float(known.max()),
        tuple(int(count) for count in counts),
        promised,
    )


def _names(network: Network, own: Own, count: int) -> tuple[list[str], list[int] | None]:
    """What the arriving channels are called, and which of the prepared ones they are, where that is known."""
    own_count = network.input_shape[0]
    if count != own_count:
        return [f"channel {place}" for place in range(count)], None
    order = [place for place, _, _ in own.fits] if own.fits else list(range(count))
    if own_count == 1:
        return ["grey"], order
    if own_count == 3:
        return [_COLOURS[network.standardisation.channels[place]] for place in order], order
    return [f"channel {place}" for place in order], order


def _watched(network: Network, layer: str, images: Tensor) -> Seen:
    """The images, what the module is given, and what its first layer is given, on a twin whose hooks are its own."""
    twin = network.twin()
    modules = dict(twin.module.named_modules())
    names = {part: name for name, part in modules.items()}
    prepared: list[Tensor] = []
    arrived: list[Tensor] = []
    between: list[tuple[str, nn.Module]] = []

    def at_root(_module: nn.Module, args: tuple[Any, ...]) -> None:
        prepared.extend(part.detach().clone() for part in args[:1] if isinstance(part, Tensor))

    def at_first(_module: nn.Module, args: tuple[Any, ...]) -> None:
        if not arrived:
            arrived.extend(part.detach().clone() for part in args[:1] if isinstance(part, Tensor))

    def passed(module: nn.Module, _args: Any, _output: Any) -> None:
        if not arrived:
            between.append((names[module], module))

    twin.module.register_forward_pre_hook(at_root)
    for name, part in modules.items():
        if name == layer and name:
            part.register_forward_pre_hook(at_first)
        elif name and not any(True for _ in part.children()):
            part.register_forward_hook(passed)
    with torch.no_grad():
        kept = twin.activations(images, [layer or LOGITS])
    if not prepared:
        raise NetworkError(
            f"What arrives at {network.name} cannot be watched: its forward takes no tensor first."
        )
    norm = twin.layer(layer).capture if layer else ""
    after = modules.get(norm)
    watched = isinstance(after, BATCH_NORMS) and norm != layer and after.running_mean is not None

    def otherwise(way: Standardisation) -> np.ndarray:
        twin.standardisation = way
        with torch.no_grad():
            return _normed(twin.activations(images, [layer])[layer], after)

    return Seen(
        images=_array(images),
        prepared=_array(prepared[0]),
        arrived=_array((arrived or prepared)[0]),
        between=tuple(f"{name} ({type(part).__name__})" for name, part in between) if arrived else (),
        norm=norm if watched else "",
        normed=_normed(kept[layer], after) if watched else None,
        otherwise=otherwise,
    )


def _normed(output: Tensor, norm: nn.Module | None) -> np.ndarray:
    """A batch norm's output without its own scale and shift: mean 0 and variance 1 for what it was trained on."""
    assert isinstance(norm, BATCH_NORMS)
    values = output.detach().double()
    if norm.affine:
        used = norm.weight != 0
        axes = (1, -1, *[1] * (values.ndim - 2))
        weight, bias = norm.weight[used].double().view(axes), norm.bias[used].double().view(axes)
        values = (values[:, used] - bias) / weight
    return _array(values)


def _array(values: Tensor) -> np.ndarray:
    return values.detach().cpu().float().numpy()
