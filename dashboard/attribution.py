"""The Attribution panel: the input, what the network says to it, and two to six methods' maps side by side."""

from html import escape

from bokeh.document import Document
from bokeh.models import Column, GridBox, RadioButtonGroup, Row

from dashboard import styles
from dashboard.answers import Answers
from dashboard.arrival_view import ArrivalView
from dashboard.canvas import Download
from dashboard.check_view import CheckView
from dashboard.class_list import ClassList, caption
from dashboard.input_warning import InputWarning
from dashboard.later import attempt, later
from dashboard.lens_controls import LensControls
from dashboard.live_button import LiveButton
from dashboard.live_text import LiveText
from dashboard.map_files import TYPES, build, look_of
from dashboard.method_card import FILES, MethodCard
from dashboard.orientation import IN_SHORT, NEUROLOGICAL, RADIOLOGICAL
from dashboard.overlay import Lens, Overlay
from dashboard.services import Services
from dashboard.workspace import Workspace
from vislib.slices import VIEWS

FIRST = ("Grad-CAM", "Grad-CAM++", "Guided backprop", "Integrated gradients", "SmoothGrad", "Occlusion")
FEWEST = 2
_NO_INPUT = "no input yet"
_NO_NETWORK = "No network is open: choose one in the header. Volumes can be looked at meanwhile."


