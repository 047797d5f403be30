"""Perturbation maps: occlusion beside captum's, and how soon prediction difference analysis shows something.

`python -m benchmarks.occlusion [--threads N] [--rounds N]`. Occlusion with windows of 32 pixels every 8, SqueezeNet
1.0 at 224 px (real weights from ../shared/data where they are, else random ones: speed does not depend on them). All
contestants take turns in one process, captum with each number of perturbations at once; the time of each is the best
of its rounds, since other work on the machine can only add to it. Prediction difference is the default network's, with
all parameters at their defaults.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import models
from models.cards import torchvision_facts
from models.vision import torchvision_module
from vislib.attribution import Attribution, attribute, attribution_steps
from vislib.network import Network

WINDOW, STRIDE, CLASS = 32, 8, 207  # a golden retriever
AT_ONCE = (1, 4, 8, 16, 32, 64)
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def squeezenet() -> Network:
    weights = SHARED / "squeezenet1_0_imagenet.pt"
    if weights.is_file():
        return models.load("torchvision:squeezenet1_0", weights=weights, device="cpu")
    torch.manual_seed(0)
    facts = torchvision_facts("squeezenet1_0")
    return Network.from_module(
        torchvision_module("squeezenet1_0"),
        facts["input"],
        mean=facts["mean"],
        std=facts["std"],
        device="cpu",
    )


def photo(network: Network) -> torch.Tensor:
    """A dog, or noise where the photograph is not there."""
    path = SHARED / "photos" / "n02099601_golden_retriever.JPEG"
    if path.is_file():
        from vislib.images import prepare, read_picture

        return torch.from_numpy(prepare(read_picture(path.read_bytes()), network))
    return torch.rand(1, *network.input_shape, generator=torch.Generator().manual_seed(0))


def timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def captum_map(network: Network, image: torch.Tensor, at_once: int) -> np.ndarray:
    """captum's map of one channel; its module is the network's own in torch's default layout."""
    from captum.attr import Occlusion

    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (network.mean, network.std))
    module = network.module.to(memory_format=torch.contiguous_format)
    with torch.no_grad():
        found = Occlusion(module).attribute(
            ((image - mean) / std).contiguous(),
            target=CLASS,
            sliding_window_shapes=(3, WINDOW, WINDOW),
            strides=(3, STRIDE, STRIDE),
            baselines=-mean / std * torch.ones_like(image),
            perturbations_per_eval=at_once,
        )
    return found[0, 0].numpy()


def occlusion(rounds: int) -> None:
    network, plain = squeezenet(), squeezenet()
    image = photo(network)
    options = {"window": WINDOW, "stride": STRIDE, "fill": "zero"}
    answers: dict[str, Attribution] = {}

    def ours() -> None:
        answers["whole"] = attribute(network, image, CLASS, "Occlusion", **options)

    def first() -> None:
        next(attribution_steps(network, image, CLASS, "Occlusion", **options))

    calls: dict[str, Callable[[], object]] = {"vislib": ours, "vislib, first map": first}
    try:
        import captum  # noqa: F401

        for number in AT_ONCE:
            calls[f"captum, {number} at once"] = lambda number=number: captum_map(plain, image, number)
    except ImportError:
        print("captum is not installed: pip install captum")
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(timed(call))
    windows = answers["whole"].steps
    print(
        f"{torch.get_num_threads()} threads; occlusion, {windows} windows of {WINDOW} px every {STRIDE}, SqueezeNet"
    )
    for name, seconds in times.items():
        print(f"{name:24} {min(seconds):7.2f} s {np.median(seconds):7.2f} s (median)")
    rivals = [min(seconds) for name, seconds in times.items() if name.startswith("captum")]
    if rivals:
        difference = np.abs(answers["whole"].values[0] - captum_map(plain, image, 8)).max()
        print(f"captum's best / vislib: {min(rivals) / min(times['vislib']):.1f}")
        largest = np.abs(answers["whole"].values).max()
        print(f"largest difference of the maps: {difference:.1e}, of values up to {largest:.2f}")


def prediction_difference() -> None:
    from models.brain.heads import domain, generate

    network = models.load("brain2d", device="cpu")
    image = generate(2, 7, "held-out", labels=[1, 1]).images[:1]
    domain()  # made once, for all that ask
    moments = [time.perf_counter()]
    windows = 0
    for answer in attribution_steps(network, image, 1, "Prediction difference"):
        moments.append(time.perf_counter())
        windows = answer.steps
    first, whole, longest = moments[1] - moments[0], moments[-1] - moments[0], np.diff(moments[1:]).max()
    print(
        f"prediction difference, {network.name}, {windows} windows, {10 * windows} samples: first map after "
        f"{first:.2f} s, whole after {whole:.1f} s, longest step between {longest * 1e3:.0f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    occlusion(options.rounds)
    prediction_difference()


if __name__ == "__main__":
    main()
