"""ReLU backward rules against hand-written formulas; functional, shared and in-place ReLUs; thread locality."""

import threading
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vislib.errors import NetworkError
from vislib.relu import RULES, relu_rule

# name -> (the call, its upper end, whether it works in place)
CALLS: dict[str, tuple[Callable[[Tensor], Tensor], float, bool]] = {
    "nn.ReLU": (nn.ReLU(), float("inf"), False),
    "nn.ReLU in place": (nn.ReLU(inplace=True), float("inf"), True),
    "F.relu": (F.relu, float("inf"), False),
    "F.relu in place, positional": (lambda x: F.relu(x, True), float("inf"), True),
    "F.relu_": (F.relu_, float("inf"), True),
    "torch.relu": (torch.relu, float("inf"), False),
    "torch.relu, keyword": (lambda x: torch.relu(input=x), float("inf"), False),
    "torch.relu_": (torch.relu_, float("inf"), True),
    "Tensor.relu": (lambda x: x.relu(), float("inf"), False),
    "Tensor.relu_": (lambda x: x.relu_(), float("inf"), True),
    "nn.ReLU6": (nn.ReLU6(), 6.0, False),
    "nn.ReLU6 in place": (nn.ReLU6(inplace=True), 6.0, True),
    "F.relu6": (F.relu6, 6.0, False),
    "F.relu6 in place": (lambda x: F.relu6(x, inplace=True), 6.0, True),
    "F.hardtanh from 0": (lambda x: F.hardtanh(x, 0.0, 2.0), 2.0, False),
    "F.hardtanh_ from 0": (lambda x: F.hardtanh_(x, 0.0, 2.0), 2.0, True),
}


def by_hand(rule: str, z: Tensor, above: Tensor, high: float) -> Tensor:
    """The formulas of relu_rule's docstring, one element after the other."""
    result = torch.zeros_like(above)
    for row in range(len(z)):
        zs, rs = z[row].flatten().tolist(), above[row].flatten().tolist()
        passes = [0 < value < high for value in zs]
        plain = [r if p else 0.0 for r, p in zip(rs, passes, strict=True)]
        if rule == "plain":
            out = plain
        elif rule == "deconvnet":
            out = [max(r, 0.0) for r in rs]
        elif rule == "guided":
            out = [max(r, 0.0) if p else 0.0 for r, p in zip(rs, passes, strict=True)]
        elif any(r != 0 for r in plain):
            out = plain
        else:
            out = [
                r if (v <= 0 and r > 0) or (v >= high and r < 0) else 0.0 for v, r in zip(zs, rs, strict=True)
            ]
        result[row] = torch.tensor(out, dtype=above.dtype).reshape(above[row].shape)
    return result


def batch(generator_seed: int = 0) -> tuple[Tensor, Tensor]:
    """Inputs and gradients from above: rows that are mixed, dead, saturated, and dead by their gradient."""
    generator = torch.Generator().manual_seed(generator_seed)
    z = 4 * torch.randn(4, 3, 4, 4, generator=generator, dtype=torch.float64)
    above = torch.randn(4, 3, 4, 4, generator=generator, dtype=torch.float64)
    z[1] = -z[1].abs()
    z[2] = 6.5 + z[2].abs()
    above[3][z[3] > 0] = 0
    return z, above


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("call", CALLS)
def test_each_rule_is_its_formula(rule: str, call: str) -> None:
    function, high, inplace = CALLS[call]
    z, above = batch()
    leaf = z.clone().requires_grad_()
    with relu_rule(rule) as relus:
        entered = leaf * 1.0
        result = function(entered)
    (grad,) = torch.autograd.grad((result * above).sum(), leaf)
    assert relus.calls == 1
    assert torch.equal(result, z.clamp(min=0, max=high))
    assert torch.equal(grad, by_hand(rule, z, above, high))
    assert (entered is result) == inplace
    assert torch.equal(entered, result if inplace else z)


@pytest.mark.parametrize("rule", RULES)
def test_in_place_on_a_view_changes_its_base(rule: str) -> None:
    z, above = batch(1)
    leaf = z.clone().requires_grad_()
    with relu_rule(rule):
        base = leaf * 1.0
        base[:, :2].relu_()
    (grad,) = torch.autograd.grad((base * above).sum(), leaf)
    expected = above.clone()
    expected[:, :2] = by_hand(rule, z[:, :2], above[:, :2], float("inf"))
    assert torch.equal(base, torch.cat([z[:, :2].clamp(min=0), z[:, 2:]], 1))
    assert torch.equal(grad, expected)


