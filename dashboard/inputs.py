"""Inputs: which picture, slice or volume a session has chosen, prepared for its network."""

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import cache
from typing import IO

import numpy as np

from dashboard.places import OwnAxes
from dashboard.scans import Scan, Scans, volume_samples
from dashboard.upload import shown_name
from models.inputs import Sample, samples
from vislib import display
from vislib.errors import ImageError
from vislib.images import FILE_BYTES, Picture, altered, looks_like_picture, prepare, read_picture
from vislib.network import Network
from vislib.preparation import STORED, Preparation
from vislib.slices import VIEWS, upright
from vislib.volumes import (
    PLANES,
    Slice,
    back_to_own,
    best_slice,
    resample,
    slice_image,
    slices,
    to_network,
)
from vislib.volumes import caption as slice_caption

MOST_PICTURES = 8
_PREPARED = 2  # volumes kept as 3-D networks take them


@dataclass(frozen=True)
class Choice:
    """What is to be looked at: a sample's or an upload's name, and of a volume which slice at what time."""

    name: str
    plane: str = PLANES[0]
    index: int | None = None  # None: the slice that shows most of the lesion, or the middle one
    fit: str = "crop"
    time: int = 0
    preparation: Preparation = STORED

    @property
    def subject(self) -> tuple[object, ...]:
        """All but the place in a volume."""
        return self.name, self.fit, self.time, self.preparation


@dataclass(frozen=True)
class Awaited:
    """An upload that a link names and this session does not have."""

    name: str
    data: str  # its contents as `Inputs.origin` tells them; "" where the link does not say
    choice: Choice  # what is to be looked at in it

    @property
    def sentence(self) -> str:
        """What is missing, and what to do."""
        return (
            f"This link is about {self.name}, which was uploaded to another page and is not kept here: "
            "upload it to go on."
        )


@dataclass(frozen=True, eq=False)
class Prepared:
    """A volume as a 3-D network takes it."""

    image: np.ndarray  # float32 (1, c, x, y, z) in [0, 1]
    grid: np.ndarray  # its voxels (i, j, k, 1) to mm
    key: str
    mask: np.ndarray | None  # (x, y, z) bool: where the lesion is


@dataclass(frozen=True, eq=False)
class Input:
    """A picture, slice or volume as one network sees it."""

    choice: Choice
    key: str  # of the values: the same picture has the same key
    words: str  # for a caption
    image: np.ndarray  # float32 (1, c, *spatial) in [0, 1]
    picture: bytes  # the same, of a volume one plane, as PNG
    mask: np.ndarray | None = None  # (*spatial) bool: where the lesion is
    label: str = ""  # the true class, where it is known
    notes: tuple[str, ...] = ()
    altered: tuple[str, ...] = ()  # what may have made a picture unlike the network's own
    scan: Scan | None = None
    slice: Slice | None = None
    grid: np.ndarray | None = None  # of a volume: its voxels (i, j, k, 1) to mm ...
    at: int | None = None  # ... and which of its planes is shown

    @property
    def stem(self) -> str:
        """What a file made from it is called."""
        place = ""
        if self.slice is not None and self.scan is not None:  # as the file counts
            across, volume = VIEWS[self.choice.plane].across, self.scan.volume
            own, at = OwnAxes.of(volume), self.slice.index
            letter, at = ("", at) if own is None else own.place(volume.data.shape, across, at)
            place = f"-{self.choice.plane}-{letter}{at}"
        return f"{self.choice.name.rsplit('.', 1)[0]}{place}"

    @property
    def plane(self) -> str:
        """The plane of which it is, or shows, a slice; "" for a picture."""
        return self.choice.plane if self.scan is not None else ""

    @property
    def outline(self) -> np.ndarray | None:
        """Where the lesion is in what is shown."""
        return self.seen(self.mask) if self.mask is not None else None

    def seen(self, values: np.ndarray) -> np.ndarray:
        """What is shown of a map over the image, of the image's own or a coarser size: (h, w)."""
        if self.at is None or self.grid is None:
            return values
        across = VIEWS[self.choice.plane].across
        here = int((self.at + 0.5) * values.shape[across] / self.image.shape[2 + across])
        return upright(values, self.choice.plane, here)

    def back(self, values: np.ndarray) -> np.ndarray:
        """A map over the image on the volume's own grid; only for slices and volumes."""
        assert self.scan is not None
        if self.slice is not None:
            return self.slice.back(values)
        assert self.grid is not None
        return back_to_own(values, self.grid, self.scan.volume)


