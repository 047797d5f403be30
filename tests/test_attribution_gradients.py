"""Gradient methods against closed forms of linear networks, finite differences and slow re-implementations."""

import re

import numpy as np
import pytest
import torch
from ascent_nets import linear
from gradient_making import MEAN, STD, close, double, images_for, own_gradient
from torch import Tensor, nn

from vislib.attribution import Attribution, Target, attribute, attribution_steps
from vislib.attribution.meeting import Meeting
from vislib.network import Network


def slow_gradient(network: Network, image: Tensor, unit: int) -> Tensor:
    """Central differences, one pixel after the other: exact for a network that is linear nearby."""
    flat, step = image.flatten(), 1e-6
    moved = image.repeat(2 * len(flat), *[1] * image.ndim).reshape(2, len(flat), -1)
    index = torch.arange(len(flat))
    moved[0, index, index] += step
    moved[1, index, index] -= step
    scores = network.logits(moved.reshape(-1, *image.shape))[:, unit].view(2, -1)
    return ((scores[0] - scores[1]) / (2 * step)).view_as(image)


@pytest.mark.parametrize("dims", [1, 2, 3])
@torch.no_grad()
def test_saliency_is_the_gradient_by_finite_differences(dims: int) -> None:
    network = double(dims, size={1: 24, 2: 14, 3: 10}[dims])
    images = images_for(network)
    expected = torch.stack([slow_gradient(network, image, 1) for image in images])
    got = attribute(network, images, 1, "Saliency")
    close(got.colour, expected, 1e-5)
    close(got.values, expected.abs().amax(1), 1e-5)
    assert (got.signed, got.step, got.done) == (False, 1, True)
    close(got.scores, network.logits(images)[:, 1], 1e-6)
    product = attribute(network, images, 1, "Input x gradient")
    close(product.values, (images * expected).sum(1), 1e-5)
    assert product.signed


def test_closed_forms_of_a_linear_network() -> None:
    network, weights = linear()
    images = images_for(network, 3)
    close(attribute(network, images, 2, "Saliency").values, weights[2].abs().amax(0).expand(3, -1, -1))
    close(attribute(network, images, 2, "Input x gradient").values, (weights[2] * images).sum(1))
    for name, start in (("zero", 0.0), ("mean", torch.tensor([0.4, 0.5]).view(2, 1, 1))):
        got = attribute(network, images, 2, "Integrated gradients", steps=4, baseline=name)
        close(got.values, (weights[2] * (images - start)).sum(1))
        assert (got.numbers["completeness_error"] < 1e-5).all()
    smooth = attribute(network, images, 2, "SmoothGrad", samples=3)
    close(smooth.colour, weights[2].expand(3, -1, -1, -1))
    against = attribute(network, images, Target(2, against=0), "Saliency")
    close(against.colour, (weights[2] - weights[0]).expand(3, -1, -1, -1))
    mixed = attribute(network, images, Target((0, 2, 1)), "Saliency")
    close(mixed.colour, weights[[0, 2, 1]])


def backward_by_hand(module: nn.Sequential, images: Tensor, unit: int, rule: str) -> Tensor:
    """Layer by layer, with the ReLU rules written out."""
    z, down = (images - torch.tensor(MEAN).view(1, 2, 1, 1)) / torch.tensor(STD).view(1, 2, 1, 1), []
    for part in module:
        down.append((part, z))
        z = part(z.clone())
    above = torch.zeros_like(z)
    above[:, unit] = 1.0
    for part, entered in reversed(down):
        if isinstance(part, nn.ReLU):
            gate = {"guided": (entered > 0) & (above > 0), "deconvnet": above > 0}[rule]
            above = above * gate
        else:
            leaf = entered.clone().requires_grad_()
            (above,) = torch.autograd.grad((part(leaf) * above).sum(), leaf)
    return above / torch.tensor(STD).view(1, 2, 1, 1)


