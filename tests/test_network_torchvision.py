"""Every torchvision family of convnets, random weights: layers against hand-made hooks on the full forward pass."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torchvision.models as tv
from torch import Tensor, nn

from vislib.network import Network

# name -> (constructor, options, side, blocks that must be listed, aliases that must lead to a layer, opening)
FAMILIES: dict[str, tuple[Any, dict[str, Any], int, list[str], dict[str, str], str]] = {
    "alexnet": (tv.alexnet, {}, 63, [], {"features": "features.10", "classifier": "logits"}, "features.8"),
    "vgg11": (tv.vgg11, {"init_weights": False}, 32, [], {"features": "features.18"}, "features.13"),
    "squeezenet1_0": (
        tv.squeezenet1_0, {}, 64,
        [f"features.{i}" for i in (3, 4, 5, 7, 8, 9, 10, 12)], {"features": "features.12"}, "features.9",
    ),
    "resnet18": (
        tv.resnet18, {}, 64, [f"layer{i}{end}" for i in (1, 2, 3, 4) for end in (".0", "")],
        {"layer3.1": "layer3", "layer3.0.downsample": "layer3.0.downsample.0", "fc": "logits"}, "layer3",
    ),
    "densenet121": (
        tv.densenet121, {}, 64, ["features.denseblock1.denselayer2", "features.denseblock4", "features"],
        {"features.transition1": "features.transition1.conv"}, "features.denseblock3",
    ),
    "googlenet": (
        tv.googlenet, {"init_weights": False}, 64, ["inception3a", "inception4d", "inception5b"],
        {"conv1": "conv1.conv"}, "inception4d",
    ),
    "inception_v3": (
        tv.inception_v3, {"init_weights": False}, 75, ["Mixed_5b", "Mixed_6a", "Mixed_7c"],
        {"Conv2d_1a_3x3": "Conv2d_1a_3x3.conv"}, "Mixed_6c",
    ),
    "mobilenet_v2": (
        tv.mobilenet_v2, {}, 64, ["features.1", "features.3", "features.17"],
        {"features.0": "features.0.0", "features": "features.18.0"}, "features.11",
    ),
    "mobilenet_v3_small": (
        tv.mobilenet_v3_small, {}, 64, ["features.1", "features.11"], {"features": "features.12.0"}, "features.8",
    ),
    "efficientnet_b0": (
        tv.efficientnet_b0, {}, 64, ["features.1", "features.2.0", "features.7"],
        {"features.2.1": "features.2", "features.0": "features.0.0"}, "features.5",
    ),
    "convnext_tiny": (
        tv.convnext_tiny, {}, 64, ["features.1.0", "features.5", "features.7"],
        {"features": "features.7"}, "features.5",
    ),
    "shufflenet_v2_x0_5": (
        tv.shufflenet_v2_x0_5, {}, 64, ["stage2", "stage3", "stage4"], {"stage3.7": "stage3"}, "stage3",
    ),
    "mnasnet0_5": (tv.mnasnet0_5, {}, 64, ["layers.8", "layers.13"], {"layers": "layers.14"}, "layers.11"),
    "regnet_y_400mf": (
        tv.regnet_y_400mf, {}, 64, ["trunk_output.block1", "trunk_output.block4"],
        {"stem": "stem.0", "trunk_output": "trunk_output.block4"}, "trunk_output.block3",
    ),
}  # fmt: skip


@contextmanager
def without_initialisation() -> Iterator[None]:
    """The default initialisation of large layers takes seconds: `filled` replaces it."""
    names = [name for name in dir(nn.init) if name.endswith("_") and not name.startswith("_")]
    kept = {name: getattr(nn.init, name) for name in names}
    try:
        for name in names:
            setattr(nn.init, name, lambda tensor, *_args, **_options: tensor)
        yield
    finally:
        for name, function in kept.items():
            setattr(nn.init, name, function)


def filled(module: nn.Module) -> nn.Module:
    """Random weights that keep activations in range; norms that do something."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        if parameter.ndim > 1:
            bound = (4 / parameter[0].numel()) ** 0.5
            parameter.data.uniform_(-bound, bound)
        else:
            parameter.data.uniform_(0.2, 0.6)
    for name, buffer in module.named_buffers():
        if name.endswith("running_mean"):
            buffer.uniform_(-0.1, 0.1)
    return module.eval()


def by_hand(module: nn.Module, images: Tensor) -> tuple[list[str], dict[str, tuple[Tensor | None, Tensor]]]:
    """Names in order of execution, and for each module the first input and output of its first call, cloned."""
    seen: dict[str, tuple[Tensor | None, Tensor]] = {}

    def hook(name: str) -> Any:
        def keep(_module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            first = inputs[0].clone() if isinstance(inputs[0], Tensor) else None
            seen.setdefault(name, (first, output.clone()))

        return keep

    handles = [part.register_forward_hook(hook(name)) for name, part in module.named_modules()]
    module(images)
    for handle in handles:
        handle.remove()
    return list(seen), seen


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_family(family: str) -> None:
    make, options, side, blocks, aliases, opening = FAMILIES[family]
    with without_initialisation():
        module = filled(make(weights=None, **options))
    network = Network.from_module(module, (3, side, side), name=family, device="cpu")
    images = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(1))
    order, seen = by_hand(module, images)
    parts = dict(module.named_modules())
    layers = network.layers

    executed = [name for name in order if isinstance(parts[name], nn.Conv2d)]
    assert [name for name, layer in layers.items() if layer.kind == "conv"] == executed
    assert [name for name in order if name in layers] == [name for name in layers if name != "logits"]
    assert set(blocks) <= {name for name, layer in layers.items() if layer.kind == "block"}
    assert {name: network.layer(name).name for name in aliases} == aliases
    assert (list(layers)[-1], layers["logits"].channels, network.opening) == ("logits", 1000, opening)

    got = network.activations(images, layers)
    for name, layer in layers.items():
        if layer.kind == "conv" and layer.capture != name:
            assert isinstance(parts[layer.capture], nn.BatchNorm2d)
            assert torch.equal(seen[layer.capture][0], seen[name][1])
        elif layer.kind != "logits":
            assert layer.capture == name
        expected = seen[layer.capture][1]
        assert (layer.channels, *layer.spatial) == tuple(expected.shape[1:])
        assert torch.isfinite(expected).all()
        assert_close(got[name], expected)
    for name in (opening, "logits"):
        assert_close(network.activations(images, [name])[name], seen[layers[name].capture][1])


def assert_close(got: Tensor, expected: Tensor) -> None:
    """To rounding: the memory format differs, and with it the order of summation."""
    assert got.shape == expected.shape
    assert float((got - expected).abs().max()) <= 1e-3 * float(expected.abs().max())


def test_norm_is_captured_wherever_one_follows() -> None:
    """ResNet: each convolution has its own norm; SqueezeNet and VGG have none."""
    with without_initialisation():
        resnet, squeezenet = filled(tv.resnet18(weights=None)), filled(tv.squeezenet1_0(weights=None))
    captures = {
        name: layer.capture
        for name, layer in Network.from_module(resnet, (3, 32, 32), device="cpu").layers.items()
        if layer.kind == "conv"
    }
    assert all(
        capture == name.replace("conv", "bn").replace("sample.0", "sample.1")
        for name, capture in captures.items()
    )
    plain = Network.from_module(squeezenet, (3, 48, 48), device="cpu")
    assert all(layer.capture == name for name, layer in plain.layers.items() if layer.kind == "conv")
