"""Histories and mosaics as files: GIF, animated WebP, PNG, and `.npz` of raw images; everything returns bytes."""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageDraw, ImageFont

from vislib import display
from vislib.errors import ImageError
from vislib.frames import History

REST = 1000  # milliseconds for which the last picture of a film stays before the film starts anew
_PALETTE_FRAMES = 24


def gif(
    pictures: Sequence[UInt8[np.ndarray, "c *spatial"]],
    fps: float = 12,
    *,
    captions: Sequence[str] = (),
    least: int = 128,
    notes: Sequence[str] = (),
) -> bytes:
    """Make an endless GIF of pictures, `fps` a second (to 1/100 s), the last one resting for a second.

    `notes`, sentences that a reader must know, become the file's comment. Grey pictures lose nothing; colours are
    reduced to the best 256 of the whole film. Pictures whose longer side is under `least` pixels are enlarged by a
    whole factor; 3-D pictures go through `plane`. Raises ImageError where there is no picture, or where their shapes
    differ.
    """
    frames = _film(pictures, fps, captions, least)
    if frames[0].mode == "RGB":
        palette = _palette(frames)
        frames = [frame.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG) for frame in frames]
    pace = max(20, round(100 / fps) * 10)
    about = {"comment": "\n".join(notes).encode()} if notes else {}
    return _animation(frames, "GIF", pace, optimize=True, disposal=1, **about)


def webp(
    pictures: Sequence[UInt8[np.ndarray, "c *spatial"]],
    fps: float = 12,
    *,
    captions: Sequence[str] = (),
    least: int = 128,
    quality: int = 85,
    notes: Sequence[str] = (),
) -> bytes:
    """Make an endless animated WebP, of full colour and far smaller than a GIF; else as `gif`, notes in its EXIF."""
    frames = [frame.convert("RGB") for frame in _film(pictures, fps, captions, least)]
    exif = Image.Exif()
    if notes:
        exif[ExifTags.Base.ImageDescription] = "\n".join(notes).encode()  # as text it would be ASCII
    return _animation(
        frames, "WEBP", max(1, round(1000 / fps)), quality=quality, method=3, exif=exif.tobytes()
    )


def png(mosaic: UInt8[np.ndarray, "H W d"], *, notes: Sequence[str] = ()) -> bytes:
    """Make a PNG of a mosaic as `display.tile` lays it out, losing nothing; `notes` become its comment."""
    return display.png(mosaic, {"Comment": "\n".join(notes)} if notes else None)


def npz(history: History, spec: Mapping[str, Any], *, notes: Sequence[str] = ()) -> bytes:
    """Make an `.npz` of a run: raw float images, kept pictures, per-step numbers, and its spec as JSON text.

    `best`, `best_scores`, `best_steps`, `last`, `last_scores`, `last_step`: float32 images in [0, 1] and what
    belongs to them. `pictures` (steps, units, c, *spatial), uint8, with `steps` and `scores`: the kept frames,
    each image stretched between its 1 % and 99 % quantile. `series_step` and `series_<name>`: the numbers of
    every step. `spec`: read it with `json.loads(str(archive["spec"]))`; `notes`: sentences. Loads with
    `allow_pickle=False`.
    """
    latest, best = history.latest, history.best()
    if latest is None or best is None:
        raise ImageError("A run without a frame cannot be exported: wait for its first step.")
    arrays: dict[str, np.ndarray] = {
        "spec": np.array(json.dumps(spec, sort_keys=True)),
        "notes": np.array(list(notes), np.str_),
        "best": best.images,
        "best_scores": best.scores,
        "best_steps": np.asarray(best.steps, np.int64),
        "last": latest.images,
        "last_scores": latest.scores,
        "last_step": np.array(latest.step),
    }
    arrays["series_step"], numbers = history.table()
    arrays.update({f"series_{name}": values for name, values in numbers.items()})
    # A run that goes on may drop a step between the two calls: the one before it then comes twice.
    kept = list({one.step: one for one in map(history.at, history.steps())}.values())
    arrays["steps"] = np.array([one.step for one in kept], np.int64)
    arrays["scores"] = np.stack([one.scores for one in kept])
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asarray(array), allow_pickle=False)
        _write_pictures(archive, [one.pictures for one in kept])
    return buffer.getvalue()


def _write_pictures(archive: zipfile.ZipFile, kept: Sequence[Sequence[bytes]]) -> None:
    """Write one array frame by frame: decoded all at once, a long run of many units would fill the memory."""
    shape = (len(kept), len(kept[0]), *display.decode(kept[0][0]).shape)
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    with archive.open("pictures.npy", "w", force_zip64=True) as file:
        np.lib.format.write_array_header_1_0(file, header)
        for pictures in kept:
            for picture in pictures:
                file.write(np.ascontiguousarray(display.decode(picture)).tobytes())


def _film(
    pictures: Sequence[UInt8[np.ndarray, "c *spatial"]], fps: float, captions: Sequence[str], least: int
) -> list[Image.Image]:
    shapes = {picture.shape for picture in pictures}
    if len(shapes) != 1 or not fps > 0 or (captions and len(captions) != len(pictures)):
        raise ImageError(
            f"{len(pictures)} pictures of {len(shapes)} shapes with {len(captions)} captions at {fps} a second make "
            "no film: give one or more pictures of one shape, a caption for each or none, and a rate above 0."
        )
    flat = [display.plane(picture) for picture in pictures]
    factor = max(1, -(-least // max(flat[0].shape[1:])))
    frames = [_enlarged(picture, factor) for picture in flat]
    for frame, caption in zip(frames, captions, strict=False):
        _write_caption(frame, caption)
    return frames


def _enlarged(picture: UInt8[np.ndarray, "d h w"], factor: int) -> Image.Image:
    pixels = np.moveaxis(picture, 0, -1).repeat(factor, 0).repeat(factor, 1)
    return Image.fromarray(np.ascontiguousarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels))


def _write_caption(frame: Image.Image, caption: str) -> None:
    draw = ImageDraw.Draw(frame)
    font = ImageFont.load_default(max(10, frame.height // 16))
    black, white = (0, 255) if frame.mode == "L" else ((0, 0, 0), (255, 255, 255))
    left, top, right, bottom = draw.textbbox((4, frame.height - 3), caption, font=font, anchor="lb")
    draw.rectangle((left - 3, top - 2, right + 3, bottom + 2), fill=black)
    draw.text((4, frame.height - 3), caption, font=font, anchor="lb", fill=white)


def _palette(frames: Sequence[Image.Image]) -> Image.Image:
    """One palette for the whole film: with one a frame, colours would flicker and every frame would carry it."""
    some = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), _PALETTE_FRAMES)).astype(int))
    strip = np.concatenate([np.asarray(frames[index]) for index in some], axis=0)
    return Image.fromarray(strip).quantize(256, method=Image.Quantize.MEDIANCUT)


def _animation(frames: Sequence[Image.Image], kind: str, pace: int, **options: Any) -> bytes:
    buffer = io.BytesIO()
    durations = [pace] * (len(frames) - 1) + [REST]
    frames[0].save(
        buffer, kind, save_all=True, append_images=frames[1:], duration=durations, loop=0, **options
    )
    return buffer.getvalue()
