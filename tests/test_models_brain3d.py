"""brain3d: deterministic training, a card that tells the truth, and every method on volumes as on slices."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import models
from models import train, train3d
from models.brain import CLASSES, Batch, generate
from models.brain.held_out import lesions
from models.brain3d import SPACING, SPATIAL, BrainNet3D, domain
from models.train3d import CELLS, HELD, IGNORED, WINDOW, Phase, Pool, Settings, Trainee
from models.train_parts import MEAN, STD, accuracy
from vislib.ascent import ascend, default_preset
from vislib.attribution import METHODS, Target, attribute
from vislib.deconvolution import PROJECTION_RULES, project
from vislib.evaluation.localisation import mass_accuracy
from vislib.network import Network
from vislib.volumes import read_volume, to_network

FOLDER = Path(models.__file__).parent
TINY = Settings(
    volumes=8, ragged=2, made=4, windows=Phase(2, 4, 1e-3), whole=Phase(1, 2, 1e-3)
)  # enough to see that it runs

SEEN = 27  # voxels each way that a unit of conv4 sees
# What a test can pay for; the other methods are as published.
CHEAP = {
    "Integrated gradients": {"steps": 3},
    "SmoothGrad": {"samples": 2},
    "Occlusion": {"window": 24, "stride": 16},
    "Prediction difference": {"window": 24, "stride": 24, "samples": 1, "sampler": "marginal", "padding": 0},
    "Score-CAM": {"channels": 4},
}


@pytest.fixture(scope="module")
def network() -> Network:
    return models.load("brain3d", device="cpu")


@pytest.fixture(scope="module")
def held_out() -> Batch:
    """Six volumes with lesions that no training saw, two of each class."""
    return lesions(6, 77, SPATIAL, SPACING)


@pytest.fixture(scope="module")
def pool() -> Pool:
    return train3d.make_pool(TINY)


@pytest.fixture(autouse=True)
def _untouched(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a test does with the shipped network leaves it as it was."""
    if "network" not in request.fixturenames:
        yield
        return
    network = request.getfixturevalue("network")
    before = {key: value.clone() for key, value in network.module.state_dict().items()}
    yield
    after = network.module.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert not any(part._forward_hooks or part._backward_hooks for part in network.module.modules())
    assert not any(part.training for part in network.module.modules())


# the training


def trained(settings: Settings, pool: Pool) -> dict[str, Tensor]:
    *_, (done, _, model) = train3d.train(settings, pool)
    assert done == settings.batches
    return model.bare().state_dict()


def test_the_same_settings_give_the_same_volumes_and_weights(pool: Pool) -> None:
    again = train3d.make_pool(TINY)
    assert torch.equal(pool.images, again.images)
    assert torch.equal(pool.places, again.places)
    one, same, other = trained(TINY, pool), trained(TINY, again), trained(replace(TINY, seed=1), pool)
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not torch.equal(one["conv1.weight"], other["conv1.weight"])


def test_the_pool_holds_what_the_generator_made(pool: Pool) -> None:
    for number, split in enumerate(("train", "ragged")):
        batch = generate(4, number, split, spatial=SPATIAL, spacing=SPACING)
        part = slice(4 * number, 4 * number + 4)
        torch.testing.assert_close(pool.images[part].float() / 255, batch.images, rtol=0, atol=0.51 / 255)
        assert torch.equal(pool.labels[part], batch.labels)
        for row, label in enumerate(batch.labels):
            lesion = batch.lesions[row].numpy().reshape(CELLS[0], 4, CELLS[1], 4, CELLS[2], 4)
            for kind in range(3):
                wanted = lesion.any((1, 3, 5)) & (kind + 1 == int(label))
                assert np.array_equal(pool.places[4 * number + row, kind].numpy(), wanted)


