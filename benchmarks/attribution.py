"""Attribution's speed beside captum's and pytorch-grad-cam's: one image of 224 px through SqueezeNet 1.0.

`python -m benchmarks.attribution [--threads N] [--rounds N]`. Random weights: speed does not depend on them. All
contestants take turns in one process; the time is the best of the rounds, since other work on the machine can only add
to it; the median stands beside it, and the processor's time, which other work disturbs less. captum's batch is the best
of those tried. Integrated gradients and SmoothGrad have 50 steps everywhere. Occlusion has a benchmark of its own.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from benchmarks.ascent import squeezenet
from vislib.attribution import attribute
from vislib.network import Network

SIZE, CLASS, LAYER, STEPS = 224, 3, "features.12", 50
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BATCHES = (2, 4, 8, 16)  # of captum's that are tried
Rivals = dict[str, dict[str, Callable[[], object]]]  # method -> library and setting -> one answer


@dataclass
class Times:
    """Seconds of each round, by the clock and of the processor."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def take(self, ask: Callable[[], object]) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        ask()
        self.wall.append(time.perf_counter() - wall)
        self.cpu.append(time.process_time() - cpu)


def ours(network: Network, images: torch.Tensor) -> Rivals:
    """vislib's methods by name."""

    def ask(method: str) -> Callable[[], object]:
        return lambda: attribute(network, images, CLASS, method)

    names = ("Saliency", "Guided backprop", "Grad-CAM", "Integrated gradients", "SmoothGrad")
    return {name: {"vislib": ask(name)} for name in names}


def captum_methods(module: torch.nn.Module, prepared: torch.Tensor) -> Rivals:
    """captum's, Grad-CAM with its interpolation to the image's size; they take standardised images."""
    from captum.attr import (
        GuidedBackprop,
        IntegratedGradients,
        LayerAttribution,
        LayerGradCam,
        NoiseTunnel,
        Saliency,
    )

    saliency, guided = Saliency(module), GuidedBackprop(module)
    grad_cam, integrated = LayerGradCam(module, module.get_submodule(LAYER)), IntegratedGradients(module)
    smooth = NoiseTunnel(saliency)
    spread = 0.15 * float(prepared.max() - prepared.min())

    def integrate(batch: int) -> Callable[[], object]:
        return lambda: integrated.attribute(prepared, target=CLASS, n_steps=STEPS, internal_batch_size=batch)

    def smoothen(batch: int) -> Callable[[], object]:
        return lambda: smooth.attribute(
            prepared, nt_type="smoothgrad", nt_samples=STEPS, nt_samples_batch_size=batch, stdevs=spread,
            target=CLASS, abs=False,
        )  # fmt: skip

    return {
        "Saliency": {"captum": lambda: saliency.attribute(prepared, target=CLASS)},
        "Guided backprop": {"captum": lambda: guided.attribute(prepared, target=CLASS)},
        "Grad-CAM": {
            "captum": lambda: LayerAttribution.interpolate(
                grad_cam.attribute(prepared, target=CLASS, relu_attributions=True), (SIZE, SIZE), "bilinear"
            )
        },
        "Integrated gradients": {f"captum, batch {batch}": integrate(batch) for batch in BATCHES},
        "SmoothGrad": {f"captum, batch {batch}": smoothen(batch) for batch in BATCHES},
    }


def grad_cam_methods(module: torch.nn.Module, prepared: torch.Tensor) -> Rivals:
    """pytorch-grad-cam's."""
    from pytorch_grad_cam import GradCAM, GuidedBackpropReLUModel
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    grad_cam = GradCAM(module, [module.get_submodule(LAYER)])
    guided = GuidedBackpropReLUModel(module, "cpu")
    target = [ClassifierOutputTarget(CLASS)]
    return {
        "Grad-CAM": {"pytorch-grad-cam": lambda: grad_cam(prepared, target)},
        "Guided backprop": {"pytorch-grad-cam": lambda: guided(prepared, CLASS)},
    }


def contestants() -> Rivals:
    """What takes part; the other libraries only where they import. Each has a module of its own: some change it."""
    images = torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    prepared = (images - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)
    network = Network.from_module(
        squeezenet(), (3, SIZE, SIZE), mean=MEAN, std=STD, name="squeezenet", device="cpu"
    )
    running = ours(network, images)
    for name, package, make in (
        ("captum", "captum", captum_methods),
        ("pytorch-grad-cam", "grad-cam", grad_cam_methods),
    ):
        try:
            rivals = make(squeezenet(), prepared)
        except ImportError as error:
            print(f"{name} is not here ({error}); pip install {package}")
            continue
        for method, asks in rivals.items():
            running[method] |= asks
    return running


def measure(rounds: int) -> dict[str, dict[str, Times]]:
    """Rounds in which everybody takes a turn; the first turn of each is for warming up."""
    running = contestants()
    times = {method: {name: Times() for name in asks} for method, asks in running.items()}
    for turn in range(rounds + 1):
        for method, asks in running.items():
            for name, ask in asks.items():
                (times[method][name] if turn else Times()).take(ask)
    return times


def report(times: dict[str, dict[str, Times]]) -> None:
    print(f"{torch.get_num_threads()} threads; one image of {SIZE} px, SqueezeNet 1.0")
    print(f"{'':44} {'best':>9} {'median':>9} {'processor':>10} {'times vislib':>13}")
    for method, rows in times.items():
        own = min(rows["vislib"].wall)
        for name, one in rows.items():
            best, middle, cpu = min(one.wall), statistics.median(one.wall), min(one.cpu)
            print(
                f"{method + ', ' + name:44} {best * 1e3:6.1f} ms {middle * 1e3:6.1f} ms {cpu * 1e3:7.1f} ms "
                f"{best / own:13.2f}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=6)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the other libraries' own
        report(measure(options.rounds))


if __name__ == "__main__":
    main()
