"""Class activation maps against their formulas, written out as loops in float64."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision.models as tv
from torch import Tensor, nn

import models
from vislib.attribution import Target, attribute, attribution_steps, default_layer
from vislib.errors import AttributionError
from vislib.network import Network

FIVE = ["CAM", "Grad-CAM", "Grad-CAM++", "LayerCAM", "Score-CAM"]


class Gap(nn.Module):
    """Two convolutions, global average pooling written as a function, one linear layer; 1 to 3 spatial axes."""

    def __init__(self, dims: int, activation: str = "relu") -> None:
        super().__init__()
        torch.manual_seed(2)
        conv = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[dims]
        self.one, self.two, self.head = conv(2, 4, 3, 2), conv(4, 6, 3), nn.Linear(6, 3)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        activated = getattr(F, self.activation)
        maps = activated(self.two(activated(self.one(x))), inplace=True)
        return self.head(maps.flatten(2).mean(2))


def gap(dims: int = 2, activation: str = "relu") -> Network:
    size = {1: 30, 2: 15, 3: 11}[dims]
    module = Gap(dims, activation).double()
    return Network.from_module(module, (2, *[size] * dims), mean=(0.4,), std=(0.2,), name="gap", device="cpu")


def images_for(network: Network, n: int = 2) -> Tensor:
    return torch.rand(
        n, *network.input_shape, generator=torch.Generator().manual_seed(0), dtype=network.dtype
    )


def maps_and_gradient(network: Network, images: Tensor, unit: int) -> tuple[Tensor, Tensor]:
    """By hand, with the parts of `Gap`: maps after the last activation, and the score's gradient by them."""
    module = network.module
    activated = getattr(F, module.activation)
    maps = activated(module.two(activated(module.one((images - 0.4) / 0.2)))).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(module.head(maps.flatten(2).mean(2))[:, unit].sum(), maps)
    return maps.detach(), gradient


def by_loops(method: str, maps: Tensor, gradient: Tensor) -> Tensor:
    """The formulas for one image, one map and one position after the other."""
    raw = torch.zeros(maps.shape[1:], dtype=torch.float64)
    for a, g in zip(maps, gradient, strict=True):
        if method == "Grad-CAM":
            raw += g.mean() * a
        elif method == "LayerCAM":
            raw += g.clamp(min=0) * a
        else:
            weight, total = 0.0, float(a.sum())
            for value in g.flatten().tolist():
                below = 2 * value**2 + total * value**3
                alpha = value**2 / below if value != 0 and below != 0 else 0.0
                weight += alpha * max(value, 0.0)
            raw += weight * a
    return raw.clamp(min=0)


def close(got: np.ndarray, expected: Tensor, tolerance: float = 1e-5) -> None:
    assert got.shape == tuple(expected.shape)
    assert float(np.abs(got - expected.numpy()).max()) <= tolerance * float(expected.abs().max())


@pytest.mark.parametrize("method", ["Grad-CAM", "Grad-CAM++", "LayerCAM"])
@pytest.mark.parametrize("dims", [1, 2, 3])
@torch.no_grad()  # as a caller may have it
def test_gradient_cams_are_their_formulas(method: str, dims: int) -> None:
    network = gap(dims)
    images = images_for(network, 3)
    with torch.enable_grad():
        maps, gradient = maps_and_gradient(network, images, 1)
    expected = torch.stack([by_loops(method, a, g) for a, g in zip(maps, gradient, strict=True)])
    got = attribute(network, images, 1, method)
    close(got.raw, expected)
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[dims]
    close(
        got.values, F.interpolate(expected[:, None], images.shape[2:], mode=mode, align_corners=False)[:, 0]
    )
    assert not got.signed
    close(got.scores, network.logits(images)[:, 1])
    alone = attribute(network, images[2:], 1, method)
    close(alone.values, torch.from_numpy(got.values[2:]))