class Inputs:
    """The samples and a session's uploads, and how each becomes an Input; may be used from any thread."""

    def __init__(self) -> None:
        self._pictures: dict[str, Picture] = {}
        self._prepared: OrderedDict[tuple[str, str, Preparation], Prepared] = OrderedDict()
        self._lock = threading.RLock()
        self._origins: dict[str, tuple[str, str]] = {}
        self.scans = Scans()

    def add(self, name: str, file: IO[bytes]) -> str:
        """Keep an uploaded picture or volume; the name under which it can be chosen. Raises ImageError."""
        called = shown_name(name)
        head = file.read(1000)
        file.seek(0)
        data = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=8)).hexdigest()  # type: ignore[arg-type]
        file.seek(0)
        free, number = called, 2
        while free in self._pictures or free in self.scans.uploads or free in _samples():
            free, number = f"{called} ({number})", number + 1
        if not looks_like_picture(head, called):
            self.scans.add(free, called, file)
            self._origins[free] = called, data
            return free
        picture = read_picture(file.read(FILE_BYTES + 1), called)
        with self._lock:
            self._pictures[free] = picture
            self._origins[free] = called, data
            for old in list(self._pictures)[:-MOST_PICTURES]:
                del self._pictures[old]
        return free

    def origin(self, name: str) -> tuple[str, str]:
        """What an upload's file was called, and 16 hex digits that stand for its contents."""
        return self._origins.get(name, (name, ""))

    def names(self) -> dict[str, list[str]]:
        """What can be chosen, in groups."""
        kinds = {"volume": "brain volumes", "photo": "photographs"}
        groups = {
            title: [sample.name for sample in samples() if sample.kind == kind]
            for kind, title in kinds.items()
        }
        uploads = [*self._pictures, *self.scans.uploads]
        return {"uploaded": uploads, **groups} if uploads else groups

    def is_sample(self, name: str) -> bool:
        """Whether an input ships, so that a link to it works for others."""
        return name in _samples()

    def is_volume(self, name: str) -> bool:
        """Whether an input has slices."""
        return name in volume_samples() or name in self.scans.uploads

    def first_for(self, network: Network) -> Choice:
        """What a network is shown before anybody chooses: a lesion for one channel, a photograph for colour."""
        wanted = "photo" if network.input_shape[0] == 3 else "volume"
        fitting = [sample for sample in samples() if sample.kind == wanted]
        lesion = [sample for sample in fitting if sample.label in network.labels[1:]]
        return Choice((lesion or fitting)[0].name)

    def scan(self, choice: Choice) -> Scan | None:
        """The volume of a choice, None for a picture; an upload's may take seconds. Raises ImageError."""
        if not self.is_volume(choice.name):
            return None
        try:
            scan = self.scans.get(choice.name, choice.time)
        except KeyError:  # it was dropped a moment ago
            return None
        assert scan.key, scan.volume.window  # found here, where they may take their time
        return scan

    def prepare(self, choice: Choice, network: Network, scan: Scan | None) -> Input:
        """The Input of a choice and its scan; takes some milliseconds. Raises ImageError where it cannot be."""
        if scan is not None:
            return (
                self._whole(choice, network, scan)
                if len(network.input_shape) == 4
                else _cut(choice, network, scan)
            )
        picture = self._pictures.get(choice.name)
        if picture is None and choice.name in _samples():
            picture = _photo(choice.name)
        if picture is None:
            raise ImageError(f"There is no input {choice.name!r} any more; choose another one.")
        image = prepare(picture, network, choice.fit)
        wide, high = picture.original
        words = f"{choice.name}, {wide} x {high}"
        changes = altered(picture, network, choice.fit)
        return Input(choice, _key(image), words, image, _png(image[0]), notes=picture.notes, altered=changes)

    def close(self) -> None:
        """The session has ended."""
        self.scans.close()

    def _whole(self, choice: Choice, network: Network, scan: Scan) -> Input:
        """A volume for a 3-D network, of which one plane is shown."""
        one = self._prepare(choice, network, scan)
        index, across = place_of(choice, scan), VIEWS[choice.plane].across
        way = np.linalg.solve(one.grid, scan.volume.affine)  # along the same axes: each by itself
        wanted = round(float(way[across, across] * index + way[across, 3]))
        at = min(max(0, wanted), one.image.shape[2 + across] - 1)
        beyond = (f"{network.name} does not see so far: its nearest plane is shown.",) if at != wanted else ()
        picture = np.stack([upright(channel, choice.plane, at) for channel in one.image[0]])
        return Input(
            choice,
            one.key,
            f"{choice.name}, {_place_words(choice, scan, index)}",
            one.image,
            _png(picture),
            one.mask,
            scan.label,
            (*beyond, *_notes(choice, scan)),
            scan=scan,
            grid=one.grid,
            at=at,
        )

    def _prepare(self, choice: Choice, network: Network, scan: Scan) -> Prepared:
        """The volume for the network, remembered: its planes are looked at one after the other."""
        volume, known = scan.volume, (scan.key, network.fingerprint, choice.preparation)
        with self._lock:
            if known not in self._prepared:
                image, grid = to_network(volume, network.input_shape, network.spacing, choice.preparation)
                x, y, z = image.shape[2:]
                mask = None
                if scan.mask is not None:
                    mask = resample(scan.mask, volume.affine, (x, y, z), grid, 0) > 0
                self._prepared[known] = Prepared(image, grid, _key(image), mask)
                while len(self._prepared) > _PREPARED:
                    self._prepared.popitem(last=False)
            return self._prepared[known]


