"""Networks that keep something of the first images that they see."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vislib.network import Network


class Keeping(nn.Module):
    """What `first` makes of the first batch is taken from every later one; `calls` are counted."""

    def __init__(self, first: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.head = nn.Conv2d(1, 8, 3), nn.Linear(8, 3)
        self.first, self.calls = first, 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        if not hasattr(self, "kept"):
            self.kept = self.first(images).detach()
        return self.head(F.relu(self.conv(images - self.kept)).mean((2, 3)))


OF_VALUES: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda images: images.mean(),
    "mean image": lambda images: images.mean(0, keepdim=True),
    "largest": lambda images: images.amax(),
}
OF_FORM: dict[str, Callable[[Tensor], Tensor]] = {
    "size": lambda images: torch.zeros(images.shape[2:]),
    "a constant": lambda images: torch.tensor(0.5),
}


@pytest.mark.parametrize("kind", OF_VALUES | OF_FORM)
def test_values_that_are_kept_of_the_first_images_are_noticed(kind: str) -> None:
    network = Network.from_module(Keeping((OF_VALUES | OF_FORM)[kind]), (1, 12, 12), device="cpu")
    said = ["keeps something of the first images that it is given" in one for one in network.cautions]
    assert said == [True] * (kind in OF_VALUES)
    assert network.notes == network.cautions
