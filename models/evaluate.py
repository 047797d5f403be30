"""Measures every explanation method on held-out brains with known lesions: `python -m vislib evaluate`.

Writes `table.csv` and `table.md`. The earlier layers in FINER were chosen on other slices (seed 0) than those of the
default seed.
"""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from models.brain.held_out import lesions
from models.brain.lesions import CLASSES
from models.cards import SHIPPED, load
from vislib.attribution import FAMILIES, METHODS, find_method
from vislib.errors import AttributionError, VislibError
from vislib.evaluation.asked import Asked
from vislib.evaluation.table import COLUMNS, Effort, Table, as_csv, as_markdown, measure
from vislib.network import Network
from vislib.parameters import Value

SEED, IMAGES, FOLDER = 1, 200, "evaluation"
# Asked once more at an earlier layer, where that layer is there: its maps are sharper in place.
FINER = (("Grad-CAM", "conv4"), ("LayerCAM", "conv3"))
# Settings that two CPU cores can pay for; the others are as published.
AFFORDABLE: Mapping[str, Mapping[str, Value]] = {
    "Integrated gradients": {"steps": 20},
    "SmoothGrad": {"samples": 25},
    "Prediction difference": {"stride": 8},
}


def main(arguments: Sequence[str]) -> int:
    """Run the command; 0 when the files are written, 2 with a sentence on standard error when they cannot be."""
    given = _parser().parse_args(arguments)
    try:
        network = load(given.network)
        methods = chosen(network, given.methods)
        folder = Path(given.out)
        folder.mkdir(parents=True, exist_ok=True)
        table = run(network, methods, given.images, given.seed)
        (folder / "table.csv").write_text(as_csv(table), encoding="utf-8")
        (folder / "table.md").write_text(as_markdown(table), encoding="utf-8")
    except (VislibError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(f"{as_text(table)}\n\nWritten: {folder / 'table.csv'}, {folder / 'table.md'}\n")
    return 0


def chosen(network: Network, names: str | None) -> list[Asked]:
    """The methods of a comma-separated list, each `name` or `name@layer`; without one all of them, and FINER.

    Raises AttributionError for a method or layer that is not there or that the network cannot be asked.
    """
    if names is None:
        by_family = sorted(METHODS.values(), key=lambda method: FAMILIES.index(method.family))
        able = [Asked(method.name) for method in by_family if not method.check(network)]
        finer = [Asked(name, layer) for name, layer in FINER if name in METHODS and layer in network.layers]
        asked = [one for method in able for one in (method, *(f for f in finer if f.name == method.name))]
    else:
        parts = [name.strip().partition("@") for name in names.split(",") if name.strip()]
        asked = [Asked(name, layer or None) for name, _, layer in parts]
    if not asked:
        raise AttributionError(f"No method was given; the methods are {', '.join(METHODS)}.")
    for one in asked:
        problem = find_method(one.name).check(network)
        if problem:
            raise AttributionError(problem)
        if one.layer is not None:
            network.layer(one.layer)
    return [one._replace(parameters=AFFORDABLE.get(one.name, {})) for one in asked]


def run(network: Network, methods: Sequence[Asked], images: int, seed: int) -> Table:
    """Measure, showing progress on standard error."""
    if tuple(network.labels) != CLASSES:
        raise AttributionError(
            f"{network.name} tells apart {', '.join(network.labels) or 'classes without names'}, and the brains "
            f"that explanations are measured on show {', '.join(CLASSES)}; choose one of {', '.join(SHIPPED)}."
        )
    if images < 1:
        raise AttributionError(f"{images} images were asked for; give 1 or more.")
    shown = ", ".join(CLASSES[1:])
    kind = "slices" if len(network.input_shape) == 3 else "volumes"
    about = f"Brain {kind} with held-out lesion shapes and deformations (seed {seed}): {shown} in turn."
    batch = lesions(images, seed, network.input_shape[1:], *network.spacing[:1])
    masks = batch.lesions[:, 0].numpy()
    work = measure(
        network, batch.images, batch.labels.tolist(), masks, methods, effort=Effort(images=images), seed=seed
    )
    progress = _Progress()
    while True:
        try:
            progress.show(*next(work))
        except StopIteration as end:
            progress.end()
            table: Table = end.value
            table.facts.insert(0, about)
            return table


def as_text(table: Table) -> str:
    """The table in columns for a terminal, with who beats every baseline."""
    width = max(len(row.name) for row in table.rows) + 2
    lines = ["".join([" " * width, *(f"{column.name:<22}" for column in COLUMNS)]).rstrip()]
    for row in table.rows:
        cells = [f"{row.interval(column.name, table.seed) or '–'!s:<22}" for column in COLUMNS]
        lines.append(f"{row.name:<{width}}{''.join(cells)}".rstrip())
    lines += [
        "",
        f"Mass accuracy above every baseline, intervals apart: {', '.join(table.winners()) or 'none'}.",
    ]
    return "\n".join(lines)


class _Progress:
    """One line that is written anew on a terminal; elsewhere a line for every new thing that is done."""

    def __init__(self) -> None:
        self.started, self.last = time.monotonic(), ""

    def show(self, share: float, doing: str) -> None:
        left = (time.monotonic() - self.started) / share * (1 - share) / 60 if share else 0.0
        line = f"{share:4.0%}  {left:.1f} min left  {doing}"
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\033[K{line}")
            sys.stderr.flush()
        elif doing != self.last:
            sys.stderr.write(f"{line}\n")
        self.last = doing

    def end(self) -> None:
        if sys.stderr.isatty():
            sys.stderr.write("\r\033[K")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m vislib evaluate",
        description="Measure explanation methods and baselines on held-out brains with known lesions.",
    )
    parser.add_argument("--network", default=SHIPPED[0], help=f"{', '.join(SHIPPED)} or a card")
    parser.add_argument(
        "--images",
        type=int,
        default=IMAGES,
        help=f"how many slices, or volumes for a 3-D network (default {IMAGES})",
    )
    parser.add_argument(
        "--methods", help="names by commas, each with @layer where wanted; default: all of them"
    )
    parser.add_argument("--seed", type=int, default=SEED, help=f"of brains and methods (default {SEED})")
    parser.add_argument(
        "--out", default=FOLDER, help=f"folder for table.csv and table.md (default {FOLDER}/)"
    )
    return parser
