"""How pictures of units look and when they are there: saturation, sharpness, schedules, plateaus, defaults."""

import io
import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from ascent_nets import small
from torch import nn

import models
from vislib.ascent import (
    PRESETS,
    Preset,
    ascend,
    ascend_spec,
    ascent_spec,
    default_preset,
    default_size,
    find_defaults,
)
from vislib.ascent.optimisers import Optimiser
from vislib.ascent.plateau import Plateau
from vislib.ascent.presets import LATER
from vislib.ascent.quality import saturated, sharpness
from vislib.network import Network
from vislib.receptive import crop_for, sees_little
from vislib.store import spec_id

# numbers of a picture


def test_saturated_is_the_share_of_values_at_the_ends() -> None:
    image = torch.full((3, 2, 10, 10), 0.5)
    image[1, 0, :3] = 0.0
    image[1, 1, :2] = 0.995
    image[2] = 0.02
    assert saturated(image).tolist() == pytest.approx([0.0, 0.25, 0.0])


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_sharpness_of_noise_waves_and_nothing(dims: int) -> None:
    size = {1: 4096, 2: 64, 3: 16}[dims]
    noise = torch.rand(1, 2, *[size] * dims, generator=torch.Generator().manual_seed(0))
    assert sharpness(noise).item() == pytest.approx(math.sqrt(2), rel=0.03)
    period = 8
    wave = torch.sin(2 * math.pi * torch.arange(size) / period).expand(1, 1, *[size] * dims)
    # Flat along every other axis: the mean square over the axes.
    expected = 2 * math.sin(math.pi / period) / math.sqrt(dims)
    assert sharpness(wave * 0.3 + 0.5).item() == pytest.approx(expected, rel=0.03)
    flat = torch.full((1, 3, *[size] * dims), 0.3)
    assert sharpness(flat).item() == 0.0
    assert sharpness(torch.full((1, 1, *[1] * dims), 0.3)).item() == 0.0


def test_frames_hold_both_numbers_of_their_own_images() -> None:
    for frame in ascend(small(), "5", [0, 3], "Fourier, robust", steps=3):
        images = torch.from_numpy(frame.images)
        np.testing.assert_allclose(frame.numbers["saturated"], saturated(images), atol=1e-6)
        np.testing.assert_allclose(frame.numbers["sharpness"], sharpness(images), rtol=1e-5)


# schedules and plateaus


@pytest.mark.parametrize("name", ["gradient", "normalised", "adam"])
def test_the_learning_rate_falls_along_half_a_cosine(name: str) -> None:
    x, g = torch.zeros(1, 1, 3, 3), torch.ones(1, 1, 3, 3)
    plain = Optimiser([Preset("x", optimiser=name, lr=0.5)], x)
    falling = Optimiser([Preset("x", optimiser=name, lr=0.5, final_lr=0.2)], x, steps=10)
    for step in range(10):
        share = 0.2 + 0.8 * (1 + math.cos(math.pi * step / 10)) / 2
        torch.testing.assert_close(falling.step(x, g, step), share * plain.step(x, g, step))


def test_a_plateau_is_over_when_no_row_has_risen_noticeably_for_its_patience() -> None:
    def ends(scores: np.ndarray, patience: int = 5) -> int | None:
        plateau = Plateau(scores.shape[1], patience)
        return next((t for t, row in enumerate(scores) if plateau.over(row.astype(np.float32), t)), None)

    t = np.arange(60.0)[:, None]
    assert ends(t) is None  # rises all the time
    assert ends(t, 0) is None
    assert ends(np.zeros((60, 1)), 0) is None  # no patience, no end
    assert ends(np.zeros((60, 2))) == 5
    assert ends(-t) == 5
    reached = ends(np.minimum(t, 20))
    assert reached is not None
    assert 25 < reached < 45
    both = np.concatenate([np.minimum(t, 20), t], axis=1)
    assert ends(both) is None  # the other row still rises
    shaken = np.minimum(t, 20) + np.random.default_rng(0).normal(0, 1, (60, 1))
    assert ends(shaken, 10) is not None


