"""The status line: what is climbing, how far, how fast, how long still."""

from html import escape

from bokeh.models import Div, Row

from dashboard import styles
from dashboard.live_text import LiveText
from dashboard.numbers import duration
from dashboard.run import QUICK, Run
from dashboard.services import Services
from vislib.words import counted

_KEYS = "<b>← → ↑ ↓</b> choose &nbsp; <b>[ ]</b> step through the history &nbsp; <b>space</b> pause"


_LONG = 1.0  # seconds of one unit's part of a step, from which it is said: it cannot be split
_ASKED = {
    "pause": "pausing: the unit at work is finished first",
    "cancel": "stopping: the unit at work is finished first",
}


def describe(run: Run) -> str:
    """One line about a run: units, step, speed and the time that is left."""
    count = len(run.units)
    what = f"{count} unit{'s' if count != 1 else ''} of {run.layer}"
    step = max(0, run.step)
    if run.state == "running":
        return " | ".join([what, f"step {step} / {run.steps}", *_pace(run, step)])
    waits = "measuring what a step takes …" if run.measuring else run.offer and f"{run.offer} Press Start."
    within = _within(run)
    done = f"done, {counted(run.steps, 'step')}"
    if step < run.steps:
        done = f"done at step {step} of {run.steps}: no unit rose any more"
    says = {
        "new": waits or "not started: press Start",
        "queued": "waiting for its turn",
        "paused": f"paused at step {step} / {run.steps}{f', {within}' if within else ''}",
        "done": done,
        "cancelled": f"stopped at step {step} / {run.steps}",
        "failed": f"failed at step {step}: {run.error or 'the reason was not kept'}",
        "interrupted": f"interrupted at step {step} / {run.steps}: {waits or 'press Resume'}".replace(
            "Press Start.", "Press Resume."
        ),
        "elsewhere": f"step {step} / {run.steps}, computed by another server",
    }
    return f"{what} | {says[run.state]}"


def _within(run: Run) -> str:
    """How far the present step is, where one comes in pieces."""
    turn = run.turn
    return f"{turn.done} of {turn.rows} units" if turn is not None else ""


def _pace(run: Run, step: int) -> list[str]:
    """Of a run that climbs: how fast, how long still, and what is being waited for."""
    seconds = 1 / run.rate if run.rate > 0 else run.step_seconds
    slow = seconds is not None and seconds > QUICK
    words = [_within(run)] if slow and _within(run) else []
    if run.rate >= 0.5:
        words += [f"{run.rate:.0f} steps/s" if run.rate >= 9.5 else f"{run.rate:.1f} steps/s"]
    elif seconds is not None and slow:
        words += [f"about {duration(seconds)} a step"]
    if run.unit_seconds is not None and run.unit_seconds >= _LONG:
        words += [f"{duration(run.unit_seconds)} a unit, which cannot be split"]
    if seconds is not None:
        words += [f"{duration((run.steps - step) * seconds)} left"]
    return [*words, *([_ASKED[run.wish]] if run.wish in _ASKED and slow else [])]


class Status:
    """The line at the foot of the page."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self.line = LiveText(
            name="status", text="Opening …", sizing_mode="stretch_width", margin=0, stylesheets=[styles.QUIET]
        )
        self.jobs = LiveText(name="jobs", text="", margin=0, stylesheets=[styles.QUIET])
        keys = Div(text=_KEYS, margin=(0, 24, 0, 24), stylesheets=[styles.QUIET])
        self.root = Row(self.line, keys, self.jobs, name="status_bar", sizing_mode="stretch_width")

    def say(self, line: str) -> None:
        """Show a line that is no run's, such as the progress of a download."""
        self.line.text = _escaped(line)

    def update(self, run: Run | None) -> None:
        """Show what the run does and how many climb in all."""
        self.say(describe(run) if run is not None else "Nothing climbs.")
        climbing = len(self._services.climbing())
        text = f"{climbing} run{'s' if climbing != 1 else ''} climbing" if climbing else "idle"
        problem = self._services.store.problem
        self.jobs.text = _escaped(text) + (
            f' <b style="color:var(--warm)">· {_escaped(problem)}</b>' if problem else ""
        )


def _escaped(text: str) -> str:
    return escape(text)
