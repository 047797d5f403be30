"""Exported files, read back: animations picture by picture, and the archive of a run to the last bit."""

import io
import json

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageSequence

from vislib import display, export
from vislib.errors import ImageError
from vislib.frames import Frame, History


def film(c: int, count: int = 7, h: int = 140, w: int = 130) -> list[np.ndarray]:
    """Smooth pictures that change from one to the next."""
    y, x = np.mgrid[:h, :w].astype(np.float32)
    pictures = []
    for k in range(count):
        channels = [np.sin(x / (9 + 3 * j) + 0.4 * k) + np.cos(y / (13 - 2 * j) - 0.2 * k) for j in range(c)]
        pictures.append(display.stretch(np.stack(channels)[None])[0])
    return pictures


def read(data: bytes) -> tuple[list[np.ndarray], list[int], Image.Image]:
    """All pictures (h, w, 3), their durations in ms, and the opened file."""
    image = Image.open(io.BytesIO(data))
    pictures, durations = [], []
    for frame in ImageSequence.Iterator(image):
        pictures.append(np.asarray(frame.convert("RGB")))
        durations.append(frame.info["duration"])
    return pictures, durations, image


def as_rgb(picture: np.ndarray) -> np.ndarray:
    return np.broadcast_to(np.moveaxis(picture, 0, -1), (*picture.shape[1:], 3))


def test_a_grey_gif_holds_every_picture_exactly():
    pictures = film(1)
    got, durations, image = read(export.gif(pictures, fps=10))
    assert image.format == "GIF"
    assert image.info["loop"] == 0
    assert durations == [100] * 6 + [export.REST]
    assert len(got) == len(pictures)
    for picture, frame in zip(pictures, got, strict=True):
        assert np.array_equal(frame, as_rgb(picture))


def test_a_colour_gif_is_close_to_every_picture():
    pictures = film(3)
    got, _, _ = read(export.gif(pictures))
    assert len(got) == len(pictures)
    for picture, frame in zip(pictures, got, strict=True):
        assert frame.shape == (140, 130, 3)
        assert np.abs(frame.astype(int) - as_rgb(picture)).mean() < 15


@pytest.mark.parametrize("c", [1, 3])
def test_an_animated_webp_is_close_to_every_picture_and_smaller(c):
    pictures = film(c)
    data = export.webp(pictures, fps=20)
    got, durations, image = read(data)
    assert image.format == "WEBP"
    assert durations == [50] * 6 + [export.REST]
    assert len(data) < len(export.gif(pictures, fps=20))
    for picture, frame in zip(pictures, got, strict=True):
        assert np.abs(frame.astype(int) - as_rgb(picture)).mean() < 6


def test_small_pictures_are_enlarged_by_a_whole_factor():
    pictures = [np.random.default_rng(k).integers(0, 256, (1, 11, 9)).astype(np.uint8) for k in range(3)]
    got, _, _ = read(export.gif(pictures, least=100))
    for picture, frame in zip(pictures, got, strict=True):
        assert np.array_equal(frame[:, :, 0], np.kron(picture[0], np.ones((10, 10), np.uint8)))


def test_volumes_are_shown_by_their_planes():
    volumes = [np.random.default_rng(k).integers(0, 256, (1, 30, 40, 50)).astype(np.uint8) for k in range(2)]
    got, _, _ = read(export.gif(volumes, least=1))
    assert np.array_equal(got[1][:, :, 0], display.plane(volumes[1])[0])


@pytest.mark.parametrize("c", [1, 3])
def test_a_caption_is_written_low_on_the_left_and_nowhere_else(c):
    pictures = [np.full((c, 160, 200), 128, np.uint8) for _ in range(2)]
    got, _, _ = read(export.webp(pictures, captions=["step 1", "step 22"]))
    for frame in got:
        assert frame[-20:, :60].max() > 200
        assert frame[-20:, :60].min() < 60
        assert np.abs(frame[:130].astype(int) - 128).max() < 8
    assert not np.array_equal(got[0], got[1])


