"""An axis whose numbers change without moving the page.

The browser's side is plain JavaScript in `dist/live_axis.js`.
"""

from typing import ClassVar

from bokeh.models import LinearAxis


class LiveAxis(LinearAxis):
    """A LinearAxis that keeps the room of the widest numbers it has shown, in steps of 16 pixels, 64 at least.

    Bokeh gives an axis the room of its present numbers and measures the whole page whenever that changes: some 100 ms
    of the browser's only thread each time that an objective passes from 9.5 to 10, or back.
    """

    __javascript__: ClassVar[list[str]] = ["static/extensions/dashboard/live_axis.js"]
