"""Bokeh's defaults for this page: every widget takes the page's colours, and figures sit quietly on it."""

from bokeh.themes import Theme

from dashboard import styles

# In between, so that figures need no server to go from light to dark.
_INK = "#7d8794"

THEME = Theme(
    json={
        "attrs": {
            "UIElement": {"stylesheets": [styles.BASE]},
            "Plot": {"background_fill_alpha": 0, "border_fill_alpha": 0, "outline_line_color": None},
            "Axis": {
                "axis_line_color": _INK,
                "major_tick_line_color": _INK,
                "minor_tick_line_color": None,
                "major_label_text_color": _INK,
                "axis_label_text_color": _INK,
                "major_label_text_font_size": "11px",
                "axis_label_text_font_size": "11px",
                "axis_label_text_font_style": "normal",
                "major_tick_in": 0,
                "major_tick_out": 3,
            },
            "Grid": {"grid_line_color": _INK, "grid_line_alpha": 0.18},
        }
    }
)
