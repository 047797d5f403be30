"""Class activation maps: CAM, Grad-CAM, Grad-CAM++, LayerCAM, and guided Grad-CAM."""

from collections.abc import Iterator, Sequence
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vislib.attribution.alignment import alignment
from vislib.attribution.backward import gradients
from vislib.attribution.gradients import no_relu, strongest_channel
from vislib.attribution.map_layers import no_maps
from vislib.attribution.method import method
from vislib.attribution.query import Query
from vislib.attribution.result import Attribution
from vislib.errors import AttributionError, NetworkError
from vislib.network import Network
from vislib.patching import Patch
from vislib.probe import LOGITS

FAMILY = "class activation maps"
ROUNDING = 1e-5  # of the usual gradient: what the mean of gradients that cancel out comes to
BELOW_ZERO = (
    "The maps of {layer!r} have values below 0, and the weights of Grad-CAM++ are derived for maps behind a ReLU; "
    "compare with Grad-CAM."
)
ALL_NEGATIVE = "All values are 0 or below{which}: nothing in this layer speaks for the target."


def weighed_maps(
    maps: Float[Tensor, "n k *coarse"], weights: Float[Tensor, "n k *one"]
) -> Float[Tensor, "n *coarse"]:
    """`sum_k w_k A_k`; the weights may have positions."""
    return (weights * maps).sum(1)


def each(values: Float[Tensor, "n k"], axes: int) -> Float[Tensor, "n k *one"]:
    """One value a map, ready to be multiplied with the map."""
    return values.view(*values.shape, *[1] * axes)


def mean_gradients(
    query: Query, gradient: Float[Tensor, "n k *coarse"], scores: Float[Tensor, "n"]
) -> Float[Tensor, "n k"]:
    """Each map's mean gradient; raises AttributionError where that of a finite score is rounding alone.

    Nothing changes behind an instance norm when a whole map is raised: the mean gradient before it is 0.
    """
    places = gradient.flatten(2)
    means, usual = places.mean(2), places.abs().mean((1, 2))
    nothing = (means.abs().amax(1) <= ROUNDING * usual) & (usual > 0) & scores.isfinite()
    if places.shape[2] > 1 and bool(nothing.any()):
        raise AttributionError(
            f"The mean gradient over every map of {query.layer!r} is 0, up to rounding, as before an instance norm, so "
            "that a map weighed by it would be noise; choose LayerCAM, which weighs place by place, or another layer."
        )
    return means


def cut(
    query: Query,
) -> tuple[Float[Tensor, "n k *coarse"], Float[Tensor, "n k *coarse"], Float[Tensor, "n"]]:
    """The layer's maps as the rest of the network sees them, the score's gradient by them, and the scores.

    The maps are a leaf of the graph: what comes before them is computed without one. Raises AttributionError
    where no gradient comes from the target to the layer.
    """
    parts = []
    for rows in query.batches(len(query.images), gradients=True):
        held: list[Tensor] = []

        def leaf(maps: Tensor, held: list[Tensor] = held) -> Tensor:
            held.append(maps.detach().requires_grad_())
            return held[0].clone()  # the network may go on in place

        with torch.enable_grad():
            scores = query.score(query.images[rows.start : rows.stop], rows, through={query.layer: leaf})
        gradient: Tensor | None = None
        if scores.requires_grad:
            (gradient,) = torch.autograd.grad(scores, held[0], torch.ones_like(scores), allow_unused=True)
        if gradient is None:
            raise AttributionError(
                f"No gradient comes from {query.target.layer!r} back to {query.layer!r}: it is not computed from "
                "that layer, or detached on the way, as by torch.no_grad or checkpoint(use_reentrant=True); choose "
                "another layer, or a perturbation method."
            )
        parts.append((held[0].detach(), gradient, scores.detach()))
    maps, gradients, scores = (torch.cat(each_part) for each_part in zip(*parts, strict=True))
    return _placed(query, maps), gradients, scores


def seen_maps(query: Query, layer: str = "") -> tuple[Float[Tensor, "n k *coarse"], Float[Tensor, "n"]]:
    """The maps of `layer` (default: the query's) as the rest of the network sees them, and the scores."""
    held: list[Tensor] = []

    def keep(maps: Tensor) -> Tensor:
        held.append(maps.clone())  # the network may go on in place
        return maps

    parts = []
    for rows in query.batches(len(query.images)):
        images = query.images[rows.start : rows.stop]
        with torch.no_grad():
            parts.append(query.score(images, rows, through={layer or query.layer: keep}))
    return _placed(query, torch.cat(held), layer), torch.cat(parts)


def rectified(
    query: Query,
    raw: Float[Tensor, "n *coarse"],
    scores: Float[Tensor, "n"],
    *,
    notes: tuple[str, ...] = (),
    step: int = 1,
    steps: int = 1,
) -> Attribution:
    """The positive part as published; a map without one is said to have none."""
    said = (*notes, *all_negative(raw))
    return query.result(raw.clamp(min=0), scores, notes=said, step=step, steps=steps, rectified=True)


