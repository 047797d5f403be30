"""The door through which any picture comes in, from bytes that a stranger sent, and how a network sees it."""

import io
import math
import re
import threading
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from jaxtyping import Float32, Shaped
from PIL import ExifTags, Image, UnidentifiedImageError

from vislib.errors import ImageError
from vislib.levels import lifted, window
from vislib.network import Network

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF")
LONGEST = 16_384  # pixels a side
PIXELS = 64_000_000  # pixels in all, as the header says before anything is decoded
FILE_BYTES = 64_000_000
KEPT_PIXELS = 4_000_000  # larger pictures are made smaller while they are read

COLOURFUL = (
    0.04  # of [0, 1], between the largest and least of a pixel's channels: a grey scan as JPEG has less
)
STRETCHED = 2.0

FITS: Mapping[str, str] = MappingProxyType(
    {
        "crop": "the largest centred part of the network's proportions",
        "whole": "all of the picture, borders filled with the network's mean colour",
        "stretch": "all of the picture, its proportions changed",
    }
)

_ALLOWED = "give a PNG, JPEG, WebP or TIFF picture"
_LUMA = np.array((0.299, 0.587, 0.114), np.float32)  # ITU-R 601, the weights of PIL's "L"
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ABSURD = 1e36  # as bad as infinite: a filter's sums over larger values overflow
_SIDEWAYS = (Image.Transpose.TRANSPOSE, _UPRIGHT[6], Image.Transpose.TRANSVERSE, _UPRIGHT[8])
_ON_WHITE = "Its transparent parts were put on white."
_UNKNOWN = "a file of an unknown kind"
_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".gif", ".bmp", ".heic", ".avif", ".svg")
_READ = ("a PNG", "a JPEG", "a WebP", "a TIFF")
_STARTS = (
    (rb"\x89PNG", "a PNG"),
    (rb"\xff\xd8", "a JPEG"),
    (rb"RIFF....WEBP", "a WebP"),
    (rb"II[*+]\0|MM\0[*+]", "a TIFF"),
    (rb"GIF8", "a GIF"),
    (rb"BM", "a BMP"),
    (rb"....ftyp", "a HEIC, AVIF or film"),
    (rb"%PDF", "a PDF"),
    (rb"PK\x03\x04", "a ZIP archive"),
    (rb"\x1f\x8b", "a gzip file"),
    (rb"\s*<(!doctype )?html", "a web page (HTML)"),
    (rb"\s*<.{0,800}<svg|\s*<svg", "an SVG drawing"),
    (rb"[^\x00-\x08\x0e-\x1f\x7f]*$", "text"),
)
# One picture at a time: decoded ones are large, and what PIL warns of is silenced for the process meanwhile.
_DECODING = threading.Lock()


@dataclass(frozen=True, eq=False)
class Picture:
    """An upright picture in [0, 1], grey or RGB, and what was done to it on its way in."""

    pixels: Float32[np.ndarray, "c h w"]
    name: str
    original: tuple[int, int]  # width and height in the file, upright, before it was made smaller
    notes: tuple[str, ...]  # sentences for the person who sent it


def read_picture(data: bytes, name: str = "the picture") -> Picture:
    """Read a PNG, JPEG, WebP or TIFF of up to FILE_BYTES, LONGEST pixels a side and PIXELS in all.

    Grey stays one channel, colour three. Turned upright as its EXIF says; transparency goes on white; values are
    divided by the greatest that their type can hold, or, where that says nothing (12 bits in 16, masks of 0 and 1,
    32 bits, floating point; see `levels`), stretched from the least to the greatest; of several frames the first is
    taken; more than KEPT_PIXELS are reduced to that. Raises ImageError, and nothing else, for anything
    that is no such picture.
    """
    name = printable(name)
    if not data:
        raise ImageError(f"{name} is empty, a file of 0 bytes; {_ALLOWED}.")
    if len(data) > FILE_BYTES:
        raise ImageError(
            f"{name} is a file of {len(data) / 1e6:.1f} MB; pictures may have {FILE_BYTES // 1_000_000} MB: "
            "make it smaller first."
        )
    try:
        with _DECODING, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _read(data, name)
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        count = re.search(r"(\d+) pixels", str(error))
        raise _too_large(name, f"{int(count[1]) / 1e6:.0f} million" if count else "far too many") from None
    except Exception as error:  # PIL's decoders raise whatever a damaged file leads them to
        raise ImageError(
            f"{name} is {_kind(data)} that is damaged or cut off, or of a variety that cannot be read; "
            "save or send it again, best as PNG."
        ) from error


def looks_like_picture(head: bytes, name: str) -> bool:
    """Whether a file is to be read as a picture and no volume: its first bytes say it, or else its name does."""
    kind = _kind(head)
    if kind in ("text", _UNKNOWN):
        return name.lower().endswith(_ENDINGS)
    return kind not in ("a ZIP archive", "a gzip file")