def place_of(choice: Choice, scan: Scan) -> int:
    """The slice that is chosen; where none is, the one that shows most of the lesion, or the middle one."""
    count, index = slices(scan.volume, choice.plane), choice.index
    if index is None:
        index = count // 2 if scan.mask is None else best_slice(scan.mask, choice.plane)
    return min(max(0, index), count - 1)


def _cut(choice: Choice, network: Network, scan: Scan) -> Input:
    """A slice for a 2-D network."""
    volume, index = scan.volume, place_of(choice, scan)
    one = slice_image(volume, choice.plane, index, network.input_shape, network.spacing, choice.preparation)
    seen = one.sample(scan.mask, 0) > 0 if scan.mask is not None else None
    return Input(
        choice,
        _key(one.image),
        f"{choice.name}, {_place_words(choice, scan, index)}",
        one.image,
        _png(one.image[0]),
        mask=seen if seen is not None and seen.any() else None,
        label=scan.label if seen is None or seen.any() else "",
        notes=_notes(choice, scan),
        scan=scan,
        slice=one,
    )


def _place_words(choice: Choice, scan: Scan, index: int) -> str:
    time = f", time {scan.volume.time}" if scan.volume.times > 1 else ""
    return f"{slice_caption(scan.volume, choice.plane, index)}{time}"


def _notes(choice: Choice, scan: Scan) -> tuple[str, ...]:
    return (choice.preparation.words(scan.volume), *scan.volume.notes)


@cache
def _samples() -> dict[str, Sample]:
    return {sample.name: sample for sample in samples()}


@cache
def _photo(name: str) -> Picture:
    return read_picture(_samples()[name].path.read_bytes(), name)


def _key(image: np.ndarray) -> str:
    return hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()[:16]


def _png(image: np.ndarray) -> bytes:
    """A picture (c, h, w) in [0, 1]."""
    pixels = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    return display.png(np.moveaxis(display.plane(pixels), 0, -1))
