"""Remarks: what must be said of a network: random answers, tokens, no layers, maps without a place."""

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.maxvit import MaxVit
from torchvision.models.swin_transformer import SwinTransformer
from torchvision.models.vision_transformer import VisionTransformer

from vislib.attribution import METHODS, Target, attribute
from vislib.attribution.map_layers import default_layer, no_maps
from vislib.errors import AttributionError
from vislib.evaluation import check
from vislib.network import Network
from vislib.words import counted

Change = Callable[[nn.Module, Tensor], Tensor]


class Changing(nn.Module):
    """A small network whose pooled features go through `change`, which may be anything."""

    def __init__(self, change: Change, extra: nn.Module | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.head = nn.Conv2d(1, 8, 3, padding=1), nn.Linear(8, 3)
        self.change, self.extra, self.count = change, extra, 0

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.change(self, F.relu(self.conv(images)).mean((2, 3))))


def opened(module: nn.Module, shape: tuple[int, ...] = (1, 12, 12)) -> Network:
    return Network.from_module(module, shape, device="cpu")


def trained(module: nn.Module, rows: Tensor) -> Tensor:
    assert module.extra is not None
    return module.extra.train()(rows)


def counting(module: nn.Module, rows: Tensor) -> Tensor:
    module.count += 1
    return rows * (1 + module.count % 2)


def seeded(module: nn.Module, rows: Tensor) -> Tensor:
    """The same in every pass, but another noise for each row."""
    return rows + torch.randn(rows.shape, generator=torch.Generator().manual_seed(0))


def seldom(module: nn.Module, rows: Tensor) -> Tensor:
    """Stochastic depth that nearly always leaves the image as it is."""
    return rows * float(torch.rand(()) < 0.999999)


def stochastic_depth(module: nn.Module, rows: Tensor) -> Tensor:
    keep = (torch.rand(len(rows), 1) < 0.5).float()
    return rows + keep * 3


RANDOM: dict[str, Callable[[], nn.Module]] = {
    "functional dropout": lambda: Changing(lambda _, rows: F.dropout(rows, 0.5, training=True)),
    "a dropout forced to train": lambda: Changing(trained, nn.Dropout(0.5)),
    "stochastic depth": lambda: Changing(stochastic_depth),
    "small noise": lambda: Changing(lambda _, rows: rows + 1e-4 * torch.randn_like(rows)),
    "one noise for all rows": lambda: Changing(lambda _, rows: rows + torch.randn(1, 8)),
    "numpy's noise": lambda: Changing(lambda _, rows: rows * float(np.random.normal())),
    "python's noise": lambda: Changing(lambda _, rows: rows * random.random()),
    "a generator of its own": lambda: Changing(
        lambda _, rows: rows * float(np.random.default_rng().normal())
    ),
    "a count of calls": lambda: Changing(counting),
}
TOGETHER: dict[str, Callable[[], nn.Module]] = {
    "a batch norm forced to train": lambda: Changing(trained, nn.BatchNorm1d(8)),
    "a mean over the batch": lambda: Changing(lambda _, rows: rows - rows.mean(0)),
    "noise by row": lambda: Changing(seeded),
}
STEADY: dict[str, Callable[[], nn.Module]] = {
    "plain": lambda: Changing(lambda _, rows: rows),
    "dropout that is off": lambda: Changing(lambda module, rows: module.extra(rows), nn.Dropout(0.5)),
    "batch norm": lambda: Changing(lambda module, rows: module.extra(rows), nn.BatchNorm1d(8)),
    "one row after the other": lambda: Changing(lambda _, rows: torch.stack([row * 1.0 for row in rows])),
    "half": lambda: Changing(lambda _, rows: rows).half(),
    "bfloat16": lambda: Changing(lambda _, rows: rows).bfloat16(),
    "double": lambda: Changing(lambda _, rows: rows).double(),
    "two images at least": lambda: Changing(lambda _, rows: rows + 0 * rows[1]),
}


