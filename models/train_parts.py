"""What the trainings of all brain networks share: standardising, folding, measuring, and showing progress."""

import copy
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from models.brain import CLASSES, generate
from models.brain.template import SPACING

MEAN, STD = 0.2, 0.25  # of the training pictures
N = TypeVar("N", bound=nn.Module)


def standardise(images: Tensor) -> Tensor:
    """What the cards' mean and std do before the network."""
    return (images - MEAN) / STD


def fold(net: N) -> N:
    """The same function without batch norms: each is folded into the convolution before it."""
    source, plain = copy.deepcopy(net).eval(), type(net)(len(CLASSES))
    for name, part in plain.named_children():
        if isinstance(part, nn.Conv2d | nn.Conv3d):
            norm = source.get_submodule(name.replace("conv", "norm"))
            part.load_state_dict(fuse_conv_bn_eval(source.get_submodule(name), norm).state_dict())
    plain.get_submodule("classifier").load_state_dict(source.get_submodule("classifier").state_dict())
    return plain.eval()


@torch.inference_mode()
def confusion(
    net: nn.Module,
    count: int,
    split: str = "held-out",
    *,
    spatial: Sequence[int] = (128, 128),
    spacing: float = SPACING,
) -> Tensor:
    """Table (true class, answer) of counts over `count` balanced pictures of a split."""
    net.eval()
    table = torch.zeros(len(CLASSES), len(CLASSES), dtype=torch.long)
    for number in range(-(-count // 40)):
        batch = generate(min(40, count - 40 * number), number, split, spatial=spatial, spacing=spacing)
        answers = net(standardise(batch.images)).argmax(1)
        table.index_put_((batch.labels, answers), torch.tensor(1), accumulate=True)
    return table


def accuracy(table: Tensor) -> float:
    """Share of right answers."""
    return float(table.diag().sum() / table.sum())


def measured(table: Tensor, what: str) -> list[str]:
    """The lines of a card that say how well the network does on held-out `what` ("slices", "volumes")."""
    shares = (table.diag() / table.sum(1)).tolist()
    classes = ", ".join(f"{label} {share:.1%}" for label, share in zip(CLASSES, shares, strict=True))
    rows = [
        f"  {label:>20}  " + " ".join(f"{int(count):5d}" for count in row)
        for label, row in zip(CLASSES, table, strict=True)
    ]
    return [
        f"Accuracy on {int(table.sum())} {what} with held-out lesion shapes and deformations: {accuracy(table):.1%}",
        f"({classes}).",
        "Confusion (rows: true class; columns: answer, in the same order):",
        *rows,
    ]


def say(line: str) -> None:
    """Write a line of progress at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def shown(name: str, steps: Iterator[tuple[int, float, N]], total: int) -> N:
    """Run a training to its end, printing progress; gives the network that it yields."""
    begun, mean = time.monotonic(), 0.0
    for done, loss, net in steps:
        trained = net
        mean = loss if done == 1 else 0.98 * mean + 0.02 * loss
        if done % 50 == 0 or done == total:
            left = (time.monotonic() - begun) / done * (total - done) / 60
            say(f"{name}: batch {done} of {total}, loss {mean:.3f}, {left:.1f} min left")
    return trained
