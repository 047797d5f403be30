"""Gradient ascent's speed beside torch-lucent's and beside the machine's own convolution rate, and time to a picture.

`python -m benchmarks.ascent [--threads N] [--rounds N] [--weights FILE] [--pictures N]`.

Steps: SqueezeNet 1.0 (random weights: speed does not depend on them), `features.7`, 16 channels in one batch, 128 px in
both. All contestants take turns in one process; the time of a step is the best of its rounds, since other work on the
machine can only add to it; the median stands beside it. No rounds, no table.

Time to a picture: seconds until the mean objective of `--pictures` units that lucent reaches in its 512 default steps
at the same size, judged on the images themselves, without transforms. That depends on the weights: `--weights` is
torchvision's state dict of squeezenet1_0; without it those weights are fetched.
"""

import argparse
import math
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch.utils.flop_counter import FlopCounterMode

import models
from vislib.ascent import PRESETS, Preset, ascend, default_preset, fast_available
from vislib.ascent.quality import saturated
from vislib.errors import VislibError
from vislib.network import Network

LAYER, CHANNELS, SIZE = "features.7", 16, 128
WARM_UP = 20  # steps before the clock starts: the first 16 redirect dead ReLUs
CONVOLUTION = 2 * 8 * 32 * 32 * 256 * 256 * 9  # floating-point operations of `convolution_step`


def squeezenet() -> torch.nn.Module:
    torch.manual_seed(0)
    return torchvision.models.squeezenet1_0().eval()


def network_of(module: torch.nn.Module) -> Network:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    return Network.from_module(
        module, (3, SIZE, SIZE), mean=mean, std=std, name="squeezenet1_0", device="cpu"
    )


def our_steps(network: Network, preset: Preset, precision: str) -> Iterator[float]:
    """Seconds of each step, frames included."""
    climb = ascend(network, LAYER, range(CHANNELS), preset, steps=100_000, precision=precision)
    for _ in range(WARM_UP):
        next(climb)
    while True:
        start = time.perf_counter()
        next(climb)
        yield time.perf_counter() - start


def lucent_steps(module: torch.nn.Module, transforms: bool) -> Iterator[float]:
    """Seconds of each step of torch-lucent's render_vis, from one optimiser step to its end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lucent.optvis import objectives, param, render, transform

    objective = sum(objectives.channel("features_7", unit, batch=unit) for unit in range(CHANNELS))
    times: list[float] = []

    class Clocked(torch.optim.Adam):
        def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override]
            start = time.perf_counter()
            result = super().step(closure)
            times.append(time.perf_counter() - start)
            return result

    steps = 2
    while True:
        times.clear()
        render.render_vis(
            module,
            objective,
            param_f=lambda: param.image(SIZE, batch=CHANNELS),
            optimizer=lambda parameters: Clocked(parameters, lr=0.05),
            transforms=transform.standard_transforms if transforms else [],
            thresholds=(steps,),
            fixed_image_size=SIZE,
            progress=False,
            show_image=False,
        )
        yield min(times)


def convolution_steps() -> Iterator[float]:
    """Seconds of one 3 x 3 convolution of 256 channels in float32."""
    images = torch.randn(8, 256, 32, 32).to(memory_format=torch.channels_last)
    weight = torch.randn(256, 256, 3, 3).to(memory_format=torch.channels_last)
    while True:
        with torch.no_grad():
            start = time.perf_counter()
            torch.conv2d(images, weight, padding=1)
        yield time.perf_counter() - start


def flops_a_step(network: Network) -> int:
    """Multiplications and additions of the forward pass to the layer and of the way back to the image."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.activations(torch.rand(CHANNELS, 3, SIZE, SIZE), [LAYER])
    return 2 * counter.get_total_flops()


def contestants(module: torch.nn.Module) -> dict[str, Iterator[float]]:
    """What takes part, by name; lucent only where it imports."""
    network = network_of(module)
    plain = PRESETS["Fourier, robust"].changed(pad=0, jitter=0, scale=0.0, rotate=0.0, jitter2=0)
    default = default_preset(network)
    running: dict[str, Iterator[float]] = {"convolution": convolution_steps()}
    try:
        for transforms in (False, True):
            name = f"torch-lucent, transforms {'on' if transforms else 'off'}"
            running[name] = lucent_steps(module, transforms)
            next(running[name])
    except Exception as error:
        print(f"torch-lucent does not run here ({type(error).__name__}: {error}); pip install -e .[bench]")
        running = {"convolution": running["convolution"]}
    for precision in ("exact", "fast") if fast_available() else ("exact",):
        running[f"vislib {precision}, transforms off"] = our_steps(network, plain, precision)
        running[f"vislib {precision}, transforms on"] = our_steps(
            network, PRESETS["Fourier, robust"], precision
        )
        running[f"vislib {precision}, {default.name}"] = our_steps(network, default, precision)
    return running