@pytest.mark.parametrize("kind", RANDOM)
def test_answers_that_are_random_are_noticed(kind: str) -> None:
    network = opened(RANDOM[kind]())
    assert len(network.cautions) == 1
    assert "equal images unequal answers" in network.cautions[0]
    assert network.notes[0] == network.cautions[0] == network.twin().cautions[0]


@pytest.mark.parametrize("kind", TOGETHER)
def test_answers_that_depend_on_the_batch_are_noticed(kind: str) -> None:
    (caution,) = opened(TOGETHER[kind]()).cautions
    assert "depends on what else is in the batch" in caution


@pytest.mark.parametrize("kind", STEADY)
def test_nothing_is_said_of_steady_answers(kind: str) -> None:
    assert opened(STEADY[kind]()).notes == ()


def test_random_numbers_that_seldom_matter_are_noticed() -> None:
    (caution,) = opened(Changing(seldom)).cautions
    assert "draws random numbers" in caution


def test_rounding_of_a_deep_network_is_no_randomness() -> None:
    torch.manual_seed(0)
    deep = [
        part for _ in range(30) for part in (nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.GELU())
    ]
    module = nn.Sequential(
        nn.Conv2d(1, 16, 3), *deep, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5)
    )
    assert opened(module, (1, 24, 24)).notes == ()


def test_a_caution_stands_beside_every_answer() -> None:
    network = opened(RANDOM["functional dropout"]())
    images = torch.rand(1, 1, 12, 12)
    quick = [name for name, one in METHODS.items() if one.quick and not one.check(network)]
    assert "Saliency" in quick
    for method in quick:
        assert network.cautions[0] in attribute(network, images, Target(0), method).notes
    *_, done = check(network, images, 0, [("Saliency", None, {})], steps=2, stages=1)
    assert network.cautions[0] in done.checks[0].notes
    assert all(
        network.cautions[0] not in attribute(opened(STEADY["plain"]()), images, 0, m).notes for m in quick
    )


class Patches(nn.Module):
    """A vision transformer of a few lines; `stem` makes maps of 16 channels."""

    def __init__(self, stem: nn.Module, layers: int = 2) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = stem
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.encoder, self.head = (
            nn.TransformerEncoder(layer, layers, enable_nested_tensor=False),
            nn.Linear(16, 3),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.encoder(self.stem(images).flatten(2).transpose(1, 2)).mean(1))


