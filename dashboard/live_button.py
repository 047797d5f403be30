"""A button whose change lays out nothing but itself.

The browser's side is plain JavaScript in `dist/live_button.js`.
"""

from typing import ClassVar

from bokeh.models import Button


class LiveButton(Button):
    """A Button that takes another label, type or state in place: it keeps the focus and a click that is half done.

    Bokeh draws a Button anew and measures the whole page for each of them, and what was pressed on the old one is lost
    where the new one comes before the mouse is up. Here the page is measured only where the box grows or shrinks. The
    label is text, and there is no icon.
    """

    __javascript__: ClassVar[list[str]] = ["static/extensions/dashboard/live_button.js"]
