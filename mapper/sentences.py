"""Sentences for calibration and for runs, and their tokens."""

from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from rtl.spec.params import ConfigError

#: Ranges of activations come from these.
CALIBRATION = (
    "The train to the coast leaves at seven in the morning.",
    "She opened the letter slowly and read it twice.",
    "Prices of copper and nickel rose again last week.",
    "A memory array can multiply a vector by a matrix in place.",
    "Please send the signed contract before Friday.",
    "The children built a small boat out of cardboard.",
    "Rain is expected in the north, with strong winds at night.",
    "How many people live in the capital of Norway?",
    "The committee rejected the proposal by twelve votes to nine.",
    "He plays the violin, but his sister prefers the drums.",
    "Researchers found traces of water in the ancient rock.",
    "Mix the flour with two eggs and a little salt.",
    "The patient was given 40 mg of the drug every six hours.",
    "I have never seen such a beautiful sunset!",
    "An error occurred while the file was being copied.",
    "The company was founded in 1998 by three engineers.",
    "Most birds migrate south when the days grow shorter.",
    "Turn left at the church and follow the river.",
    "The judge asked the witness to repeat her answer.",
    "Why does bread become stale faster in the fridge?",
    "Their new album mixes jazz, folk and electronic music.",
    "The bridge was closed for repairs until further notice.",
    "Light travels about 300,000 kilometres in one second.",
    "My grandmother taught me how to knit.",
    "The goalkeeper saved a penalty in the last minute.",
    "Interest rates will probably stay low this year.",
    "A small dog followed us all the way home.",
    "The function returns the index of the largest element.",
    "Tickets are available online or at the entrance.",
    "Volcanic ash covered the fields around the village.",
    "They argued about politics until the restaurant closed.",
    "The museum shows paintings from the seventeenth century.",
)

#: Runs draw their tokens from these; none of them calibrates.
RUN = (
    "The old lighthouse keeper watched the storm move in from the sea.",
    "Compute in memory avoids moving weights between storage and logic.",
    "Could you tell me where the nearest pharmacy is?",
    "Two astronauts repaired the antenna during a six-hour spacewalk.",
    "The recipe needs fresh basil, tomatoes and a pinch of sugar.",
    "Voters went to the polls in record numbers on Sunday.",
    "He forgot his umbrella and arrived completely wet.",
    "The algorithm sorts a million numbers in less than a second.",
)


def load_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer of a `tokenizer.json`, without its padding and truncation.

    Raises `ConfigError` naming the file.
    """
    try:
        tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    # The library raises bare Exception for a file that it cannot parse.
    except Exception as error:
        raise ConfigError(f"{path}: not a tokenizer: {str(error).splitlines()[0]}") from None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def calibration_ids(tokenizer: Tokenizer) -> list[list[int]]:
    """Token ids of every calibration sentence."""
    return [tokenizer.encode(sentence).ids for sentence in CALIBRATION]


def run_ids(tokenizer: Tokenizer, tokens: int, seed: int) -> list[int]:
    """Exactly `tokens` ids: run sentences in seeded order between the start and end marks.

    Raises `ConfigError` when the tokenizer makes nothing of the sentences.
    """
    order = np.random.default_rng(seed).permutation(len(RUN))
    text = " ".join(RUN[n] for n in order)
    body = tokenizer.encode(text, add_special_tokens=False).ids
    if not body:
        raise ConfigError("tokenizer: it gives no tokens for an English sentence")
    body = (body * -(-tokens // len(body)))[:tokens]
    marks = tokenizer.encode("").ids
    if len(marks) != 2 or tokens < 2:
        return body
    return [marks[0], *body[: tokens - 2], marks[1]]


def random_ids(vocabulary: int, tokens: int, seed: int) -> list[list[int]]:
    """Seeded sequences of `tokens` random ids, for a checkpoint without a tokenizer.

    One to run and then as many as `CALIBRATION` has.
    """
    rng = np.random.default_rng(seed)
    return rng.integers(vocabulary, size=(1 + len(CALIBRATION), tokens)).tolist()
