"""Passes through a network: they stop early, change nothing, survive errors, and run beside each other in threads."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from network_making import Brain, Head, brain, wrap
from torch import Tensor, nn

from vislib.errors import NetworkError
from vislib.network import Network

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def state(module: nn.Module) -> list[Any]:
    """All that a call might change: values, gradients, flags, hooks."""
    values = [t.clone() for t in (*module.parameters(), *module.buffers())]
    flags = [(p.requires_grad, p.grad is None) for p in module.parameters()]
    parts = [(part.training, *(len(getattr(part, hooks)) for hooks in HOOKS)) for part in module.modules()]
    return [values, flags, parts]


def same(one: list[Any], other: list[Any]) -> bool:
    return one[1:] == other[1:] and all(torch.equal(a, b) for a, b in zip(one[0], other[0], strict=True))


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
