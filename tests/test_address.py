"""The address: what is read from it, what is refused, and that what is written is read back."""

from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard import address

NAMES = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=40)


def arguments_of(query: str) -> dict[str, list[bytes]]:
    return {name: [value.encode() for value in values] for name, values in parse_qs(query[1:]).items()}


NUMBERS = st.integers(0, 9_999_999)


@given(
    network=NAMES,
    layer=NAMES,
    unit=NUMBERS,
    preset=st.none() | NAMES,
    place=st.tuples(NAMES, st.none() | NAMES, st.none() | NUMBERS, st.none() | NUMBERS),
)
def test_what_is_written_is_read_back(
    network: str, layer: str, unit: int, preset: str | None, place: tuple[object, ...]
) -> None:
    said = address.Address(network, layer, unit, "Runs", preset, *place)
    read, complaints = address.read(arguments_of(address.write(said)))
    assert read == said
    assert complaints == []


@given(
    st.dictionaries(st.sampled_from([*address.NAMES, "other"]), st.lists(st.binary(max_size=300), max_size=3))
)
def test_no_request_breaks_it(arguments: dict[str, list[bytes]]) -> None:
    read, complaints = address.read(arguments)
    for number in (read.unit, read.slice, read.target):
        assert number is None or number >= 0
    for name in ("network", "layer", "tab", "preset", "input", "plane", "orientation"):
        value = getattr(read, name)
        assert value is None or (value.isprintable() and 0 < len(value) <= 200)
    assert len(complaints) <= len(address.NAMES)


@pytest.mark.parametrize("unit", [b"-1", b"1.5", b"seven", "１２".encode(), b"123456789"])
def test_a_unit_that_is_no_number_is_told(unit: bytes) -> None:
    read, complaints = address.read({"unit": [unit], "layer": [b"conv1"]})
    assert read == address.Address(layer="conv1")
    assert len(complaints) == 1
    assert "unit" in complaints[0]


def test_text_that_is_no_text_is_told() -> None:
    read, complaints = address.read({"network": [b"\xff\xfe"], "layer": [b"a\x00b"]})
    assert read == address.Address()
    assert len(complaints) == 2
