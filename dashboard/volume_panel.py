"""The Volume panel: a volume in three planes, what a network sees in it, and what can be saved of that."""

from html import escape

from bokeh.document import Document
from bokeh.models import Column, Div, Dropdown, Row, Slider

from dashboard import styles
from dashboard.canvas import Download
from dashboard.class_list import ClassList
from dashboard.input_bar import InputBar
from dashboard.inputs import place_of
from dashboard.later import attempt, later
from dashboard.live_text import LiveText
from dashboard.orientation import NEUROLOGICAL, RADIOLOGICAL
from dashboard.place_input import PlaceInput
from dashboard.places import OwnAxes
from dashboard.preparation_input import PreparationInput
from dashboard.scans import Scan
from dashboard.services import Services
from dashboard.slice_strip import SliceStrip
from dashboard.volume_controls import VolumeControls
from dashboard.volume_files import FILES, TYPES, Sight, build
from dashboard.volume_map import VolumeMap
from dashboard.volume_view import VolumeView, place_in
from dashboard.workspace import Workspace
from vislib.placement import code_words
from vislib.preparation import STORED
from vislib.slices import VIEWS
from vislib.volume import Volume

_NOTHING = (
    "Choose a brain volume in the menu above, or upload one: NIfTI, Analyze, MGH, MINC, PAR/REC, zipped DICOM"
)


