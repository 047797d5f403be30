"""The meeting of many gradients: sums of them over copies of each image, taken to the pixels together."""

from collections.abc import Sequence
from dataclasses import replace
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.graph import get_gradient_edge

from vislib.ascent.workers import in_shares
from vislib.attribution.backward import Visit, visit
from vislib.attribution.query import Query
from vislib.attribution.stem import same_way
from vislib.network import Network

# Sums kept at the first convolution are larger than images: for many images they would not fit.
_MOST_IMAGES = 8


class Meeting:
    """Where the gradients of many copies of the images meet, to go on to the pixels together.

    Standardisation and the first convolution are affine: their Jacobian is the same for every copy, so that sums of
    gradients may be made at that convolution's output and taken to the pixels once. That spares the dearest step of the
    way back. It is looked at anew in the pass of every copy (see Stem); the gradients of those that come another way,
    and all of many images, meet at the pixels themselves. `times_input` has each multiplied with its copy first.
    """

    def __init__(self, query: Query, rule: str = "plain", *, times_input: bool = False) -> None:
        self._query, self._rule, self._times_input = query, rule, times_input
        few = len(query.images) <= min(_MOST_IMAGES, query.batch_size(gradients=True))
        self._anchor: Visit | None = None
        if few and not times_input:
            one = visit(query, query.images, rule=rule)
            self._anchor = one if _goes_early(query, one) else None
        self.scores, self.relus = self._scores(query.images)
        self._sums: dict[tuple[int, bool], Tensor] = {}

    @property
    def early(self) -> bool:
        """Whether gradients meet at the first convolution, where their pass allows it."""
        return self._anchor is not None

    def scores_of(self, images: Float[Tensor, "n c *spatial"]) -> Float[Tensor, "n"]:
        """The target's scores of others in the place of the images."""
        return self._scores(images)[0]

    def add(self, copies: Float[Tensor, "m c *spatial"], rows: Sequence[int]) -> None:
        """Add each copy's gradient to its image's sum; `rows` says which image each copy is one of.

        Shares of the copies run side by side.
        """

        def share(worker: int, part: slice) -> None:
            mine = rows[part]
            query = replace(self._query, network=_network_for(self._query.network, worker))
            gradient, early = self._gradient(query, copies[part], mine)
            self._collect((worker, early), gradient, mine)

        in_shares(len(copies), share, copies.device)

    def to_pixels(self, factors: Sequence[float]) -> Float[Tensor, "n c *spatial"]:
        """Each image's sum times its factor, at the pixels."""
        total = torch.zeros_like(self._query.images)
        for early in (True, False):
            sums = [
                one
                for (_, place), one in sorted(self._sums.items(), key=lambda item: item[0])
                if place == early
            ]
            if not sums:
                continue
            met = torch.stack(sums).sum(0) * torch.tensor(factors).to(total).view(
                -1, *[1] * (sums[0].ndim - 1)
            )
            if early:
                assert self._anchor is not None
                edge, leaf = self._anchor.stem.edge, self._anchor.leaf
                assert edge is not None
                (met,) = torch.autograd.grad([edge], [leaf], [met], retain_graph=True)
            total += met
        return total

    def _scores(self, images: Float[Tensor, "n c *spatial"]) -> tuple[Float[Tensor, "n"], int]:
        if self._anchor is not None and images is self._query.images:
            return self._anchor.scores.detach(), self._anchor.relus
        parts = [
            visit(self._query, images[rows.start : rows.stop], rows, self._rule)
            for rows in self._query.batches(len(images), gradients=True)
        ]
        return torch.cat([part.scores.detach() for part in parts]), parts[0].relus

    def _gradient(self, query: Query, copies: Tensor, rows: Sequence[int]) -> tuple[Tensor, bool]:
        """The gradients of some copies, and whether they are those at the first convolution."""
        one = visit(query, copies, rows, self._rule)
        edge, way = one.stem.edge, one.stem.way
        if self._anchor and edge and way and same_way(way, self._anchor.stem.way):
            return torch.autograd.grad([one.scores], [edge], [torch.ones_like(one.scores)])[0], True
        return one.to_pixels() * copies if self._times_input else one.to_pixels(), False

    def _collect(self, place: tuple[int, bool], gradient: Tensor, rows: Sequence[int]) -> None:
        if place not in self._sums:
            like = [torch.zeros_like(gradient[:1]) for _ in self._query.images]  # keeps the order in memory
            self._sums[place] = torch.cat(like)
        for one, row in zip(gradient, rows, strict=True):
            self._sums[place][row].add_(one)


_trials: WeakKeyDictionary[Network, dict[str, bool]] = WeakKeyDictionary()
_twins: WeakKeyDictionary[Network, dict[int, Network]] = WeakKeyDictionary()


def _goes_early(query: Query, own: Visit) -> bool:
    """Whether all that the target's layer sees of the images is an affine map's output, the first convolution's.

    Calls that torch does not show, such as scripted ones, are found by trial, once for each network and layer: the
    gradient of another image, far out of [0, 1] in places, takes its way to the pixels through these images' graph.
    """
    if own.stem.way is None or own.stem.edge is None:
        return False
    known = _trials.setdefault(query.network, {})
    if query.target.layer not in known:
        generator = torch.Generator().manual_seed(1)
        other = 3 * torch.rand(query.images[:1].shape, generator=generator).to(query.images) - 1
        mine, there = visit(query, query.images[:1], [0]), visit(query, other, [0])
        if mine.stem.edge is None or there.stem.edge is None or not there.scores.requires_grad:
            return False
        places = [get_gradient_edge(there.leaf), there.stem.edge]
        ones = [torch.ones_like(there.scores)]
        expected, early = torch.autograd.grad([there.scores], places, ones, allow_unused=True)
        if expected is None or early is None or not bool(expected.any()):
            return False  # says nothing of other images
        (got,) = torch.autograd.grad([mine.stem.edge], [mine.leaf], [early])
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