def test_plus_weights_survive_gradients_whose_cube_underflows() -> None:
    """In float32, g = 1e-16 has a cube of 0: alpha is 1/2 there, not 0 and not nan."""
    network = gap()
    with torch.no_grad():
        network.module.head.weight *= 1e-15
    single = Network.from_module(network.module.float(), (2, 15, 15), mean=(0.4,), std=(0.2,), device="cpu")
    images = images_for(single)
    maps, gradient = maps_and_gradient(network, images, 1)
    expected = torch.stack(
        [by_loops("Grad-CAM++", a, g) for a, g in zip(maps.double(), gradient.double(), strict=True)]
    )
    close(attribute(single, images, 1, "Grad-CAM++").raw, expected)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_cam_is_the_classifier_on_each_position_and_grad_cam_its_positive_part(dims: int) -> None:
    network = gap(dims)
    images = images_for(network)
    maps, _ = maps_and_gradient(network, images, 1)
    head = network.module.head
    expected = torch.zeros(maps.shape[0], *maps.shape[2:], dtype=torch.float64)
    for k in range(6):
        expected += head.weight[1, k] * maps[:, k]
    cam = attribute(network, images, 1, "CAM")
    close(cam.raw, expected)
    assert cam.signed
    close(cam.raw.reshape(2, -1).mean(1), network.logits(images)[:, 1] - head.bias[1])
    places = math.prod(maps.shape[2:])
    close(attribute(network, images, 1, "Grad-CAM").raw, expected.clamp(min=0) / places)
    against = attribute(network, images, Target((1, 0), against=(2, 1)), "CAM")
    weights = head.weight[[1, 0]] - head.weight[[2, 1]]
    close(
        against.raw,
        torch.stack([(w.view(-1, *[1] * dims) * m).sum(0) for w, m in zip(weights, maps, strict=True)]),
    )


def test_on_the_shipped_brain_network_grad_cam_is_cam() -> None:
    network = models.load("brain2d")
    images = torch.rand(1, *network.input_shape, generator=torch.Generator().manual_seed(3))
    cam = attribute(network, images, 3, "CAM")
    expected = torch.from_numpy(cam.raw).clamp(min=0) / cam.raw[0].size
    close(attribute(network, images, 3, "Grad-CAM").raw, expected)
    assert default_layer(network) == "conv6"


@torch.no_grad()
def test_score_cam_is_its_formula() -> None:
    network = gap()
    images = images_for(network)
    with torch.enable_grad():
        maps, _ = maps_and_gradient(network, images, 2)
    maps[1, 3] = 0.0
    network.module.two.bias[3] = -50.0  # a map that is the same everywhere
    with torch.enable_grad():
        maps, _ = maps_and_gradient(network, images, 2)
    assert not maps[:, 3].any()
    black = network.logits(torch.zeros_like(images[:1]))[0, 2]
    expected = torch.zeros(2, *maps.shape[2:], dtype=torch.float64)
    for row, image in enumerate(images):
        increases = []
        for a in maps[row]:
            up = F.interpolate(a[None, None], images.shape[2:], mode="bilinear", align_corners=False)[0]
            mask = (up - up.min()) / (up.max() - up.min()) if up.max() > up.min() else torch.zeros_like(up)
            increases.append(network.logits((image * mask)[None])[0, 2] - black)
        for a, weight in zip(maps[row], torch.stack(increases).softmax(0), strict=True):
            expected[row] += weight * a
    steps = list(attribution_steps(network, images, 2, "Score-CAM"))
    close(steps[-1].raw, expected.clamp(min=0))
    few = attribute(network, images, 2, "Score-CAM", channels=1)
    largest = torch.stack([one[one.flatten(1).mean(1).argmax()] for one in maps])
    close(few.raw, largest)
    close(attribute(network, images[1:], 2, "Score-CAM").raw, expected[1:].clamp(min=0))


def test_score_cam_asks_the_largest_maps_first(monkeypatch: pytest.MonkeyPatch) -> None:
    from vislib.attribution.query import Query

    network = gap()
    images = images_for(network)
    whole = attribute(network, images, 2, "Score-CAM").raw
    monkeypatch.setattr(Query, "batch_size", lambda _self, *, gradients=False: 2)
    steps = list(attribution_steps(network, images, 2, "Score-CAM"))
    assert [(one.step, one.steps) for one in steps] == [(k, 6) for k in range(1, 7)]
    np.testing.assert_allclose(steps[-1].raw, whole, atol=1e-6)
    np.testing.assert_allclose(
        steps[0].raw, attribute(network, images, 2, "Score-CAM", channels=1).raw, atol=1e-6
    )
    np.testing.assert_allclose(
        steps[3].raw, attribute(network, images, 2, "Score-CAM", channels=4).raw, atol=1e-6
    )


