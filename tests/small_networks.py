"""Small networks for tests of the page: one that works, and some that go wrong in their own ways."""

import torch
from torch import Tensor, nn


def working() -> nn.Module:
    """Three convolutions that see 24 x 24 pixels; the last unit of the second never fires."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 20, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(20, 40, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(40, 3),
    )
    with torch.no_grad():
        module[2].weight[19] = 0.0
        module[2].bias[19] = -1.0
    return module


class _Raises(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)

    def forward(self, images: Tensor) -> Tensor:
        raise RuntimeError("the camera is on fire")


def raises() -> nn.Module:
    """A module whose forward raises."""
    return _Raises()


class _NotANumber(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.head = nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Tensor:
        # Fine for the probe's constant image, the logarithm of a negative number for anything lively.
        maps = self.conv(images)
        return self.head(torch.log(0.001 - maps.flatten(2).var(2)))


def not_a_number() -> nn.Module:
    """A module whose logits become NaN as soon as the image has contrast."""
    return _NotANumber()


class _Greedy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.head = nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Tensor:
        if len(images) > 1:  # the probe sees one
            torch.empty(1 << 60, dtype=torch.uint8)
        return self.head(self.conv(images).relu().flatten(2).mean(2))


def greedy() -> nn.Module:
    """A module that asks for an exabyte as soon as it sees two images at once."""
    return _Greedy()


def no_head() -> nn.Module:
    """A network without global average pooling: its classifier sees every position."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(4),
        nn.Flatten(),
        nn.Linear(6 * 6 * 6, 3),
    )


def many() -> nn.Module:
    """Eight classes, more than a list of the five most probable ones holds."""
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 8),
    )


class _OfMean(nn.Module):
    """Scores `weight * mean + bias` of the standardised image's mean: all can be told in closed form."""

    def __init__(self, weights: list[float], biases: list[float], ending: str = "") -> None:
        super().__init__()
        self.maps = nn.Conv2d(1, 2, 1)
        self.head = nn.Linear(2, len(weights))
        self.ending = ending
        with torch.no_grad():
            self.maps.weight[:] = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1)
            self.maps.bias[:] = 0.0
            self.head.weight[:] = torch.tensor([[one, 0.0] for one in weights])
            self.head.bias[:] = torch.tensor(biases)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.maps(images)
        if self.ending == "places":
            return self.head(maps.movedim(1, -1)).movedim(-1, 1)
        scores = self.head(maps.mean((2, 3)))
        if self.ending == "nan":
            return scores + torch.where(images.amax((1, 2, 3)) > 1.9, torch.nan, 0.0)[:, None]
        if self.ending == "flat":
            return scores.squeeze(1)
        return {"": lambda: scores, "softmax": lambda: scores.softmax(1), "sigmoid": scores.sigmoid}[
            self.ending
        ]()


def one_logit() -> nn.Module:
    """One unit, a logit, -4 for a grey image."""
    return _OfMean([2.0], [-4.0])


def findings() -> nn.Module:
    """Three independent logits."""
    return _OfMean([1.0, -2.0, 3.0], [-2.0, 0.5, 0.0])


def classes() -> nn.Module:
    """Three logits that share one probability."""
    return _OfMean([1.0, -2.0, 3.0], [1.0, 0.5, 0.0])


def own_softmax() -> nn.Module:
    """The same, normalised by the module itself."""
    return _OfMean([1.0, -2.0, 3.0], [1.0, 0.5, 0.0], "softmax")


def own_sigmoid() -> nn.Module:
    """The three findings, each already a probability."""
    return _OfMean([1.0, -2.0, 3.0], [-2.0, 0.5, 0.0], "sigmoid")


def years() -> nn.Module:
    """An age of shape (n,): 50 years for a grey image."""
    return _OfMean([10.0], [50.0], "flat")


def lengths() -> nn.Module:
    """Two values."""
    return _OfMean([10.0, -1.0], [50.0, 3.0])


def segments() -> nn.Module:
    """Three class scores at every place."""
    return _OfMean([1.0, -2.0, 3.0], [1.0, 0.5, 0.0], "places")


def sometimes_nan() -> nn.Module:
    """Three logits; not finite for an image that is white somewhere."""
    return _OfMean([1.0, -2.0, 3.0], [1.0, 0.5, 0.0], "nan")


def at_random() -> nn.Module:
    """A network whose dropout is never switched off."""
    module = working()
    module.append(_Dropout())
    return module


class _Dropout(nn.Module):
    def forward(self, scores: Tensor) -> Tensor:
        return nn.functional.dropout(scores, 0.5, training=True)


class _Quarters(nn.Module):
    """Quarters of each image in the batch; the strongest answer counts."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU())
        self.head = nn.Linear(6, 3)

    def forward(self, images: Tensor) -> Tensor:
        parts = images.unfold(2, 12, 12).unfold(3, 12, 12).reshape(-1, 1, 12, 12)
        return self.head(self.body(parts).mean((2, 3))).view(len(images), -1, 3).amax(1)


def quarters() -> nn.Module:
    """Each image is cut into four that are folded into the batch."""
    return _Quarters()