def measure(rounds: int) -> dict[str, list[float]]:
    module = squeezenet()
    running = contestants(module)
    times: dict[str, list[float]] = {name: [] for name in running}
    for steps in running.values():
        next(steps)
    for _ in range(rounds):
        for name, steps in running.items():
            times[name] += [next(steps) for _ in range(2)]
    return times


def report(times: dict[str, list[float]], flops: int) -> None:
    rate = CONVOLUTION / min(times["convolution"])
    print(
        f"{torch.get_num_threads()} threads; 3 x 3 convolution of 256 channels, float32: {rate / 1e9:.0f} GFLOP/s"
    )
    print(
        f"{'a step and channel':38} {'best':>8} {'median':>8} {'a second':>9} {'x lucent':>9} {'share of rate':>14}"
    )
    for name, seconds in times.items():
        if name == "convolution":
            continue
        best, middle = min(seconds), statistics.median(seconds)
        rival = f"torch-lucent, transforms {'on' if name.endswith('transforms on') else 'off'}"
        faster = f"{min(times[rival]) / best:.1f}" if rival in times else "no lucent"
        print(
            f"{name:38} {best / CHANNELS * 1e3:5.2f} ms {middle / CHANNELS * 1e3:5.2f} ms {CHANNELS / best:9.0f} "
            f"{faster:>9} {flops / best / rate:14.0%}"
        )
    print(
        "Both use a Fourier parametrisation and Adam, but for the last row of each precision, the default preset."
    )


def judged(network: Network, images: torch.Tensor) -> float:
    """The mean objective of the first units, one an image, as the images are."""
    with torch.no_grad():
        maps = network.activations(images, [LAYER])[LAYER]
    return float(maps.flatten(2).mean(2).diagonal().mean())


def lucent_picture(module: torch.nn.Module, pictures: int, steps: int = 512) -> tuple[torch.Tensor, float]:
    """Images of lucent's default settings at SIZE pixels, and the seconds that they took."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lucent.optvis import objectives, param, render

    objective = sum(objectives.channel(LAYER.replace(".", "_"), unit, batch=unit) for unit in range(pictures))
    start = time.perf_counter()
    (found,) = render.render_vis(
        module,
        objective,
        param_f=lambda: param.image(SIZE, batch=pictures),
        thresholds=(steps,),
        fixed_image_size=SIZE,
        progress=False,
        show_image=False,
    )
    return torch.from_numpy(found).movedim(-1, 1), time.perf_counter() - start


def our_picture(
    network: Network, pictures: int, goal: float, precision: str
) -> tuple[torch.Tensor, float, int]:
    """Images of the default preset, the seconds until they reached the goal (judging left out), and the step."""
    spent, start = 0.0, time.perf_counter()
    images = torch.zeros(0)
    for frame in ascend(network, LAYER, range(pictures), size=SIZE, precision=precision):
        spent += time.perf_counter() - start
        images = torch.from_numpy(frame.images)
        if frame.step % 4 == 0 and judged(network, images) >= goal:
            return images, spent, frame.step
        start = time.perf_counter()
    return images, float("nan"), frame.step


def time_to_a_picture(weights: Path | None, pictures: int) -> None:
    """Print the row that a user feels; without lucent or weights, why there is none."""
    try:
        network = models.load("torchvision:squeezenet1_0", weights=weights)
        images, theirs = lucent_picture(network.module, pictures)
    except (ImportError, VislibError) as error:
        print(f"no time to a picture: {error}")
        return
    goal = judged(network, images)
    print(
        f"time to a picture of {pictures} units of {LAYER}, {SIZE} px: torch-lucent {theirs:.1f} s in 512 steps "
        f"(objective {goal:.0f}, {saturated(images).mean():.1%} saturated)"
    )
    for precision in ("exact", "fast") if fast_available() else ("exact",):
        found, ours, step = our_picture(network, pictures, goal, precision)
        if math.isnan(ours):
            print(f"  vislib {precision}: {judged(network, found) / goal:.0%} of it after all {step} steps")
            continue
        print(
            f"  vislib {precision}, {default_preset(network, LAYER).name}: {ours:.1f} s in {step} steps (objective "
            f"{judged(network, found):.0f}, {saturated(found).mean():.1%} saturated): {theirs / ours:.1f} x sooner"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--pictures", type=int, default=CHANNELS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.rounds:
        report(measure(options.rounds), flops_a_step(network_of(squeezenet())))
    time_to_a_picture(options.weights, options.pictures)


if __name__ == "__main__":
    main()
