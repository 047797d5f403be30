"""Rules of integration for integrated gradients, beside a fine integral: which of them is nearest at equal cost.

`python -m benchmarks.integration [--photos FOLDER] [--weights FILE] [--inputs N] [--steps N ...] [--fine N]
[--size PIXELS]`. N brain
slices with lesions (brain2d) and N photographs (SqueezeNet 1.0; each centrally cropped, then as a whole), from a black
baseline, for the class of the highest score. A rule's error is ||map - fine|| / ||fine|| of maps summed over channels;
its gap is the part of the score's change that the map's sum misses. `fitted` is the midpoint rule with its weights
changed as little as makes the gap 0, none below 0: it was this project's rule once.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import models
from models.brain.held_out import lesions
from models.inputs import FOLDER as SAMPLES
from vislib.images import prepare, read_picture
from vislib.network import Network

ENDINGS = (".jpg", ".jpeg", ".png")
AT_ONCE = 8
Rule = tuple[np.ndarray, np.ndarray]  # points in [0, 1] and their weights


def midpoint(steps: int) -> Rule:
    return (np.arange(steps) + 0.5) / steps, np.full(steps, 1 / steps)


def trapezoid(steps: int) -> Rule:
    weights = np.full(steps, 1 / (steps - 1))
    weights[[0, -1]] /= 2
    return np.linspace(0, 1, steps), weights


def gauss_legendre(steps: int) -> Rule:
    points, weights = np.polynomial.legendre.leggauss(steps)
    return (points + 1) / 2, weights / 2


RULES: dict[str, Callable[[int], Rule]] = {
    "midpoint": midpoint,
    "trapezoid": trapezoid,
    "Gauss-Legendre": gauss_legendre,
}


def fitted_weights(slopes: np.ndarray, change: float) -> np.ndarray:
    """Closest to equal weights under `sum w = 1` and `sum w slope = change`; none below 0."""
    apart = slopes - slopes.mean()
    tilt = (change - slopes.mean()) / max(float(apart @ apart), 1e-300)
    if (largest := float((-tilt * apart).max())) > 1 / len(slopes):
        tilt /= largest * len(slopes)
    return 1 / len(slopes) + tilt * apart


def gradients(network: Network, image: Tensor, unit: int, points: np.ndarray) -> Tensor:
    """The gradient of the unit's score at each point of the way from black."""
    parts = []
    for some in torch.tensor(points).to(image).split(AT_ONCE):
        at = (some.view(-1, 1, 1, 1) * image).requires_grad_()
        parts.append(torch.autograd.grad(network.logits(at)[:, unit].sum(), at)[0])
    return torch.cat(parts).double()


def compare(network: Network, image: Tensor, steps: int, fine: int) -> dict[str, tuple[float, float]]:
    """Error and gap of each rule for one image."""
    with torch.no_grad():
        scores = network.logits(torch.cat([image, torch.zeros_like(image)])).double()
    unit = int(scores[0].argmax())
    change = float(scores[0, unit] - scores[1, unit])

    def integral(found: Tensor, weights: np.ndarray) -> Tensor:
        return (image[0].double() * torch.tensordot(torch.tensor(weights), found, 1)).sum(0)

    points, weights = midpoint(fine)
    total = sum(
        integral(gradients(network, image, unit, points[part]), weights[part])
        for part in np.array_split(np.arange(fine), max(1, fine // 64))
    )
    maps = {}
    for name, rule in RULES.items():
        points, weights = rule(steps)
        found = gradients(network, image, unit, points)
        maps[name] = integral(found, weights)
        if name == "midpoint":
            slopes = (image[0].double() * found).flatten(1).sum(1).numpy()
            maps["fitted"] = integral(found, fitted_weights(slopes, change))
    maps["the fine integral"] = total
    return {
        name: (float((one - total).norm() / total.norm()), abs(float(one.sum()) - change) / abs(change))
        for name, one in maps.items()
    }


def photographs(network: Network, folder: Path, n: int, size: int) -> Iterator[Tensor]:
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in ENDINGS)
    for fit, path in [(fit, path) for fit in ("crop", "whole") for path in files][:n]:
        whole = torch.from_numpy(prepare(read_picture(path.read_bytes(), path.name), network, fit))
        yield F.interpolate(whole, size=(size, size), mode="bilinear", antialias=True)


def report(name: str, network: Network, images: list[Tensor], steps: int, fine: int) -> None:
    found = [compare(network, image, steps, fine) for image in images]
    print(f"{name}: {len(found)} inputs, {steps} points beside {fine}")
    print(
        "| rule | error: mean | median | worst | nearest | gap: median | worst |\n|---|---|---|---|---|---|---|"
    )
    best = [
        min((r for r in one if r != "the fine integral"), key=lambda r, one=one: one[r][0]) for one in found
    ]
    for rule in found[0]:
        errors, gaps = np.array([one[rule] for one in found]).T
        print(
            f"| {rule} | {errors.mean():.4f} | {np.median(errors):.4f} | {errors.max():.4f} | {best.count(rule)} "
            f"| {np.median(gaps):.2%} | {gaps.max():.2%} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--photos", type=Path, default=SAMPLES)
    parser.add_argument("--weights", type=Path, default=None)
    parser.add_argument("--inputs", type=int, default=20)
    parser.add_argument("--steps", type=int, nargs="+", default=[50])
    parser.add_argument("--fine", type=int, default=1000)
    parser.add_argument("--size", type=int, default=224)
    options = parser.parse_args()
    brain = models.load("brain2d", device="cpu")
    slices = list(lesions(options.inputs, seed=1).images.split(1))
    photo = models.load("torchvision:squeezenet1_0", weights=options.weights, device="cpu")
    photos = list(photographs(photo, options.photos, options.inputs, options.size))
    for steps in options.steps:
        report("brain2d", brain, slices, steps, options.fine)
        report("SqueezeNet 1.0", photo, photos, steps, options.fine)


if __name__ == "__main__":
    main()