class Mixer(nn.Module):
    """Patches, then dense layers over places and over channels in turn."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.places, self.channels = (
            nn.Conv2d(1, 16, 4, stride=4),
            nn.Linear(16, 16),
            nn.Linear(16, 16),
        )
        self.head = nn.Linear(16, 3)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.stem(images).flatten(2)
        tokens = F.gelu(self.channels(F.gelu(self.places(tokens)).transpose(1, 2)))
        return self.head(tokens.mean(1))


def deep_stem() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 16, 3, 2, 1))


# A network over tokens, its images, the last maps, and whether those are patches.
TOKENS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], str, bool]] = {
    "own": (lambda: Patches(nn.Conv2d(1, 16, 4, stride=4)), (1, 16, 16), "stem", True),
    "own, deep stem": (lambda: Patches(deep_stem(), 6), (1, 16, 16), "stem.2", False),
    "mixer": (Mixer, (1, 16, 16), "stem", True),
    "torchvision": (
        lambda: VisionTransformer(
            image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=5
        ),
        (3, 32, 32),
        "conv_proj",
        True,
    ),
    "swin": (
        lambda: SwinTransformer([4, 4], 12, [2, 2], [2, 4], [4, 4], num_classes=5),
        (3, 32, 32),
        "features.0.0",
        True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", TOKENS)
def test_class_activation_maps_of_tokens_are_refused_and_it_is_said(kind: str) -> None:
    make, shape, last, patches = TOKENS[kind]
    network = opened(make(), shape)
    assert list(network.layers) == [*[name for name in network.layers if name.startswith(last[:4])], "logits"]
    assert any("layers over tokens" in note and repr(last) in note for note in network.notes)
    image = torch.rand(1, *shape)
    for name in ("Grad-CAM", "Grad-CAM++", "LayerCAM", "Score-CAM", "Guided Grad-CAM"):
        for layer in (None, last):
            with pytest.raises(AttributionError, match="decides over tokens") as raised:
                attribute(network, image, 0, name, layer=layer)
            assert ("one patch" in str(raised.value)) == patches
    assert attribute(network, image, 0, "Saliency").values.shape == (1, *shape[1:])


def test_maps_in_another_order_of_axes_are_no_layers() -> None:
    """A stage that keeps maps as (images, height, width, channels), inside of a network that does not."""

    class Stage(nn.Module):
        def __init__(self, turn_back: bool) -> None:
            super().__init__()
            self.conv, self.dense, self.turn_back = nn.Conv2d(4, 6, 3, padding=1), nn.Linear(6, 6), turn_back

        def forward(self, maps: Tensor) -> Tensor:
            maps = self.conv(maps).permute(0, 2, 3, 1)
            maps = maps + F.gelu(self.dense(F.layer_norm(maps, (6,))))
            return maps.permute(0, 3, 1, 2) if self.turn_back else maps

    class Net(nn.Module):
        def __init__(self, turn_back: bool) -> None:
            super().__init__()
            self.first, self.stage, self.head = (
                nn.Conv2d(1, 4, 3, padding=1),
                Stage(turn_back),
                nn.Linear(6, 3),
            )

        def forward(self, images: Tensor) -> Tensor:
            maps = self.stage(self.first(images))
            return self.head(maps.mean((2, 3) if self.stage.turn_back else (1, 2)))

    for turn_back in (False, True):
        network = opened(Net(turn_back))
        assert ("stage" in network.layers) == turn_back
        assert all(layer.channels in (3, 4, 6) for layer in network.layers.values())


def test_networks_whose_last_maps_hold_the_answer_keep_their_class_activation_maps() -> None:
    blocks = {"stem_channels": 8, "partition_size": 2, "block_channels": [8, 16], "block_layers": [1, 1]}
    network = opened(
        MaxVit(input_size=(32, 32), head_dim=4, stochastic_depth_prob=0.2, **blocks), (3, 32, 32)
    )
    assert no_maps(network) == ""
    assert network.notes == ()
    recurrent = opened(Recurrent())
    assert no_maps(recurrent) == ""
    assert default_layer(recurrent) == "conv"


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.gru, self.head = (
            nn.Conv2d(1, 8, 3, stride=2),
            nn.GRU(8, 16, batch_first=True),
            nn.Linear(16, 3),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.gru(F.relu(self.conv(images)).flatten(2).transpose(1, 2))[0][:, -1])


class Folded(nn.Module):
    """The slices of a volume go through a 2-D network as a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 4, 3), nn.Linear(4, 3)

    def forward(self, volumes: Tensor) -> Tensor:
        rows = volumes.permute(0, 4, 1, 2, 3).flatten(0, 1)
        return self.head(F.relu(self.conv(rows)).mean((2, 3))).unflatten(0, (len(volumes), -1)).amax(1)


class NoModules(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 144))

    def forward(self, images: Tensor) -> Tensor:
        return F.linear(images.flatten(1), self.weight)


@pytest.mark.parametrize(
    ("module", "shape", "why"),
    [
        (Folded(), (1, 12, 12, 5), "its convolution works on 10 rows for 2 images"),
        (NoModules(), (1, 12, 12), "no convolution or dense layer module"),
        (nn.Sequential(nn.Flatten(), nn.Linear(144, 3)), (1, 12, 12), "no convolution or dense layer module"),
    ],
)
def test_a_network_without_layers_says_so(module: nn.Module, shape: tuple[int, ...], why: str) -> None:
    network = opened(module, shape)
    assert list(network.layers) == ["logits"]
    (note,) = network.notes
    assert note.startswith("No layer of network but its output is listed")
    assert why in note


