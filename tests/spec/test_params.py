"""Parameters: validation names key, value and limit; TOML and presets; the configuration hash."""

import dataclasses

import pytest

from rtl.spec.params import PRESETS, ConfigError, Params, clog2

#: The least that a configuration with converters says.
ADC = {"readout": "adc", "adc_bits": 5, "adcs": 8}


@pytest.mark.parametrize(
    ("value", "bits"), [(1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (256, 8), (257, 9)]
)
def test_clog2(value, bits):
    assert clog2(value) == bits


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_valid(name):
    params = Params.load(name)
    assert params.as_dict() == {**Params().as_dict(), **PRESETS[name]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": 0}, r"^rows: 0 is outside 2\.\.2048$"),
        ({"rows": 4096}, r"^rows: 4096 is outside"),
        ({"cols": 1}, r"^cols: 1 is outside"),
        ({"rows": "256"}, r"^rows: '256' must be an integer$"),
        ({"rows": 256.0}, r"^rows: 256\.0 must be an integer$"),
        ({"tiles": True}, r"^tiles: True must be an integer$"),
        ({"tree": 3}, r"^tree: 3 must be a string$"),
        ({"tree": "wallace"}, r"^tree: 'wallace' is not one of shared, full$"),
        ({"weight_bits": 3}, r"^weight_bits: 3 is not one of 2, 4, 8$"),
        ({"act_bits": 16}, r"^act_bits: 16 is not one of"),
        ({"act_bits": 4, "dac_bits": 8}, r"^dac_bits: 8 does not divide act_bits = 4$"),
        ({"drain_ports": 3}, r"^drain_ports: 3 is not one of"),
        ({"readout": "analog"}, r"^readout: 'analog' is not one of digital, adc$"),
        ({"readout": "adc"}, r"^adc_bits: 0 is outside 1\.\.12$"),
        ({"readout": "adc", "adc_bits": 13}, r"^adc_bits: 13 is outside"),
        ({"readout": "adc", "adc_bits": 5}, r"^adcs: 0 is outside 1\.\.256$"),
        ({**ADC, "adcs": 257}, r"^adcs: 257 is outside 1\.\.256$"),
        ({**ADC, "dac_bits": 2}, r"^dac_bits: 2 must be 1 with readout = 'adc'$"),
        ({**ADC, "adc_settle": -1}, r"^adc_settle: -1 is outside"),
        ({**ADC, "adc_cycles_per_bit": 65}, r"^adc_cycles_per_bit: 65 is outside"),
        ({"adc_bits": 5}, r"^adc_bits: 5 needs readout = 'adc'$"),
        ({"adcs": 5}, r"^adcs: 5 needs readout = 'adc'$"),
        ({"adc_settle": 5}, r"^adc_settle: 5 needs readout = 'adc'$"),
        ({"adc_cycles_per_bit": 2}, r"^adc_cycles_per_bit: 2 needs readout = 'adc'$"),
        ({"granule": 48}, r"^granule: 48 does not divide rows = 256$"),
        ({"lanes": 48}, r"^granule: 32 does not divide lanes = 48$"),
        ({"lanes": 512}, r"^lanes: 512 is above the limit cols = 256$"),
        (
            {"rows": 8, "cols": 8, "granule": 2, "lanes": 2},
            r"^lanes: 2 must be a multiple of 4 \(int32 output\)$",
        ),
        ({"granule": 2, "lanes": 32}, r"^granule: 2 gives 128 row_groups, limit 64$"),
        ({"chunk": 3}, r"^chunk: 3 does not divide 8"),
        ({"chunk": -1}, r"^chunk: -1 does not divide"),
        ({"stream_width": 100}, r"^stream_width: 100 does not divide lanes \* act_bits = 256$"),
        ({"stream_width": -8}, r"^stream_width: -8 does not divide"),
        ({"prog_depth": 0}, r"^prog_depth: 0 is outside"),
        ({"bogus": 1}, r"^bogus: unknown parameter$"),
    ],
)
def test_init_wrong_value_is_named(changes, message):
    with pytest.raises(ConfigError, match=message):
        Params().replace(**changes)


