"""Gradient methods against closed forms of linear networks, finite differences and slow re-implementations."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from ascent_nets import linear
from torch import Tensor, nn

from vislib.attribution import Attribution, Target, attribute, attribution_steps
from vislib.attribution.integrated import fitted_weights
from vislib.attribution.meeting import _affine_networks
from vislib.errors import AttributionError
from vislib.network import Network

MEAN, STD = (0.4, 0.5), (0.2, 0.3)


def double(dims: int = 2, *, size: int = 14) -> Network:
    """Two convolutions with ReLUs, max pooling and a linear layer, in float64: formulas are compared to rounding."""
    conv = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[dims]
    pool = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}[dims]
    torch.manual_seed(5)
    module = nn.Sequential(
        conv(2, 5, 3, 2), nn.ReLU(), conv(5, 6, 3), nn.ReLU(inplace=True), pool(2), nn.Flatten()
    )
    features = module(torch.zeros(1, 2, *[size] * dims)).shape[1]
    module.append(nn.Linear(features, 3))
    return Network.from_module(
        module.double(), (2, *[size] * dims), mean=MEAN, std=STD, name="double", device="cpu"
    )


def images_for(network: Network, n: int = 2, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, *network.input_shape, generator=generator, dtype=network.dtype)


def slow_gradient(network: Network, image: Tensor, unit: int) -> Tensor:
    """Central differences, one pixel after the other: exact for a network that is linear nearby."""
    flat, step = image.flatten(), 1e-6
    moved = image.repeat(2 * len(flat), *[1] * image.ndim).reshape(2, len(flat), -1)
    index = torch.arange(len(flat))
    moved[0, index, index] += step
    moved[1, index, index] -= step
    scores = network.logits(moved.reshape(-1, *image.shape))[:, unit].view(2, -1)
    return ((scores[0] - scores[1]) / (2 * step)).view_as(image)


def own_gradient(network: Network, images: Tensor, unit: int) -> Tensor:
    leaf = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(network.logits(leaf)[:, unit].sum(), leaf)
    return gradient


def close(got: np.ndarray, expected: Tensor, tolerance: float = 1e-5) -> None:
    """To `tolerance` of the largest value."""
    assert got.shape == tuple(expected.shape)
    assert float(np.abs(got - expected.numpy()).max()) <= tolerance * float(expected.abs().max())


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
        assert (got.numbers["rule_error"] < 1e-5).all()
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
    assert (error < 0.01).all()
    assert (got.numbers["completeness_error"] < 0.01).all()
    assert "adds up to the score's change" in got.notes[0]


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


@pytest.mark.parametrize("steps", [2, 5, 50])
def test_completeness_holds_where_the_rule_of_equal_steps_fails(steps: int) -> None:
    """A score that jumps along the way: the rule alone is off by more than the 1 % that is allowed."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(16, 40), nn.ReLU(), nn.Linear(40, 2)).double()
    with torch.no_grad():
        module[1].weight *= 10
        module[1].bias -= 3.0
    network = Network.from_module(module, (1, 4, 4), name="kinks", device="cpu")
    images = images_for(network, 6)
    got = attribute(network, images, 0, "Integrated gradients", steps=steps)
    change = (network.logits(images) - network.logits(torch.zeros_like(images)))[:, 0].numpy()
    error = np.abs(got.values.astype(np.float64).sum((1, 2)) - change) / np.abs(change)
    np.testing.assert_allclose(got.numbers["completeness_error"], error, atol=1e-5)
    if steps == 50:
        assert (error < 0.01).all()
        assert (got.numbers["rule_error"] > 1e-4).any()
    if (got.numbers["rule_error"] > 0.01).any():
        assert "alone misses that change by" in got.notes[1]


def test_fitted_weights_are_the_closest_that_are_complete() -> None:
    """Least squares under two constraints, solved as a linear system; and never below 0."""
    rng = np.random.default_rng(0)
    slopes, change = rng.normal(size=12) + 3, 3.4
    even, tilt = fitted_weights(slopes.tolist(), change)
    weights = even + tilt * (slopes - change)
    constraints = np.stack([np.ones(12), slopes])
    system = np.block([[np.eye(12), constraints.T], [constraints, np.zeros((2, 2))]])
    expected = np.linalg.solve(system, np.concatenate([np.full(12, 1 / 12), [1.0, change]]))[:12]
    np.testing.assert_allclose(weights, expected, atol=1e-12)
    even, tilt = fitted_weights([1.0, 1.1, 1.2], 9.0)
    weights = even + tilt * (np.array([1.0, 1.1, 1.2]) - 9.0)
    np.testing.assert_allclose(weights, [0.0, 1 / 3, 2 / 3], atol=1e-12)
    assert fitted_weights([2.0, 2.0], 2.5) == (0.5, 0.0)


def test_a_score_that_does_not_change_has_no_error() -> None:
    network, _ = linear()
    got = attribute(network, torch.zeros(1, *network.input_shape), 0, "Integrated gradients", steps=3)
    assert got.numbers["completeness_error"].tolist() == [0.0]
    assert not got.values.any()


