"""Numbers as people read them."""

import pytest

from dashboard.numbers import words


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.0, "0"),
        (0.33412, "0.334"),
        (-0.00123, "-0.00123"),
        (18.46, "18.5"),
        (4.0, "4"),
        (99.96, "100"),
        (1130.4, "1,130"),
        (-425321.7, "-425,322"),
        (2.5e-5, "2.50e-05"),
        (1.25e7, "1.25e+07"),
        (float("nan"), "not a number"),
        (float("inf"), "not a number"),
    ],
)
def test_numbers_have_three_digits_that_count(value: float, said: str) -> None:
    assert words(value) == said
