"""Networks that fold slices, crops or colours into the batch (2.5-D): each image's answers are its own, and right."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vislib.attribution import Target, attribute
from vislib.network import Network

SHAPES = {
    "slices": (1, 10, 10, 4),
    "slices first": (1, 4, 10, 10),
    "colours": (3, 10, 10),
    "crops": (1, 16, 16),
}


class Folded(nn.Module):
    """Each part of the image goes through one 2-D network; the strongest answer of the parts counts."""

    def __init__(self, way: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.way = way
        self.body = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU())
        self.head = nn.Linear(8, 3)

    def parts(self, x: Tensor) -> Tensor:
        if self.way == "slices":
            return x.permute(0, 4, 1, 2, 3).reshape(-1, 1, 10, 10)
        if self.way == "slices first":
            return x.transpose(1, 2).flatten(0, 1)
        if self.way == "colours":
            return x.reshape(len(x) * 3, 1, 10, 10)
        return torch.cat([x[:, :, :8, :8], x[:, :, 8:, :8], x[:, :, :8, 8:], x[:, :, 8:, 8:]])

    def forward(self, x: Tensor) -> Tensor:
        answers = self.head(self.body(self.parts(x)).mean((2, 3)))
        if self.way == "crops":
            return answers.view(4, len(x), 3).amax(0)
        return answers.view(len(x), -1, 3).amax(1)


@pytest.mark.parametrize("way", SHAPES)
def test_gradients_of_folded_networks_are_those_of_each_image(way: str) -> None:
    network = Network.from_module(Folded(way).double(), SHAPES[way], mean=(0.4,), std=(0.3,), device="cpu")
    assert any("rows for 2 images" in note for note in network.notes)
    images = torch.rand(3, *SHAPES[way], dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    target = Target((0, 2, 1))

    def gradient(copies: Tensor, row: int) -> Tensor:
        leaf = copies.clone().requires_grad_()
        return torch.autograd.grad(network.logits(leaf)[:, target.unit[row]].sum(), leaf)[0]

    def close(got: np.ndarray, expected: list[Tensor]) -> None:
        one = torch.stack(expected)
        np.testing.assert_allclose(got, one.numpy(), rtol=0, atol=1e-6 * float(one.abs().max()))

    alone = [gradient(image[None], row)[0] for row, image in enumerate(images)]
    close(attribute(network, images, target, "Saliency").values, [one.abs().amax(0) for one in alone])
    noises = [
        torch.randn(images.shape[1:], generator=g)
        for g in [torch.Generator().manual_seed(0)]
        for _ in range(5)
    ]
    mean = [
        sum(gradient((image + 0.15 * (image.max() - image.min()) * noise)[None], row)[0] for noise in noises)
        / 5
        for row, image in enumerate(images)
    ]
    close(attribute(network, images, target, "SmoothGrad", samples=5).colour, mean)
    points = torch.tensor([(k + 0.5) / 4 for k in range(4)], dtype=torch.float64)
    path = [
        image * sum(gradient(point * image[None], row)[0] for point in points) / 4
        for row, image in enumerate(images)
    ]
    close(attribute(network, images, target, "Integrated gradients", steps=4).colour, path)
    hide = {"window": 4, "stride": 4, "fill": "zero"}
    single = [
        attribute(network, image[None], unit, "Occlusion", **hide).values[0]
        for image, unit in zip(images, target.unit, strict=True)
    ]
    np.testing.assert_allclose(
        attribute(network, images, target, "Occlusion", **hide).values, single, atol=1e-6
    )
