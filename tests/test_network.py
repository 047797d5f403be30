"""Network: layers, captures, early stop, errors and threads, on small networks made for each question."""

import threading
import time
from collections import namedtuple
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from vislib.errors import NetworkError
from vislib.network import Layer, Network

CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
NORM = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
GLOBAL = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def wrap(module: nn.Module, shape: Sequence[int] = (1, 16, 16), **options: Any) -> Network:
    return Network.from_module(module, shape, device="cpu", **options)


def shuffle_norms(module: nn.Module) -> nn.Module:
    """Batch norms that do something: fresh ones are the identity."""
    for part in module.modules():
        if isinstance(part, tuple(NORM.values())):
            nn.init.uniform_(part.running_mean, -1, 1)
            nn.init.uniform_(part.running_var, 0.5, 2)
            nn.init.uniform_(part.weight, 0.5, 2)
            nn.init.uniform_(part.bias, -1, 1)
    return module


class Brain(nn.Module):
    """The shape of the default network: named convolutions, batch norms, in-place ReLUs, GAP, one linear layer."""

    def __init__(self, axes: int = 2, channels: Sequence[int] = (4, 6, 8), classes: int = 3) -> None:
        super().__init__()
        before = 1
        for i, after in enumerate(channels, 1):
            setattr(self, f"conv{i}", CONV[axes](before, after, 3, padding=1, stride=1 + (i == 2)))
            setattr(self, f"bn{i}", NORM[axes](after))
            before = after
        self.depth = len(channels)
        self.relu = nn.ReLU(inplace=True)
        self.pool = GLOBAL[axes](1)
        self.fc = nn.Linear(before, classes)

    def forward(self, x: Tensor) -> Tensor:
        for i in range(1, self.depth + 1):
            x = self.relu(getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(x)))
        return self.fc(self.pool(x).flatten(1))


def brain(**options: Any) -> nn.Module:
    torch.manual_seed(0)
    return shuffle_norms(Brain(**options)).eval()


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.one = nn.Conv2d(channels, channels, 3, padding=1)
        self.two = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.two(F.relu(self.one(x), inplace=True)))


class Head(nn.Sequential):
    def __init__(self, channels: int, classes: int = 3) -> None:
        super().__init__(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


def facts(network: Network) -> list[tuple[str, str, str]]:
    return [(layer.name, layer.kind, layer.capture) for layer in network.layers.values()]


def state(module: nn.Module) -> list[Any]:
    """All that a call might change: values, gradients, flags, hooks."""
    values = [t.clone() for t in (*module.parameters(), *module.buffers())]
    flags = [(p.requires_grad, p.grad is None) for p in module.parameters()]
    parts = [(part.training, *(len(getattr(part, hooks)) for hooks in HOOKS)) for part in module.modules()]
    return [values, flags, parts]


def same(one: list[Any], other: list[Any]) -> bool:
    return one[1:] == other[1:] and all(torch.equal(a, b) for a, b in zip(one[0], other[0], strict=True))


def test_layers_of_a_plain_network() -> None:
    network = wrap(brain(), (1, 16, 12))
    assert list(network.layers.values()) == [
        Layer("conv1", "conv", 4, (16, 12), "bn1", True),
        Layer("conv2", "conv", 6, (8, 6), "bn2", True),
        Layer("conv3", "conv", 8, (8, 6), "bn3", True),
        Layer("logits", "logits", 3, (), ""),
    ]
    assert network.layer("fc") is network.layers["logits"]
    assert network.opening == "conv2"
    assert wrap(brain(), (1, 16, 12), opening="fc").opening == "logits"


def test_captures_are_read_before_the_relu_and_after_the_norm() -> None:
    module = brain()
    network = wrap(module)
    images = torch.rand(3, 1, 16, 16)
    first = module.bn1(module.conv1(images))
    second = module.bn2(module.conv2(first.clamp(min=0)))
    third = module.bn3(module.conv3(second.clamp(min=0)))
    expected = {"conv1": first, "conv2": second, "conv3": third, "fc": module(images)}
    got = network.activations(images, expected)
    assert list(got) == list(expected)
    for name, value in expected.items():
        assert torch.allclose(got[name], value, atol=1e-5), name
        assert (value < 0).any()


def test_norm_after_the_relu_is_not_the_convolution() -> None:
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True), nn.BatchNorm2d(2), Head(2))
    assert facts(wrap(module))[0] == ("0", "conv", "0")


