"""A method's card: which method with which parameters, its map over the input, and how far it is."""

from collections.abc import Callable
from html import escape

import numpy as np
from bokeh.models import Column, Dropdown, Row, Toggle

from dashboard import styles
from dashboard.answers import Answer, Answers, Question
from dashboard.live_button import LiveButton
from dashboard.live_text import LiveText
from dashboard.method_chooser import MethodChooser
from dashboard.overlay import Lens, Overlay
from dashboard.sayings import score_words
from dashboard.workspace import Workspace
from vislib import display
from vislib.attribution import Attribution

FILES = (
    ("Overlay, PNG", "overlay.png"),
    ("Map alone, PNG", "map.png"),
    ("Values, .npy", "map.npy"),
    ("NIfTI on the volume's grid", "map.nii.gz"),
)


class MethodCard:
    """One of the maps that stand side by side; `ask` computes what its widgets say, `tick` shows what has come."""

    def __init__(
        self,
        number: int,
        method: str,
        *,
        answers: Answers,
        workspace: Workspace,
        lens: Lens,
        removed: Callable[["MethodCard"], None],
        export: Callable[["MethodCard", str], None],
    ) -> None:
        self.number = number
        self._answers, self._workspace = answers, workspace
        self._answer: Answer | None = None
        self._question: Question | None = None
        self._shown: Attribution | None = None  # what the overlay shows
        self._asked_for = ""
        self.chooser = MethodChooser(f"method-{number}", method, workspace, self.ask)
        self._build(number, lens)
        self.colours.on_change("active", lambda _attr, _old, _new: self._push(again=True))
        self.stop.on_click(self._stop)
        self.remove.on_click(lambda: removed(self))
        self.files.on_click(lambda event: export(self, str(getattr(event, "item", ""))))

    def _build(self, number: int, lens: Lens) -> None:
        small = {"margin": 0, "stylesheets": [styles.PLAIN_BUTTON]}
        name = f"method-{number}"
        self.files = Dropdown(
            name=f"{name}-export", label="⤓", menu=[*FILES], html_attributes={"title": "Save"}, **small
        )
        self.remove = LiveButton(
            name=f"{name}-remove", label="✕", html_attributes={"title": "Remove this method"}, **small
        )
        self.overlay = Overlay(
            name=f"{name}-overlay",
            lens=lens,
            placeholder="waiting for an input",
            sizing_mode="stretch_both",
            margin=(6, 0, 4, 0),
        )
        self.foot = LiveText(
            name=f"{name}-foot", text="", stylesheets=[styles.FOOT], sizing_mode="stretch_width", margin=0
        )
        self.colours = Toggle(
            name=f"{name}-colours",
            label="RGB",
            visible=False,
            html_attributes={"title": "The gradient's own colours"},
            **small,
        )
        self.stop = LiveButton(name=f"{name}-stop", label="Stop", visible=False, **small)
        head = Row(
            self.chooser.method,
            self.chooser.gear,
            self.files,
            self.remove,
            sizing_mode="stretch_width",
            margin=0,
        )
        foot = Row(self.foot, self.colours, self.stop, sizing_mode="stretch_width", margin=0, height=24)
        self.root = Column(
            head, self.chooser.grid, self.overlay, foot, sizing_mode="stretch_both", stylesheets=[styles.CARD]
        )

    @property
    def shown(self) -> tuple[Question, Attribution] | None:
        """What the overlay shows, where it answers the present question."""
        if self._shown is None or self._question is None or self.overlay.stale:
            return None
        return self._question, self._shown

    def ask(self) -> None:
        """Compute the map of the present input and target; what is shown is dimmed until it has come."""
        now = self._workspace.now
        if now.tab != "Attribution" or now.network is None or now.input is None or now.target is None:
            if now.tab == "Attribution":
                self.dim()
            return
        chooser = self.chooser
        question = Question(
            now.network, now.target, chooser.chosen, chooser.chosen_layer, chooser.values, now.input
        )
        known = self._answer is not None and self._answer.state != "cancelled"
        if known and self._question is not None and question.key == self._question.key:
            self._look_elsewhere(question)
            return
        self.close()
        self._question = question
        problem = chooser.chosen.check(now.network)
        if problem:
            self._refuse(problem)
            return
        self.dim()
        self.overlay.placeholder = "computing …"
        self._answer = self._answers.ask(question)
        self.tick()

    def dim(self) -> None:
        """What is shown answers an older question."""
        if self._shown is not None:
            self.overlay.stale = True
            self.foot.css_classes = ["old"]

    def clear(self, why: str = "") -> None:
        """Show nothing: there is nothing to ask about."""
        self.close()
        self.forget()
        self._refuse(why or "waiting for an input")

    def _look_elsewhere(self, question: Question) -> None:
        """Show another plane of the same volume's map: nothing is computed for it."""
        moved = self._question is not None and self._question.input is not question.input
        self._question = question
        if moved and self._shown is not None:
            self._push(again=True)

    def turn(self) -> None:
        """Draw what is shown the way round that is chosen now."""
        if self._shown is not None and self._question is not None:
            self.overlay.turn(self._question.input.plane, self._workspace.radiological)

    def _refuse(self, problem: str) -> None:
        """Show a sentence in the map's place."""
        self._answer, self._shown = None, None
        self.overlay.placeholder = problem
        self.overlay.clear()
        self.foot.text, self.stop.visible, self.colours.visible = "", False, False

    def tick(self) -> None:
        """Show what has come since the last time, as soon as the browser has painted what came before."""
        answer, question = self._answer, self._question
        if answer is None or question is None:
            return
        if answer.state == "failed":
            self._refuse(answer.error or "The method failed.")
            return
        running = answer.state in ("queued", "running") and not question.method.quick
        if self.stop.visible != running:
            self.stop.visible = running
        if answer.result is not None and answer.result is not self._shown:
            if self.overlay.ack >= self.overlay.tick or answer.result.done:
                self._push()
        elif answer.state == "cancelled" and self._shown is not None and not self.overlay.stale:
            self._tell(self._shown, "stopped")

    def _push(self, *, again: bool = False) -> None:
        """Send the newest map to the browser."""
        if self._answer is None or self._question is None:
            return
        result = self._shown if again else self._answer.result
        if result is None:
            return
        one = self._question.input
        self._shown = result
        has_colours = result.colour is not None and result.colour.shape[1] == 3 and result.colour.ndim == 4
        self.colours.visible = has_colours
        values, raw = one.seen(result.values[0]), one.seen(result.raw[0])
        colour = _coloured(result) if has_colours and self.colours.active else b""
        whole = result.done or self._answer.state == "cancelled"
        target = self._question.target.words(self._question.network)
        self.overlay.description = f"{self._question.method.name} for {target} in {one.words}"
        self.overlay.show(
            one.picture,
            values,
            raw=raw if raw.shape != values.shape else None,
            signed=result.signed,
            limit=result.limit(result.values[0]),
            colour=colour,
            outline=one.outline,
            note=_short_note(result, values),
            plane=one.plane,
            radiological=self._workspace.radiological,
            progress=1.0 if whole else max(0.02, min(0.99, result.step / max(1, result.steps))),
        )
        self._tell(result, "")

    def _tell(self, result: Attribution, state: str) -> None:
        question = self._question
        words = []
        if question is not None:
            words.append(escape(score_words(question.network, question.target, float(result.scores[0]))))
        if result.layer:
            words.append(escape(result.layer))
        if not result.done:
            words.append(state or f"{result.step / max(1, result.steps):.0%}".replace("%", " %"))
        text = " · ".join([*words, *(escape(note) for note in result.notes)])
        self.foot.update(html_attributes={"title": " ".join(result.notes)}, text=text, css_classes=[])

    def _stop(self) -> None:
        self._answers.stop(self._answer.job if self._answer is not None else None)

    def forget(self) -> None:
        """Let go of the question and its answer."""
        self._answer = self._question = self._shown = None

    def close(self) -> None:
        """Nobody looks at it any more."""
        if self._answer is not None and self._answer.job is not None and self._answer.state != "done":
            self._answers.stop(self._answer.job)


def _short_note(result: Attribution, seen: np.ndarray) -> str:
    """Words for the picture's corner: that a map shows nothing for the target must not look like a black map."""
    if not np.any(seen):
        return "nothing in this plane" if np.any(result.values[0]) else ""  # the overlay says it
    return "nothing speaks for it here" if not (seen > 0).any() else ""


def _coloured(result: Attribution) -> bytes:
    """The gradient's channels as colours around grey, as papers print them."""
    assert result.colour is not None
    colour = result.colour[0]
    strongest = float(np.abs(colour).max()) or 1.0
    pixels = np.rint(255 * np.clip(0.5 + 0.5 * colour / strongest, 0, 1)).astype(np.uint8)
    return display.png(np.moveaxis(pixels, 0, -1))