def test_maps_of_one_position_have_no_place_to_show() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 6, 4, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)
    )
    for size, method in ((4, "CAM"), (4, "Grad-CAM"), (4, "Score-CAM")):
        with pytest.raises(AttributionError, match=r"no place to show|no layer with spatial positions"):
            attribute(opened(module, (1, size, size)), torch.rand(1, 1, size, size), 0, method)
    larger = opened(module, (1, 16, 16))
    for method in ("CAM", "Grad-CAM", "LayerCAM", "Score-CAM"):
        assert attribute(larger, torch.rand(1, 1, 16, 16), 0, method).raw.shape == (1, 4, 4)
        with pytest.raises(
            AttributionError, match=r"maps of 1 x 1 here: a single position, which has no place to show"
        ):
            attribute(larger, torch.rand(1, 1, 4, 4), 0, method)


@pytest.mark.parametrize(
    ("number", "noun", "words"),
    [
        (1, "class", "1 class"),
        (0, "class", "0 classes"),
        (2, "axis", "2 axes"),
        (3, "copy", "3 copies"),
        (2, "day", "2 days"),
    ],
)
def test_numbers_of_things_read_as_people_say_them(number: int, noun: str, words: str) -> None:
    assert counted(number, noun) == words


def test_random_numbers_of_python_are_seen_in_the_code() -> None:
    """Also where no trial shows them, as with stochastic depth that seldom drops anything."""

    class Seldom(Changing):
        def forward(self, images: Tensor) -> Tensor:
            rows = super().forward(images)
            return rows + 1 if random.random() < 1e-9 else rows

    (caution,) = opened(Seldom(lambda _, rows: rows)).cautions
    assert "draws random numbers in evaluation mode" in caution


LIKE_ALL: dict[str, Callable[[Tensor], Tensor]] = {
    "z-score": lambda images: (images - images.mean()) / (images.std() + 1e-6),
    "mean": lambda images: images - images.mean(),
    "range": lambda images: (images - images.min()) / (images.max() - images.min()),
    "largest": lambda images: images / images.max(),
    "inverted where dark": lambda images: 1 - images if images.mean() < 0.3 else images,
}


@pytest.mark.parametrize("kind", LIKE_ALL)
def test_images_that_are_standardised_together_are_noticed(kind: str) -> None:
    class Together(Changing):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(LIKE_ALL[kind](images))

    (caution,) = opened(Together(lambda _, rows: rows)).cautions
    assert "depends on what else is in the batch" in caution


def test_a_loss_of_the_whole_batch_beside_the_scores_is_no_mixing() -> None:
    class WithLoss(Changing):
        def forward(self, images: Tensor) -> dict[str, Tensor]:
            scores = super().forward(images)
            return {"loss": scores.pow(2).sum(), "logits": scores}

    assert opened(WithLoss(lambda _, rows: rows)).cautions == ()


@pytest.mark.parametrize(
    ("last", "size", "said"),
    [(True, (20, 20), True), (False, (20, 20), False), (True, (20, 30), True), (False, (30, 20), False)],
)
def test_an_output_whose_classes_seem_to_come_last_is_told_how_it_is_read(
    last: bool, size: tuple[int, int], said: bool
) -> None:
    class Segments(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 3, 3)

        def forward(self, images: Tensor) -> Tensor:
            maps = self.conv(images)
            return maps.permute(0, 2, 3, 1) if last else maps

    network = Network.from_module(Segments(), (1, *size), name="segments", device="cpu")
    assert any("where its units come last" in note for note in network.notes) == said
