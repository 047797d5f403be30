"""The class list: what the network says to the input, and which of it, or which unit, is to be explained."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from html import escape

import numpy as np
import torch
from bokeh.models import AutocompleteInput, Column, Div, InlineStyleSheet, RadioButtonGroup, Select

from dashboard import styles
from dashboard.answers import Answers
from dashboard.inputs import Input
from dashboard.workspace import Workspace
from vislib.attribution import Target
from vislib.jobs import Job
from vislib.network import Network
from vislib.probe import LOGITS

_TOP = 5
_NOTHING = "nothing"
_FADED = ":host { opacity: .45; }"
_KINDS = ("a class", "the chosen unit")


@dataclass(frozen=True, eq=False)
class Classes:
    """The network's answer to one input."""

    input: Input
    step: int
    probabilities: np.ndarray  # (classes,), softmax of the logits


def classify(network: Network, one: Input) -> Iterator[Classes]:
    """The classes' probabilities, in one step."""
    with torch.inference_mode():
        logits = network.logits(torch.from_numpy(one.image))
    yield Classes(one, 1, torch.softmax(logits.double(), 1)[0].cpu().numpy())


class ClassList:
    """The five most probable classes as bars; a click explains one, a menu sets it against another."""

    def __init__(self, answers: Answers, workspace: Workspace) -> None:
        self._answers, self._workspace = answers, workspace
        self._job: Job | None = None
        self._shown: Classes | None = None
        self._listed: list[int] = []
        self._showing = self._by_hand = False
        self.bars = InlineStyleSheet(css="")
        self.fade = InlineStyleSheet(css="")
        self.heading = Div(text="The network says", stylesheets=[styles.HEADING], margin=(10, 0, 4, 0))
        self.list = RadioButtonGroup(
            name="class-list",
            labels=[],
            orientation="vertical",
            sizing_mode="stretch_width",
            stylesheets=[styles.CLASSES, self.bars, self.fade],
            margin=0,
        )
        self.search = AutocompleteInput(
            name="class-search",
            placeholder="another class …",
            completions=[],
            restrict=True,
            case_sensitive=False,
            search_strategy="includes",
            min_characters=1,
            max_completions=12,
            sizing_mode="stretch_width",
            stylesheets=[styles.FIELD],
            margin=(6, 0, 0, 0),
            visible=False,
        )
        self.kind = Select(
            name="target-kind",
            title="explain",
            options=[*_KINDS],
            value=_KINDS[0],
            sizing_mode="stretch_width",
            stylesheets=[styles.FIELD],
            margin=(8, 0, 0, 0),
        )
        self.against = Select(
            name="target-against",
            title="rather than",
            options=[_NOTHING],
            value=_NOTHING,
            sizing_mode="stretch_width",
            stylesheets=[styles.FIELD],
            margin=(6, 0, 0, 0),
        )
        self.root = Column(
            self.heading,
            self.list,
            self.search,
            self.kind,
            self.against,
            sizing_mode="stretch_width",
            margin=0,
        )
        self._wire()

    def _wire(self) -> None:
        self.list.on_change("active", self._clicked)
        self.search.on_change("value", self._searched)
        self.kind.on_change("value", lambda _attr, _old, _new: self._kind_chosen())
        self.against.on_change("value", self._against_chosen)
        self._workspace.listen("network", self._forget)
        self._workspace.listen("input", self.ask)
        self._workspace.listen("choice", self._fade)
        self._workspace.listen("target", self._show)
        self._workspace.listen("unit layer", self._follow_unit)

    def _forget(self) -> None:
        """Another network: its classes are other ones, and an answer of the old one's is none of its."""
        self._answers.stop(self._job)
        self._job = None
        self._by_hand = False
        self._clear()
        self._workspace.change(target=None)

    def _clear(self) -> None:
        """Say nothing: no answer is known that is true of what is chosen."""
        self._shown, self._listed = None, []
        self._showing = True
        try:
            self.list.update(active=None, labels=[])
            self.bars.css = ""
            self.search.update(visible=False, completions=[])
            self.kind.update(options=[*_KINDS], value=_KINDS[0])
            self.against.update(options=[_NOTHING], value=_NOTHING)
        finally:
            self._showing = False

    def close(self) -> None:
        """The browser has gone: nobody waits for an answer, and the last input is let go."""
        self._answers.stop(self._job)
        self._job = self._shown = None

    def ask(self) -> None:
        """Classify the input."""
        now = self._workspace.now
        self._answers.stop(self._job)
        self._job = None
        if now.network is None or now.input is None:
            self._clear()
            return
        network, one = now.network, now.input
        self.fade.css = _FADED  # what is shown was said of another input
        if not self._by_hand and now.target is not None and now.target.layer == LOGITS:
            self._workspace.change(target=None)  # it was the most probable class of that one
        self._job = self._answers.run(
            f"classes of {one.words}", lambda: classify(network, one), interactive=True
        )

    def _fade(self) -> None:
        if self._workspace.preparing:
            self.fade.css = _FADED

    @property
    def by_hand(self) -> bool:
        """Whether a person chose what is explained, rather than the most probable class."""
        return self._by_hand

    @property
    def said(self) -> tuple[str, str] | None:
        """The most probable class of the present input and its probability, in words; None until it is known."""
        if self._shown is None or self._shown.input is not self._workspace.now.input:
            return None
        best = int(self._shown.probabilities.argmax())
        return self._labels()[best], _percent(float(self._shown.probabilities[best]))

    @property
    def settled(self) -> bool:
        """Whether what is shown was said of the present input, and a target is chosen."""
        now = self._workspace.now
        return self._shown is not None and self._shown.input is now.input and now.target is not None

    def tick(self) -> None:
        """Show the classes once they are known."""
        job = self._job
        if job is None:
            return
        if job.state == "failed":
            self._job = None
            self._clear()
            self._workspace.notify(job.error or "The input could not be classified.")
            return
        found = job.history.result
        if found is None or found is self._shown or found.input is not self._workspace.now.input:
            return
        self._shown = found
        self.fade.css = ""
        now = self._workspace.now
        chosen = now.target is not None and (self._by_hand or now.target.layer != LOGITS)
        if chosen:
            self._show()
        else:
            target = Target(int(found.probabilities.argmax()))
            self._workspace.change(target=target)
            self._show()

    def _clicked(self, _attr: str, _old: int | None, new: int | None) -> None:
        if not self._showing and new is not None and 0 <= new < len(self._listed):
            self.choose(self._listed[new])

    def _searched(self, _attr: str, _old: str, new: str) -> None:
        labels = self._labels()
        if new in labels:
            self.choose(labels.index(new))
            self.search.value = ""

    def choose(self, unit: int) -> None:
        """Explain this class, whatever comes out as the most probable one, until another network is opened."""
        self._by_hand = True
        old = self._workspace.now.target
        against = old.against if old is not None and old.layer == LOGITS and old.against != unit else None
        self._workspace.change(target=Target(unit, against=against))

    def explain(self, target: Target) -> None:
        """Explain this, checked for one input, as if a person had chosen it."""
        one = _single(target)
        self._by_hand = one.layer == LOGITS
        self._workspace.change(target=one)

    def _against_chosen(self, _attr: str, _old: str, new: str) -> None:
        target = self._workspace.now.target
        if self._showing or target is None or target.layer != LOGITS:
            return
        labels = self._labels()
        against = labels.index(new) if new in labels else None
        self._by_hand = True
        self._workspace.change(target=replace(target, against=None if against == target.unit else against))

    def _kind_chosen(self) -> None:
        if self._showing or self._shown is None:
            return
        now = self._workspace.now
        if self.kind.value == _KINDS[1] and now.layer != LOGITS:
            self._workspace.change(target=Target(now.unit, layer=now.layer))
        else:
            self._workspace.change(target=Target(int(self._shown.probabilities.argmax())))
            self._show()

    def _follow_unit(self) -> None:
        """A unit is explained: another one that is chosen in the rail or the mosaic takes its place."""
        now = self._workspace.now
        if now.target is not None and now.target.layer != LOGITS and now.layer != LOGITS:
            self._workspace.change(target=Target(now.unit, layer=now.layer))
        elif now.network is not None:
            self._show()

    def _labels(self) -> list[str]:
        network = self._workspace.network
        count = network.layers[LOGITS].channels
        return list(network.labels) or [f"class {unit}" for unit in range(count)]

    def _show(self) -> None:
        now, found = self._workspace.now, self._shown
        if now.network is None or found is None:
            return
        labels, target = self._labels(), now.target
        order = [int(unit) for unit in np.argsort(-found.probabilities, kind="stable")]
        listed = order[:_TOP]
        if target is not None and target.layer == LOGITS and target.unit not in listed:
            listed.append(int(target.unit))  # type: ignore[arg-type]
        self._showing = True
        try:
            self._show_list(listed, labels, found.probabilities, target)
            self.search.visible = len(labels) > _TOP
            if self.search.completions != labels and self.search.visible:
                self.search.completions = labels
            self._show_menus(order, labels, target)
        finally:
            self._showing = False

    def _show_list(
        self, listed: list[int], labels: list[str], probabilities: np.ndarray, target: Target | None
    ) -> None:
        self._listed = listed
        texts = [f"{labels[unit]}\u2003{_percent(float(probabilities[unit]))}" for unit in listed]
        if texts != self.list.labels:
            self.list.active = None
            self.list.labels = texts
            self.bars.css = _bars([float(probabilities[unit]) for unit in listed])
        unit = target.unit if target is not None and target.layer == LOGITS else None
        self.list.active = listed.index(unit) if unit in listed else None

    def _show_menus(self, order: list[int], labels: list[str], target: Target | None) -> None:
        now = self._workspace.now
        other = f"unit {now.unit} of {now.layer}"
        self.kind.options = [(_KINDS[0], _KINDS[0]), (_KINDS[1], _KINDS[1] if now.layer == LOGITS else other)]
        is_class = target is None or target.layer == LOGITS
        self.kind.value = _KINDS[0] if is_class else _KINDS[1]
        self.against.disabled = not is_class
        others = [unit for unit in order[:50] if target is None or unit != target.unit]
        if target is not None and isinstance(target.against, int) and target.against not in others:
            others.append(target.against)
        self.against.options = [_NOTHING, *(labels[unit] for unit in others)]
        against = target.against if target is not None else None
        self.against.value = labels[against] if isinstance(against, int) else _NOTHING


def _single(target: Target) -> Target:
    """A target that was checked for one image, with its unit for any image."""
    unit, against = (one[0] if isinstance(one, tuple) else one for one in (target.unit, target.against))
    assert unit is not None
    return replace(target, unit=unit, against=against)


def _percent(share: float) -> str:
    if share >= 0.9995:
        return "> 99.9 %" if share < 1 else "100 %"
    return f"{share:.1%}".replace("%", " %") if share >= 0.0005 else "< 0.1 %"


def _bars(shares: list[float]) -> str:
    """A bar behind each entry, as wide as its probability."""
    rules = [
        f".bk-btn-group > .bk-btn:nth-child({place}) {{ --share: {share * 100:.2f}%; }}"
        for place, share in enumerate(shares, start=1)
    ]
    return "\n".join(rules)


def caption(one: Input) -> str:
    """What the input is, as HTML."""
    true = f"<br>true class: <b>{escape(one.label)}</b>" if one.label else ""
    notes = "".join(f"<br>{escape(note)}" for note in one.notes)
    return f"<b>{escape(one.words)}</b>{true}{notes}"
