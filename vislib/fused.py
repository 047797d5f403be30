"""Fused modules: layers and norms that do more inside than their class says, such as a ReLU after the norm."""

import torch
from torch import nn

# Of the largest value: float32 through one layer rounds far less, bfloat16 is given what it needs.
_TOLERANCE = 1e-3
_ROUNDING = 30


def is_plain(module: nn.Module, shape: tuple[int, ...]) -> bool:
    """Whether a convolution, norm or dense layer is an affine function of inputs of this shape, as its class says.

    torch's own classes are taken at their word. Anything derived from them is tried: f(a) + f(b) = f(a + b) + f(0).
    """
    if type(module).__module__.startswith("torch.nn.modules"):
        return True
    parameter = next((p for p in module.parameters() if p.is_floating_point()), None)
    dtype, device = (torch.float32, None) if parameter is None else (parameter.dtype, parameter.device)
    generator = torch.Generator().manual_seed(0)
    one, other = (torch.randn(shape, generator=generator).to(device, dtype) for _ in range(2))
    try:
        with torch.no_grad():
            # Copies: what is fused often works in place.
            first, second, both, none = (
                module(given.clone()) for given in (one, other, one + other, torch.zeros_like(one))
            )
            off = (first + second - both - none).float().abs().max()
            size = torch.stack([first, second, both]).float().abs().max()
    except Exception:  # whatever it raises for such an input: nothing is known of it
        return False
    return bool(off <= max(_TOLERANCE, _ROUNDING * torch.finfo(dtype).eps) * size)