def test_windows_lie_on_cells_and_are_labelled_by_what_they_hold(pool: Pool) -> None:
    random = torch.Generator().manual_seed(0)
    rows = torch.arange(8).repeat(8)
    seen = train3d.windows(pool, rows, random)
    assert seen.images.shape == (64, 1, *[4 * WINDOW] * 3)
    held = seen.places[:, :-1].flatten(1).sum(1)
    assert torch.equal(seen.labels == IGNORED, (held > 0) & (held < HELD))
    assert torch.equal(seen.labels == 0, held == 0)
    lesion = held >= HELD
    assert torch.equal(seen.labels[lesion], pool.labels[rows][lesion])
    assert lesion.float().mean() > 0.3  # two thirds of three quarters, less those at a lesion's edge
    for row, images, places in zip(rows, seen.images, seen.places, strict=True):
        found = [
            at
            for at in np.ndindex(*(size - WINDOW + 1 for size in CELLS))
            if torch.equal(
                images,
                pool.images[(row, slice(None), *(slice(4 * a, 4 * (a + WINDOW)) for a in at))],
            )
        ]
        assert any(
            torch.equal(places, pool.places[(row, slice(None), *(slice(a, a + WINDOW) for a in at))])
            for at in found
        )


def test_the_trainees_gain_and_norms_fold_into_the_network() -> None:
    torch.manual_seed(1)
    model = Trainee(50.0)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm3d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
            nn.init.normal_(part.weight)
            nn.init.normal_(part.bias)
    nn.init.normal_(model.net.classifier.weight)
    volumes = torch.rand(2, 1, *SPATIAL)
    with torch.no_grad():
        wanted = model.eval()(volumes)["logits"]
        torch.testing.assert_close(model.bare()((volumes - MEAN) / STD), wanted, rtol=1e-3, atol=1e-3)


def test_a_report_says_how_sure_it_is() -> None:
    table = torch.tensor([[90, 10, 0, 0], [0, 100, 0, 0], [0, 0, 80, 20], [0, 0, 0, 100]])
    said = train3d.report(table, Settings(), 41.2, 30.0)
    assert "Accuracy on 400 volumes with held-out lesion shapes and deformations: 92.5%" in said
    assert "Standard error of the accuracy: 1.3%." in said
    assert "41 minutes on 2 CPU cores (30 of CPU time)" in said


def test_the_command_makes_brain3d_too(monkeypatch, capsys, tmp_path) -> None:
    monkeypatch.setattr(train, "HERE", tmp_path)
    monkeypatch.setattr(train3d, "SETTINGS", TINY)
    monkeypatch.setattr(train3d, "HELD_OUT", 4)
    (tmp_path / "weights").mkdir()
    threads = torch.get_num_threads()
    try:
        assert train.main(["brain3d"]) == 0
    finally:
        torch.set_num_threads(threads)
    said = capsys.readouterr().out
    assert "training: batch 3 of 3" in said
    assert "held-out accuracy" in said
    network = models.load(tmp_path / "brain3d.toml", device="cpu")
    assert "4 volumes with held-out" in network.source
    assert network.input_shape == (1, *SPATIAL)
    assert network.labels == CLASSES
    assert network.spacing == (SPACING,) * 3
    assert network.domain() is domain()
    assert domain().shape == (16, 1, *SPATIAL)
    found = attribute(network, domain()[:1], 1, "Grad-CAM")
    assert found.values.shape == (1, *SPATIAL)
    assert np.isfinite(found.values).all()


# the network that ships


def test_it_is_small_and_as_described(network: Network) -> None:
    assert (FOLDER / "weights" / "brain3d.pt").stat().st_size <= 3e6
    assert network.input_shape == (1, *SPATIAL)
    assert network.labels == CLASSES
    assert network.spacing == (SPACING,) * 3
    assert (network.mean, network.std) == ((MEAN,), (STD,))
    assert list(network.layers) == ["conv1", "conv2", "conv3", "conv4", "conv5", "logits"]
    assert network.opening in network.layers
    parts = list(BrainNet3D().children())
    assert [type(part) for part in parts[-3:]] == [nn.AdaptiveAvgPool3d, nn.Flatten, nn.Linear]
    assert sum(isinstance(part, nn.ReLU) for part in parts) == 5
    assert domain().shape == (16, 1, *SPATIAL)
    assert network.domain() is domain()