def test_guided_grad_cam_is_the_product() -> None:
    network = gap()
    images = images_for(network)
    guided = attribute(network, images, 0, "Guided backprop").colour
    cam = attribute(network, images, 0, "Grad-CAM").values
    got = attribute(network, images, 0, "Guided Grad-CAM")
    product = torch.from_numpy(guided * cam[:, None])
    close(got.colour, product)
    close(got.values, product.gather(1, product.abs().argmax(1, keepdim=True))[:, 0])
    assert got.signed
    silu = attribute(gap(activation="silu"), images, 0, "Guided Grad-CAM")
    assert "Guided Grad-CAM met no ReLU on the way to logits in gap" in silu.notes[0]


@pytest.mark.parametrize("method", ["Grad-CAM", "Grad-CAM++", "LayerCAM", "Score-CAM"])
def test_a_map_that_is_all_negative_is_said_to_be(method: str) -> None:
    network = gap()
    with torch.no_grad():
        network.module.head.weight[0] = -1.0
    images = images_for(network)
    got = attribute(network, images, Target((0, 1)), method)
    if method == "Score-CAM":  # its weights are never negative: only empty maps are
        with torch.no_grad():
            network.module.two.bias -= 50.0
        got = attribute(network, images, Target((0, 1)), method)
        assert got.notes[0].startswith("All values are 0 or below in the map of image 1, 2:")
        return
    assert not got.values[0].any()
    assert got.values[1].max() > 0
    assert got.notes == (
        "All values are 0 or below in the map of image 1: nothing in this layer speaks for the target.",
    )
    alone = attribute(network, images[:1], 0, method)
    assert alone.notes[0].startswith("All values are 0 or below: nothing")
    assert attribute(network, images[1:], 1, method).notes == ()


@pytest.mark.parametrize("method", FIVE[1:])
def test_hidden_units_and_earlier_layers_can_be_explained(method: str) -> None:
    network = gap()
    images = images_for(network)
    unit = Target(2, layer="two", position=(1, 2))
    got = attribute(network, images, unit, method, layer="one")
    assert got.raw.shape == (2, 7, 7)
    assert got.values.shape == (2, 15, 15)
    close(got.scores, network.activations(images, ["two"])["two"][:, 2, 1, 2].detach())
    seen = np.zeros((7, 7), bool)
    seen[1:4, 2:5] = True
    if method == "LayerCAM":
        assert not got.raw[:, ~seen].any()


