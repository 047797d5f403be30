"""Training is deterministic; the shipped weights do what their cards say."""

import re
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

import models
from models import train
from models.brain import generate
from models.brain2d import BrainNet2D
from models.train import (
    NETWORKS,
    Settings,
    Trainee,
    attack,
    confusion,
    fold,
    polish,
    smooth_start,
    untidiness,
)
from models.train_parts import MEAN, STD

FOLDER = Path(models.__file__).parent
TINY = Settings(batches=3, batch=4, epsilon=0.4, polish=2)


def trained(settings):
    *_, (_, _, model) = train.train(settings)
    net = fold(model.net)
    *_, (done, _, same) = polish(net, settings)
    assert done == settings.polish
    assert same is net
    return net.state_dict()


def test_the_same_settings_give_the_same_weights():
    first, again = trained(TINY), trained(TINY)
    assert all(torch.equal(first[key], again[key]) for key in first)
    other = trained(replace(TINY, seed=1))
    assert not torch.equal(first["conv1.weight"], other["conv1.weight"])


def test_training_lowers_the_loss_on_one_batch():
    torch.manual_seed(0)
    model, batch = Trainee(), generate(8, 0)
    optimiser = train.optimiser_of(model, Settings())
    losses = []
    for _ in range(12):
        loss = train.loss_of(model(batch.images), batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.75 * losses[0]


def test_folding_keeps_the_function():
    torch.manual_seed(1)
    net = BrainNet2D(4, norm=True)
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
            nn.init.normal_(part.weight)
            nn.init.normal_(part.bias)
    images = torch.rand(3, 1, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(fold(net)(images), net.eval()(images), rtol=1e-4, atol=1e-4)


def test_the_attack_moves_by_epsilon_up_the_loss():
    torch.manual_seed(2)
    model, batch = Trainee(), generate(6, 1)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    moved = attack(model.net, batch.images, batch.labels, 0.5)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    change = (moved - batch.images).flatten(1).norm(dim=1)
    assert (change <= 0.5 + 1e-5).all()
    assert (change > 0.2).all()  # some of it is clipped: the background is 0 already
    assert moved.min() >= 0
    assert moved.max() <= 1
    model.eval()

    def loss(images):
        return nn.functional.cross_entropy(model.net((images - MEAN) / STD), batch.labels)

    with torch.no_grad():
        assert loss(moved) > loss(batch.images)


def test_untidiness_against_loops():
    torch.manual_seed(3)
    weight = torch.randn(3, 1, 5, 5)
    settings = Settings(roughness=0.3, offset=0.7)
    slow = 0.0
    for kernel in weight[:, 0].double().numpy():
        kernel = kernel / np.linalg.norm(kernel)
        laplacian = ndimage.convolve(
            np.pad(kernel, 2), np.array([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]]), mode="constant"
        )
        slow += 0.3 * (laplacian**2).sum() + 0.7 * kernel.sum() ** 2 / 25
    assert float(untidiness(weight, settings)) == pytest.approx(slow, rel=1e-4)


def test_the_first_layer_starts_smooth_and_without_offset():
    torch.manual_seed(4)
    layer = nn.Conv2d(1, 16, 9)
    noise = nn.Parameter(torch.randn_like(layer.weight))
    smooth_start(layer)
    assert layer.weight.sum((1, 2, 3)).abs().max() < 1e-5
    rough = Settings(roughness=1.0, offset=0.0)
    assert untidiness(layer.weight, rough) < 0.5 * untidiness(noise, rough)


def test_confusion_counts_answers_by_true_class():
    class Always(nn.Module):
        def forward(self, images):
            return torch.tensor([0.0, 0, 1, 0]).expand(len(images), 4)

    assert confusion(Always(), 44).tolist() == [[0, 0, 11, 0]] * 4


@pytest.mark.parametrize(("name", "least", "each"), [("brain2d", 0.93, 0.84), ("brain2d-robust", 0.89, 0.72)])
def test_shipped_weights_do_what_the_card_says(name, least, each):
    """Measured again on 400 of the held-out slices: the margins are two standard errors of so few."""
    network = models.load(name, device="cpu")
    seen = torch.zeros(4, 4, dtype=torch.long)
    for number in range(10):
        batch = generate(40, number, "held-out")
        with torch.inference_mode():
            answers = network.logits(batch.images).argmax(1)
        seen.index_put_((batch.labels, answers), torch.tensor(1), accumulate=True)
    assert train.accuracy(seen) >= least, seen
    assert (seen.diag() / seen.sum(1)).min() >= each, seen
    said = re.search(r"deformations: ([\d.]+)%", network.source)
    assert said, network.source
    assert float(said[1]) / 100 == pytest.approx(train.accuracy(seen), abs=0.035)


@pytest.mark.parametrize("name", NETWORKS)
def test_shipped_networks_are_small_and_as_described(name):
    assert (FOLDER / "weights" / f"{name}.pt").stat().st_size <= 3e6
    network = models.load(name, device="cpu")
    assert network.input_shape == (1, 128, 128)
    assert network.labels == ("healthy", "tumour-like", "white-matter lesions", "dark lesion")
    assert list(network.layers) == ["conv1", "conv2", "conv3", "conv4", "conv5", "conv6", "logits"]
    assert network.opening in network.layers
    assert network.mean == (MEAN,)
    assert network.std == (STD,)
    parts = dict(network.module.named_children())
    assert [type(part) for part in parts.values()][-3:] == [nn.AdaptiveAvgPool2d, nn.Flatten, nn.Linear]
    assert sum(isinstance(part, nn.ReLU) for part in parts.values()) == 6


@pytest.mark.parametrize("name", NETWORKS)
def test_first_layer_kernels_are_no_noise(name):
    """Neighbouring weights agree: white noise has a squared Laplacian of 20 times its energy."""
    kernels = models.load(name, device="cpu").module.get_submodule("conv1").weight.detach()
    rough = untidiness(kernels, Settings(roughness=1.0, offset=0.0)) / len(kernels)
    assert float(rough) < 6


def test_a_report_is_a_card_that_can_be_read(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "HERE", tmp_path)
    (tmp_path / "weights").mkdir()
    (tmp_path / "tiny.toml").write_text('factory = "a:b"\nsource = """\nold\n"""\n', encoding="utf-8")
    table = torch.tensor([[9, 1, 0, 0], [0, 10, 0, 0], [0, 0, 8, 2], [0, 0, 0, 10]])
    train.save("tiny", BrainNet2D(), train.report("tiny", table, Settings(epsilon=0.4), 12.3, 20.1))
    card = tomllib.loads((tmp_path / "tiny.toml").read_text(encoding="utf-8"))
    assert card["factory"] == "a:b"
    assert "92.5%" in card["source"]
    assert "epsilon 0.4" in card["source"]
    assert "12 minutes on 2 CPU cores (20 of CPU time)" in card["source"]
    assert "white-matter lesions 80.0%" in card["source"]
    assert set(torch.load(tmp_path / "weights" / "tiny.pt", weights_only=True)) == set(
        BrainNet2D().state_dict()
    )


def test_the_command_shows_progress_and_writes_the_card(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(train, "HERE", tmp_path)
    monkeypatch.setattr(train, "HELD_OUT", 8)
    monkeypatch.setitem(NETWORKS, "brain2d", TINY)
    (tmp_path / "weights").mkdir()
    (tmp_path / "brain2d.toml").write_text(
        (FOLDER / "brain2d.toml").read_text(encoding="utf-8"), encoding="utf-8"
    )
    threads = torch.get_num_threads()
    try:
        assert train.main(["brain2d"]) == 0
    finally:
        torch.set_num_threads(threads)
    out = capsys.readouterr().out
    assert "training: batch 3 of 3" in out
    assert "polishing: batch 2 of 2" in out
    assert "held-out accuracy" in out
    assert models.load(tmp_path / "brain2d.toml", device="cpu").name == "brain2d"
    with pytest.raises(SystemExit):
        train.main(["brain9d"])