def all_negative(raw: Float[Tensor, "n *coarse"]) -> tuple[str, ...]:
    """A sentence where a map has nothing above 0, which would be black without a word."""
    empty = [row for row, one in enumerate(raw) if not bool((one > 0).any())]
    if not empty:
        return ()
    which = "" if len(raw) == 1 else f" in the map of image {', '.join(str(row + 1) for row in empty)}"
    return (ALL_NEGATIVE.format(which=which),)


@method(
    "Grad-CAM",
    family=FAMILY,
    description="the layer's maps, each weighed by the mean of the score's gradient over it",
    source="Selvaraju et al. 2017, arXiv 1610.02391",
    needs=("layer",),
    signed=False,
    check=no_maps,
)
def grad_cam(query: Query) -> Iterator[Attribution]:
    """`relu(sum_k mean(g_k) A_k)` (Selvaraju et al. 2017)."""
    maps, gradient, scores = cut(query)
    weights = each(mean_gradients(query, gradient, scores), maps.ndim - 2)
    yield rectified(query, weighed_maps(maps, weights), scores)


def plus_weights(
    maps: Float[Tensor, "n k *coarse"], gradient: Float[Tensor, "n k *coarse"]
) -> Float[Tensor, "n k"]:
    """`w_k = sum_ij alpha_kij relu(g_kij)`, `alpha = g^2 / (2 g^2 + (sum_ab A_ab) g^3)`, 0 where g = 0.

    With g = 0 taken out, alpha is `1 / (2 + (sum A) g)`: nothing underflows.
    """
    total = each(maps.flatten(2).sum(2), maps.ndim - 2)
    below = 2 + total * gradient
    positive = gradient.clamp(min=0)
    # The published weights are for maps that are not negative (after a ReLU); there `below` is above 2 where g > 0.
    alpha = torch.where(below != 0, 1 / torch.where(below != 0, below, 1), 0)
    return (alpha * positive).flatten(2).sum(2)


@method(
    "Grad-CAM++",
    family=FAMILY,
    description="as Grad-CAM, with weights that count several objects of one class alike",
    source="Chattopadhay et al. 2018, arXiv 1710.11063",
    needs=("layer",),
    signed=False,
    check=no_maps,
)
def grad_cam_plus(query: Query) -> Iterator[Attribution]:
    """`relu(sum_k w_k A_k)` with the weights of `plus_weights` (Chattopadhay et al. 2018).

    Its weights are derived for maps behind a ReLU; where a map has a value below 0, the answer says so.
    """
    maps, gradient, scores = cut(query)
    weights = each(plus_weights(maps, gradient), maps.ndim - 2)
    notes = (BELOW_ZERO.format(layer=query.layer),) if bool((maps < 0).any()) else ()
    yield rectified(query, weighed_maps(maps, weights), scores, notes=notes)


@method(
    "LayerCAM",
    family=FAMILY,
    description="the layer's maps, each place weighed by its own positive gradient: finer layers work too",
    source="Jiang et al. 2021, doi 10.1109/TIP.2021.3089943",
    needs=("layer",),
    signed=False,
    check=no_maps,
)
def layer_cam(query: Query) -> Iterator[Attribution]:
    """`relu(sum_k relu(g_k) * A_k)` (Jiang et al. 2021)."""
    maps, gradient, scores = cut(query)
    yield rectified(query, weighed_maps(maps, gradient.clamp(min=0)), scores)


@method(
    "Guided Grad-CAM",
    family=FAMILY,
    description="guided backprop where Grad-CAM looks: fine lines in the right place",
    source="Selvaraju et al. 2017, arXiv 1610.02391",
    needs=("layer", "ReLUs"),
    check=no_maps,
)
def guided_grad_cam(query: Query) -> Iterator[Attribution]:
    """Guided backpropagation times the upsampled Grad-CAM (Selvaraju et al. 2017)."""
    maps, gradient, scores = cut(query)
    raw = weighed_maps(maps, each(mean_gradients(query, gradient, scores), maps.ndim - 2))
    fine, scores, relus = gradients(query, "guided")
    product = fine * query.upsample(raw.clamp(min=0))[:, None]
    notes = (*no_relu(query, relus), *all_negative(raw))
    yield query.result(strongest_channel(product), scores, notes=notes, colour=product, rectified=True)


_heads: WeakKeyDictionary[Network, tuple[str, str] | str] = WeakKeyDictionary()


def head(network: Network) -> tuple[str, str] | str:
    """The layer that global average pooling sees and the linear module that follows, or a sentence why not.

    Found by trial: the logits must be `W mean(A) + b` of a layer's maps to 1e-4 of their size, however the
    network writes its pooling.
    """
    if network not in _heads:
        try:
            _heads[network] = _find_head(network)
        except NetworkError as error:  # a layer that cannot be gone through, or images that it does not take
            _heads[network] = str(error)
    return _heads[network]


