"""What a climb does: presets and objectives, the published steps, crops, dead units, and precision."""

import numpy as np
import pytest
import scipy.ndimage
import torch
from ascent_frames import assert_same, last
from ascent_nets import linear, small
from torch import nn

import models
from vislib.ascent import (
    PRESETS,
    Objective,
    Preset,
    ascend,
    ascent_spec,
    channel,
    fast_available,
    neuron,
    total_variation,
)
from vislib.errors import NetworkError
from vislib.network import Network
from vislib.receptive import crop_for


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_climbs(dims: int, name: str) -> None:
    network = small(dims, gain=1000.0 if PRESETS[name].optimiser == "gradient" else 30.0)
    preset = PRESETS[name].changed(jitter=PRESETS[name].jitter and 2, pad=PRESETS[name].pad and 2)
    frames = list(ascend(network, "5", [0, 2, 4, 9], preset, steps=40))
    # Frame 0 may be high by chance of the noise that a regulariser then takes away; transforms shake single scores.
    early, late = (np.mean([frame.scores for frame in part], axis=0) for part in (frames[1:6], frames[-5:]))
    assert late.sum() > early.sum()
    assert (late > early).sum() >= 3


def test_objectives_of_ones_own() -> None:
    network = small()
    objective = channel("5", [1, 2]) - 0.5 * neuron("2", [3, 3], (2, 2)) - 2.0 * total_variation()
    frames = list(ascend(network, "5", [1, 2], "none", steps=10, objective=objective))
    images = torch.from_numpy(frames[-1].images)
    got = network.activations(images, ["5", "2"])
    tv = [sum(np.abs(np.diff(x[0], axis=axis)).mean() for axis in (0, 1)) for x in frames[-1].images]
    expected = [got["5"][i, i + 1].mean() - 0.5 * got["2"][i, 3, 2, 2] - 2 * tv[i] for i in range(2)]
    np.testing.assert_allclose(frames[-1].scores, expected, rtol=1e-4)
    assert (frames[-1].scores > frames[0].scores).all()


def test_penalties_of_a_preset_are_each_rows_own() -> None:
    rows = [Preset("a", l2=3.0), Preset("b", tv=2.0)]
    frame = next(ascend(small(), "5", [1, 1], rows))
    plain = next(ascend(small(), "5", [1, 1], Preset("c")))
    x = frame.images[:, 0]
    assert plain.scores[0] - frame.scores[0] == pytest.approx(3 * ((x[0] - 0.3) ** 2).mean(), rel=1e-3)
    tv = np.abs(np.diff(x[1], axis=0)).mean() + np.abs(np.diff(x[1], axis=1)).mean()
    assert plain.scores[1] - frame.scores[1] == pytest.approx(2 * tv, rel=1e-3)


# the published steps


def yosinski_by_hand(
    preset: Preset, weight: np.ndarray, x: np.ndarray, mean: np.ndarray, steps: int
) -> list[np.ndarray]:
    """The paper's loop for one image of a linear unit, in its own units: 0-255, mean subtracted."""
    g = weight / 255.0  # of the score with respect to a grey level
    x, m = (x.astype(np.float64) - mean) * 255.0, mean * 255.0
    images = []
    for step in range(steps + 1):
        x = np.clip(x + m, 0, 255) - m
        images.append(x / 255.0 + mean)
        squared = (g**2).sum()
        lr = min(preset.max_lr, preset.desired / squared) if preset.optimiser == "progress" else preset.lr
        x = x + lr * g
        x = x * (1 - preset.decay)
        if preset.blur_sigma and step % preset.blur_every == 0:
            x = np.stack([scipy.ndimage.gaussian_filter(plane, preset.blur_sigma) for plane in x])
        norm = np.sqrt((x**2).sum(0))
        x = x * (norm >= np.percentile(norm, preset.norm_percentile))
        contribution = np.abs((x * g).sum(0))
        x = x * (contribution >= np.percentile(contribution, preset.contribution_percentile))
    return images


@pytest.mark.parametrize(
    "preset",
    [
        *(PRESETS[f"Yosinski {number}"] for number in (1, 2, 3, 4)),
        PRESETS["Yosinski 3"].changed(
            decay=0.1, norm_percentile=20.0, contribution_percentile=30.0, blur_every=2
        ),
    ],
    ids=lambda preset: preset.name,
)
def test_yosinskis_steps_in_order(preset: Preset) -> None:
    network, weights = linear(size=9)
    frames = list(ascend(network, "logits", [2, 0], preset, steps=9))
    mean = np.array(network.mean).reshape(2, 1, 1)
    for row, unit in enumerate((2, 0)):
        by_hand = yosinski_by_hand(preset, weights[unit].numpy(), frames[0].images[row], mean, 9)
        for frame, expected in zip(frames, by_hand, strict=True):
            np.testing.assert_allclose(frame.images[row], expected, atol=2e-5)
    assert np.abs(frames[-1].images - frames[0].images).max() > 0.01


# crops


