"""Score-CAM: class activation maps whose weights come from the score of the image seen through each map."""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from vislib.attribution.cam import FAMILY, each, rectified, seen_maps, weighed_maps
from vislib.attribution.map_layers import no_maps
from vislib.attribution.method import method, parameter
from vislib.attribution.query import Query
from vislib.attribution.result import Attribution


@method(
    "Score-CAM",
    family=FAMILY,
    description="the layer's maps, each weighed by the score of the image seen through it: no gradient",
    source="Wang et al. 2020, arXiv 1910.01279",
    needs=("layer",),
    signed=False,
    quick=False,
    check=no_maps,
    parameters=(
        parameter(
            *("channels", "int", 0, 100_000, ""),
            "only so many maps, those with the largest activations; 0 for all",
            default=0,
        ),
    ),
)
def score_cam(query: Query) -> Iterator[Attribution]:
    """`relu(sum_k softmax_k(y(x * norm(up(A_k))) - y(x_b)) A_k)` (Wang et al. 2020).

    `norm` stretches each map to [0, 1]; a map that is the same everywhere hides the image (all 0). The image x in
    [0, 1] fades to black. The score of the baseline image x_b is the same for all maps, so it drops out of the
    softmax and is not computed. Maps are asked in order of their mean size; a partial answer has the softmax over
    those asked so far.
    """
    maps, scores = seen_maps(query)
    n, k = maps.shape[:2]
    asked = min(k, query.whole("channels") or k)
    order = maps.abs().flatten(2).mean(2).argsort(dim=1, descending=True, stable=True)[:, :asked]
    increases = torch.full((n, asked), -torch.inf, dtype=scores.dtype, device=maps.device)
    chosen = maps[torch.arange(n, device=maps.device)[:, None], order]
    batches = list(query.batches(asked * n))
    for step, pairs in enumerate(batches, 1):
        rows, ranks = [pair % n for pair in pairs], [pair // n for pair in pairs]
        masks = stretched(query.upsample(chosen[rows, ranks]))
        with torch.no_grad():
            increases[rows, ranks] = query.score(query.images[rows] * masks[:, None], rows)
        if pairs.stop >= n:  # every image has been asked for a map
            weights = each(increases.softmax(1).to(maps.dtype), maps.ndim - 2)
            yield rectified(query, weighed_maps(chosen, weights), scores, step=step, steps=len(batches))


def stretched(maps: Float[Tensor, "m *spatial"]) -> Float[Tensor, "m *spatial"]:
    """Each map from its least value at 0 to its largest at 1; 0 where it has one value alone."""
    axes = tuple(range(1, maps.ndim))
    low, high = maps.amin(axes, keepdim=True), maps.amax(axes, keepdim=True)
    return torch.where(high > low, (maps - low) / torch.where(high > low, high - low, 1), 0)
