"""Deconvolution against an explicit stack of unpooling, rectification and transposed filters."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vislib.attribution import Target, attribute
from vislib.deconvolution import project
from vislib.errors import AttributionError, NetworkError
from vislib.network import Network

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def alexnet_shaped() -> nn.Sequential:
    """AlexNet's features with few channels: overlapping pooling windows, a stride, three convolutions in a row."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 11, 4, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
        nn.Conv2d(6, 8, 5, 1, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
        nn.Conv2d(8, 10, 3, 1, 1), nn.ReLU(inplace=True),
        nn.Conv2d(10, 8, 3, 1, 1), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5),
    ).double()  # fmt: skip


def network_of(module: nn.Module, shape: tuple[int, ...] = (3, 79, 79), **options: object) -> Network:
    return Network.from_module(module, shape, name="tiny", device="cpu", **options)  # type: ignore[arg-type]


def by_hand(module: nn.Sequential, image: Tensor, index: int, unit: int, start: str, rule: str) -> Tensor:
    """Forward to convolution `index` and its ReLU, then down through each part by its own rule (one image)."""
    z, down = (
        (image - torch.tensor(MEAN, dtype=torch.float64).view(1, 3, 1, 1))
        / torch.tensor(STD, dtype=torch.float64).view(1, 3, 1, 1),
        [],
    )
    for part in list(module)[: index + 2]:
        if isinstance(part, nn.MaxPool2d):
            pooled, switches = F.max_pool2d(z, 3, 2, return_indices=True)
            down.append(("unpool", switches, z.shape))
            z = pooled
        elif isinstance(part, nn.ReLU):
            down.append(("relu", z > 0, None))
            z = z.clamp(min=0)
        else:
            down.append(("conv", part, z.shape))
            z = part(z)
    seed = torch.zeros_like(z)
    if start == "whole map":
        seed[0, unit] = z[0, unit]
    else:
        seed[0, unit].view(-1)[z[0, unit].argmax()] = 1.0
    for kind, thing, shape in reversed(down):
        if kind == "relu":
            gates = {"deconvnet": seed > 0, "guided": (seed > 0) & thing, "plain": thing}
            seed = seed * gates[rule]
        elif kind == "conv":
            padding = [s - ((o - 1) * thing.stride[0] - 2 * thing.padding[0] + thing.kernel_size[0])
                       for s, o in zip(shape[2:], seed.shape[2:], strict=True)]  # fmt: skip
            seed = F.conv_transpose2d(
                seed, thing.weight, stride=thing.stride, padding=thing.padding, output_padding=padding
            )
        else:  # to where the maximum came from; two windows may have had the same one
            flat = torch.zeros(shape, dtype=seed.dtype).flatten(2)
            seed = flat.scatter_add(2, thing.flatten(2), seed.flatten(2)).view(shape)
    return seed[0] / torch.tensor(STD, dtype=torch.float64).view(3, 1, 1)


