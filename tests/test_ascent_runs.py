"""Runs of ascent: what their frames hold, alone, repeated or resumed; nothing stays behind; bad input is refused."""

import copy
import itertools
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from ascent_frames import NUMBERS, assert_same, last
from ascent_nets import small
from torch import Tensor, nn

from vislib.ascent import (
    PRESETS,
    Preset,
    ascend,
    ascend_spec,
    ascent_spec,
    default_preset,
    neuron,
    random_search,
)
from vislib.errors import AscentError, NetworkError
from vislib.network import Network
from vislib.receptive import crop_for


@pytest.fixture(scope="module", params=[2, 3])
def network(request: pytest.FixtureRequest) -> Network:
    return small(request.param)


# what frames hold


@pytest.mark.parametrize("layer", ["2", "5", "logits"])
@pytest.mark.parametrize("objective", ["channel", "neuron"])
def test_frame_k_holds_image_k_its_score_and_numbers(network: Network, layer: str, objective: str) -> None:
    preset = Preset("x", objective=objective, lr=0.05, redirect=0, decay=0.01)
    units = [1, 3]
    frames = list(ascend(network, layer, units, preset, steps=5, seed=2))
    assert [frame.step for frame in frames] == list(range(6))
    for frame in frames:
        images = torch.from_numpy(frame.images).requires_grad_()
        assert frame.images.dtype == frame.scores.dtype == np.float32
        assert 0 <= frame.images.min() <= frame.images.max() <= 1
        output = network.activations(images, [layer])[layer]
        if objective == "neuron" and output.ndim > 2:
            output = output[(slice(None), slice(None), *crop_for(network, layer).position)]
        output = output.flatten(2).mean(2) if output.ndim > 2 else output
        scores = output[[0, 1], units]
        np.testing.assert_allclose(frame.scores, scores.detach().numpy(), rtol=1e-4, atol=1e-6)
        slope = torch.autograd.grad(scores.sum(), images)[0].flatten(1).norm(dim=1)
        x, start = frame.images.reshape(2, -1), frames[0].images.reshape(2, -1)
        assert set(frame.numbers) == NUMBERS
        np.testing.assert_allclose(frame.numbers["gradient_norm"], slope.numpy(), rtol=1e-4)
        np.testing.assert_allclose(frame.numbers["norm"], np.linalg.norm(x - 0.3, axis=1), rtol=1e-4)
        np.testing.assert_allclose(
            frame.numbers["distance"], np.linalg.norm(x - start, axis=1), rtol=1e-4, atol=1e-6
        )
        np.testing.assert_allclose(frame.numbers["std"], x.std(axis=1), rtol=1e-4)
        assert frame.numbers["argmax"].tolist() == output.argmax(1).tolist()
    assert frames[-1].scores.sum() > frames[0].scores.sum()


def test_became_argmax_is_the_first_step_at_which_it_was() -> None:
    frames = list(ascend(small(), "5", range(10), "none", steps=25))
    argmax = np.array([frame.numbers["argmax"] for frame in frames])
    for frame in frames:
        for unit in range(10):
            hits = np.flatnonzero(argmax[: frame.step + 1, unit] == unit)
            assert frame.numbers["became_argmax"][unit] == (hits[0] if len(hits) else -1)
    assert (frames[-1].numbers["became_argmax"] >= 0).any()


# rows are independent, runs repeat and resume


@pytest.mark.parametrize("name", PRESETS)
def test_a_units_frames_are_the_same_alone_or_in_a_batch(network: Network, name: str) -> None:
    preset = PRESETS[name].changed(jitter=PRESETS[name].jitter and 2)
    together = list(ascend(network, "5", [4, 7, 1], preset, steps=4, seed=3))
    for row, unit in enumerate([4, 7, 1]):
        for frame, alone in zip(together, ascend(network, "5", [unit], preset, steps=4, seed=3), strict=True):
            np.testing.assert_allclose(frame.images[row], alone.images[0], atol=5e-4)
            np.testing.assert_allclose(frame.scores[row], alone.scores[0], rtol=2e-3, atol=2e-4)