class VolumePanel:
    """Keeps the view on the workspace's scan, and the workspace's slice on the view's crosshair."""

    def __init__(
        self,
        services: Services,
        workspace: Workspace,
        document: Document,
        input_bar: InputBar,
        classes: ClassList,
    ) -> None:
        self._services, self._workspace, self._document = services, workspace, document
        self._input_bar, self._classes = input_bar, classes
        self._scan: Scan | None = None
        self._preparation = STORED
        self._following = self._saving = False
        self.view = VolumeView(name="volume-view", placeholder=_NOTHING, sizing_mode="stretch_both", margin=0)
        self.strip = SliceStrip(
            name="volume-strip",
            view=self.view,
            sizing_mode="stretch_width",
            height=104,
            margin=(8, 0, 0, 0),
        )
        self.controls = VolumeControls(self.view)
        # Before the map is made: it hears of a volume when the view has it, and goes over it once.
        workspace.listen("scan choice input reading awaited", self._show)
        workspace.listen("orientation", lambda: self.view.update(radiological=workspace.radiological))
        self.view.on_change("radiological", lambda _attr, _old, new: self._turned(bool(new)))
        self.map = VolumeMap(services, workspace, input_bar.inputs, self.view, classes)
        self.preparation = PreparationInput(
            lambda chosen: input_bar.choose(preparation=chosen),
            lambda sentence: workspace.notify(sentence, "warning"),
            lambda: (float(self.view.window_low), float(self.view.window_high)),
        )
        self.download = Download(name="volume-download")
        self.place = PlaceInput(self.map.jump, lambda sentence: workspace.notify(sentence, "warning"))
        self._build()
        for name in "ijk":
            self.view.on_change(name, lambda _attr, _old, _new: self._crosshair_moved())
        self.time.on_change("value_throttled", lambda _attr, _old, new: input_bar.choose(time=int(new)))
        self.controls.threshold.on_change("value_throttled", lambda _attr, _old, _new: self.map.locate())
        self.files.on_click(lambda event: self._export(str(getattr(event, "item", ""))))

    def _build(self) -> None:
        def heading(text: str) -> Div:
            return Div(text=text, stylesheets=[styles.HEADING], margin=(14, 0, 6, 0))

        self.facts = LiveText(
            name="volume-facts",
            text="",
            stylesheets=[styles.QUIET],
            sizing_mode="stretch_width",
            margin=0,
        )
        self.time = Slider(
            name="volume-time",
            title="time point",
            start=0,
            end=1,
            value=0,
            step=1,
            visible=False,
            sizing_mode="stretch_width",
            margin=(8, 8, 0, 6),
            stylesheets=[styles.SLIDER],
        )
        self.files = Dropdown(
            name="volume-save",
            label="Save",
            menu=[(label, what) for what, label in FILES.items()],
            width=84,
            margin=(14, 0, 0, 0),
            stylesheets=[styles.BASE],
        )
        self.left = Column(
            self.facts,
            self.place.root,
            self.time,
            heading("Values for the network"),
            self.preparation.root,
            heading("Map over the volume"),
            self.map.root,
            width=252,
            sizing_mode="stretch_height",
            margin=(8, 16, 0, 0),
            stylesheets=[styles.SCROLL],
        )
        bar = Row(self.controls.root, self.files, sizing_mode="stretch_width", margin=0)
        right = Column(
            bar,
            self.view,
            self.strip,
            sizing_mode="stretch_both",
            margin=(4, 0, 0, 0),
            stylesheets=[styles.SHRINK],
        )
        self.root = Row(self.left, right, sizing_mode="stretch_both", margin=0)

    def _show(self) -> None:
        """Let the view and the widgets say what is chosen."""
        now = self._workspace.now
        nothing = _NOTHING if now.awaited is None else now.awaited.sentence
        self.view.placeholder = f"Reading {now.reading} …" if now.reading else nothing
        choice, scan = now.choice, now.scan
        if choice is None or (scan is not None and scan.name != choice.name):
            return  # the volume of the choice is still to come
        self._following = True
        try:
            if scan is not self._scan or not (scan or self._input_bar.inputs.is_volume(choice.name)):
                self._open(scan)
            if scan is not None:
                self._follow(choice.plane, place_of(choice, scan))
        finally:
            self._following = False
        if scan is None:
            return
        # What it makes of the volume is found with the input, off the event loop: it may need the brain's mask.
        found = now.input is not None and now.input.scan is scan
        ready = found and now.input is not None and now.input.choice.preparation == choice.preparation
        if ready and choice.preparation != self._preparation:  # what is seen is what the network sees
            self._preparation, window = choice.preparation, choice.preparation.window(scan.volume)
            self.view.update(window_low=window.low, window_high=window.high)
        self.preparation.show(choice.preparation, scan.volume if ready else None)
        self.view.plane = choice.plane

    def _open(self, scan: Scan | None) -> None:
        before, self._scan = self._scan, scan
        if scan is None:
            self.place.forget()
            if self.left.visible:
                self.view.clear()
            self._show_tools(False)
            return
        self._show_tools(True)
        volume, one = scan.volume, self._workspace.now.input
        same = before is not None and before.name == scan.name  # at another time: nothing else jumps
        self._preparation = one.choice.preparation if one is not None and one.scan is scan else STORED
        window = self._preparation.window(volume)
        shown = (window.low, window.high)
        if same:
            shown = (float(self.view.window_low), float(self.view.window_high))
        self.view.show(volume.data, volume.affine, shown, scan.mask, OwnAxes.of(volume))
        self.view.title, self.view.description = "", f"{scan.name} in three planes"
        if not same:
            self._centre(scan)
            self.controls.fit(float(volume.data.min()), float(volume.data.max()), shown)
        self.facts.text = facts(scan)
        self._tell_place()
        self.time.update(end=max(1, volume.times - 1), value=volume.time, visible=volume.times > 1)

    def _show_tools(self, shown: bool) -> None:
        """Without a volume there is nothing to set or to save; until it is known that there is none, they are shown.

        Each change of `visible` has Bokeh lay out the whole page: on opening it would delay the first picture.
        """
        self.left.visible = self.controls.root.visible = self.strip.visible = self.files.visible = shown

    def _centre(self, scan: Scan) -> None:
        """Put the crosshair into the lesion, where one is known."""
        if scan.mask is None or not scan.mask.any():
            return
        for axis, name in enumerate("ijk"):
            counts = scan.mask.sum(tuple(other for other in range(3) if other != axis))
            self.view.update(**{name: int(counts.argmax())})

    def _follow(self, plane: str, index: int) -> None:
        """Put the crosshair on the chosen slice."""
        name = "ijk"[VIEWS[plane].across]
        if getattr(self.view, name) != index:
            self.view.update(**{name: index})

    def _turned(self, radiological: bool) -> None:
        self._workspace.change(orientation=RADIOLOGICAL if radiological else NEUROLOGICAL)

    def _tell_place(self) -> None:
        if self._scan is not None and self.view.grid == self._scan.volume.data.shape:
            self.place.show(self._scan.volume, place_in(self.view))

    def _crosshair_moved(self) -> None:
        """The slice on which the crosshair is becomes the input of all tabs."""
        self._tell_place()
        choice, scan = self._workspace.now.choice, self._workspace.now.scan
        if self._following or choice is None or scan is None or scan is not self._scan:
            return
        index = int(getattr(self.view, "ijk"[VIEWS[choice.plane].across]))
        if index != place_of(choice, scan):
            self._input_bar.choose(index=index)

    def tick(self) -> None:
        """Show what has come."""
        self.map.tick()
        self.map.warning.tick()
        said, now, text = self._classes.said, self._workspace.now, "&nbsp;"
        if said is not None and now.input is not None:
            what = "this slice" if now.input.slice is not None else "the volume"
            text = f"It says of {what}: <b>{escape(said[0])}</b>, "
            text += f"<span style='white-space:nowrap'>{escape(said[1])}</span>"
        if now.network is None:
            text = "No network is open: there is no map of what it looked at."
        if text != self.map.says.text:
            self.map.says.text = text

    def _export(self, what: str) -> None:
        scan, choice = self._workspace.now.scan, self._workspace.now.choice
        if what not in FILES or scan is None or choice is None or scan is not self._scan:
            return
        if self._saving:
            self._workspace.notify("A file is being made already: wait until it has come.", "warning")
            return
        self._saving = True
        sight, shown = Sight.of(self.view, choice.plane, self.map.limit), self.map.shown
        warning = self.map.warning.text

        def work() -> None:
            made, problem = attempt(lambda: build(what, scan, shown, sight, warning))
            later(self._document, lambda: self._hand_over(made, problem))

        self._services.reader.submit(work)

    def _hand_over(self, made: tuple[str, bytes] | None, problem: str) -> None:
        self._saving = False
        if made is None:
            self._workspace.notify(problem, "warning")
        else:
            self.download.save(made[1], made[0], TYPES[made[0].rsplit(".", 1)[1]])

    def close(self) -> None:
        """The browser has gone: nobody waits for its map, and its volume is let go."""
        self.map.close()
        self.map.forget()
        self._scan = None
        self.place.forget()
        self.view.release()


