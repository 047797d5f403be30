"""What really arrives at the network's first layer, on demand: histograms and numbers beside what the card promises."""

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

import numpy as np
import torch
from bokeh.models import Column, Toggle

from dashboard import styles
from dashboard.answers import Answers
from dashboard.inputs import Input
from dashboard.live_text import LiveText
from dashboard.workspace import Workspace
from vislib.arrival import Arrival, Channel, arrival
from vislib.jobs import Job
from vislib.network import Network

_WIDE, _HIGH = 214, 56  # of the histogram, in pixels
_INKS = {"red": "#d1495b", "green": "#3f9d62", "blue": "#4a7bd0"}
_LABEL = "What arrives at the network"


@dataclass(frozen=True, eq=False)
class Arrived:
    """What arrives of one input."""

    input: Input
    step: int
    arrival: Arrival


def watch(network: Network, one: Input) -> Iterator[Arrived]:
    """Watch an input arrive, in one step."""
    yield Arrived(one, 1, arrival(network, torch.from_numpy(one.image)))


class ArrivalView:
    """A toggle, and under it what arrives of the present input for as long as it is on."""

    def __init__(self, answers: Answers, workspace: Workspace) -> None:
        self._answers, self._workspace = answers, workspace
        self._job: Job | None = None
        self._asked: tuple[Network, Input] | None = None
        self.toggle = Toggle(
            name="arrival-toggle",
            label=_LABEL,
            active=False,
            sizing_mode="stretch_width",
            stylesheets=[styles.LINE_BUTTON],
            margin=(6, 0, 0, 0),
            html_attributes={"title": "Values at the first layer, beside what the card promises"},
        )
        self.shown = LiveText(
            name="arrival",
            text="",
            visible=False,
            sizing_mode="stretch_width",
            stylesheets=[styles.ARRIVAL],
            margin=(2, 0, 4, 0),
        )
        self.root = Column(self.toggle, self.shown, sizing_mode="stretch_width", margin=0)
        self.toggle.on_change("active", lambda _attr, _old, new: self._toggled(bool(new)))

    def _toggled(self, active: bool) -> None:
        self.shown.visible = active
        self._forget()
        self.tick()

    def _forget(self) -> None:
        self._answers.stop(self._job)
        self._job = self._asked = None

    def tick(self) -> None:
        """Ask about the present input while the toggle is on, and show what has come."""
        now = self._workspace.now
        if not self.toggle.active:
            return
        if now.network is None or now.input is None or self._workspace.preparing:
            self._say("")
            return
        if self._asked != (now.network, now.input):
            self._forget()
            network, one = self._asked = now.network, now.input
            self._say("")
            self._job = self._answers.run(
                f"what arrives of {one.words}", lambda: watch(network, one), interactive=True
            )
        job = self._job
        if job is None:
            return
        if job.state == "failed":
            self._job = None
            self._say(f"<p class='warm'>{escape(job.error or 'It could not be watched.')}</p>")
        elif job.history.result is not None:
            self._job = None
            self._say(described(job.history.result.arrival))

    def _say(self, text: str) -> None:
        if text != self.shown.text:
            self.shown.text = text

    def close(self) -> None:
        """The browser has gone."""
        self._forget()


def described(found: Arrival) -> str:
    """An arrival as HTML: where, a histogram, the numbers of each channel, what was promised, and what differs."""
    size = " x ".join(map(str, found.shape[2:]))
    at = f"layer <b>{escape(found.layer)}</b>" if found.layer else "the network"
    rows = "".join(_row(channel) for channel in found.channels)
    more = found.shape[1] - len(found.channels)
    parts = [
        f"<p>At {at}: {found.shape[1]} channel{'s' if found.shape[1] > 1 else ''}{f' of {size}' if size else ''}</p>",
        _histogram(found),
        "<table><tr><th></th><th>mean</th><th>sd</th><th>least</th><th>most</th></tr>",
        f"{rows}</table>",
        f"<p>… and {more} more channels</p>" if more > 0 else "",
        f"<p>The card promises: {escape(found.promise)}.</p>",
        f"<p>{escape(found.own)}</p>" if found.own else "",
    ]
    if found.differs:
        parts.append(f"<p class='warm'>{escape(found.differs)} {escape(found.cause)}</p>")
    else:
        parts.append("<p><b>Nothing speaks against it.</b></p>")
    return "".join(parts)


def _row(channel: Channel) -> str:
    ink = f"<i style='background:{_INKS[channel.name]}'></i>" if channel.name in _INKS else ""
    numbers = (channel.mean, channel.sd, channel.low, channel.high)
    cells = "".join(f"<td>{_short(number)}</td>" for number in numbers)
    return f"<tr><th>{ink}{escape(channel.name)}</th>{cells}</tr>"


def _short(number: float) -> str:
    text = f"{number:.3g}" if abs(number) >= 0.001 or number == 0 else f"{number:.1e}"
    return escape(f"{number:.2f}" if 0.1 <= abs(number) < 100 else text).replace("-", "−")


def _histogram(found: Arrival) -> str:
    """Lines of the share of values in each bin, by their square roots; the promised range is shaded."""
    low, high = found.edges[0], found.edges[-1]

    def x(value: float) -> float:
        return round((value - low) / (high - low) * _WIDE, 1)

    promised = [channel.promised for channel in found.channels if channel.promised is not None]
    shade = ""
    if promised:
        start, end = x(min(p[0] for p in promised)), x(max(p[1] for p in promised))
        shade = (
            f"<rect class='promised' x='{start}' y='0' width='{max(1.0, end - start):.1f}' height='{_HIGH}'/>"
        )
    most = max((max(channel.counts) for channel in found.channels), default=0) or 1
    lines = []
    for channel in found.channels:
        heights = _HIGH - 2 - (_HIGH - 4) * np.sqrt(np.array(channel.counts) / most)
        step = _WIDE / len(heights)
        points = " ".join(f"{(place + 0.5) * step:.1f},{height:.1f}" for place, height in enumerate(heights))
        ink = _INKS.get(channel.name, "currentColor")
        lines.append(f"<polyline points='{points}' fill='none' stroke='{ink}' stroke-width='1.3'/>")
    zero = f"<line class='zero' x1='{x(0)}' x2='{x(0)}' y1='0' y2='{_HIGH}'/>" if low < 0 < high else ""
    return (
        f"<svg viewBox='0 0 {_WIDE} {_HIGH}' width='100%' role='img' aria-label='Histogram of what arrives'>"
        f"{shade}{zero}{''.join(lines)}</svg>"
        f"<div class='ends'><span>{_short(low)}</span><span>{_short(high)}</span></div>"
    )
