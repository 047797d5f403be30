"""What the page says of a network's answer in which not everything is a finite number."""

import numpy as np
import pytest
import torch
from torch import nn

from dashboard.sayings import remarks
from vislib.network import Network

NAN = float("nan")


@pytest.mark.parametrize(
    ("head", "scores", "said"),
    [
        ("softmax", (NAN, NAN), "there is nothing to explain"),
        (
            "softmax",
            (0.5, NAN),
            "so that no class has a probability; a map is of its class's own score alone",
        ),
        (
            "sigmoid",
            (float("inf"), 0.5),
            "Some of the network's answers to this input are not finite numbers",
        ),
        ("score", (NAN, 0.5), "Some of the network's answers to this input are not finite numbers"),
        ("score", (NAN, NAN), "there is nothing to explain"),
    ],
)
def test_what_is_said_fits_what_can_be_explained(head, scores, said):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network = Network.from_module(module, (1, 8, 8), head=head, device="cpu")
    (one,) = [one for one in remarks(network, np.array(scores)) if "finite" in one]
    assert said in one
    assert not any("finite" in one for one in remarks(network, np.array((0.5, 0.25))))