def test_dense_layers_but_not_the_one_whose_output_is_the_logits() -> None:
    dense = nn.Sequential(nn.Linear(8, 5), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(5, 3), nn.Dropout())
    module = nn.Sequential(nn.Conv2d(1, 2, 3, stride=7), nn.Flatten(), dense)
    network = wrap(module, (1, 14, 14))
    assert facts(network) == [("0", "conv", "0"), ("2.0", "dense", "2.0"), ("logits", "logits", "")]
    assert network.layers["2.0"].spatial == ()
    for alias in ("2", "2.3", "2.4"):
        assert network.layer(alias).name == "logits"
    images = torch.rand(2, 1, 14, 14)
    before_relu = dense[0](module[0](images).flatten(1))
    assert torch.allclose(network.activations(images, ["2.0"])["2.0"], before_relu, atol=1e-6)


def test_nested_blocks_with_one_output_are_one_layer() -> None:
    stages = [nn.Sequential(Residual(4), Residual(4)) for _ in range(2)]
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Sequential(*stages), Head(4))
    network = wrap(module)
    blocks = [layer.name for layer in network.layers.values() if layer.kind == "block"]
    assert blocks == ["1.0.0", "1.0", "1.1.0", "1.1"]
    assert [network.layer(name).name for name in ("1.0.1", "1.1.1", "1")] == ["1.0", "1.1", "1.1"]
    images = torch.rand(2, 1, 16, 16)
    expected = module[1](module[0](images))
    got = network.activations(images, ["1", "1.1", "1.1.1"])
    assert all(torch.allclose(got[name], expected, atol=1e-6) for name in ("1", "1.1", "1.1.1"))


def test_flat_trunk_and_wrapped_convolution_stand_for_their_convolution() -> None:
    def unit(before: int, after: int) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(before, after, 3), nn.BatchNorm2d(after), nn.ReLU())

    network = wrap(nn.Sequential(nn.Sequential(unit(1, 2), unit(2, 4), nn.MaxPool2d(2)), Head(4)))
    assert facts(network) == [
        ("0.0.0", "conv", "0.0.1"),
        ("0.1.0", "conv", "0.1.1"),
        ("logits", "logits", ""),
    ]
    assert [network.layer(name).name for name in ("0.0", "0.1", "0")] == ["0.0.0", "0.1.0", "0.1.0"]


def test_block_of_one_convolution_and_a_residual_is_a_block() -> None:
    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(2, 2, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return x + F.relu(self.conv(x))

    network = wrap(nn.Sequential(nn.Conv2d(1, 2, 3), Small(), Small(), Head(2)))
    assert [f[:2] for f in facts(network)] == [
        ("0", "conv"),
        ("1.conv", "conv"),
        ("1", "block"),
        ("2.conv", "conv"),
        ("2", "block"),
        ("logits", "logits"),
    ]


def test_parallel_branches_are_a_block() -> None:
    class Fire(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Conv2d(2, 3, 1), nn.Conv2d(2, 4, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([F.relu(self.left(x)), F.relu(self.right(x))], 1)

    network = wrap(nn.Sequential(nn.Conv2d(1, 2, 3), Fire(), Head(7)))
    assert network.layers["1"] == Layer("1", "block", 7, (14, 14), "1")


def test_block_changed_in_place_afterwards_is_captured_before() -> None:
    module = nn.Sequential(
        nn.Conv2d(1, 2, 3), Residual(2), Residual(2), nn.Hardtanh(0.1, 0.2, inplace=True), Head(2)
    )
    network = wrap(module)
    images = torch.rand(2, 1, 16, 16)
    expected = module[2](module[1](module[0](images)))
    got = network.activations(images, ["2", "logits"])
    assert torch.allclose(got["2"], expected, atol=1e-6)
    assert (expected > 0.2).any()


def test_shared_module_counts_with_its_first_call() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = nn.Conv2d(1, 1, 3), nn.Linear(1, 2)
            self.again = self.conv

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.again(self.conv(x)).mean((2, 3)))

    module = Twice()
    network = wrap(module)
    assert network.layers["conv"].spatial == (14, 14)
    assert network.layer("again") is network.layers["conv"]
    images = torch.rand(2, 1, 16, 16)
    got = network.activations(images, ["conv", "again", "logits"])
    assert torch.allclose(got["conv"], F.conv2d(images, module.conv.weight, module.conv.bias), atol=1e-6)
    assert torch.equal(got["again"], got["conv"])


@pytest.mark.parametrize(
    "pack",
    [
        lambda y: {"features": y + 1, "logits": y},
        lambda y: {"aux": y + 1, "out": y},
        lambda y: {"first": y},
        lambda y: namedtuple("Output", "scores aux")(y, None),
        lambda y: [None, (y,)],
    ],
)
def test_outputs_that_are_not_one_tensor(pack: Callable[[Tensor], Any]) -> None:
    class Packed(Brain):
        def forward(self, x: Tensor) -> Any:
            return pack(super().forward(x))

    torch.manual_seed(0)
    module = shuffle_norms(Packed()).eval()
    network = wrap(module)
    images = torch.rand(2, 1, 16, 16)
    assert network.layers["logits"].channels == 3
    assert torch.allclose(network.logits(images), Brain.forward(module, images), atol=1e-5)


def test_fully_convolutional_logits_are_averaged_over_positions() -> None:
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3))
    network = wrap(module, labels=tuple("abcde"))
    assert network.layers["logits"] == Layer("logits", "logits", 5, (12, 12), "")
    assert network.layer("2").name == "logits"
    images = torch.rand(2, 1, 16, 16)
    assert torch.allclose(network.logits(images), module(images).mean((2, 3)), atol=1e-6)
    assert network.activations(images, ["logits"])["logits"].shape == (2, 5, 12, 12)