@pytest.mark.parametrize("name", ["none", "L2"])
def test_a_neuron_climbs_on_its_receptive_field_as_on_the_whole_image(name: str) -> None:
    for network in (small(2, size=64), small(3, size=40)):
        units, preset = [1, 5], PRESETS[name].changed(objective="neuron", redirect=0)
        crop = crop_for(network, "5")
        # Times one is not a lone neuron any more: it climbs on the whole image.
        whole: Objective = 1.0 * neuron("5", units)
        cut = list(ascend(network, "5", units, preset, steps=5, seed=1))
        full = list(ascend(network, "5", units, preset, steps=5, seed=1, objective=whole))
        assert cut[0].images[0].size < full[0].images[0].size
        for small_frame, frame in zip(cut, full, strict=True):
            inside = frame.images[(slice(None), slice(None), *crop.slices)]
            np.testing.assert_allclose(small_frame.images, inside, atol=1e-5)
            np.testing.assert_allclose(small_frame.scores, frame.scores, rtol=1e-4, atol=1e-5)
        assert np.abs(cut[-1].images - cut[0].images).max() > 0.01


def test_a_neuron_at_a_position() -> None:
    network = small(2, size=64)
    lone = last(ascend(network, "5", [2], "none", steps=3, objective=neuron("5", [2], (3, 10))))
    full = last(ascend(network, "5", [2], "none", steps=3, objective=1.0 * neuron("5", [2], (3, 10))))
    inside = full.images[(slice(None), slice(None), *crop_for(network, "5", (3, 10)).slices)]
    np.testing.assert_allclose(lone.images, inside, atol=1e-5)


def test_another_image_size() -> None:
    network = small(2, size=40)
    assert next(ascend(network, "5", [0], "none", size=56)).images.shape == (1, 1, 56, 56)
    assert next(ascend(network, "5", [0], "Fourier, robust", size=(32, 48))).images.shape == (1, 1, 32, 48)
    assert ascent_spec(network, "5", [0], size=56)["size"] == [56, 56]
    assert ascent_spec(network, "5", [0], size=40)["size"] is None
    with pytest.raises(NetworkError, match=r"\(1, 1, 1, 1\)"):
        next(ascend(network, "5", [0], "none", size=1))


# dead units, precision


def dead() -> Network:
    """A ReLU that no start image near the mean opens; then one unit that needs it."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3), nn.Flatten(), nn.Linear(32, 2))
    with torch.no_grad():
        module[0].bias.fill_(-0.8)
        module[2].weight.abs_()
        module[2].bias.fill_(-0.01)
    return Network.from_module(module, (1, 8, 8), mean=(0.5,), std=(0.25,), name="dead")


def test_redirection_wakes_dead_units_and_alive_reports_them() -> None:
    preset = Preset("x", start_sd=1.0, lr=0.05, redirect=0)
    asleep = list(ascend(dead(), "2", [0, 1], preset, steps=20))
    assert not asleep[-1].numbers["alive"].any()
    assert not asleep[-1].numbers["gradient_norm"].any()
    assert np.array_equal(asleep[0].images, asleep[-1].images)
    awake = list(ascend(dead(), "2", [0, 1], preset.changed(redirect=16), steps=20))
    assert not awake[0].numbers["alive"].any()
    assert awake[-1].numbers["alive"].all()
    assert (awake[-1].scores > 0).all()


@pytest.mark.skipif(not fast_available(), reason="this processor has no bfloat16 arithmetic")
@pytest.mark.parametrize("name", ["smooth steps", "Fourier, robust"])
def test_fast_reaches_nearly_the_same_objective(name: str) -> None:
    network = small(2, 3)
    runs = [list(ascend(network, "5", range(10), name, steps=40, precision=p)) for p in ("exact", "fast")]
    assert not np.array_equal(runs[0][-1].images, runs[1][-1].images)
    # Judged exactly: what the network makes of the last images, as a rise above the start.
    exact, fast = (
        network.activations(torch.from_numpy(frames[-1].images), ["5"])["5"]
        .flatten(2)
        .mean(2)
        .diagonal()
        .numpy()
        for frames in runs
    )
    rise = exact - runs[0][0].scores
    assert rise.sum() > 0
    assert abs(fast.sum() - exact.sum()) <= 0.03 * rise.sum()


@pytest.mark.skipif(not fast_available(), reason="this processor has no bfloat16 arithmetic")
@pytest.mark.parametrize(("layer", "each"), [("conv2", True), ("conv4", False)])
def test_fast_stays_within_three_percent_on_brain2d(layer: str, each: bool) -> None:
    # Each unit of an early layer does. Single units of deep layers do not (-11 % … +2 % in conv4 after 256 steps):
    # rounding sends them to another local maximum, as another seed does (-50 % … +5 %). There the page's sum is held.
    network, units = models.load("brain2d"), list(range(0, 32, 2))
    scores = []
    for precision in ("exact", "fast"):
        images = last(ascend(network, layer, units, steps=60, precision=precision)).images
        maps = network.activations(torch.from_numpy(images), [layer])[layer][range(len(units)), units]
        scores.append(maps.flatten(1).mean(1).numpy())
    if not each:
        scores = [values.sum() for values in scores]
    np.testing.assert_allclose(scores[1], scores[0], rtol=0.03)


def test_fast_is_exact_where_the_machine_has_no_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vislib.ascent.evaluation.fast_available", lambda device: False)
    frames = [
        list(ascend(small(), "5", [0], "none", steps=2, precision=precision))
        for precision in ("fast", "exact")
    ]
    assert_same(*frames)
