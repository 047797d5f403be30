"""Network cards: TOML files that say how a network is built and what its weights, input and labels are."""

import difflib
import importlib
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models.states import fit, read_state
from models.vision import (
    PREFIX,
    Progress,
    default_weights,
    torchvision_facts,
    torchvision_module,
    torchvision_names,
)
from vislib.errors import CardError, NetworkError
from vislib.head import KINDS
from vislib.network import Network
from vislib.standardisation import ORDERS

HERE = Path(__file__).parent
SHIPPED = ("brain2d", "brain2d-robust", "brain3d")
NUMBERS, WORDS = "a list of numbers", "a list of texts"


@dataclass(frozen=True)
class Card:
    """What a card says; `folder` is where its relative paths start."""

    name: str
    folder: Path
    factory: str  # "package.module:function", or "torchvision:resnet18"
    input: tuple[int, ...]  # channels, then spatial
    weights: str | None = None  # a file beside the card; "DEFAULT" for torchvision's own; None: the factory's
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    channels: str = "RGB"  # or "BGR": the order of colours that the network takes
    range: tuple[float, ...] = (0.0, 1.0)  # what black and white are to the network
    labels: tuple[str, ...] = ()
    spacing: tuple[float, ...] = ()  # mm a pixel
    source: str = ""
    opening: str | None = None  # the layer to show first
    head: str | None = None  # what the output means, one of vislib.head.KINDS; None: inferred
    output: str | int | None = None  # which item of a tuple or dict it is
    unit: str = ""  # of a head of kind "score"
    domain: str | None = None  # "package.module:function" that gives images such as the network was made for


def is_number(value: object) -> bool:
    """Whether a TOML value is a number (its booleans are not)."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_size(value: object) -> bool:
    """Whether a TOML value can be a number of channels or pixels."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


# What each key of a card must be, in words and as a check.
KEYS: Mapping[str, tuple[str, Any]] = {
    "factory": ('a text "package.module:function"', lambda v: isinstance(v, str) and v.count(":") == 1),
    "weights": ("a text", lambda v: isinstance(v, str)),
    "input": (
        "3 or 4 whole numbers above 0 (channels, then spatial)",
        lambda v: isinstance(v, list) and len(v) in (3, 4) and all(map(is_size, v)),
    ),
    "mean": (NUMBERS, lambda v: isinstance(v, list) and all(map(is_number, v))),
    "std": (NUMBERS, lambda v: isinstance(v, list) and all(map(is_number, v))),
    "channels": ('"RGB" or "BGR"', lambda v: v in ORDERS),
    "range": (
        "two numbers, the smaller one first, such as [0, 255]",
        lambda v: isinstance(v, list) and len(v) == 2 and all(map(is_number, v)) and v[0] < v[1],
    ),
    "labels": (WORDS, lambda v: isinstance(v, list) and all(isinstance(x, str) for x in v)),
    "spacing": (NUMBERS, lambda v: isinstance(v, list) and all(map(is_number, v))),
    "source": ("a text", lambda v: isinstance(v, str)),
    "opening": ("a text", lambda v: isinstance(v, str)),
    "head": (f"one of {', '.join(KINDS)}", lambda v: v in KINDS),
    "output": (
        "a text or a whole number, 0 or more",
        lambda v: isinstance(v, str) or (isinstance(v, int) and not isinstance(v, bool) and v >= 0),
    ),
    "unit": ('a text such as "years"', lambda v: isinstance(v, str)),
    "domain": ('a text "package.module:function"', lambda v: isinstance(v, str) and v.count(":") == 1),
}
REQUIRED = ("factory", "input")


def read_card(path: Path) -> Card:
    """Read and check a card file; raises CardError."""
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CardError(f"There is no card at {path}; give the path of a TOML file.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise CardError(
            f"The card {path} cannot be read ({error}); check the file and its permissions."
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise CardError(f"The card {path} is no TOML ({error}); mend that place of it.") from error
    for key in said:
        if key not in KEYS:
            raise CardError(
                f"The card {path} has an unknown key {key!r}; the keys of a card are {', '.join(KEYS)}."
            )
    for key in REQUIRED:
        if key not in said:
            raise CardError(f"The card {path} lacks {key!r}; it must be {KEYS[key][0]}.")
    for key, value in said.items():
        words, check = KEYS[key]
        if not check(value):
            raise CardError(f"The card {path} has {key} = {value!r}; it must be {words}.")
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in said.items()}
    return Card(name=path.stem, folder=path.parent, **values)