@pytest.mark.parametrize(("method", "rule"), [("Guided backprop", "guided"), ("Deconvnet", "deconvnet")])
def test_relu_rules_layer_by_layer(method: str, rule: str) -> None:
    network = double()
    images = images_for(network, 3)
    expected = backward_by_hand(network.module, images, 2, rule)
    got = attribute(network, images, 2, method)
    close(got.colour, expected)
    strongest = expected.gather(1, expected.abs().argmax(1, keepdim=True))[:, 0]
    close(got.values, strongest)
    assert got.signed
    assert got.notes == ()
    assert float((expected - own_gradient(network, images, 2)).abs().max()) > 0.1 * float(
        expected.abs().max()
    )


@pytest.mark.parametrize(
    ("of", "dims"),
    [("gradient", 2), ("guided backprop", 2), ("deconvnet", 2), ("input x gradient", 2), ("gradient", 3)],
)
def test_smoothgrad_is_a_loop_over_the_same_noise(of: str, dims: int) -> None:
    network = double(dims, size={2: 14, 3: 10}[dims])
    images = images_for(network)
    images[1] *= 0.5  # another range, so another sigma
    rules = {"guided backprop": "guided", "deconvnet": "deconvnet"}
    generator = torch.Generator().manual_seed(7)
    total = torch.zeros_like(images)
    for _ in range(9):
        noise = torch.randn(images.shape[1:], generator=generator)
        for row, image in enumerate(images):
            copy = image + 0.2 * float(image.max() - image.min()) * noise
            if of in rules:
                gradient = backward_by_hand(network.module, copy[None], 1, rules[of])[0]
            else:
                gradient = own_gradient(network, copy[None], 1)[0]
            total[row] += gradient * copy if of == "input x gradient" else gradient
    mean = total / 9
    got = attribute(network, images, 1, "SmoothGrad", seed=7, samples=9, noise=0.2, of=of)
    close(got.colour, mean)
    reduced = {"gradient": mean.abs().amax(1), "input x gradient": mean.sum(1)}
    close(got.values, reduced.get(of, mean.gather(1, mean.abs().argmax(1, keepdim=True))[:, 0]))
    assert got.signed == (of != "gradient")


@pytest.mark.parametrize("kind", ["zero", "mean", "blur"])
def test_integrated_gradients_are_the_integral(kind: str) -> None:
    """Against 2000 points; and complete."""
    network = double()
    images = images_for(network)
    got = attribute(network, images, 1, "Integrated gradients", baseline=kind, steps=60)
    start = baseline_by_hand(images, kind)
    at = ((torch.arange(2000, dtype=torch.float64) + 0.5) / 2000).view(-1, 1, 1, 1)
    way = images - start
    expected = torch.stack(
        [
            step * own_gradient(network, begin + at * step, 1).mean(0)
            for begin, step in zip(start, way, strict=True)
        ]
    )
    assert float(np.abs(got.values - expected.sum(1).numpy()).sum()) < 0.02 * float(
        expected.sum(1).abs().sum()
    )
    change = (network.logits(images) - network.logits(start))[:, 1]
    error = np.abs(got.values.sum((1, 2)) - change.numpy()) / np.abs(change.numpy())
    gap, size = np.abs(got.values.sum((1, 2)) - change.numpy()), expected.sum(1).abs().sum((1, 2)).numpy()
    assert (gap < 0.02 * size).all()
    np.testing.assert_allclose(got.numbers["completeness_error"], error, atol=1e-5)
    assert got.notes[0].startswith("With 60 points on the way the map's sum misses at most ")


def baseline_by_hand(images: Tensor, kind: str) -> Tensor:
    if kind == "zero":
        return torch.zeros_like(images)
    if kind == "mean":
        return torch.tensor(MEAN, dtype=images.dtype).view(1, 2, 1, 1).expand_as(images)
    sigma, size = images.shape[2] / 16, images.shape[2]
    offsets = torch.arange(-int(4 * sigma + 0.5), int(4 * sigma + 0.5) + 1)
    taps = torch.exp(-0.5 * (offsets / sigma) ** 2).double()
    matrix = torch.zeros(size, size, dtype=torch.float64)
    for row in range(size):
        for offset, tap in zip(offsets.tolist(), (taps / taps.sum()).tolist(), strict=True):
            matrix[row, min(max(row + offset, 0), size - 1)] += tap  # the border goes on
    return matrix @ images @ matrix.T