class AttributionPanel:
    """Keeps the cards on the workspace's input and target."""

    def __init__(self, services: Services, workspace: Workspace, document: Document) -> None:
        self._services, self._workspace, self._document = services, workspace, document
        self.answers: Answers = services.answers
        self.lens = Lens(name="lens")
        self.classes = ClassList(self.answers, workspace)
        self.controls = LensControls(self.lens)
        self.check = CheckView(self.answers, workspace, self.lens)
        self.arrival = ArrivalView(self.answers, workspace)
        self.warning = InputWarning("input-warning", services.familiar, workspace)
        self.download = Download(name="map-download")
        self.cards = [self._make(number, method) for number, method in enumerate(FIRST, start=1)]
        self._spare: list[MethodCard] = []
        self._build()
        self._lay_out()
        self.add.on_click(self._add_clicked)
        workspace.listen("network target", self._offer_layers)
        workspace.listen("choice", self._dim)
        workspace.listen("awaited", self._await)
        workspace.listen("input", self._show_input)
        workspace.listen("orientation", self._turn)
        self.orientation.on_click(self._turn_clicked)
        self.view.on_change("active", lambda _attr, _old, new: self._view_chosen(new))
        self.check.start.on_click(lambda: self.check.begin(self.cards))
        self.check.stop.on_click(self.check.end)
        workspace.listen("target tab", self.ask)
        workspace.listen("network input target", self.check.forget)

    def _build(self) -> None:
        self.picture = Overlay(
            name="input-overlay",
            lens=self.lens,
            placeholder=_NO_INPUT,
            show_overlay=False,
            sizing_mode="stretch_width",
            height=236,
            margin=0,
        )
        self.caption = LiveText(
            name="input-caption",
            text="",
            stylesheets=[styles.QUIET],
            sizing_mode="stretch_width",
            margin=(6, 0, 0, 0),
        )
        self.orientation = LiveButton(
            name="orientation",
            label=IN_SHORT[self._workspace.radiological],
            visible=False,
            margin=(6, 0, 0, 0),
            stylesheets=[styles.LINE_BUTTON],
            html_attributes={
                "title": "Which way round slices are drawn on the whole page; the network's input stays"
            },
        )
        self.view = RadioButtonGroup(
            name="attribution-view", labels=["Maps", "Check"], active=0, margin=(14, 16, 0, 0)
        )
        self.add = LiveButton(
            name="method-add", label="Add a method", sizing_mode="stretch_width", margin=(12, 0, 8, 0)
        )
        self.grid = GridBox(name="method-grid", children=[], spacing=8, sizing_mode="stretch_both", margin=0)
        left = Column(
            self.picture,
            self.warning.root,
            self.caption,
            self.orientation,
            self.arrival.root,
            self.classes.root,
            self.add,
            width=236,
            sizing_mode="stretch_height",
            margin=(8, 16, 0, 0),
            stylesheets=[styles.SCROLL],
        )
        bar = Row(
            self.view,
            self.controls.root,
            self.check.bar,
            sizing_mode="stretch_width",
            margin=(2, 0, 8, 0),
            stylesheets=[styles.WRAP],
        )
        self.maps = Column(self.grid, sizing_mode="stretch_both", margin=0)
        right = Column(bar, self.maps, self.check.root, sizing_mode="stretch_both", margin=(4, 0, 0, 0))
        right.stylesheets = [styles.SHRINK]
        self.root = Row(left, right, sizing_mode="stretch_both", margin=0)

    def _view_chosen(self, active: int) -> None:
        self.maps.visible = active == 0
        self.check.root.visible = self.check.bar.visible = active == 1
        self.controls.root.visible = self.add.visible = active == 0

    def _make(self, number: int, method: str) -> MethodCard:
        return MethodCard(
            number,
            method,
            answers=self.answers,
            workspace=self._workspace,
            lens=self.lens,
            removed=self._remove,
            export=self._export,
        )

    def _add_clicked(self) -> None:
        if not self._spare:
            return
        card = self._spare.pop(0)
        self.cards.append(card)
        self._lay_out()
        card.ask()

    def _remove(self, card: MethodCard) -> None:
        if len(self.cards) <= FEWEST or card not in self.cards:
            return
        card.close()
        self.cards.remove(card)
        # Kept, so that its models are there once only: the browser lets go of removed ones late.
        self._spare = sorted([*self._spare, card], key=lambda one: one.number)
        self._lay_out()

    def _lay_out(self) -> None:
        count = len(self.cards)
        columns = 2 if count in (2, 4) else 3
        self.grid.stylesheets = [styles.tiles(columns)]
        self.grid.children = [(card.root, at // columns, at % columns) for at, card in enumerate(self.cards)]
        self.add.disabled = not self._spare
        for card in self.cards:
            card.remove.disabled = count <= FEWEST

    def _offer_layers(self) -> None:
        now = self._workspace.now
        if now.network is not None:
            self.picture.placeholder = self._missing()
            for card in (*self.cards, *self._spare):
                card.chooser.offer(now.network, now.target)

    def without_network(self) -> None:
        """Say that nothing can be explained."""
        for overlay in (self.picture, *(card.overlay for card in self.cards)):
            overlay.placeholder = "no network is open"
        self.caption.text = _NO_NETWORK

    def _missing(self) -> str:
        """What stands in the input's place while there is none."""
        awaited = self._workspace.now.awaited
        return _NO_INPUT if awaited is None else f"upload {awaited.name} to see it"

    def _await(self) -> None:
        """Name the file that a link is about and that is still to come."""
        awaited = self._workspace.now.awaited
        self.picture.placeholder = self._missing()
        for card in self.cards:
            card.clear("" if awaited is None else f"waiting for {awaited.name}")
        self.caption.text = "" if awaited is None else escape(awaited.sentence)

    def _dim(self) -> None:
        """Another input is being prepared: what is shown is of the one before."""
        if self._workspace.preparing:
            self.picture.stale = True
            for card in self.cards:
                card.dim()

    def _show_input(self) -> None:
        one = self._workspace.now.input
        if one is None:
            self.picture.clear()
            self.caption.text = "" if self._workspace.now.network is not None else _NO_NETWORK
            self.orientation.visible = False
            for card in self.cards:
                card.clear()
            return
        self.picture.description = f"The input as the network sees it: {one.words}"
        self.picture.show(
            one.picture, outline=one.outline, plane=one.plane, radiological=self._workspace.radiological
        )
        self.orientation.visible = one.plane in VIEWS and VIEWS[one.plane].columns == 0
        self.caption.text = caption(one)
        self.ask()

    def _turn_clicked(self) -> None:
        self._workspace.change(orientation=NEUROLOGICAL if self._workspace.radiological else RADIOLOGICAL)

    def _turn(self) -> None:
        """Draw everything the other way round: nothing is computed anew."""
        now, radiological = self._workspace.now, self._workspace.radiological
        self.orientation.label = IN_SHORT[radiological]
        if now.input is not None:
            self.picture.turn(now.input.plane, radiological)
        for card in self.cards:
            card.turn()
        self.check.turn()

    def ask(self) -> None:
        """Compute what the cards lack, when the panel is looked at."""
        if self._workspace.now.tab != "Attribution":
            return
        for card in sorted(self.cards, key=lambda card: not card.chooser.chosen.quick):
            card.ask()

    def tick(self) -> None:
        """Show what has come."""
        self.classes.tick()
        self.warning.tick()
        self.arrival.tick()
        for card in self.cards:
            card.tick()
        if self.classes.settled and self.check.wanted(self.cards):
            self.check.begin(self.cards)
        self.check.tick()

    def _export(self, card: MethodCard, what: str) -> None:
        shown = card.shown
        if what not in [name for _, name in FILES]:
            return
        if shown is None:
            self._workspace.notify("There is no map to save yet: wait until it has come.", "warning")
            return
        look = look_of(self.lens) | {"radiological": self._workspace.radiological}
        warning = self._services.familiar.says(shown[0].network, shown[0].input)

        def work() -> None:
            made, problem = attempt(lambda: build(what, *shown, look, warning))
            later(self._document, lambda: self._hand_over(made, problem))

        self._services.painter.submit(work)

    def _hand_over(self, made: tuple[str, bytes] | None, problem: str) -> None:
        if made is None:
            self._workspace.notify(problem, "warning")
        else:
            self.download.save(made[1], made[0], TYPES[made[0].rsplit(".", 1)[1]])

    def close(self) -> None:
        """The browser has gone: nobody waits for its maps."""
        for card in (*self.cards, *self._spare):
            card.close()
            card.forget()
        self.arrival.close()
        self.classes.close()
        self.check.close()