def facts(scan: Scan) -> str:
    """What is known about a volume, as HTML."""
    volume = scan.volume
    size = " x ".join(str(side) for side in volume.data.shape)
    voxel = " x ".join(f"{side:.3g}" for side in volume.voxel)
    lines = [
        f"<b>{escape(scan.name)}</b>",
        f"{size} voxels of {voxel} mm, {escape(volume.stored)}",
        escape(_of_file(volume)),
    ]
    if scan.label:
        lines.append(f"true class: <b>{escape(scan.label)}</b>")
    return "<br>".join([*lines, *(escape(note) for note in volume.notes)])


def _of_file(volume: Volume) -> str:
    """How the file itself counts and places its voxels, as a sentence."""
    placed = volume.placement
    size = " x ".join(str(side) for side in volume.file_shape)
    said = [
        f"In the file: {size}, axes {volume.axis_codes}",
        f"placed by {'' if ' ' in placed.source else 'its '}{placed.source}",
    ]
    forms = (("sform", placed.sform), ("qform", placed.qform))
    said += [f"{name} {code_words(code)}" for name, code in forms if code is not None]
    unit = "mm" if placed.unit == "mm" else f"{placed.unit} of {placed.mm:g} mm"
    return (
        f"{', '.join(said)}; {'unit not given, taken as mm' if placed.unit == 'unknown' else f'unit {unit}'}."
    )
