"""Instructions: decode inverts encode, ranges are checked, text assembles back to itself."""

import copy
import pickle
import random

import pytest

from rtl.spec import isa
from rtl.spec.isa import Error, Op
from rtl.spec.params import PRESETS, ConfigError, Params

CONFIGS = {
    **{name: Params.load(name) for name in PRESETS},
    "one-group": Params(rows=32, cols=32, granule=32, lanes=32),
    "oblong": Params(rows=64, cols=256, granule=16, lanes=64, tiles=5, chunk=2),
    "full-4bit": Params(rows=128, cols=64, act_bits=4, weight_bits=4, tree="full", tiles=3),
    "many-tiles": Params(tiles=1000, cores=64, drain_ports=4, prog_depth=1 << 20),
}

configs = pytest.mark.parametrize("params", CONFIGS.values(), ids=CONFIGS)
ops = pytest.mark.parametrize("op", Op, ids=lambda op: op.name)


def counted(field: isa.Field) -> bool:
    """Whether the field holds a tuple; a property of the format, not of the configuration."""
    return any(field.count(p) != 1 for p in CONFIGS.values())


def random_fields(op: Op, params: Params, rng: random.Random) -> dict:
    fields = {}
    for field in isa.FORMATS[op]:
        bits = field.width(params)
        values = tuple(rng.getrandbits(bits) for _ in range(field.count(params)))
        fields[field.name] = values if counted(field) else values[0]
    return fields


@configs
@ops
@pytest.mark.parametrize("seed", range(5))
def test_decode_inverts_encode(op, params, seed):
    fields = random_fields(op, params, random.Random(seed))
    word = isa.encode(isa.make(op, **fields), params)
    assert 0 <= word < 1 << isa.width(params)
    decoded = isa.decode(word, params)
    assert decoded.op is op
    assert decoded.fields == fields
    assert isa.encode(decoded, params) == word


@configs
@ops
@pytest.mark.parametrize("seed", range(5))
def test_text_round_trip(op, params, seed):
    instr = isa.make(op, **random_fields(op, params, random.Random(seed)))
    again = isa.from_text(isa.to_text(instr), params)
    assert isa.encode(again, params) == isa.encode(instr, params)


@configs
@ops
def test_fields_do_not_overlap(op, params):
    used = (1 << isa.OP_BITS) - 1
    for name, (at, size) in isa.offsets(op, params).items():
        mask = ((1 << size) - 1) << at
        assert size > 0, name
        assert not used & mask, name
        used |= mask
    assert used < 1 << isa.width(params)
    assert len(isa.offsets(op, params)) == len(isa.FORMATS[op])


@configs
@ops
def test_offsets_are_where_encode_puts_fields(op, params):
    empty = isa.encode(isa.make(op), params)
    for field in isa.FORMATS[op]:
        at, size = isa.offsets(op, params)[field.name]
        ones = (1 << field.width(params)) - 1
        value = (ones,) * field.count(params) if counted(field) else ones
        word = isa.encode(isa.make(op, **{field.name: value}), params)
        assert word ^ empty == ((1 << size) - 1) << at


@configs
def test_width_is_a_multiple_of_32(params):
    assert isa.width(params) % 32 == 0


@configs
@ops
def test_value_out_of_range_names_field_value_and_limit(op, params):
    for field in isa.FORMATS[op]:
        bits = field.width(params)
        for bad in (1 << bits, -1):
            value = (bad,) * field.count(params) if counted(field) else bad
            with pytest.raises(ConfigError) as error:
                isa.encode(isa.make(op, **{field.name: value}), params)
            expected = f"{op.name}: {field.name} = {bad} does not fit {bits} bits"
            assert str(error.value).startswith(expected)
            assert f"limit {(1 << bits) - 1}" in str(error.value)


def test_wrong_number_of_values():
    params = CONFIGS["default"]
    with pytest.raises(ConfigError, match="PASS: sel needs 8 values, has 2"):
        isa.encode(isa.make(Op.PASS, sel=(0, 1)), params)


def test_unknown_field():
    with pytest.raises(ConfigError, match="SEND: unknown field 'sel'"):
        isa.make(Op.SEND, sel=1)


@configs
def test_unknown_opcodes_do_not_decode(params):
    for code in set(range(1 << isa.OP_BITS)) - set(Op):
        with pytest.raises(ConfigError, match=f"opcode {code} is unknown or reserved"):
            isa.decode(code, params)


def test_reserved_opcodes_stay_free():
    assert not set(Op) & set(range(16, 28))


@configs
def test_diag_and_all(params):
    instr = isa.from_text("PASS mask=all sel=diag(1)", params)
    h = params.col_groups
    assert instr.mask == (1,) * h
    assert instr.sel == tuple((i + 1) % params.row_groups for i in range(h))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("JUMP pc=1", "line 3: JUMP: unknown instruction"),
        ("SEND addr", "line 3: SEND: cannot read 'addr'"),
        ("SEND addr=-1", "line 3: SEND: cannot read 'addr=-1'"),
        ("SEND addr=0x10", "line 3: SEND: cannot read"),
        ("SEND bogus=1", "line 3: SEND: unknown field 'bogus'"),
    ],
)
def test_assembler_errors_name_line_and_token(line, message):
    with pytest.raises(ConfigError, match=message):
        isa.assemble(f"# comment\nNOP\n{line}\n", Params())


@pytest.mark.parametrize("seed", range(3))
def test_listing_assembles_back(seed):
    params, rng = CONFIGS["oblong"], random.Random(seed)
    program = [isa.make(op, **random_fields(op, params, rng)) for op in rng.choices(list(Op), k=50)]
    again = isa.assemble(isa.listing(program), params)
    assert [isa.encode(i, params) for i in again] == [isa.encode(i, params) for i in program]


def test_instr_attributes():
    instr = isa.make(Op.SEND, addr=3)
    assert instr.addr == 3
    with pytest.raises(AttributeError, match="SEND has no field 'sel'"):
        _ = instr.sel


def test_instr_copies_and_pickles():
    instr = isa.make(Op.SEND, addr=3)
    assert copy.deepcopy(instr) == copy.copy(instr) == pickle.loads(pickle.dumps(instr)) == instr


def test_everything_is_documented():
    assert set(isa.FORMATS) == set(isa.DOCS) == set(Op)
    for fields in isa.FORMATS.values():
        assert all(f.doc for f in fields)
        assert len({f.name for f in fields}) == len(fields)
    assert sorted(Error) == list(range(len(Error)))
