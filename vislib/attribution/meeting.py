"""The meeting of many gradients: weighted sums of them over copies of an image, taken to the pixels together."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.graph import get_gradient_edge

from vislib.ascent.workers import in_shares
from vislib.attribution.backward import Visit, visit
from vislib.attribution.query import Query
from vislib.network import Network

# Sums kept at the first convolution are larger than images: for many images they would not fit.
_MOST_IMAGES = 8

Weigh = Callable[[Tensor, Sequence[int]], tuple[Sequence[float], ...]]


class Meeting:
    """Where the gradients of many copies of the images meet, to go on to the pixels together.

    Standardisation and the first convolution are affine: their Jacobian is the same for every copy, so that
    weighted sums of gradients may be made at that convolution's output and taken to the pixels once. That spares
    the dearest step of the way back. Where a trial shows that it does not hold for a network, and for many images,
    gradients meet at the pixels themselves. `times_input` has each gradient multiplied with its copy first.
    """

    def __init__(self, query: Query, rule: str = "plain", *, times_input: bool = False) -> None:
        self._query, self._rule, self._times_input = query, rule, times_input
        few = len(query.images) <= min(_MOST_IMAGES, query.batch_size(gradients=True))
        early = few and not times_input and _affine(query)
        self._anchor: Visit | None = None
        if early:
            self._anchor = visit(query, query.images, rule=rule, keep=True)
        self.scores, self.relus = self._scores(query.images)
        self._sums: dict[int, list[Tensor]] = {}

    def tangent(
        self, start: Float[Tensor, "n c *spatial"]
    ) -> tuple[Float[Tensor, "n k *first"], Float[Tensor, "n"]]:
        """How far the meeting place is from that of `start` to that of the images, and the scores at `start`."""
        if self._anchor is not None:
            begin = visit(self._query, start, keep=True)
            if self._anchor.values is not None and begin.values is not None:
                return self._anchor.values - begin.values, begin.scores.detach()
        return self._query.images - start, self._scores(start)[0]

    def add(self, copies: Float[Tensor, "m c *spatial"], rows: Sequence[int], weigh: Weigh) -> None:
        """Add each copy's gradient to its image's sums: one sum for each list of weights that `weigh` gives.

        `rows` says which image each copy is one of. Shares of the copies run side by side; `weigh` is called with
        the gradients at the meeting place and the rows of one share at a time, in several threads.
        """

        def share(worker: int, part: slice) -> None:
            mine = rows[part]
            query = replace(self._query, network=_network_for(self._query.network, worker))
            gradient = self._gradient(query, copies[part], mine)
            self._collect(worker, gradient, mine, weigh(gradient, mine))

        in_shares(len(copies), share, copies.device)

    def to_pixels(self, *factors: Sequence[float]) -> Float[Tensor, "n c *spatial"]:
        """The sums, each times its factor for each image, added up and taken to the pixels."""
        total = torch.zeros_like(next(iter(self._sums.values()))[0])
        for sums in self._sums.values():
            for one, factor in zip(sums, factors, strict=True):
                total += one * torch.tensor(factor).to(one).view(-1, *[1] * (one.ndim - 1))
        if self._anchor is None or self._anchor.edge is None:
            return total
        leaf, edge = self._anchor.leaf, self._anchor.edge
        return torch.autograd.grad([edge], [leaf], [total], retain_graph=True)[0]

    def _scores(self, images: Float[Tensor, "n c *spatial"]) -> tuple[Float[Tensor, "n"], int]:
        if self._anchor is not None and images is self._query.images:
            return self._anchor.scores.detach(), self._anchor.relus
        parts = [
            visit(self._query, images[rows.start : rows.stop], rows, self._rule)
            for rows in self._query.batches(len(images), gradients=True)
        ]
        return torch.cat([part.scores.detach() for part in parts]), parts[0].relus

    def _gradient(self, query: Query, copies: Tensor, rows: Sequence[int]) -> Tensor:
        one = visit(query, copies, rows, self._rule)
        if self._anchor is not None and one.edge is not None:
            return torch.autograd.grad([one.scores], [one.edge], [torch.ones_like(one.scores)])[0]
        return one.to_pixels() * copies if self._times_input else one.to_pixels()

    def _collect(
        self, worker: int, gradient: Tensor, rows: Sequence[int], weights: tuple[Sequence[float], ...]
    ) -> None:
        if worker not in self._sums:
            like = [torch.zeros_like(gradient[:1]) for _ in self._query.images]  # keeps the order in memory
            self._sums[worker] = [torch.cat(like) for _ in weights]
        for total, factors in zip(self._sums[worker], weights, strict=True):
            for one, row, factor in zip(gradient, rows, factors, strict=True):
                total[row].add_(one, alpha=factor)


_affine_networks: WeakKeyDictionary[Network, dict[str, bool]] = WeakKeyDictionary()
_twins: WeakKeyDictionary[Network, dict[int, Network]] = WeakKeyDictionary()


def _affine(query: Query) -> bool:
    """Whether all that the target's layer sees of the image is an affine map's output, the first convolution's.

    Found by trial, once for each network and layer: the gradient of a random image takes its way to the pixels
    through the graph of another one.
    """
    known = _affine_networks.setdefault(query.network, {})
    if query.target.layer not in known:
        generator = torch.Generator().manual_seed(1)
        other = torch.rand(query.images[:1].shape, generator=generator).to(query.images)
        own, there = visit(query, query.images[:1], [0]), visit(query, other, [0])
        if own.edge is None or there.edge is None or not there.scores.requires_grad:
            known[query.target.layer] = False
            return False
        places = [get_gradient_edge(there.leaf), there.edge]
        expected, early = torch.autograd.grad(
            [there.scores], places, [torch.ones_like(there.scores)], allow_unused=True
        )
        if expected is None or early is None or not bool(expected.any()):
            return False  # says nothing of other images
        (got,) = torch.autograd.grad([own.edge], [own.leaf], [early])
        known[query.target.layer] = torch.allclose(got, expected, atol=1e-4 * float(expected.abs().max()))
    return known[query.target.layer]


def _network_for(network: Network, worker: int) -> Network:
    """The network itself for the first worker and twins for the others, since a network runs one pass at a time."""
    if worker == 0:
        return network
    twins = _twins.setdefault(network, {})
    if worker not in twins:
        twins[worker] = network.twin()
    return twins[worker]
