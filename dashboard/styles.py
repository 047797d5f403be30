"""Stylesheets of widgets: Bokeh's own look bent to the page's CSS variables, and what single widgets need."""

# Every widget needs it, so theme.py makes it the default; a widget's own stylesheets replace the default.
BASE = """
:host {
  --color:var(--text); --background-color:var(--surface); --hover-color:var(--sunken);
  --disabled-color:var(--quiet); --border-color:var(--line); --divider-color:var(--line);
  --highlight-color:var(--accent); --active-bg:var(--accent-soft); --active-border:var(--accent);
  --active-fg:var(--accent); --inactive-bg:var(--sunken); --inactive-fg:var(--quiet);
  --icon-color:var(--quiet); --error:var(--danger); --placeholder-color:var(--quiet);
  --surface-background-color:var(--sunken); --disabled-background-color:var(--sunken);
  --input-focus-border-color:var(--accent); --input-focus-halo-color:transparent; --default:var(--surface);
  --default-border:var(--line); --default-hover:var(--sunken); --default-hover-border:var(--quiet);
  --default-active:var(--accent-soft); --default-active-border:var(--accent); --default-disabled:var(--sunken);
  --default-disabled-border:var(--line); --primary:var(--accent); --primary-border:var(--accent);
  --primary-hover:var(--accent); --primary-hover-border:var(--text); --primary-active:var(--accent);
  --primary-active-border:var(--text); --primary-disabled:var(--sunken); --primary-disabled-border:var(--line);
  --danger-border:var(--danger); --danger-hover:var(--danger); --tooltip-arrow-color:var(--surface);
  --box-shadow-color:var(--shadow); --outline-color:var(--accent); --padding-vertical:4px;
  --padding-horizontal:9px; color:var(--text);
}
select:not([multiple]).bk-input {
  background-image: linear-gradient(45deg, transparent 50%, var(--quiet) 50%),
    linear-gradient(-45deg, transparent 50%, var(--quiet) 50%);
  background-position: right 13px center, right 9px center; background-size: 4px 4px, 4px 4px;
  color: inherit; background-color: var(--surface);
}
.bk-input { color: inherit; }
.bk-btn { box-shadow: none; }
.bk-btn:focus-visible, .bk-input:focus-visible { outline: 2px solid var(--accent); outline-offset: 1px; }
.bk-btn-primary { color: var(--on-accent); font-weight: 600; }
.bk-btn-danger { color: var(--on-danger); }
.bk-btn[disabled], .bk-btn.bk-disabled { color: var(--quiet); }
"""

RAIL = (
    BASE
    + """
:host { overflow-y: auto; overflow-x: hidden; scrollbar-width: thin; }
.bk-btn-group { width: 100%; height: auto; flex: none; }
.bk-btn-group > .bk-btn {
  white-space: pre; text-align: left; justify-content: flex-start; font-family: var(--mono-font); font-size: 12px;
  border: 0; border-left: 3px solid transparent; border-radius: 0 !important; background: transparent;
  padding: 5px 10px 5px 11px; margin: 0; box-shadow: none; line-height: 1.4; color: var(--text);
}
.bk-btn-group > .bk-btn:hover { background: var(--sunken); }
.bk-btn-group > .bk-btn.bk-active {
  background: var(--accent-soft); border-left-color: var(--accent); color: var(--text); font-weight: 600;
}
.bk-btn-group > .bk-btn:focus-visible { outline: 2px solid var(--accent); outline-offset: -2px; }
"""
)

NETWORK_NOTES = (
    BASE
    + """
:host { flex: none; max-height: 45%; overflow-y: auto; scrollbar-width: thin; border-top: 1px solid var(--line); }
div.bk-clearfix { padding: 8px 12px 10px 11px; }
p { margin: 0 0 6px; font-size: 11.5px; line-height: 1.4; color: var(--quiet); overflow-wrap: anywhere; }
p:last-child { margin: 0; }
p.caution { color: var(--warm); }
"""
)

QUIET = BASE + ":host { color: var(--quiet); } b { color: var(--text); font-weight: 600; }"

AMBER = (
    BASE
    + """
:host { color: var(--warm); border-left: 3px solid var(--warm); padding: 1px 0 1px 8px; box-sizing: border-box; }
"""
)

