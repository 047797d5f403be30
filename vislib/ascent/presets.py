"""Presets: named choices of every parameter of an ascent, the published ones among them."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from vislib.ascent.parameters import PARAMETERS, Value
from vislib.ascent.randomness import SEARCH, generator
from vislib.errors import AscentError
from vislib.whole import checked_seed, whole

# An optimiser's usual learning rate, taken when a preset's optimiser is changed and its lr is not.
USUAL_LR: Mapping[str, float] = MappingProxyType(
    {"normalised": 0.02, "adam": 0.05, "gradient": 100.0, "progress": 100.0}
)
PUBLISHED_DIVISOR = 4.0  # lucid's, without which a third of the pixels saturate; taken when Fourier is chosen
# Parameters that came after the first runs were stored: those hold none, and did what these values do.
LATER: Mapping[str, Value] = MappingProxyType({"spectrum_divisor": 1.0, "final_lr": 1.0, "patience": 0})


@dataclass(frozen=True)
class Preset:
    """One value for every entry of PARAMETERS, with a name; raises AscentError for a value out of range.

    Yosinski's fields stay in the published units: his image `x_y` is mean-subtracted and spans 0-255,
    ours `x` spans 0-1, so `x_y = 255 (x - mean)` and `dS/dx_y = dS/dx / 255`. His `x_y += lr dS/dx_y` is
    therefore `x += lr / 255^2 dS/dx`; his `progress` rule `lr = min(max_lr, desired / ||dS/dx_y||^2)` uses
    `||dS/dx_y||^2 = ||dS/dx||^2 / 255^2`; `start_sd` of 10 is 10 / 255 here; decay, percentiles and blur are
    free of units.
    """

    name: str
    description: str = ""
    source: str = ""
    parametrisation: str = "pixels"
    objective: str = "channel"
    optimiser: str = "normalised"
    steps: int = 256
    lr: float = 0.02
    max_lr: float = 100.0
    desired: float = 2.0
    start_sd: float = 10.0
    spectrum_sd: float = 0.01
    spectrum_decay: float = 1.0
    l2: float = 0.0
    tv: float = 0.0
    decay: float = 0.0
    blur_sigma: float = 0.0
    blur_every: int = 1
    norm_percentile: float = 0.0
    contribution_percentile: float = 0.0
    pad: int = 0
    jitter: int = 0
    scale: float = 0.0
    rotate: float = 0.0
    jitter2: int = 0
    redirect: int = 16
    spectrum_divisor: float = 1.0
    final_lr: float = 1.0
    patience: int = 0

    def __post_init__(self) -> None:
        for name, parameter in PARAMETERS.items():
            object.__setattr__(self, name, parameter.check(getattr(self, name)))

    def changed(self, **values: Value) -> "Preset":
        """This preset with other values, named "custom" (itself where nothing differs).

        A change of `optimiser` that leaves `lr` as it was takes the new optimiser's usual lr, because the units
        differ; one of `parametrisation` to "fourier" likewise takes the published `spectrum_divisor`. Raises
        AscentError for a parameter that does not exist or a value out of range.
        """
        for name in values:
            if name not in PARAMETERS:
                raise AscentError(f"A preset has no parameter {name!r}; it has {', '.join(PARAMETERS)}.")
        values = {name: PARAMETERS[name].check(value) for name, value in values.items()}
        optimiser = str(values.get("optimiser", self.optimiser))
        if optimiser != self.optimiser and values.get("lr", self.lr) == self.lr:
            values["lr"] = USUAL_LR[optimiser]
        if values.get("parametrisation", self.parametrisation) != self.parametrisation == "pixels":
            values.setdefault("spectrum_divisor", PUBLISHED_DIVISOR)
        if all(getattr(self, name) == value for name, value in values.items()):
            return self
        fields: dict[str, Any] = {
            "name": "custom",
            "description": f"changed from {self._origin()}",
            "source": "",
            **values,
        }
        return dataclasses.replace(self, **fields)

    def relevant(self) -> tuple[str, ...]:
        """Names of the parameters that have an effect with this preset's choices, in PARAMETERS' order."""
        return tuple(
            name
            for name, parameter in PARAMETERS.items()
            if all(getattr(self, other) in allowed for other, allowed in parameter.used_when.items())
        )

    def to_dict(self) -> dict[str, Value]:
        """Every field as JSON-able values, but those of LATER that do what was done before; `from_dict` undoes it.

        So a run that was stored before a parameter came keeps its name, and is found again.
        """
        said = dataclasses.asdict(self)
        return {name: value for name, value in said.items() if name not in LATER or value != LATER[name]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Preset":
        """The preset that `to_dict` wrote (fields that are missing get their default); raises AscentError."""
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown or "name" not in values:
            wrong = f"unknown fields {', '.join(unknown)}" if unknown else "no name"
            raise AscentError(f"This preset has {wrong}; its fields are {', '.join(sorted(known))}.")
        return cls(**values)

    def _origin(self) -> str:
        return self.description.removeprefix("changed from ") if self.name == "custom" else self.name


_YOSINSKI = "Yosinski et al. 2015, arXiv 1506.06579"


def _yosinski(number: int, about: str, **values: Any) -> Preset:
    return Preset(f"Yosinski {number}", about, _YOSINSKI, objective="neuron", start_sd=10.0, **values)


_ALL = (
    Preset("none", "no prior at all: the gradient alone", "Erhan et al. 2009"),
    Preset("L2", "pixels decay towards the data's mean", "Simonyan 2013, arXiv 1312.6034", decay=0.02),
    _yosinski(
        1, "blur and small-norm pixels dropped", optimiser="progress", max_lr=100.0, desired=2.0, steps=500,
        blur_sigma=0.5, blur_every=4, norm_percentile=50.0,
    ),
    _yosinski(
        2, "strong decay, smallest-norm pixels dropped", optimiser="gradient", lr=100.0, steps=750, decay=0.3,
        norm_percentile=20.0,
    ),
    _yosinski(
        3, "blur and a little decay (most figures of the paper)", optimiser="gradient", lr=100.0, steps=1000,
        decay=1e-4, blur_sigma=1.0, blur_every=4,
    ),
    _yosinski(
        4, "blur and pixels of small contribution dropped", optimiser="progress", max_lr=1e8, desired=2.0,
        steps=1000, blur_sigma=0.5, blur_every=4, contribution_percentile=90.0,
    ),
    Preset(
        "jitter + TV", "random shifts and a total-variation penalty",
        "Mordvintsev et al. 2015 (Inceptionism); Mahendran and Vedaldi 2015, arXiv 1412.0035",
        optimiser="adam", lr=0.02, tv=1.0, jitter=8,
    ),
    Preset(
        "Fourier, robust", "Fourier spectrum, robust to shifts, zoom and turns",
        "Olah et al. 2017, Feature Visualization, doi 10.23915/distill.00007",
        parametrisation="fourier", optimiser="adam", lr=0.05, steps=512, spectrum_divisor=PUBLISHED_DIVISOR,
        pad=12, jitter=8, scale=0.1, rotate=10.0, jitter2=4,
    ),
    Preset(
        "Fourier, quick", "as \"Fourier, robust\", with steps four times as large that end small",
        "vislib; parametrisation as in Olah et al. 2017, Feature Visualization, doi 10.23915/distill.00007",
        parametrisation="fourier", optimiser="adam", lr=0.2, final_lr=0.25, steps=96, patience=32,
        spectrum_divisor=PUBLISHED_DIVISOR, jitter=8, scale=0.1, rotate=5.0, jitter2=4,
    ),
    Preset(
        "smooth steps", "steps of one length that grow smaller, a light blur and decay towards the data's mean",
        "vislib; normalised gradient as in Øygard 2015, blur and decay as in Yosinski et al. 2015",
        lr=0.08, final_lr=0.5, steps=64, decay=0.02, blur_sigma=0.6, blur_every=1,
    ),
    Preset(
        "centre neuron", "the centre neuron alone, on the pixels that it sees; for first layers",
        "vislib; the neuron as in Yosinski et al. 2015",
        objective="neuron", lr=0.012, steps=64, decay=0.05,
    ),
)  # fmt: skip

PRESETS: Mapping[str, Preset] = MappingProxyType({preset.name: preset for preset in _ALL})


# What the rows of one batch must agree on; everything else may differ from row to row.
SHARED = (
    "parametrisation", "objective", "optimiser", "steps", "spectrum_sd", "spectrum_decay", "spectrum_divisor",
    "patience", "pad", "jitter", "scale", "rotate", "jitter2", "redirect",
)  # fmt: skip


def find_preset(name: str) -> Preset:
    """The preset of that name; raises AscentError with the names there are."""
    if not isinstance(name, str) or name not in PRESETS:
        raise AscentError(f"There is no preset {name!r}; the presets are {', '.join(PRESETS)}.")
    return PRESETS[name]


def random_search(n: int, seed: int = 0) -> list[Preset]:
    """Draw `n` combinations of the four Yosinski regularisers, to climb side by side as one batch.

    Every combination climbs the neuron objective with the paper's constant lr of 100 (0-255 units). The paper
    (arXiv 1506.06579) drew 300 combinations but printed no ranges; here each regulariser is off in half of
    the draws, and otherwise decay is log-uniform in 1e-4..0.5, blur sigma uniform in 0.3..1.5 at every 1..10
    steps, and the percentiles uniform in 10..95. Draw i depends on (seed, i) alone. Raises
    AscentError for n < 1 and for what is no seed.
    """
    if (whole(n) or 0) < 1:
        raise AscentError(f"A random search of {n!r} combinations is empty; give 1 or more.")
    start = checked_seed(seed, AscentError)
    return [_draw(index, start) for index in range(n)]


def _draw(index: int, seed: int) -> Preset:
    random = generator(SEARCH, seed, index)
    on = random.random(4) < 0.5
    decay, sigma, norm, contribution = (float(value) for value in random.random(4))
    every = int(random.integers(1, 11))
    return Preset(
        f"random {index}",
        "a random combination of Yosinski's regularisers",
        _YOSINSKI,
        objective="neuron",
        optimiser="gradient",
        lr=100.0,
        steps=500,
        decay=1e-4 * 5000.0**decay if on[0] else 0.0,
        blur_sigma=0.3 + 1.2 * sigma if on[1] else 0.0,
        blur_every=every,
        norm_percentile=10.0 + 85.0 * norm if on[2] else 0.0,
        contribution_percentile=10.0 + 85.0 * contribution if on[3] else 0.0,
    )


def check_together(presets: Sequence[Preset]) -> None:
    """Raise AscentError where presets cannot climb in one batch: regularisers and rates alone may differ."""
    for name in SHARED:
        values = sorted({str(getattr(preset, name)) for preset in presets})
        if len(values) > 1:
            raise AscentError(
                f"Presets of one batch must share their {name}, but it is {' and '.join(values)}; "
                "run them one by one."
            )
