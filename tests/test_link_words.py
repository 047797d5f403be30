"""What a link says in words of a preset and of a preparation is read as the very same."""

from hypothesis import given
from hypothesis import strategies as st

from dashboard import address
from dashboard.link import changed, described, preparation_text, prepared
from vislib.ascent import PARAMETERS, PRESETS, Preset
from vislib.preparation import SCALINGS, STORED, Preparation


@given(
    st.sampled_from([*PRESETS]),
    st.dictionaries(st.sampled_from([*PARAMETERS]), st.floats(0, 1), max_size=5),
    st.data(),
)
def test_any_changed_preset_comes_back(name: str, shares: dict[str, float], data: st.DataObject) -> None:
    preset = PRESETS[name]
    for one, share in shares.items():
        parameter = PARAMETERS[one]
        if parameter.kind == "choice":
            value: object = data.draw(st.sampled_from(parameter.choices))
        else:
            value = parameter.low + share * (parameter.high - parameter.low)
            value = int(value) if parameter.kind == "int" else value
        preset = preset.changed(**{one: value})  # type: ignore[arg-type]
    fields = described(preset)
    read, complaints = address.read({key: [value.encode()] for key, value in fields.items()})
    assert not complaints
    assert changed(PRESETS[str(read.preset)], read.changes or "") == preset


def test_a_preset_that_was_made_from_none_is_not_named_as_another() -> None:
    assert described(Preset("random 3", "a random combination", decay=0.1)) == {}


@given(
    st.sampled_from([*SCALINGS]),
    st.floats(0, 49, allow_subnormal=False),
    st.floats(50, 100, allow_subnormal=False),
    st.booleans(),
)
def test_any_preparation_comes_back(scaling: str, low: float, high: float, brain: bool) -> None:
    one = (
        Preparation("stored", brain_only=brain)
        if scaling == "stored"
        else Preparation(scaling, low, high, brain)
    )
    assert prepared(preparation_text(one)) == one
    assert prepared("stored") == STORED
