"""How brain3d is made: a fixed set of volumes, generated once, that a network with auxiliary heads goes through often.

Everything is drawn from its number, so the training is a pure function of its settings on one machine with two torch
threads. Convolutions run in bfloat16, which costs half as much where the processor has it and loses nothing that can
be measured; the weights, and the network that ships, are float32.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.brain import CLASSES, Batch, generate
from models.brain3d import CHANNELS, SPACING, SPATIAL, BrainNet3D
from models.train_parts import confusion, fold, measured, say, shown, standardise

HELD_OUT = 1000  # volumes that the accuracy is measured on
CELLS = tuple(size // 4 for size in SPATIAL)  # of the last maps, of 4 voxels each way
WINDOW = 8  # cells each way: what the training begins with
HELD, IGNORED = 4, -100  # lesion cells that make a window one of a lesion; the label of those with fewer
QUIET = -1.0  # where the last batch norm starts: few cells fire, as few are lesions


@dataclass(frozen=True)
class Phase:
    """One part of a training."""

    batches: int
    size: int  # of a batch
    rate: float  # peak of AdamW's learning rate


@dataclass(frozen=True)
class Settings:
    """What a training depends on."""

    volumes: int = 3456  # generated once; they fill 1.2 GB
    ragged: int = 3  # one batch of volumes in so many has ragged lesions, the others round ones
    made: int = 8  # volumes generated at a time
    windows: Phase = Phase(2000, 48, 4e-3)
    whole: Phase = Phase(1500, 16, 1.5e-3)
    decay: float = 0.02  # of AdamW
    gain: float = 50.0  # of the averaged maps in training: a lesion fills a 200th of the volume
    rarity: float = 5.0  # weight of a cell with a lesion or a decoy, in cells without
    seed: int = 0

    @property
    def batches(self) -> int:
        """How many batches the training has."""
        return self.windows.batches + self.whole.batches


SETTINGS = Settings()


@dataclass(frozen=True, eq=False)
class Pool:
    """Volumes and what is known of them, in bytes; places and tissue are as coarse as the last maps."""

    images: Tensor  # (n, 1, *SPATIAL)
    labels: Tensor  # (n,), index into CLASSES
    places: Tensor  # (n, 4, *CELLS) bool: three kinds of lesion and the decoy
    tissue: Tensor  # (n, 2, *CELLS): grey and white matter

    def rows(self, chosen: Tensor) -> "Pool":
        """The same for some of the rows."""
        return Pool(*(x[chosen] for x in (self.images, self.labels, self.places, self.tissue)))


def coarse(batch: Batch) -> Pool:
    """What the training keeps of a batch."""
    here = F.one_hot(batch.labels, len(CLASSES))[:, 1:, None, None, None] * batch.lesions
    places = F.adaptive_max_pool3d(torch.cat([here, batch.decoys], 1).float(), CELLS)
    tissue = F.adaptive_avg_pool3d(batch.tissue, CELLS).clamp(0, 1)
    return Pool(as_bytes(batch.images), batch.labels, places.bool(), as_bytes(tissue))


def as_bytes(values: Tensor) -> Tensor:
    """[0, 1] as uint8."""
    return (255 * values).round().to(torch.uint8)


def make_pool(settings: Settings) -> Pool:
    """Generate the training's volumes, printing progress."""
    n, begun = settings.volumes, time.monotonic()
    pool = Pool(
        torch.empty((n, 1, *SPATIAL), dtype=torch.uint8),
        torch.empty(n, dtype=torch.long),
        torch.empty((n, len(CLASSES), *CELLS), dtype=torch.bool),
        torch.empty((n, 2, *CELLS), dtype=torch.uint8),
    )
    for number, start in enumerate(range(0, n, settings.made)):
        split = "ragged" if number % settings.ragged == settings.ragged - 1 else "train"
        size = min(settings.made, n - start)
        part = coarse(
            generate(size, settings.seed * 1_000_000 + number, split, spatial=SPATIAL, spacing=SPACING)
        )
        for name in ("images", "labels", "places", "tissue"):
            getattr(pool, name)[start : start + size] = getattr(part, name)
        if number % 25 == 24:
            left = (time.monotonic() - begun) / (start + size) * (n - start - size) / 60
            say(f"brain3d, generating: volume {start + size} of {n}, {left:.1f} min left")
    return pool


