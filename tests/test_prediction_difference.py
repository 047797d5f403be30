"""Prediction difference analysis: closed forms, and a slow re-implementation of the paper's algorithm."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import models
from models.brain.heads import generate
from vislib.attribution import Target, attribute, attribution_steps, incremental
from vislib.attribution.prediction_difference import log2_odds
from vislib.attribution.samplers import Conditional, Marginal, reference, sampler
from vislib.errors import AttributionError
from vislib.network import Network

N = 100_000
NAME = "Prediction difference"


def scenes(n: int, *shape: int) -> Tensor:
    """Images whose neighbouring pixels are alike."""
    generator = torch.Generator().manual_seed(8)
    noise = torch.rand(n, *shape, generator=generator, dtype=torch.float64)
    for axis in range(2, noise.ndim):
        noise = (noise + noise.roll(1, axis) + noise.roll(2, axis)) / 3
    return noise


def network_of(*spatial: int, channels: int = 2, classes: int = 3, domain: bool = True) -> Network:
    torch.manual_seed(0)
    conv = {2: nn.Conv2d, 3: nn.Conv3d}[len(spatial)]
    module = nn.Sequential(
        conv(channels, 4, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.LazyLinear(classes)
    ).double()
    module(torch.rand(1, channels, *spatial, dtype=torch.float64))
    made = (lambda: scenes(30, channels, *spatial)) if domain else None
    return Network.from_module(
        module, (channels, *spatial), mean=(0.4,), std=(0.2,), device="cpu", domain=made, name="net"
    )


def linear(weights: Tensor, constant: float) -> Network:
    """Two classes whose log odds are a weighted sum of the pixels; every image of its domain is `constant`."""
    size = weights.shape
    module = nn.Sequential(nn.Flatten(), nn.Linear(weights.numel(), 2, bias=False)).double()
    with torch.no_grad():
        module[1].weight[0] = 0
        module[1].weight[1] = weights.flatten()
    full = torch.full((4, 1, *size), constant, dtype=torch.float64)
    return Network.from_module(module, (1, *size), device="cpu", domain=lambda: full)


@pytest.mark.parametrize("kind", ["conditional", "marginal"])
def test_a_linear_network_in_closed_form(kind: str) -> None:
    generator = torch.Generator().manual_seed(1)
    weights = torch.randn(8, 8, generator=generator, dtype=torch.float64)
    network, image = linear(weights, 0.25), torch.full((1, 1, 8, 8), 0.25, dtype=torch.float64)
    image[0, 0, 2:6, 2:6] = torch.rand(4, 4, generator=generator, dtype=torch.float64)
    answer = attribute(network, image, 1, NAME, sampler=kind, window=4, stride=4, padding=2, samples=3)
    change = (weights * (image[0, 0] - 0.25)).unfold(0, 4, 4).unfold(1, 4, 4).sum((2, 3))
    # log odds in bits; the Laplace correction moves these by less than a thousandth
    np.testing.assert_allclose(answer.raw[0], change / math.log(2), rtol=2e-3, atol=1e-3)
    np.testing.assert_allclose(answer.values[0], np.kron(answer.raw[0], np.ones((4, 4))), rtol=1e-6)
    rather = attribute(
        network, image, Target(1, against=0), NAME, sampler=kind, window=4, stride=4, samples=3
    )
    np.testing.assert_allclose(rather.raw[0], 2 * change / math.log(2), rtol=2e-3, atol=2e-3)


def test_odds_after_the_laplace_correction() -> None:
    p = torch.tensor([[0.0, 1.0, 0.5], [0.2, 0.3, 0.5]], dtype=torch.float64)
    corrected = [[1 / (N + 3), (N + 1) / (N + 3), (N / 2 + 1) / (N + 3)], [20_001, 30_001, 50_001]]
    corrected[1] = [one / (N + 3) for one in corrected[1]]
    expected = [[math.log2(one / (1 - one)) for one in row] for row in corrected]
    torch.testing.assert_close(log2_odds(p, p.shape[1]), torch.tensor(expected, dtype=torch.float64))
    assert log2_odds(p, p.shape[1])[0, 0] == pytest.approx(-math.log2(N + 2))


def conditional_by_hand(mean: Tensor, cov: Tensor, surround, window, offset) -> tuple[Tensor, ...]:
    """The formulas, one pixel's index at a time."""
    everywhere = list(itertools.product(*map(range, surround)))
    is_in = [all(o <= i < o + k for i, o, k in zip(at, offset, window, strict=True)) for at in everywhere]
    one = [i for i, inside in enumerate(is_in) if inside]
    two = [i for i, inside in enumerate(is_in) if not inside]
    inverse = torch.linalg.inv(cov[two][:, two])
    gain = cov[one][:, two] @ inverse
    left = cov[one][:, one] - gain @ cov[two][:, one]
    return torch.tensor(one), torch.tensor(two), gain, left


