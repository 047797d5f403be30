"""Freezing: wrappers are taken off, and what cannot be looked into is refused in a sentence."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vislib.errors import NetworkError
from vislib.network import Network


def plain() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()),
        nn.Sequential(nn.Conv2d(4, 6, 3), nn.ReLU()),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 3),
    ).eval()


def wrap(module: Any) -> Network:
    return Network.from_module(module, (1, 12, 12), device="cpu")


def compiled(module: nn.Module) -> nn.Module:
    return torch.compile(module, backend="eager")


def inside(wrapper: Callable[[nn.Module], nn.Module], *places: int) -> nn.Module:
    module = plain()
    for place in places:
        module[place] = wrapper(module[place])
    return module


def compiled_in_place() -> nn.Module:
    module = plain()
    module.compile(backend="eager")
    module[0].compile(backend="eager")
    return module


def compiled_forward() -> nn.Module:
    module = plain()
    module[1].forward = torch.compile(module[1].forward, backend="eager")
    return module


def distributed() -> nn.Module:
    """A network as a process of a distributed training holds it; the group is of this one process."""
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        return nn.parallel.DistributedDataParallel(plain())
    finally:
        torch.distributed.destroy_process_group()


WRAPPED: dict[str, Callable[[], nn.Module]] = {
    "torch.compile": lambda: compiled(plain()),
    "compiled in place": compiled_in_place,
    "a compiled forward": compiled_forward,
    "a compiled part": lambda: inside(compiled, 0),
    "compiled parts in a compiled whole": lambda: compiled(inside(compiled, 0, 1, 4)),
    "DataParallel": lambda: nn.DataParallel(plain()),
    "DataParallel of a compiled module": lambda: nn.DataParallel(compiled(plain())),
    "a part in DataParallel": lambda: inside(nn.DataParallel, 1),
    "DistributedDataParallel": distributed,
    "a moving average": lambda: torch.optim.swa_utils.AveragedModel(plain()),
}


@pytest.mark.parametrize("wrapper", WRAPPED)
def test_a_wrapped_network_is_the_network_that_was_wrapped(wrapper: str) -> None:
    module, expected = WRAPPED[wrapper](), wrap(plain())
    before = {name: value.clone() for name, value in module.state_dict().items()}
    network = wrap(module)
    assert list(network.layers.values()) == list(expected.layers.values())
    assert network.fingerprint == expected.fingerprint
    images = torch.rand(2, 1, 12, 12)
    for layer in expected.layers:
        got, true = (one.activations(images, [layer])[layer] for one in (network, expected))
        torch.testing.assert_close(got, true)
    after = module.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_a_part_of_that_very_name_is_no_wrapper() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self._orig_mod, self.module = plain(), nn.Linear(3, 2)

        def forward(self, images: Tensor) -> Tensor:
            return self.module(self._orig_mod(images))

    network = wrap(Named())
    assert network.layers["logits"].channels == 2
    assert "_orig_mod.0.0" in network.layers


def test_a_shared_part_in_a_wrapper_stays_shared() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = plain()
            self.again = compiled(self.first)

        def forward(self, images: Tensor) -> Tensor:
            return self.first(images) + self.again(images)

    network = wrap(Shared())
    assert network.module.first is network.module.again


class Holding(nn.Module):
    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.backbone = part

    def forward(self, images: Tensor) -> Tensor:
        return self.backbone(images)


def lazy() -> nn.Module:
    return nn.Sequential(nn.LazyConv2d(4, 3), nn.Flatten(), nn.LazyLinear(3))


def meta() -> nn.Module:
    with torch.device("meta"):
        return plain()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: torch.jit.script(plain()), "network is a TorchScript module"),
        (lambda: torch.jit.trace(plain(), torch.rand(1, 1, 12, 12)), "network is a TorchScript module"),
        (lambda: Holding(torch.jit.script(plain())), "part 'backbone' is a TorchScript module"),
        (lazy, "weight '0.weight' does not exist yet"),
        (meta, "weight '0.0.weight' has a shape but no values"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*torch.jit.*is deprecated:FutureWarning")
def test_what_cannot_be_looked_into_is_refused_in_a_sentence(make: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(NetworkError, match=sentence):
        wrap(make())


def test_a_lazy_module_that_was_run_opens_as_what_it_became() -> None:
    module = lazy()
    images = torch.rand(2, 1, 12, 12)
    expected = module(images)
    torch.testing.assert_close(wrap(copy.deepcopy(module)).logits(images), expected)


class Watching:
    """As other tools watch a layer: what it put out last is kept, with its graph."""

    def __init__(self, module: nn.Module) -> None:
        module.register_forward_hook(self.keep)
        self.features: list[Tensor] = []

    def keep(self, _module: nn.Module, _inputs: object, output: Tensor) -> None:
        self.features = [output]


def test_a_network_that_another_tool_watches_opens() -> None:
    module = plain()
    watching = Watching(module[0])
    images = torch.rand(2, 1, 12, 12, requires_grad=True)
    module(images)
    kept = watching.features
    torch.testing.assert_close(wrap(module).logits(images.detach()), wrap(plain()).logits(images.detach()))
    assert watching.features is kept  # it saw nothing of ours