def prepare(picture: Picture, network: Network, fit: str = "crop") -> Float32[np.ndarray, "1 c h w"]:
    """Give the picture in [0, 1] as the 2-D network takes it, before the network's own standardisation.

    `fit` is one of FITS. Colour becomes grey by the weights of ITU-R 601 (0.299, 0.587, 0.114), grey becomes
    colour by repetition. Resized once, bicubic, with a filter as wide as the reduction (no aliasing). Raises
    ImageError for an unknown fit and for networks over other than 1 or 3 channels and 2 spatial axes.
    """
    if fit not in FITS:
        raise ImageError(f"There is no way {fit!r} to fit a picture; choose one of {', '.join(FITS)}.")
    channels, *spatial = network.input_shape
    if len(spatial) == 3:
        raise ImageError(
            f"{network.name} looks at volumes of {' x '.join(map(str, spatial))} voxels, which a picture cannot be: "
            "choose a volume, or a network over 1 or 3 channels and 2 spatial axes."
        )
    if len(spatial) != 2 or channels not in (1, 3):
        raise ImageError(
            f"{network.name} takes input of shape {network.input_shape} (channels, then spatial sizes), which a "
            "picture cannot be: choose a network over 1 or 3 channels and 2 spatial axes."
        )
    pixels = picture.pixels
    if len(pixels) == 3 and channels == 1:
        pixels = np.tensordot(_LUMA, pixels, 1)[None]
    elif len(pixels) == 1:
        pixels = pixels.repeat(channels, 0)
    height, width = spatial
    if fit == "whole":
        fitted = _whole(pixels, height, width, network.mean)
    else:
        fitted = _resized(pixels, height, width, _box(pixels, height, width) if fit == "crop" else None)
    return fitted[None]


def altered(picture: Picture, network: Network, fit: str = "crop") -> tuple[str, ...]:
    """What `prepare` does to a picture that may make it unlike the network's own, in words; () where it is little.

    Colour that is given up (channels COLOURFUL apart, on average), and a size or proportions changed more than twice.
    """
    pixels, (channels, height, width) = picture.pixels, network.input_shape
    found = []
    if len(pixels) == 3 and channels == 1 and float(np.ptp(pixels, axis=0).mean()) > COLOURFUL:
        found.append("its colours were turned to grey")
    h, w = pixels.shape[1:]
    down, across = height / h, width / w
    if fit != "stretch":
        down = across = max(down, across) if fit == "crop" else min(down, across)
    if max(down, across) > STRETCHED:
        found.append(f"it was enlarged {max(down, across):.1f} times")
    elif max(down, across) / min(down, across) > STRETCHED:
        found.append(f"its proportions were changed by {max(down, across) / min(down, across):.1f}")
    return tuple(found)


def printable(name: str) -> str:
    """A stranger's name for a file, fit for a sentence: 80 characters at most, none of them invisible."""
    return "".join(character if character.isprintable() else "?" for character in name[:80])


def stretched(values: Float32[np.ndarray, "*any"], low: float, high: float) -> Float32[np.ndarray, "*any"]:
    """Map finite values so that `low` becomes 0 and `high` 1, clipped; where these coincide, clip the values."""
    if not high > low:
        return np.clip(values, 0, 1)
    if high - low < 1e-30:  # whose inverse float32 does not hold
        return np.clip((values.astype(np.float64) - low) / (high - low), 0, 1).astype(values.dtype)
    # Of halves, since the difference of two large float32 numbers may be none.
    return np.clip((values * 0.5 - low * 0.5) / (high * 0.5 - low * 0.5), 0, 1)


