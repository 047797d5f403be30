"""Incremental inference: equal to the whole network's answer, for any network, window and layer."""

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import models
from vislib.attribution.incremental import Rerun, pasted, reruns
from vislib.attribution.tape import TapeError, record
from vislib.network import Network


def changed(images: Tensor, window: Sequence[int], n: int = 7) -> tuple[Tensor, Tensor]:
    """Random patches and places, both corners among them."""
    generator = torch.Generator().manual_seed(1)
    room = torch.tensor(images.shape[2:]) - torch.tensor(window)
    starts = (torch.rand(n, len(room), generator=generator) * (room + 1)).long()
    starts[0], starts[1] = 0, room
    patches = torch.rand(n, images.shape[1], *window, generator=generator).to(images)
    return patches, starts


def whole(network: Network, images: Tensor, patches: Tensor, starts: Tensor, layer: str) -> Tensor:
    """The slow way: the changed images, one by one, through the network."""
    rows = []
    for patch, start in zip(patches, starts.tolist(), strict=True):
        image = images[:1].clone()
        image[0][:, *(slice(s, s + w) for s, w in zip(start, patch.shape[1:], strict=True))] = patch
        rows.append(network.activations(image, [layer])[layer])
    return torch.cat(rows)


def network_of(module: nn.Module, shape: tuple[int, ...]) -> Network:
    return Network.from_module(module, shape, mean=(0.4,), std=(0.3,), device="cpu")


def incremental(rerun: Rerun) -> bool:
    """Whether the network is computed window by window, not as a whole."""
    return type(rerun).__name__ == "_Incremental"


def assert_exact(
    network: Network, images: Tensor, window: Sequence[int], layer: str = "logits", share: float = 1.0
) -> None:
    """Same answers on windows; `share` is the most work in them, of that for windows of the image's size."""
    rerun = reruns(network, layer, images, window)(0)
    assert incremental(rerun)
    patches, starts = changed(images, window)
    expected = whole(network, images, patches, starts, layer)
    got = rerun(patches, starts)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    torch.testing.assert_close(rerun.clean, network.activations(images[:1], [layer])[layer])
    work = rerun.work
    rerun(images[:1].repeat(len(patches), *[1] * (images.ndim - 1)), torch.zeros_like(starts))
    assert work <= share * rerun.work