def test_redirect_treats_each_row_alone() -> None:
    z, above = batch()
    leaf = z.clone().requires_grad_()
    with relu_rule("redirect"):
        (together,) = torch.autograd.grad((F.relu(leaf) * above).sum(), leaf)
        rows = [
            torch.autograd.grad((F.relu(leaf[i : i + 1]) * above[i : i + 1]).sum(), leaf)[0] for i in range(4)
        ]
    assert torch.equal(together, sum(rows))
    assert together[1].abs().sum() > 0  # the dead row is alive again
    assert (together[1] >= 0).all()


class Shared(nn.Module):
    """One ReLU module called twice, and a functional one between."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.three = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.three(F.relu(self.two(self.relu(self.one(x))))))


def chain_by_hand(net: Shared, x: Tensor, above: Tensor, rule: str) -> Tensor:
    convs, seen = [net.one, net.two, net.three], []
    for conv in convs:
        z = conv(x)
        seen.append(z)
        x = z.clamp(min=0)
    for conv, z in zip(reversed(convs), reversed(seen), strict=True):
        gated = by_hand(rule, z.detach(), above, float("inf"))
        above = F.conv_transpose2d(gated, conv.weight, padding=1)
    return above


@pytest.mark.parametrize("rule", RULES)
def test_chain_of_shared_and_functional_relus(rule: str) -> None:
    torch.manual_seed(0)
    net = Shared().double().requires_grad_(False)
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64, requires_grad=True)
    above = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    with relu_rule(rule) as relus:
        result = net(x)
    (grad,) = torch.autograd.grad((result * above).sum(), x)
    assert relus.calls == 3
    assert torch.allclose(grad, chain_by_hand(net, x.detach(), above, rule), atol=1e-12)


def test_plain_is_no_rule_at_all_bit_for_bit() -> None:
    torch.manual_seed(1)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU6(inplace=True)
    ).requires_grad_(False)
    x = torch.randn(2, 3, 9, 9, requires_grad=True)

    def run() -> tuple[Tensor, Tensor]:
        result = net(x)
        return result, torch.autograd.grad(result.square().sum(), x)[0]

    without = run()
    with relu_rule("plain"):
        inside = run()
    assert all(torch.equal(a, b) for a, b in zip(without, inside, strict=True))


@pytest.mark.parametrize("other", [F.silu, F.gelu, F.leaky_relu, F.hardtanh, lambda x: x.clamp(min=0)])
def test_other_functions_are_left_alone(other: Callable[[Tensor], Tensor]) -> None:
    x = torch.randn(2, 5, requires_grad=True)
    (expected,) = torch.autograd.grad(other(x).sum(), x)
    with relu_rule("deconvnet") as relus:
        (grad,) = torch.autograd.grad(-other(x).sum(), x)
    assert relus.calls == 0
    assert torch.equal(grad, -expected)


def test_rule_ends_with_the_block_also_after_an_exception() -> None:
    x = torch.tensor([[-1.0, 2.0]], requires_grad=True)
    with pytest.raises(ZeroDivisionError), relu_rule("deconvnet"):
        raise ZeroDivisionError
    (grad,) = torch.autograd.grad(F.relu(x).sum(), x)
    assert grad.tolist() == [[0.0, 1.0]]


def test_rule_is_local_to_its_thread() -> None:
    inside, done = threading.Event(), threading.Event()
    counted: list[int] = []

    def other() -> None:
        with relu_rule("deconvnet") as relus:
            inside.set()
            assert done.wait(30)
        counted.append(relus.calls)

    thread = threading.Thread(target=other)
    thread.start()
    assert inside.wait(30)
    x = torch.tensor([[-1.0, 2.0]], requires_grad=True)
    (grad,) = torch.autograd.grad(F.relu(x).sum(), x)
    done.set()
    thread.join()
    assert grad.tolist() == [[0.0, 1.0]]
    assert counted == [0]


def test_second_derivative_passes_through() -> None:
    x = torch.tensor([[-1.0, 2.0]], dtype=torch.float64, requires_grad=True)
    with relu_rule("guided"):
        value = F.relu(x).pow(3).sum()
    (first,) = torch.autograd.grad(value, x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    assert second.tolist() == [[0.0, 12.0]]


def test_unknown_rule_names_the_rules() -> None:
    with pytest.raises(
        NetworkError, match="no ReLU rule 'giuded'; the rules are plain, deconvnet, guided, redirect"
    ):
        relu_rule("giuded")
