"""The cascade of random layers: what it changes and leaves, and whom it tells apart."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

import models
from models.brain import generate
from vislib.attribution import attribute
from vislib.attribution.method import Method
from vislib.errors import AttributionError
from vislib.evaluation.baselines import sobel
from vislib.evaluation.sanity import (
    Stage,
    cascade,
    compare,
    overall_similarity,
    random_network,
    sanity_steps,
    weighted_layers,
)
from vislib.network import Network


class Scale(nn.Module):
    """A layer without reset_parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.linspace(1, 3, 64).view(8, 8))

    def forward(self, images):
        return images * self.factor.mean()


class OutOfOrder(nn.Module):
    """Defined from the top down, one convolution never called, one weight shared, norms in between."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 3)
        self.scale = Scale()
        self.second = nn.Conv2d(6, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.first = nn.Conv2d(1, 6, 3, padding=1)
        self.unused = nn.Conv2d(1, 6, 3)
        self.third = nn.Conv2d(6, 6, 3, padding=1)
        self.third.weight = self.second.weight

    def forward(self, images):
        x = self.norm(self.first(images)).relu()
        x = self.third(self.second(x).relu()).relu()
        return self.head(self.scale(x).mean((2, 3)))


@pytest.fixture
def network():
    torch.manual_seed(0)
    module = OutOfOrder()
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.1 * torch.randn(p.shape))
        module.norm.running_mean.fill_(0.3)
        module.norm.running_var.fill_(2.0)
    return Network.from_module(module, (1, 12, 12), mean=(0.2,), std=(0.5,), labels=("a", "b", "c"))


def changed_by(before, after):
    return {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}


ORDER = [
    ("head", {"head.weight", "head.bias"}),
    ("scale", {"scale.factor"}),
    (
        "third",
        {"third.weight", "third.bias", "second.weight"},
    ),  # a shared weight goes once, with the upper layer
    ("second", {"second.bias"}),
    ("first", {"first.weight", "first.bias", "norm.weight", "norm.bias"}),
]


def test_layers_are_found_from_the_top_in_the_order_in_which_they_run(network):
    assert weighted_layers(network) == (("head",), ("scale",), ("third",), ("second",), ("first", "norm"))


def test_each_stage_changes_its_own_layer_and_keeps_the_random_ones_above(network):
    before = network.module.state_dict()
    stages = list(cascade(network))
    assert [name for name, _ in stages] == [name for name, _ in ORDER]
    for (_, expected), (_, stage) in zip(ORDER, stages, strict=True):
        after = stage.module.state_dict()
        assert changed_by(before, after) == expected
        before = after
    assert "unused.weight" not in set().union(*(names for _, names in ORDER))


def test_running_statistics_stay_and_unit_norms_are_as_untrained(network):
    state = random_network(network).module.state_dict()
    assert torch.equal(state["norm.running_mean"], torch.full((6,), 0.3))
    assert torch.equal(state["norm.running_var"], torch.full((6,), 2.0))
    assert torch.equal(state["norm.weight"], torch.ones(6))


def test_a_layer_without_reset_becomes_normal_of_the_same_spread(network):
    factor = random_network(network).module.scale.factor
    assert factor.std().item() == pytest.approx(network.module.scale.factor.std().item(), rel=0.3)
    assert abs(factor.mean().item()) < 0.3


def test_the_network_and_the_global_random_state_are_left_alone(network):
    before = {name: tensor.clone() for name, tensor in network.module.state_dict().items()}
    fingerprint, state = network.fingerprint, torch.get_rng_state()
    images = torch.rand(2, 1, 12, 12)
    state = torch.get_rng_state()
    maps = attribute(network, images, 0, "Saliency").values
    list(sanity_steps(network, images, 0, "Saliency", maps))
    assert torch.equal(state, torch.get_rng_state())
    assert changed_by(before, network.module.state_dict()) == set()
    network.__dict__.pop("fingerprint")
    assert network.fingerprint == fingerprint
    assert not any(part._forward_hooks for part in network.module.modules())


def test_copies_keep_what_the_network_says_of_itself_and_follow_the_seed(network):
    (_, one), (_, again), (_, other) = (next(cascade(network, seed=seed)) for seed in (3, 3, 4))
    assert (one.input_shape, one.mean, one.std, one.labels) == (
        network.input_shape,
        network.mean,
        network.std,
        network.labels,
    )
    assert one.fingerprint == again.fingerprint != other.fingerprint
    *_, (_, last) = cascade(network)
    assert random_network(network).fingerprint == last.fingerprint


@pytest.mark.parametrize("stages", [1, 2, 3, 99])
def test_stages_can_be_fewer_and_end_all_random(network, stages):
    names = [name for name, _ in cascade(network, stages=stages)]
    assert len(names) == min(stages, 5)
    assert names[-1] == "first"


def test_a_map_that_became_constant_has_nothing_in_common():
    lively, zero = (
        np.random.default_rng(0).random((2, 8, 8)).astype(np.float32),
        np.zeros((2, 8, 8), np.float32),
    )
    for a, b, expected in (
        (lively, lively, 1.0),
        (lively, zero, 0.0),
        (zero, lively, 0.0),
        (zero, zero, 1.0),
    ):
        stage = compare("a", 1, 1, b, a)
        assert np.allclose(stage.rank, expected)
        assert np.allclose(stage.ssim, expected)


@pytest.mark.parametrize(("stages", "upper"), [(1, 1), (2, 1), (7, 4), (8, 4)])
def test_the_overall_similarity_is_that_of_the_upper_half(stages, upper):
    flat, values = np.zeros((1, 2, 2), np.float32), np.linspace(0.9, 0.1, stages)
    several = [Stage("a", n + 1, stages, flat, np.zeros(1), values[n : n + 1]) for n in range(stages)]
    assert overall_similarity(several)[0] == pytest.approx(values[:upper].mean())


def test_a_network_without_weights_is_refused():
    module = nn.Sequential(nn.AvgPool2d(2), nn.Flatten())
    with pytest.raises(AttributionError, match="no weights"):
        weighted_layers(Network.from_module(module, (1, 4, 4)))


def test_gradients_pass_and_an_edge_detector_fails():
    network, batch = models.load("brain2d"), generate(4, 0, "held-out", labels=[1, 2, 3, 1])
    truth = attribute(network, batch.images, 1, "Saliency").values
    stages = list(sanity_steps(network, batch.images, 1, "Saliency", truth))
    assert [stage.layer for stage in stages] == ["classifier", *(f"conv{n}" for n in range(6, 0, -1))]
    assert [(stage.number, stage.stages) for stage in stages] == [(n, 7) for n in range(1, 8)]
    assert (stages[-1].rank < 0.4).all()
    assert (stages[-1].ssim < 0.4).all()
    assert all(a.rank.mean() > b.rank.mean() - 0.1 for a, b in itertools.pairwise(stages))

    def compute(query):
        yield query.result(torch.from_numpy(sobel(query.network, query.images)), torch.zeros(4))

    edges = Method("edges", "gradients", "-", "-", (), False, True, (), compute, lambda _: "")
    original = attribute(network, batch.images, 1, edges).values
    for stage in sanity_steps(network, batch.images, 1, edges, original, stages=2):
        assert np.allclose(stage.rank, 1)
        assert np.allclose(stage.ssim, 1)
