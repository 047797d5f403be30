"""Table: methods and baselines over many images with known objects, every number with its interval; CSV, Markdown."""

import csv
import io
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vislib.attribution.ask import attribute, find_method
from vislib.attribution.target import Target
from vislib.evaluation.asked import Asked, evidence
from vislib.evaluation.baselines import BASELINES
from vislib.evaluation.faithfulness import MOVES, deletion, insertion, removable
from vislib.evaluation.intervals import Interval, bootstrap
from vislib.evaluation.localisation import mass_accuracy, pointing_game, rank_accuracy
from vislib.evaluation.road import road
from vislib.evaluation.sanity import cascade, compare, overall_similarity, random_network
from vislib.network import Network
from vislib.words import counted

BATCH = (
    10  # images that are asked about at once: progress shows, and maps of many noisy copies fit into memory
)


class Column(NamedTuple):
    """One number that is measured of every map."""

    name: str
    better: str  # "higher", "lower" or "" for a number to compare with
    meaning: str


COLUMNS = (
    Column(
        "pointing game", "higher", "share of maps whose maximum lies within 15/224 of the side of the mask"
    ),
    Column("mass accuracy", "higher", "share of |map| inside the mask"),
    Column("random weights", "", "mass accuracy of the same method with all weights random"),
    Column("rank accuracy", "higher", "share inside the mask of the p largest pixels, p being its size"),
    Column(
        "deletion",
        "lower",
        "area under the class's probability while the largest pixels become the mean; images of "
        "which removal does not move it are left out",
    ),
    Column("insertion", "higher", "the same while they are put into a blurred copy"),
    Column("ROAD", "higher", "(LeRF - MoRF) / 2 with noisy linear imputation, at 20, 40, 60 and 80 %"),
    Column(
        "sanity SSIM",
        "lower",
        "structural similarity to the maps with random weights, mean while the upper half of the layers becomes so",
    ),
    Column("sanity rank", "lower", "rank correlation of |map| with them, mean while all layers become so"),
)


@dataclass(frozen=True)
class Effort:
    """How many of the images each measurement takes, from the first on, and how finely."""

    images: int = 200  # attributed, pointing game, mass and rank
    removal: int = 200  # deletion and insertion
    steps: int = 16  # of deletion and insertion
    road: int = 60
    random: int = 60  # mass accuracy with random weights
    sanity: int = 30
    slow: int = 20  # of the above at most, for a method that is not quick
    slow_sanity: int = 6

    def of(self, what: str, quick: bool = True) -> int:
        """Images for one of the measurements above."""
        limits = [self.images, getattr(self, what)]
        if not quick:
            limits.append(self.slow_sanity if what == "sanity" else self.slow)
        return min(limits)


@dataclass
class Row:
    """One map-maker's values, one number an image; a column that was not measured is missing."""

    name: str
    settings: str
    baseline: bool
    values: dict[str, Float[np.ndarray, " n"]] = field(default_factory=dict)
    seconds: float = 0.0  # an image

    def interval(self, column: str, seed: int = 0) -> Interval | None:
        """The column's mean with its bootstrap interval, over the images of which it could be measured."""
        values = self.values.get(column, np.empty(0))
        measured = values[np.isfinite(values)]
        return bootstrap(measured, seed=seed) if len(measured) else None


@dataclass
class Table:
    """All rows, and the facts that a reader needs to judge them."""

    rows: list[Row]
    facts: list[str]
    seed: int

    def winners(self, column: str = "mass accuracy") -> list[str]:
        """Methods whose interval lies above every baseline's and their own with random weights."""
        rivals = [interval for row in self.rows if row.baseline and (interval := row.interval(column))]
        found = []
        for row in self.rows:
            own, random = row.interval(column), row.interval("random weights")
            if not row.baseline and own and random and all(own.above(other) for other in [*rivals, random]):
                found.append(row.name)
        return found


Measuring = Generator[tuple[float, str], None, Table]


def measure(
    network: Network,
    images: Float[Tensor, "n c *spatial"],
    classes: Sequence[int],
    masks: Bool[np.ndarray, "n *spatial"],
    methods: Sequence[Asked],
    *,
    effort: Effort | None = None,
    seed: int = 0,
    baselines: Sequence[str] = tuple(BASELINES),
) -> Measuring:
    """Measure all methods and baselines; yields (share that is done, what is going on) and returns the Table."""
    effort = effort or Effort(images=len(images))
    work = _Work(network, images, np.array(classes), masks, effort, seed)
    rows: list[Row] = []
    makers: list[Asked | str] = [*methods, *baselines]
    for number, maker in enumerate(makers):
        for part, doing in work.row(maker, rows):
            yield (number + part) / len(makers), doing
    return Table(rows, work.facts(), seed)


