"""The page's own Bokeh models: mosaic, film of a unit, player, keys, download, address bar.

Their drawing is plain JavaScript in `dist/dashboard.js`; what is said of a property here holds there too.
"""

from collections.abc import Iterable, Sequence

from bokeh.core.has_props import abstract
from bokeh.core.properties import Bool, Bytes, Enum, Float, Instance, Int, List, Nullable, String
from bokeh.models import ColumnDataSource, LayoutDOM, Slider, Toggle

from vislib import display


class Mosaic(LayoutDOM):
    """A grid of live cells drawn from one encoded picture of all; a click or an arrow key chooses a cell."""

    frame = Bytes(default=b"", help="The encoded mosaic, cells row by row; empty shows a skeleton.")
    mime = String(default="image/jpeg", help="Media type of `frame`.")
    tick = Int(default=0, help="Grows with every frame; set after everything that belongs to the frame.")
    ack = Int(default=0, help="The tick of the frame painted last; set by the browser.")

    n = Int(default=0, help="Number of cells.")
    columns = Int(default=1, help="Cells in a row of `frame`.")
    gap = Int(default=0, help="Pixels between two cells of `frame`.")
    aspect = Float(default=1.0, help="Width / height of a cell while there is no frame.")

    arrangement = Enum(
        "auto",
        "columns",
        default="auto",
        help="Rows on the page: as makes the cells largest, or as `columns` says.",
    )
    spacing = Int(default=6, help="CSS pixels between two cells on the page.")
    anchor = Enum("start", "center", default="start", help="Where the grid stands in its box.")
    smoothing = Enum(
        "auto",
        "smooth",
        "pixelated",
        default="auto",
        help="auto: pixelated where few pixels are shown large.",
    )

    source = Nullable(
        Instance(ColumnDataSource), help="One row a cell: columns `unit`, `score`, `step` (all optional)."
    )
    labels = List(String, default=[], help="What a cell is called in place of `unit 12` in tooltips.")
    captions = List(String, default=[], help="Text in a cell's corner in place of the unit's number.")
    badges = List(
        String, default=[], help="A cell's state in a few words, such as `never fired`; empty for none."
    )
    dimmed = List(Int, default=[], help="Indices of cells shown faintly.")
    selected = Int(default=-1, help="Index of the chosen cell, -1 for none; set by the browser too.")
    description = String(default="", help="Text alternative of the whole.")
    placeholder = String(default="", help="Words shown while there is no frame.")

    shown_columns = Int(default=1, help="Cells in a row on the page; set by the browser.")
    cell_pixels = Int(default=0, help="Longer side of a cell in device pixels; set by the browser.")

    def show(self, frame: bytes, tick: int | None = None) -> None:
        """Send a frame; `tick` defaults to the next one."""
        self.frame = frame
        self.mime = display.mime(frame)
        self.tick = self.tick + 1 if tick is None else tick

    def clear(self) -> None:
        """Go back to the skeleton."""
        self.frame = b""
        self.tick += 1


