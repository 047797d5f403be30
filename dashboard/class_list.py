"""The class list: what the network says to the input, and which of it, or which unit, is to be explained."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from html import escape

import numpy as np
import torch
from bokeh.models import AutocompleteInput, Column, Div, InlineStyleSheet, RadioButtonGroup, Select

from dashboard import sayings, styles
from dashboard.answers import Answers
from dashboard.inputs import Input
from dashboard.live_text import LiveText
from dashboard.sayings import Saying
from dashboard.workspace import Workspace
from vislib.attribution import Target
from vislib.errors import VislibError
from vislib.jobs import Job
from vislib.network import Network
from vislib.probe import LOGITS

_TOP = 5
_NOTHING = ""  # no label is empty, but one may be "nothing"
_NO_OTHER = (_NOTHING, "nothing")
_FADED = ":host { opacity: .45; }"
_KINDS = ("a class", "the chosen unit")


@dataclass(frozen=True, eq=False)
class Classes:
    """The network's answer to one input."""

    network: Network
    input: Input
    step: int
    scores: np.ndarray  # (units,) float64, as `Network.logits` gives them

    @property
    def sayings(self) -> list[Saying]:
        """The same as the network's head means it, the most probable first."""
        return sayings.sayings(self.network, self.scores)


def classify(network: Network, one: Input) -> Iterator[Classes]:
    """The network's scores, in one step."""
    with torch.inference_mode():
        scores = network.logits(torch.from_numpy(one.image))
    yield Classes(network, one, 1, scores[0].double().cpu().numpy())


