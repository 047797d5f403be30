"""What a network refuses in one sentence: unknown layers, images that do not fit, and modules that cannot be used."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from network_making import brain, wrap
from torch import Tensor, nn

from vislib.ascent import ascend
from vislib.attribution import attribute
from vislib.errors import NetworkError, VislibError
from vislib.network import Network


def test_unknown_layer_and_unit() -> None:
    network = wrap(brain(), name="brain2d")
    with pytest.raises(NetworkError) as caught:
        network.layer("conv9")
    assert str(caught.value) == "brain2d has no layer 'conv9'; its layers are conv1, conv2, conv3, logits."
    assert network.check_units("conv2", [0, torch.tensor(5), True]) == (0, 5, 1)
    for unit in (6, -1):
        with pytest.raises(NetworkError) as caught:
            network.check_units("conv2", [1, unit])
        assert str(caught.value) == f"brain2d's layer 'conv2' has no unit {unit}; its units are 0 to 5."
    with pytest.raises(NetworkError, match="1 label but puts out 3 classes"):
        wrap(brain(), labels=("one",))


@pytest.mark.parametrize("shape", [(1, 2, 16, 16), (2, 1, 16), (2, 1, 4, 16, 16)])
def test_images_that_do_not_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(
        NetworkError, match=r"toy was given images of shape .*; it takes \(n, 1, 16, 16\), or other"
    ):
        wrap(brain(), name="toy").logits(torch.rand(shape))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"shape": (1,)}, r"input shape \(1,\)"),
        ({"shape": (1, 0, 16)}, r"input shape \(1, 0, 16\); it must be channels and one to three"),
        ({"shape": (1, 2.5, 16)}, "input shape"),
        (
            {"shape": (3, 16, 16)},
            r"toy cannot run images of shape \(2, 3, 16, 16\): its module 'conv1' raised",
        ),
        (
            {"mean": (0.1, 0.2)},
            r"mean \(0.1, 0.2\); it must be one finite number, or one for each channel \(of 1\)",
        ),
        ({"std": (float("nan"),)}, "std"),
        ({"std": (0.0,)}, r"std \(0.0,\); every number of it must be above 0"),
        ({"labels": ("a", "b")}, "2 labels but puts out 3 classes"),
        ({"spacing": (1.0,)}, "spacing .* 2 spatial axes"),
        ({"opening": "conv7"}, "no layer 'conv7'"),
    ],
)
def test_from_module_says_what_does_not_fit(options: dict[str, Any], sentence: str) -> None:
    shape = options.pop("shape", (1, 16, 16))
    with pytest.raises(NetworkError, match=sentence):
        wrap(brain(), shape, name="toy", **options)


@pytest.mark.parametrize(
    "output", [lambda x: None, lambda x: x.sum(), lambda x: x.sum((0, 2, 3), keepdim=True)]
)
def test_output_that_is_no_class_score(output: Callable[[Tensor], Any]) -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return output(x)

    with pytest.raises(
        NetworkError, match=r"odd gave .* for 2 images .* class scores of shape \(images, classes\)"
    ):
        wrap(Odd(), name="odd")


def test_module_that_cannot_be_copied() -> None:
    module = brain()
    module.stuck = threading.Lock()
    with pytest.raises(NetworkError, match="toy could not be copied to cpu: TypeError"):
        wrap(module, name="toy")


class _OfOne(nn.Module):
    """A batch of one is built in, by a view or by the state of a recurrent layer."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.conv, self.recurrent, self.head = (
            nn.Conv2d(1, 4, 3),
            nn.GRU(4, 4, batch_first=True),
            nn.Linear(4, 3),
        )
        self.how, self.state = how, torch.zeros(1, 1, 4)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.conv(images)
        if self.how == "view":
            return self.head(maps.reshape(1, 4, -1).mean(2))
        return self.head(self.recurrent(maps.flatten(2).movedim(1, 2), self.state)[0][:, -1])


@pytest.mark.parametrize(
    ("how", "said"),
    [("view", r"not for a batch of one alone, as a view"), ("state", "takes one image at a time")],
)
def test_a_network_that_takes_one_image_at_a_time_is_told_why_it_is_refused(how: str, said: str) -> None:
    with pytest.raises(NetworkError, match=said):
        Network.from_module(_OfOne(how), (1, 12, 12), name="alone", device="cpu")


class Fixed(nn.Module):
    """A network whose forward is written for a batch of two."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.conv, self.head = how, nn.Conv2d(1, 4, 3), nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Tensor:
        if self.how == "takes two":
            images = torch.cat([images[:1], images[1:2]])
        means = torch.relu(self.conv(images)).mean((2, 3))
        return self.head(means.view(2, 4) if self.how == "view" else means)


def test_a_network_for_two_images_never_answers_for_three() -> None:
    network = Network.from_module(Fixed("takes two"), (1, 16, 16), device="cpu")
    images = torch.rand(3, 1, 16, 16)
    assert torch.allclose(network.logits(images[1:2]), network.logits(images[:2])[1:], atol=1e-5)
    for ask in (network.logits, network.probabilities, lambda x: attribute(network, x, 0, "Saliency")):
        with pytest.raises(
            VislibError, match=r"gave scores of shape \(2, 3\) for 3 images; its forward must take any"
        ):
            ask(images)


def test_a_network_that_takes_two_alone_is_asked_with_one_and_its_copy() -> None:
    torch.manual_seed(0)
    module = Fixed("view")
    network = Network.from_module(module, (1, 16, 16), device="cpu")
    assert "takes two images at a time" in network.cautions[0]
    images = torch.rand(5, 1, 16, 16)
    expected = torch.cat([module(torch.stack([one, one]))[:1] for one in images])
    assert torch.allclose(network.logits(images), expected, atol=1e-5)
    for row, found in enumerate(attribute(network, images, 1, "Saliency").values):
        leaf = images[row : row + 1].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(module(leaf.expand(2, 1, 16, 16))[0, 1], leaf)
        assert np.abs(found - gradient[0, 0].abs().numpy()).max() <= 1e-5
    for method in ("Integrated gradients", "Occlusion", "Grad-CAM", "SmoothGrad"):
        assert np.isfinite(attribute(network, images, 1, method).values).all()
    assert len([*ascend(network, "conv", [0, 1, 2], steps=1)]) == 2


def test_what_fails_for_more_images_is_told_of_their_number() -> None:
    class AtMostTwo(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(16, 3)

        def forward(self, images: Tensor) -> Tensor:
            return self.head(images.flatten(1)) + torch.zeros(2, 1)[: len(images)]

    network = Network.from_module(AtMostTwo(), (1, 4, 4), device="cpu")
    with pytest.raises(
        NetworkError, match="it ran 2 images of this shape, so its forward may not take any number"
    ):
        network.logits(torch.rand(3, 1, 4, 4))
