"""Recipes: a small network for every module class of torch.nn that can follow a convolution."""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHANNELS = 8
SPATIAL: dict[int, tuple[int, ...]] = {1: (24,), 2: (12, 12), 3: (8, 8, 8)}
CONVOLUTIONS: dict[int, type[nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


def maps(x: Tensor) -> Tensor:
    return x


def vector(x: Tensor) -> Tensor:
    """(n, channels)"""
    return x.flatten(2).mean(2)


def sequence(x: Tensor) -> Tensor:
    """(n, places, channels)"""
    return x.flatten(2).transpose(1, 2)


def time_first(x: Tensor) -> Tensor:
    """(places, n, channels)"""
    return x.flatten(2).permute(2, 0, 1)


def tokens(x: Tensor) -> Tensor:
    """(n, places), whole numbers"""
    return (x.flatten(2).mean(1) * 10).long().clamp(0, 9)


@dataclass(frozen=True)
class Recipe:
    """`call(module, form(maps))` over images of `dims` spatial axes; `rows` is the axis of the result that has them."""

    make: Callable[[], nn.Module]
    form: Callable[[Tensor], Tensor] = maps
    call: Callable[[nn.Module, Tensor], Any] = lambda module, x: module(x)
    dims: int = 2
    rows: int = 0
    random: bool = False  # draws at random in evaluation mode, too


class After(nn.Module):
    """A convolution, a ReLU, the module in question, and three numbers made of whatever it gives."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.recipe = recipe
        self.conv = CONVOLUTIONS[recipe.dims](1, CHANNELS, 3, padding=1)
        self.module = recipe.make()
        with torch.no_grad():
            self(torch.rand(2, 1, *SPATIAL[recipe.dims]))  # lazy modules find their sizes
        for part in self.module.modules():
            if isinstance(part, nn.modules.batchnorm._NormBase) and part.running_mean is not None:
                part.running_mean.uniform_(0, 0.5)
                part.running_var.uniform_(0.5, 2)

    def forward(self, x: Tensor) -> Tensor:
        result = self.recipe.call(self.module, self.recipe.form(F.relu(self.conv(x))))
        while not isinstance(result, Tensor):
            result = result[0]
        flat = result.movedim(self.recipe.rows, 0).flatten(1).float()
        waves = torch.cos(
            torch.arange(flat.shape[1]) * 0.7
        )  # plain sums of what was normalised are all alike
        return F.adaptive_avg_pool1d((flat * waves)[:, None], 3)[:, 0] * 10


def twice(module: nn.Module, x: Tensor) -> Any:
    return module(x, x.flip(-1))


def _unpooled(dims: int) -> Callable[[nn.Module, Tensor], Tensor]:
    pool = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}[dims]
    return lambda module, x: module(*pool(x, 2, return_indices=True))


class _FromZeros(nn.Module):
    """A recurrent module that is given zeros for its first state, of the batch's size, as people write it."""

    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.inner = kind(CHANNELS, 5, num_layers=2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        state = torch.zeros(2, len(x), 5, dtype=x.dtype, device=x.device)
        given = (state, state) if isinstance(self.inner, nn.LSTM) else state
        return self.inner(x, given)[0][:, -1]


def _recurrent(kind: type[nn.Module]) -> list[Recipe]:
    return [
        Recipe(lambda: kind(CHANNELS, 5, batch_first=True), sequence, lambda m, x: m(x)[0][:, -1]),
        Recipe(lambda: kind(CHANNELS, 5, bidirectional=True), time_first, rows=1),
        Recipe(
            lambda: kind(2 * CHANNELS, 5, batch_first=True), lambda x: sequence(torch.cat([x, -x], 1)), dims=1
        ),
        Recipe(lambda: _FromZeros(kind), sequence),
        Recipe(lambda: kind(CHANNELS, 5, batch_first=True), sequence, dims=3),
    ]


def _layer(kind: type[nn.Module], **options: Any) -> nn.Module:
    return kind(CHANNELS, 2, 16, batch_first=True, **options)


def _by_axes(name: str) -> list[Recipe] | None:
    """Recipes of modules whose name ends in the number of axes that they act on."""
    found = re.fullmatch(r"(Lazy)?(.*)([123])d", name)
    if found is None:
        return None
    kind, dims = getattr(nn, name), int(found[3])
    lazy, family = bool(found[1]), found[2]
    channels = () if lazy else (CHANNELS,)
    ways: dict[str, list[Callable[[], nn.Module]]] = {
        "Conv": [
            lambda: kind(*channels, 6, 3, stride=2, padding=1),
            lambda: kind(*channels, 4, 3, padding="same"),
        ],
        "ConvTranspose": [lambda: kind(*channels, 6, 3, stride=2, padding=1)],
        "BatchNorm": [lambda: kind(*channels)],
        "InstanceNorm": [
            lambda: kind(*channels, affine=True),
            lambda: kind(*channels, track_running_stats=True),
        ],
        "Dropout": [lambda: kind(0.5)],
        "MaxPool": [lambda: kind(3, 2, 1)],
        "AvgPool": [lambda: kind(3, 2, 1)],
        "LPPool": [lambda: kind(2, 2)],
        "AdaptiveAvgPool": [lambda: kind(1), lambda: kind(3)],
        "AdaptiveMaxPool": [lambda: kind(1), lambda: kind(3)],
        "ConstantPad": [lambda: kind(1, 0.5)],
        **{f"{way}Pad": [lambda: kind(1)] for way in ("Circular", "Reflection", "Replication", "Zero")},
    }
    if family == "FractionalMaxPool":
        return [Recipe(lambda: kind(2, output_ratio=0.6), dims=dims, random=True)]
    if family == "MaxUnpool":
        return [Recipe(lambda: kind(2), call=_unpooled(dims), dims=dims)]
    if family not in ways:
        return None
    return [Recipe(make, dims=dims) for make in ways[family]]


def _pointwise() -> dict[str, list[Recipe]]:
    names = (
        *(
            "CELU",
            "ELU",
            "GELU",
            "Hardshrink",
            "Hardsigmoid",
            "Hardswish",
            "Hardtanh",
            "Identity",
            "LeakyReLU",
        ),
        *("LogSigmoid", "Mish", "PReLU", "RReLU", "ReLU", "ReLU6", "SELU", "SiLU", "Sigmoid", "Softplus"),
        *("Softshrink", "Softsign", "Softmax2d", "Tanh", "Tanhshrink", "AlphaDropout", "Dropout"),
        "FeatureAlphaDropout",
    )
    return {name: [Recipe(getattr(nn, name))] for name in names}


RECIPES: dict[str, list[Recipe]] = {
    **_pointwise(),
    "AdaptiveLogSoftmaxWithLoss": [
        Recipe(lambda: nn.AdaptiveLogSoftmaxWithLoss(CHANNELS, 9, [3]), vector, lambda m, x: m.log_prob(x))
    ],
    "Bilinear": [Recipe(lambda: nn.Bilinear(CHANNELS, CHANNELS, 4), vector, twice)],
    "ChannelShuffle": [Recipe(lambda: nn.ChannelShuffle(2))],
    "CosineSimilarity": [Recipe(lambda: nn.CosineSimilarity(dim=1), maps, twice)],
    "CrossMapLRN2d": [Recipe(lambda: nn.CrossMapLRN2d(3))],
    "DataParallel": [Recipe(lambda: nn.DataParallel(nn.Conv2d(CHANNELS, 4, 3)))],
    "Embedding": [Recipe(lambda: nn.Embedding(10, 4), tokens)],
    "EmbeddingBag": [Recipe(lambda: nn.EmbeddingBag(10, 4), tokens)],
    "Flatten": [Recipe(nn.Flatten)],
    "Fold": [Recipe(lambda: nn.Fold((4, 4), 2, stride=2), lambda x: F.max_pool2d(x, 6).flatten(2))],
    "GLU": [Recipe(lambda: nn.GLU(1))],
    **{name: _recurrent(getattr(nn, name)) for name in ("GRU", "LSTM", "RNN")},
    **{
        name: [Recipe(lambda name=name: getattr(nn, name)(CHANNELS, 5), vector)]
        for name in ("GRUCell", "RNNCell", "LSTMCell")
    },
    "GroupNorm": [Recipe(lambda: nn.GroupNorm(2, CHANNELS))],
    "LayerNorm": [Recipe(lambda: nn.LayerNorm(12)), Recipe(lambda: nn.LayerNorm([CHANNELS, 12, 12]))],
    "LazyLinear": [Recipe(lambda: nn.LazyLinear(5), vector)],
    "Linear": [Recipe(lambda: nn.Linear(CHANNELS, 5), vector), Recipe(lambda: nn.Linear(12, 5))],
    "LocalResponseNorm": [Recipe(lambda: nn.LocalResponseNorm(3))],
    "LogSoftmax": [Recipe(lambda: nn.LogSoftmax(1))],
    "MultiheadAttention": [
        Recipe(
            lambda: nn.MultiheadAttention(CHANNELS, 2, batch_first=True), sequence, lambda m, x: m(x, x, x)
        ),
        Recipe(lambda: nn.MultiheadAttention(CHANNELS, 2), time_first, lambda m, x: m(x, x, x)[0], rows=1),
    ],
    "PairwiseDistance": [Recipe(nn.PairwiseDistance, maps, twice)],
    "PixelShuffle": [Recipe(lambda: nn.PixelShuffle(2))],
    "PixelUnshuffle": [Recipe(lambda: nn.PixelUnshuffle(2))],
    "RMSNorm": [Recipe(lambda: nn.RMSNorm(12))],
    "Sequential": [Recipe(lambda: nn.Sequential(nn.ReLU(), nn.Conv2d(CHANNELS, 4, 3), nn.Flatten()))],
    "Softmax": [Recipe(lambda: nn.Softmax(1)), Recipe(lambda: nn.Softmax(2), sequence)],
    "Softmin": [Recipe(lambda: nn.Softmin(1))],
    "SyncBatchNorm": [Recipe(lambda: nn.SyncBatchNorm(CHANNELS))],
    "Threshold": [Recipe(lambda: nn.Threshold(0.1, 0.2))],
    "Transformer": [
        Recipe(
            lambda: nn.Transformer(CHANNELS, 2, 1, 1, 16, batch_first=True), sequence, lambda m, x: m(x, x)
        )
    ],
    "TransformerDecoder": [
        Recipe(
            lambda: nn.TransformerDecoder(_layer(nn.TransformerDecoderLayer), 1),
            sequence,
            lambda m, x: m(x, x),
        )
    ],
    "TransformerDecoderLayer": [
        Recipe(lambda: _layer(nn.TransformerDecoderLayer), sequence, lambda m, x: m(x, x))
    ],
    "TransformerEncoder": [
        Recipe(lambda: nn.TransformerEncoder(_layer(nn.TransformerEncoderLayer), 1), sequence)
    ],
    "TransformerEncoderLayer": [Recipe(lambda: _layer(nn.TransformerEncoderLayer), sequence)],
    "Unflatten": [Recipe(lambda: nn.Unflatten(1, (2, CHANNELS // 2)))],
    "Unfold": [Recipe(lambda: nn.Unfold(3))],
    "Upsample": [
        Recipe(lambda way=way: nn.Upsample(scale_factor=2, mode=way))
        for way in ("nearest", "bilinear", "bicubic")
    ],
    "UpsamplingBilinear2d": [Recipe(lambda: nn.UpsamplingBilinear2d(scale_factor=2))],
    "UpsamplingNearest2d": [Recipe(lambda: nn.UpsamplingNearest2d(scale_factor=2))],
}
# They hold modules or numbers and compute nothing, or are what others are derived from.
COMPUTE_NOTHING = frozenset(
    (
        "Container",
        "Module",
        "ModuleDict",
        "ModuleList",
        "ParameterDict",
        "ParameterList",
        "RNNBase",
        "RNNCellBase",
    )
)


def classes() -> list[str]:
    """Every module class of torch.nn but the losses, which take the truth, too."""
    found = [
        (name, one) for name, one in vars(nn).items() if inspect.isclass(one) and issubclass(one, nn.Module)
    ]
    return sorted(name for name, one in found if one.__module__ != nn.modules.loss.__name__)


def recipes(name: str) -> list[Recipe]:
    """How a network is made with this class; raises LookupError where nobody has said it yet."""
    made = RECIPES.get(name) or _by_axes(name)
    if made is None:
        raise LookupError(f"torch.nn.{name} has no recipe in tests/torch_modules.py: write one.")
    return made
