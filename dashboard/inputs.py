"""Inputs: which picture or slice a session has chosen, prepared for its network."""

import hashlib
from dataclasses import dataclass
from functools import cache

import numpy as np

from models.inputs import Sample, samples
from vislib import display
from vislib.errors import ImageError
from vislib.images import Picture, prepare, read_picture
from vislib.network import Network
from vislib.volumes import PLANES, Slice, Volume, best_slice, read_volume, slice_image, slices
from vislib.volumes import caption as slice_caption

MOST_UPLOADS = 8


@dataclass(frozen=True)
class Choice:
    """What is to be looked at: a sample's or an upload's name, and of a volume which slice."""

    name: str
    plane: str = PLANES[0]
    index: int | None = None  # None: the slice that shows most of the lesion, or the middle one
    fit: str = "crop"


@dataclass(frozen=True, eq=False)
class Input:
    """A picture as one network sees it."""

    choice: Choice
    key: str  # of the pixels: the same picture has the same key
    words: str  # for a caption
    image: np.ndarray  # float32 (1, c, h, w) in [0, 1]
    picture: bytes  # the same as PNG
    mask: np.ndarray | None = None  # (h, w) bool: where the lesion is
    label: str = ""  # the true class, where it is known
    notes: tuple[str, ...] = ()
    slice: Slice | None = None
    volume: Volume | None = None

    @property
    def stem(self) -> str:
        """What a file made from it is called."""
        place = f"-{self.choice.plane}-{self.slice.index}" if self.slice is not None else ""
        return f"{self.choice.name.rsplit('.', 1)[0]}{place}"


class Inputs:
    """The samples and a session's uploads, and how each becomes an Input; may be used from any thread."""

    def __init__(self) -> None:
        self._uploads: dict[str, Picture] = {}

    def add(self, picture: Picture) -> str:
        """Keep an uploaded picture; the name under which it can be chosen."""
        name, number = picture.name, 2
        taken = {*self._uploads, *_samples()}
        while name in taken:
            name, number = f"{picture.name} ({number})", number + 1
        self._uploads[name] = picture
        for old in list(self._uploads)[:-MOST_UPLOADS]:
            del self._uploads[old]
        return name

    def names(self) -> dict[str, list[str]]:
        """What can be chosen, in groups."""
        kinds = {"volume": "brain volumes", "photo": "photographs"}
        groups = {
            title: [sample.name for sample in samples() if sample.kind == kind]
            for kind, title in kinds.items()
        }
        return {"uploaded": list(self._uploads), **groups} if self._uploads else groups

    def is_sample(self, name: str) -> bool:
        """Whether an input ships, so that a link to it works for others."""
        return name in _samples()

    def is_volume(self, name: str) -> bool:
        """Whether an input has slices."""
        return name in _samples() and _samples()[name].kind == "volume"

    def slices(self, choice: Choice) -> int:
        """How many slices a volume has in the chosen plane."""
        return slices(_volume(choice.name)[0], choice.plane)

    def first_for(self, network: Network) -> Choice:
        """What a network is shown before anybody chooses: a lesion for one channel, a photograph for colour."""
        wanted = "photo" if network.input_shape[0] == 3 else "volume"
        fitting = [sample for sample in samples() if sample.kind == wanted]
        lesion = [sample for sample in fitting if sample.label in network.labels[1:]]
        return Choice((lesion or fitting)[0].name)

    def prepare(self, choice: Choice, network: Network) -> Input:
        """The Input of a choice; takes some milliseconds. Raises ImageError where it cannot be."""
        if self.is_volume(choice.name):
            return _slice_input(choice, network)
        if choice.name in self._uploads:
            picture = self._uploads[choice.name]
        elif choice.name in _samples():
            picture = _photo(choice.name)
        else:
            raise ImageError(f"There is no input {choice.name!r} any more; choose another one.")
        image = prepare(picture, network, choice.fit)
        wide, high = picture.original
        words = f"{choice.name}, {wide} x {high}"
        return Input(choice, _key(image), words, image, _png(image), notes=picture.notes)


def _slice_input(choice: Choice, network: Network) -> Input:
    volume, mask = _volume(choice.name)
    index = choice.index
    if index is None:
        index = best_slice(np.zeros(volume.data.shape, bool) if mask is None else mask, choice.plane)
    index = min(max(0, index), slices(volume, choice.plane) - 1)
    one = slice_image(volume, choice.plane, index, network.input_shape, network.spacing)
    seen = one.sample(mask, 0) > 0 if mask is not None else None
    label = _samples()[choice.name].label if seen is None or seen.any() else ""
    return Input(
        choice,
        _key(one.image),
        f"{choice.name}, {slice_caption(volume, choice.plane, index)}",
        one.image,
        _png(one.image),
        mask=seen if seen is not None and seen.any() else None,
        label=label,
        notes=(volume.scaling, *volume.notes),
        slice=one,
        volume=volume,
    )


@cache
def _samples() -> dict[str, Sample]:
    return {sample.name: sample for sample in samples()}


@cache
def _volume(name: str) -> tuple[Volume, np.ndarray | None]:
    """A sample volume and its lesion, read once a process."""
    sample = _samples()[name]
    mask = read_volume(sample.mask).data > 0 if sample.mask is not None else None
    return read_volume(sample.path), mask


@cache
def _photo(name: str) -> Picture:
    return read_picture(_samples()[name].path.read_bytes(), name)


def _key(image: np.ndarray) -> str:
    return hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()[:16]


def _png(image: np.ndarray) -> bytes:
    pixels = np.rint(np.clip(image[0], 0, 1) * 255).astype(np.uint8)
    return display.png(np.moveaxis(display.plane(pixels), 0, -1))
