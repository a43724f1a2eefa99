"""Costs: invariants of energy and time, the two tables that come along, and price files that are wrong."""

import dataclasses

import pytest

from mapper import cost as costs
from mapper.cost import Price, Table, cost, load
from mapper.events import BITS, MEANINGS, NOUNS, Events
from rtl.spec.isa import width
from rtl.spec.params import ConfigError, Params

P = Params.load("gpt2-medium")
DIGITAL = load("digital-sram")
#: A different count of everything.
RUN = Events(**{name: 1000 * (n + 1) for n, name in enumerate(NOUNS)})


def with_clock(table: Table, factor: float) -> Table:
    clock = Price(table.time["clock"].quantity * factor, "test")
    return dataclasses.replace(table, time={**table.time, "clock": clock})


def scaled(events: Events, factor: float) -> Events:
    return Events(**{name: int(count * factor) for name, count in events.as_dict().items()})


def nano(costs_by_name) -> dict[str, float]:
    return {name: energy.to("nJ") for name, energy in costs_by_name.items()}


def analog(bits: int = 5) -> Params:
    """Parameters of an analog array, whatever `Params` makes of them so far."""
    made = Params.load("gpt2-medium")
    for name, value in {"readout": "adc", "adc_bits": bits, "adcs": 8}.items():
        object.__setattr__(made, name, value)
    return made


def test_dynamic_energy_knows_no_clock():
    slow, fast = cost(RUN, with_clock(DIGITAL, 10), P), cost(RUN, DIGITAL, P)
    assert nano(slow.dynamic) == nano(fast.dynamic)
    assert slow.time.to("ns") == pytest.approx(10 * fast.time.to("ns"))
    assert slow.energy.to("nJ") > fast.energy.to("nJ")


def test_half_the_work_costs_half():
    whole, half = cost(RUN, DIGITAL, P), cost(scaled(RUN, 0.5), DIGITAL, P)
    assert half.energy.to("nJ") == pytest.approx(whole.energy.to("nJ") / 2)
    assert half.time.to("ns") == pytest.approx(whole.time.to("ns") / 2)


def test_no_work_costs_leakage_alone():
    idle = cost(Events(cycles=1000), DIGITAL, P)
    assert set(nano(idle.dynamic).values()) == {0.0}
    # 20 arrays of 50 uW and a core of 430 uW for 2 us.
    assert idle.energy.to("nJ") == pytest.approx((20 * 50e-6 + 430e-6) * 2000)
    assert idle.unpriced == ()


def test_energy_is_the_sum_of_its_breakdown():
    found = cost(RUN, DIGITAL, P)
    assert found.energy.to("nJ") == pytest.approx(sum(nano(found.breakdown).values()))
    told = found.as_dict()
    assert told["energy_nj"] == pytest.approx(sum(told["breakdown_nj"].values()))
    assert told["energy_nj"] == pytest.approx(told["dynamic_nj"] + told["leakage_nj"])


@pytest.mark.parametrize("name", sorted(DIGITAL.energy))
def test_twice_the_price_adds_the_share_of_its_item(name):
    double = Price(DIGITAL.energy[name].quantity * 2, "test")
    dearer = dataclasses.replace(DIGITAL, energy={**DIGITAL.energy, name: double})
    before, after = cost(RUN, DIGITAL, P), cost(RUN, dearer, P)
    share = before.breakdown[name].to("nJ")
    assert share > 0
    assert after.energy.to("nJ") - before.energy.to("nJ") == pytest.approx(share, rel=1e-6)


def test_prices_by_bit():
    """Items by hand: a price in bits counts the bits of its things."""
    found = nano(cost(Events(buffer_reads=3, const_reads=2, instructions=5), DIGITAL, P).dynamic)
    assert found["buffer_reads"] == pytest.approx(3 * 128 * 8 * 0.049e-3)
    assert found["const_reads"] == pytest.approx(2 * 128 * 64 * 0.049e-3)
    assert found["instructions"] == pytest.approx(5 * width(P) * 0.049e-3)


def test_array_energy_is_that_of_the_silicon():
    """89 TOPS/W at 4 x 4 bits, two operations a MAC."""
    found = cost(Events(bit_macs=16 * 10**6), DIGITAL, P).energy.to("nJ")
    assert 2 * 10**6 / (found * 1e-9) == pytest.approx(89e12, rel=1e-3)


def test_events_without_a_price_are_named():
    table = dataclasses.replace(
        DIGITAL, energy={"macs": Price(DIGITAL.energy["drained"].quantity, "")}
    )
    bare = dataclasses.replace(DIGITAL, energy={})
    run = Events(cycles=9, macs=4, bit_macs=256, drained=2, stream_in=1)
    assert cost(run, bare, P).unpriced == ("passes", "drains", "stream_in")
    priced = dataclasses.replace(table, energy={"bit_macs": DIGITAL.energy["bit_macs"]})
    assert cost(run, priced, P).unpriced == ("drains", "stream_in")