@pytest.mark.parametrize(
    ("pictures", "options"),
    [
        ([], {}),
        ([np.zeros((1, 4, 4), np.uint8), np.zeros((1, 4, 5), np.uint8)], {}),
        ([np.zeros((1, 4, 4), np.uint8)], {"fps": 0}),
        ([np.zeros((1, 4, 4), np.uint8)], {"captions": ["one", "two"]}),
    ],
)
def test_what_makes_no_film_says_so(pictures, options):
    for make in (export.gif, export.webp):
        with pytest.raises(ImageError, match="make no film"):
            make(pictures, **options)


def test_a_png_of_a_mosaic_loses_nothing():
    mosaic = display.tile(np.stack(film(3, 5)), columns=3, cell=64, gap=2, background=90)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(export.png(mosaic)))), mosaic)


@pytest.mark.parametrize("shape", [(3, 20, 20), (1, 8, 9, 10)])
def test_the_archive_of_a_run_holds_it_exactly(shape):
    rng = np.random.default_rng(0)
    history, frames = History(capacity=8), []
    for step in range(20):
        scores = rng.normal(size=2).astype(np.float32)
        frame = Frame(step, rng.uniform(size=(2, *shape)).astype(np.float32), scores, {"norm": scores * 2})
        frames.append(frame)
        history.append(frame)
    spec = {"method": "ascent", "units": [3, 5], "preset": {"name": "L2", "decay": 0.1}}

    with np.load(io.BytesIO(export.npz(history, spec)), allow_pickle=False) as archive:
        assert json.loads(str(archive["spec"])) == spec
        scores = np.stack([frame.scores for frame in frames])
        best = scores.argmax(0)
        assert archive["best_steps"].tolist() == best.tolist()
        assert np.array_equal(archive["best"], np.stack([frames[best[row]].images[row] for row in range(2)]))
        assert np.array_equal(archive["best_scores"], scores.max(0))
        assert np.array_equal(archive["last"], frames[-1].images)
        assert np.array_equal(archive["last_scores"], scores[-1])
        assert archive["last_step"] == 19
        assert archive["steps"].tolist() == history.steps()
        assert np.array_equal(archive["scores"], scores[archive["steps"]])
        wanted = [display.stretch(frames[step].images) for step in archive["steps"]]
        assert np.array_equal(archive["pictures"], np.stack(wanted))
        assert archive["series_step"].tolist() == list(range(20))
        assert np.array_equal(archive["series_score"], scores)
        assert np.array_equal(archive["series_norm"], scores * 2)


def test_a_run_without_a_frame_is_not_exported():
    with pytest.raises(ImageError, match="first step"):
        export.npz(History(), {})


NOTES = ("Net gives equal images unequal answers.", "Größe: 3 × 3 – ± unsicher.")


def test_every_kind_of_file_holds_its_notes():
    said = "\n".join(NOTES)
    pictures = film(1, 3)
    assert read(export.gif(pictures, notes=NOTES))[2].info["comment"].decode() == said
    exif = read(export.webp(pictures, notes=NOTES))[2].getexif()
    assert (
        exif[ExifTags.Base.ImageDescription].encode("latin-1").decode() == said
    )  # UTF-8, read as if it were Latin-1
    mosaic = display.tile(np.stack(pictures), columns=3, cell=64, gap=2, background=90)
    assert Image.open(io.BytesIO(export.png(mosaic, notes=NOTES))).info["Comment"] == said
    history = History()
    history.append(Frame(0, np.zeros((1, 1, 4, 4), np.float32), np.zeros(1, np.float32), {}))
    for notes in (NOTES, ()):
        with np.load(io.BytesIO(export.npz(history, {}, notes=notes)), allow_pickle=False) as archive:
            assert tuple(archive["notes"].tolist()) == notes


def test_a_file_without_notes_says_nothing():
    pictures = film(1, 3)
    assert not read(export.gif(pictures))[2].info.get("comment")
    assert not read(export.webp(pictures))[2].getexif()
    mosaic = display.tile(np.stack(pictures), columns=3, cell=64, gap=2, background=90)
    assert "Comment" not in Image.open(io.BytesIO(export.png(mosaic))).info
