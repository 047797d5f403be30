"""Optimisers: how a gradient becomes a step of the parameters, with one rate a row of the batch."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from vislib.ascent.presets import Preset

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # Adam's, as published (Kingma and Ba 2015)
GREY_LEVELS = 255.0  # Yosinski's images span 0-255: see Preset


class Optimiser:
    """One step of ascent at a time; `state` holds what it carries from step to step (Adam's two moments)."""

    def __init__(
        self, presets: Sequence[Preset], parameters: Float[Tensor, "n ..."], steps: int | None = None
    ) -> None:
        self.kind = presets[0].optimiser
        self._presets = presets
        self._shape = (-1, *[1] * (parameters.ndim - 1))
        self._lr = self._rates([preset.lr for preset in presets], parameters)
        self._final = self._rates([preset.final_lr for preset in presets], parameters)
        self._steps = presets[0].steps if steps is None else steps
        adam = self.kind == "adam"
        self.state: dict[str, Tensor] = {
            name: torch.zeros_like(parameters) for name in (("first", "second") if adam else ())
        }

    def step(
        self, parameters: Float[Tensor, "n ..."], gradient: Float[Tensor, "n ..."], step: int
    ) -> Float[Tensor, "n ..."]:
        """New parameters after update number `step` (0 is the first); neither argument is written to."""
        lr = self._lr_at(step)
        if self.kind == "adam":
            return self._adam(parameters, gradient, step, lr)
        return torch.addcmul(parameters, gradient, self._factor(gradient, lr))

    def _lr_at(self, step: int) -> Tensor:
        """Half a cosine from lr to final_lr of it, which update number `steps` would make."""
        left = (1.0 + math.cos(math.pi * min(1.0, step / self._steps))) / 2.0
        return self._lr * (self._final + (1.0 - self._final) * left)

    def _factor(self, gradient: Tensor, lr: Tensor) -> Tensor:
        """What each row's gradient is multiplied with, in units of [0, 1] images."""
        flat = gradient.flatten(1)
        if self.kind == "gradient":
            return lr / GREY_LEVELS**2
        norm = flat.norm(dim=1).view(self._shape)
        if self.kind == "progress":
            limit = self._rates([preset.max_lr for preset in self._presets], gradient)
            desired = self._rates([preset.desired for preset in self._presets], gradient)
            return torch.minimum(limit, desired * GREY_LEVELS**2 / norm.square()) / GREY_LEVELS**2
        # Root mean square over what the unit sees: pixels without gradient (outside a neuron's receptive field)
        # do not count, so that a climb on a crop steps as the whole climb does.
        seen = torch.linalg.vector_norm(flat, ord=0, dim=1).view(self._shape)  # counts what is not 0
        return lr * seen.sqrt() / norm.clamp(min=torch.finfo(norm.dtype).tiny)

    def _adam(self, parameters: Tensor, gradient: Tensor, step: int, lr: Tensor) -> Tensor:
        first, second = self.state["first"], self.state["second"]
        first.lerp_(gradient, 1 - BETA1)
        second.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
        spread = (second / (1 - BETA2 ** (step + 1))).sqrt_().add_(EPSILON)
        return parameters + (first / spread).mul_(lr / (1 - BETA1 ** (step + 1)))

    def _rates(self, values: Sequence[float], like: Tensor) -> Tensor:
        return torch.tensor(tuple(values), dtype=like.dtype, device=like.device).view(self._shape)
