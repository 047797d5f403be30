"""What the person who starts the server may say on its command line."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """The choices of whoever starts the server; nothing here ever comes from a browser."""

    networks: tuple[str, ...] = ()
    weights: Path | None = None
    store: Path | None = None
    device: str | None = None
    upload_limit: int = 256  # MB of a file that a browser sends


def parse(arguments: Sequence[str]) -> Options:
    """Read the words after `--args`; a word that is not known ends the start with one sentence."""
    parser = argparse.ArgumentParser(
        prog="bokeh serve dashboard --args",
        description="The vislib dashboard: watch a convolutional network's filters take shape.",
    )
    parser.add_argument(
        "--network",
        action="append",
        default=[],
        metavar="NAME_OR_CARD",
        help="network to open first: a shipped name, torchvision:NAME, or the path of a card (.toml); may be repeated",
    )
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help="a state dict for the first --network, in place of its own",
    )
    parser.add_argument("--store", type=Path, metavar="FILE", help="file in which runs are kept")
    parser.add_argument(
        "--device", metavar="DEVICE", help="cpu, cuda, cuda:1, …; the fastest there is by default"
    )
    parser.add_argument(
        "--upload-limit",
        type=int,
        default=Options.upload_limit,
        metavar="MB",
        help="largest file that a browser may send, 1 to 2000 MB; 256 by default",
    )
    given = parser.parse_args(list(arguments))
    if not 1 <= given.upload_limit <= 2000:
        parser.error(f"--upload-limit {given.upload_limit} cannot be: give 1 to 2000 MB")
    if given.weights is not None and not given.network:
        parser.error("--weights needs a --network that the weights belong to")
    return Options(tuple(given.network), given.weights, given.store, given.device, given.upload_limit)