def test_a_run_with_patience_ends_before_its_last_step_and_resumes_to_the_same_end() -> None:
    preset = PRESETS["L2"].changed(patience=4, steps=60, lr=0.2, decay=0.2)
    spec = ascent_spec(small(), "5", [1, 2], preset)
    frames, snapshots = [], []
    for frame in ascend_spec(small(), spec):
        assert frame.snapshot is not None
        frames.append(frame)
        snapshots.append(frame.snapshot())
    assert 4 <= frames[-1].step < 60
    whole = ascend_spec(small(), ascent_spec(small(), "5", [1, 2], preset.changed(patience=0)))
    for frame, other in zip(frames, whole, strict=False):  # the same pictures, only fewer
        assert np.array_equal(frame.images, other.images)
    for at in (0, len(frames) - 3, len(frames) - 1):
        again = list(ascend_spec(small(), spec, resume=snapshots[at]))
        assert [frame.step for frame in again] == [frame.step for frame in frames[at:]]
        assert np.array_equal(again[-1].images, frames[-1].images)


def test_a_checkpoint_from_before_plateaus_were_noticed_goes_on() -> None:
    spec = ascent_spec(small(), "5", [1], "L2", steps=6)
    frames, snapshots = [], []
    for frame in ascend_spec(small(), spec):
        assert frame.snapshot is not None
        frames.append(frame)
        snapshots.append(without_plateau(frame.snapshot()))
    again = list(ascend_spec(small(), spec, resume=snapshots[3]))
    assert np.array_equal(again[-1].images, frames[-1].images)


def without_plateau(checkpoint: bytes) -> bytes:
    state = torch.load(io.BytesIO(checkpoint), weights_only=True)
    buffer = io.BytesIO()
    torch.save({name: value for name, value in state.items() if not name.startswith("plateau")}, buffer)
    return buffer.getvalue()


# what was stored before


def test_a_preset_that_was_stored_before_a_parameter_came_means_what_it_did() -> None:
    stored = Preset("old", parametrisation="fourier").to_dict()
    assert not set(stored) & set(LATER)  # so old runs keep the name by which they are found
    read = Preset.from_dict(stored)
    assert (read.spectrum_divisor, read.final_lr, read.patience) == (1.0, 1.0, 0)
    assert read.to_dict() == stored
    spec = ascent_spec(small(), "5", [0], read, steps=2)
    assert spec_id(spec) == spec_id(json.loads(json.dumps({**spec, "preset": stored})))
    assert PRESETS["Fourier, robust"].to_dict()["spectrum_divisor"] == 4.0
    assert Preset("mine").changed(parametrisation="fourier").spectrum_divisor == 4.0
    assert read.changed(steps=3).spectrum_divisor == 1.0


# defaults


