"""The link that opened the page and the one that it can be shared by: nothing of either is shown as what it is not."""

from dataclasses import replace
from typing import Any

from bokeh.models import Tabs

from dashboard import address, sayings
from dashboard.address import Address
from dashboard.class_list import ClassList
from dashboard.input_bar import InputBar
from dashboard.inputs import Awaited, Choice
from dashboard.orientation import ORIENTATIONS
from dashboard.services import Services
from dashboard.workspace import Workspace
from vislib.ascent import PARAMETERS, PRESETS, Preset, default_preset, default_size
from vislib.attribution import Target
from vislib.errors import VislibError
from vislib.images import FITS
from vislib.network import Network
from vislib.preparation import STORED, Preparation
from vislib.probe import LOGITS
from vislib.volumes import PLANES

# What only means something for the network that the link names.
_OF_NETWORK = ("layer", "unit", "run", "target", "against", "opposite", "explain", "head")
_OF_INPUT = ("target", "against", "opposite")  # what was explained of a picture is none of another one's
_OF_PLACE = ("plane", "slice", "time", "fit", "values")
_SMALLEST, _LARGEST = 16, 1024  # pixels of an image that climbs


class Link:
    """Takes what the address asks for, part by part as the page can, and says what is missing here."""

    def __init__(
        self, workspace: Workspace, services: Services, input_bar: InputBar, classes: ClassList
    ) -> None:
        self._workspace, self._services = workspace, services
        self._input_bar, self._classes = input_bar, classes
        self._asked = Address()
        self._held: tuple[Network, Address] | None = None  # what is explained once a file has come
        workspace.listen("awaited", self._came)

    def read(self, arguments: Any) -> None:
        """Read a request's arguments; what cannot be meant is told."""
        self._asked, complaints = address.read(arguments)
        for complaint in complaints:
            self._warn(complaint)

    def _warn(self, sentence: str) -> None:
        self._workspace.notify(sentence, "warning")

    def _drop(self, names: tuple[str, ...]) -> None:
        self._asked = replace(self._asked, **dict.fromkeys(names))

    def begin(self, tabs: Tabs) -> str:
        """Open the tab, turn the slices; the name of the network to load."""
        asked, titles = self._asked, [one.title for one in tabs.tabs]
        if asked.tab in titles:
            tabs.active = titles.index(asked.tab)
        elif asked.tab is not None:
            self._warn(f"There is no tab {asked.tab!r}; the tabs are {', '.join(titles)}.")
        if asked.orientation in ORIENTATIONS:
            self._workspace.change(orientation=asked.orientation)
        elif asked.orientation is not None:
            self._warn(f"There is no orientation {asked.orientation!r}; choose {' or '.join(ORIENTATIONS)}.")
        if asked.network is None or self._services.may_load(asked.network):
            return asked.network or self._services.default_network
        left = (
            " without the link's layer, unit and class"
            if any(map(asked.__getattribute__, _OF_NETWORK))
            else ""
        )
        self._warn(f"There is no network {asked.network!r} here; the default was opened{left}.")
        self._drop(_OF_NETWORK)
        return self._services.default_network

    def refused(self) -> None:
        """The network could not be loaded: what was asked of it is asked of no other one."""
        self._drop(_OF_NETWORK)
        self._take_input()

    def opening(self, name: str, network: Network) -> dict[str, Any]:
        """What to show of a network that was loaded, as choices of the workspace; each part is asked once."""
        if name != (self._asked.network or self._services.default_network):
            self._drop(_OF_NETWORK)  # a person chose another one meanwhile
        layer, unit = self._layer_and_unit(network)
        self._take_input()
        preset, default = self._preset(), default_preset(network, layer)
        chosen = None if preset == default else preset
        assumed = None if network.head.said else network.head
        found: dict[str, Any] = {"network": self._taken(network), "assumed": assumed}
        found |= {"layer": layer, "unit": unit, "preset": chosen}
        if self._asked.seed is not None:
            found["seed"] = self._asked.seed
        size = self._asked.size
        if size is not None and not _SMALLEST <= size <= _LARGEST:
            self._warn(f"The link's image size {size} cannot be: give {_SMALLEST} to {_LARGEST} pixels.")
            size = None
        sizes = None if size is None else (size,) * len(network.input_shape[1:])
        usual = default_size(network, layer, preset or default)
        return found | {"size": None if sizes == usual else sizes}

    def opened(self, network: Network) -> str | None:
        """Explain what the link names, at once or when its file has come; the id of the run that it names."""
        asked, self._asked = self._asked, Address()
        if self._workspace.now.awaited is not None:
            self._held = network, asked
        else:
            self._explain(network, asked)
        return asked.run

    def _came(self) -> None:
        held, self._held = self._held, None
        if held is not None and self._input_bar.fulfilled and held[0] is self._workspace.now.network:
            self._explain(*held)

    # what is asked

    def _layer_and_unit(self, network: Network) -> tuple[str, int]:
        asked, layer = self._asked, network.opening
        try:
            if asked.layer is not None:
                layer = network.layer(asked.layer).name
            if asked.unit is not None:
                return layer, network.check_units(layer, [asked.unit])[0]
        except VislibError as error:
            self._warn(str(error))
        return layer, 0

    def _taken(self, network: Network) -> Network:
        """The network with the head that the link names, where a session may choose it."""
        kind = self._asked.head
        if kind is None or kind == network.head.kind:
            return network
        assumed = None if network.head.said else network.head
        if kind not in sayings.switches(network, assumed):
            self._warn(f"The link takes the output of {network.name} for {kind!r}, which it cannot be here.")
            return network
        try:
            return network.with_head(kind)
        except VislibError as error:
            self._warn(str(error))
            return network

    def _preset(self) -> Preset | None:
        """The preset that the link names, else the one that was chosen by hand; None: each layer's default."""
        asked = self._asked
        if asked.preset is None:
            return self._workspace.now.preset
        if asked.preset not in PRESETS:
            self._warn(f"There is no preset {asked.preset!r}; the presets are {', '.join(PRESETS)}.")
            return self._workspace.now.preset
        preset = PRESETS[asked.preset]
        try:
            return changed(preset, asked.changes or "")
        except VislibError as error:
            self._warn(f"The link's changes of {asked.preset} were not taken: {error}")
            return preset

    def _take_input(self) -> None:
        """Choose the input that is asked for, or wait for its file."""
        asked = self._asked
        if asked.upload is not None:
            self._input_bar.await_file(Awaited(asked.upload, asked.data or "", self._choice("")))
        elif asked.input is not None and self._input_bar.inputs.is_sample(asked.input):
            self._input_bar.take(self._choice(asked.input))
        elif asked.input is not None:
            left = " The class of the link was left out: it was another picture's." if asked.target else ""
            self._warn(f"There is no sample {asked.input!r}; choose an input.{left}")
            self._drop(_OF_INPUT)
        self._drop(("upload", "input"))

    def _choice(self, name: str) -> Choice:
        asked = self._asked
        plane, fit, preparation = PLANES[0], "crop", STORED
        if asked.plane is not None and asked.plane not in PLANES:
            self._warn(f"There is no plane {asked.plane!r}; choose one of {', '.join(PLANES)}.")
        elif asked.plane is not None:
            plane = asked.plane
        if asked.fit is not None and asked.fit not in FITS:
            self._warn(f"Pictures cannot be fitted by {asked.fit!r}; choose one of {', '.join(FITS)}.")
        elif asked.fit is not None:
            fit = asked.fit
        try:
            preparation = prepared(asked.values or "stored")
        except VislibError as error:
            self._warn(f"The link's values for the network were not taken: {error}")
        return Choice(name, plane, asked.slice, fit, asked.time or 0, preparation)

    def _explain(self, network: Network, asked: Address) -> None:
        try:
            if asked.explain is not None:
                unit, _, layer = asked.explain.partition(":")
                if not (unit.isascii() and unit.isdigit() and len(unit) < 8):
                    self._warn(f"The link's unit to explain is {asked.explain!r}; it must be as 5:conv3.")
                    return
                self._classes.explain(Target(int(unit), layer=layer).checked(network, 1))
            elif asked.target is not None:
                one = Target(asked.target, against=asked.against, opposite=asked.opposite == 1)
                self._classes.explain(one.checked(network, 1))
        except VislibError as error:
            self._warn(str(error))

    # what is said

    def write(self) -> str | None:
        """The query that brings this view back; None while it would name two networks' views at once."""
        now = self._workspace.now
        if now.network is None or self._workspace.loading:
            return None
        said: dict[str, Any] = {
            "network": now.network_name,
            "layer": now.layer,
            "unit": now.unit,
            "tab": now.tab,
        }
        said |= {"seed": now.seed or None, "run": now.opened}
        if (preset := self._workspace.preset) is not None:
            said |= described(preset)
            said["size"] = self._side(now.network, self._workspace.size_for(preset))
        if now.assumed is not None and now.network.head.kind != now.assumed.kind:
            said["head"] = now.network.head.kind
        if (awaited := now.awaited) is not None and self._held is not None:
            network, asked = self._held
            names = _OF_PLACE if network is not now.network else (*_OF_PLACE, *_OF_INPUT, "explain")
            said |= {name: getattr(asked, name) for name in names}
            said |= {"upload": awaited.name, "data": awaited.data or None}
        else:
            said |= _place(self._input_bar)
        if awaited is None and now.target is not None:
            said |= _target(now.target)
        if not self._workspace.radiological:
            said["orientation"] = now.orientation
        return address.write(Address(**said))

    def _side(self, network: Network, size: tuple[int, ...]) -> int | None:
        """The side of square images, where it is chosen or not the network's own."""
        plain = self._workspace.now.size is None and size == tuple(network.input_shape[1:])
        return None if plain or len(set(size)) > 1 else size[0]


