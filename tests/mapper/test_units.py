"""Quantities: what adds up, what multiplies to what, what is no unit."""

import pytest

from mapper.units import Quantity, UnitError


def test_prefixes():
    assert Quantity.of(2500, "pJ").to("nJ") == pytest.approx(2.5)
    assert Quantity.of(1, "ms").to("us") == pytest.approx(1000)


def test_prefixes_below_the_line():
    assert Quantity.of(3, "nJ/us").to("mW") == pytest.approx(3)


def test_time_does_not_add_to_energy():
    with pytest.raises(UnitError, match="s and J do not add up"):
        Quantity.of(1, "ns") + Quantity.of(1, "nJ")
    with pytest.raises(UnitError, match="J/bit and J/mac do not add up"):
        Quantity.of(1, "pJ/bit") + Quantity.of(1, "pJ/mac")


def test_like_adds_to_like():
    assert (Quantity.of(1, "nJ") + Quantity.of(500, "pJ")).to("nJ") == pytest.approx(1.5)


def test_a_price_times_a_count_is_an_energy():
    energy = Quantity.of(3, "pJ/mac") * Quantity.of(1000, "mac")
    assert energy.to("nJ") == pytest.approx(3)


def test_power_times_time_is_an_energy():
    energy = Quantity.of(2, "mW/array") * Quantity.of(5, "array") * Quantity.of(10, "us")
    assert energy.to("nJ") == pytest.approx(100)
    assert energy.measures("fJ") and not energy.measures("W")


def test_a_quantity_is_not_told_in_another_unit():
    with pytest.raises(UnitError, match="J and s do not add up"):
        Quantity.of(1, "nJ").to("ns")


@pytest.mark.parametrize("unit", ["", "kJ ", "Mac", "pJ/", "/bit", "pJ/bit/bit", "3"])
def test_what_is_no_unit(unit):
    with pytest.raises(UnitError, match="is no unit, such as"):
        Quantity.of(1, unit)


def test_in_words():
    assert str(Quantity.of(2, "mW/array")) == "0.002 J/s/array"
