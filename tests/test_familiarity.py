from pathlib import Path

import numpy as np
import pytest
import torch
from nibabel.testing import data_path
from torch import nn

import models
from models.brain import generate
from models.inputs import samples
from vislib.errors import NetworkError
from vislib.familiarity import STILL, Familiarity, _fitted, codes, deepest, reason, sentence
from vislib.images import Picture, altered
from vislib.network import Network
from vislib.volumes import PLANES, read_volume, slice_image, slices, to_network

NIBABEL = Path(data_path)
# Pictures of phantoms and files without a picture of a brain are none of these.
BRAINS = (
    "anatomical.nii",
    "example4d.nii.gz",
    "functional.nii",
    "example_nifti2.nii.gz",
    "minc1_1_scale.mnc",
)


def made(domain, channels=1, module=None):
    torch.manual_seed(0)
    module = module or nn.Sequential(
        nn.Conv2d(channels, 6, 3), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, 3),
    )  # fmt: skip
    return Network.from_module(module, (channels, 24, 24), domain=domain, device="cpu")


def blobs(count, seed=0):
    """One soft bright spot each."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:24, :24]
    middle = random.uniform(7, 17, (count, 2, 1, 1))
    images = np.exp(-((rows - middle[:, 0]) ** 2 + (columns - middle[:, 1]) ** 2) / 30)
    return torch.from_numpy(images[:, None] + random.normal(0, 0.02, (count, 1, 24, 24))).float().clamp(0, 1)


def pink(count, size, seed=0):
    """Pictures with the spectrum of photographs, mid-grey on average."""
    random = torch.Generator().manual_seed(seed)
    spectrum = torch.fft.rfft2(torch.randn(count, 1, size, size, generator=random))
    rows, columns = torch.fft.fftfreq(size)[:, None], torch.fft.rfftfreq(size)[None]
    images = torch.fft.irfft2(spectrum / (rows**2 + columns**2).sqrt().clamp(min=1 / size))
    images = images - images.mean((2, 3), keepdim=True)
    return (0.45 + 0.22 * images / images.std((2, 3), keepdim=True)).clamp(0, 1)


@pytest.mark.parametrize(("n", "p"), [(80, 5), (30, 30), (9, 40)])
def test_distances_are_those_of_mahalanobis_with_the_covariance_of_ledoit_and_wolf(n, p):
    random = np.random.default_rng(n)
    features = random.normal(size=(n, p)) @ random.normal(size=(p, p)) + 3
    others = random.normal(size=(7, p)) * 4
    found = _fitted(made(None), "0", features, 1).distances_of(others)
    # The same by its definition: loops over the images, and p by p matrices.
    middle, scale = features.mean(0), features.std(0)
    scale = np.sqrt(scale**2 + STILL**2 * (scale**2).mean())
    x = (features - middle) / scale
    s = sum(np.outer(row, row) for row in x) / n
    average = np.trace(s) / p
    spread = ((s - average * np.eye(p)) ** 2).sum() / p
    noise = min(spread, sum(((np.outer(row, row) - s) ** 2).sum() for row in x) / n**2 / p)
    covariance = noise / spread * average * np.eye(p) + (1 - noise / spread) * s
    y = (others - middle) / scale
    wanted = [np.sqrt(row @ np.linalg.solve(covariance, row) / p) for row in y]
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_codes_are_mean_root_mean_square_and_maximum_of_what_fires():
    network, images = made(None), torch.rand(3, 1, 24, 24)
    maps = network.activations(images, ["2"])["2"].relu().numpy()
    wanted = np.concatenate([maps.mean((2, 3)), np.sqrt((maps**2).mean((2, 3))), maps.max((2, 3))], 1)
    assert deepest(network) == "2"
    np.testing.assert_allclose(codes(network, "2", images), wanted, rtol=1e-5)


def test_none_of_the_domain_that_was_held_out_is_unlike_it_and_noise_is():
    network = made(lambda: blobs(80))
    found = Familiarity.learned(network)
    assert found.distances(blobs(80)[1::2]).max() == pytest.approx(1 / found.margin)
    assert found.margin == 1.25 + 10 / 40
    assert (found.distances(blobs(100, seed=1)) > 1).mean() <= 0.03
    for foreign in (torch.rand(20, 1, 24, 24), 1 - blobs(20), pink(20, 24), torch.ones(1, 1, 24, 24)):
        assert (found.distances(foreign) > 1).all()


@pytest.mark.parametrize("kind", ["dense", "wide"])
def test_any_network_can_be_asked(kind):
    dense = nn.Sequential(nn.Flatten(), nn.Linear(576, 20), nn.ReLU(), nn.Linear(20, 3))
    wide = nn.Sequential(
        nn.Conv2d(1, 200, 5), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(200, 3)
    )
    network = made(lambda: blobs(60), module={"dense": dense, "wide": wide}[kind])
    found = Familiarity.learned(network)
    assert (found.distances(torch.rand(5, 1, 24, 24)) > 1).all()
    assert (found.distances(blobs(40, seed=2)) > 1).mean() <= 0.05


def test_a_domain_in_which_nothing_changes_is_no_reason_to_fail():
    found = Familiarity.learned(made(lambda: torch.full((20, 1, 24, 24), 0.5)))
    distances = found.distances(torch.cat([torch.full((1, 1, 24, 24), 0.5), torch.rand(1, 1, 24, 24)]))
    assert distances[0] <= 1 < distances[1]


def test_without_a_domain_or_with_too_small_a_one_nothing_is_said():
    assert Familiarity.learned(made(None)) is None
    assert Familiarity.learned(made(lambda: blobs(11))) is None


def _raises():
    raise OSError("no such disk")


@pytest.mark.parametrize(
    ("domain", "words"),
    [
        (_raises, ["no such disk", "mend that function"]),
        (lambda: "pictures", ["no tensor"]),
        (lambda: torch.rand(20, 3, 24, 24), ["(20, 3, 24, 24)", "must give images"]),
        (lambda: torch.rand(20, 24, 24), ["(20, 24, 24)"]),
    ],
)
def test_a_domain_that_cannot_be_used_is_an_error_in_a_sentence(domain, words):
    with pytest.raises(NetworkError) as caught:
        Familiarity.learned(made(domain))
    assert all(word in str(caught.value) for word in words)


@pytest.fixture(scope="module")
def brain():
    return Familiarity.learned(models.load("brain2d", device="cpu"))


def all_slices(path, network, every=1):
    volume = read_volume(path)
    cut = [
        slice_image(volume, plane, index, network.input_shape, network.spacing).image
        for plane in PLANES
        for index in range(0, slices(volume, plane), every)
    ]
    return torch.from_numpy(np.concatenate(cut))


def test_held_out_brains_are_familiar_and_what_is_no_brain_is_not(brain):
    held_out = generate(120, 5, "held-out").images
    assert (brain.distances(held_out) > 1).mean() <= 0.02
    for foreign in (
        1 - held_out[:40],
        pink(40, 128),
        torch.rand(40, 1, 128, 128),
        torch.ones(1, 1, 128, 128),
    ):
        assert (brain.distances(foreign) > 1).all()


@pytest.mark.parametrize(
    "sample", [sample for sample in samples() if sample.kind == "volume"], ids=lambda s: s.name
)
def test_the_shipped_samples_are_familiar_in_every_slice(brain, sample):
    assert (brain.distances(all_slices(sample.path, brain.network, every=5)) <= 1).all()


@pytest.mark.parametrize("name", BRAINS)
def test_real_brains_are_familiar_in_every_slice(brain, name):
    assert (brain.distances(all_slices(NIBABEL / name, brain.network, every=4)) <= 1).all()


@pytest.mark.parametrize(
    "sample", [sample for sample in samples() if sample.kind == "photo"], ids=lambda s: s.name
)
def test_photographs_are_not(brain, sample):
    from vislib.images import prepare, read_picture

    picture = read_picture(sample.path.read_bytes())
    for fit in ("crop", "whole", "stretch"):
        assert (brain.distances(torch.from_numpy(prepare(picture, brain.network, fit))) > 1).all()


def test_volumes_as_a_whole_too():
    network = models.load("brain3d", device="cpu")
    found = Familiarity.learned(network)
    whole = [torch.from_numpy(to_network(read_volume(s.path), network.input_shape, network.spacing)[0])
             for s in samples() if s.kind == "volume"]  # fmt: skip
    assert (found.distances(torch.cat(whole)) <= 1).all()
    assert (found.distances(torch.cat([1 - whole[0], torch.rand(1, *network.input_shape)])) > 1).all()


def colours(height, width, spread):
    """A picture whose pixels' channels lie `spread` apart."""
    pixels = np.full((3, height, width), 0.5, np.float32)
    pixels[0] += spread / 2
    pixels[2] -= spread / 2
    return Picture(pixels, "made up", (width, height), ())