@settings(max_examples=20, phases=[Phase.generate])
@given(
    axes=st.integers(1, 3),
    channels=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    inputs=st.integers(1, 3),
    norm=st.booleans(),
    inplace=st.booleans(),
    seed=st.integers(0, 99),
)
def test_any_small_network(
    axes: int, channels: list[int], inputs: int, norm: bool, inplace: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    parts: list[nn.Module] = []
    names, before = [], inputs
    for after in channels:
        names.append(str(len(parts)))
        parts += [CONV[axes](before, after, 3, padding=1), *([NORM[axes](after)] if norm else [])]
        parts.append(nn.ReLU(inplace=inplace))
        before = after
    parts += [GLOBAL[axes](1), nn.Flatten(), nn.Linear(before, 2)]
    module = shuffle_norms(nn.Sequential(*parts)).double().eval()
    mean, std = [0.1 * i for i in range(inputs)], [0.5 + i for i in range(inputs)]
    sizes = (7, 6, 5)[:axes]
    network = wrap(module, (inputs, *sizes), mean=mean, std=std)
    images = torch.rand(2, inputs, *sizes, dtype=torch.float64, requires_grad=True)

    shift = torch.tensor(mean, dtype=torch.float64).view(1, -1, *[1] * axes)
    x = (images - shift) / torch.tensor(std, dtype=torch.float64).view(1, -1, *[1] * axes)
    for name, after in zip(names, channels, strict=True):
        x = module[int(name)](x.clamp(min=0) if name != "0" else x)
        x = module[int(name) + 1](x) if norm else x
        assert network.layers[name] == Layer(name, "conv", after, sizes, str(int(name) + norm), True)
        got = network.activations(images, [name])[name]
        assert torch.allclose(got, x)
        expected, grad = (
            torch.autograd.grad(v.square().sum(), images, retain_graph=True)[0] for v in (x, got)
        )
        assert torch.allclose(grad, expected)
    assert [layer.kind for layer in network.layers.values()] == ["conv"] * len(names) + ["logits"]
    scores = module[-1](x.clamp(min=0).flatten(2).mean(2))
    assert torch.allclose(network.logits(images), scores)
    assert torch.allclose(network.logits(images[1:]), scores[1:])  # rows do not see each other


def test_images_of_another_size() -> None:
    module = brain()
    images = torch.rand(2, 1, 40, 28)
    assert torch.allclose(wrap(module).logits(images), module(images), atol=1e-5)


class Counting(nn.Module):
    """Counts its calls, and raises when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.error = [], None

    def forward(self, x: Tensor) -> Tensor:
        self.calls.append(threading.get_ident())
        if self.error is not None:
            raise self.error
        return x


class Stubborn(nn.Module):
    """Swallows what its parts raise."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.late, self.fc = nn.Conv2d(1, 2, 3), Counting(), nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        try:
            x = self.conv(x)
        except Exception:
            x = torch.zeros(len(x), 2, 1, 1)
        return self.fc(self.late(x).mean((2, 3)))


def test_forward_stops_at_the_last_layer_asked_for() -> None:
    late = Counting()
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 2, 3), late, nn.ReLU(), Head(2))
    network = wrap(module)
    seen = len(network.module[3].calls)
    network.activations(torch.rand(1, 1, 16, 16), ["2", "0"])
    assert len(network.module[3].calls) == seen
    network.activations(torch.rand(1, 1, 16, 16), ["2", "logits"])
    assert len(network.module[3].calls) == seen + 1
    assert network.activations(torch.rand(1, 1, 16, 16), []) == {}