class Stem(nn.Module):
    """Networks of which the first convolution's output is not all that the score sees, or not by an affine way."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.kind = kind
        self.one, self.other = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(2, 4, 3, padding=1)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        before = x**2 if self.kind == "squared" else x
        if self.kind == "own statistics":
            before = x / x.std((1, 2, 3), keepdim=True)
        maps = self.one(before).relu_()
        if self.kind == "two branches":
            maps = maps * self.other(x).relu()
        return self.head((maps**2).mean((2, 3)))


@pytest.mark.parametrize("kind", ["affine", "squared", "own statistics", "two branches"])
def test_gradients_meet_early_only_where_that_is_exact(kind: str) -> None:
    network = Network.from_module(Stem(kind).double(), (2, 8, 8), mean=MEAN, std=STD, name=kind, device="cpu")
    images = images_for(network)
    generator = torch.Generator().manual_seed(0)
    total = torch.zeros_like(images)
    for _ in range(5):
        noise = 0.15 * (images.flatten(1).amax(1) - images.flatten(1).amin(1)).view(-1, 1, 1, 1)
        total += own_gradient(network, images + noise * torch.randn(images.shape[1:], generator=generator), 1)
    close(attribute(network, images, 1, "SmoothGrad", samples=5).colour, total / 5)
    assert _affine_networks[network] == {"logits": kind == "affine"}
    many = images.repeat(5, 1, 1, 1)  # too many images to keep sums of maps for
    close(attribute(network, many, 1, "SmoothGrad", samples=5).colour, total.repeat(5, 1, 1, 1) / 5)


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


class Written(nn.Module):
    """One function, its ReLUs written in one of the ways in which people write them."""

    def __init__(self, relu: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.one, self.two = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 3)
        self.head = nn.Linear(4, 3)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.relu(self.two(self.relu(self.one(x)))).mean((2, 3)))


WAYS: dict[str, Callable[[Tensor], Tensor]] = {
    "function": F.relu,
    "in place": nn.ReLU(inplace=True),
    "method in place": Tensor.relu_,
    "torch": torch.relu,
}


@pytest.mark.parametrize("method", ["Guided backprop", "Deconvnet", "SmoothGrad", "Integrated gradients"])
def test_relus_may_be_shared_functional_or_in_place(method: str) -> None:
    options = {"of": "guided backprop", "samples": 4} if method == "SmoothGrad" else {}
    maps = {}
    for way, relu in {"shared module": nn.ReLU(), **WAYS}.items():
        network = Network.from_module(Written(relu), (2, 9, 9), name=way, device="cpu")
        answer = attribute(network, images_for(network), Target(2, layer="two"), method, **options)
        assert not any("met no ReLU" in note for note in answer.notes)
        maps[way] = answer.values
    for way in WAYS:
        np.testing.assert_allclose(maps[way], maps["shared module"], atol=1e-6 * np.abs(maps[way]).max())


def test_a_network_without_relus_says_that_the_rule_did_nothing() -> None:
    network = Network.from_module(Written(F.silu), (2, 9, 9), name="smooth", device="cpu")
    images = images_for(network)
    plain = attribute(network, images, 1, "Saliency")
    for method, options in (("Guided backprop", {}), ("Deconvnet", {}), ("SmoothGrad", {"of": "deconvnet"})):
        got = attribute(network, images, 1, method, **options)
        assert got.notes == (
            f"{method} met no ReLU on the way to logits in smooth, so it equals the plain gradient here.",
        )
    assert (attribute(network, images, 1, "Deconvnet").colour == plain.colour).all()


class Works(nn.Module):
    """Standardises its input in place, as some people's networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.sub_(0.5).flatten(1))


@pytest.mark.parametrize("method", ["Saliency", "SmoothGrad", "Integrated gradients", "Guided backprop"])
def test_a_module_that_works_in_place_on_its_input_does_not_touch_the_images(method: str) -> None:
    torch.manual_seed(0)
    network = Network.from_module(Works(), (2, 2, 2), name="works", device="cpu")
    images = torch.rand(2, 2, 2, 2)
    before = images.clone()
    got = attribute(network, images, 1, method)
    assert torch.equal(images, before)
    expected = network.module.head.weight[1].view(2, 2, 2).detach()
    if method != "Integrated gradients":
        close(got.colour, expected.expand(2, -1, -1, -1))


class Detached(nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.conv, self.head = how, nn.Conv2d(2, 4, 3), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "detach":
            return self.head(self.conv(x).detach().mean((2, 3)))
        return self.head(torch.log(self.conv(x).mean((2, 3)) - 1e4))


@pytest.mark.parametrize("method", ["Saliency", "Guided backprop", "SmoothGrad", "Integrated gradients"])
def test_what_has_no_gradient_or_no_number_is_refused_in_a_sentence(method: str) -> None:
    for how, said in (("detach", "No gradient comes from the target"), ("log", "values that are not finite")):
        network = Network.from_module(Detached(how), (2, 9, 9), name=how, device="cpu")
        with pytest.raises(AttributionError, match=said):
            attribute(network, images_for(network), 0, method)
