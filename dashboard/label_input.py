"""What the regions of an atlas are called: the file's own names, or a table that a person sends."""

from collections.abc import Callable, Mapping
from typing import IO

from bokeh.models import Column

from dashboard import styles
from dashboard.later import attempt, later
from dashboard.live_text import LiveText
from dashboard.scans import Scan
from dashboard.services import Services
from dashboard.upload import Upload, shown_name
from vislib.label_tables import BYTES, label_of, read_label_table
from vislib.labels import Label

_ASK = "Regions are called by their numbers: send a table of names (CSV, FreeSurfer, ITK-SNAP)."


class LabelInput:
    """A button for a label table, seen while regions are shown; `changed` is called when there are other names."""

    def __init__(
        self, services: Services, changed: Callable[[], None], problem: Callable[[str], None]
    ) -> None:
        self._services, self._changed, self._problem = services, changed, problem
        self._tables: dict[
            str, tuple[str, Mapping[int, Label]]
        ] = {}  # by the atlas' key: the table's name, its rows
        self._scan: Scan | None = None
        self.upload = Upload(
            name="labels-upload",
            label="Label table",
            accept=".csv,.tsv,.txt,.lut,.label",
            dropping=False,
            pasting=False,
            limit=BYTES,
            width=110,
            margin=(4, 0, 0, 0),
        )
        self.said = LiveText(
            name="labels-said",
            text="",
            stylesheets=[styles.QUIET],
            sizing_mode="stretch_width",
            margin=(4, 0, 0, 0),
        )
        self.root = Column(
            self.said, self.upload, visible=False, sizing_mode="stretch_width", margin=(0, 0, 4, 0)
        )
        self.upload.on_done(self._sent)
        self.upload.on_problem(problem)

    def show(self, scan: Scan | None) -> None:
        """Offer names for the regions of a scan; None where no regions are shown."""
        self._scan = scan
        if self.root.visible != (scan is not None):
            self.root.visible = scan is not None
        if scan is not None:
            self.said.text = self._words(scan)

    def of(self, scan: Scan) -> Mapping[int, Label]:
        """The names of a scan's regions: those of the table that was sent for it, else the file's own."""
        return self._tables[scan.key][1] if scan.key in self._tables else scan.volume.labels

    def _words(self, scan: Scan) -> str:
        names = {value: label for value, label in self.of(scan).items() if label.name}
        if not names and scan.key not in self._tables:
            return _ASK
        known = scan.label_codes.values.tolist() if scan.label_codes is not None else []
        named = sum(label_of(one, names) is not None for one in known)
        source = "the table that was sent" if scan.key in self._tables else "the file"
        return f"{named} of {len(known)} regions are named by {source}."

    def _sent(self, name: str, file: IO[bytes]) -> None:
        document, scan, called = self.upload.document, self._scan, shown_name(name)

        def read() -> None:
            with file:
                found, problem = attempt(lambda: read_label_table(file.read(BYTES + 1), called))
            later(document, lambda: self._read(scan, called, found, problem))

        self._services.reader.submit(read)

    def _read(self, scan: Scan | None, called: str, found: Mapping[int, Label] | None, problem: str) -> None:
        if found is None:
            self._problem(problem)
        elif scan is not None:
            self._tables[scan.key] = called, scan.volume.named(found)
            if scan is self._scan:
                self.show(scan)
                self._changed()

    def close(self) -> None:
        """The session has ended."""
        self.upload.close()
        self._scan = None
