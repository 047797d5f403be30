"""Network: a frozen PyTorch module with its preprocessing, seen as named layers in execution order."""

import copy
import functools
import hashlib
import math
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, SupportsIndex

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vislib.errors import NetworkError
from vislib.freezing import copy_of, frozen
from vislib.head import Head
from vislib.meaning import Evidence, understand
from vislib.opening import Opening
from vislib.output import Key, Output
from vislib.patching import Patch, first_row
from vislib.probe import LOGITS, Layer, holds_most
from vislib.reading import Reading
from vislib.running import run
from vislib.standardisation import Standardisation
from vislib.whole import wholes
from vislib.words import counted, told_apart

__all__ = ["Layer", "Network", "ReceptiveField"]

_MOST_VALUES = 1_000_000_000  # of an image: 4 GB


@dataclass(frozen=True)
class ReceptiveField:
    """The part of the image that a unit at `position` sees, in input pixels."""

    layer: str
    position: tuple[int, ...]
    start: tuple[int, ...]
    size: tuple[int, ...]
    stride: tuple[int, ...]  # how far the field moves from one position to the next
    clipped: bool  # it touches the image's border, and may go on outside


class Network:
    """A convolutional network as named layers; make one with `Network.from_module`.

    `module` is a frozen copy in eval mode. Images are [0, 1], colours RGB; `standardisation` is the network's own
    first step and happens here alone; `mean` is the colour that it makes 0, in the images' own units. Images may
    have another spatial size than `input_shape` where the module allows it. A module that its network calls
    several times counts with its first call. `mixes`: what else is in a batch changes the module's answer to an
    image, so that each is computed alone.
    """

    def __init__(
        self,
        module: nn.Module,
        input_shape: tuple[int, ...],
        *,
        standardisation: Standardisation,
        labels: tuple[str, ...],
        name: str,
        spacing: tuple[float, ...],
        source: str,
        opening: str | None,
        domain: Callable[[], Tensor] | None,
        device: torch.device,
        head: str | Head | None,
        output: Key | Output | None,
        unit: str,
    ) -> None:
        self.name, self.input_shape, self.domain = name, input_shape, domain
        self.standardisation = standardisation
        # In the units of [0, 1] RGB images, whatever the network's own units and order of channels are.
        self.mean, self.std = standardisation.image_mean, standardisation.image_std
        self.labels, self.spacing, self.source = told_apart(labels), spacing, source
        self.module, self.device = module, device
        parameter = next((p for p in module.parameters() if p.is_floating_point()), None)
        self.dtype = torch.float32 if parameter is None else parameter.dtype
        # One forward at a time: hooks belong to the module, not to the thread that asks.
        self._lock = threading.RLock()
        self._variants: dict[Head, Network] = {}
        began = time.thread_time()
        start = Opening(name, module, input_shape, self._prepare, bool(labels), device)
        opened = start.opened(head, output, unit)
        self.head, self.output, self.layout = opened.head, opened.output, opened.layout
        self.cautions, self.notes, self.tokens = opened.cautions, opened.notes, opened.tokens
        self._paired, self.mixes = opened.paired, opened.mixes
        self.layers: Mapping[str, Layer] = MappingProxyType(opened.layers)
        self._aliases = opened.aliases
        # What opening it took of this thread's time: a few forward passes.
        self.probe_seconds = time.thread_time() - began
        self._captures = self._find_captures()
        self._check_labels()
        self.opening: str = self._most_telling() if opening is None else self.layer(opening).name

    @classmethod
    def from_module(
        cls,
        module: nn.Module,
        input_shape: Sequence[SupportsIndex | float],
        *,
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (1.0,),
        channels: str = "RGB",
        range: Sequence[float] = (0.0, 1.0),  # noqa: A002 - the key of a card
        labels: Sequence[str] = (),
        name: str = "network",
        spacing: Sequence[float] = (),
        source: str = "",
        opening: str | None = None,
        domain: Callable[[], Tensor] | None = None,
        device: str | torch.device | None = None,
        head: str | Head | None = None,
        output: Key | Output | None = None,
        unit: str = "",
    ) -> "Network":
        """Own a frozen eval() copy of any convolutional `module` over images of `input_shape` (c, *spatial).

        `mean` and `std` have one number or one a channel, in the network's own units and order of channels: those
        of [0, 1] RGB images, unless `range` says what 0 and 1 become for the network and `channels` that it takes
        "BGR" (see `Standardisation`); `spacing` is mm a pixel;
        `opening` names the layer to show first; `domain` gives images (n, c, *spatial) such as the network was
        made for, when a method asks; `device` defaults to CUDA where it is there. `head` says what the output
        means ("softmax", "sigmoid", "probabilities" or "score", whose `unit` may be "years"; default: see
        `network.head`), `output` which item of a tuple, dict, dataclass or named tuple it is (both also as another
        network has them). The caller's module is never touched. Raises NetworkError when a value does not fit or the
        module does not run.
        """
        shape = _checked_shape(name, input_shape)
        standardisation = Standardisation.checked(
            name, shape[0], mean=mean, std=std, channels=channels, range=range
        )
        if len(spacing) not in (0, len(shape) - 1):
            raise NetworkError(
                f"{name} was given spacing {tuple(spacing)}, but its images have "
                f"{counted(len(shape) - 1, 'spatial axis')}; give one number (mm) an axis or leave it out."
            )
        where = torch.device(device if device is not None else "cuda" if torch.cuda.is_available() else "cpu")
        return cls(
            frozen(name, module, where),
            shape,
            standardisation=standardisation,
            labels=tuple(labels),
            name=name,
            spacing=tuple(float(s) for s in spacing),
            source=source,
            opening=opening,
            domain=domain,
            device=where,
            head=head,
            output=output,
            unit=unit,
        )

    def twin(self) -> "Network":
        """This network again, sharing its weights: another thread can run it while this one runs.

        Structure and buffers are copied, since a module may keep things of one forward pass in itself.
        """
        twin = copy.copy(self)
        twin.module = self.copied(sharing=True)
        twin._lock = threading.RLock()
        twin._variants = {}
        twin._captures = twin._find_captures()
        return twin

    def copied(self, *, sharing: bool = False) -> nn.Module:
        """A deep copy of the module; while another thread runs it, its hooks would be copied as well, so not then."""
        with self._lock:
            return copy_of(self.module, sharing=sharing)

    def with_head(self, kind: str, unit: str = "") -> "Network":
        """This very network with its output taken for another kind of value; raises NetworkError where it cannot be."""
        scores = torch.zeros(1, self.layers[LOGITS].channels)
        if self.output.normalised:
            raise NetworkError(
                f"{self.name} puts out probabilities itself, so its output cannot be taken for {kind!r} here; "
                "say head = in its card."
            )
        head, _ = understand(self.name, Evidence(scores, ""), kind, unit, False, None)
        if head not in self._variants:
            self._variants[head] = copy.copy(self)
            self._variants[head].head = head
        return self._variants[head]

    @functools.cached_property
    def fingerprint(self) -> str:
        """16 hex digits of sha256 over architecture, weights, input shape and standardisation."""
        digest = hashlib.sha256()
        architecture = re.sub(r" at 0x[0-9a-fA-F]+", "", repr(self.module))
        digest.update(repr((architecture, self.input_shape, *self.standardisation.identity)).encode())
        if self.output != Output():
            digest.update(repr(self.output).encode())
        tensors = dict(self.module.named_parameters()) | dict(self.module.named_buffers())
        for key in sorted(tensors):
            tensor = tensors[key].detach().cpu().contiguous()
            digest.update(repr((key, str(tensor.dtype), tuple(tensor.shape))).encode())
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()[:16]

    def layer(self, name: str) -> Layer:
        """The layer of this name, or of an alias: a container with the same output. Raises NetworkError."""
        found = self.layers.get(self._aliases.get(name, name))
        if found is None:
            raise NetworkError(f"{self.name} has no layer {name!r}; its layers are {', '.join(self.layers)}.")
        return found

    def check_units(self, layer: str, units: Iterable[SupportsIndex]) -> tuple[int, ...]:
        """The units as a tuple of int; raises NetworkError when the layer lacks one of them."""
        known = self.layer(layer)
        chosen = wholes(units)
        if chosen is None:
            raise NetworkError(
                f"Units of {known.name!r} cannot be {units!r}; give whole numbers, such as [0, {known.channels - 1}]."
            )
        for unit in chosen:
            if not 0 <= unit < known.channels:
                raise NetworkError(
                    f"{self.name}'s layer {known.name!r} has no unit {unit}; "
                    f"its units are 0 to {known.channels - 1}."
                )
        return chosen

    def logits(self, images: Float[Tensor, "n c *spatial"]) -> Float[Tensor, "n classes"]:
        """Class scores before softmax of [0, 1] images; an output with positions is averaged over them.

        Where the module gives each position probabilities itself, these are averaged: the scores' softmax, or sigmoid,
        is their mean. Raises NetworkError when the images do not fit or the module fails.
        """
        return self.output.averaged(self.activations(images, (LOGITS,))[LOGITS])

    def probabilities(self, images: Float[Tensor, "n c *spatial"]) -> Float[Tensor, "n units"]:
        """Probabilities of [0, 1] images as the network's head means them.

        Raises NetworkError for a head of kind "score", and as `logits` does.
        """
        scores = self.logits(images)
        return self.head.probabilities(scores).to(scores.dtype)

    def activations(
        self,
        images: Float[Tensor, "n c *spatial"],
        layers: Iterable[str],
        *,
        through: Mapping[str, Patch] | None = None,
    ) -> dict[str, Float[Tensor, "..."]]:
        """What each of the `layers` puts out for [0, 1] images, under the names asked for; differentiable.

        A convolution is read before its ReLU, after the batch norm that directly follows it. The forward pass
        stops after the last layer asked for. Clones, and hooks are gone afterwards, also after an exception.
        Threads may call this at once; only the forward pass is serialised.

        `through` maps layers to functions: each is given the layer's maps as the rest of the network sees
        them, after the activation that directly follows the layer, and the network goes on with what it
        returns. Raises NetworkError for unknown layers, images that do not fit, a module that fails, and
        layers that this input does not reach.
        """
        asked = {name: self.layer(name) for name in ([layers] if isinstance(layers, str) else layers)}
        if not asked:
            return {}
        if self.mixes and len(images) > 1 and not through:
            rows = [self.activations(images[row : row + 1], asked) for row in range(len(images))]
            return {name: torch.cat([row[name] for row in rows]) for name in asked}
        paired = self._paired and len(images) == 1
        prepared = self._prepare(images.expand(2, *images.shape[1:]) if paired else images)
        patches = {
            self.layer(name): first_row(patch) if paired else patch for name, patch in (through or {}).items()
        }
        if LOGITS in {layer.name for layer in patches}:
            raise NetworkError(
                f"Nothing follows {self.name}'s logits; name one of its other layers to go through."
            )
        reading = Reading(self._captures, self.output, asked.values(), patches)
        with self._lock, reading:
            self._forward(prepared)
        for layer in reading.not_patched:
            raise NetworkError(
                f"{self.name}'s layer {layer.name!r} comes after {', '.join(asked)}; choose a layer that comes before."
            )
        got = {name: reading.captured.get(self._captures[layer.name]) for name, layer in asked.items()}
        found = {name: tensor[:1] if paired else tensor for name, tensor in got.items() if tensor is not None}
        for name in got.keys() - found.keys():
            raise NetworkError(
                f"{self.name}'s layer {name!r} was not reached by images of shape {tuple(images.shape)}; "
                f"give images of shape {self.input_shape} each."
            )
        for name, tensor in found.items():
            if asked[name].name == LOGITS and tensor.shape[:1] != images.shape[:1]:
                raise NetworkError(
                    f"{self.name} gave scores of shape {tuple(tensor.shape)} for {counted(len(images), 'image')}; its "
                    "forward must take any number of images (len(images)) and not one that is written into it."
                )
        return found

    def receptive_field(self, layer: str, position: Sequence[int] | None = None) -> ReceptiveField:
        """What a unit of `layer` at `position` (default: the centre) sees, in input pixels.

        Raises NetworkError for an unknown layer or a position outside it.
        """
        from vislib.receptive import receptive_field  # that module needs this one

        return receptive_field(self, layer, position)

    def footprint(self, spatial: Sequence[int]) -> float:
        """Bytes that the layers' activations of one image of this size take, by those of the network's own size."""
        own = math.prod(self.input_shape[1:])
        elements = math.prod(self.input_shape) + sum(
            layer.channels * math.prod(layer.spatial) for layer in self.layers.values()
        )
        return elements * max(1.0, math.prod(spatial) / own) * self.dtype.itemsize

    def _prepare(self, images: Tensor, layout: torch.memory_format | None = None) -> Tensor:
        """Check, move and standardise."""
        self.check_images(images)
        images = images.to(device=self.device, dtype=self.dtype)
        return self.standardisation(images).contiguous(memory_format=layout or self.layout)

    def check_images(self, images: Any) -> None:
        """Raise NetworkError for what is no batch of images such as the network takes."""
        if not isinstance(images, Tensor):
            raise NetworkError(
                f"Images must be a torch tensor, not {type(images).__name__}; torch.as_tensor makes one."
            )
        if not images.is_floating_point():
            dtype = str(images.dtype).removeprefix("torch.")
            raise NetworkError(
                f"Images were given as {dtype}; give real numbers in [0, 1], such as images.float() / 255."
            )
        if images.ndim != len(self.input_shape) + 1 or images.shape[1] != self.input_shape[0]:
            raise NetworkError(
                f"{self.name} was given images of shape {tuple(images.shape)}; it takes (n, "
                f"{str(self.input_shape)[1:]}, or other sizes after the channels where the module can."
            )

    def _forward(self, prepared: Tensor) -> Any:
        """Run the module; its own exceptions become one sentence."""
        return run(self.module, prepared, self.name, self.input_shape)

    def _find_captures(self) -> dict[str, nn.Module]:
        modules = dict(self.module.named_modules(remove_duplicate=False))
        return {layer.name: modules[layer.capture] for layer in self.layers.values()}

    def _check_labels(self) -> None:
        classes = self.layers[LOGITS].channels
        if self.labels and len(self.labels) != classes:
            raise NetworkError(
                f"{self.name} was given {counted(len(self.labels), 'label')} but puts out {counted(classes, 'class')}; "
                + (
                    "give the one that a large output means, such as 'ill'; its opposite needs no label."
                    if classes == 1
                    else "give one label a class or none."
                )
            )

    def _most_telling(self) -> str:
        """About 65 % deep among the outermost blocks, or among all maps where there are few blocks."""
        maps = [
            layer for layer in self.layers.values() if max(layer.spatial, default=1) > 1 and layer.capture
        ]
        names = [layer.name for layer in maps]
        blocks = [layer.name for layer in maps if layer.kind == "block" and not holds_most(layer.name, names)]
        outermost = [name for name in blocks if not any(name.startswith(f"{other}.") for other in blocks)]
        chosen = outermost if len(outermost) >= 3 else names
        return chosen[math.floor(0.65 * (len(chosen) - 1) + 0.5)] if chosen else LOGITS


def _checked_shape(name: str, input_shape: Sequence[SupportsIndex | float]) -> tuple[int, ...]:
    shape = wholes(input_shape) or ()  # 2.5 pixels are no size
    given = tuple(input_shape) if isinstance(input_shape, Iterable) else input_shape
    if not 2 <= len(shape) <= 4 or any(size < 1 for size in shape):
        raise NetworkError(
            f"{name} was given input shape {given}; it must be channels and one to three spatial "
            "sizes, all 1 or more, such as (1, 128, 128)."
        )
    if math.prod(shape) > _MOST_VALUES:
        raise NetworkError(
            f"{name} was given input shape {shape}, which is {math.prod(shape):.2g} values an image; it may be "
            f"{_MOST_VALUES:,} at the most."
        )
    return shape