def _read(data: bytes, name: str) -> Picture:
    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        if (kind := _kind(data)) in _READ:
            raise
        raise ImageError(f"{name} is {kind}, which is not read here; {_ALLOWED}.") from None
    width, height = image.size
    if max(width, height) > LONGEST or width * height > PIXELS:
        raise _too_large(name, f"{width} x {height}")
    notes = ["Only the first of its frames is used."] if getattr(image, "is_animated", False) else []
    ratio = math.sqrt(min(1.0, KEPT_PIXELS / (width * height)))
    kept = max(1, int(width * ratio)), max(1, int(height * ratio))
    if ratio < 1:
        image.draft(None, kept)  # a JPEG can decode itself to a half, a quarter or an eighth
    deep = any(re.search(r"\b16", str(tile[3])) for tile in getattr(image, "tile", ()))
    image.load()  # also turns a TIFF upright, whose size was upright from the start
    turn = _turn(image)
    if deep and not image.mode.startswith("I"):
        notes.append("Of the 16 bits of its colours the upper 8 were read.")
    indexed = image.mode in ("P", "PA")
    image = _simplified(image, kept, notes)
    if turn is not None:
        image = image.transpose(turn)
    original = (height, width) if turn in _SIDEWAYS else (width, height)
    if ratio < 1:
        now = f"{image.width} x {image.height}"
        notes.append(f"Made smaller, from {original[0]} x {original[1]} to {now} pixels.")
    pixels = _on_white(np.asarray(image), notes)
    if indexed and len(pixels) == 3 and (pixels[0] == pixels[1]).all() and (pixels[0] == pixels[2]).all():
        pixels = pixels[:1]
    return Picture(np.ascontiguousarray(pixels), name, original, tuple(notes))


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What turns the picture upright; a damaged EXIF is as good as none."""
    try:
        return _UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # PIL's reading of EXIF raises whatever damaged bytes lead it to
        return None


def _simplified(image: Image.Image, size: tuple[int, int], notes: list[str]) -> Image.Image:
    """The picture at that size in one of PIL's modes L, LA, RGB, RGBA, or in F with values in [0, 1]."""
    if image.mode.startswith(("I", "F")):
        return _levels(image, size, notes)
    if image.mode == "CMYK":
        notes.append("Its printing colours (CMYK) were turned into RGB without a colour profile.")
    alpha = "A" if image.has_transparency_data else ""
    mode = ("L" if image.mode in ("1", "L", "LA") else "RGB") + alpha
    return _at_size(lifted(image if image.mode == mode else image.convert(mode), notes), size)


def _at_size(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Itself, or made smaller without aliasing; PIL weighs colours by their alpha here."""
    if image.size == size:
        return image
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)


def _levels(image: Image.Image, size: tuple[int, int], notes: list[str]) -> Image.Image:
    """Grey of 16 or 32 bits, or of floating point, at that size as F in [0, 1]."""
    values = np.array(image, np.float32)
    full = 65535 if image.mode.startswith("I;16") else None
    finite = (values > -_ABSURD) & (values < _ABSURD)
    clear = image.info.get("transparency") if full else None
    through = values == clear if isinstance(clear, int) else np.zeros_like(finite)
    known = finite & ~through
    low, high, said = window(values[known] if not known.all() else values.ravel(), full)
    notes += [said] if said else []
    values[~finite] = low
    if through.any():
        values[through] = high
        notes.append(_ON_WHITE)
    small = np.asarray(_at_size(Image.fromarray(values), size))
    return Image.fromarray(stretched(small, low, high))


def _on_white(array: Shaped[np.ndarray, "h w *d"], notes: list[str]) -> Float32[np.ndarray, "c h w"]:
    """Channels first, in [0, 1], transparent parts on white."""
    if array.dtype == np.float32:
        return np.clip(array[None], 0, 1)
    values = np.moveaxis(np.atleast_3d(array), -1, 0).astype(np.float32) / np.float32(255)
    if len(values) in (1, 3):
        return values
    alpha = values[-1:]
    if alpha.min() == 1:
        return values[:-1]
    notes.append(_ON_WHITE)
    return values[:-1] * alpha + (1 - alpha)


def _kind(data: bytes) -> str:
    """What the first bytes look like, in words."""
    head = data[:1000]
    words = (kind for start, kind in _STARTS if re.match(start, head, re.DOTALL | re.IGNORECASE))
    return next(words, _UNKNOWN)


def _too_large(name: str, size: str) -> ImageError:
    return ImageError(
        f"{name} has {size} pixels; pictures may have {LONGEST} a side and {PIXELS // 1_000_000} million in all: "
        "make it smaller first."
    )


def _box(pixels: Float32[np.ndarray, "c h w"], height: int, width: int) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of the largest centred part that is as wide for its height as the target."""
    h, w = pixels.shape[1:]
    step = min(h / height, w / width)
    left, top = max(0.0, (w - width * step) / 2), max(0.0, (h - height * step) / 2)
    return left, top, w - left, h - top


def _resized(
    pixels: Float32[np.ndarray, "c h w"],
    height: int,
    width: int,
    box: tuple[float, float, float, float] | None = None,
) -> Float32[np.ndarray, "c height width"]:
    resized = [
        np.asarray(Image.fromarray(channel).resize((width, height), Image.Resampling.BICUBIC, box))
        for channel in pixels
    ]
    return np.clip(np.stack(resized), 0, 1)


def _whole(
    pixels: Float32[np.ndarray, "c h w"], height: int, width: int, mean: tuple[float, ...]
) -> Float32[np.ndarray, "c height width"]:
    h, w = pixels.shape[1:]
    step = max(h / height, w / width)
    high, wide = max(1, min(height, round(h / step))), max(1, min(width, round(w / step)))
    colour = np.clip(np.asarray(mean, np.float32), 0, 1)[:, None, None]
    canvas = np.empty((len(pixels), height, width), np.float32)
    canvas[:] = colour
    top, left = (height - high) // 2, (width - wide) // 2
    canvas[:, top : top + high, left : left + wide] = _resized(pixels, high, wide)
    return canvas
