"""Words on the page whose change lays out nothing but themselves.

The browser's side is plain JavaScript in `dist/live_text.js`.
"""

from typing import ClassVar

from bokeh.core.properties import Override
from bokeh.models import Div


class LiveText(Div):
    """A Div for words that change while one looks; HTML, so that names of files and layers must be escaped.

    Bokeh draws a Div anew and then measures the whole page for every change of its text: some 100 ms of the browser's
    only thread, for each frame of an ascent. Here the words are put in place, and the page is measured only where
    that makes the box larger or smaller. TeX is not looked for: labels may hold dollar signs.
    """

    __javascript__: ClassVar[list[str]] = ["static/extensions/dashboard/live_text.js"]

    disable_math = Override(default=True)
