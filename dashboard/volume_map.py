"""The map over a volume: which class by which method, how far it is, and where it is strongest."""

import time
from html import escape

from bokeh.models import Checkbox, Column, Div, Row, Select

from dashboard import styles
from dashboard.answers import Answer, Answers
from dashboard.class_list import ClassList
from dashboard.input_warning import InputWarning
from dashboard.inputs import Inputs
from dashboard.label_input import LabelInput
from dashboard.later import attempt, later
from dashboard.live_button import LiveButton
from dashboard.live_text import LiveText
from dashboard.map_places import MapPlaces
from dashboard.method_chooser import MethodChooser
from dashboard.scans import Scan
from dashboard.services import Services
from dashboard.target_menu import TargetMenu
from dashboard.volume_questions import FileQuestion, MapQuestion, VolumeQuestion
from dashboard.volume_view import VolumeView
from dashboard.workspace import Workspace
from vislib.attribution import VolumeAttribution

_PAUSE = 0.7  # s between two partial maps: each is as many numbers as the volume has voxels ...
_REST = 10  # ... and at least so many times what it takes to send one

_STOP, _AGAIN = "Stop", "Start again"
_SAYS = "where the network looked"
_WEIGHTED = (
    "Each slice's map explains its own slice: weighted, a place counts as much as the class is probable there"
)
_NETWORK = ""  # the overlay menu's entry for what the network says


