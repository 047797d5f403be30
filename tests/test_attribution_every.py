"""Every method of METHODS: over torchvision's families, on small networks of any shape, beside other threads."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from ascent_nets import small
from small_networks import not_a_number
from test_network_torchvision import FAMILIES, filled, without_initialisation
from torch import Tensor, nn

from vislib.attribution import METHODS, Attribution, Target, attribute, attribution_steps
from vislib.attribution.query import Query
from vislib.errors import AttributionError, NetworkError, VislibError
from vislib.network import Network
from vislib.parameters import Value

# The cheapest answer of each method that takes long.
CHEAP: dict[str, dict[str, Value]] = {
    "SmoothGrad": {"samples": 2},
    "Integrated gradients": {"steps": 2},
    "Score-CAM": {"channels": 2},
    "Occlusion": {"window": 32, "stride": 32},
    "Prediction difference": {"window": 32, "stride": 32, "samples": 1, "sampler": "marginal"},
}
# Refusals that are right: no global average pooling before one linear layer, or no images of the network's domain.
NO_HEAD = {"alexnet", "vgg11", "squeezenet1_0", "mobilenet_v3_small", "convnext_tiny"}
WITHOUT_RELUS = {"efficientnet_b0", "convnext_tiny"}


@contextmanager
def untouched(network: Network) -> Iterator[None]:
    """Weights, buffers, hooks, gradients and the mode of the module are as they were, whatever happens inside."""
    module = network.module
    versions = {name: tensor._version for name, tensor in module.state_dict().items()}
    # Large weights are not copied: autograd counts every change in place.
    kept = {name: tensor.clone() for name, tensor in module.state_dict().items() if tensor.numel() < 100_000}
    try:
        yield
    finally:
        state = module.state_dict()
        assert {name: tensor._version for name, tensor in state.items()} == versions
        assert all(torch.equal(state[name], tensor) for name, tensor in kept.items())
        assert not any(
            part._forward_hooks or part._forward_pre_hooks or part._backward_hooks
            for part in module.modules()
        )
        assert all(p.grad is None and not p.requires_grad for p in module.parameters())
        assert not any(part.training for part in module.modules())


def fits(answer: Attribution, network: Network, n: int) -> None:
    spatial = network.input_shape[1:]
    assert answer.values.shape == (n, *spatial)
    assert answer.raw.shape[0] == n
    assert answer.raw.ndim == answer.values.ndim
    assert answer.scores.shape == (n,)
    arrays = [answer.values, answer.raw, answer.scores, *answer.numbers.values()]
    if answer.colour is not None:
        assert answer.colour.shape == (n, *network.input_shape)
        arrays.append(answer.colour)
    for array in arrays:
        assert array.dtype == np.float32
        assert np.isfinite(array).all()
    assert answer.signed or (answer.values >= 0).all()
    assert answer.done


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "inception_v3"])
def test_every_method_answers_or_refuses_for_every_family(family: str) -> None:
    make, options, side, *_ = FAMILIES[family]
    with without_initialisation(), torch.no_grad():
        module = make(weights=None, **options)
        if family in ("alexnet", "vgg11"):  # three linear layers as they have, of fewer units
            features = module.classifier[1 if family == "alexnet" else 0].in_features
            parts = [
                nn.Linear(features, 64),
                nn.ReLU(True),
                nn.Linear(64, 64),
                nn.ReLU(True),
                nn.Linear(64, 1000),
            ]
            module.classifier = nn.Sequential(*parts)
        filled(module)
    network = Network.from_module(module, (3, side, side), name=family, device="cpu")
    images = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(1))
    refused: dict[str, str] = {}
    with untouched(network):
        for name in METHODS:
            try:
                answer = attribute(network, images, 7, name, **CHEAP.get(name, {}))
            except AttributionError as error:
                refused[name] = str(error)
                continue
            fits(answer, network, 1)
            said = any("met no ReLU" in note for note in answer.notes)
            needs_relus = "ReLUs" in METHODS[name].needs
            assert said == (needs_relus and family in WITHOUT_RELUS)
    assert set(refused) - {"Prediction difference"} == ({"CAM"} if family in NO_HEAD else set())
    for sentence in refused.values():
        assert sentence.endswith(".")
        assert family in sentence


def any_shape(dims: int, channels: int) -> Network:
    """A functional network with a skip, a shared in-place ReLU, 1 to 3 spatial axes and any number of channels."""
    conv = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[dims]
    pool = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}[dims]

    class Skipping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.three = (
                conv(channels, 4, 3, 1, 1),
                conv(4, 4, 3, 1, 1),
                conv(4, 5, 3, 1, 1),
            )
            self.relu, self.head = nn.ReLU(inplace=True), nn.Linear(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            before = self.relu(self.one(x))
            x = pool(self.relu(self.two(before) + before), 2)
            return self.head(self.relu(self.three(x)).flatten(2).mean(2))

    torch.manual_seed(0)
    return Network.from_module(
        Skipping(),
        (channels, *[{1: 40, 2: 16, 3: 8}[dims]] * dims),
        mean=(0.4,),
        std=(0.3,),
        name="any",
        device="cpu",
    )


@pytest.mark.parametrize(("dims", "channels"), [(1, 2), (2, 1), (2, 4), (3, 1), (3, 2)])
def test_any_channels_any_axes_alone_or_in_a_batch(dims: int, channels: int) -> None:
    network = any_shape(dims, channels)
    images = torch.rand(3, *network.input_shape, generator=torch.Generator().manual_seed(2))
    sizes = {"window": 8, "stride": 8}
    for name in METHODS:
        options = CHEAP.get(name, {}) | (sizes if "window" in CHEAP.get(name, {}) else {})
        for target in (Target((0, 2, 1)), Target(1, against=0), Target(2, layer="three")):
            if target.layer != "logits" and (name == "CAM" or METHODS[name].family == "perturbation"):
                continue  # CAM explains classes alone; the others have tests of their own
            if METHODS[name].check(network):  # it knows no images of this network's domain
                assert name == "Prediction difference"
                continue
            with untouched(network):
                together = attribute(network, images, target, name, **options)
            fits(together, network, 3)
            alone = attribute(network, images[1:2], Target(2, layer=target.layer, against=target.against)
                              if isinstance(target.unit, tuple) else target, name, **options)  # fmt: skip
            scale = max(1e-12, float(np.abs(together.values).max()))
            if "sampler" not in options and options.get("fill") != "noise":
                assert float(np.abs(alone.values[0] - together.values[1]).max()) <= 1e-4 * scale


@pytest.mark.parametrize("name", METHODS)
def test_a_closed_generator_leaves_nothing_behind(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = small(channels=3)
    images = torch.rand(2, *network.input_shape)
    monkeypatch.setattr(Query, "batch_size", lambda _self, *, gradients=False: 2)
    monkeypatch.setattr(network, "domain", lambda: torch.rand(40, *network.input_shape))
    options = {"Occlusion": {}, "Prediction difference": {"samples": 1, "window": 12, "stride": 6}}.get(
        name, {}
    )
    with untouched(network):
        steps = attribution_steps(network, images, 1, name, **options)
        first = next(steps)
        assert first.values.shape == (2, 40, 40)
        if not first.done:
            kept = first.values.copy()
            next(steps)
            np.testing.assert_array_equal(first.values, kept)  # never written to after it was yielded
        steps.close()
    assert network._lock.acquire(blocking=False)
    network._lock.release()


@pytest.mark.parametrize("name", METHODS)
def test_a_module_that_fails_leaves_nothing_behind(name: str) -> None:
    module = not_a_number()
    network = Network.from_module(module, (1, 16, 16), name="odd", device="cpu")
    images = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0)) * 40
    options = {"window": 4, "stride": 4} if "window" in CHEAP.get(name, {}) else {}
    with untouched(network), pytest.raises(AttributionError, match=r"not finite|CAM needs|domain"):
        attribute(network, images, 1, name, **options)

    class Trips(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(1, 4, 3), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            if float(x.detach().max()) > 0.9999:
                raise RuntimeError("the camera is on fire")
            return self.head(self.conv(x).relu().mean((2, 3)))

    network = Network.from_module(Trips(), (1, 16, 16), name="trips", device="cpu")
    with untouched(network), pytest.raises(VislibError, match=r"the camera is on fire|domain"):
        attribute(network, torch.ones(1, 1, 16, 16), 1, name, **options)


PAIRS = [
    ("Guided backprop", "Saliency"),
    ("Deconvnet", "Grad-CAM"),
    ("Deconvolution", "LayerCAM"),
    ("SmoothGrad", "Integrated gradients"),
    ("Score-CAM", "Guided Grad-CAM"),
]


@pytest.mark.parametrize("pair", PAIRS, ids=" and ".join)
def test_two_threads_with_two_methods_answer_as_one_after_the_other(pair: tuple[str, str]) -> None:
    network = any_shape(2, 1)
    images = torch.rand(1, *network.input_shape, generator=torch.Generator().manual_seed(5))
    options = {name: CHEAP.get(name, {}) for name in pair}
    expected = {name: attribute(network, images, Target(1), name, **options[name]).values for name in pair}
    barrier = threading.Barrier(2, timeout=60)
    wrong: list[str] = []

    def ask(name: str) -> None:
        for _ in range(30):
            barrier.wait()
            got = attribute(network, images, Target(1), name, **options[name]).values
            if float(np.abs(got - expected[name]).max()) > 1e-5 * float(np.abs(expected[name]).max()):
                wrong.append(name)

    threads = [threading.Thread(target=ask, args=(name,)) for name in pair]
    with untouched(network):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(100)
    assert not any(thread.is_alive() for thread in threads)
    assert wrong == []


def test_an_unknown_layer_is_refused_by_every_method_that_takes_one() -> None:
    network = any_shape(2, 1)
    images = torch.rand(1, *network.input_shape)
    for name, one in METHODS.items():
        if {"layer", "GAP head"} & set(one.needs):
            with pytest.raises(NetworkError, match="no layer 'four'"):
                attribution_steps(network, images, 0, name, layer="four")