class ClassList:
    """The most probable answers as bars, or values; a click explains one, a menu sets it against another."""

    def __init__(self, answers: Answers, workspace: Workspace) -> None:
        self._answers, self._workspace = answers, workspace
        self._job: Job | None = None
        self._shown: Classes | None = None
        self._listed: list[Target] = []
        self._showing = self._by_hand = False
        self.bars = InlineStyleSheet(css="")
        self.fade = InlineStyleSheet(css="")
        self.heading = Div(text="The network says", stylesheets=[styles.HEADING], margin=(10, 0, 4, 0))
        self.values = _line("class-values", styles.VALUES, (0, 0, 6, 0))
        self.note = _line("head-note", styles.QUIET, (6, 0, 0, 0))
        self.head = Select(
            name="head-kind",
            title="the output is",
            options=[],
            value="",
            sizing_mode="stretch_width",
            stylesheets=[styles.FIELD],
            margin=(6, 0, 0, 0),
            visible=False,
        )
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
            options=[_NO_OTHER],
            value=_NOTHING,
            sizing_mode="stretch_width",
            stylesheets=[styles.FIELD],
            margin=(6, 0, 0, 0),
        )
        self.root = Column(
            self.heading,
            self.values,
            self.list,
            self.search,
            self.note,
            self.head,
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
        self.head.on_change("value", self._head_chosen)
        self._workspace.listen("network", self._forget)
        self._workspace.listen("network assumed", self._show_head)
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
            self.values.update(text="", visible=False)
            self.bars.css = ""
            self.search.update(visible=False, completions=[])
            self.kind.update(options=[*_KINDS], value=_KINDS[0])
            self.against.update(options=[_NO_OTHER], value=_NOTHING)
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
            f"classes of {one.words}", lambda: classify(network, one), interactive=True, brief=True
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
        """What the network says to the present input and its number, in words; None until it is known."""
        found, now = self._shown, self._workspace.now
        if found is None or found.input is not now.input or found.network is not now.network:
            return None
        return sayings.in_short(found.network, found.scores)

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
        now = self._workspace.now
        if found is None or found is self._shown or found.input is not now.input:
            return
        self._shown = found
        self.fade.css = ""
        chosen = now.target is not None and (self._by_hand or now.target.layer != LOGITS)
        if chosen:
            self._show()
        else:
            self._workspace.change(target=found.sayings[0].target)
            self._show()

    def _clicked(self, _attr: str, _old: int | None, new: int | None) -> None:
        if not self._showing and new is not None and 0 <= new < len(self._listed):
            self.choose(self._listed[new])

    def _searched(self, _attr: str, _old: str, new: str) -> None:
        known = {one.words: one.target for one in self._shown.sayings} if self._shown is not None else {}
        if new in known:
            self.choose(known[new])
            self.search.value = ""

    def choose(self, target: Target) -> None:
        """Explain this answer, whatever comes out as the most probable one, until another network is opened."""
        self._by_hand = True
        old = self._workspace.now.target
        if target.against is None and old is not None and old.layer == LOGITS and old.against != target.unit:
            target = replace(target, against=old.against)
        self._workspace.change(target=target)

    def explain(self, target: Target) -> None:
        """Explain this, checked for one input, as if a person had chosen it."""
        one = _single(target)
        self._by_hand = one.layer == LOGITS
        self._workspace.change(target=one)

    def _against_chosen(self, _attr: str, _old: str, new: str) -> None:
        now = self._workspace.now
        if self._showing or now.network is None or now.target is None or now.target.layer != LOGITS:
            return
        known = sayings.against_names(now.network, now.target, range(now.network.layers[LOGITS].channels))
        self._by_hand = True
        self._workspace.change(target=replace(now.target, against=known.get(new)))

    def _head_chosen(self, _attr: str, _old: str, new: str) -> None:
        """Take the output for something else in this session."""
        now = self._workspace.now
        if self._showing or now.network is None or new not in sayings.switches(now.network, now.assumed):
            return
        try:
            self._workspace.change(network=now.network.with_head(new))
        except VislibError as error:
            self._workspace.notify(str(error), "warning")
            self._show_head()

    def _kind_chosen(self) -> None:
        if self._showing or self._shown is None:
            return
        now = self._workspace.now
        if self.kind.value == _KINDS[1] and now.layer != LOGITS:
            self._workspace.change(target=Target(now.unit, layer=now.layer))
        else:
            self._workspace.change(target=self._shown.sayings[0].target)
            self._show()

    def _follow_unit(self) -> None:
        """A unit is explained: another one that is chosen in the rail or the mosaic takes its place."""
        now = self._workspace.now
        if now.target is not None and now.target.layer != LOGITS and now.layer != LOGITS:
            self._workspace.change(target=Target(now.unit, layer=now.layer))
        elif now.network is not None:
            self._show()

    def _show_head(self) -> None:
        """Say what was assumed of the output, and offer what else it may be."""
        now = self._workspace.now
        if now.network is None:
            return
        scores = self._shown.scores if self._shown is not None else None
        said = sayings.remarks(now.network, scores)
        offered = sayings.switches(now.network, now.assumed)
        kind = now.network.head.kind
        self._showing = True
        try:
            _say(self.note, "<br>".join(escape(one) for one in said))
            self.head.update(options=[*offered.items()], value=kind if kind in offered else "")
            self.head.visible = bool(offered)
        finally:
            self._showing = False

    def _show(self) -> None:
        now, found = self._workspace.now, self._shown
        if now.network is None or found is None or found.network is not now.network:
            return
        every, target = found.sayings, now.target
        listed = every[:_TOP]
        listed += [one for one in every[_TOP:] if sayings.same(one.target, target)]
        self._show_head()
        self._showing = True
        try:
            self._show_list(listed, target)
            named = sayings.values(now.network, found.scores)[:_TOP]
            _say(self.values, "".join(f"<p>{escape(name)}<b>{escape(one)}</b></p>" for name, one in named))
            self.search.visible = len(every) > _TOP
            names = [one.words for one in every]
            if self.search.visible and self.search.completions != names:
                self.search.completions = names
            self._show_menus([int(one.target.unit) for one in every], target)  # type: ignore[arg-type]
        finally:
            self._showing = False

    def _show_list(self, listed: list[Saying], target: Target | None) -> None:
        self._listed = [one.target for one in listed]
        texts = [f"{one.words}\u2003{one.number}" if one.number else one.words for one in listed]
        if texts != self.list.labels:
            self.list.active = None
            self.list.labels = texts
            self.bars.css = _bars([one.share for one in listed])
        chosen = [at for at, one in enumerate(self._listed) if sayings.same(one, target)]
        self.list.active = chosen[0] if chosen else None

    def _show_menus(self, order: list[int], target: Target | None) -> None:
        now, network = self._workspace.now, self._workspace.network
        is_class = target is None or target.layer == LOGITS
        other = f"unit {now.unit} of {now.layer}" if now.layer != LOGITS else _KINDS[1]
        if target is not None and not is_class:
            other = target.words(network)
        answer = _KINDS[0] if network.head.exclusive else "an answer"
        self.kind.options = [(_KINDS[0], answer), (_KINDS[1], other)]
        self.kind.value = _KINDS[0] if is_class else _KINDS[1]
        known = sayings.against_names(network, target, list(dict.fromkeys(order)))
        names = list(known)[:50]
        against = next((name for name, unit in known.items() if target and unit == target.against), _NOTHING)
        if against not in (*names, _NOTHING):
            names.append(against)
        self.against.options = [_NO_OTHER, *((name, name) for name in names)]
        self.against.value = against
        self.against.disabled = not is_class
        self.against.visible = network.layers[LOGITS].channels > 1


def _line(name: str, sheet: str, margin: tuple[int, int, int, int]) -> LiveText:
    return LiveText(
        name=name, text="", stylesheets=[sheet], sizing_mode="stretch_width", margin=margin, visible=False
    )


def _say(line: LiveText, text: str) -> None:
    """Put words into a line, which takes no room where there are none."""
    if line.text != text:
        line.update(text=text, visible=bool(text))


def _single(target: Target) -> Target:
    """A target that was checked for one image, with its unit for any image."""
    unit, against = (one[0] if isinstance(one, tuple) else one for one in (target.unit, target.against))
    assert unit is not None
    return replace(target, unit=unit, against=against)


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
