"""The input bar: which sample or upload all tabs look at, and of a volume which plane and slice."""

from dataclasses import replace
from typing import IO

from bokeh.models import Row, Select, Slider

from dashboard import styles
from dashboard.inputs import Awaited, Choice, Input, Inputs, place_of
from dashboard.later import attempt, later
from dashboard.scans import Scan
from dashboard.services import Services
from dashboard.upload import Upload, shown_name
from dashboard.workspace import Workspace
from vislib.images import FITS
from vislib.network import Network
from vislib.preparation import STORED
from vislib.volumes import PLANES, slices
from vislib.words import counted


class InputBar:
    """Input select, plane, slice, fit and upload; prepares what they say off the event loop."""

    def __init__(self, workspace: Workspace, services: Services) -> None:
        self._workspace, self._services = workspace, services
        self.inputs = Inputs()
        self.select = Select(
            name="input-select",
            title="input",
            options=self.inputs.names(),
            value="",
            width=196,
            stylesheets=[styles.INLINE],
            margin=(0, 8, 0, 0),
        )
        self.plane = Select(
            name="input-plane", options=[*PLANES], value=PLANES[0], width=88, margin=(0, 8, 0, 0)
        )
        self.slice = Slider(
            name="input-slice",
            start=0,
            end=1,
            value=0,
            step=1,
            width=120,
            show_value=False,
            margin=(4, 12, 0, 6),
            stylesheets=[styles.SLIDER],
            html_attributes={"title": "Slice"},
        )
        self.fit = Select(
            name="input-fit",
            options=[(name, name) for name in FITS],
            value="crop",
            width=84,
            margin=(0, 8, 0, 0),
            html_attributes={"title": "; ".join(f"{name}: {words}" for name, words in FITS.items())},
        )
        self.upload = Upload(
            name="upload",
            label="Upload",
            words="Drop a picture (PNG, JPEG, WebP, TIFF) or a volume (NIfTI, Analyze, MGH, MINC, .zip) to look at it",
            limit=services.options.upload_limit * 1_000_000,
            width=92,
            margin=0,
        )
        for widget in (self.plane, self.fit):
            widget.stylesheets = [styles.FIELD]
        self.fit.visible = False  # most look at volumes; each change has Bokeh lay out the whole page
        self.root = Row(
            self.select, self.plane, self.slice, self.fit, self.upload, name="input-bar", margin=(0, 14, 0, 0)
        )
        self._showing = self._again = self._by_hand = False
        self.fulfilled = False  # whether the newest choice is the upload that was asked for
        self._preparing: tuple[Network | None, Choice] | None = None
        self._wire()

    def _wire(self) -> None:
        self.select.on_change("value", lambda _attr, _old, new: self.choose(name=new, index=None))
        self.plane.on_change("value", lambda _attr, _old, new: self.choose(plane=new, index=None))
        self.slice.on_change("value", lambda _attr, _old, new: self.choose(index=int(new)))
        self.fit.on_change("value", lambda _attr, _old, new: self.choose(fit=new))
        self.upload.on_done(self._uploaded)
        self.upload.on_problem(lambda sentence: self._workspace.notify(sentence, "warning"))
        self._workspace.listen("network", self._network_opened)
        self._workspace.listen("choice network", self._prepare)
        self._workspace.listen("choice scan input awaited", self._show)

    @property
    def awaited(self) -> Awaited | None:
        """The upload that is asked for."""
        return self._workspace.now.awaited

    @property
    def choice(self) -> Choice | None:
        """What is looked at, or will be when the upload that is asked for has come."""
        return self.awaited.choice if self.awaited is not None else self._workspace.now.choice

    def take(self, choice: Choice) -> None:
        """Look at this until a person chooses otherwise."""
        self._by_hand = True
        self._workspace.change(choice=choice)

    def await_file(self, awaited: Awaited) -> None:
        """Ask for an upload, and look at nothing else until it has come or a person chooses otherwise."""
        self._by_hand = True
        self._workspace.change(awaited=awaited, choice=None, scan=None, input=None)
        self._workspace.notify(awaited.sentence, "warning")

    def _network_opened(self) -> None:
        network = self._workspace.now.network
        if network is not None and not self._by_hand:
            self._workspace.change(choice=self.inputs.first_for(network))

    def choose(self, **values: object) -> None:
        """Change fields of the choice, unless it cannot be or only the widgets are being set."""
        choice = self._workspace.now.choice
        if self._showing:
            return
        if choice is None:  # no network is open, for which one would have been chosen
            choice = Choice("")
        if "name" in values:  # a time and a window by hand were another volume's
            values["time"] = 0
            if choice.preparation.scaling == "window":
                values["preparation"] = STORED
        new = replace(choice, **values)
        known = [name for names in self.inputs.names().values() for name in names]
        if new.name in known and new.plane in PLANES and new.fit in FITS:  # a browser may say anything
            self._by_hand = True
            self.fulfilled = False
            self._workspace.change(choice=new, awaited=None)

    def _uploaded(self, name: str, file: IO[bytes]) -> None:
        document = self.upload.document
        self._workspace.change(reading=shown_name(name))

        def read() -> None:
            with file:
                added, problem = attempt(lambda: self.inputs.add(name, file))
            later(document, lambda: self._added(shown_name(name), added, problem))

        self._services.reader.submit(read)

    def _added(self, called: str, name: str | None, problem: str) -> None:
        if self._workspace.now.reading == called:  # not yet another one
            self._workspace.change(reading="")
        if name is None:
            self._workspace.notify(problem, "warning")
            return
        self._by_hand = True
        told = self._fulfil(name)
        if not self.fulfilled:
            self.choose(name=name, index=None)
        self._workspace.change(uploaded=name)
        if told:
            self._workspace.notify(told, "warning")

    def _fulfil(self, name: str) -> str:
        """Show the place that a link asks for, where this upload is its file; a sentence where it may not be."""
        awaited, (called, data) = self.awaited, self.inputs.origin(name)
        self.fulfilled = awaited is not None and (data == awaited.data or called == awaited.name)
        if awaited is None or not self.fulfilled:
            return ""
        self._workspace.change(choice=replace(awaited.choice, name=name), awaited=None)
        if not awaited.data or data == awaited.data:
            return ""
        return f"{called} has other contents than the file of that name that the link is about."

    def close(self) -> None:
        """The session has ended: an unfinished upload is dropped, finished ones are deleted."""
        self.upload.close()
        self._services.reader.submit(self.inputs.close)

    def _prepare(self) -> None:
        """Prepare the chosen input for the network: one at a time, and after each the newest choice alone.

        While no network is open a volume is read all the same: it can be looked at.
        """
        network, choice, document = (
            self._workspace.now.network,
            self._workspace.now.choice,
            self.select.document,
        )
        if choice is None or (network is None and not self.inputs.is_volume(choice.name)):
            return
        if self._preparing is not None:
            self._again = (network, choice) != self._preparing
            return
        self._preparing = network, choice

        def work() -> None:
            found: Input | None = None
            scan, problem = attempt(lambda: self.inputs.scan(choice))
            if not problem and network is not None:
                found, problem = attempt(lambda: self.inputs.prepare(choice, network, scan))
            later(document, lambda: self._prepared(choice, scan, found, problem))

        own = choice.name in self.inputs.scans.uploads  # may have to be read again, at another time
        (self._services.reader if own else self._services.painter).submit(work)

    def _prepared(self, choice: Choice, scan: Scan | None, found: Input | None, problem: str) -> None:
        self._preparing = None
        if choice == self._workspace.now.choice and not self._again:
            self._workspace.change(scan=scan, input=found)
            if problem:
                self._workspace.notify(problem, "warning")
            if scan is not None:
                self._check_place(choice, scan)
        if self._again:
            self._again = False
            self._prepare()

    def _check_place(self, choice: Choice, scan: Scan) -> None:
        """Tell of a slice or time that a link names and the volume does not have."""
        count, times = slices(scan.volume, choice.plane), scan.volume.times
        if choice.time >= times:
            self._workspace.notify(
                f"{scan.name} has {counted(times, 'time point')}, so none of the number {choice.time}: "
                f"number {scan.volume.time} is shown.",
                "warning",
            )
            self.choose(time=scan.volume.time)
        if choice.index is not None and choice.index >= count:
            self._workspace.notify(
                f"{scan.name} has {counted(count, f'{choice.plane} slice')}, so none of the number {choice.index}: "
                f"number {count - 1} is shown.",
                "warning",
            )
            self.choose(index=count - 1)

    def _show(self) -> None:
        """Let the widgets say what is chosen."""
        choice = self.choice
        if choice is None:
            return
        if self.awaited is not None:
            choice = replace(choice, name=self.awaited.name)
        scan = self._workspace.now.scan
        volume = scan is not None and scan.name == choice.name
        self._showing = True
        try:
            options = self.inputs.names()
            if self.awaited is not None:
                options = {"to be uploaded": [self.awaited.name], **options}
            if self.select.options != options:
                self.select.options = options
            self.select.value = choice.name
            self.plane.value, self.fit.value = choice.plane, choice.fit
            self.plane.visible = self.slice.visible = self.inputs.is_volume(choice.name)
            self.fit.visible = not self.plane.visible and self.awaited is None
            if scan is not None and volume:
                self.slice.end = max(1, slices(scan.volume, choice.plane) - 1)
                self.slice.value = place_of(choice, scan)
        finally:
            self._showing = False
