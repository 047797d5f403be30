"""Two thousand damaged files of every format: each is read or refused in a sentence, soon, and memory stays."""

import gzip
import resource
import sys
import time
import warnings
import zipfile

import numpy as np
import pytest
from volume_kinds import WRITERS, par
from volume_making import assert_sentence, nifti, values

from vislib.errors import ImageError
from vislib.volumes import Volume, read_volume


@pytest.fixture(autouse=True)
def _no_warning_leaks():
    with warnings.catch_warnings(action="error"):
        yield


SPECIAL = (
    0,
    1,
    0x7F,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0x7F800000,
    0x7FC00000,
    0xFFFFFFFF,
)


def damaged(data: bytes, generator: np.random.Generator, text: bool) -> bytes:
    """A file with bits, fields or digits changed, mostly in its first kilobyte, or cut off, or longer."""
    new = bytearray(data)
    for _ in range(generator.integers(1, 5)):
        end = len(new) if text or generator.random() < 0.2 else min(len(new), 1000)
        at = int(generator.integers(0, max(1, end)))
        what = generator.integers(0, 10)
        if what == 0:
            del new[at:]
        elif what == 1:
            new[at:at] = generator.bytes(int(generator.integers(1, 20)))
        elif text:
            new[at : at + 1] = bytes([generator.choice(list(b"0123456789-. e\n#:"))])
        elif what < 6:
            size = int(generator.choice([1, 2, 4]))
            number = int(generator.choice(SPECIAL)) & (256**size - 1)
            new[at : at + size] = number.to_bytes(size, generator.choice(["little", "big"]))
        elif at < len(new):
            new[at] ^= int(generator.integers(1, 256))
    return bytes(new)


def test_two_thousand_damaged_files_of_every_format_are_read_or_refused(tmp_path):
    generator = np.random.default_rng(2026)
    kinds = {}
    for kind in (*WRITERS, "par", "zip"):
        folder = tmp_path / kind.replace(" ", "-")
        folder.mkdir()
        if kind == "zip":
            with zipfile.ZipFile(folder / "one.zip", "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("a.nii", nifti(values((5, 4, 3))))
            kinds[kind] = folder / "one.zip"
        else:
            data = (np.arange(120).reshape(5, 4, 3, 2) * 7 % 251).astype(np.int16)
            kinds[kind] = par(folder, (4, 4)) if kind == "par" else WRITERS[kind](folder, data)
    originals = {
        kind: {one: one.read_bytes() for one in path.parent.iterdir()} for kind, path in kinds.items()
    }
    slowest, read, before = 0.0, 0, 0
    for number in range(2000):
        kind = list(kinds)[number % len(kinds)]
        path, files = kinds[kind], originals[kind]
        wrong = path if generator.random() < 0.8 else list(files)[generator.integers(len(files))]
        packed = wrong.suffix == ".gz" and generator.random() < 0.7
        inner = gzip.decompress(files[wrong]) if packed else files[wrong]
        inner = damaged(inner, generator, wrong.suffix == ".PAR")
        wrong.write_bytes(gzip.compress(inner, 1) if packed else inner)
        start = time.monotonic()
        try:
            volume = read_volume(path, time=int(generator.integers(0, 2)))
        except ImageError as error:
            assert_sentence(error)
        else:
            read += 1
            assert_sound(volume)
        slowest = max(slowest, time.monotonic() - start)
        wrong.write_bytes(files[wrong])
        if number == 300:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 100 * (1 << (20 if sys.platform == "darwin" else 10))  # MB, in bytes or KiB
    assert 200 < read < 1800  # the damage is neither harmless nor fatal throughout
    assert slowest < 5


def assert_sound(volume: Volume) -> None:
    assert np.isfinite(volume.data).all()
    assert volume.data.ndim == 3
    assert np.isfinite(volume.affine).all()
    assert (np.diag(volume.affine)[:3] != 0).all()
    assert all(note.endswith(".") for note in volume.notes)
    units = volume.unit()
    assert 0 <= units.min() <= units.max() <= 1
