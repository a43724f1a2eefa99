"""The C header: compiles without a warning, and C reads the values that Python has."""

import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gen.describe import derived
from gen.header import header
from gen.regs import HEADERS, regs_header
from rtl.spec import image, isa, numeric, regmap, soc
from rtl.spec.params import ISA_VERSION, Params

ROOT = Path(__file__).parents[2]
CONFIGS = {
    "default": Params(),
    "tiny": Params.load("tiny"),
    "gpt2-medium": Params.load("gpt2-medium"),
    "full": Params(rows=64, cols=32, granule=32, lanes=32, tree="full", cores=3),
}
configs = pytest.mark.parametrize("params", CONFIGS.values(), ids=CONFIGS)

needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="apt-get install gcc")


def run_c(params: Params, body: str, tmp_path) -> list[str]:
    """Compile and run a main with `body`; the lines that it prints."""
    (tmp_path / "blockcim.h").write_text(header(params))
    for name, text in HEADERS.items():
        (tmp_path / name).write_text(text())
    source = tmp_path / "main.c"
    source.write_text(
        '#include "blockcim.h"\n#include "blockcim_soc.h"\n#include <inttypes.h>\n#include <stdio.h>\n'
        f"int main(void)\n{{\n{body}\n    return 0;\n}}\n"
    )
    program = tmp_path / "main"
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic"]
    subprocess.run(["gcc", *flags, str(source), "-o", str(program)], check=True)
    return subprocess.run([program], check=True, capture_output=True, text=True).stdout.split()


def expected_values(params: Params) -> dict[str, int]:
    """Name (without prefix) and value of what the header must define."""
    values = {n.upper(): v for n, v in params.as_dict().items() if isinstance(v, int)}
    values |= {name.upper(): value for name, (value, _) in derived(params).items()}
    values |= {"CONFIG_HASH": params.config_hash, "ID_VALUE": regmap.MAGIC}
    values |= {f"OP_{op.name}": op.value for op in isa.Op}
    values |= {f"ERROR_{error.name}": error.value for error in isa.Error}
    values |= {f"FAULT_{fault.name}": fault.value for fault in regmap.Fault}
    values |= {"PERIPHERAL_VERSION": regmap.PERIPHERAL_VERSION, "ISA_VERSION": ISA_VERSION}
    values |= register_values("", (*regmap.REGISTERS, *regmap.PERIPHERAL))
    values |= register_values("UART_", soc.UART) | register_values("TIMER_", soc.TIMER)
    values |= {"SOC_RAM": soc.RAM_BASE, "SOC_CORE": soc.CORE_BASE}
    values |= {"SOC_UART": soc.UART_BASE, "SOC_TIMER": soc.TIMER_BASE}
    values |= {"IMAGE_MAGIC": image.MAGIC, "IMAGE_VERSION": image.VERSION}
    values |= {f"IMAGE_WORD_{name.upper()}": at for at, (name, _) in enumerate(image.HEADER)}
    values |= {"INSTR_BITS": isa.width(params), "INSTR_WORDS": isa.width(params) // 32}
    for op, fields in isa.FORMATS.items():
        for field in fields:
            base = f"{op.name}_{field.name.upper()}"
            values[f"{base}_BIT"] = isa.offsets(op, params)[field.name][0]
            values[f"{base}_WIDTH"] = field.width(params)
            values[f"{base}_COUNT"] = field.count(params)
    for name, first, bits in numeric.CONST_FIELDS:
        values |= {f"CONST_{name.upper()}_BIT": first, f"CONST_{name.upper()}_WIDTH": bits}
    return values


def register_values(prefix: str, table: tuple[regmap.Register, ...]) -> dict[str, int]:
    values = {}
    for register in table:
        values[f"REG_{prefix}{register.name}"] = 4 * register.address
        for name, first, count, _ in register.bits:
            base = f"{prefix}{register.name}_{name.upper()}"
            values |= {f"{base}_SHIFT": first, f"{base}_MASK": ((1 << count) - 1) << first}
    return values


@needs_gcc
@configs
def test_values(params, tmp_path):
    values = expected_values(params)
    body = "\n".join(f'    printf("%" PRIu32 "\\n", (uint32_t)BLOCKCIM_{n});' for n in values)
    printed = map(int, run_c(params, body, tmp_path))
    assert dict(zip(values, printed, strict=True)) == values


@needs_gcc
@configs
@pytest.mark.parametrize("seed", range(2))
def test_c_encodes_like_python(params, seed, tmp_path):
    rng = random.Random(seed)
    body, words = ["    uint32_t w[BLOCKCIM_INSTR_WORDS];"], []
    for op in isa.Op:
        body.append("    for (unsigned i = 0; i < BLOCKCIM_INSTR_WORDS; i++) w[i] = 0;")
        body.append(f"    blockcim_put(w, 0, BLOCKCIM_OP_BITS, BLOCKCIM_OP_{op.name});")
        fields = {}
        for field in isa.FORMATS[op]:
            bits = field.width(params)
            base = f"BLOCKCIM_{op.name}_{field.name.upper()}"
            values = tuple(rng.getrandbits(bits) for _ in range(field.count(params)))
            fields[field.name] = values
            body += [
                f"    blockcim_put(w, {base}_BIT + {i}u * {base}_WIDTH, {base}_WIDTH, {v}u);"
                for i, v in enumerate(values)
            ]
        body.append(
            "    for (unsigned i = 0; i < BLOCKCIM_INSTR_WORDS; i++)"
            ' printf("%08" PRIx32 "\\n", w[i]);'
        )
        word = isa.encode(isa.Instr(op, fields), params)
        count = isa.width(params) // 32
        words += [f"{word >> 32 * i & 0xFFFFFFFF:08x}" for i in range(count)]
    assert run_c(params, "\n".join(body), tmp_path) == words


def texts(params: Params) -> str:
    return "\n".join([header(params), *(text() for text in HEADERS.values())])


@configs
def test_names_are_defined_once(params):
    names = re.findall(r"^#define (\w+)|^    (BLOCKCIM_\w+) =", texts(params), re.MULTILINE)
    flat = [a or b for a, b in names]
    assert len(flat) == len(set(flat))
    assert all(name.startswith("BLOCKCIM_") for name in flat)


def test_comments_do_not_nest():
    for comment in re.findall(r"/\*(.*?)\*/", texts(Params()), re.DOTALL):
        assert "/*" not in comment


@pytest.mark.parametrize("name", HEADERS)
def test_committed_headers_are_up_to_date(name):
    committed = (ROOT / "firmware/include" / name).read_text()
    assert committed == HEADERS[name](), "run: python -m gen.regs"


def test_regs_header_alone_compiles(tmp_path):
    assert '#include "' not in regs_header()
