"""torchvision's convolutional classifiers: their names, facts, modules, and their weights, fetched on first use."""

import hashlib
import os
import re
import sys
import tempfile
import urllib.request
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from torch import nn

from vislib.errors import CardError

Progress = Callable[[int, int], None]  # (bytes, total bytes; 0 if nobody knows)

PREFIX = "torchvision:"
FAMILIES = re.compile(
    r"alexnet|vgg|squeezenet|resnet|resnext|wide_resnet|densenet|googlenet|inception|mobilenet|efficientnet"
    r"|convnext|shufflenet|mnasnet|regnet"
)
CHUNK = 1 << 18  # bytes read at a time


@cache
def torchvision_names() -> tuple[str, ...]:
    """ "torchvision:resnet18" and every other convolutional classifier of the installed torchvision."""
    import torchvision  # slow to import, and only needed here

    listed = torchvision.models.list_models(module=torchvision.models)
    return tuple(f"{PREFIX}{name}" for name in listed if FAMILIES.match(name))


def check_name(name: str) -> None:
    """Raise CardError unless torchvision has a convolutional classifier of that name."""
    if f"{PREFIX}{name}" not in torchvision_names():
        some = ", ".join(torchvision_names()[:3])
        raise CardError(
            f"torchvision has no convolutional classifier {name!r}; models.torchvision_names() lists them ({some}, …)."
        )


def best_weights(name: str) -> Any:
    """torchvision's entry (url, transforms, meta) of its best weights of a network."""
    import torchvision

    check_name(name)
    return torchvision.models.get_model_weights(name).DEFAULT


def torchvision_facts(name: str) -> dict[str, Any]:
    """Input, standardisation, labels and source of a torchvision network, from what torchvision says of its weights."""
    entry = best_weights(name)
    prepare = entry.transforms()
    return {
        "input": (3, prepare.crop_size[0], prepare.crop_size[0]),
        "mean": tuple(prepare.mean),
        "std": tuple(prepare.std),
        "labels": tuple(entry.meta["categories"]),
        "source": f"torchvision {name}, {entry.name}, {entry.url}",
    }


def torchvision_module(name: str) -> nn.Module:
    """The module with random weights, without the auxiliary heads that only training uses."""
    import torchvision

    check_name(name)
    options: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):
        # As torchvision does with its own weights, which expect inputs standardised once more inside.
        options = {"aux_logits": False, "transform_input": True, "init_weights": False}
    return torchvision.models.get_model(name, weights=None, **options)


def default_weights(name: str, progress: Progress | None = None) -> Path:
    """The file of torchvision's own weights, from torch's cache or else fetched into it; raises CardError."""
    url = best_weights(name).url
    target = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
    if target.is_file():
        return target
    try:
        fetch(url, target, progress or _to_stderr(target.name))
    except OSError as error:  # urllib's errors and time-outs among them
        raise CardError(
            f"The weights of {PREFIX}{name} could not be fetched ({error}); download {url} elsewhere and place "
            f"the file {target.name} in {target.parent}, or name a local state dict with --weights FILE (weights=)."
        ) from error
    return target


def fetch(url: str, target: Path, progress: Progress) -> None:
    """Download to `target`, whole or not at all, checking the hash in its name; raises OSError."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, done = hashlib.sha256(), 0
    handle, partial = tempfile.mkstemp(dir=target.parent, prefix=target.name, suffix=".partial")
    try:
        with os.fdopen(handle, "wb") as file, urllib.request.urlopen(url, timeout=20) as answer:
            total = int(answer.headers.get("Content-Length") or 0)
            while chunk := answer.read(CHUNK):
                file.write(chunk)
                digest.update(chunk)
                done += len(chunk)
                progress(done, total)
        if total and done != total:
            raise OSError(f"{done} of {total} bytes came")
        wanted = re.search(r"-([0-9a-f]{8,})\.", target.name)
        if wanted and not digest.hexdigest().startswith(wanted[1]):
            raise OSError("what came is damaged: its hash is not the one in its name")
        os.replace(partial, target)
    finally:
        Path(partial).unlink(missing_ok=True)


def _to_stderr(name: str) -> Progress:
    """A progress that writes one line to standard error for every tenth of the file."""
    shown = -1

    def show(done: int, total: int) -> None:
        nonlocal shown
        tenth = 10 * done // total if total else done // (10 << 20)
        if tenth != shown:
            shown = tenth
            share = f" of {total / 1e6:.0f}" if total else ""
            sys.stderr.write(f"fetching {name}: {done / 1e6:.0f}{share} MB\n")

    return show