class Trainee(nn.Module):
    """The network with its batch norms, and heads that are dropped after the training.

    The heads read grey and white matter (from the 3rd layer) and the place of lesions and decoys (from the last). The
    classifier's mean counts as a sum of `gain` for a map of ones in a whole volume, in a window as in a whole volume.
    """

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = gain
        self.net = BrainNet3D(len(CLASSES), norm=True)
        self.tissue = nn.Conv3d(CHANNELS[2], 2, 1)
        self.place = nn.Conv3d(CHANNELS[-1], len(CLASSES), 1)
        nn.init.zeros_(self.net.get_submodule("classifier").weight)  # the gain would make chance large
        nn.init.constant_(self.net.get_submodule(f"norm{len(CHANNELS)}").bias, QUIET)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Logits of the classes and of the two auxiliary questions."""
        out: dict[str, Tensor] = {}
        x = standardise(images)
        gain = self.gain * images[0].numel() / math.prod(SPATIAL)
        for name, part in self.net.named_children():
            x = part(x * gain if name == "classifier" else x)
            if name == "relu3":
                out["tissue"] = self.tissue(x)
            elif name == f"relu{len(CHANNELS)}":
                out["place"] = self.place(x)
        return out | {"logits": x}

    def bare(self) -> BrainNet3D:
        """The network alone, batch norms and gain folded into its weights."""
        net = fold(self.net)
        with torch.no_grad():
            net.get_submodule("classifier").weight.mul_(self.gain)
        return net


def windows(pool: Pool, rows: Tensor, random: torch.Generator) -> Pool:
    """One window of each row: around a cell of its lesion two times out of three, anywhere else otherwise.

    The label is the lesion's where the window holds some cells of it, "healthy" where it holds none, and IGNORED
    in between.
    """
    parts, labels = [], []
    for row in rows:
        start = [int(torch.randint(size - WINDOW + 1, (), generator=random)) for size in CELLS]
        inside = pool.places[row, :-1].any(0).nonzero()
        if len(inside) and torch.rand((), generator=random) < 2 / 3:
            cell = inside[torch.randint(len(inside), (), generator=random)]
            off = torch.randint(WINDOW, (3,), generator=random)
            start = [min(max(int(c - o), 0), n - WINDOW) for c, o, n in zip(cell, off, CELLS, strict=True)]
        here = tuple(slice(at, at + WINDOW) for at in start)
        fine = tuple(slice(4 * at, 4 * (at + WINDOW)) for at in start)
        places = pool.places[(row, slice(None), *here)]
        held = int(places[:-1].sum())
        labels.append(int(pool.labels[row]) if held >= HELD else 0 if held == 0 else IGNORED)
        parts.append((pool.images[(row, slice(None), *fine)], places, pool.tissue[(row, slice(None), *here)]))
    images, places, tissue = (torch.stack(part) for part in zip(*parts, strict=True))
    return Pool(images, torch.tensor(labels), places, tissue)


def varied(pool: Pool, random: torch.Generator) -> Pool:
    """In [0, 1]: half of the rows mirrored left to right, each of another gamma and a little noise."""
    n = len(pool.labels)
    images, places, tissue = pool.images.float() / 255, pool.places.float(), pool.tissue.float() / 255
    turned = torch.rand(n, generator=random) < 0.5
    for values in (images, places, tissue):
        values[turned] = values[turned].flip(2)
    column = (n, 1, 1, 1, 1)
    gamma = torch.empty(column).uniform_(-0.15, 0.15, generator=random).exp()
    noise = torch.empty(column).uniform_(0, 0.02, generator=random)
    images = images.clamp(min=1e-4) ** gamma + noise * torch.randn(images.shape, generator=random)
    return Pool(images.clamp(0, 1), pool.labels, places, tissue)


def loss_of(out: dict[str, Tensor], known: Pool, rarity: float) -> Tensor:
    """Cross entropy of the class, and what the auxiliary heads add."""
    out = {name: values.float() for name, values in out.items()}
    tissue = F.binary_cross_entropy_with_logits(out["tissue"], known.tissue)
    weight = 1 + (rarity - 1) * known.places
    place = F.binary_cross_entropy_with_logits(out["place"], known.places, weight)
    label = F.cross_entropy(out["logits"], known.labels, ignore_index=IGNORED)
    return label + 0.3 * tissue + 3 * place


def optimiser_of(model: Trainee, phase: Phase, decay: float) -> torch.optim.Optimizer:
    """AdamW in which no bias and no norm decays."""
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in model.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=phase.rate)


def train(settings: Settings, pool: Pool) -> Iterator[tuple[int, float, Trainee]]:
    """Train, on windows first, yielding (batches done, loss, the network in training) after every batch."""
    torch.manual_seed(settings.seed)
    random = torch.Generator().manual_seed(settings.seed)
    model = Trainee(settings.gain).to(memory_format=torch.channels_last_3d)
    done = 0
    for phase in (settings.windows, settings.whole):
        optimiser = optimiser_of(model, phase, settings.decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, phase.rate, total_steps=phase.batches, pct_start=0.15, cycle_momentum=False
        )
        for rows in drawn(settings.volumes, phase, random):
            known = windows(pool, rows, random) if phase is settings.windows else pool.rows(rows)
            known = varied(known, random)
            model.train()
            with torch.autocast("cpu", torch.bfloat16):
                out = model(known.images)
            loss = loss_of(out, known, settings.rarity)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            done += 1
            yield done, float(loss.detach()), model


def drawn(volumes: int, phase: Phase, random: torch.Generator) -> Iterator[Tensor]:
    """The rows of each batch: every volume once before any comes again."""
    order = torch.empty(0, dtype=torch.long)
    for _ in range(phase.batches):
        while len(order) < phase.size:
            order = torch.cat([order, torch.randperm(volumes, generator=random)])
        yield order[: phase.size]
        order = order[phase.size :]


# What the card says before its account; the account ends it.
CARD = """\
factory = "models.brain3d:BrainNet3D"
weights = "weights/brain3d.pt"
input = [1, 64, 80, 64]
mean = [0.2]
std = [0.25]
labels = ["healthy", "tumour-like", "white-matter lesions", "dark lesion"]
spacing = [2.5, 2.5, 2.5]
head = "softmax"
opening = "conv4"
domain = "models.brain3d:domain"
"""


def make() -> tuple[BrainNet3D, Tensor, str]:
    """A trained network of volumes, its table of answers on held-out ones, and the card's account of it."""
    settings, begun = SETTINGS, time.monotonic()
    pool = make_pool(settings)
    net = shown("brain3d, training", train(settings, pool), settings.batches).bare()
    minutes, busy = (time.monotonic() - begun) / 60, time.process_time() / 60
    table = confusion(net, HELD_OUT, spatial=SPATIAL, spacing=SPACING)
    return net, table, report(table, settings, minutes, busy)


def report(table: Tensor, settings: Settings, minutes: float, busy: float) -> str:
    """The card's account of how the network was made and how well it does."""
    share = float(table.diag().sum() / table.sum())
    error = (share * (1 - share) / int(table.sum())) ** 0.5
    lines = [
        "Trained by `python -m models.train brain3d`:",
        f"{settings.volumes} volumes, {settings.windows.batches} batches of {settings.windows.size} windows of them, "
        f"then {settings.whole.batches} of {settings.whole.size}",
        f"whole ones; {minutes:.0f} minutes on 2 CPU cores ({busy:.0f} of CPU time).",
        "Volumes made by models/brain from the MNI152 template with painted lesions",
        "(origin and licence: models/brain/TEMPLATE.md).",
        *measured(table, "volumes"),
        f"Standard error of the accuracy: {error:.1%}.",
    ]
    return "\n".join(lines)