def _find_head(network: Network) -> tuple[str, str] | str:
    refusal = (
        f"CAM needs global average pooling followed by one linear layer, which {network.name} does not have; "
        "Grad-CAM is the same thing for any network."
    )
    linear = [(name, part) for name, part in network.module.named_modules() if isinstance(part, nn.Linear)]
    classes = network.layers[LOGITS].channels
    if not linear or linear[-1][1].out_features != classes:
        return refusal
    name, last = linear[-1]
    images = torch.rand(2, *network.input_shape, generator=torch.Generator().manual_seed(0))
    fitting = [
        layer.name
        for layer in network.layers.values()
        if layer.channels == last.in_features and layer.spatial
    ]
    means: dict[str, Tensor] = {}

    def keep(layer: str) -> Patch:
        def patch(maps: Tensor) -> Tensor:
            means[layer] = maps.flatten(2).mean(2)
            return maps

        return patch

    with torch.no_grad():
        through = {layer: keep(layer) for layer in fitting}
        logits = network.activations(images, [LOGITS], through=through)[LOGITS]
        for layer in reversed(fitting):
            mine = last(means[layer].to(last.weight.dtype)).to(logits.dtype)
            if mine.shape == logits.shape and bool(
                ((mine - logits).abs() <= _rounding(logits, 1e-4) * logits.abs().max()).all()
            ):
                return layer, name
    return refusal


def _rounding(scores: Tensor, least: float) -> float:
    """What scores of this type may be off by, as a share of the largest: coarse where torch.autocast computes them."""
    return max(least, 8 * torch.finfo(scores.dtype).eps)


def _no_head(network: Network) -> str:
    found = head(network)
    if isinstance(found, str):
        return found
    spatial = network.layers[found[0]].spatial
    return no_place(network.name, found[0], spatial) if max(spatial) <= 1 else ""


def no_place(name: str, layer: str, spatial: Sequence[int]) -> str:
    """That maps of one position show no place."""
    return (
        f"{name}'s layer {layer!r} has maps of {' x '.join(map(str, spatial))} here: a single position, which has no "
        "place to show. Choose an earlier layer, a larger image, or a gradient or perturbation method."
    )


def _placed(query: Query, maps: Tensor, layer: str = "") -> Tensor:
    """These maps; raises AttributionError where they are of one position, or do not lie as the image does."""
    name = layer or query.layer
    if max(maps.shape[2:], default=1) <= 1:
        raise AttributionError(no_place(query.network.name, name, maps.shape[2:]))
    if refusal := alignment(query.network, name, query.images.shape[2:]).refusal:
        raise AttributionError(refusal)
    return maps


@method(
    "CAM",
    family=FAMILY,
    description="the last maps, each weighed by the classifier's own weight for the class",
    source="Zhou et al. 2016, arXiv 1512.04150",
    needs=("GAP head",),
    check=_no_head,
)
def cam(query: Query) -> Iterator[Attribution]:
    """`sum_k w_k^c A_k`, without a ReLU (Zhou et al. 2016).

    Raises AttributionError without such a head, for a hidden unit and for another layer than the head's.
    """
    found = head(query.network)
    if isinstance(found, str):
        raise AttributionError(found)
    layer, name = found
    if query.target.layer != LOGITS:
        raise AttributionError(
            f"CAM explains classes, and was asked for a unit of {query.target.layer}; choose a class, or Grad-CAM."
        )
    if query.layer not in ("", layer):
        raise AttributionError(
            f"CAM takes the maps that the classifier sees, those of {layer!r}, and was asked for {query.layer!r}; "
            "leave the layer out, or choose Grad-CAM."
        )
    return _cam(query, layer, name)


def _cam(query: Query, layer: str, name: str) -> Iterator[Attribution]:
    maps, scores = seen_maps(query, layer)
    last = query.network.module.get_submodule(name)
    weight = last.weight
    assert isinstance(weight, Tensor)
    with torch.no_grad():
        logits = last(maps.flatten(2).mean(2).to(weight.dtype))
    off = (query.target.of(logits) - scores).abs()
    if not bool((off <= _rounding(scores, 1e-3) * logits.abs().amax(1)).all()):
        # The head was found on other images; what it does not hold for is refused.
        raise AttributionError(
            f"CAM needs class scores that are a linear layer of the mean maps of {layer!r}, which {query.network.name} "
            "does not give for this image; choose Grad-CAM."
        )
    chosen = weight[torch.tensor(query.target.unit, device=maps.device)]
    if query.target.against is not None:
        chosen = chosen - weight[torch.tensor(query.target.against, device=maps.device)]
    if query.target.opposite:
        chosen = -chosen
    chosen = each(chosen.to(maps.dtype), maps.ndim - 2)  # a network may compute its head in another type
    yield query.result(weighed_maps(maps, chosen), scores, layer=layer)