def test_the_gaussian_given_its_surround() -> None:
    sample = Conditional(scenes(50, 2, 16, 16), (3, 2), (7, 6))
    for offset in [(0, 0), (2, 2), (4, 4), (1, 3)]:
        one, two, gain, root = sample.law(offset)
        for channel in (0, 1):
            expected = conditional_by_hand(
                sample.mean[channel], sample.covariance[channel], (7, 6), (3, 2), offset
            )
            assert torch.equal(one, expected[0])
            assert torch.equal(two, expected[1])
            torch.testing.assert_close(gain[channel], expected[2], rtol=1e-6, atol=1e-6)
            torch.testing.assert_close(root[channel] @ root[channel].mT, expected[3], rtol=1e-6, atol=1e-9)
            assert torch.equal(root[channel], root[channel].tril())


def test_the_gaussian_is_fitted_to_the_domain() -> None:
    # A moving sum of two along each axis of white noise: covariance (1 - |d|/2) for neighbours, product over axes.
    noise = torch.randn(200, 1, 41, 41, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    images = (noise[..., 1:] + noise[..., :-1])[..., 1:, :] + (noise[..., 1:] + noise[..., :-1])[..., :-1, :]
    sample = Conditional(images / 2 + 3, (1, 1), (3, 3))
    line = torch.tensor([[1.0, 0.5, 0.0], [0.5, 1.0, 0.5], [0.0, 0.5, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(sample.covariance[0], torch.kron(line, line), atol=0.06, rtol=0)
    torch.testing.assert_close(sample.mean[0], torch.full((9,), 3.0, dtype=torch.float64), atol=0.05, rtol=0)


def test_samples_have_the_conditional_moments_and_stay_in_range() -> None:
    images = scenes(50, 2, 12, 12)
    sample = Conditional(images, (2, 2), (4, 4))
    drawn = sample(images[0], (5, 5), 20_000, torch.Generator().manual_seed(0))
    assert drawn.shape == (20_000, 2, 2, 2)
    for channel in (0, 1):
        one, two, gain, left = conditional_by_hand(
            sample.mean[channel], sample.covariance[channel], (4, 4), (2, 2), (1, 1)
        )
        patch = images[0, channel, 4:8, 4:8].flatten()
        mean = sample.mean[channel][one] + gain @ (patch[two] - sample.mean[channel][two])
        got = drawn[:, channel].flatten(1)
        torch.testing.assert_close(got.mean(0), mean, atol=0.003, rtol=0)
        torch.testing.assert_close(torch.cov(got.T), left, atol=3e-4, rtol=0)
        assert images[:, channel].min() <= got.min() <= got.max() <= images[:, channel].max()
    far = Conditional(images * 0.01 + 0.5, (2, 2), (4, 4))(images[0], (5, 5), 50, torch.Generator())
    assert (far >= images.min() * 0.01 + 0.5 - 1e-12).all()
    assert (far <= images.max() * 0.01 + 0.5 + 1e-12).all()


def test_the_marginal_sampler_takes_the_same_place_of_other_images() -> None:
    images = scenes(6, 2, 9, 9)
    generator = torch.Generator().manual_seed(0)
    same = Marginal(images, (3, 2), same_place=True)(images[0], (4, 7), 5, generator)
    places = [[torch.equal(one, image[:, 4:7, 7:9]) for image in images] for one in same]
    assert [sum(row) for row in places] == [1] * 5
    assert max(map(sum, zip(*places, strict=True))) == 1  # no image twice
    more = Marginal(images, (3, 2), same_place=True)(images[0], (4, 7), 40, generator)
    assert all(any(torch.equal(one, image[:, 4:7, 7:9]) for image in images) for one in more)
    anywhere = Marginal(images, (3, 2), same_place=False)(images[0], (4, 7), 5, generator)
    windows = images.unfold(2, 3, 1).unfold(3, 2, 1)
    assert all(((windows - one[:, None, None]).abs().sum((1, 4, 5)) == 0).any() for one in anywhere)


def by_the_algorithm(
    network: Network, image: Tensor, values, window: int, stride: int, padding: int, samples: int
) -> np.ndarray:
    """Algorithm 1 of the paper, a window and a sample at a time, with the draws that the seed 3 gives.

    `values(output of clean, outputs of samples)` is a window's relevance.
    """
    fitted = Conditional(network.domain(), (window,) * 2, (window + 2 * padding,) * 2)
    spatial, around = image.shape[1:], window + 2 * padding
    ends = [[*range(0, size - window, stride), size - window] for size in spatial]
    total, count = np.zeros(spatial), np.zeros(spatial)
    for index, start in enumerate(itertools.product(*ends)):
        outer = [min(max(0, s - padding), size - around) for s, size in zip(start, spatial, strict=True)]
        offset = [s - o for s, o in zip(start, outer, strict=True)]
        normal = torch.randn(
            samples,
            len(image),
            window * window,
            generator=torch.Generator().manual_seed(3 * 1_000_003**2 + index),
            dtype=torch.float64,
        )
        changed = []
        for draw in normal:
            other = image.clone()
            for channel in range(len(image)):
                one, two, gain, left = conditional_by_hand(
                    *(fitted.mean[channel], fitted.covariance[channel], (around,) * 2, (window,) * 2, offset)
                )
                patch = image[channel, outer[0] : outer[0] + around, outer[1] : outer[1] + around].flatten()
                mean = fitted.mean[channel][one] + gain @ (patch[two] - fitted.mean[channel][two])
                content = mean + torch.linalg.cholesky(left) @ draw[channel]
                content = content.clamp(
                    network.domain()[:, channel].min(), network.domain()[:, channel].max()
                )
                rows, columns = (slice(s, s + window) for s in start)
                other[channel, rows, columns] = content.view(window, window)
            changed.append(other)
        place = tuple(slice(s, s + window) for s in start)
        total[place] += values(image[None], torch.stack(changed))
        count[place] += 1
    assert (count > 0).all()
    return total / count


def odds(p: Tensor) -> Tensor:
    p = (p * N + 1) / (N + 3)
    return torch.log2(p / (1 - p))


def test_equals_the_papers_algorithm_for_classes() -> None:
    network, images = network_of(11, 10), scenes(2, 2, 11, 10) + 0.02

    def evidence(of: int):
        def values(clean: Tensor, changed: Tensor) -> float:
            before, after = (network.logits(x).softmax(1)[:, of].mean() for x in (clean, changed))
            return float(odds(before) - odds(after))

        return values

    options = {"window": 3, "stride": 2, "padding": 1, "samples": 4}
    maps = {
        (row, of): by_the_algorithm(network, images[row], evidence(of), **options)
        for row, of in ((0, 2), (1, 0), (0, 1), (1, 1))
    }
    answer = attribute(network, images, Target((2, 0)), NAME, seed=3, **options)
    for row, of in ((0, 2), (1, 0)):
        np.testing.assert_allclose(answer.values[row], maps[row, of], rtol=1e-5, atol=1e-5)
    rather = attribute(network, images, Target((2, 0), against=1), NAME, seed=3, **options)
    for row, of in ((0, 2), (1, 0)):
        np.testing.assert_allclose(rather.values[row], maps[row, of] - maps[row, 1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("position", [None, (2, 9)])
def test_hidden_units_lose_activation(position: tuple[int, int] | None) -> None:
    network, images = network_of(11, 10), scenes(1, 2, 11, 10) + 0.02

    def lost(clean: Tensor, changed: Tensor) -> float:
        maps = [network.activations(x, ["0"])["0"][:, 3] for x in (clean, changed)]
        before, after = (m.mean() if position is None else m[:, 2, 9].mean() for m in maps)
        return float(before - after)

    options = {"window": 4, "stride": 3, "padding": 2, "samples": 3}
    expected = by_the_algorithm(network, images[0], lost, **options)
    answer = attribute(network, images, Target(3, "0", position=position), NAME, seed=3, **options)
    np.testing.assert_allclose(answer.values[0], expected, rtol=1e-5, atol=1e-5)


def test_the_same_seed_gives_the_same_map_whatever_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    network, images = network_of(13, 13), scenes(1, 2, 13, 13)
    seen, maps = [], []
    for most in (64, 7, 23):
        monkeypatch.setattr(incremental, "MOST_ROWS", most)
        *steps, whole = attribution_steps(network, images, 1, NAME, window=4, stride=3, samples=5, seed=2)
        counts = np.diff([0, *(step.step for step in steps), whole.step])
        # 16 windows; the last, smaller batch counts its own windows and no others
        assert counts.sum() == 16 == whole.steps
        seen.append(counts.max())
        maps.append(whole.values)
    assert seen == [12, 1, 4]
    np.testing.assert_allclose(maps[1], maps[0], atol=1e-6)
    np.testing.assert_allclose(maps[2], maps[0], atol=1e-6)
    other = attribute(network, images, 1, NAME, window=4, stride=3, samples=5, seed=4)
    assert np.abs(other.values - maps[0]).max() > 1e-3


@pytest.mark.parametrize("sampler", ["conditional", "marginal"])
def test_an_image_has_the_same_map_in_every_row(sampler: str) -> None:
    network, image = network_of(13, 13), scenes(1, 2, 13, 13)
    options = {"window": 4, "stride": 3, "samples": 5, "sampler": sampler}
    both = attribute(network, image.repeat(3, 1, 1, 1), 1, NAME, seed=2, **options).values
    alone = attribute(network, image, 1, NAME, seed=2, **options).values
    # The sampler learns from all images that are given, which here are one.
    np.testing.assert_allclose(both[1:], both[:1].repeat(2, 0), atol=1e-6)
    np.testing.assert_allclose(both[:1], alone, atol=0.2 * float(np.abs(alone).max()))


def test_cancelling_leaves_everything_clean() -> None:
    network, images = network_of(13, 13), scenes(1, 2, 13, 13)
    before = {key: value.clone() for key, value in network.module.state_dict().items()}
    random = torch.get_rng_state()
    steps = attribution_steps(network, images, 1, NAME, window=4, stride=1, seed=2)
    next(steps)
    next(steps)
    steps.close()
    assert torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), random)
    assert not any(part._forward_hooks for part in network.module.modules())
    assert all(torch.equal(value, before[key]) for key, value in network.module.state_dict().items())
    torch.testing.assert_close(images, scenes(1, 2, 13, 13))


def test_a_network_without_a_domain_learns_from_the_image_and_says_so() -> None:
    network, images = network_of(13, 13, domain=False), scenes(1, 2, 13, 13)
    for kind in ("conditional", "marginal"):
        answer = attribute(network, images, 1, NAME, window=4, stride=3, sampler=kind)
        assert answer.notes == (
            "net comes with no images of its domain, so what could stand in a window was learnt "
            "from the given image alone.",
        )
        assert np.abs(answer.values).max() > 0
    assert not attribute(network_of(13, 13), images, 1, NAME, window=4, stride=3).notes


def test_volumes() -> None:
    network, images = network_of(7, 8, 9, channels=1), scenes(1, 1, 7, 8, 9)
    for kind in ("conditional", "marginal"):
        answer = attribute(network, images, 0, NAME, window=4, stride=4, padding=1, sampler=kind)
        assert answer.values.shape == (1, 7, 8, 9)
        assert answer.raw.shape == (1, 2, 2, 3)
    large, images = network_of(20, 20, 20, channels=1), scenes(1, 1, 20, 20, 20)
    with pytest.raises(AttributionError, match=r"14 x 14 x 14 pixels is too large .* of 11 pixels together"):
        attribution_steps(large, images, 0, NAME)
    attribution_steps(large, images, 0, NAME, sampler="marginal")


def test_what_cannot_be_asked_is_refused_in_a_sentence() -> None:
    images = scenes(1, 2, 13, 13)
    with pytest.raises(AttributionError, match="no window covers; give a stride of at most 3"):
        attribution_steps(network_of(13, 13), images, 1, NAME, window=3, stride=4)


@pytest.mark.parametrize(
    ("domain", "words"),
    [
        (lambda: 1 / 0, r"could not be made \(ZeroDivisionError"),
        (lambda: [1], "gave no tensor"),
        (
            lambda: torch.rand(3, 13, 13),
            r"shape \(3, 13, 13\); it must give images of shape \(n, 2, 13, 13\)",
        ),
        (lambda: torch.rand(3, 2, 5, 13), "10 x 10 pixels do not fit into the domain's images of 5 x 13"),
    ],
)
def test_a_domain_that_does_not_fit_is_refused_in_a_sentence(domain, words: str) -> None:
    network = Network.from_module(network_of(13, 13).module, (2, 13, 13), device="cpu", domain=domain)
    with pytest.raises(AttributionError, match=words):
        next(attribution_steps(network, scenes(1, 2, 13, 13), 1, NAME))


def test_images_larger_than_those_of_the_domain() -> None:
    network, images = network_of(13, 13), scenes(1, 2, 17, 15)
    known = reference(network, images)
    conditional, marginal = (
        sampler(kind, known, (10, 10), 3, (17, 15)) for kind in ("conditional", "marginal")
    )
    assert conditional.surround == (13, 13)
    assert not marginal.same_place
    assert conditional(images[0], (7, 5), 2, torch.Generator()).shape == (2, 2, 10, 10)


def test_windows_as_large_as_the_image() -> None:
    answer = attribute(network_of(6, 7), scenes(1, 2, 6, 7), 1, NAME, window=7, stride=7)
    assert answer.notes == ("The window of 7 pixels is larger than the image of 6 x 7 and was cut to it.",)
    assert np.ptp(answer.values) == 0


def test_the_lesion_is_what_speaks_for_the_tumour() -> None:
    network = models.load("brain2d", device="cpu")
    batch = generate(8, 7, "held-out", labels=[1] * 8)
    row = int(network.logits(batch.images)[:, 1].argmax())
    answer = attribute(network, batch.images[row : row + 1], 1, NAME, stride=8)
    inside = batch.lesions[row, 0].numpy()
    assert answer.values[0][inside].mean() > 5 * np.abs(answer.values[0][~inside]).mean()