@pytest.mark.parametrize("rule", ["deconvnet", "guided", "plain"])
@pytest.mark.parametrize("start", ["whole map", "strongest position"])
@pytest.mark.parametrize("layer", [0, 3, 8])
@torch.no_grad()
def test_projection_is_the_deconvnet_stack(rule: str, start: str, layer: int) -> None:
    module = alexnet_shaped()
    network = network_of(module, mean=MEAN, std=STD)
    images = torch.rand(2, 3, 79, 79, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    reached = nn.Sequential(*list(module)[: layer + 1])
    unit = int(reached((images - 0.45) / 0.225).amax((0, 2, 3)).argmax())  # one that fires
    got = project(network, images, str(layer), unit, start=start, rule=rule)
    expected = torch.stack([by_hand(module, one[None], layer, unit, start, rule) for one in images])
    assert float(expected.abs().max()) > 0
    torch.testing.assert_close(got.pixels, expected, rtol=1e-9, atol=1e-12)
    assert (got.pools, got.relus) == ({0: 0, 3: 1, 8: 2}[layer], {0: 1, 3: 2, 8: 4}[layer])
    answer = attribute(
        network, images, Target(unit, layer=str(layer)), "Deconvolution", start=start, rule=rule
    )
    torch.testing.assert_close(torch.from_numpy(answer.colour), expected.float(), rtol=1e-5, atol=1e-7)
    strongest = expected.gather(1, expected.abs().argmax(1, keepdim=True))[:, 0]
    torch.testing.assert_close(torch.from_numpy(answer.values), strongest.float(), rtol=1e-5, atol=1e-7)


def test_the_parts_of_a_whole_map_are_its_positions() -> None:
    """Under the plain rule a projection is linear in what goes down: positions, times their activations, add up."""
    network = network_of(alexnet_shaped(), mean=MEAN, std=STD)
    images = torch.rand(1, 3, 79, 79, dtype=torch.float64)
    whole = project(network, images, "6", 1, rule="plain")
    height, width = whole.maps.shape[1:]
    places = [(row, column) for row in range(height) for column in range(width)]
    ones = {
        p: project(network, images, "6", 1, rule="plain", start="strongest position", position=p)
        for p in places
    }
    summed = sum(whole.maps[0][p] * one.pixels for p, one in ones.items())
    torch.testing.assert_close(whole.pixels, summed)
    own = project(network, images, "6", 1, rule="plain", position=places[3])
    torch.testing.assert_close(own.pixels, whole.maps[0][places[3]] * ones[places[3]].pixels)


def test_each_image_has_its_own_unit_and_against_is_taken_off() -> None:
    network = network_of(alexnet_shaped(), mean=MEAN, std=STD)
    images = torch.rand(2, 3, 79, 79, dtype=torch.float64)
    both = project(network, images, "6", (1, 4))
    torch.testing.assert_close(both.pixels[1:], project(network, images[1:], "6", 4).pixels)
    against = attribute(network, images, Target(1, layer="6", against=4), "Deconvolution").colour
    difference = project(network, images, "6", 1).pixels - project(network, images, "6", 4).pixels
    torch.testing.assert_close(torch.from_numpy(against), difference.float())


class Volume(nn.Module):
    """Three spatial axes, functional and shared ReLUs, no pooling, and a dense layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.one, self.two = nn.Conv3d(1, 3, 3), nn.Conv3d(3, 4, 3)
        self.dense, self.head = nn.Linear(4 * 4**3, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.two(F.relu(self.one(x), inplace=True)))
        return self.head(torch.relu(self.dense(x.flatten(1))))


def test_volumes_and_dense_units_and_what_the_notes_say() -> None:
    module = Volume()
    with torch.no_grad():
        module.dense.bias[0], module.dense.bias[1] = -9.0, 9.0
    network = network_of(module, (1, 8, 8, 8))
    images = torch.rand(1, 1, 8, 8, 8)
    fires = attribute(network, images, Target(1, layer="dense"), "Deconvolution")
    (gradient,) = project(network, images, "dense", 1, start="strongest position", rule="plain").pixels
    leaf = images.clone().requires_grad_()
    hidden = F.relu(module.two(F.relu(module.one(leaf))))
    (expected,) = torch.autograd.grad(module.dense(hidden.flatten(1))[0, 1], leaf)
    torch.testing.assert_close(gradient, expected[0])
    assert fires.values.shape == (1, 8, 8, 8)
    assert fires.notes == ("tiny has no maximum pooling before dense, so no switches led the way down.",)
    silent = attribute(network, images, Target(0, layer="dense"), "Deconvolution")
    assert "did not fire anywhere: its largest activation is 0" in silent.notes[1]
    assert not silent.values.any()


def test_a_network_without_relus_says_that_the_rule_did_nothing() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.SiLU(), nn.Conv2d(4, 4, 3), nn.SiLU(), nn.Flatten(), nn.Linear(64, 2)
    )
    network = network_of(module, (1, 8, 8))
    images = torch.rand(1, 1, 8, 8)
    answers = {rule: attribute(network, images, Target(0, layer="2"), "Deconvolution", rule=rule)
               for rule in ("deconvnet", "guided", "plain")}  # fmt: skip
    assert "met no ReLU" in answers["deconvnet"].notes[0]
    assert not any("met no ReLU" in note for note in answers["plain"].notes)
    assert (answers["deconvnet"].values == answers["plain"].values).all()


def test_what_is_not_there_is_refused_in_a_sentence() -> None:
    network = network_of(alexnet_shaped().float())
    images = torch.rand(2, 3, 79, 79)
    for wrong, said in (
        ({"start": "middle"}, "no start 'middle'; choose one of whole map, strongest position"),
        ({"rule": "redirect"}, "no rule 'redirect'; choose one of deconvnet, guided, plain"),
        ({"position": (99, 0)}, r"position \(99, 0\), but it has"),
        ({"position": (0,)}, r"position \(0,\), but it has"),
    ):
        with pytest.raises(NetworkError, match=said):
            project(network, images, "6", 0, **wrong)  # type: ignore[arg-type]
    with pytest.raises(NetworkError, match="3 units were given for 2 images"):
        project(network, images, "6", (0, 1, 2))
    with pytest.raises(NetworkError, match="no unit 10"):
        project(network, images, "6", 10)
    with pytest.raises(AttributionError, match="rule cannot be 'redirect'"):
        attribute(network, images, Target(0, layer="6"), "Deconvolution", rule="redirect")
    assert not any(part._forward_hooks for part in network.module.modules())
