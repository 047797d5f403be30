"""One session of the page: `bokeh serve dashboard` runs this file for every browser that opens it."""

import sys

try:
    from dashboard.page import open_page
except ImportError as error:
    sys.exit(
        f"vislib is not installed for this Python ({error}): "
        "run `pip install -e .` in the repository's root, then serve again."
    )

from bokeh.plotting import curdoc

open_page(curdoc(), sys.argv[1:])
