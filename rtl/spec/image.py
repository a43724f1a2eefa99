"""The image: a program and its data in one block of memory, for the C driver and everything that has no files.

32-bit words, little endian: `HEADER` in order, then the sections one after the other, each as many words as its header
field says. `boot` loads constants and weights through the front door (LDC, LDW, HALT) from `boot_input`; then `program`
takes `input` and gives `output` (the golden model's, for a self-check).
"""

from .params import ConfigError, Params

#: First word of an image: "BCIM" read as little endian, then the version of this format.
MAGIC, VERSION = 0x4D494342, 1

#: Words of the header: name and meaning.
HEADER: tuple[tuple[str, str], ...] = (
    ("magic", "MAGIC"),
    ("version", "VERSION"),
    ("config_hash", "configuration that the hardware must have"),
    ("words", "words of the whole image, header included"),
    ("sum", "sum of all words behind the header, modulo 2^32"),
    ("length", "value of register LEN"),
    (
        "cycles",
        "cycles of `program` as the cycle model says, when input and output never wait; 0: unknown",
    ),
    ("instruction", "words of an instruction; both programs are whole instructions"),
    ("boot", "words of the boot program, low word of an instruction first; 0: nothing to load"),
    ("boot_input", "words of its input stream"),
    ("program", "words of the program"),
    ("input", "words of its input stream"),
    ("output", "words of the expected output stream"),
)

#: The header fields that are lengths of sections, in the order of the sections.
SECTIONS = ("boot", "boot_input", "program", "input", "output")


def beat_words(params: Params) -> int:
    """32-bit words of a stream beat. Raises `ConfigError` if there is no whole number of them."""
    words, rest = divmod(params.stream_bits, 32)
    if rest:
        raise ConfigError(
            f"stream_width: beats of {params.stream_bits} bits, on a bus they must be a multiple of 32"
        )
    return words