class Heads(nn.Module):
    """What CAM cannot be asked for, each for its own reason."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.kind, self.conv = kind, nn.Conv2d(1, 4, 3)
        self.flat = nn.Linear(4 * 6 * 6, 3)
        self.hidden, self.norm, self.head = nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.conv(x).relu()
        if self.kind == "flattened":
            return self.flat(maps.flatten(1))
        means = maps.mean((2, 3))
        if self.kind == "two layers":
            return self.head(self.hidden(means).relu())
        if self.kind == "norm":
            return self.head(self.norm(means))
        return self.head(maps.amax((2, 3)) if self.kind == "max" else means)


@pytest.mark.parametrize("kind", ["flattened", "two layers", "norm", "max"])
def test_cam_needs_its_head(kind: str) -> None:
    network = Network.from_module(Heads(kind), (1, 8, 8), name=kind, device="cpu")
    with pytest.raises(AttributionError, match=f"CAM needs global average pooling .* {kind} does not have"):
        attribution_steps(network, torch.rand(1, 1, 8, 8), 0, "CAM")


def test_cam_is_refused_for_an_image_that_the_head_does_not_hold_for() -> None:
    """Found by trial on noise, a head may be another for what has more contrast."""

    class Limited(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.conv, self.head = nn.Conv2d(1, 4, 3), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            maps = self.conv(x).relu()
            return self.head(maps.mean((2, 3))) * (x.amax((2, 3)) - x.mean((2, 3)) < 0.75).float()

    network = Network.from_module(Limited(), (1, 8, 8), name="limited", device="cpu")
    assert attribute(network, torch.full((1, 1, 8, 8), 0.5), 0, "CAM").values.shape == (1, 8, 8)
    spot = torch.zeros(1, 1, 8, 8)
    spot[..., 4, 4] = 1.0
    with pytest.raises(AttributionError, match="limited does not give for this image; choose Grad-CAM"):
        attribute(network, spot, 0, "CAM")


def test_cam_is_refused_in_a_sentence_before_anything_runs() -> None:
    network = Network.from_module(Heads("plain"), (1, 8, 8), name="plain", device="cpu")
    images = torch.rand(1, 1, 8, 8)
    assert attribute(network, images, 0, "CAM", layer="conv").values.shape == (1, 8, 8)
    with pytest.raises(AttributionError, match="CAM explains classes, and was asked for a unit of conv"):
        attribution_steps(network, images, Target(0, layer="conv"), "CAM")
    other = Network.from_module(Heads("two layers"), (1, 8, 8), name="two", device="cpu")
    with pytest.raises(AttributionError, match="'hidden' has no spatial extent"):
        attribution_steps(other, images, 0, "Grad-CAM", layer="hidden")
    deep = gap()
    with pytest.raises(AttributionError, match="takes the maps that the classifier sees, those of 'two'"):
        attribution_steps(deep, images_for(deep), 0, "CAM", layer="one")
    with pytest.raises(AttributionError, match="'two' does not come before 'two'"):
        attribution_steps(deep, images_for(deep), Target(0, layer="two"), "Grad-CAM", layer="two")
    with pytest.raises(AttributionError, match="has no layer with spatial positions before one"):
        attribution_steps(deep, images_for(deep), Target(0, layer="one"), "LayerCAM")


class Aside(nn.Module):
    """A branch that the target is not computed from, though it runs before."""

    def __init__(self) -> None:
        super().__init__()
        self.aside, self.conv, self.head = nn.Conv2d(1, 2, 3), nn.Conv2d(1, 2, 3), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.cat([self.aside(x).mean((2, 3)), self.conv(x).mean((2, 3))], 1))


def test_a_layer_that_the_target_is_not_computed_from_is_refused() -> None:
    network = Network.from_module(Aside(), (1, 8, 8), name="aside", device="cpu")
    with pytest.raises(AttributionError, match="No gradient comes from 'conv' back to 'aside'"):
        attribute(network, torch.rand(1, 1, 8, 8), Target(0, layer="conv"), "Grad-CAM", layer="aside")


def test_networks_without_maps_cannot_be_asked() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    network = Network.from_module(module, (1, 4, 4), name="dense", device="cpu")
    for method in (*FIVE[1:], "Guided Grad-CAM"):
        with pytest.raises(AttributionError, match="dense has no layer with spatial positions"):
            attribution_steps(network, torch.rand(1, 1, 4, 4), 0, method)


def test_the_default_layer_is_the_last_that_says_more_than_the_classes_own_maps() -> None:
    squeezenet = Network.from_module(tv.squeezenet1_0(weights=None, num_classes=7), (3, 64, 64), device="cpu")
    assert default_layer(squeezenet) == "features.12"
    assert default_layer(squeezenet, Target(0, layer="features.5")) == "features.4"
    torch.manual_seed(0)
    as_many = nn.Sequential(
        nn.Conv2d(1, 3, 3),
        nn.ReLU(),
        nn.Conv2d(3, 3, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(3, 3),
    )
    network = Network.from_module(as_many, (1, 9, 9), device="cpu")
    assert default_layer(network) == "2"  # as many maps as classes, but they are mixed by the linear layer
    images = torch.rand(1, 1, 9, 9)
    cam = attribute(network, images, 1, "CAM").raw
    close(attribute(network, images, 1, "Grad-CAM").raw, torch.from_numpy(cam).clamp(min=0) / 25)


@pytest.mark.parametrize("axes", [2, 3])
def test_the_mean_gradient_before_an_instance_norm_is_no_weight(axes: int) -> None:
    """It is 0 but for rounding, which made the map."""
    torch.manual_seed(0)
    conv, norm, pool = (
        (nn.Conv2d, nn.InstanceNorm2d, nn.AdaptiveAvgPool2d)
        if axes == 2
        else (nn.Conv3d, nn.InstanceNorm3d, nn.AdaptiveAvgPool3d)
    )
    module = nn.Sequential(
        conv(1, 8, 3, padding=1),
        norm(8, affine=True),
        nn.LeakyReLU(0.01),
        pool(1),
        nn.Flatten(),
        nn.Linear(8, 3),
    )
    shape = (1, *(12,) * axes)
    network = Network.from_module(module, shape, device="cpu")
    image = torch.rand(1, *shape)
    for name in ("Grad-CAM", "Guided Grad-CAM"):
        with pytest.raises(AttributionError, match=r"as before an instance norm.*choose LayerCAM"):
            attribute(network, image, 1, name)
    assert attribute(network, image, 1, "LayerCAM").values.max() > 1e-6