class VolumeMap:
    """Keeps the map of a VolumeView on the workspace's volume, plane and class while its tab is looked at."""

    def __init__(
        self,
        services: Services,
        workspace: Workspace,
        inputs: Inputs,
        view: VolumeView,
        classes: ClassList,
    ) -> None:
        self._services, self._workspace, self._inputs = services, workspace, inputs
        self._answers: Answers = services.answers
        self._view = view
        self._answer: Answer | None = None
        self._question: MapQuestion | None = None
        self._shown: VolumeAttribution | None = None  # what the view shows, ...
        self._answered: MapQuestion | None = None  # ... and what it answers
        self._scan: Scan | None = None
        self._other: Scan | None = None  # whose values are shown in place of the network's map
        self._next = 0.0  # when the next partial map may be sent
        self._limit = 0.0  # the value of its strongest colour
        self._refused = False
        self._found: VolumeAttribution | None = None  # what came, of which `_shown` may be weighted
        self.target = TargetMenu(workspace, classes)
        self.labels = LabelInput(
            services, self._renamed, lambda sentence: workspace.notify(sentence, "warning")
        )
        self._build()
        self.weighted.on_change("active", lambda _attr, _old, _new: self._weigh())
        self.overlay.on_change("value", lambda _attr, _old, new: self._overlay_chosen(new))
        self.stop.on_click(self._stop_or_start)
        workspace.listen("scan uploaded", self._list_overlays)
        workspace.listen("network", self._network_opened)
        workspace.listen("scan", self._scan_changed)
        workspace.listen("network scan target", self._offer_layers)
        workspace.listen("network scan choice tab target", self.ask)

    def _build(self) -> None:
        self.chooser = MethodChooser("volume-method", "Grad-CAM", self._workspace, self.ask)
        self.overlay = Select(
            name="volume-overlay",
            title="over it",
            options=[(_NETWORK, _SAYS)],
            value=_NETWORK,
            sizing_mode="stretch_width",
            stylesheets=[styles.FIELD],
            margin=(0, 0, 6, 0),
        )
        self.says = LiveText(
            name="volume-says",
            text="",
            stylesheets=[styles.QUIET],
            sizing_mode="stretch_width",
            margin=(2, 0, 6, 0),
        )
        self.warning = InputWarning("volume-warning", self._services.familiar, self._workspace)
        self.chooser.method.title = "asked by"
        self.foot = LiveText(
            name="volume-map-foot",
            text="",
            stylesheets=[styles.QUIET],
            sizing_mode="stretch_width",
            margin=(6, 0, 0, 0),
        )
        self.stop = LiveButton(
            name="volume-map-stop", label=_STOP, visible=False, margin=(6, 0, 0, 0), width=90
        )
        self.weighted = Checkbox(
            name="volume-weighted",
            label="weighted by each slice's P(class)",
            active=True,
            visible=False,
            margin=(6, 0, 0, 0),
            html_attributes={"title": _WEIGHTED},
        )
        self.places = MapPlaces(self._services, self.jump)
        self.chooser.gear.margin = (18, 0, 0, 0)
        self.asked = Column(
            self.says,
            self.warning.root,
            self.target.menu,
            Row(self.chooser.method, self.chooser.gear, sizing_mode="stretch_width", margin=0),
            self.chooser.grid,
            sizing_mode="stretch_width",
            margin=0,
        )
        self.root = Column(
            self.overlay,
            self.labels.root,
            self.asked,
            self.weighted,
            self.foot,
            self.stop,
            Div(text="Where it is strongest", stylesheets=[styles.HEADING], margin=(14, 0, 6, 0)),
            self.places.table.root,
            sizing_mode="stretch_width",
            margin=0,
        )

    @property
    def shown(self) -> tuple[MapQuestion, VolumeAttribution] | None:
        """The map over the volume, where it answers the present question."""
        if self._answered is None or self._shown is None or self._view.stale:
            return None
        if self._answered.scan is not self._workspace.now.scan:
            return None
        return self._answered, self._shown

    def jump(self, ijk: tuple[int, int, int]) -> None:
        """Put the crosshair on a voxel."""
        self._view.update(**dict(zip("ijk", ijk, strict=True)))

    # what is asked

    def _network_opened(self) -> None:
        network = self._workspace.now.network
        if network is not None:
            self._clear()

    def _offer_layers(self) -> None:
        network = self._workspace.now.network
        if network is not None:
            self.chooser.offer(network, self.target.target)

    def _scan_changed(self) -> None:
        now, before = self._workspace.now, self._scan
        if now.scan is before:
            return
        self._scan = now.scan
        self._clear()
        if now.scan is None or before is None or now.scan.name != before.name:
            self.target.volume_opened()

    def _clear(self) -> None:
        """Nothing that was asked is true of what is chosen now."""
        self.close()
        self._answer = self._question = self._shown = self._found = self._answered = None
        if self._view.map or self._view.stale:
            self._view.set_map(None)
        self._view.title, self.foot.text, self.stop.visible = "", "", False
        self.places.clear("")

    def _list_overlays(self) -> None:
        """Offer the other volumes."""
        scan = self._workspace.now.scan
        names = [name for group in self._inputs.names().values() for name in group]
        others = [
            name for name in names if self._inputs.is_volume(name) and (scan is None or name != scan.name)
        ]
        self.overlay.options = [(_NETWORK, _SAYS), *((name, name) for name in others)]
        if self.overlay.value not in others:
            self.overlay.value = _NETWORK

    def _overlay_chosen(self, name: str) -> None:
        self._other = None
        known = isinstance(name, str) and self._inputs.is_volume(name)
        self.asked.visible = not known
        if not known:
            self.ask()
            return
        document, self._view.stale = self._view.document, True

        def read() -> None:
            other, problem = attempt(lambda: self._inputs.scans.get(name))
            # Found here, where it may take its time.
            assert other is None or (other.key and (other.label_codes is None or other.volume.labelled))
            later(document, lambda: self._other_read(name, other, problem))

        self._services.reader.submit(read)

    def _other_read(self, name: str, other: Scan | None, problem: str) -> None:
        if problem:
            self._workspace.notify(problem, "warning")
        if name != self.overlay.value:
            return
        if other is None:
            self.overlay.value = _NETWORK
        else:
            self._other = other
            self.ask()

    def _wanted(self) -> MapQuestion | None:
        """The question of the present volume, plane and class; None while they are not known."""
        now, chooser = self._workspace.now, self.chooser
        if now.tab != "Volume" or now.scan is None or now.choice is None:
            return None
        if now.choice.name != now.scan.name:
            return None  # the volume is still to come
        if self.overlay.value != _NETWORK:
            if self._other is None:
                return None
            return FileQuestion(now.scan, self._other, self.labels.of(self._other))
        if now.network is None or self.target.target is None or now.target is None:
            return None  # what the network says is not known yet
        return VolumeQuestion(
            now.network,
            self.target.target,
            chooser.chosen,
            chooser.chosen_layer,
            chooser.values,
            now.scan,
            now.choice.plane,
            now.choice.preparation,
        )

    def ask(self, again: bool = False) -> None:
        """Compute the map that is wanted, unless it is there; what is shown is faint until it has come."""
        question = self._wanted()
        if question is None:
            return
        known = self._question is not None and question.key == self._question.key
        if known and (self._answer is not None or self._refused) and not again:
            if self._view.stale and self._shown is not None and self._answered is self._question:
                self._push(self._answered, self._shown)  # another overlay was chosen, and was not to be had
            return
        self.close()
        self._question, self._refused = question, False
        if isinstance(question, VolumeQuestion) and (problem := question.method.check(question.network)):
            self._refuse(problem)
            return
        self._view.update(stale=True, title=question.caption)
        self.foot.text = "computing …"
        self.places.clear("")
        self._answer = self._answers.ask(question)
        self.tick()

    def _stop_or_start(self) -> None:
        if self._answer is None:
            return
        if self._answer.state == "cancelled":
            self.ask(again=True)
        else:
            self._answers.stop(self._answer.job)

    # what has come

    def _refuse(self, problem: str) -> None:
        self._answer = self._shown = self._found = self._answered = None
        self._refused = True
        self._view.set_map(None)
        self._view.title, self.foot.text = "", escape(problem)
        self.stop.visible = False
        self.places.clear("")

    def tick(self) -> None:
        """Show what has come since the last time."""
        answer, question = self._answer, self._question
        if answer is None or question is None:
            return
        if answer.state == "failed":
            self._refuse(answer.error or "The method failed.")
            return
        stopped = answer.state == "cancelled"
        shown = question.long and answer.state in ("queued", "running", "cancelled")
        if (self.stop.visible, self.stop.label) != (shown, _AGAIN if stopped else _STOP):
            self.stop.update(visible=shown, label=_AGAIN if stopped else _STOP)
        found = answer.result
        if found is not None and found is not self._found:
            rested = time.monotonic() > self._next and self._view.ack >= self._view.tick
            if found.done or rested or stopped:
                self._push(question, found)
        elif stopped and found is not None and self._view.progress < 1:
            self._push(question, found)
        elif stopped and found is None and self._view.stale:
            self._view.set_map(None)
            self._view.title, self.foot.text = "", "stopped"

    def _push(self, question: MapQuestion, found: VolumeAttribution) -> None:
        if question.scan is not self._workspace.now.scan or found.values.shape != self._view.grid:
            return  # of another volume than the view has been given so far
        self._found, begun = found, time.monotonic()
        found = found.weigh(bool(self.weighted.active))
        self._shown, self._answered = found, question
        stopped = self._answer_stopped()
        share = 1.0 if found.done or stopped else max(0.02, min(0.99, found.step / max(1, found.steps)))
        self._send(question, found, share)
        self._limit = float(self._view.limit)
        self._next = begun + max(_PAUSE, _REST * (time.monotonic() - begun))
        self._view.title = question.caption
        self._tell(question, found, "stopped" if stopped else "")
        if found.done or stopped:
            self.locate()

    def _send(self, question: MapQuestion, found: VolumeAttribution, share: float) -> None:
        """Give the view a map, or regions, and the probabilities of its slices."""
        atlas = isinstance(question, FileQuestion) and question.regions is not None
        self.labels.show(question.other if isinstance(question, FileQuestion) and atlas else None)
        by_slices = isinstance(question, VolumeQuestion) and question.by_slices
        known = found.probabilities is not None
        self.weighted.update(visible=by_slices and (known or not found.done), disabled=not known)
        if isinstance(question, FileQuestion) and question.regions is not None:
            self._view.set_labels(found.values, question.regions, question.names)
            return
        chances = found.probabilities if isinstance(question, VolumeQuestion) else None
        self._view.set_map(
            found.values,
            found.signed,
            limit=found.limit,
            progress=share,
            probabilities=() if chances is None else chances.tolist(),
            probability_name=question.whose if isinstance(question, VolumeQuestion) else "",
        )

    def _weigh(self) -> None:
        """Weigh the slices' maps by the class's probability in them, or not: nothing is computed anew."""
        if self._answered is not None and self._found is not None and not self._view.stale:
            self._push(self._answered, self._found)

    def _renamed(self) -> None:
        """The regions that are shown have other names."""
        question = self._wanted()
        answered, found = self._answered, self._found
        if not isinstance(question, FileQuestion) or answered is None or found is None:
            return
        if question.key == answered.key:
            self._question = question
            self._push(question, found)

    def _tell(self, question: MapQuestion, found: VolumeAttribution, state: str) -> None:
        words = [escape(one) for one in question.said(found)]
        if not found.done:
            words.append(state or f"{found.step / max(1, found.steps):.0%}".replace("%", " %"))
        text = " · ".join([*words, *(escape(note) for note in found.words)])
        if text != self.foot.text:
            self.foot.text = text

    def locate(self) -> None:
        """Find where the map is strongest."""
        question, found = self._answered, self._shown
        if question is not None and found is not None and (found.done or self._answer_stopped()):
            self.places.find(question, found, self._limit, float(self._view.threshold), self._view.document)

    def _answer_stopped(self) -> bool:
        return self._answer is not None and self._answer.state == "cancelled"

    @property
    def limit(self) -> float:
        """The value of the strongest colour of what is shown."""
        return self._limit

    def forget(self) -> None:
        """Let go of all that was asked and answered."""
        self._answer = self._question = self._shown = self._found = self._answered = None
        self.labels.close()
        self._scan = self._other = None

    def close(self) -> None:
        """Nobody waits for it any more."""
        if self._answer is not None and self._answer.job is not None and self._answer.state != "done":
            self._answers.stop(self._answer.job)
