"""Makes the weights of the brain networks: `python -m models.train brain2d` (or `brain2d-robust`, `brain3d`).

The training is a pure function of its settings on one machine: two torch threads, every batch drawn from its number.
First a network of slices learns round lesions, with batch norms and auxiliary heads. Then the norms are folded into
the convolutions and it is polished at a small rate, with ragged lesions among the round ones; how the network of
volumes learns stands in models/train3d.py. The accuracy measured on held-out lesion shapes and deformations, which
lie between the two, is written into the network's card.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import train3d
from models.brain import CLASSES, PLANES, Batch, generate
from models.brain2d import CHANNELS, BrainNet2D
from models.train_parts import accuracy, confusion, fold, measured, shown, standardise

HERE = Path(__file__).parent
HELD_OUT = 4000  # slices that the accuracy is measured on


@dataclass(frozen=True)
class Settings:
    """What a training depends on."""

    batches: int = 2600
    batch: int = 32
    rate: float = 3e-3  # peak of AdamW's learning rate, reached after a tenth of the batches
    decay: float = 0.05  # of AdamW
    first_rate: float = 1.0  # the first layer's learning rate, in units of `rate`
    roughness: float = 0.006  # weight of the first layer's squared Laplacian
    offset: float = (
        0.05  # weight of the first layer's squared sums: without it kernels only measure brightness
    )
    epsilon: float = 0.0  # L2 size of the adversarial change, in pictures of [0, 1]
    ramp: float = 0.3  # share of the batches over which epsilon grows
    polish: int = 500  # batches, half of them ragged shapes, after the folding
    polish_rate: float = 5e-4  # peak of AdamW's learning rate then
    seed: int = 0


NETWORKS = {
    "brain2d": Settings(),
    "brain2d-robust": Settings(batches=1700, epsilon=0.4, polish=300),
}


class Trainee(nn.Module):
    """The network with its batch norms and the auxiliary heads that are dropped after the training.

    The heads read the plane (from the 5th layer), grey and white matter (from the 3rd) and the place of lesions and
    decoys (from the 6th): they give the middle layers something to be about.
    """

    def __init__(self) -> None:
        super().__init__()
        self.net = BrainNet2D(len(CLASSES), norm=True)
        self.tissue = nn.Conv2d(CHANNELS[2], 2, 1)
        self.plane = nn.Linear(CHANNELS[4], len(PLANES))
        self.place = nn.Conv2d(CHANNELS[5], len(CLASSES), 1)  # three kinds of lesion and the decoy

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Logits of the classes and of the three auxiliary questions."""
        out: dict[str, Tensor] = {}
        x = standardise(images)
        for name, part in self.net.named_children():
            x = part(x)
            if name == "relu3":
                out["tissue"] = self.tissue(x)
            elif name == "relu5":
                out["plane"] = self.plane(x.mean((2, 3)))
            elif name == "relu6":
                out["place"] = self.place(x)
        return out | {"logits": x}


def smooth_start(layer: nn.Conv2d) -> None:
    """Start the first layer small and smooth: noise blurred by a Gaussian, of zero mean under a round window."""
    size = layer.kernel_size[0]
    line = torch.linspace(-1, 1, size)
    bell = torch.exp(-((line * size / 2) ** 2) / (2 * 0.9**2))
    window = torch.exp(-2 * (line[:, None] ** 2 + line**2))
    noise = (
        F.conv2d(torch.randn_like(layer.weight), torch.outer(bell, bell)[None, None], padding="same") * window
    )
    noise = noise - window * noise.sum((2, 3), keepdim=True) / window.sum()
    with torch.no_grad():
        layer.weight.copy_(0.3 * noise / noise.flatten(1).norm(dim=1)[:, None, None, None])


def untidiness(weight: Tensor, settings: Settings) -> Tensor:
    """Penalty on rough kernels (squared Laplacian, zero beyond their border) and on kernels of non-zero sum.

    Relative to the kernels' size, which the batch norm after them makes arbitrary.
    """
    laplacian = weight.new_tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]])[None, None]
    kernels = F.normalize(weight.flatten(1), dim=1).view_as(weight)
    rough = F.conv2d(F.pad(kernels, (1, 1, 1, 1)), laplacian, padding=1).square().sum()
    return (
        settings.roughness * rough
        + settings.offset * kernels.sum((1, 2, 3)).square().sum() / kernels[0].numel()
    )


def loss_of(out: dict[str, Tensor], batch: Batch) -> Tensor:
    """Cross entropy of the class, and what the auxiliary heads add."""
    loss = F.cross_entropy(out["logits"], batch.labels) + 0.1 * F.cross_entropy(out["plane"], batch.planes)
    tissue = F.adaptive_avg_pool2d(batch.tissue, out["tissue"].shape[2:])
    loss = loss + 0.5 * F.binary_cross_entropy_with_logits(out["tissue"], tissue.clamp(0, 1))
    here = F.one_hot(batch.labels, len(CLASSES))[:, 1:, None, None] * batch.lesions
    wanted = F.adaptive_max_pool2d(torch.cat([here, batch.decoys], 1).float(), out["place"].shape[2:])
    return loss + F.binary_cross_entropy_with_logits(out["place"], wanted)


