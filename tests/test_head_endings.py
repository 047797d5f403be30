"""What a network does after its last softmax or sigmoid: scores are read in one way for every image."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vislib.attribution import attribute
from vislib.errors import NetworkError
from vislib.network import Network


class Ending(nn.Module):
    """Logits that are large for bright images, and what is made of them."""

    def __init__(self, end: Callable[[Tensor], object]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.head, self.end = nn.Conv2d(1, 6, 3), nn.Linear(6, 3), end

    def logits(self, images: Tensor) -> Tensor:
        bright = images.mean((1, 2, 3))[:, None] * torch.tensor([0.0, 0.0, 28.0])
        return self.head(F.relu(self.conv(images)).mean((2, 3))) * 4 + bright

    def forward(self, images: Tensor) -> object:
        return self.end(self.logits(images))


def opened(end: Callable[[Tensor], object]) -> Network:
    return Network.from_module(Ending(end).eval(), (1, 16, 16), device="cpu")


def overwritten(p: Tensor) -> Tensor:
    p[p < 1e-7] = 1e-7
    return p


SAME: dict[str, Callable[[Tensor], Tensor]] = {
    "view": lambda z: z.softmax(1).view(-1, 3, 1, 1),
    "flatten": lambda z: z.softmax(1)[:, :, None].flatten(1),
    "all of it": lambda z: z.softmax(1)[:, :],
    "clone": lambda z: z.softmax(1).clone().contiguous(),
}
CHANGED: dict[str, Callable[[Tensor], Tensor]] = {
    "clamp": lambda z: z.softmax(1).clamp(1e-7, 1),
    "clamp in place": lambda z: z.softmax(1).clamp_(1e-7, 1),
    "written": lambda z: overwritten(z.softmax(1)),
    "maximum": lambda z: torch.maximum(z.softmax(1), torch.tensor(1e-7)),
    "times one": lambda z: z.softmax(1) * 1.0,
}
IN_PLACE = {"clamp in place", "written"}
DARK = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(1)) * 0.2
BRIGHT = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(2)) * 0.3 + 0.7


@pytest.mark.parametrize("kind", SAME | CHANGED)
def test_an_images_scores_do_not_depend_on_the_others(kind: str) -> None:
    network = opened((SAME | CHANGED)[kind])
    alone, beside = network.logits(DARK), network.logits(torch.cat([DARK, BRIGHT]))[:1]
    assert torch.allclose(alone, beside, atol=1e-5)
    if kind not in IN_PLACE:  # of which torch has no gradient
        one, both = (
            attribute(network, images, 1, "Saliency").values for images in (DARK, torch.cat([DARK, BRIGHT]))
        )
        assert np.abs(one[0] - both[0]).max() <= 1e-4 * np.abs(one).max()
    expected = network.module(BRIGHT).flatten(1)
    assert torch.allclose(network.probabilities(BRIGHT).flatten(1), expected, atol=1e-6)


@pytest.mark.parametrize("kind", SAME)
def test_what_is_only_put_into_another_shape_is_stepped_before(kind: str) -> None:
    network = opened(SAME[kind])
    logits = Ending(SAME[kind]).logits(DARK)
    assert torch.allclose(network.logits(DARK).flatten(1), logits, atol=1e-5)


@pytest.mark.parametrize("kind", CHANGED)
def test_of_what_is_changed_the_logarithm_is_explained_and_that_is_said(kind: str) -> None:
    network = opened(CHANGED[kind])
    assert "logarithm" in network.head.of_scores
    p = Ending(CHANGED[kind]).end(Ending(CHANGED[kind]).logits(DARK))
    assert isinstance(p, Tensor)
    assert torch.allclose(network.logits(DARK), p.log(), atol=1e-4)


def written(how: Callable[[Tensor], object]) -> Callable[[Tensor], Tensor]:
    """A softmax that is written into in some way, through another name for its memory."""

    def end(z: Tensor) -> Tensor:
        p = z.softmax(1)
        how(p)
        return p

    return end


def masked(p: Tensor) -> None:
    q = p.view(-1, 3)
    q[:, 0] = 0
    q /= q.sum(1, keepdim=True)


def reversed_memory(p: Tensor) -> None:
    values = p.detach().numpy()
    values[:] = values[:, ::-1].copy()


PART = torch.tensor([1.0, 0.5, 0.3])
WRITTEN: dict[str, Callable[[Tensor], object]] = {
    "view": masked,
    "data": lambda p: p.data.copy_(p.data.flip(1)),
    "other data": lambda p: setattr(p, "data", p.data.flip(1)),
    "column": lambda p: p[:, 0].mul_(0.5),
    "select": lambda p: p.select(1, 0).zero_(),
    "unbind": lambda p: p.unbind(1)[0].zero_(),
    "chunk": lambda p: p.chunk(2, 1)[0].zero_(),
    "transposed": lambda p: p.T[0].mul_(0.5),
    "out": lambda p: torch.mul(p, PART, out=p),
    "several": lambda p: torch._foreach_mul_([p], [PART]),
    "numpy": reversed_memory,
}


@pytest.mark.parametrize("kind", WRITTEN)
def test_what_is_written_through_another_view_is_not_what_it_was(kind: str) -> None:
    end = written(WRITTEN[kind])
    network = opened(end)
    images = torch.cat([DARK, BRIGHT])
    with torch.no_grad():
        expected = end(Ending(end).logits(images))
        assert torch.allclose(network.probabilities(images), expected, atol=1e-5)


def test_a_copy_that_is_written_into_leaves_the_original_readable() -> None:
    network = opened(written(lambda p: p.clone()[:, 0].zero_()))
    assert torch.allclose(network.probabilities(DARK), Ending(lambda z: z).logits(DARK).softmax(1), atol=1e-5)


SEVERAL: dict[str, Callable[[Tensor], Tensor]] = {
    "view": lambda z: z.repeat(1, 2).view(-1, 2, 3).softmax(2).flatten(1),
    "logarithms": lambda z: z.repeat(1, 2).view(-1, 2, 3).log_softmax(2).flatten(1),
    "largest": lambda z: z.softmax(1).topk(2).values,
}


@pytest.mark.parametrize("kind", SEVERAL)
def test_a_softmax_over_another_axis_than_the_units_is_no_softmax_of_theirs(kind: str) -> None:
    network = opened(SEVERAL[kind])
    with torch.no_grad():
        expected = SEVERAL[kind](Ending(lambda z: z).logits(BRIGHT))
        expected = expected.exp() if kind == "logarithms" else expected
        assert torch.allclose(network.probabilities(BRIGHT), expected, atol=1e-5)
    assert not network.head.exclusive


def margin(z: Tensor) -> Tensor:
    """From -1 to 1, above 0 for bright images."""
    p = (z * torch.tensor([0.0, 0.0, 1.0]) - 7.0).softmax(1)
    return p[:, 2] - p[:, 0]


def test_a_margin_of_probabilities_is_none() -> None:
    network = opened(margin)
    assert "probabilities" not in network.head.kind


def test_probabilities_that_later_turn_out_to_be_none_are_refused() -> None:
    def dim(z: Tensor) -> Tensor:
        p = z.softmax(1)
        return torch.where(z[:, 2:] < 27, p, p - 0.5)

    network = opened(dim)
    assert network.head.kind == "probabilities"
    with pytest.raises(NetworkError, match=r'puts out -0\.\d+ for this image, .* say head = "score"'):
        network.probabilities(torch.ones(1, 1, 16, 16) * 1.5)


def test_a_row_that_is_not_finite_leaves_the_others_as_they_are() -> None:
    def failing(z: Tensor) -> Tensor:
        return torch.where(z[:, 2:] > 15, z * torch.nan, z).softmax(1).flatten(1)

    network = opened(failing)
    both = network.logits(torch.cat([DARK, BRIGHT]))
    assert not torch.isfinite(both[1]).any()
    assert torch.allclose(both[:1], network.logits(DARK), atol=1e-5)


class AttrDict(dict):  # type: ignore[type-arg]
    """A common idiom: what is not there raises KeyError, also for attributes."""

    __getattr__ = dict.__getitem__


def test_a_dict_with_attributes_of_its_own_is_a_dict() -> None:
    network = opened(lambda z: AttrDict(logits=z))
    assert torch.allclose(network.logits(DARK), Ending(lambda z: z).logits(DARK), atol=1e-5)


@pytest.mark.parametrize(
    ("end", "says"),
    [
        (lambda z: z.detach().numpy(), "gave no tensor"),
        (lambda z: "healthy", "gave no tensor"),
        (lambda z: z.to_sparse(), "puts out a sparse tensor"),
    ],
)
def test_what_is_no_dense_tensor_is_refused_in_a_sentence(end: Callable[[Tensor], object], says: str) -> None:
    with pytest.raises(NetworkError, match=says):
        opened(end)


def test_an_image_of_too_many_values_is_refused() -> None:
    with pytest.raises(NetworkError, match=r"values an image; it may be 1,000,000,000 at the most"):
        Network.from_module(Ending(lambda z: z), (1, 10**6, 10**6), device="cpu")