def test_a_batch_may_be_evaluated_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    network, presets = small(), [Preset("x", tv=0.1 * row) for row in range(5)]
    whole = list(ascend(network, "5", range(5), presets, steps=3))
    monkeypatch.setattr("vislib.ascent.evaluation.PART_PIXELS", {"cpu": 2 * 40 * 40})
    for frame, other in zip(whole, ascend(network, "5", range(5), presets, steps=3), strict=True):
        np.testing.assert_allclose(frame.images, other.images, atol=1e-5)
        np.testing.assert_allclose(frame.scores, other.scores, rtol=1e-4, atol=1e-5)
        assert frame.numbers["argmax"].tolist() == other.numbers["argmax"].tolist()


@pytest.mark.parametrize("name", PRESETS)
def test_a_run_resumes_bit_identically_from_any_step(network: Network, name: str) -> None:
    preset = PRESETS[name].changed(jitter=PRESETS[name].jitter and 2, blur_every=2, redirect=3)
    spec = json.loads(json.dumps(ascent_spec(network, "5", [2, 6], preset, steps=6, seed=4)))
    frames, snapshots = [], []
    for frame in ascend_spec(network, spec):
        frames.append(frame)
        assert frame.snapshot is not None
        snapshots.append(frame.snapshot())
    for step in (0, 1, 3, 6):
        assert_same(list(ascend_spec(network, spec, resume=snapshots[step])), frames[step:])


def test_the_same_spec_gives_the_same_frames_and_another_seed_others() -> None:
    network = small()
    spec = ascent_spec(network, "5", [0, 1], "Fourier, robust", steps=3)
    assert_same(list(ascend_spec(network, spec)), list(ascend_spec(network, spec)))
    other = next(ascend_spec(network, spec | {"seed": 1}))
    assert not np.array_equal(other.images, next(ascend_spec(network, spec)).images)


def test_a_frame_does_not_change_when_the_climb_goes_on() -> None:
    climb = ascend(small(), "5", [0, 1], "Yosinski 3", steps=3)
    frame = next(climb)
    kept = copy.deepcopy((frame.images, frame.scores, dict(frame.numbers)))
    assert frame.snapshot is not None
    frame.images[:] = frame.images.copy()  # writing into it does not reach the climb either
    list(climb)
    assert np.array_equal(frame.images, kept[0])
    assert np.array_equal(frame.scores, kept[1])
    assert all(np.array_equal(frame.numbers[name], kept[2][name]) for name in NUMBERS)
    with pytest.raises(AscentError, match="gone on from step 0 to 3"):
        frame.snapshot()


def test_a_random_search_is_one_batch_whose_rows_are_the_single_runs() -> None:
    network = small(channels=3)
    presets = random_search(6, seed=1)
    together = list(ascend(network, "5", [3], presets, steps=12))
    assert together[0].images.shape[0] == 6
    assert all(np.array_equal(image, together[0].images[0]) for image in together[0].images)
    for row, preset in enumerate(presets):
        for frame, alone in zip(together, ascend(network, "5", [3], preset, steps=12), strict=True):
            np.testing.assert_allclose(frame.images[row], alone.images[0], atol=2e-4)
    assert len({image.tobytes() for image in together[-1].images}) > 3


# the network and torch stay as they were


def test_nothing_is_left_behind() -> None:
    network = small()
    before = {name: tensor.clone() for name, tensor in network.module.state_dict().items()}
    with torch.no_grad():  # a caller's own mode does not matter
        climb = ascend(network, "5", [0], "Fourier, robust", steps=5)
        for frame in itertools.islice(climb, 3):
            assert not torch.is_grad_enabled()
            assert not torch.is_autocast_enabled("cpu")
            assert frame.numbers["gradient_norm"][0] > 0
        climb.close()  # type: ignore[attr-defined]
    assert torch.is_grad_enabled()
    assert all(torch.equal(before[name], tensor) for name, tensor in network.module.state_dict().items())
    assert all(
        not module._forward_hooks and not module._backward_hooks for module in network.module.modules()
    )


# bad input


