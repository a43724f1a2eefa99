"""The register map: addresses, names and fields do not collide."""

from rtl.spec import regmap


def test_addresses_are_unique_and_dense():
    addresses = [r.address for r in regmap.REGISTERS]
    assert addresses == list(range(len(addresses)))
    assert max(addresses) < 1 << regmap.ADDRESS_BITS
    addresses = [r.address for r in regmap.PERIPHERAL]
    first = 1 << regmap.ADDRESS_BITS
    assert addresses == list(range(first, first + len(addresses)))
    assert max(addresses) < 1 << regmap.BUS_ADDRESS_BITS


def test_names_are_unique():
    assert len(regmap.BY_NAME) == len(regmap.REGISTERS)
    assert all(regmap.BY_NAME[r.name] is r for r in regmap.REGISTERS)
    assert len(regmap.ON_BUS) == len(regmap.REGISTERS + regmap.PERIPHERAL)


def test_fields_fit_and_do_not_overlap():
    for register in regmap.ON_BUS.values():
        used = 0
        for name, first, count, doc in register.bits:
            mask = ((1 << count) - 1) << first
            assert name.islower() and doc
            assert count > 0 and mask < 1 << 32 and not used & mask, (register.name, name)
            used |= mask


def test_access_and_documentation():
    for register in regmap.ON_BUS.values():
        assert register.access in ("ro", "rw", "wo")
        assert register.doc
        assert register.name.isupper()


def test_magic_is_ascii():
    assert regmap.MAGIC.to_bytes(4, "little") == b"BMIC"
