"""The address is the state: `?network=…&layer=…&unit=…&tab=…&input=…`, read with suspicion and written back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from urllib.parse import urlencode

_LONGEST = 200
_LONG = {"changes": 1200}  # a value for every parameter


@dataclass(frozen=True)
class Address:
    """What an address asks for; None where it says nothing."""

    network: str | None = None
    layer: str | None = None
    unit: int | None = None
    tab: str | None = None
    preset: str | None = None
    input: str | None = None  # a sample's name
    plane: str | None = None
    slice: int | None = None
    target: int | None = None  # the class that attributions explain
    orientation: str | None = None  # which way round slices are drawn
    upload: str | None = None  # what an uploaded input was called ...
    data: str | None = None  # ... and which contents it had
    time: int | None = None  # of a volume
    fit: str | None = None  # of a picture
    values: str | None = None  # what becomes 0 and 1 for the network
    against: int | None = None  # the class rather than which the target is explained
    opposite: int | None = None  # 1: what speaks against the target
    explain: str | None = None  # a hidden unit in the target's place, as "unit:layer"
    head: str | None = None  # what the network's output is taken for in this session
    changes: str | None = None  # of the preset, as "name:value,…"
    seed: int | None = None
    size: int | None = None  # of the images that climb, in pixels
    run: str | None = None  # a stored run that is shown


NAMES = tuple(field.name for field in fields(Address))
_MOST = {"seed": 2**31 - 1}
_NUMBERS = tuple(field.name for field in fields(Address) if field.type == int | None)


def read(arguments: Mapping[str, Sequence[bytes]]) -> tuple[Address, list[str]]:
    """The address of a request's arguments, and a sentence for every value that cannot be meant.

    Whether a network, layer, tab or preset of that name exists is for those to say who know them.
    """
    found: dict[str, str | int] = {}
    complaints: list[str] = []
    for name in NAMES:
        values = arguments.get(name)
        if not values:
            continue
        try:
            text = values[-1].decode("utf-8").strip()
        except UnicodeDecodeError:
            complaints.append(f"The address's {name} is not readable text and was ignored.")
            continue
        if not text:
            continue
        if len(text) > _LONG.get(name, _LONGEST) or not text.isprintable():
            complaints.append(f"The address's {name} is not a name that a {name} can have and was ignored.")
        elif name in _NUMBERS:
            if (
                text.isascii()
                and text.isdigit()
                and len(text) < 11
                and int(text) <= _MOST.get(name, 9_999_999)
            ):
                found[name] = int(text)
            else:
                complaints.append(
                    f"The address's {name} is {text!r}, which is no whole number, and was ignored."
                )
        else:
            found[name] = text
    return Address(**found), complaints  # type: ignore[arg-type]


def write(address: Address) -> str:
    """The query, with its question mark, that `read` reads back."""
    said = {name: getattr(address, name) for name in NAMES}
    return "?" + urlencode({name: value for name, value in said.items() if value is not None}, safe=":,")
