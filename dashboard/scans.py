"""Scans: the volumes of samples and uploads, read once and held for as long as they are looked at."""

import hashlib
import shutil
import tempfile
import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import IO

import numpy as np

from dashboard.volume_codes import LabelCodes
from models.inputs import Sample, samples
from vislib.volumes import Volume, read_volume

MOST_UPLOADS = 4
_HELD = 2  # uploaded volumes in memory: the one that is looked at and the one before


@dataclass(frozen=True, eq=False)
class Scan:
    """A volume at one time, and what is known of it."""

    name: str
    volume: Volume
    mask: np.ndarray | None = None  # bool, on the volume's grid: where the lesion is
    label: str = ""  # the true class, where it is known

    @cached_property
    def key(self) -> str:
        """Of the values and the grid: equal volumes have equal keys."""
        told = hashlib.blake2b(self.volume.affine.tobytes(), digest_size=12)
        told.update(np.ascontiguousarray(self.volume.data))
        return told.hexdigest()

    @cached_property
    def label_codes(self) -> LabelCodes | None:
        """Of a mask or an atlas the codes of its regions; None for intensities, and for too many labels."""
        return LabelCodes.among(self.volume.data) if self.volume.labelled else None


class Scans:
    """What a session can choose from; may be used from any thread. `close` deletes the uploads."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[Path, int]] = {}  # where it is kept, and its time points
        self._held: OrderedDict[tuple[str, int], Scan] = OrderedDict()
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._count = 0
        self._lock = threading.RLock()

    @property
    def uploads(self) -> list[str]:
        """Names of the uploaded volumes, newest last."""
        return list(self._files)

    def add(self, name: str, called: str, file: IO[bytes]) -> None:
        """Keep an uploaded volume as `name` and read it; `called` stands for it in sentences. Raises ImageError."""
        with self._lock:
            if self._folder is None:
                self._folder = tempfile.TemporaryDirectory(prefix="vislib-")
            self._count += 1
            path = (
                Path(self._folder.name) / f"{self._count}.volume"
            )  # nothing of its name comes from the browser
            try:
                with path.open("wb") as kept:
                    shutil.copyfileobj(file, kept, 1 << 20)
                scan = Scan(name, read_volume(path, called))
            except BaseException:
                path.unlink(missing_ok=True)
                raise
            self._files[name] = path, scan.volume.times
            self._hold(scan)
            for old in list(self._files)[:-MOST_UPLOADS]:
                self._drop(old)

    def get(self, name: str, time: int = 0) -> Scan:
        """The scan of a sample or an upload at a time; a time that there is not becomes the nearest one.

        Raises ImageError where it cannot be read, KeyError where there is none of that name.
        """
        if name in volume_samples():
            return _sample(name)
        with self._lock:
            path, times = self._files[name]
            time = min(max(0, time), times - 1)
            if (name, time) in self._held:
                self._held.move_to_end((name, time))
                return self._held[name, time]
            scan = Scan(name, read_volume(path, name, time))
            self._hold(scan)
            return scan

    def close(self) -> None:
        """Forget and delete the uploads."""
        with self._lock:
            self._files.clear()
            self._held.clear()
            if self._folder is not None:
                self._folder.cleanup()
                self._folder = None

    def _hold(self, scan: Scan) -> None:
        self._held[scan.name, scan.volume.time] = scan
        while len(self._held) > _HELD:
            self._held.popitem(last=False)

    def _drop(self, name: str) -> None:
        self._files.pop(name)[0].unlink(missing_ok=True)
        for key in [key for key in self._held if key[0] == name]:
            del self._held[key]


@cache
def volume_samples() -> dict[str, Sample]:
    """The volumes that ship."""
    return {sample.name: sample for sample in samples() if sample.kind == "volume"}


@cache
def _sample(name: str) -> Scan:
    """A sample volume and its lesion, read once a process."""
    sample = volume_samples()[name]
    mask = read_volume(sample.mask).data > 0 if sample.mask is not None else None
    return Scan(name, read_volume(sample.path), mask, sample.label)