def test_no_module_can_swallow_the_stop() -> None:
    network = wrap(Stubborn())
    before = len(network.module.late.calls)
    got = network.activations(torch.rand(1, 1, 16, 16), ["conv"])["conv"]
    assert got.shape == (1, 2, 14, 14)
    assert len(network.module.late.calls) == before


def test_nothing_changes_in_the_modules() -> None:
    module = brain().train()
    module.conv1.register_forward_hook(lambda *_: None)
    theirs = state(module)
    network = wrap(module)
    ours = state(network.module)
    assert not any(
        p.requires_grad or part.training for part in network.module.modules() for p in part.parameters()
    )
    images = torch.rand(2, 1, 16, 16, requires_grad=True)
    torch.autograd.grad(network.logits(images).sum(), images)
    network.activations(images, ["conv1", "conv2"])
    with pytest.raises(NetworkError):
        network.activations(torch.rand(2, 2, 16, 16), ["conv1"])
    with pytest.raises(NetworkError):
        network.activations(images, ["conv1", "conv9"])
    assert same(ours, state(network.module))
    assert same(theirs, state(module))
    assert all(p.requires_grad for p in module.parameters())
    with torch.no_grad():
        module.conv1.weight.zero_()
    assert network.module.conv1.weight.abs().sum() > 0


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ValueError("boom.\nmore"), r"^toy cannot run images of shape \(2, 1, 16, 16\): its module '1' raised "
         r"ValueError \(boom\); it was made for images of shape \(1, 16, 16\) each\.$"),
        (KeyError(), r"raised KeyError \(no message\)"),
        (torch.OutOfMemoryError("CUDA out of memory"), "^toy ran out of memory on cpu .* use fewer units at once"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "^toy ran out of memory on cpu"),
        (MemoryError(), "^toy ran out of memory on cpu"),
    ],
)  # fmt: skip
def test_module_that_raises_is_one_sentence_and_leaves_no_hook(error: Exception, sentence: str) -> None:
    module = nn.Sequential(nn.Conv2d(1, 2, 3), Counting(), nn.ReLU(), Head(2))
    network = wrap(module, name="toy")
    before = state(network.module)
    network.module[1].error = error
    with pytest.raises(NetworkError, match=sentence) as caught:
        network.logits(torch.rand(2, 1, 16, 16))
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is error
    with pytest.raises(NetworkError, match=sentence):
        network.activations(torch.rand(2, 1, 16, 16), ["0", "logits"])
    assert network.activations(torch.rand(2, 1, 16, 16), ["0"])["0"].shape == (2, 2, 14, 14)
    network.module[1].error = None
    assert same(before, state(network.module))
    module[1].error = error
    with pytest.raises(NetworkError, match=sentence):
        wrap(module, name="toy")


def test_layer_that_this_input_does_not_reach() -> None:
    class Choosy(Brain):
        def forward(self, x: Tensor) -> Tensor:
            if x.shape[-1] > 16:
                return self.fc(x.mean((2, 3)).expand(-1, 8))
            return super().forward(x)

    network = wrap(Choosy(), name="choosy")
    with pytest.raises(NetworkError, match=r"conv2' was not reached by images of shape \(1, 1, 32, 32\)"):
        network.activations(torch.rand(1, 1, 32, 32), ["conv2"])
    assert all(not getattr(part, hooks) for part in network.module.modules() for hooks in HOOKS)


