"""Files of the export menu: each holds the cautions that belong to all that its network answers."""

import functools
import io
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch.nn.functional as F
from PIL import ExifTags, Image
from torch import Tensor, nn

from dashboard.cells import Cell
from dashboard.export_menu import build
from dashboard.run import Run
from vislib.ascent import ascend
from vislib.frames import History
from vislib.network import Network


class Dropping(nn.Module):
    """A network that stays random where `always`."""

    def __init__(self, always: bool) -> None:
        super().__init__()
        self.conv, self.head, self.always = nn.Conv2d(1, 4, 3), nn.Linear(4, 2), always

    def forward(self, images: Tensor) -> Tensor:
        return self.head(F.dropout(self.conv(images).mean((2, 3)), 0.5, training=self.always))


@functools.cache
def climbed(always: bool) -> list[Cell]:
    """Two units that have climbed."""
    network, history = Network.from_module(Dropping(always), (1, 12, 12), device="cpu"), History()
    for frame in ascend(network, "conv", [0, 1], "none", steps=2):
        history.append(frame)
    run = SimpleNamespace(
        network=network, layer="conv", units=(0, 1), history=history, spec={}, id="one", steps=2
    )
    return [Cell(cast(Run, run), row) for row in (0, 1)]


def comment(what: str, data: bytes) -> str:
    if what == "raw-npz":
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            return "\n".join(archive["notes"].tolist())
    image: Any = Image.open(io.BytesIO(data))
    if what.endswith("webp"):
        return str(image.getexif().get(ExifTags.Base.ImageDescription, ""))
    said = image.info.get("comment", image.info.get("Comment", ""))
    return said.decode() if isinstance(said, bytes) else said


@pytest.mark.parametrize("always", [True, False], ids=["random", "steady"])
@pytest.mark.parametrize("what", ["unit-gif", "unit-webp", "page-gif", "page-webp", "mosaic-png", "raw-npz"])
def test_a_file_holds_its_networks_cautions(what: str, always: bool) -> None:
    cells = climbed(always)
    data, cautions = build(what, cells, cells[0])[1], cells[0].run.network.cautions
    assert bool(cautions) == always
    assert comment(what, data) == "\n".join(cautions)
