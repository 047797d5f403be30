"""Deconvolution as a method of METHODS: the target's activation, projected back to the pixels."""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from vislib.attribution.gradients import no_relu, strongest_channel
from vislib.attribution.method import method, parameter
from vislib.attribution.query import Query
from vislib.attribution.result import Attribution
from vislib.attribution.target import Units
from vislib.deconvolution import PROJECTION_RULES, STARTS, Projection, project


@method(
    "Deconvolution",
    family="deconvolution",
    description="the unit's own activation in this image, led back down to the pixels that drove it",
    source="Zeiler and Fergus 2013, arXiv 1311.2901",
    needs=("ReLUs", "max pooling"),
    parameters=(
        parameter(
            *("start", "choice", 0, 0, ""),
            "what goes down: the unit's whole map, or 1 at its strongest position",
            choices=tuple(STARTS),
            default="whole map",
        ),
        parameter(
            *("rule", "choice", 0, 0, ""),
            "what a ReLU lets through on the way down: what is positive, what is positive where it fired, or all "
            "where it fired",
            choices=tuple(PROJECTION_RULES),
            default="deconvnet",
        ),
    ),
)
def deconvolution(query: Query) -> Iterator[Attribution]:
    """The projection of the target's unit (`vislib.deconvolution.project`; Zeiler & Fergus 2013).

    The map has, at each place, the channel's value of largest size with its sign. With `against`, that unit's own
    projection is taken off.
    """
    pixels, parts = _projected(query, query.target.unit)
    notes = _notes(query, parts)
    if query.target.against is not None:
        pixels = pixels - _projected(query, query.target.against)[0]
    if query.target.opposite:
        pixels = -pixels
    with torch.no_grad():
        scores = torch.cat(
            [
                query.score(query.images[rows.start : rows.stop], rows)
                for rows in query.batches(len(query.images))
            ]
        )
    yield query.result(strongest_channel(pixels), scores, notes=notes, colour=pixels)


def _projected(query: Query, units: Units) -> tuple[Float[Tensor, "n c *spatial"], list[Projection]]:
    chosen = (units,) * len(query.images) if isinstance(units, int) else units
    parts = [
        project(
            query.network,
            query.images[rows.start : rows.stop],
            query.target.layer,
            chosen[rows.start : rows.stop],
            start=query.choice("start"),
            rule=query.choice("rule"),
            position=query.target.position,
        )
        for rows in query.batches(len(query.images), gradients=True)
    ]
    return torch.cat([part.pixels for part in parts]), parts


def _notes(query: Query, parts: list[Projection]) -> tuple[str, ...]:
    layer, name = query.target.layer, query.network.name
    notes = list(no_relu(query, parts[0].relus)) if query.choice("rule") != "plain" else []
    if not parts[0].pools:
        notes.append(f"{name} has no maximum pooling before {layer}, so no switches led the way down.")
    strongest = torch.cat(
        [part.maps.flatten(1).amax(1) if part.maps.ndim > 1 else part.maps for part in parts]
    )
    silent = [row for row, value in enumerate(strongest.tolist()) if value <= 0]
    if silent:
        which = "" if len(strongest) == 1 else f" of image {', '.join(str(row + 1) for row in silent)}"
        notes.append(
            f"The unit did not fire anywhere{which}: its largest activation is {float(strongest[silent[0]]):.3g}, "
            "so the map does not show what drove it."
        )
    return tuple(notes)
