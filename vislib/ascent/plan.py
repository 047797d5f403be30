"""What is to be climbed: arguments of an ascent, checked, and the spec that names the run."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vislib.ascent import objectives
from vislib.ascent.defaults import default_preset
from vislib.ascent.evaluation import PRECISIONS
from vislib.ascent.objectives import Objective
from vislib.ascent.parameters import PARAMETERS
from vislib.ascent.presets import PRESETS, Preset, check_together, find_preset
from vislib.errors import AscentError
from vislib.network import Network
from vislib.receptive import crop_for
from vislib.whole import checked_seed, each
from vislib.words import counted, were

MAX_SIZE = 4096  # pixels an axis: beyond it a typing error is likelier than a wish
Presets = str | Preset | Sequence[Preset] | None
Size = int | Sequence[int] | None
Target = tuple[str, tuple[int, ...], tuple[int, ...] | None]  # layer, units and position of a lone neuron


@dataclass(frozen=True)
class Plan:
    """A checked ascent: `units` and `presets` have one entry a row; `canvas` is cut to `crop` where it is given."""

    network: Network
    layer: str
    units: tuple[int, ...]
    presets: tuple[Preset, ...]
    steps: int
    seed: int
    canvas: tuple[int, ...]
    precision: str
    objective: Objective
    neuron: bool
    position: tuple[int, ...] | None
    crop: tuple[slice, ...]

    @property
    def size(self) -> tuple[int, ...]:
        """The spatial size of the images."""
        if not self.crop:
            return self.canvas
        return tuple(len(range(n)[part]) for n, part in zip(self.canvas, self.crop, strict=True))


def make_plan(
    network: Network,
    layer: str,
    units: Sequence[int],
    preset: Presets,
    *,
    steps: int | None,
    seed: int,
    size: Size,
    precision: str,
    objective: Objective | None = None,
    cut: bool = True,
) -> Plan:
    """Check everything that can be checked before the first step; raises AscentError or NetworkError.

    Without `cut` a lone neuron's canvas stays whole: its receptive field, which takes forward and backward passes to
    be found, is not asked for.
    """
    name = network.layer(layer).name
    chosen, presets = _rows(network, name, units, _resolve(network, name, preset))
    canvas = _canvas(network, size)
    target: Target | None
    if objective is None:
        single = presets[0].objective == "neuron" and bool(network.layer(name).spatial)
        target = (name, chosen, None) if single else None
    else:
        target = objective.neuron
    whole: tuple[tuple[slice, ...], tuple[int, ...] | None] = (), None if target is None else target[2]
    crop, position = _crop(network, target, canvas) if cut else whole
    if target is not None:
        objective = objectives.neuron(target[0], target[1], position)
    return Plan(
        network=network,
        layer=name,
        units=chosen,
        presets=presets,
        steps=_steps(presets, steps),
        seed=checked_seed(seed, AscentError),
        canvas=canvas,
        precision=_precision(precision),
        objective=_with_priors(objective or objectives.channel(name, chosen), presets, network),
        neuron=target is not None and target[0] == name,
        position=position,
        crop=crop,
    )


def ascent_spec(
    network: Network,
    layer: str,
    units: Sequence[int],
    preset: Presets = None,
    *,
    steps: int | None = None,
    seed: int = 0,
    size: Size = None,
    precision: str = "exact",
) -> dict[str, Any]:
    """The JSON-able description that names a run; `ascend_spec` climbs it. Raises AscentError or NetworkError."""
    given: dict[str, Any] = {"steps": steps, "seed": seed, "size": size, "precision": precision}
    plan = make_plan(network, layer, units, preset, **given, cut=False)
    several = not (preset is None or isinstance(preset, str | Preset))
    rows = [row.to_dict() for row in plan.presets]
    return {
        "method": "ascent",
        "network": network.name,
        "fingerprint": network.fingerprint,
        "layer": plan.layer,
        "units": list(plan.units),
        "preset": rows if several else rows[0],
        "steps": plan.steps,
        "seed": plan.seed,
        "size": None if plan.canvas == tuple(network.input_shape[1:]) else list(plan.canvas),
        "precision": plan.precision,
    }


def read_spec(network: Network, spec: Mapping[str, Any], *, cut: bool = True) -> Plan:
    """The plan of a spec; raises AscentError for one of another method or network. `cut`: see `make_plan`."""
    missing = [
        key for key in ("layer", "units", "preset", "steps", "seed", "size", "precision") if key not in spec
    ]
    if spec.get("method") != "ascent" or missing:
        wrong = f"lacks {', '.join(missing)}" if missing else f"is of method {spec.get('method')!r}"
        raise AscentError(f"This spec {wrong}; give one that ascent_spec made.")
    if spec.get("fingerprint") != network.fingerprint:
        raise AscentError(
            f"This run was made with {spec.get('network')} ({spec.get('fingerprint')}), but {network.name} is "
            f"{network.fingerprint}; open it with the network and the weights that it was made with."
        )
    stored = spec["preset"]
    preset = (
        Preset.from_dict(stored) if isinstance(stored, Mapping) else [Preset.from_dict(row) for row in stored]
    )
    names = ("steps", "seed", "size", "precision")
    given = {name: spec[name] for name in names}
    return make_plan(network, spec["layer"], spec["units"], preset, **given, cut=cut)


def _resolve(network: Network, layer: str, preset: Presets) -> tuple[Preset, ...]:
    if preset is None:
        return (default_preset(network, layer),)
    if isinstance(preset, str):
        return (find_preset(preset),)
    several = (preset,) if isinstance(preset, Preset) or not isinstance(preset, Iterable) else tuple(preset)
    for one in several:
        if not isinstance(one, Preset):
            raise AscentError(f"A preset cannot be {one!r}; give one of {', '.join(PRESETS)}, or a Preset.")
    return several


def _rows(
    network: Network, layer: str, units: Sequence[int], presets: tuple[Preset, ...]
) -> tuple[tuple[int, ...], tuple[Preset, ...]]:
    """Units and presets, one a row: one preset serves all units, one unit climbs with all presets."""
    chosen = network.check_units(layer, units)
    if not chosen or not presets:
        raise AscentError("An ascent needs at least one unit and one preset; give some.")
    if len(presets) == 1:
        presets = presets * len(chosen)
    elif len(chosen) == 1:
        chosen = chosen * len(presets)
    if len(chosen) != len(presets):
        raise AscentError(
            f"{were(len(presets), 'preset')} given for {counted(len(chosen), 'unit')}; give one preset, or one for "
            "each unit."
        )
    check_together(presets)
    return chosen, presets


def _canvas(network: Network, size: Size) -> tuple[int, ...]:
    usual = tuple(network.input_shape[1:])
    if size is None:
        return usual
    canvas = each(size, len(usual)) or ()
    if len(canvas) != len(usual) or not all(1 <= n <= MAX_SIZE for n in canvas):
        raise AscentError(
            f"An image size of {size!r} does not fit {network.name}; give one whole number from 1 to {MAX_SIZE}, "
            f"or {len(usual)} of them (its own size is {' x '.join(map(str, usual))})."
        )
    return canvas


def _crop(
    network: Network,
    target: Target | None,
    canvas: tuple[int, ...],
) -> tuple[tuple[slice, ...], tuple[int, ...] | None]:
    """The part of the canvas that a lone neuron needs, and its position there; the whole where that is unknown."""
    if target is None:
        return (), None
    if canvas != tuple(network.input_shape[1:]) or not network.layer(target[0]).spatial:
        return (), target[2]
    crop = crop_for(network, target[0], target[2])
    return crop.slices, crop.position


def _with_priors(objective: Objective, presets: Sequence[Preset], network: Network) -> Objective:
    if any(preset.l2 for preset in presets):
        objective = objective - objectives.weighted(objectives.l2(network.mean), [p.l2 for p in presets])
    if any(preset.tv for preset in presets):
        objective = objective - objectives.weighted(objectives.total_variation(), [p.tv for p in presets])
    return objective


def _steps(presets: Sequence[Preset], steps: int | None) -> int:
    return int(PARAMETERS["steps"].check(presets[0].steps if steps is None else steps))


def _precision(precision: str) -> str:
    if precision not in PRECISIONS:
        raise AscentError(f"There is no precision {precision!r}; choose one of {', '.join(PRECISIONS)}.")
    return precision
