"""One look at a batch: objective, gradient and the layer's state, in parts that suit the caches."""

import contextlib
import itertools
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vislib.ascent.kernels import FastKernels
from vislib.ascent.objectives import IMAGE, ImageKey, Objective, resolve_position
from vislib.errors import AscentError, out_of_memory
from vislib.multiplications import Multiplications
from vislib.network import Network
from vislib.relu import relu_rule

PRECISIONS = ("exact", "fast")
# Multiplications of a forward pass from which on a row is computed no slower by itself than beside others, on a CPU.
LARGE = 3e8
# Pixels (channels not counted) that go through the network at once; larger parts fall out of a CPU's caches.
PART_PIXELS = {"cpu": 2**18, "cuda": 2**24}


@dataclass(frozen=True)
class Look:
    """What one forward and backward pass told, each with one row a unit."""

    scores: Float[Tensor, " n"]
    gradient: Float[Tensor, "n c *spatial"]
    argmax: Int[Tensor, " n"]  # the layer's unit of the largest (mean) activation
    fired: Float[Tensor, " n"]  # the largest activation of the row's own unit where the objective looks


_counted: WeakKeyDictionary[Network, dict[Hashable, float]] = WeakKeyDictionary()


def fast_available(device: str | torch.device = "cpu") -> bool:
    """Whether precision "fast" (bfloat16) is worth it there: AVX512-BF16 or AMX on a CPU, bfloat16 on CUDA."""
    if torch.device(device).type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return torch.device(device).type == "cpu" and any(getattr(torch.cpu, check, bool)() for check in checks)


def even_edges(rows: int, most: int, least: int) -> list[int]:
    """Where parts of about `most` rows begin and end, of nearly one size and of no less than `least` rows."""
    parts = -(-rows // most)
    if rows // parts < least:
        parts = max(1, rows // least)
    return [rows * part // parts for part in range(parts + 1)]


class Evaluator:
    """Computes objective and gradient of batches of [0, 1] images for one layer's units.

    Raises NetworkError where the network cannot run the images, AscentError where there is no gradient.
    """

    def __init__(
        self,
        network: Network,
        layer: str,
        units: Sequence[int],
        objective: Objective,
        *,
        neuron: bool,
        position: tuple[int, ...] | None,
        precision: str,
    ) -> None:
        self._network, self._layer, self._units, self._objective = network, layer, tuple(units), objective
        # The layer is read where the objective looks: at one position (None: the centre), or over the whole map.
        self._neuron, self._position = neuron, position
        self._fast = precision == "fast" and fast_available(network.device)
        self._names = tuple({layer, *objective.layers})
        self._twins: dict[int, Network] = {}

    def look(
        self, images: Float[Tensor, "n c *spatial"], rows: slice, *, redirect: bool, worker: int = 0
    ) -> Look:
        """Scores and gradient of the batch's `rows`, which are `images`; `redirect`: see vislib.relu.

        Workers may call this at once, each with its own number.
        """
        network = self._network_of(worker)
        pixels = max(1, images[0, 0].numel())
        limit = max(1, PART_PIXELS.get(images.device.type, 2**18) // pixels)
        edges = even_edges(len(images), limit, min(limit, 2))
        looks = [
            self._part(network, images[a:b], slice(rows.start + a, rows.start + b), redirect)
            for a, b in itertools.pairwise(edges)
        ]
        if len(looks) == 1:
            return looks[0]
        return Look(
            torch.cat([look.scores for look in looks]),
            torch.cat([look.gradient for look in looks]),
            torch.cat([look.argmax for look in looks]),
            torch.cat([look.fired for look in looks]),
        )

    def multiplications(self, image: Float[Tensor, "1 c *spatial"]) -> float:
        """How many a forward pass of one image of this size does; counted once for each network."""
        known, key = _counted.setdefault(self._network, {}), (self._names, tuple(image.shape))
        if key not in known:
            with torch.no_grad(), Multiplications() as counted:
                self._network_of(0).activations(image, self._names)
            known[key] = counted.total
        return known[key]

    def _network_of(self, worker: int) -> Network:
        """Every worker's own: a network takes one forward pass at a time, and others ask this one meanwhile."""
        if worker not in self._twins:
            self._twins[worker] = self._network.twin()
        return self._twins[worker]

    def _part(self, network: Network, images: Tensor, rows: slice, redirect: bool) -> Look:
        images = images.detach().requires_grad_()
        with torch.enable_grad():
            with self._modes(redirect, images.device.type):
                outputs = network.activations(images, self._names)
            captures: dict[str | ImageKey, Tensor] = {IMAGE: images} | {**outputs}
            scores = self._objective(captures, rows)
            gradient = self._gradient(scores, images)
        argmax, fired = self._read(captures[self._layer].detach(), rows)
        return Look(scores.detach(), gradient, argmax, fired)

    @contextlib.contextmanager
    def _modes(self, redirect: bool, device: str) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            stack.enter_context(FastKernels())
            if redirect:
                stack.enter_context(relu_rule("redirect"))
            if self._fast:
                stack.enter_context(torch.autocast(device, torch.bfloat16))
            yield

    def _gradient(self, scores: Tensor, images: Tensor) -> Tensor:
        try:
            return torch.autograd.grad(scores.sum(), images)[0]
        except (RuntimeError, MemoryError) as error:  # torch's own lack of memory is a RuntimeError
            if out_of_memory(error):
                raise AscentError(self._memory(images)) from error
            raise AscentError(
                f"The gradient of {self._network.name}'s layer {self._layer!r} does not reach the image "
                f"({str(error).splitlines()[0].rstrip('.')}); choose a layer or a network that can be differentiated."
            ) from error

    def _memory(self, images: Tensor) -> str:
        return (
            f"Gradient ascent ran out of memory on {images.device} with images of shape {tuple(images.shape)}; "
            "use fewer units at once or smaller images."
        )

    def _read(self, output: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        """The layer's strongest unit, and how strongly the row's own unit fires where the objective looks."""
        row, own = torch.arange(len(output), device=output.device), list(self._units[rows])
        if output.ndim > 2 and not self._neuron:
            fired = output[row, own].float().flatten(1).amax(1)
            return output.flatten(2).mean(2, dtype=torch.float32).argmax(1), fired
        spatial = tuple(output.shape[2:])
        place: tuple[slice | int, ...] = resolve_position(
            self._layer, spatial, self._position if spatial else None
        )
        at = output[(slice(None), slice(None), *place)].float()
        return at.argmax(1), at[row, own]
