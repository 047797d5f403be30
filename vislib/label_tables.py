"""Label tables: what the numbers of an atlas are called, from CSV, TSV, FreeSurfer, ITK-SNAP or a NIfTI extension."""

import csv
import html
import io
import re
from collections.abc import Iterable, Mapping

from vislib.errors import ImageError
from vislib.images import printable
from vislib.labels import Label

BYTES = 4_000_000  # of a table
ROWS = 20_000
NAME = 80  # characters that are kept of a name
_NUMBERS = (
    "index",
    "label",
    "id",
    "value",
    "key",
    "no",
    "number",
    "intensity",
    "roi",
    "labelid",
    "structureid",
)
_NAMES = ("name", "region", "structure", "labelname", "regionname", "structurename", "title", "description")
_SHORT = ("abbreviation", "acronym", "abbr", "short")
_COLOURS = ("color", "colour", "rgb", "hex")
_FREESURFER = re.compile(r"\s*(-?\d+)\s+(\S+)\s+(\d+)\s+(\d+)\s+(\d+)\s+\d+\s*$")
_SNAP = re.compile(r'\s*(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s+[\d.]+\s+\d+\s+\d+\s+"([^"]*)"\s*$')
_PLAIN = re.compile(r"\s*(-?\d{1,12})(?:\s*[,;\t]\s*([^,;\t]+).*|[\s:=]+(.*\S))\s*$")
_CARET = re.compile(r"<Label\b([^>]{0,400})>([^<]{0,400})</Label>")
_AFNI = re.compile(r'"(-?\d+)"\s+"([^"]{0,400})"')
_ATTRIBUTE = re.compile(r'(\w+)\s*=\s*"([^"]*)"')
_ALLOWED = (
    "give a CSV or TSV with a column of numbers (index, label, id) and one of names, a FreeSurfer colour table or an "
    "ITK-SNAP label file"
)


def read_label_table(data: bytes, name: str = "the table") -> dict[int, Label]:
    """The labels of a table, by number: CSV or TSV, a FreeSurfer colour table, or ITK-SNAP's label descriptions.

    A CSV or TSV has a header that names a column of whole numbers (index, label, id ...) and one of names, and may
    have a colour (r, g, b or #rrggbb); without a header, its first column counts and its second names. Of a number
    that comes twice the first is kept. Raises ImageError for what is no such table.
    """
    called = printable(name)
    if len(data) > BYTES:
        raise ImageError(
            f"{called} has {len(data) / 1e6:.1f} MB; a label table may have {BYTES // 10**6} MB."
        )
    lines = _text(data).splitlines()
    if len(lines) > ROWS:
        raise ImageError(f"{called} has {len(lines)} lines; a label table may have {ROWS}.")
    lines = [line for line in lines if line.strip() and not line.lstrip().startswith(("#", "//", "%"))]
    for reader in (_snap, _freesurfer, _columns, _plain):
        if found := reader(lines):
            return found
    raise ImageError(f"{called} is no label table that can be read here: {_ALLOWED}.")


def labels_of_extension(text: str) -> dict[int, Label]:
    """The labels in a NIfTI header extension: Caret's or Workbench's, AFNI's, or a table as text."""
    text = text[:BYTES]
    found: dict[int, Label] = {}
    for attributes, words in _CARET.findall(text):
        known = dict(_ATTRIBUTE.findall(attributes))
        if re.fullmatch(r"-?\d{1,12}", known.get("Key", "")):
            shares = [known.get(one, "") for one in ("Red", "Green", "Blue")]
            _add(found, int(known["Key"]), html.unescape(words), _of_shares(shares))
    if not found and "VALUE_LABEL_DTABLE" in text:
        inside = text.split("VALUE_LABEL_DTABLE", 2)[1]
        for number, words in _AFNI.findall(inside):
            _add(found, int(number), html.unescape(words), None)
    if not found and "<" not in text[:200] and "{" not in text[:200]:
        lines = [line for line in text.strip("\0").splitlines() if line.strip()][:ROWS]
        lines = [line for line in lines if not line.lstrip().startswith("#")]
        for reader in (_snap, _freesurfer, _columns):
            if found := reader(lines):
                break
    return found