ARRIVAL = (
    BASE
    + """
:host { color: var(--quiet); font-size: 12px; }
div.bk-clearfix { width: 100%; }
b { color: var(--text); font-weight: 600; }
p { margin: 4px 0; } p.warm { color: var(--warm); border-left: 3px solid var(--warm); padding-left: 8px; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 500; white-space: nowrap; }
tr:first-child th { text-align: right; font-size: 11px; }
td { text-align: right; color: var(--text); padding-left: 6px; white-space: nowrap; }
i { display: inline-block; width: 8px; height: 8px; border-radius: 50%; margin-right: 5px; }
svg { display: block; color: var(--text); background: var(--sunken); border-radius: 4px; margin-top: 4px; }
rect.promised { fill: var(--accent-soft); } line.zero { stroke: var(--line); }
div.ends { display: flex; justify-content: space-between; font-size: 11px; margin-bottom: 4px; }
"""
)

ONE_LINE = (
    QUIET
    + """
:host { min-width: 0; overflow: hidden; }
div.bk-clearfix { width: 100%; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
"""
)

HEADING = (
    BASE
    + """
:host { font-weight: 600; font-size: 11px; letter-spacing: .05em; text-transform: uppercase; color: var(--quiet); }
"""
)

NOTICE = (
    BASE
    + """
:host {
  background: var(--surface); border: 1px solid var(--line); border-left: 3px solid var(--danger); border-radius: 4px;
  padding: 7px 12px; color: var(--text); }
:host(.warning) { border-left-color: var(--warm); }
:host(.info) { border-left-color: var(--accent); }
"""
)

TABS = (
    BASE
    + """
:host { --padding-vertical: 5px; grid-template-columns: minmax(0, 1fr) !important;
  grid-template-rows: max-content minmax(0, 1fr) !important; }
.bk-header { border-bottom: 1px solid var(--line); }
.bk-tab {
  color: var(--quiet); border: 0; border-bottom: 2px solid transparent; border-radius: 0; background: none;
  padding: 6px 14px;
}
.bk-tab:hover { color: var(--text); background: none; }
.bk-tab.bk-active { color: var(--text); font-weight: 600; border-bottom-color: var(--accent); background: none; }
.bk-tab:focus-visible { outline: 2px solid var(--accent); outline-offset: -3px; }
"""
)

ICON_BUTTON = BASE + ".bk-btn { padding: 4px 9px; min-width: 30px; }"

FIELD = (
    BASE
    + """
.bk-input-group > label {
  color: var(--quiet); font-size: 11px; margin-bottom: 2px; white-space: nowrap; overflow: hidden;
  text-overflow: ellipsis;
}
.bk-description > .bk-icon { width: 13px; height: 13px; background-color: var(--quiet); }
"""
)

INLINE = (
    BASE
    + """
.bk-input-group { flex-direction: row; align-items: center; gap: 7px; }
.bk-input-group > label { color: var(--quiet); margin: 0; }
"""
)

CONTROLS = (
    BASE
    + """
:host {
  overflow-y: auto; overflow-x: hidden; scrollbar-width: thin; border-top: 1px solid var(--line); padding-top: 10px;
}
"""
)

PARAMETERS = BASE + ":host { grid-template-columns: repeat(3, minmax(0, 1fr)) !important; }"

# As wide as a square mosaic beside it leaves room for.
UNIT = (
    BASE
    + ":host { width: clamp(452px, calc(100vw - 252px - (100vh - 168px)), 760px) !important; flex: none;\n"
    + "overflow-y: auto; overflow-x: hidden; scrollbar-width: thin; }"
)

SLIDER = (
    BASE
    + """
.noUi-target { background: var(--sunken); border: 1px solid var(--line); box-shadow: none; border-radius: 4px; }
.noUi-connect { background: var(--accent); }
.noUi-handle { background: var(--surface); border: 2px solid var(--accent); box-shadow: none; border-radius: 50%; }
.noUi-handle::before, .noUi-handle::after { display: none; }
.bk-slider-title { color: var(--quiet); } .bk-slider-title .bk-slider-value { color: var(--text); }
"""
)

CLASSES = (
    BASE
    + """
.bk-btn-group { width: 100%; height: auto; gap: 3px; display: flex; }
.bk-btn-group > .bk-btn {
  text-align: left; justify-content: flex-start; border: 1px solid var(--line) !important;
  border-radius: 4px !important;
  padding: 5px 9px; margin: 0; box-shadow: none; color: var(--text); white-space: nowrap; overflow: hidden;
  text-overflow: ellipsis; font-variant-numeric: tabular-nums;
  background: linear-gradient(var(--accent-soft), var(--accent-soft)) 0 0 / var(--share, 0%) 100% no-repeat;
  background-color: var(--surface);
}
.bk-btn-group > .bk-btn:hover { border-color: var(--quiet) !important; }
.bk-btn-group > .bk-btn.bk-active {
  border-color: var(--accent) !important; box-shadow: inset 3px 0 0 var(--accent); font-weight: 600; color: var(--text);
}
.bk-btn-group > .bk-btn:focus-visible { outline: 2px solid var(--accent); outline-offset: -2px; }
"""
)

