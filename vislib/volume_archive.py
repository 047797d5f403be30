"""A volume in a .zip: its pair of files or its DICOM series, unpacked into a temporary folder."""

import tempfile
import zipfile
from contextlib import ExitStack
from pathlib import Path, PurePosixPath

from vislib.errors import ImageError
from vislib.volume_opened import UNPACKED

MEMBERS = 20_000
_HEADS = (".nii", ".hdr", ".par", ".mgh", ".mgz", ".mnc")
_VOXELS = (".img", ".rec")
_BESIDE = (".mat",)  # SPM's affine of a pair
_PICTURES = (".dcm", ".ima", "")  # of a DICOM series


def unzipped(path: Path, name: str, stack: ExitStack) -> Path:
    """The volume's file, or a series' folder, in a zip archive; any other file as it is.

    What is unpacked goes with `stack`. Raises ImageError for several volumes, none, or too much of it.
    """
    with path.open("rb") as raw:
        if raw.read(4) != b"PK\3\4":
            return path
    archive = stack.enter_context(zipfile.ZipFile(path))
    members = [one for one in archive.infolist() if not one.is_dir() and not _hidden(one.filename)]
    volumes = {_stem(one.filename) for one in members if _suffix(one.filename) in (*_HEADS, *_VOXELS)}
    if len(volumes) > 1:
        raise ImageError(f"{name} holds {len(volumes)} volumes; give a .zip of the files of one.")
    wanted = [
        one
        for one in members
        if (_stem(one.filename) in volumes if volumes else _suffix(one.filename) in _PICTURES)
    ]
    if not wanted:
        raise ImageError(f"{name} holds no volume; give a .zip of a pair of files or of a DICOM series.")
    if len(wanted) > MEMBERS or any(one.flag_bits & 1 for one in wanted):
        raise ImageError(
            f"{name} holds more than {MEMBERS} files, or a password locks it; give a plain .zip."
        )
    temporary = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    folder = Path(stack.enter_context(temporary))
    left = UNPACKED
    for number, one in enumerate(wanted):
        suffix = _suffix(one.filename)
        packed = ".gz" if one.filename.lower().endswith(".gz") else ""
        out = folder / (f"volume{suffix}{packed}" if volumes else f"{number}.dcm")
        left = _copy(archive, one, out, left, name)
    if not volumes:
        return folder
    return min(folder.iterdir(), key=lambda one: (_suffix(one.name) not in _HEADS, one.name))


def _copy(archive: zipfile.ZipFile, member: zipfile.ZipInfo, out: Path, left: int, name: str) -> int:
    """Unpack one file, and never more than `left` bytes; how many are left then."""
    with archive.open(member) as source, out.open("wb") as target:
        while part := source.read(1 << 16):
            left -= len(part)
            if left < 0:
                raise ImageError(
                    f"{name} unpacks to more than {UNPACKED // 1_000_000} MB; give a smaller one."
                )
            target.write(part)
    return left


def _hidden(member: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(member).parts)


def _suffix(member: str) -> str:
    return PurePosixPath(member.lower().removesuffix(".gz")).suffix


def _stem(member: str) -> str:
    whole = PurePosixPath(member.lower().removesuffix(".gz"))
    return str(whole.with_suffix("")) if whole.suffix in (*_HEADS, *_VOXELS, *_BESIDE) else ""
