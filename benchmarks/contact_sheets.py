"""Contact sheets by which the default presets were chosen: units by several presets, beside torch-lucent's.

`python -m benchmarks.contact_sheets brain` and `… imagenet --weights squeezenet1_0.pt` write docs/units_brain.jpg and
docs/units_imagenet.jpg. Every row says its steps, its CPU seconds and the mean share of saturated values; pictures are
stretched as the page stretches them. `--cache FOLDER` keeps the rows' images, so that a sheet can be drawn again.
"""

import argparse
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

import models
from vislib import display
from vislib.ascent import PRESETS, Preset, ascend, fast_available
from vislib.ascent.quality import saturated
from vislib.network import Network

DOCS = Path(__file__).resolve().parents[1] / "docs"
SIZE = 128
CELL, MARGIN, HEAD = 96, 118, 18  # pixels: of a picture, of the words beside a row, of those above a column
Columns = Sequence[tuple[str, Sequence[int]]]
IMAGENET: Columns = (
    ("logits", (1, 340, 779)),
    ("features.10", (0, 100, 200)),
    ("features.7", (0, 24)),
)
BRAIN: Columns = (("conv3", (0, 16, 32)), ("conv5", (0, 24, 48)), ("logits", (0, 1, 2, 3)))
LUCENT_NAMES = {"features.7": "features_7", "features.10": "features_10", "logits": "classifier_3"}


def climbed(network: Network, layer: str, units: Sequence[int], preset: Preset) -> np.ndarray:
    """The last images of a climb at SIZE pixels."""
    precision = "fast" if fast_available(network.device) else "exact"
    images = np.zeros(0, np.float32)
    for frame in ascend(network, layer, units, preset, size=SIZE, precision=precision):
        images = frame.images
    return images


def of_lucent(module: torch.nn.Module, layer: str, units: Sequence[int], steps: int) -> np.ndarray:
    """What lucent's render_vis gives with its own settings, at SIZE pixels."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lucent.optvis import objectives, param, render

    torch.manual_seed(0)
    wanted = sum(objectives.channel(LUCENT_NAMES[layer], unit, batch=row) for row, unit in enumerate(units))
    (images,) = render.render_vis(
        module,
        wanted,
        param_f=lambda: param.image(SIZE, batch=len(units)),
        thresholds=(steps,),
        fixed_image_size=SIZE,
        progress=False,
        show_image=False,
    )
    return np.ascontiguousarray(np.moveaxis(images, -1, 1), np.float32)


class Rows:
    """The rows of a sheet; each is made once, or read from the cache."""

    def __init__(self, network: Network, columns: Columns, cache: Path | None) -> None:
        self._network, self._columns, self._cache = network, columns, cache
        self._drawn: list[Image.Image] = [self._head()]

    def add(self, words: str, preset: Preset | int) -> None:
        """A row by a preset of ours, or by lucent in so many steps."""
        steps = preset if isinstance(preset, int) else preset.steps
        pictures, shares, seconds = [], [], 0.0
        for layer, units in self._columns:
            images, took = self._images(f"{words} {steps} {layer}", layer, units, preset)
            pictures += [*display.stretch(images)]
            shares += saturated(torch.from_numpy(images)).tolist()
            seconds += took
        said = f"{words}\n{steps} steps\n{seconds:.0f} s of CPU\n{np.mean(shares):.1%} saturated"
        print(said.replace("\n", ", "), flush=True)
        self._drawn.append(self._row(said, pictures))

    def _images(
        self, key: str, layer: str, units: Sequence[int], preset: Preset | int
    ) -> tuple[np.ndarray, float]:
        kept = self._cache / f"{self._network.name} {key}.npz" if self._cache is not None else None
        if kept is not None and kept.exists():
            with np.load(kept) as found:
                return found["images"], float(found["seconds"])
        begun = time.process_time()
        if isinstance(preset, int):
            images = of_lucent(self._network.module, layer, units, preset)
        else:
            images = climbed(self._network, layer, units, preset)
        seconds = time.process_time() - begun
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            np.savez(kept, images=images, seconds=seconds)
        return images, seconds

    def _width(self) -> int:
        return MARGIN + sum(len(units) * (CELL + 2) for _, units in self._columns)

    def _head(self) -> Image.Image:
        strip = Image.new("RGB", (self._width(), HEAD), "white")
        draw, left = ImageDraw.Draw(strip), MARGIN
        for layer, units in self._columns:
            for unit in units:
                draw.text((left + 2, 3), f"{layer} {unit}", "black", ImageFont.load_default(11))
                left += CELL + 2
        return strip

    def _row(self, words: str, pictures: Iterable[np.ndarray]) -> Image.Image:
        strip = Image.new("RGB", (self._width(), CELL + 2), "white")
        ImageDraw.Draw(strip).multiline_text((2, 18), words, "black", ImageFont.load_default(11), spacing=3)
        for place, picture in enumerate(pictures):
            tile = Image.fromarray(np.moveaxis(np.broadcast_to(picture, (3, *picture.shape[1:])), 0, -1))
            strip.paste(tile.resize((CELL, CELL), Image.Resampling.LANCZOS), (MARGIN + place * (CELL + 2), 0))
        return strip

    def save(self, path: Path) -> None:
        """All rows, one below the other."""
        sheet = Image.new("RGB", (self._width(), sum(row.height for row in self._drawn)), "white")
        top = 0
        for row in self._drawn:
            sheet.paste(row, (0, top))
            top += row.height
        sheet.save(path, quality=82)
        print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


def shown(names: Mapping[str, Preset], rows: Rows) -> None:
    for words, preset in names.items():
        rows.add(words, preset)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("sheet", choices=("brain", "imagenet"))
    parser.add_argument("--weights", type=Path, help="of torchvision's squeezenet1_0; else they are fetched")
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--out", type=Path, default=DOCS)
    options = parser.parse_args()
    quick, robust, smooth = (PRESETS[name] for name in ("Fourier, quick", "Fourier, robust", "smooth steps"))
    before = smooth.changed(lr=0.04, final_lr=1.0, steps=256, decay=0.03)
    shifts = {"pad": 0, "scale": 0.0, "rotate": 0.0, "jitter": 4, "jitter2": 0}
    if options.sheet == "brain":
        rows = Rows(models.load("brain2d"), BRAIN, options.cache)
        ours = {
            "smooth steps, before": before,
            "constant steps": smooth.changed(final_lr=1.0),
            "smooth steps, now": smooth,
            "Fourier / 4, shifts": robust.changed(steps=256, **shifts),
            "the same, falling": robust.changed(lr=0.2, final_lr=0.1, steps=64, **shifts),
            "Fourier / 4, robust": robust.changed(lr=0.2, final_lr=0.1, steps=96),
            "Fourier, no division": robust.changed(spectrum_divisor=1.0, steps=256),
        }
    else:
        network = models.load("torchvision:squeezenet1_0", weights=options.weights)
        rows = Rows(network, IMAGENET, options.cache)
        for steps in (quick.steps, 512):
            rows.add("torch-lucent", steps)
        ours = {
            "Fourier, quick": quick,
            "shifts alone": quick.changed(steps=64, final_lr=1.0, **shifts),
            "smooth steps": smooth,
        }
    shown(ours, rows)
    rows.save(options.out / f"units_{options.sheet}.jpg")


if __name__ == "__main__":
    main()