class Dense(nn.Module):
    """Concatenations of everything before, as DenseNet has them, a residual sum and in-place activations."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 6, 3, padding=1)
        self.grow = nn.ModuleList(nn.Conv2d(6 + 4 * i, 4, 3, padding=1) for i in range(3))
        self.norms = nn.ModuleList(nn.BatchNorm2d(6 + 4 * i) for i in range(3))
        self.mix = nn.Conv2d(18, 8, 1)
        self.split = nn.Conv2d(4, 4, 3, padding="same", dilation=2)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        maps = [F.relu_(self.first(x))]
        for norm, conv in zip(self.norms, self.grow, strict=True):
            maps.append(conv(F.relu(norm(torch.cat(maps, 1)), inplace=True)))
        x = F.avg_pool2d(self.mix(torch.cat(maps, dim=1)), 2)
        one, other = x.chunk(2, 1)
        one = one + F.silu(self.split(one))
        one += other * 0.5
        x = torch.cat([one, other[:, :4]], 1)
        return self.head(F.dropout(x, 0.5, self.training).mean((2, 3)))


@pytest.fixture(scope="module")
def resnet() -> Network:
    torch.manual_seed(0)
    return network_of(torchvision.models.resnet18().eval(), (3, 96, 96))


def test_squeezenet_of_real_weights(shared_data: Path) -> None:
    network = models.load(
        "torchvision:squeezenet1_0", weights=shared_data / "squeezenet1_0_imagenet.pt", device="cpu"
    )
    assert_exact(network, torch.rand(1, 3, 224, 224), (32, 32), share=0.5)


def test_brain2d() -> None:
    network = models.load("brain2d", device="cpu")
    assert_exact(network, torch.rand(1, 1, 128, 128), (10, 10), share=0.3)
    assert_exact(network, torch.rand(1, 1, 128, 128), (24, 7), layer="conv4", share=0.5)


def test_resnet_18(resnet: Network) -> None:
    images = torch.rand(1, 3, 96, 96)
    assert_exact(resnet, images, (8, 8), share=0.7)
    assert_exact(resnet, images, (8, 8), layer="layer2.0.conv1", share=0.3)  # read after its batch norm
    assert_exact(resnet, images, (8, 8), layer="layer2.0", share=0.3)  # a block


def test_vgg_like_with_a_dense_head() -> None:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for before, after in ((3, 8), (8, 12), (12, 16)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(True), nn.MaxPool2d(2)]
    head = [nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(256, 20), nn.ReLU(True), nn.Linear(20, 6)]
    assert_exact(
        network_of(nn.Sequential(*layers, *head), (3, 40, 40)), torch.rand(1, 3, 40, 40), (6, 6), share=0.4
    )


def test_concatenations_sums_chunks_and_writing_in_place() -> None:
    torch.manual_seed(0)
    network = network_of(Dense().eval(), (1, 41, 37))
    assert_exact(network, torch.rand(1, 1, 41, 37), (5, 4), share=0.5)


@pytest.mark.parametrize("axes", [1, 3])
def test_one_and_three_axes(axes: int) -> None:
    torch.manual_seed(0)
    conv, norm = (nn.Conv1d, nn.BatchNorm1d) if axes == 1 else (nn.Conv3d, nn.BatchNorm3d)
    pool = nn.MaxPool1d(3, 2, 1) if axes == 1 else nn.MaxPool3d(3, 2, 1)
    head = [nn.AdaptiveAvgPool1d(1) if axes == 1 else nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(6, 3)]
    body = [conv(2, 5, 3, stride=2, padding=1), norm(5), nn.ELU(True), pool, conv(5, 6, 3, padding="same")]
    network = network_of(nn.Sequential(*body, nn.ReLU(), *head).eval(), (2, *[29, 31, 27][:axes]))
    assert_exact(network, torch.rand(1, *network.input_shape), [4, 3, 5][:axes], share=0.6)


LAYERS = st.lists(
    st.one_of(
        st.tuples(
            st.just("conv"),
            *(st.sampled_from([1, 2, 3, 5]), st.sampled_from([1, 1, 2, 3]), st.integers(0, 2)),
            *(st.integers(1, 2), st.booleans()),
        ),
        st.tuples(
            st.sampled_from(["max", "avg"]),
            *(st.sampled_from([2, 3]), st.integers(1, 3), st.integers(0, 1)),
            *(st.booleans(), st.booleans()),
        ),
        st.tuples(st.just("residual"), st.sampled_from([1, 3])),
    ),
    min_size=1,
    max_size=4,
)


class Residual(nn.Module):
    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, kernel, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x).relu()


def built(specs: Sequence[tuple]) -> nn.Sequential:
    """A random network of four channels."""
    layers: list[nn.Module] = [nn.Conv2d(1, 4, 3, padding=1)]
    for kind, kernel, *rest in specs:
        if kind == "residual":
            layers.append(Residual(kernel))
            continue
        stride, padding = rest[:2]
        if kind == "conv":
            dilation, grouped = rest[2:]
            layers += [
                nn.Conv2d(4, 4, kernel, stride, padding, dilation, 2 if grouped else 1),
                nn.LeakyReLU(),
            ]
        elif kind == "max":
            layers.append(nn.MaxPool2d(kernel, stride, padding, dilation=1, ceil_mode=rest[2]))
        else:
            layers.append(nn.AvgPool2d(kernel, stride, padding, rest[2], rest[3]))
    return nn.Sequential(*layers, nn.Conv2d(4, 3, 1))


@settings(max_examples=60)
@given(
    LAYERS,
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(26, 33), st.integers(26, 33)),
)
def test_any_stride_padding_dilation_grouping_and_rounding(
    specs: list[tuple], window: tuple[int, int], size: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    module = built(specs).double()
    images = torch.rand(1, 1, *size, dtype=torch.float64)
    try:
        network = network_of(module, (1, *size))
    except Exception:  # a stack of strides that leaves nothing
        return
    rerun = reruns(network, "logits", images, window)(0)
    assert incremental(rerun)
    patches, starts = changed(images, window)
    torch.testing.assert_close(rerun(patches, starts), whole(network, images, patches, starts, "logits"))


def test_average_pooling_whose_divisor_is_given() -> None:
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.AvgPool2d(3, 2, 1, divisor_override=5), nn.Conv2d(2, 2, 1))
    assert_exact(network_of(module, (1, 21, 21)), torch.rand(1, 1, 21, 21), (4, 4))


@pytest.mark.parametrize("units", [[3], [4, 0, 4]])
@pytest.mark.parametrize("layer", ["logits", "layer2.0.conv2", "layer3.0"])
def test_only_the_units_asked_for(resnet: Network, layer: str, units: list[int]) -> None:
    images = torch.rand(2, 3, 96, 96)
    rerun = reruns(resnet, layer, images, (9, 9), units)(1)
    assert incremental(rerun)
    patches, starts = changed(images, (9, 9), 3)
    expected = whole(resnet, images[1:], patches, starts, layer)[:, units]
    torch.testing.assert_close(rerun(patches, starts), expected, rtol=1e-4, atol=1e-4)


def test_units_of_a_last_convolution_cost_less() -> None:
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 1000, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1)
    )
    network, images = network_of(nn.Sequential(*module, nn.Flatten()), (1, 20, 20)), torch.rand(1, 1, 20, 20)
    every, one = (reruns(network, "logits", images, (4, 4), units)(0) for units in (None, [7]))
    patches, starts = changed(images, (4, 4))
    torch.testing.assert_close(one(patches, starts), every(patches, starts)[:, [7]])
    assert one.work < every.work / 10


class Odd(nn.Module):
    """Does what cannot be known to be local, in one of several ways."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.last = nn.Conv2d(4, 3, 3, padding=1)
        self.read = nn.LSTM(4, 4, batch_first=True)
        self.register_buffer("seen", torch.zeros(2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        n = len(x)
        if self.way == "flip":
            x = x.flip(2)
        elif self.way == "view":
            x = x.view(n, 4, -1).cumsum(2).view(n, 4, *x.shape[2:])
        elif self.way == "number":
            x = torch.stack([row * float(row.mean()) for row in x])
        elif self.way == "rows":
            x = x + torch.linspace(0, 1, n)[:, None, None, None] * 0 + x.sum((1, 2, 3), keepdim=True)
        elif self.way == "excite":
            x = x * torch.sigmoid(x.mean((2, 3), keepdim=True))
        elif self.way == "item":
            y = x.clone()
            y[:, 0] = x[:, 1]
            x = y
        elif self.way == "view in place":
            y = x[:, :2]
            y.mul_(2.0)
        elif self.way == "place":
            x = x * torch.linspace(0, 1, x.shape[3])
        elif self.way == "circular":
            x = F.pad(x, (1, 1, 1, 1), mode="circular")
        elif self.way == "numpy":
            x = torch.from_numpy(np.tanh(x.numpy()))
        elif self.way == "zeros":
            x = torch.cat([torch.zeros(n, 2, *x.shape[2:]), x[:, :2]], 1)
        elif self.way == "branch":
            x = x if bool((x.amax((1, 2, 3)) < 2.5).all()) else x * 3
        elif self.way == "half":
            x = x * (1.0 + n // 2)
        elif self.way == "list":
            x = x * torch.tensor(x[:, 0, 0, 0].tolist())[:, None, None, None]
        elif self.way == "drawn":
            x = x + torch.rand(3)[0]
        elif self.way == "recurrent":
            x = self.read(x.flatten(2).transpose(1, 2))[0].transpose(1, 2).reshape(x.shape)
        elif self.way == "folded":
            x = x.reshape(n * 2, 2, *x.shape[2:]).relu().reshape(x.shape)
        return self.last(x)


WAYS = [
    *(
        "flip",
        "view",
        "number",
        "rows",
        "excite",
        "item",
        "view in place",
        "place",
        "circular",
        "numpy",
        "zeros",
    ),
    *("branch", "list", "recurrent", "folded"),
]


@pytest.mark.parametrize("way", WAYS)
def test_what_is_not_known_to_be_local_is_computed_as_a_whole(way: str) -> None:
    torch.manual_seed(0)
    network, images = network_of(Odd(way), (1, 16, 16)), torch.rand(2, 1, 16, 16)
    patches, starts = changed(images, (3, 3))
    for image in (0, 1):
        got = reruns(network, "logits", images, (3, 3), [1, 2])(image)(patches, starts)
        expected = whole(network, images[image : image + 1], patches, starts, "logits")[:, [1, 2]]
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


LIES = {
    **dict.fromkeys(("number", "branch", "numpy", "list"), "reads values with"),
    **dict.fromkeys(("item", "view in place"), "another view of its memory|not computed by"),
    **dict.fromkeys(("zeros", "drawn"), "constant hangs on the images"),
    **dict.fromkeys(("half",), "depends on what else is in the batch"),
    **dict.fromkeys(("flip", "recurrent"), "not known to be the same"),
    **dict.fromkeys(("folded",), "hangs on the images|not one row an image"),
}


@pytest.mark.parametrize("way", LIES)
def test_a_tape_that_would_lie_is_not_used(way: str) -> None:
    network = network_of(Odd(way), (1, 16, 16))
    assert not incremental(reruns(network, "logits", torch.rand(1, 1, 16, 16), (3, 3))(0))
    if way != "numpy":
        with pytest.raises(TapeError, match=LIES[way]):
            record(network, "logits", (16, 16))


def test_the_module_is_untouched_and_threads_do_not_meet() -> None:
    torch.manual_seed(0)
    network, images = network_of(Dense().eval(), (1, 32, 32)), torch.rand(1, 1, 32, 32)
    before = {key: value.clone() for key, value in network.module.state_dict().items()}
    patches, starts = changed(images, (4, 4))
    expected, got = whole(network, images, patches, starts, "logits"), {}

    def ask(name: int) -> None:
        rerun = reruns(network, "logits", images, (4, 4))(0)
        got[name] = [rerun(patches, starts) for _ in range(3)]

    threads = [threading.Thread(target=ask, args=(name,)) for name in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for answers in got.values():
        for answer in answers:
            torch.testing.assert_close(answer, expected, rtol=1e-4, atol=1e-4)
            assert not answer.requires_grad
    assert len(got) == 3
    for key, value in network.module.state_dict().items():
        assert torch.equal(value, before[key])
    assert not any(part._forward_hooks for part in network.module.modules())


def test_patches_given_are_not_written_to() -> None:
    class Greedy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.avg_pool2d(x.mul_(2.0).relu_(), 2)

    network = Network.from_module(nn.Sequential(Greedy(), nn.Conv2d(1, 2, 1)), (1, 12, 12), device="cpu")
    images = torch.rand(1, 1, 12, 12)
    patches, starts = changed(images, (3, 3))
    kept, image = patches.clone(), images.clone()
    rerun = reruns(network, "logits", images, (3, 3))(0)
    torch.testing.assert_close(rerun(patches, starts), whole(network, image, kept, starts, "logits"))
    assert torch.equal(patches, kept)
    assert torch.equal(images, image)


def test_pasting() -> None:
    images = pasted(torch.zeros(1, 1, 3, 4), torch.ones(2, 1, 2, 2), torch.tensor([[0, 0], [1, 2]]))
    assert images[0, 0].tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]]
    assert images[1, 0].tolist() == [[0, 0, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]
