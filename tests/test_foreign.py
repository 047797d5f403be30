"""Foreign networks: oddly written modules answer as they are, or say in a sentence why they cannot."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from vislib.attribution import attribute
from vislib.errors import AttributionError, NetworkError
from vislib.network import Network

METHODS = (
    "Saliency",
    "Guided backprop",
    "Grad-CAM",
    "LayerCAM",
    "Score-CAM",
    "Occlusion",
    "Integrated gradients",
)
SHAPE = (1, 12, 12)


class Odd(nn.Module):
    """A convolution `conv`, a dense layer `head` and a forward of its own."""

    def __init__(
        self, way: Callable[[Any, Tensor], Any], conv: nn.Module | None = None, head: nn.Module | None = None
    ) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.way, self.conv, self.head = way, conv or nn.Conv2d(1, 6, 3), head or nn.Linear(6, 3)
        self.extra: Any = None

    def forward(self, images: Tensor) -> Any:
        return self.way(self, images)


def pooled(module: Any, images: Tensor) -> Tensor:
    return module.head(F.relu(module.conv(images)).mean((2, 3)))


def opened(module: nn.Module) -> Network:
    return Network.from_module(module, SHAPE, device="cpu")


def writes(module: Any, images: Tensor) -> Tensor:
    images -= 0.5
    images[:, :, :2] = 0
    return pooled(module, images)


def autocast(module: Any, images: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return pooled(module, images)


def needs_two(module: Any, images: Tensor) -> Tensor:
    if len(images) < 2:
        raise ValueError("two images at least")
    return pooled(module, images)


def old_weight_norm() -> nn.Module:
    module = Odd(pooled)
    with warnings.catch_warnings():  # deprecated, and in many people's networks
        warnings.simplefilter("ignore", FutureWarning)
        module.conv = nn.utils.weight_norm(module.conv)
    module(torch.rand(2, *SHAPE))  # holds a weight of this pass
    return module


def pruned() -> nn.Module:
    module = Odd(pooled)
    prune.l1_unstructured(module.conv, "weight", 0.5)
    return module


def stateful() -> nn.Module:
    def way(module: Any, images: Tensor) -> Tensor:
        module.extra = module.conv(images)  # kept with its graph
        return module.head(F.relu(module.extra).mean((2, 3)))

    module = Odd(way)
    module(torch.rand(2, *SHAPE))
    return module


WORKING: dict[str, Callable[[], nn.Module]] = {
    "weight norm of old": old_weight_norm,
    "weight norm": lambda: Odd(pooled, parametrizations.weight_norm(nn.Conv2d(1, 6, 3))),
    "spectral norm": lambda: Odd(pooled, parametrizations.spectral_norm(nn.Conv2d(1, 6, 3))),
    "pruned": pruned,
    "keeps its maps": stateful,
    "writes into its images": lambda: Odd(writes),
    "head in double": lambda: Odd(
        lambda m, x: m.head(F.relu(m.conv(x)).mean((2, 3)).double()), head=nn.Linear(6, 3).double()
    ),
    "double": lambda: Odd(pooled).double(),
    "no module for its head": lambda: Odd(lambda m, x: F.linear(F.relu(m.conv(x)).mean((2, 3)), m.head.weight)),
    "one module twice": lambda: Odd(lambda m, x: pooled(m, x) + pooled(m, x.flip(3))),
    "spectrum of its images": lambda: Odd(lambda m, x: pooled(m, torch.fft.fft2(x, norm="ortho").real)),
    "squeezes everything": lambda: Odd(lambda m, x: m.head(F.adaptive_avg_pool2d(F.relu(m.conv(x)), 1).squeeze())),
    "two images at least": lambda: Odd(needs_two),
    "swish by hand": lambda: Odd(lambda m, x: m.head((lambda y: y * torch.sigmoid(y))(m.conv(x)).mean((2, 3)))),
    "gates by tanh and sigmoid": lambda: Odd(
        lambda m, x: m.head((lambda y: torch.tanh(y) * torch.sigmoid(y))(m.conv(x)).mean((2, 3)))
    ),
    "residual around its ReLU": lambda: Odd(
        lambda m, x: m.head((lambda y: y + F.relu(y))(m.conv(x)).mean((2, 3)))
    ),
}  # fmt: skip


def true_logits(module: nn.Module, images: Tensor) -> Tensor:
    return module(torch.cat([images, images]).clone())[: len(images)]


@pytest.mark.parametrize("kind", WORKING)
def test_it_answers_as_the_module_does_one_image_or_several(kind: str) -> None:
    module = WORKING[kind]().eval()
    network = opened(module)
    images = torch.rand(3, *SHAPE)
    expected = true_logits(module, images.to(next(module.parameters()).dtype))
    torch.testing.assert_close(network.logits(images), expected, rtol=1e-4, atol=1e-5, check_dtype=False)
    torch.testing.assert_close(
        network.logits(images[:1]), expected[:1], rtol=1e-4, atol=1e-5, check_dtype=False
    )
    leaf = images[:1].clone().to(next(module.parameters()).dtype).requires_grad_()
    (gradient,) = torch.autograd.grad(true_logits(module, leaf)[0, 1], leaf)
    found = attribute(network, images[:1], 1, "Saliency").values
    np.testing.assert_allclose(found, gradient.abs().amax(1).numpy(), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("kind", WORKING)
def test_a_network_is_copied_for_another_thread_after_a_pass_with_gradients(kind: str) -> None:
    network = opened(WORKING[kind]())
    images = torch.rand(2, *SHAPE, requires_grad=True)
    scores = network.logits(images)  # what the module keeps of it has a graph
    scores.sum().backward()
    torch.testing.assert_close(network.twin().logits(images.detach()), scores.detach(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", WORKING)
@pytest.mark.parametrize("method", METHODS)
def test_one_image_is_explained_as_among_several(kind: str, method: str) -> None:
    network = opened(WORKING[kind]())
    images = torch.rand(2, *SHAPE)
    both, alone = (attribute(network, some, 0, method) for some in (images, images[1:]))
    np.testing.assert_allclose(
        both.values[1], alone.values[0], atol=2e-3 * max(1e-9, np.abs(alone.values).max())
    )
    assert alone.values.shape == (1, 12, 12)


@pytest.mark.parametrize("kind", ["swish by hand", "gates by tanh and sigmoid", "residual around its ReLU"])
def test_maps_of_a_layer_with_several_readers_are_its_own(kind: str) -> None:
    """What reads a layer beside one activation would not see what was put behind that activation."""
    module = WORKING[kind]().eval()
    network, images = opened(module), torch.rand(2, *SHAPE)
    maps = module.conv(images).detach().requires_grad_()
    module.conv = nn.Identity()
    (gradient,) = torch.autograd.grad(module(maps)[:, 2].sum(), maps)
    expected = (gradient.mean((2, 3), keepdim=True) * maps).sum(1).clamp(min=0)
    np.testing.assert_allclose(
        attribute(network, images, 2, "Grad-CAM").raw, expected.detach().numpy(), rtol=1e-3, atol=1e-6
    )


class Swish(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        ctx.save_for_backward(values)
        return torch.sigmoid(values)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (values,) = ctx.saved_tensors
        share = torch.sigmoid(values)
        return grads[0] * share * (1 - share)


def test_an_activation_with_a_backward_of_its_own_keeps_its_maps_and_gradients() -> None:
    own = opened(Odd(lambda m, x: m.head(Swish.apply(m.conv(x)).mean((2, 3)))))
    plain = opened(Odd(lambda m, x: m.head((m.conv(x) * 1).sigmoid().mean((2, 3)))))
    images = torch.rand(2, *SHAPE)
    for method in ("Grad-CAM", "LayerCAM", "Score-CAM", "Saliency"):
        one, other = (attribute(network, images, 0, method).values for network in (own, plain))
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-7)


def inference(module: Any, images: Tensor) -> Tensor:
    with torch.inference_mode():
        return pooled(module, images)


def no_grad(module: Any, images: Tensor) -> Tensor:
    with torch.no_grad():
        return pooled(module, images)


def spoilt(module: Any, images: Tensor) -> Tensor:
    return module.head(F.relu_(module.conv(images)).mul_(2).mean((2, 3)))


REFUSING: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "inference mode inside": inference,
    "no gradient inside": no_grad,
    "overwrites what its gradient needs": spoilt,
    "numpy inside": lambda m, x: m.head(torch.from_numpy(m.conv(x).mean((2, 3)).detach().numpy())),
}


@pytest.mark.parametrize("kind", REFUSING)
def test_a_gradient_that_cannot_be_had_is_refused_in_a_sentence(kind: str) -> None:
    network, images = opened(Odd(REFUSING[kind])), torch.rand(2, *SHAPE)
    assert network.logits(images).shape == (2, 3)
    # Maps that are cut out may leave what is overwritten to a copy, and then have their gradient.
    for method in (
        ("Saliency",) if kind.startswith("overwrites") else ("Saliency", "Grad-CAM", "Integrated gradients")
    ):
        with pytest.raises(AttributionError, match=r"choose (a|another) |choose a layer"):
            attribute(network, images, 0, method)


@pytest.mark.parametrize(
    ("module", "sentence"),
    [
        (Odd(lambda m, x: None), "gave no tensor for 2 images"),
        (Odd(lambda m, x: pooled(m, x).argmax(1, keepdim=True)), "puts out values of type int64"),
        (Odd(lambda m, x: pooled(m, x) > 0), "puts out values of type bool"),
        (Odd(lambda m, x: pooled(m, x[:1])), "gave a tensor of shape"),
        (Odd(lambda m, x: pooled(m, x)[:, :0]), r"gave a tensor of shape \(2, 0\)"),
        (Odd(lambda m, x: m.conv(x)[..., :0]), r"gave a tensor of shape \(2, \d+, \d+, 0\)"),
    ],
)
def test_an_output_that_is_no_score_is_refused_in_a_sentence(module: nn.Module, sentence: str) -> None:
    with pytest.raises(NetworkError, match=sentence):
        opened(module)


def test_layers_of_complex_numbers_are_not_listed() -> None:
    conv = nn.Conv2d(1, 6, 3, dtype=torch.complex64)
    network = opened(Odd(lambda m, x: m.head(m.conv(torch.fft.fft2(x)).abs().mean((2, 3))), conv))
    assert list(network.layers) == ["logits"]
    assert "puts out other things than maps of real numbers" in network.notes[0]
    assert attribute(network, torch.rand(1, *SHAPE), 0, "Saliency").values.shape == (1, 12, 12)


def test_what_a_module_keeps_from_one_image_to_the_next_is_noticed() -> None:
    def way(module: Any, images: Tensor) -> Tensor:
        scores = pooled(module, images)
        module.extra = (
            scores if module.extra is None or len(module.extra) != len(scores) else scores + module.extra / 2
        )
        return module.extra

    (caution,) = opened(Odd(way)).cautions
    assert "keeps something of what it saw before" in caution
