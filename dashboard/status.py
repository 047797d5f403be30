"""The status line: what is climbing, how far, how fast, how long still."""

from html import escape

from bokeh.models import Div, Row

from dashboard import styles
from dashboard.run import Run
from dashboard.services import Services
from vislib.words import counted

_KEYS = "<b>← → ↑ ↓</b> choose &nbsp; <b>[ ]</b> step through the history &nbsp; <b>space</b> pause"


def describe(run: Run) -> str:
    """One line about a run: units, step, speed and the time that is left."""
    count = len(run.units)
    what = f"{count} unit{'s' if count != 1 else ''} of {run.layer}"
    step = max(0, run.step)
    if run.state == "running":
        words = [what, f"step {step} / {run.steps}"]
        if run.rate > 0:
            words += [f"{run.rate:.0f} steps/s" if run.rate >= 9.5 else f"{run.rate:.1f} steps/s"]
            words += [f"{_duration((run.steps - step) / run.rate)} left"]
        return " | ".join(words)
    done = f"done, {counted(run.steps, 'step')}"
    if step < run.steps:
        done = f"done at step {step} of {run.steps}: no unit rose any more"
    says = {
        "new": "not started: press Start",
        "queued": "waiting for its turn",
        "paused": f"paused at step {step} / {run.steps}",
        "done": done,
        "cancelled": f"stopped at step {step} / {run.steps}",
        "failed": f"failed at step {step}: {run.error or 'the reason was not kept'}",
        "interrupted": f"interrupted at step {step} / {run.steps}: press Resume",
        "elsewhere": f"step {step} / {run.steps}, computed by another server",
    }
    return f"{what} | {says[run.state]}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class Status:
    """The line at the foot of the page."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self.line = Div(
            name="status", text="Opening …", sizing_mode="stretch_width", margin=0, stylesheets=[styles.QUIET]
        )
        self.jobs = Div(name="jobs", text="", margin=0, stylesheets=[styles.QUIET])
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