def attack(net: nn.Module, images: Tensor, labels: Tensor, epsilon: float) -> Tensor:
    """The images, each moved by L2 `epsilon` (pixels in [0, 1]) up the classification loss, in one step.

    Fast gradient method (Goodfellow et al. 2014, arXiv 1412.6572) for the L2 ball, clipped to [0, 1].
    """
    net.eval()  # the attack leaves the batch norms' statistics alone
    moved = images.detach().requires_grad_(True)
    loss = F.cross_entropy(net(standardise(moved)), labels, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, moved)
    net.train()
    step = F.normalize(gradient.flatten(1), dim=1).view_as(images)
    return (images.detach() + epsilon * step).clamp(0, 1)


def optimiser_of(model: Trainee, settings: Settings) -> torch.optim.Optimizer:
    """AdamW in which the first layer learns faster and no bias or norm decays."""
    first = model.net.get_submodule("conv1").weight
    rest = [p for p in model.parameters() if p is not first]
    groups = [
        {"params": [first], "lr": settings.rate * settings.first_rate, "weight_decay": settings.decay},
        {"params": [p for p in rest if p.ndim > 1], "weight_decay": settings.decay},
        {"params": [p for p in rest if p.ndim == 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.rate)


def train(settings: Settings) -> Iterator[tuple[int, float, Trainee]]:
    """Train, yielding (batches done, loss, the network in training) after every batch."""
    torch.manual_seed(settings.seed)
    model = Trainee().to(memory_format=torch.channels_last)
    first = model.net.get_submodule("conv1")
    smooth_start(first)
    optimiser = optimiser_of(model, settings)
    rates = [group["lr"] for group in optimiser.param_groups]
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, rates, total_steps=settings.batches, pct_start=0.1, cycle_momentum=False
    )
    for done in range(1, settings.batches + 1):
        batch = generate(settings.batch, settings.seed * 1_000_000 + done)
        epsilon = settings.epsilon * min(1.0, done / (settings.ramp * settings.batches))
        if epsilon:
            batch = replace(batch, images=attack(model.net, batch.images, batch.labels, epsilon))
        model.train()
        loss = loss_of(model(batch.images), batch)
        optimiser.zero_grad()
        (loss + untidiness(first.weight, settings)).backward()
        optimiser.step()
        schedule.step()
        yield done, float(loss.detach()), model


def polish(net: BrainNet2D, settings: Settings) -> Iterator[tuple[int, float, BrainNet2D]]:
    """Train the folded network a little more in place, with ragged lesions too; yields as `train` does."""
    net.to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(net.parameters(), lr=settings.polish_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.polish_rate, total_steps=settings.polish, pct_start=0.1, cycle_momentum=False
    )
    for done in range(1, settings.polish + 1):
        number = settings.seed * 1_000_000 + settings.batches + done
        halves = [generate(settings.batch // 2, number, split) for split in ("train", "ragged")]
        images, labels = (
            torch.cat([getattr(half, name) for half in halves]) for name in ("images", "labels")
        )
        if settings.epsilon:
            images = attack(net, images, labels, settings.epsilon)
        loss = F.cross_entropy(net(standardise(images)), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        yield done, float(loss.detach()), net
    net.eval()


def report(name: str, table: Tensor, settings: Settings, minutes: float, busy: float) -> str:
    """The card's account of how the network was made and how well it does."""
    how = f" adversarially (L2, one step, epsilon {settings.epsilon} in pictures of [0, 1])"
    lines = [
        f"Trained{how if settings.epsilon else ''} by `python -m models.train {name}`:",
        f"{settings.batches} + {settings.polish} batches of {settings.batch}, {minutes:.0f} minutes on 2 CPU cores "
        f"({busy:.0f} of CPU time).",
        "Slices made by models/brain from the MNI152 template with painted lesions",
        "(origin and licence: models/brain/TEMPLATE.md).",
        *measured(table, "slices"),
    ]
    return "\n".join(lines)


def save(name: str, net: nn.Module, source: str) -> None:
    """Write the weights and the account in the card, which brain3d has none of before its first training."""
    torch.save(net.state_dict(), HERE / "weights" / f"{name}.pt")
    card = HERE / f"{name}.toml"
    kept = card.read_text(encoding="utf-8").split("source = ")[0] if card.exists() else train3d.CARD
    card.write_text(f'{kept}source = """\n{source}\n"""\n', encoding="utf-8")


def make(name: str) -> tuple[BrainNet2D, Tensor, str]:
    """A trained network of slices, its table of answers on held-out ones, and the card's account of it."""
    settings, begun = NETWORKS[name], time.monotonic()
    net = fold(shown(f"{name}, training", train(settings), settings.batches).net)
    if settings.polish:
        shown(f"{name}, polishing", polish(net, settings), settings.polish)
    table = confusion(net, HELD_OUT)
    minutes = (time.monotonic() - begun) / 60
    return net, table, report(name, table, settings, minutes, time.process_time() / 60)


def main(arguments: list[str]) -> int:
    """Train the network named on the command line, showing progress, and write weights and card."""
    parser = argparse.ArgumentParser(prog="python -m models.train", description=__doc__)
    parser.add_argument("network", choices=[*NETWORKS, "brain3d"])
    name = parser.parse_args(arguments).network
    torch.set_num_threads(2)
    net, table, source = train3d.make() if name == "brain3d" else make(name)
    save(name, net, source)
    print(f"{name}: held-out accuracy {accuracy(table):.1%}\n{table}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