def test_analog_table():
    """10 nJ an MVM of a whole array, the published energies of converters, 1e-5 nJ a bit."""
    table = load("analog-pcm")
    run = Events(cycles=100, macs=256 * 256, adc_conversions=1000, stream_in=1)
    for bits, picojoules in {3: 0.541, 4: 0.457, 5: 0.463, 6: 0.527, 8: 0.847}.items():
        found = nano(cost(run, table, analog(bits)).dynamic)
        assert found["macs"] == pytest.approx(10, rel=1e-4)
        assert found["adc_conversions"] == pytest.approx(picojoules)
        assert found["stream_in"] == pytest.approx(1024e-5)
    assert table.cycles("mvm") == 100 and table.cycles("communication") == 10
    assert with_clock(table, 3).cycles("mvm") == 34
    assert all(with_clock(table, 100 / n).cycles("mvm") == n for n in range(1, 200))


def test_converters_need_a_price_of_their_resolution():
    with pytest.raises(ConfigError, match=r"analog-pcm: energy.adc_conversions.7: is missing"):
        cost(RUN, load("analog-pcm"), analog(7))


def test_a_table_is_for_one_kind_of_readout():
    with pytest.raises(ConfigError, match="prices of 'adc' do not fit a program of 'digital'"):
        cost(RUN, load("analog-pcm"), P)


def test_a_time_that_a_table_lacks():
    with pytest.raises(ConfigError, match=r"digital-sram: time.mvm: is missing"):
        DIGITAL.cycles("mvm")


@pytest.mark.parametrize("name", costs.DEFAULTS.values())
def test_every_number_has_a_source_and_its_assumptions_are_called_so(name):
    table = load(name)
    prices = {**table.time, **table.energy, **table.power}
    told = ("assumption", "Horowitz", "simulator", "Accelergy", "silicon", "as stream_in")
    for key, price in prices.items():
        assert any(word in price.source for word in told), key


def test_every_event_is_described():
    assert all(MEANINGS.values()) and set(BITS) == set(NOUNS)
    assert Events.from_dict(RUN.as_dict()) == RUN
    with pytest.raises(ConfigError, match="events: 'heat' is unknown"):
        Events.from_dict({"heat": 1})


GOOD = """\
readout = "digital"
[time.clock]
value = 1
unit = "ns"
source = "test"
[energy.macs]
value = 2.0
unit = "pJ/mac"
source = "test"
"""


def test_a_file_of_ones_own(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(GOOD)
    found = cost(Events(macs=500, cycles=7), load(path), P)
    assert found.energy.to("nJ") == pytest.approx(1) and found.time.to("ns") == pytest.approx(7)
    assert found.table == str(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('unit = "pJ/mac"\n', "", "energy.macs.unit: is missing"),
        ('source = "test"\n[energy', "[energy", "time.clock.source: is missing"),
        ("value = 2.0\n", "", "energy.macs.value: is missing"),
        ("pJ/mac", "ns/mac", "energy.macs.unit: 'ns/mac' does not measure J/mac"),
        ("pJ/mac", "pJ/bit", "energy.macs.unit: 'pJ/bit' does not measure J/mac"),
        ("pJ/mac", "pJ", "energy.macs.unit: 'pJ' does not measure J/mac"),
        ("pJ/mac", "PJ/mac", "energy.macs.unit: 'PJ/mac' is no unit"),
        ('"pJ/mac"', "3", "energy.macs.unit: 3 must be a unit of J/mac"),
        ('"ns"', '"nJ"', "time.clock.unit: 'nJ' does not measure s"),
        ("value = 1", "value = 0", "time.clock.value: 0 is no period"),
        ("2.0", "-2.0", "energy.macs.value: -2.0 must be a number, at least 0"),
        ("2.0", '"2"', "energy.macs.value: '2' must be a number, at least 0"),
        ("2.0", "nan", "energy.macs.value: nan must be a number, at least 0"),
        ("value = 2.0", "value = 2.0\nyear = 3", "energy.macs.year: unknown key"),
        (
            "energy.macs",
            "energy.macks",
            "energy.macks: unknown key, not one of instructions, passes",
        ),
        ("energy.macs", "power.macs", "power.macs: unknown key, not one of array, core"),
        ("energy.macs", "heat.macs", "heat: unknown key"),
        ("time.clock", "time.mvm", "time.clock: is missing"),
        ('"digital"', '"optical"', "readout: 'optical' is not one of digital, adc"),
        ('readout = "digital"\n', "", "readout: is missing"),
        (
            "[energy.macs]",
            "[energy]\nmacs = 3\n[energy.drains]",
            "energy.macs: must have value, unit",
        ),
        ("[energy.macs]", "[energy.adc_conversions]", "energy.adc_conversions.value: unknown key"),
        ("[time", "power = 3\n[time", "power: must be a table of entries"),
        ("= 2.0", "=", "Invalid value"),
    ],
)
def test_wrong_files_give_one_line(tmp_path, old, new, message):
    path = tmp_path / "file.toml"
    assert GOOD.count(old) >= 1
    path.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(ConfigError) as error:
        load(path)
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)
    assert message in str(error.value)


def test_a_table_that_is_nowhere(tmp_path):
    with pytest.raises(
        ConfigError, match="'gold' is neither a TOML file nor one of analog-pcm, digital-sram"
    ):
        load("gold")
    with pytest.raises(ConfigError, match=r"no.toml: no such file"):
        load(tmp_path / "no.toml")