def test_it_does_what_its_card_says(network: Network) -> None:
    """Measured again on 24 held-out volumes: the margin is three standard errors of so few."""
    batch = generate(24, 1, "held-out", spatial=SPATIAL, spacing=SPACING)
    with torch.inference_mode():
        answers = torch.cat([network.logits(part).argmax(1) for part in batch.images.split(8)])
    table = torch.zeros(4, 4, dtype=torch.long)
    table.index_put_((batch.labels, answers), torch.tensor(1), accumulate=True)
    said = re.search(r"deformations: ([\d.]+)%", network.source)
    assert said, network.source
    assert float(said[1]) >= 90
    assert accuracy(table) == pytest.approx(float(said[1]) / 100, abs=0.16)


def test_it_names_the_sample_volumes(network: Network) -> None:
    right = []
    for sample in models.samples():
        if sample.kind == "volume":
            volume = read_volume(sample.path)
            seen, _ = to_network(volume, network.input_shape, network.spacing)
            with torch.inference_mode():
                answer = int(network.logits(torch.from_numpy(seen)).argmax())
            right.append(network.labels[answer] == sample.label)
    assert right == [True] * 4


# what vislib does with it


def test_its_units_climb(network: Network) -> None:
    units = [4, 8]
    first, *_, last = ascend(network, network.opening, units, default_preset(network), steps=4)
    assert last.images.shape == (2, *network.input_shape)
    assert np.isfinite(last.images).all()
    assert (last.scores > first.scores).all()
    assert last.numbers["alive"].all()


def test_activations_are_its_own(network: Network, held_out: Batch) -> None:
    maps = network.activations(held_out.images[:1], ["conv1", "conv5", "logits"])
    assert maps["conv1"].shape == (1, 8, 32, 40, 32)
    assert maps["conv5"].shape == (1, 64, *CELLS)
    with torch.inference_mode():
        torch.testing.assert_close(maps["logits"], network.logits(held_out.images[:1]))


@pytest.mark.parametrize("rule", PROJECTION_RULES)
def test_a_unit_is_projected_down_to_the_voxels(network: Network, held_out: Batch, rule: str) -> None:
    image = held_out.images[:1]
    strongest = int(network.activations(image, ["conv4"])["conv4"][0].amax((1, 2, 3)).argmax())
    found = project(network, image, "conv4", strongest, start="strongest position", rule=rule)
    assert found.pixels.shape == image.shape
    assert found.pools == 1
    reached = found.pixels[0, 0].nonzero()
    assert len(reached) > 0
    assert (reached.amax(0) - reached.amin(0) < SEEN).all()


@pytest.mark.parametrize("name", METHODS)
def test_every_method_answers(network: Network, held_out: Batch, name: str) -> None:
    assert not METHODS[name].check(network)
    found = attribute(
        network, held_out.images[:1], int(held_out.labels[0]), name, seed=1, **CHEAP.get(name, {})
    )
    assert found.values.shape == (1, *SPATIAL)
    assert found.raw.ndim == 4
    assert np.isfinite(found.values).all()
    assert found.values.std() > 0
    assert found.done


def test_grad_cam_lands_on_held_out_lesions(network: Network, held_out: Batch) -> None:
    masks = held_out.lesions[:, 0].numpy()
    target = Target(tuple(held_out.labels.tolist()))
    found = attribute(network, held_out.images, target, "Grad-CAM")
    assert found.values.shape == (6, *SPATIAL)
    times = mass_accuracy(found.values, masks) / masks.mean((1, 2, 3))  # what chance would give
    assert np.median(times) > 20, times
    assert (times > 1).sum() >= 5, times