class Moody(nn.Module):
    """A network that can be told to fail, or to give what is not a number."""

    mood = ""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3)
        self.last = nn.Linear(3, 2)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.conv(images)
        if Moody.mood == "raise":
            raise ValueError("out of sorts")
        if Moody.mood == "inf":
            maps = maps * float("inf")
        if Moody.mood == "slope":  # the value is fine, the slope at 0 is not
            maps = (maps * 0).sqrt() + maps
        if Moody.mood == "constant":
            maps = maps.detach()
        return self.last(maps.mean((2, 3)))


@pytest.fixture
def moody() -> Iterator[Network]:
    Moody.mood = ""
    yield Network.from_module(Moody(), (1, 8, 8), name="moody")
    Moody.mood = ""


@pytest.mark.parametrize(
    ("mood", "error", "says"),
    [
        ("raise", NetworkError, "out of sorts"),
        (
            "inf",
            AscentError,
            "Unit 1 of moody's layer 'logits' got a score that is not a finite number at step 2",
        ),
        ("slope", AscentError, "got a gradient that is not a finite number at step 2"),
        ("constant", AscentError, "does not reach the image"),
    ],
)
def test_a_network_that_fails_midway(moody: Network, mood: str, error: type[Exception], says: str) -> None:
    climb = ascend(moody, "logits", [1, 0], "none")
    next(climb), next(climb)
    Moody.mood = mood
    with pytest.raises(error, match=says) as caught:
        next(climb)
    assert "\n" not in str(caught.value)


def test_out_of_memory_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes.")

    climb = ascend(small(), "5", [0], "none")
    monkeypatch.setattr(torch.autograd, "grad", full)
    with pytest.raises(AscentError, match="ran out of memory on cpu"):
        next(climb)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"layer": "conv9"}, "no layer 'conv9'"),
        ({"units": [10]}, "no unit 10; its units are 0 to 9"),
        ({"units": []}, "at least one unit"),
        ({"preset": "nice"}, "no preset 'nice'; the presets are none, L2"),
        ({"preset": [PRESETS["none"]] * 3}, "3 presets were given for 2 units"),
        ({"preset": [PRESETS["none"], PRESETS["Fourier, robust"]]}, "must share their parametrisation"),
        ({"precision": "double"}, "no precision 'double'; choose one of exact, fast"),
        ({"steps": 0}, "steps cannot be 0; give a whole number from 1"),
        ({"seed": -1}, "A seed cannot be -1"),
        ({"size": 0}, "An image size of 0 does not fit small"),
        ({"size": (40, 40, 40)}, "its own size is 40 x 40"),
        ({"objective": neuron("5", [0, 1], (30, 0))}, "no position"),
        ({"resume": b"nonsense"}, "checkpoint cannot be read"),
    ],
)
def test_bad_arguments_are_refused_at_once_in_one_sentence(arguments: dict[str, Any], says: str) -> None:
    given: dict[str, Any] = {"layer": "5", "units": [0, 1], "preset": "none"} | arguments
    with pytest.raises((AscentError, NetworkError), match=says) as caught:
        ascend(small(), **given)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_of_another_run_is_refused() -> None:
    frame = next(ascend(small(), "5", [0, 1], "none"))
    assert frame.snapshot is not None
    for units, preset in (([0], "none"), ([0, 1], "jitter + TV"), ([0, 1], "Fourier, robust")):
        with pytest.raises(AscentError, match="checkpoint"):
            ascend(small(), "5", units, preset, resume=frame.snapshot())


def test_specs_name_the_run() -> None:
    network = small()
    spec = ascent_spec(network, "5", [0, 1])
    assert spec["fingerprint"] == network.fingerprint
    assert spec["preset"]["name"] == default_preset(network).name
    assert json.loads(json.dumps(spec)) == spec
    searched = ascent_spec(network, "5", [3], random_search(3, 0), steps=2)
    assert len(searched["preset"]) == len(searched["units"]) == 3
    assert last(ascend_spec(network, searched)).images.shape[0] == 3
    with pytest.raises(AscentError, match="open it with the network"):
        ascend_spec(network, spec | {"fingerprint": "0" * 16})
    with pytest.raises(AscentError, match="lacks units"):
        ascend_spec(network, {key: value for key, value in spec.items() if key != "units"})