def kinked() -> Network:
    """A score that jumps along the way from black."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(16, 40), nn.ReLU(), nn.Linear(40, 2)).double()
    with torch.no_grad():
        module[1].weight *= 10
        module[1].bias -= 3.0
    return Network.from_module(module, (1, 4, 4), name="kinks", device="cpu")


@pytest.mark.parametrize("steps", [2, 5, 50])
def test_the_midpoint_rule_and_the_part_of_the_change_that_it_misses(steps: int) -> None:
    """Point by point; and the gap is said as it is."""
    network = kinked()
    images = images_for(network, 6)
    expected = sum(images * own_gradient(network, images * ((k + 0.5) / steps), 0) for k in range(steps))
    got = attribute(network, images, 0, "Integrated gradients", steps=steps)
    close(got.colour, expected / steps, 1e-5)
    change = (network.logits(images) - network.logits(torch.zeros_like(images)))[:, 0].numpy()
    error = np.abs(got.values.astype(np.float64).sum((1, 2)) - change) / np.abs(change)
    np.testing.assert_allclose(got.numbers["completeness_error"], error, atol=1e-5)
    assert error.max() > 1e-3
    said = float(re.search(r"misses at most ([\d.]+) % of the score's change", got.notes[0])[1])
    assert 100 * error.max() - 1e-3 <= said <= 100 * error.max() + 0.1 + 1e-3


@pytest.mark.parametrize("steps", [2, 20])
def test_rounding_in_the_gradients_stays_as_small_in_the_map(
    steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other kernels round otherwise, also from row to row of a batch: the map is no less certain than its gradients."""
    network = kinked()
    images = images_for(network, 2)
    plain = attribute(network, images, 0, "Integrated gradients", steps=steps).colour
    random, gradient = torch.Generator().manual_seed(0), Meeting._gradient

    def rounded(*given: object) -> tuple[Tensor, bool]:
        one, early = gradient(*given)
        return one * (1 + 1e-4 * (torch.rand(one.shape, generator=random) - 0.5)), early

    monkeypatch.setattr(Meeting, "_gradient", rounded)
    other = attribute(network, images, 0, "Integrated gradients", steps=steps).colour
    size = sum((images * own_gradient(network, images * ((k + 0.5) / steps), 0)).abs() for k in range(steps))
    assert (np.abs(other - plain) <= 1e-4 * (size / steps).numpy() + 1e-6 * np.abs(plain).max()).all()


def test_a_score_that_does_not_change_has_no_error() -> None:
    network, _ = linear()
    got = attribute(network, torch.zeros(1, *network.input_shape), 0, "Integrated gradients", steps=3)
    assert got.numbers["completeness_error"].tolist() == [0.0]
    assert not got.values.any()


@pytest.mark.parametrize("method", ["SmoothGrad", "Integrated gradients"])
def test_partial_answers_come_closer_and_do_not_depend_on_the_batch(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vislib.attribution.query import Query

    network = double()
    images = images_for(network)
    answers: dict[int, list[Attribution]] = {}
    for size in (1, 3, 16):
        monkeypatch.setattr(Query, "batch_size", lambda _self, *, gradients=False, size=size: size)
        answers[size] = list(attribution_steps(network, images, 1, method))
    whole = answers[16][-1].values
    for size, steps in answers.items():
        assert [one.steps for one in steps] == [-(-100 // size)] * len(steps)
        assert [one.step for one in steps] == list(range(2 if size == 1 else 1, steps[0].steps + 1))
        assert [one.done for one in steps] == [False] * (len(steps) - 1) + [True]
        assert np.abs(steps[-1].values - whole).max() < 1e-6 * np.abs(whole).max()
    errors = [float(np.abs(one.values - whole).mean()) for one in answers[3]]
    assert errors[len(errors) // 2] < 0.5 * errors[0]
    alone = attribute(network, images[1:], 1, method).values[0]
    assert np.abs(alone - whole[1]).max() < 1e-6 * np.abs(whole).max()
    again = attribute(network, images, 1, method, seed=1).values
    assert (np.abs(again - whole).max() > 0) == (method == "SmoothGrad")