VALUES = (
    BASE
    + """
:host { font-variant-numeric: tabular-nums; }
p { margin: 0; display: flex; justify-content: space-between; gap: 10px; padding: 4px 0; }
b { font-weight: 600; white-space: nowrap; }
"""
)

CARD = (
    BASE
    + """
:host { background: var(--surface); border: 1px solid var(--line); border-radius: 6px; padding: 7px 8px 6px;
  min-height: 0; }
"""
)

PLAIN_BUTTON = (
    BASE
    + """
.bk-btn { padding: 3px 7px; min-width: 26px; border-color: transparent; background: transparent; color: var(--quiet); }
.bk-btn:hover { background: var(--sunken); color: var(--text); }
.bk-btn.bk-active { background: var(--accent-soft); color: var(--accent); }
"""
)

# In a column of text: its words start where the column's do.
LINE_BUTTON = PLAIN_BUTTON + ".bk-btn { padding-left: 0; padding-right: 0; text-align: left; }"

SCROLL = BASE + ":host { overflow-y: auto; overflow-x: hidden; scrollbar-width: thin; }"


def tiles(columns: int) -> str:
    """A grid of equal tiles that share all the room."""
    return (
        BASE
        + f":host {{ grid-template-columns: repeat({columns}, minmax(0, 1fr)) !important; "
        + "grid-auto-rows: minmax(0, 1fr) !important; grid-template-rows: none !important; }"
    )


FOOT = (
    BASE
    + """
:host { color: var(--quiet); font-size: 11.5px; line-height: 24px; white-space: nowrap; overflow: hidden;
  text-overflow: ellipsis; font-variant-numeric: tabular-nums; min-width: 0; }
:host(.old) { opacity: .45; }
div.bk-clearfix { width: 100%; overflow: hidden; text-overflow: ellipsis; }
"""
)

CHECK = (
    BASE
    + """
.bk-clearfix { width: 100%; }
table { border-collapse: collapse; width: 100%; font-size: 12.5px; }
thead th { color: var(--quiet); font-weight: 500; font-size: 11px; text-align: right; padding: 0 8px 4px;
  cursor: help; }
thead th:nth-child(-n+2) { text-align: left; cursor: default; }
tbody tr { border-top: 1px solid var(--line); }
tbody th { text-align: left; font-weight: 600; white-space: nowrap; padding: 6px 14px 6px 0; vertical-align: top; }
tbody th i { display: inline-block; width: 9px; height: 9px; border-radius: 50%; margin-right: 7px; }
td { padding: 6px 8px; vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.quiet { color: var(--quiet); }
b.trust, b.doubt, b.do-not-trust { padding: 0 7px; border-radius: 8px; font-size: 11px; line-height: 17px;
  display: inline-block; margin-right: 4px; white-space: nowrap; }
b.trust { background: var(--accent); color: var(--on-accent); }
b.doubt { background: var(--warm); color: var(--surface); }
b.do-not-trust { background: var(--danger); color: var(--on-danger); }
h3 { font-size: 12px; font-weight: 500; color: var(--quiet); margin: 8px 0 2px; }
h4 { font-size: 12.5px; font-weight: 600; margin: 10px 0 4px; }
.strip { display: flex; gap: 6px; flex-wrap: wrap; }
figure { margin: 0; width: 84px; }
img { width: 84px; height: 84px; object-fit: contain; border-radius: 4px; display: block; background: #000; }
figure span { position: relative; display: block; }
figure u { position: absolute; text-decoration: none; color: #eef2f5; font: 600 10px/12px inherit;
  text-shadow: 0 0 2px #000, 0 0 3px #000; width: 12px; text-align: center; pointer-events: none; }
figure u:nth-of-type(-n+2) { top: calc(50% - 6px); }
figure u:nth-of-type(1) { left: 1px; }
figure u:nth-of-type(2) { right: 1px; }
figure u:nth-of-type(n+3) { left: calc(50% - 6px); }
figure u:nth-of-type(3) { top: 1px; }
figure u:nth-of-type(4) { bottom: 1px; }
figcaption { font-size: 11px; color: var(--quiet); display: flex; justify-content: space-between; gap: 4px;
  overflow: hidden; white-space: nowrap; font-variant-numeric: tabular-nums; }
figcaption b { color: var(--text); }
"""
)

WRAP = BASE + ":host { flex-wrap: wrap; min-width: 0; }"
SHRINK = BASE + ":host { min-width: 0; }"
