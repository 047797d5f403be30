"""The picture of first-layer kernels, and the sample inputs."""

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import models
from models import kernels
from models.brain.lesions import CLASSES
from models.kernels import first_kernels, main, mosaic
from vislib.errors import CardError
from vislib.network import Network


def test_mosaic_against_loops():
    weights = torch.randn(5, 1, 3, 4)
    picture = mosaic(weights, columns=3, zoom=2, gap=1)
    assert picture.shape == (2 * 2 * 5, 2 * 3 * 6, 3)
    assert picture.dtype == np.uint8
    for number, kernel in enumerate(weights[:, 0]):
        top, left = 5 * (number // 3) + 1, 6 * (number % 3) + 1
        for i in range(3):
            for j in range(4):
                wanted = 127.5 * (1 + float(kernel[i, j] / kernel.abs().max()))
                assert abs(int(picture[2 * (top + i) + 1, 2 * (left + j), 0]) - wanted) <= 0.51
    assert (picture[-3:, -6:] == 128).all()  # the empty cell is mid-grey


def test_colour_kernels_keep_their_colours():
    weights = torch.zeros(1, 3, 2, 2)
    weights[0, 0], weights[0, 2] = 1.0, -1.0
    pixel = mosaic(weights, columns=1, zoom=1)[1, 1]
    assert pixel.tolist() == [255, 128, 0]


def test_the_command_writes_a_picture(tmp_path, monkeypatch, capsys):
    net = Network.from_module(
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2)),
        (1, 8, 8),
        device="cpu",
    )
    monkeypatch.setattr(kernels, "load", lambda name: net)
    assert main(["any", str(tmp_path / "k.png")]) == 0
    with Image.open(tmp_path / "k.png") as picture:
        assert picture.size == (8 * 5 * 10, 5 * 10)
    assert main([]) == 2
    assert "python -m models.kernels" in capsys.readouterr().err


def test_a_network_without_convolutions_is_told():
    class Bare:
        name, module = "bare", nn.Linear(2, 2)

    with pytest.raises(CardError, match="bare has no convolution"):
        first_kernels(Bare())


def test_samples_are_readable_and_complete():
    listed = models.samples()
    volumes = [sample for sample in listed if sample.kind == "volume"]
    assert [sample.label for sample in volumes] == list(CLASSES)
    for sample in volumes:
        image, mask = nib.load(sample.path), nib.load(sample.mask)
        assert sample.path.stat().st_size < 400_000
        assert image.shape == mask.shape
        np.testing.assert_array_equal(image.affine, mask.affine)
        np.testing.assert_allclose(image.header.get_zooms(), 2.0)
        assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
        values, inside = np.asarray(image.dataobj), np.asarray(mask.dataobj) > 0
        assert values.max() > 150
        assert inside.any() == (sample.label != "healthy")
        assert inside.sum() == 0 or inside.sum() > 300
    photos = [sample for sample in listed if sample.kind == "photo"]
    assert len(photos) == 2
    for sample in photos:
        with Image.open(sample.path) as picture:
            assert picture.mode == "RGB"
        assert "CC BY 2.0" in sample.source
        assert sample.mask is None


def test_dark_and_bright_samples_are_dark_and_bright():
    for sample in models.samples():
        if sample.label in ("white-matter lesions", "dark lesion"):
            values = np.asarray(nib.load(sample.path).dataobj, dtype=float)
            inside = np.asarray(nib.load(sample.mask).dataobj) > 0
            tissue = np.median(values[values > 60])
            darker = np.median(values[inside]) < tissue
            assert darker == (sample.label == "dark lesion")