def test_threads_at_once_get_their_own_answers() -> None:
    module = brain()
    network = wrap(module)
    images = {
        seed: torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(seed)) for seed in range(4)
    }
    names = ["conv1", "conv2", "conv3", "logits"]
    expected = {seed: network.activations(x, names) for seed, x in images.items()}
    wrong: list[str] = []
    start = threading.Barrier(5)

    def ask(seed: int) -> None:
        start.wait()
        for turn in range(40):
            chosen = [names[(turn + seed) % 4], names[turn % 4]]
            got = network.activations(images[seed], chosen)
            wrong.extend(n for n in chosen if not torch.allclose(got[n], expected[seed][n], atol=1e-5))
            if got.keys() != set(chosen):
                wrong.append(str(got.keys()))

    def run_directly() -> None:
        start.wait()
        for _ in range(60):  # past the network's back: hooks of others must neither stop nor feed on it
            out = network.module(images[0])
            if not torch.allclose(out, expected[0]["logits"], atol=1e-5):
                wrong.append("direct")

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in images]
    threads.append(threading.Thread(target=run_directly))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert all(not getattr(part, hooks) for part in network.module.modules() for hooks in HOOKS)


def test_fingerprint_names_architecture_weights_and_preprocessing() -> None:
    one = wrap(brain())
    assert one.fingerprint == wrap(brain().train(), name="other", labels=tuple("abc")).fingerprint
    assert len(one.fingerprint) == 16
    assert int(one.fingerprint, 16) >= 0
    changed = brain()
    with torch.no_grad():
        changed.conv2.weight.view(-1)[3] += 1e-3
    buffered = brain()
    buffered.bn1.running_mean[0] += 1
    others = [wrap(changed), wrap(buffered), wrap(brain(), (1, 16, 17)), wrap(brain(), mean=(0.5,))]
    others += [wrap(brain(), std=(0.5,)), wrap(brain(channels=(4, 6, 9)))]
    assert len({network.fingerprint for network in (one, *others)}) == 7


def test_unknown_layer_and_unit() -> None:
    network = wrap(brain(), name="brain2d")
    with pytest.raises(NetworkError) as caught:
        network.layer("conv9")
    assert str(caught.value) == "brain2d has no layer 'conv9'; its layers are conv1, conv2, conv3, logits."
    assert network.check_units("conv2", [0, torch.tensor(5), True]) == (0, 5, 1)
    for unit in (6, -1):
        with pytest.raises(NetworkError) as caught:
            network.check_units("conv2", [1, unit])
        assert str(caught.value) == f"brain2d's layer 'conv2' has no unit {unit}; its units are 0 to 5."
    with pytest.raises(NetworkError, match="1 label but puts out 3 classes"):
        wrap(brain(), labels=("one",))


@pytest.mark.parametrize("shape", [(1, 2, 16, 16), (2, 1, 16), (2, 1, 4, 16, 16)])
def test_images_that_do_not_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(
        NetworkError, match=r"toy was given images of shape .*; it takes \(n, 1, 16, 16\), or other"
    ):
        wrap(brain(), name="toy").logits(torch.rand(shape))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"shape": (1,)}, r"input shape \(1,\)"),
        ({"shape": (1, 0, 16)}, r"input shape \(1, 0, 16\); it must be channels and one to three"),
        ({"shape": (1, 2.5, 16)}, "input shape"),
        (
            {"shape": (3, 16, 16)},
            r"toy cannot run images of shape \(2, 3, 16, 16\): its module 'conv1' raised",
        ),
        (
            {"mean": (0.1, 0.2)},
            r"mean \(0.1, 0.2\); it must be one finite number, or one for each channel \(of 1\)",
        ),
        ({"std": (float("nan"),)}, "std"),
        ({"std": (0.0,)}, r"std \(0.0,\); every number of it must be above 0"),
        ({"labels": ("a", "b")}, "2 labels but puts out 3 classes"),
        ({"spacing": (1.0,)}, "spacing .* 2 spatial axes"),
        ({"opening": "conv7"}, "no layer 'conv7'"),
    ],
)
def test_from_module_says_what_does_not_fit(options: dict[str, Any], sentence: str) -> None:
    shape = options.pop("shape", (1, 16, 16))
    with pytest.raises(NetworkError, match=sentence):
        wrap(brain(), shape, name="toy", **options)