@pytest.mark.parametrize("name", PRESETS)
def test_derived_values_fit_together(name):
    p = Params.load(name)
    assert p.row_groups * p.granule == p.rows
    assert p.col_groups * p.granule == p.cols
    assert p.slots * p.granule == p.lanes
    assert p.beats_per_word * p.stream_bits == p.word_bits == p.lanes * p.act_bits
    assert p.const_words * p.word_bits == 64 * p.lanes
    assert p.raw_elements * p.act_bits == 32
    assert p.row_groups % p.drain_chunk == p.col_groups % p.drain_chunk == 0
    largest = p.rows << (p.act_bits + p.weight_bits - 2)
    assert -(1 << (p.acc_bits - 1)) <= largest < 1 << (p.acc_bits - 1)


@pytest.mark.parametrize("name", PRESETS)
def test_toml_round_trip(name, tmp_path):
    params = Params.load(name)
    path = tmp_path / "p.toml"
    path.write_text(params.to_toml())
    assert Params.from_toml(path) == params
    assert Params.load(str(path)) == params


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rows = ", r"p\.toml: "),
        ("rows = 100", r"p\.toml: granule: 32 does not divide rows = 100"),
        ("bogus = 1", r"p\.toml: bogus: unknown parameter"),
        ("rows = [1]", r"p\.toml: rows: \[1\] must be an integer"),
        ("[rows]\na = 1", r"p\.toml: rows: .* must be an integer"),
    ],
)
def test_toml_errors_name_file_and_key(text, message, tmp_path):
    path = tmp_path / "p.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as error:
        Params.from_toml(path)
    assert "\n" not in str(error.value)


def test_toml_missing_or_unreadable(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.toml: no such file"):
        Params.load(str(tmp_path / "none.toml"))
    with pytest.raises(ConfigError, match=r"directory"):
        Params.from_toml(tmp_path)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"binary\.toml: "):
        Params.from_toml(tmp_path / "binary.toml")


def test_unknown_preset_lists_presets():
    with pytest.raises(ConfigError, match=r"'huge' is neither a TOML file nor a preset.*tiny"):
        Params.load("huge")


#: For each parameter, a value that differs from the default and is valid with it.
OTHER = {
    "rows": 128, "cols": 128, "granule": 16, "weight_bits": 4, "act_bits": 4, "dac_bits": 2,
    "tree": "full", "tiles": 2, "cores": 2, "lanes": 64, "drain_ports": 2, "issue_cycles": 2, "busy_counters": 0,
    "requantisers": 8, "multiply_cycles": 4, "chunk": 4,
    "act_depth": 512, "const_depth": 512, "prog_depth": 512, "stream_width": 128,
}  # fmt: skip


#: The same for what only configurations with converters have.
OTHER_ADC = {"adc_bits": 6, "adcs": 9, "adc_settle": 1, "adc_cycles_per_bit": 2}


def test_hash_depends_on_every_parameter():
    assert {*OTHER, *OTHER_ADC, "readout"} == {f.name for f in dataclasses.fields(Params)}
    hashes = {Params().replace(**{name: value}).config_hash for name, value in OTHER.items()}
    analog = Params(**ADC)
    hashes |= {analog.replace(**{name: value}).config_hash for name, value in OTHER_ADC.items()}
    hashes |= {Params().config_hash, analog.config_hash}
    assert len(hashes) == len(OTHER) + len(OTHER_ADC) + 2
    assert all(0 <= h < 1 << 32 for h in hashes)


def test_hash_of_digital_configurations_is_that_of_released_programs():
    assert Params().config_hash == 0x6CAB00B6
    assert Params.load("gpt2-medium").config_hash == 0x7A157A61


def test_columns_take_turns_at_the_converters():
    assert Params().plane_cycles(256) == 1
    p = Params(**ADC)
    assert [p.plane_cycles(n) for n in (0, 1, 8, 9, 256)] == [4, 9, 9, 14, 164]
    assert p.replace(adc_settle=1, adc_cycles_per_bit=3).plane_cycles(9) == 1 + 2 * 15


def test_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Params().rows = 1  # pyright: ignore[reportAttributeAccessIssue]