@pytest.mark.parametrize(
    ("size", "spread", "channels", "fit", "words"),
    [
        ((128, 128), 0.2, 1, "crop", ["its colours were turned to grey"]),
        ((128, 128), 0.02, 1, "crop", []),  # a grey scan as JPEG
        ((128, 128), 0.2, 3, "crop", []),
        ((1000, 1500), 0, 1, "crop", []),  # made smaller: nothing is made up
        ((64, 64), 0, 1, "crop", []),
        ((63, 100), 0, 1, "crop", ["it was enlarged 2.0 times"]),
        ((20, 20), 0, 1, "whole", ["it was enlarged 6.4 times"]),
        ((20, 200), 0, 1, "whole", []),
        ((20, 200), 0, 1, "crop", ["it was enlarged 6.4 times"]),
        ((300, 700), 0, 1, "stretch", ["its proportions were changed by 2.3"]),
        ((300, 500), 0, 1, "stretch", []),
        ((30, 30), 0.3, 1, "stretch", ["its colours were turned to grey", "it was enlarged 4.3 times"]),
    ],
)
def test_what_is_done_to_a_picture_is_said(size, spread, channels, fit, words):
    network = Network.from_module(
        nn.Sequential(nn.Conv2d(channels, 2, 1)), (channels, 128, 128), device="cpu"
    )
    assert list(altered(colours(*size, spread), network, fit)) == words


def test_the_sentence_is_calm():
    assert sentence("picture", [reason(2.5), "its colours were turned to grey"]) == (
        "This picture is unlike what the network was made for (its features lie 2.5 times as far off as those of the "
        "network's own images do at most, its colours were turned to grey): what it says of it may mean nothing."
    )
