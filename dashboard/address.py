"""The address is the state: `?network=…&layer=…&unit=…&tab=…&input=…`, read with suspicion and written back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

NAMES = ("network", "layer", "unit", "tab", "preset", "input", "plane", "slice", "target", "orientation")
_NUMBERS = ("unit", "slice", "target")
_LONGEST = 200


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
        if len(text) > _LONGEST or not text.isprintable():
            complaints.append(f"The address's {name} is not a name that a {name} can have and was ignored.")
        elif name in _NUMBERS:
            if text.isascii() and text.isdigit() and len(text) < 8:
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
