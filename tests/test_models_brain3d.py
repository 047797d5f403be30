"""BrainNet3D: its training is deterministic, learns of what is there, and writes a card that can be opened."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import models
from models import train, train3d
from models.brain import CLASSES, generate
from models.brain3d import SPACING, SPATIAL, domain
from models.train3d import CELLS, HELD, IGNORED, WINDOW, Phase, Pool, Settings, Trainee
from models.train_parts import MEAN, STD
from vislib.attribution import attribute

TINY = Settings(
    volumes=8, ragged=2, made=4, windows=Phase(2, 4, 1e-3), whole=Phase(1, 2, 1e-3)
)  # enough to see that it runs


@pytest.fixture(scope="module")
def pool() -> Pool:
    return train3d.make_pool(TINY)


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