@pytest.mark.parametrize(
    "output", [lambda x: None, lambda x: x.sum(), lambda x: x.sum((0, 2, 3), keepdim=True)]
)
def test_output_that_is_no_class_score(output: Callable[[Tensor], Any]) -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return output(x)

    with pytest.raises(
        NetworkError, match=r"odd gave .* for 2 images .* class scores of shape \(images, classes\)"
    ):
        wrap(Odd(), name="odd")


def test_module_that_cannot_be_copied() -> None:
    module = brain()
    module.stuck = threading.Lock()
    with pytest.raises(NetworkError, match="toy could not be copied to cpu: TypeError"):
        wrap(module, name="toy")


class Forgetful(nn.Module):
    """Keeps a thing of its forward pass in itself for a while, as modules may."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv2d(1, 3, 3), nn.Linear(3, 2)

    def forward(self, images: Tensor) -> Tensor:
        self.kept = self.conv(images)
        time.sleep(0.02)
        return self.last(self.kept.mean((2, 3)))


RUNNING, GO_ON = threading.Event(), threading.Event()


class _Waits(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        RUNNING.set()
        assert GO_ON.wait(60)
        return self.conv(x).mean((2, 3))


@pytest.mark.parametrize("way", ["twin", "copied"])
def test_a_copy_that_is_made_while_another_thread_runs_the_module_has_none_of_its_hooks(way: str) -> None:
    GO_ON.set()
    network = Network.from_module(_Waits(), (1, 8, 8), device="cpu")
    image = torch.rand(1, 1, 8, 8)
    GO_ON.clear()
    RUNNING.clear()
    with ThreadPoolExecutor(2) as pool:
        try:
            run = pool.submit(network.activations, image, ["conv"])
            assert RUNNING.wait(60)
            made = pool.submit(getattr(network, way))
            with pytest.raises(TimeoutError):  # it waits for the pass to end
                made.result(0.3)
        finally:
            GO_ON.set()
        copied = made.result()
        run.result()
    module = copied.module if isinstance(copied, Network) else copied
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())


def test_a_twin_shares_the_weights_and_runs_at_the_same_time() -> None:
    network = wrap(Forgetful(), mean=(0.3,), std=(0.5,))
    twin = network.twin()
    pairs = list(zip(network.module.parameters(), twin.module.parameters(), strict=True))
    assert len(pairs) == 4
    assert all(one is other for one, other in pairs)
    assert not set(network.module.modules()) & set(twin.module.modules())
    images = [torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(seed)) for seed in range(2)]
    alone = [network.logits(image) for image in images]
    with ThreadPoolExecutor(2) as pool:
        for _ in range(5):
            together = list(pool.map(lambda n, image: n.logits(image), (network, twin), images))
            assert all(torch.equal(one, other) for one, other in zip(alone, together, strict=True))
    assert twin.fingerprint == network.fingerprint


def test_a_module_that_writes_into_its_input_does_not_touch_the_callers_images() -> None:
    network = wrap(nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(1, 2, 3), Head(2)), (1, 8, 8))
    images = torch.randn(2, 1, 8, 8)
    before = images.clone()
    network.logits(images)
    assert torch.equal(images, before)


class _OfOne(nn.Module):
    """A batch of one is built in, by a view or by the state of a recurrent layer."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.conv, self.recurrent, self.head = (
            nn.Conv2d(1, 4, 3),
            nn.GRU(4, 4, batch_first=True),
            nn.Linear(4, 3),
        )
        self.how, self.state = how, torch.zeros(1, 1, 4)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.conv(images)
        if self.how == "view":
            return self.head(maps.reshape(1, 4, -1).mean(2))
        return self.head(self.recurrent(maps.flatten(2).movedim(1, 2), self.state)[0][:, -1])


@pytest.mark.parametrize(
    ("how", "said"),
    [("view", r"not for a batch of one alone, as a view"), ("state", "takes one image at a time")],
)
def test_a_network_that_takes_one_image_at_a_time_is_told_why_it_is_refused(how: str, said: str) -> None:
    with pytest.raises(NetworkError, match=said):
        Network.from_module(_OfOne(how), (1, 12, 12), name="alone", device="cpu")