def _text(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _add(found: dict[int, Label], number: int, words: str, colour: tuple[int, int, int] | None) -> None:
    words = printable(" ".join(words.split()))[:NAME]
    if words and number not in found:
        found[number] = Label(words, colour)


def _snap(lines: Iterable[str]) -> dict[int, Label]:
    found: dict[int, Label] = {}
    for line in lines:
        match = _SNAP.match(line)
        if match is None:
            return {}
        _add(found, int(match[1]), match[5], _of_bytes(match.group(2, 3, 4)))
    return found


def _freesurfer(lines: Iterable[str]) -> dict[int, Label]:
    found: dict[int, Label] = {}
    for line in lines:
        match = _FREESURFER.match(line)
        if match is None:
            return {}
        _add(found, int(match[1]), match[2], _of_bytes(match.group(3, 4, 5)))
    return found


def _plain(lines: Iterable[str]) -> dict[int, Label]:
    """Lines of a number and a name."""
    found: dict[int, Label] = {}
    for line in lines:
        match = _PLAIN.match(line)
        words = "" if match is None else match[2] or match[3]
        if match is None or re.fullmatch(r"[-+\d.eE\s,;]+", words):
            return {}
        _add(found, int(match[1]), words.strip().strip("\"'"), None)
    return found


def _columns(lines: list[str]) -> dict[int, Label]:
    """A table with a header, its columns parted by tabs, commas or semicolons."""
    if len(lines) < 2:
        return {}
    parted = max("\t,;", key=lines[0].count)
    try:
        rows = list(csv.reader(io.StringIO("\n".join(lines)), delimiter=parted, skipinitialspace=True))
    except csv.Error:
        return {}
    titles = [re.sub(r"[^a-z]", "", title.lower()) for title in rows[0]]
    body = [row for row in rows[1:] if len(row) >= 2]
    numbers = _numbers(titles, body)
    names = next((titles.index(one) for one in (*_NAMES, *_SHORT) if one in titles), None)
    if names is None and "label" in titles and titles.index("label") != numbers:
        names = titles.index("label")
    if numbers is None or names is None or names == numbers:
        return {}
    found: dict[int, Label] = {}
    for row in body:
        if len(row) <= max(numbers, names) or not _whole(row[numbers]):
            return {}
        _add(found, int(float(row[numbers])), row[names], _colour(titles, row))
    return found


def _numbers(titles: list[str], body: list[list[str]]) -> int | None:
    """The column of whole numbers that says which region a row is about."""
    for one in _NUMBERS:
        if one in titles:
            at = titles.index(one)
            if body and all(len(row) > at and _whole(row[at]) for row in body):
                return at
    return None


def _whole(text: str) -> bool:
    return re.fullmatch(r"\s*-?\d{1,12}(\.0+)?\s*", text) is not None


def _colour(titles: list[str], row: list[str]) -> tuple[int, int, int] | None:
    for one in _COLOURS:
        if one in titles and len(row) > titles.index(one):
            match = re.fullmatch(r"\s*#?([0-9a-fA-F]{6})\s*", row[titles.index(one)])
            if match is not None:
                red, green, blue = bytes.fromhex(match[1])
                return red, green, blue
    for three in (("r", "g", "b"), ("red", "green", "blue")):
        if all(one in titles and len(row) > titles.index(one) for one in three):
            return _of_bytes([row[titles.index(one)] for one in three])
    return None


def _of_bytes(three: Iterable[str]) -> tuple[int, int, int] | None:
    known = [int(one) for one in three if re.fullmatch(r"\s*\d{1,3}\s*", one)]
    return (known[0], known[1], known[2]) if len(known) == 3 and max(known) < 256 else None


def _of_shares(three: Iterable[str]) -> tuple[int, int, int] | None:
    known = [float(one) for one in three if re.fullmatch(r"\d(\.\d{1,12})?", one)]
    if len(known) != 3 or max(known) > 1:
        return None
    red, green, blue = (round(255 * one) for one in known)
    return red, green, blue


def label_of(value: float, labels: Mapping[int, Label]) -> Label | None:
    """What is known of the region of that value, which need not be whole."""
    return labels.get(int(value)) if value == int(value) else None


def named(value: float, labels: Mapping[int, Label]) -> str:
    """What a label is called: its name, or its number where no table names it."""
    known = label_of(value, labels)
    return f"{own_number(value, labels):.10g}" if known is None or not known.name else known.name


def own_number(value: float, labels: Mapping[int, Label]) -> float:
    """The file's own number of the region that an array holds as `value`."""
    known = label_of(value, labels)
    return value if known is None or known.number is None else float(known.number)


def region_words(value: float, labels: Mapping[int, Label]) -> str:
    """A region's own number, and its name where it has one."""
    number, name = f"{own_number(value, labels):.10g}", named(value, labels)
    return number if name == number else f"{number} {name}"
