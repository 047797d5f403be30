"""Replaying with every module of torch.nn behind a convolution: the plain answer, and a process that lives."""

import itertools
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from torch import Tensor
from torch_modules import COMPUTE_NOTHING, SPATIAL, After, Recipe, classes, recipes

from vislib.attribution import Target, attribute, prediction_difference
from vislib.attribution.incremental import Rerun, _Plain, reruns
from vislib.network import Network
from vislib.parameters import Value

WINDOW = 4
# Whose way must not be lost: replayed, and never replayed.
QUICK = {
    "Conv2d",
    "ReLU",
    "BatchNorm2d",
    "MaxPool2d",
    "AvgPool2d",
    "GroupNorm",
    "Linear",
    "Softmax",
    "Upsample",
}
SLOW = {"LSTM", "GRU", "RNN", "RNNCell", "MultiheadAttention", "TransformerEncoder", "Embedding"}


def windows(dims: int) -> list[tuple[slice, ...]]:
    """Windows side by side: each pixel has one."""
    steps = [range(0, size, WINDOW) for size in SPATIAL[dims]]
    return [tuple(slice(at, at + WINDOW) for at in start) for start in itertools.product(*steps)]


def slow_occlusion(network: Network, images: Tensor) -> Tensor:
    """Each image alone, each window black in turn."""
    result = torch.zeros(len(images), *images.shape[2:])
    for image, row in zip(images, result, strict=True):
        clean = network.logits(image[None])[0, 1]
        for window in windows(images.ndim - 2):
            hidden = image.clone()
            hidden[:, *window] = 0.0
            row[window] = clean - network.logits(hidden[None])[0, 1]
    return result


def slow_outputs(network: Network, image: Tensor, patches: Tensor, starts: Tensor) -> Tensor:
    rows = []
    for content, start in zip(patches, starts.tolist(), strict=True):
        changed = image.clone()
        changed[:, *(slice(at, at + WINDOW) for at in start)] = content
        rows.append(network.logits(changed[None]))
    return torch.cat(rows)


def plain_reruns(network: Network, layer: str, images: Tensor, _window: object, units: object) -> object:
    return lambda image: _Plain(network, layer, images[image : image + 1], units)


@torch.no_grad()
def compare(recipe: Recipe) -> Rerun:
    """Reruns, occlusion and prediction difference are what the whole network gives."""
    shape, window = (1, *SPATIAL[recipe.dims]), (WINDOW,) * recipe.dims
    images = torch.rand(2, *shape, generator=torch.Generator().manual_seed(1))
    domain = torch.rand(30, *shape, generator=torch.Generator().manual_seed(3))
    network = Network.from_module(After(recipe), shape, device="cpu", domain=lambda: domain)
    again = reruns(network, "logits", images, window)(1)
    generator = torch.Generator().manual_seed(2)
    for many in (1, 3, 40):
        patches = torch.rand(many, 1, *window, generator=generator)
        room = torch.tensor(shape[1:]) - WINDOW + 1
        starts = (torch.rand(many, recipe.dims, generator=generator) * room).long()
        got = again(patches, starts)
        assert torch.isfinite(got).all()
        if not recipe.random:
            expected = slow_outputs(network, images[1], patches, starts)
            torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    hide: dict[str, Value] = {"window": WINDOW, "stride": WINDOW}
    found = attribute(network, images, Target(1), "Occlusion", fill="zero", **hide)
    assert type(again) is _Plain or not recipe.random
    if not recipe.random:
        logits = float(network.logits(images).abs().max())
        expected = slow_occlusion(network, images)
        torch.testing.assert_close(torch.from_numpy(found.values), expected, rtol=0, atol=1e-4 * logits)
    if recipe.dims == 2 and not recipe.random:
        hide |= {"samples": 2, "sampler": "marginal"}
        found = attribute(network, images, Target(1), "Prediction difference", **hide)
        with patch.object(prediction_difference, "reruns", plain_reruns):
            plain = attribute(network, images, Target(1), "Prediction difference", **hide)
        difference = torch.from_numpy(found.values - plain.values)
        # Bits of evidence are the logits' differences, 1 / log 2 as large at most.
        assert float(difference.abs().max()) <= 4e-4 * max(1.0, logits)
    return again


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(names: list[str]) -> None:
    """In a process of its own, since a call that goes wrong natively takes the process with it."""
    torch.set_num_threads(1)
    for name in names:
        for number, recipe in enumerate(recipes(name)):
            say(f"{name}, recipe {number}")
            say(f"    {type(compare(recipe)).__name__}")


PARTS = 4  # processes, each of which may die or last long on its own


@pytest.mark.parametrize("part", range(PARTS))
def test_every_module_of_torch_behind_a_convolution(part: int) -> None:
    """Some 150 classes, each a network of its own: half a minute in all, most of it recurrent networks made slowly."""
    every = [name for name in classes() if name not in COMPUTE_NOTHING]
    assert len(every) > 100
    names, here = every[part::PARTS], Path(__file__)
    done = subprocess.run(
        [sys.executable, here.name, *names],
        cwd=here.parent,
        check=False,
        capture_output=True,
        text=True,
        timeout=280,
    )
    said = done.stdout.splitlines()
    assert done.returncode == 0, f"ended with {done.returncode} after {said[-1:]}:\n{done.stderr[-3000:]}"
    assert len(said) == 2 * sum(len(recipes(name)) for name in names)
    for who, way in zip(said[::2], said[1::2], strict=True):
        name = who.split(",")[0]
        assert way.strip() == ("_Incremental" if name in QUICK else "_Plain") or name not in QUICK | SLOW


def test_a_class_without_a_recipe_is_noticed() -> None:
    with pytest.raises(LookupError, match=r"torch.nn.Newest4d has no recipe"):
        recipes("Newest4d")


if __name__ == "__main__":
    main(sys.argv[1:])