def imported(card: Card, kind: str, path: str) -> Callable[[], Any]:
    """The function "package.module:function" that the card names as its `kind`; raises CardError."""
    where, function = path.split(":")
    try:
        found: Callable[[], Any] = getattr(importlib.import_module(where), function)
    except AttributeError as error:
        raise CardError(f"The card of {card.name} names the {kind} {path!r}, but {error}.") from error
    except Exception as error:  # whatever a person's own module raises while it is imported
        raise CardError(
            f"The {kind} {path!r} of {card.name} cannot be imported ({type(error).__name__}: {error}); "
            "install its package or start from the folder that holds it."
        ) from error
    return found


def build(card: Card) -> nn.Module:
    """Import and call the card's factory; raises CardError.

    This runs code that the card names: only who starts the server may choose a card.
    """
    if card.factory.startswith(PREFIX):
        return torchvision_module(card.factory.removeprefix(PREFIX))
    factory = imported(card, "factory", card.factory)
    try:
        module = factory()
    except Exception as error:
        raise CardError(
            f"The factory {card.factory!r} of {card.name} failed ({type(error).__name__}: {error}); "
            "it must work without arguments."
        ) from error
    if not isinstance(module, nn.Module):
        raise CardError(
            f"The factory {card.factory!r} of {card.name} gave a {type(module).__name__}; "
            "it must give a torch nn.Module."
        )
    return module


def weights_of(card: Card, weights: str | Path | None, progress: Progress | None) -> Path | None:
    """The file of weights to load: the caller's, the card's, or torchvision's own (fetched if need be)."""
    if weights is not None:
        return Path(weights)
    if card.weights is None:
        return None
    if card.weights != "DEFAULT":
        return card.folder / card.weights
    if not card.factory.startswith(PREFIX):
        raise CardError(
            f"The card of {card.name} says weights = 'DEFAULT', which only torchvision's factories have; "
            "name a file beside the card."
        )
    return default_weights(card.factory.removeprefix(PREFIX), progress)


def torchvision_card(name: str) -> Card:
    """The card that torchvision's own facts amount to."""
    # Trained with cross-entropy over exclusive classes, all of them.
    return Card(
        name, HERE, name, weights="DEFAULT", head="softmax", **torchvision_facts(name.removeprefix(PREFIX))
    )


def card_of(name_or_path: str | Path) -> Card:
    """The card of a shipped network, of a torchvision one, or at a path; raises CardError."""
    name = str(name_or_path)
    if name in SHIPPED:
        return read_card(HERE / f"{name}.toml")
    if name.startswith(PREFIX):
        return torchvision_card(name)
    if name.endswith(".toml") or Path(name).is_file():
        return read_card(Path(name))
    known = [*SHIPPED, *torchvision_names()]
    close = difflib.get_close_matches(name, [*known, *(n.removeprefix(PREFIX) for n in known)], 1)
    hint = f" Did you mean {close[0] if close[0] in known else PREFIX + close[0]}?" if close else ""
    raise CardError(
        f"There is no network {name!r}; there are {', '.join(SHIPPED)}, torchvision:resnet18 and the like, "
        f"and card files (.toml).{hint}"
    )


def names() -> tuple[str, ...]:
    """The networks that ship, the default one first."""
    return SHIPPED


def load(
    name_or_card_path: str | Path,
    weights: str | Path | None = None,
    device: str | torch.device | None = None,
    progress: Progress | None = None,
) -> Network:
    """The network of that name ("brain2d", "torchvision:resnet18") or of the card file at that path.

    `weights` is a local state dict to load in place of the card's. `progress` is called with (bytes, total bytes)
    while torchvision's weights are fetched; without it the progress goes to standard error. A card names code that
    is imported: never pass a path that came from a browser. Raises CardError.
    """
    card = card_of(name_or_card_path)
    module = build(card)
    file = weights_of(card, weights, progress)
    if file is not None:
        fit(card.name, module, read_state(file))
    try:
        return Network.from_module(
            module,
            card.input,
            mean=card.mean,
            std=card.std,
            channels=card.channels,
            range=card.range,
            labels=card.labels,
            name=card.name,
            spacing=card.spacing,
            source=card.source,
            opening=card.opening,
            domain=None if card.domain is None else imported(card, "domain", card.domain),
            device=device,
            head=card.head,
            output=card.output,
            unit=card.unit,
        )
    except NetworkError as error:
        raise CardError(f"The card of {card.name} does not fit its network: {error}") from error
