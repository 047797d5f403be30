"""Presets and their description: ranges, relevance, what is published, JSON, random search."""

import dataclasses
import json

import pytest

from vislib.ascent import PARAMETERS, PRESETS, Preset, random_search
from vislib.errors import AscentError


def test_parameters_and_fields_are_the_same_set() -> None:
    fields = {field.name for field in dataclasses.fields(Preset)} - {"name", "description", "source"}
    assert fields == set(PARAMETERS)
    assert all(parameter.description and name == parameter.name for name, parameter in PARAMETERS.items())


@pytest.mark.parametrize(
    ("number", "expected"),
    [  # the table of the paper: decay, blur sigma, every, norm %, contribution %, steps, optimiser, rate
        (1, (0.0, 0.5, 4, 50.0, 0.0, 500, "progress", 100.0)),
        (2, (0.3, 0.0, 1, 20.0, 0.0, 750, "gradient", 100.0)),
        (3, (1e-4, 1.0, 4, 0.0, 0.0, 1000, "gradient", 100.0)),
        (4, (0.0, 0.5, 4, 0.0, 90.0, 1000, "progress", 1e8)),
    ],
)
def test_yosinski_as_published(number: int, expected: tuple[object, ...]) -> None:
    p = PRESETS[f"Yosinski {number}"]
    rate = p.max_lr if p.optimiser == "progress" else p.lr
    got = (p.decay, p.blur_sigma, p.blur_every, p.norm_percentile, p.contribution_percentile, p.steps)
    assert (*got, p.optimiser, rate) == expected
    assert p.start_sd == 10.0
    assert p.objective == "neuron"
    assert p.desired == 2.0


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_value_out_of_range_says_what_is_allowed(name: str) -> None:
    parameter = PARAMETERS[name]
    wrong = (
        ["nonsense"]
        if parameter.kind == "choice"
        else [parameter.high * 1.01 + 1, parameter.low - 1, "x", float("nan")]
    )
    for value in wrong:
        with pytest.raises(AscentError, match=name) as caught:
            Preset("mine").changed(**{name: value})
        allowed = (
            parameter.choices if parameter.kind == "choice" else (f"{parameter.low:g}", f"{parameter.high:g}")
        )
        assert all(str(part) in str(caught.value) for part in allowed)


def test_whole_numbers_only_where_they_are_meant() -> None:
    with pytest.raises(AscentError, match="whole number"):
        Preset("mine").changed(jitter=2.5)
    assert isinstance(Preset("mine").changed(jitter=4.0).jitter, int)


def test_relevant_shows_what_the_choices_use() -> None:
    fourier = PRESETS["Fourier, robust"].relevant()
    assert "spectrum_decay" in fourier
    assert not {"blur_sigma", "start_sd", "max_lr", "desired"} & set(fourier)
    assert not {"lr", "spectrum_sd"} & set(PRESETS["Yosinski 1"].relevant())
    assert {"max_lr", "desired", "blur_sigma"} <= set(PRESETS["Yosinski 1"].relevant())


def test_an_irrelevant_parameter_has_no_effect_is_what_relevant_means() -> None:
    for preset in PRESETS.values():
        unused = set(PARAMETERS) - set(preset.relevant())
        for name in unused:
            assert any(getattr(preset, key) not in ok for key, ok in PARAMETERS[name].used_when.items())


def test_changed_is_custom_and_same_values_change_nothing() -> None:
    base = PRESETS["Yosinski 3"]
    assert base.changed(decay=base.decay) is base
    custom = base.changed(decay=0.25)
    assert (custom.name, custom.decay, custom.lr) == ("custom", 0.25, base.lr)
    assert "Yosinski 3" in custom.changed(decay=0.5).description
    with pytest.raises(AscentError, match="no parameter 'dekay'"):
        base.changed(dekay=1)


def test_another_optimiser_takes_its_usual_rate() -> None:
    assert PRESETS["Yosinski 3"].changed(optimiser="adam").lr == 0.05
    assert (
        PRESETS["Yosinski 3"].changed(optimiser="adam", lr=100.0).lr == 0.05
    )  # a page that sends all widgets
    assert PRESETS["Yosinski 3"].changed(optimiser="adam", lr=0.5).lr == 0.5


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_json(name: str) -> None:
    preset = PRESETS[name]
    assert Preset.from_dict(json.loads(json.dumps(preset.to_dict()))) == preset


def test_a_stored_preset_with_unknown_fields_is_refused() -> None:
    with pytest.raises(AscentError, match="unknown fields momentum"):
        Preset.from_dict({"name": "x", "momentum": 1})
    with pytest.raises(AscentError, match="no name"):
        Preset.from_dict({"decay": 0.5})


def test_random_search_draws_within_its_ranges_and_depends_on_seed_and_index_alone() -> None:
    drawn = random_search(300, seed=5)
    assert drawn[:7] == random_search(7, seed=5)
    assert drawn[:7] != random_search(7, seed=6)
    ranges = {
        "decay": (1e-4, 0.5),
        "blur_sigma": (0.3, 1.5),
        "norm_percentile": (10, 95),
        "contribution_percentile": (10, 95),
    }
    for name, (low, high) in ranges.items():
        values = [getattr(preset, name) for preset in drawn]
        on = [value for value in values if value]
        assert 90 < len(on) < 210, name  # off in half of the draws
        assert low <= min(on) < low + 0.2 * (high - low), name
        assert max(on) <= high, name
        assert max(on) > low + 0.7 * (high - low), name
    assert {preset.blur_every for preset in drawn} == set(range(1, 11))
    with pytest.raises(AscentError, match="1 or more"):
        random_search(0, seed=0)
