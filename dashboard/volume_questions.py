"""Questions whose answer is a map on a volume's own grid: a network's, or what another file holds there."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from dashboard import numbers
from dashboard.answers import Asked, MethodQuestion
from dashboard.sayings import score_words
from dashboard.scans import Scan
from dashboard.volume_codes import LabelCodes
from vislib.attribution import VolumeAttribution, volume_attribution_steps
from vislib.labels import Label
from vislib.preparation import Preparation
from vislib.volumes import caption, lay_over


class MapQuestion(Asked, Protocol):
    """What the panel and the files say of a question whose answer is a VolumeAttribution."""

    @property
    def scan(self) -> Scan:
        """The volume."""

    @property
    def name(self) -> str:
        """In a file's name."""

    @property
    def caption(self) -> str:
        """What the map is."""

    @property
    def spec(self) -> dict[str, Any]:
        """All that the map depends on, as JSON-able values, for the files that are made of it."""

    @property
    def facts(self) -> list[str]:
        """The same in a few sentences, for pictures."""

    @property
    def long(self) -> bool:
        """Whether a person may want to stop it."""

    def said(self, found: VolumeAttribution) -> list[str]:
        """What is to be known of an answer beside its notes."""


@dataclass(frozen=True)
class VolumeQuestion(MethodQuestion):
    """One method's question about a whole volume, to a 2-D network slice by slice of a plane."""

    scan: Scan
    plane: str
    preparation: Preparation

    @property
    def by_slices(self) -> bool:
        """Whether the network sees one slice at a time."""
        return len(self.network.input_shape) == 3

    @property
    def key(self) -> tuple[Any, ...]:
        """Names the answer."""
        return self.scan.key, self.plane if self.by_slices else "", self.preparation, *self.how

    @property
    def title(self) -> str:
        """Names the job."""
        return f"{self.method.name} of {self.scan.name}"

    @property
    def name(self) -> str:
        """In a file's name."""
        return self.method.name

    @property
    def caption(self) -> str:
        """What the map is."""
        way = f", every {self.plane} slice" if self.by_slices else ""
        return f"{self.method.name} for {self.target.words(self.network)}{way}"

    @property
    def whose(self) -> str:
        """Whose probability weighs the slices' maps."""
        return f"P({replace(self.target, against=None).words(self.network)})"

    @property
    def spec(self) -> dict[str, Any]:
        """All that the map depends on, as JSON-able values, for the files that are made of it."""
        return self.how_spec | {
            "volume": self.scan.name,
            "data": self.scan.key,
            "time": self.scan.volume.time,
            "plane": self.plane if self.by_slices else None,
            "preparation": self.preparation.to_dict(),
        }

    @property
    def facts(self) -> list[str]:
        """The same in a few sentences, for pictures."""
        return [f"network {self.network.name}", self.preparation.words(self.scan.volume)]

    @property
    def long(self) -> bool:
        """Whether a person may want to stop it."""
        return self.by_slices or not self.method.quick

    def said(self, found: VolumeAttribution) -> list[str]:
        """Layer and scores."""
        words = []
        if found.layer:
            words.append(found.layer)
        if not self.by_slices:
            words.append(score_words(self.network, self.target, float(found.scores[0])))
        elif np.isfinite(found.scores).any():
            best = int(np.nanargmax(found.scores))
            where = caption(self.scan.volume, self.plane, best)
            score = score_words(self.network, self.target, float(found.scores[best]))
            way = "lowest" if self.target.opposite and not self.network.head.has_probability else "highest"
            words.append(f"{way} {score} at {where}")
        return words

    def steps(self) -> Iterator[VolumeAttribution]:
        """Compute it, coarse first."""
        return volume_attribution_steps(
            self.network,
            self.scan.volume,
            self.target,
            self.method,
            plane=self.plane,
            layer=self.layer,
            preparation=self.preparation,
            **dict(self.values),
        )


@dataclass(frozen=True)
class FileQuestion:
    """What another volume holds where this one lies, such as a map that was saved before."""

    scan: Scan
    other: Scan
    names: Mapping[int, Label] = field(default_factory=dict)  # of its regions
    quick = False
    long = False

    @property
    def key(self) -> tuple[Any, ...]:
        """Names the answer."""
        return "file", self.scan.key, self.other.key

    @property
    def title(self) -> str:
        """Names the job."""
        return f"{self.other.name} over {self.scan.name}"

    @property
    def name(self) -> str:
        """In a file's name."""
        return self.other.name.split(".nii")[0]

    @property
    def caption(self) -> str:
        """What the map is."""
        times = self.other.volume.times
        return f"{self.other.name}, time {self.other.volume.time}" if times > 1 else self.other.name

    @property
    def spec(self) -> dict[str, Any]:
        """What the map depends on."""
        return {
            "volume": self.scan.name,
            "data": self.scan.key,
            "map": self.other.name,
            "map_data": self.other.key,
            "map_time": self.other.volume.time,
        }

    @property
    def facts(self) -> list[str]:
        """The same in a few words, for pictures."""
        return [f"map {self.other.name}", *self._notes]

    def said(self, found: VolumeAttribution) -> list[str]:
        """Nothing more."""
        return []

    @property
    def regions(self) -> LabelCodes | None:
        """The codes of its regions where it holds labels and not values."""
        return self.other.label_codes

    def steps(self) -> Iterator[VolumeAttribution]:
        """Put it on the volume's grid, linear or, of labels, by the nearest voxel; 0 where it does not reach."""
        there = self.other.volume
        values = lay_over(there, self.scan.volume)
        low, high = float(there.data.min()), float(there.data.max())
        note = f"values from {numbers.words(low)} to {numbers.words(high)}, put in place by their mm"
        if self.regions is not None:
            note = "labels, each voxel's from the nearest one by its mm: none is blended"
        unknown = np.full(1, np.nan, np.float32)
        yield VolumeAttribution("file", values, low < 0, unknown, 1, 1, (note, *self._notes), False, "")

    @property
    def _notes(self) -> tuple[str, ...]:
        """What was said of the other volume when it was read, such as that its place is a guess."""
        return tuple(f"{self.other.name}: {note}" for note in self.other.volume.notes)