class _Work:
    """What all rows share: the images, and the networks with random weights."""

    def __init__(
        self,
        network: Network,
        images: Tensor,
        classes: np.ndarray,
        masks: np.ndarray,
        effort: Effort,
        seed: int,
    ) -> None:
        self.network, self.images, self.classes, self.masks = network, images, classes, masks
        self.effort, self.seed = effort, seed
        self.random = random_network(network, seed=seed)
        # The same images for every row: one that removal does not move says nothing of any map.
        self.told = np.concatenate(
            [
                removable(network, images[rows], Target(tuple(self.classes[rows].tolist())))
                for rows in _batches(len(images))
            ]
        )
        self.copies = list(cascade(network, seed=seed))

    def row(self, maker: Asked | str, rows: list[Row]) -> Iterator[tuple[float, str]]:
        """Measure one row and append it."""
        baseline = isinstance(maker, str)
        row = Row(maker, "", True) if isinstance(maker, str) else Row(_label(maker), _settings(maker), False)
        quick = isinstance(maker, str) or find_method(maker.name).quick
        effort, n = self.effort, self.effort.of("images", quick)
        started = time.perf_counter()
        maps = yield from self._maps(self.network, maker, n, row.name, 0.0, 0.2)
        row.seconds = (time.perf_counter() - started) / n
        masks = self.masks[:n]
        order = maps if isinstance(maker, str) else evidence(maker, maps)
        row.values["pointing game"] = pointing_game(order, masks)
        row.values["mass accuracy"] = mass_accuracy(maps, masks)
        row.values["rank accuracy"] = rank_accuracy(maps, masks)
        yield from self._removal(row, order[: effort.of("removal", quick)])
        yield from self._road(row, order[: effort.of("road", quick)])
        if not baseline:
            few = effort.of("random", quick)
            random = yield from self._maps(self.random, maker, few, f"{row.name}, random weights", 0.8, 0.1)
            row.values["random weights"] = mass_accuracy(random, masks[:few])
            yield from self._sanity(row, maker, maps[: effort.of("sanity", quick)])
        rows.append(row)

    def facts(self) -> list[str]:
        """Sentences for the top of the table."""
        effort = self.effort
        return [
            f"Network {self.network.name} ({self.network.fingerprint}), {counted(len(self.images), 'image')}, "
            f"explained for their true class; wrongly classified ones are in. {self._accuracy()}",
            f"The objects cover {self.masks.mean():.1%} of the images.",
            f"Deletion and insertion in {effort.steps} steps on the first {effort.of('removal')} images, ROAD on the "
            f"first {effort.of('road')}, random weights on {effort.of('random')}, the cascade of random layers on "
            f"{effort.of('sanity')}. Methods that are not quick: {effort.of('images', False)} images, cascade "
            f"{effort.of('sanity', False)}.",
            *self._untold(),
            "One draw of random weights; intervals tell of images, not of draws.",
            "Means with 95 % intervals: percentile bootstrap over images, 2000 resamples.",
        ]

    def _untold(self) -> list[str]:
        left_out = int((~self.told).sum())
        if not left_out:
            return []
        return [
            f"{left_out} of the images are left out of deletion, insertion and ROAD: removing all of them moves what "
            f"the network says of the true class by less than {MOVES:.0%}."
        ]

    def _accuracy(self) -> str:
        """How often the network is right, as its head means it."""
        head = self.network.head
        if not head.has_probability:
            return "Its output is a value, so that nothing is right or wrong, and removal is on the value's own scale."
        right = []
        for rows in _batches(len(self.images)):
            with torch.no_grad():
                found = self.network.probabilities(self.images[rows]).cpu().numpy()
            own = found[np.arange(len(found)), self.classes[rows]]
            right.append(found.argmax(1) == self.classes[rows] if head.exclusive else own > 0.5)
        said = "Accuracy on them" if head.exclusive else "It finds the true class, above 50 %, in"
        return f"{said}: {np.concatenate(right).mean():.1%}."

    def _maps(
        self, network: Network, maker: Asked | str, n: int, doing: str, start: float, length: float
    ) -> Generator[tuple[float, str], None, np.ndarray]:
        found = []
        for rows in _batches(n):
            images = self.images[rows]
            if isinstance(maker, str):
                found.append(BASELINES[maker](network, images))
            else:
                answer = attribute(
                    network,
                    images,
                    Target(tuple(self.classes[rows].tolist())),
                    maker.name,
                    layer=maker.layer,
                    seed=self.seed,
                    **maker.parameters,
                )
                found.append(answer.values)
            yield start + length * rows.stop / n, doing
        return np.concatenate(found)

    def _removal(self, row: Row, maps: np.ndarray) -> Iterator[tuple[float, str]]:
        areas: dict[str, list[np.ndarray]] = {"deletion": [], "insertion": []}
        for rows in _batches(len(maps)):
            target = Target(tuple(self.classes[rows].tolist()))
            for name, curve in (("deletion", deletion), ("insertion", insertion)):
                found = curve(
                    self.network,
                    self.images[rows],
                    target,
                    maps[rows],
                    steps=self.effort.steps,
                    seed=self.seed,
                )
                areas[name].append(np.where(self.told[rows], found.area, np.nan))
            yield 0.2 + 0.4 * rows.stop / len(maps), f"{row.name}: deletion and insertion"
        row.values |= {name: np.concatenate(values) for name, values in areas.items()}

    def _road(self, row: Row, maps: np.ndarray) -> Iterator[tuple[float, str]]:
        scores = []
        for rows in _batches(len(maps)):
            target = Target(tuple(self.classes[rows].tolist()))
            found = road(self.network, self.images[rows], target, maps[rows], seed=self.seed)
            scores.append(np.where(self.told[rows], found.difference, np.nan))
            yield 0.6 + 0.2 * rows.stop / len(maps), f"{row.name}: ROAD"
        row.values["ROAD"] = np.concatenate(scores)

    def _sanity(self, row: Row, maker: Asked | str, original: np.ndarray) -> Iterator[tuple[float, str]]:
        stages, count = [], len(self.copies)
        for number, (layer, changed) in enumerate(self.copies, start=1):
            doing = f"{row.name}: weights random down to {layer}"
            start = 0.9 + 0.1 * (number - 1) / count
            maps = yield from self._maps(changed, maker, len(original), doing, start, 0.1 / count)
            stages.append(compare(layer, number, count, maps, original))
        row.values["sanity SSIM"] = overall_similarity(stages)
        row.values["sanity rank"] = np.mean([stage.rank for stage in stages], axis=0)