class UnitFilm(LayoutDOM):
    """One unit's kept pictures, held in the browser, so that scrubbing asks nothing of the server."""

    film_id = String(default="", help="Which film this is (run and unit); a change empties it.")
    chunk = Bytes(default=b"", help="Encoded pictures end to end, added to the film at the next `tick`.")
    chunk_steps = List(Int, default=[], help="Their steps; a step that is there already is replaced.")
    chunk_sizes = List(Int, default=[], help="Their sizes in bytes.")
    chunk_scores = List(Float, default=[], help="Their scores; may be empty.")
    keep = List(
        Int, default=[], help="Steps that are still kept, all others are dropped; empty drops nothing."
    )
    tick = Int(default=0, help="Grows with every chunk; set last.")

    live = Bytes(default=b"", help="The newest picture, between two kept ones.")
    live_step = Int(default=-1, help="Its step; -1 for none.")
    live_score = Nullable(Float)

    step = Int(default=0, help="What is shown: the newest picture at or before this step.")
    compare = Nullable(Int, help="A second step, shown before the first.")
    smoothing = Enum(
        "auto",
        "smooth",
        "pixelated",
        default="auto",
        help="auto: pixelated where few pixels are shown large.",
    )
    anchor = Enum("start", "center", default="center", help="Where the picture stands in its box.")
    parts = List(String, default=[], help="What the parts of a picture that lie side by side are called.")
    edges = List(Float, default=[], help="Where each part begins, as a share of the picture's width.")
    letters = List(String, default=[], help="Of each part the letters at its left, right, top and bottom.")
    description = String(default="", help="Text alternative; the step and score are added to it.")
    placeholder = String(default="", help="Words shown while there is no picture.")

    def open(self, film_id: str) -> None:
        """Start an empty film, unless it is the one that is open."""
        if film_id == self.film_id:
            return
        # Emptied first: what a reloaded browser finds here must belong to the film that is named.
        self.update(
            chunk=b"", chunk_steps=[], chunk_sizes=[], chunk_scores=[], keep=[], live=b"", live_step=-1
        )
        self.film_id = film_id

    def add(self, pictures: Iterable[tuple[int, float, bytes]], keep: Sequence[int] = ()) -> None:
        """Add (step, score, encoded picture) rows as of `History.film`; 3-D pictures go through `plane`.

        Call once while the document is built, or as often as wanted once a browser shows it.
        """
        rows = [(step, score, display.viewable(data)) for step, score, data in pictures]
        self.chunk = b"".join(data for _, _, data in rows)
        self.chunk_steps = [int(step) for step, _, _ in rows]
        self.chunk_sizes = [len(data) for _, _, data in rows]
        self.chunk_scores = [float(score) for _, score, _ in rows]
        self.keep = [int(step) for step in keep]
        self.tick += 1

    def show_live(self, step: int, score: float | None, data: bytes) -> None:
        """Send the newest picture."""
        self.live = display.viewable(data)
        self.live_step = step
        self.live_score = score


@abstract
class _Actor(LayoutDOM):
    """A model that acts in the browser and takes no room on the page; it must be part of the document."""


class Player(_Actor):
    """Ties a slider and a play button to a film: scrubs, plays in a loop, follows the newest picture."""

    film = Instance(UnitFilm)
    slider = Instance(Slider)
    toggle = Nullable(Instance(Toggle), help="Plays while it is active.")
    rate = Float(default=15.0, help="Kept pictures a second.")
    loop = Bool(default=True)
    following = Bool(
        default=True,
        help="The slider goes to each newer picture; a drag ends that, a drag to the newest begins it again.",
    )


class Keys(_Actor):
    """The page's keys while nobody types: arrows choose a cell, `[` and `]` step the history, space pauses."""

    active = Bool(default=True)
    mosaic = Nullable(Instance(Mosaic))
    player = Nullable(Instance(Player))
    pause_count = Int(default=0, help="Grows with every press of the space bar; set by the browser.")
    step_count = Int(default=0, help="Grows with `]`, falls with `[`, where there is no player.")


class Download(_Actor):
    """Saves bytes as a file on the browser's side."""

    data = Bytes(default=b"")
    filename = String(default="vislib")
    mime = String(default="application/octet-stream")
    tick = Int(default=0, help="Grows with every file; set last.")
    ack = Int(default=0, help="The tick of the file saved last; set by the browser.")

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.on_change("ack", self._forget)

    def save(self, data: bytes, filename: str, mime: str = "application/octet-stream") -> None:
        """Hand `data` to the browser as a download called `filename`."""
        self.data = data
        self.filename = filename
        self.mime = mime
        self.tick += 1

    def _forget(self, _name: str, _old: int, ack: int) -> None:
        if ack == self.tick:
            self.data = b""


class AddressBar(_Actor):
    """Writes the query into the browser's address without a reload."""

    query = String(default="", help="`?name=value&…`; empty leaves the address alone.")