def colour(size: int = 224, *, pooled: bool = True) -> Network:
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)]
    if not pooled:
        head = [nn.Flatten(), nn.Linear(4 * (size // 16) ** 2, 2)]
    parts = [nn.Conv2d(3, 4, 7, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 5, 4, 2), *head]
    return Network.from_module(nn.Sequential(*parts), (3, size, size), name="colour")


def test_the_default_preset_follows_domain_and_receptive_field() -> None:
    brain, network = models.load("brain2d"), colour()
    assert default_preset(brain, "conv1").objective == "neuron"
    assert {default_preset(brain, layer).name for layer in ("conv3", "conv5", "logits")} == {"smooth steps"}
    assert default_preset(network, "0").objective == "neuron"
    assert default_preset(network, "2").name == "Fourier, quick"
    assert default_preset(network, "logits").name == "Fourier, quick"
    assert default_preset(models.load("brain3d"), "conv1").objective == "neuron"
    # The spec says it, and a preset that was asked for is taken everywhere.
    assert ascent_spec(brain, "conv1", [0])["preset"]["objective"] == "neuron"
    assert ascent_spec(brain, "conv1", [0], "smooth steps")["preset"]["objective"] == "channel"


@pytest.mark.parametrize("dims", [2, 3])
def test_sees_little_agrees_with_the_receptive_field(dims: int) -> None:
    network = small(dims, size={2: 64, 3: 40}[dims])
    for layer in network.layers:
        field = network.receptive_field(layer).size
        for limit in (4, 5, 9, 13, 16):
            expected = bool(network.layer(layer).spatial) and max(field) <= limit
            assert sees_little(network, layer, limit) == expected, (layer, limit, field)


def test_large_pictures_are_made_smaller_where_the_network_runs_them() -> None:
    quick, neuron = PRESETS["Fourier, quick"], PRESETS["centre neuron"]
    network = colour()
    assert default_size(network, "2", quick) == default_size(network, "logits", quick) == (128, 128)
    assert default_size(network, "0", neuron) == (
        224,
        224,
    )  # a neuron's field is cut from the network's own size
    fixed = colour(pooled=False)
    assert default_size(fixed, "2", quick) == (128, 128)
    assert default_size(fixed, "logits", quick) == (224, 224)  # its linear layer takes no other size
    assert default_size(colour(160), "2", quick) == (160, 160)
    brain = models.load("brain2d")
    assert default_size(brain, "conv5", quick) == (128, 128)


@pytest.mark.parametrize("pooled", [True, False])
def test_defaults_that_were_found_take_no_further_pass(pooled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    network = colour(pooled=pooled)
    find_defaults(network)
    known = {layer: default_size(network, layer, default_preset(network, layer)) for layer in network.layers}
    monkeypatch.setattr(Network, "activations", None)  # a pass would fail
    switched = network.with_head("sigmoid")  # the same module
    for layer, size in known.items():
        assert default_size(switched, layer, default_preset(switched, layer)) == size


# first layers


def first_layer(name: str) -> tuple[Network, np.ndarray]:
    network = models.load(name)
    return network, network.module.conv1.weight.detach().numpy()[:, 0]  # type: ignore[union-attr, operator]


@pytest.mark.parametrize("name", ["brain2d", "brain3d"])
def test_the_optimum_of_a_linear_centre_neuron_is_its_kernels_sign(name: str) -> None:
    network, kernels = first_layer(name)
    preset = Preset("x", objective="neuron", lr=0.2, steps=60)
    *_, last = ascend(network, "conv1", range(len(kernels)), preset)
    crop = crop_for(network, "conv1")
    assert last.images.shape[2:] == tuple(part.stop - part.start for part in crop.slices)
    for image, kernel in zip(last.images[:, 0], kernels, strict=True):
        strong = np.abs(kernel) > 0.1 * np.abs(kernel).max()
        np.testing.assert_array_equal(image[strong], (kernel > 0)[strong])


@pytest.mark.parametrize("name", ["brain2d", "brain3d"])
def test_first_layers_show_their_kernels_by_default(name: str) -> None:
    network, kernels = first_layer(name)
    *_, last = ascend(network, "conv1", range(len(kernels)))
    alike = [
        np.corrcoef(image.ravel(), kernel.ravel())[0, 1]
        for image, kernel in zip(last.images[:, 0], kernels, strict=True)
    ]
    assert min(alike) > 0.8
    assert last.numbers["sharpness"].min() > 0.2  # none of them is a flat square


# bounds, so that pictures do not get worse unnoticed


@pytest.mark.parametrize(("layer", "most"), [("conv3", 0.2), ("conv5", 0.12)])
def test_the_default_pictures_of_brain2d_are_neither_saturated_nor_flat_nor_noise(
    layer: str, most: float
) -> None:
    numbers: dict[str, Any] = {}
    for frame in ascend(models.load("brain2d"), layer, [0, 32]):
        numbers = dict(frame.numbers)
    assert numbers["saturated"].mean() < most
    assert numbers["sharpness"].min() > 0.1
    assert numbers["sharpness"].max() < 1.2