def _batches(n: int) -> Iterator[slice]:
    for start in range(0, n, BATCH):
        yield slice(start, min(n, start + BATCH))


def _label(asked: Asked) -> str:
    return f"{asked.name} ({asked.layer})" if asked.layer else asked.name


def _settings(asked: Asked) -> str:
    values = find_method(asked.name).values(asked.parameters)
    return ", ".join(f"{name} {value}" for name, value in values.items())


def as_csv(table: Table) -> str:
    """One line a row and column: name, settings, column, mean, low, high, images."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("map", "kind", "settings", "measure", "mean", "low", "high", "images"))
    for row in table.rows:
        for column in COLUMNS:
            if found := row.interval(column.name, table.seed):
                kind = "baseline" if row.baseline else "method"
                numbers = (f"{value:.4f}" for value in (found.mean, found.low, found.high))
                writer.writerow((row.name, kind, row.settings, column.name, *numbers, found.n))
    return text.getvalue()


def as_markdown(table: Table) -> str:
    """The table with its facts, the meaning of every column, and the winners."""
    arrows = {"higher": " ↑", "lower": " ↓", "": ""}
    names = [f"{column.name}{arrows[column.better]}" for column in COLUMNS]
    lines = ["# Can the explanations be believed?", "", *(f"- {fact}" for fact in table.facts), ""]
    lines += [f"| map | {' | '.join(names)} | s an image | n |", f"|---|{'---|' * (len(COLUMNS) + 2)}"]
    for row in table.rows:
        cells = [str(row.interval(column.name, table.seed) or "–") for column in COLUMNS]
        name = f"*{row.name}*" if row.baseline else row.name
        seconds, n = f"{row.seconds:.3f}", len(row.values["mass accuracy"])
        lines.append(f"| {name.replace('|', chr(92) + '|')} | {' | '.join(cells)} | {seconds} | {n} |")
    winners = ", ".join(table.winners()) or "none"
    lines += [
        "",
        f"Mass accuracy above every baseline and the own random weights, intervals apart: {winners}.",
        "",
    ]
    lines += [f"- **{column.name}**: {column.meaning}." for column in COLUMNS]
    lines += ["- In italics: baselines, maps that know nothing of the network.", ""]
    lines += [f"- {row.name}: {row.settings}." for row in table.rows if row.settings]
    return "\n".join(lines).rstrip() + "\n"