def _target(target: Target) -> dict[str, Any]:
    if target.layer != LOGITS:
        return {"explain": f"{target.unit}:{target.layer}"}
    return {"target": target.unit, "against": target.against, "opposite": 1 if target.opposite else None}


def _place(bar: InputBar) -> dict[str, Any]:
    """Which input, and which part of it."""
    choice = bar.choice
    if choice is None:
        return {}
    said: dict[str, Any]
    if bar.inputs.is_sample(choice.name):
        said = {"input": choice.name}
    else:
        called, data = bar.inputs.origin(choice.name)
        said = {"upload": called, "data": data}
    if not bar.inputs.is_volume(choice.name):
        return said | {"fit": None if choice.fit == "crop" else choice.fit}
    said |= {"plane": choice.plane, "slice": choice.index, "time": choice.time or None}
    return said | {"values": None if choice.preparation == STORED else preparation_text(choice.preparation)}


def preparation_text(preparation: Preparation) -> str:
    """A preparation in an address: "percentiles:1:99:brain"."""
    limits = [repr(one) for one in (preparation.low, preparation.high) if one is not None]
    return ":".join([preparation.scaling, *limits, *(["brain"] if preparation.brain_only else [])])


def prepared(text: str) -> Preparation:
    """The preparation that `preparation_text` wrote; raises ImageError."""
    scaling, *more = text.split(":")
    brain = more[-1:] == ["brain"]
    limits = [_number(one) for one in more[: len(more) - brain]]
    if len(limits) not in (0, 2):
        raise VislibError(f"{text!r} has {len(limits)} limits; give two or none.")
    low, high = limits or (None, None)
    return Preparation(scaling, low, high, brain)


def described(preset: Preset) -> dict[str, str]:
    """A preset in an address: its name, and of a changed one what differs; nothing where it was not made from one."""
    if preset.name in PRESETS and PRESETS[preset.name] == preset:
        return {"preset": preset.name}
    base = PRESETS.get(preset.description.removeprefix("changed from "))
    if base is None:
        return {}
    differ = {
        name: getattr(preset, name) for name in PARAMETERS if getattr(preset, name) != getattr(base, name)
    }
    if "optimiser" in differ:
        differ["lr"] = preset.lr  # which another optimiser would change with itself, ...
    if "parametrisation" in differ:
        differ["spectrum_divisor"] = preset.spectrum_divisor  # ... as another parametrisation this
    text = ",".join(f"{name}:{value}" for name, value in differ.items())
    return {"preset": base.name, "changes": text}


def changed(preset: Preset, changes: str) -> Preset:
    """The preset with the changes that `described` wrote; raises AscentError."""
    for one in sorted(changes.split(","), key=lambda one: not one.startswith("optimiser:")):
        name, _, value = one.partition(":")
        if one:
            preset = preset.changed(**{name: value})
    return preset


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise VislibError(f"{text!r} is no number.") from None
