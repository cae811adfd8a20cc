"""Tags: spans are seqeval's, repairs and conversions keep them, decoding is exact, real files are what they say."""

import itertools
import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import IOB1, IOB2, IOBES, Entities

from clozelm.errors import DataError, ModelError
from clozelm.tasks.tags import Scheme, Span, check, convert, decode, detect, legal, mark, repair, spans, spelled

SCHEMES: tuple[Scheme, ...] = get_args(Scheme)
LETTERS = {"BIO": "BI", "IOB1": "BI", "BIOES": "BIES", "BILOU": "BILU", "IO": "I"}
STRICT = {"BIO": IOB2, "BIOES": IOBES}
TYPES = ("X", "Y", "a-b")


def tags_of(scheme: Scheme, types: tuple[str, ...] = TYPES) -> list[str]:
    return ["O", *(f"{letter}-{name}" if name else letter for name in types for letter in LETTERS[scheme])]


@st.composite
def scheme_and_tags(draw: st.DrawFn) -> tuple[Scheme, list[str]]:
    scheme = draw(st.sampled_from(SCHEMES))
    return scheme, draw(st.lists(st.sampled_from(tags_of(scheme, (*TYPES, ""))), max_size=9))


@st.composite
def sentence_spans(draw: st.DrawFn) -> tuple[list[Span], int]:
    length, place, found = draw(st.integers(0, 10)), 0, []
    while place < length:
        stop = draw(st.integers(place + 1, length))
        if draw(st.booleans()):
            found.append(Span(draw(st.sampled_from((*TYPES, ""))), place, stop))
        place = stop
    return found, length


@given(scheme_and_tags())
def test_spans_are_those_of_seqeval(case: tuple[Scheme, list[str]]) -> None:
    scheme, tags = case
    read = spelled(tags, "BIOES")  # seqeval's default mode knows no L and no U
    ours = [(span.type or "_", span.start, span.stop - 1) for span in spans(tags, scheme)]
    assert ours == get_entities(read)


@given(scheme_and_tags())
def test_strict_spans_are_those_of_seqeval(case: tuple[Scheme, list[str]]) -> None:
    scheme, tags = case
    reading = STRICT.get("BIOES" if scheme == "BILOU" else scheme)
    if reading is None:
        assert spans(tags, scheme, strict=True) == spans(tags, scheme)
        return
    theirs = Entities([spelled(tags, "BIOES")], reading).entities[0] if tags else []
    ours = [(span.type or "_", span.start, span.stop) for span in spans(tags, scheme, strict=True)]
    assert ours == [(each.tag, each.start, each.end) for each in theirs]


@given(scheme_and_tags())
def test_a_repair_is_legal_final_and_keeps_the_spans(case: tuple[Scheme, list[str]]) -> None:
    scheme, tags = case
    fixed, count = repair(tags, scheme)
    assert check([fixed], scheme) == {}
    assert spans(fixed, scheme) == spans(tags, scheme) == spans(fixed, scheme, strict=True)
    assert repair(fixed, scheme) == (fixed, 0)
    assert count == sum(old != new for old, new in zip(tags, fixed, strict=True))
    assert (count == 0) == (check([tags], scheme) == {})
    if count == 0:
        assert fixed == tags


@given(sentence_spans())
def test_schemes_are_different_writings_of_the_same(case: tuple[list[Span], int]) -> None:
    found, length = case
    for source, target in itertools.product(SCHEMES, SCHEMES):
        tags = mark(found, length, source)
        assert check([tags], source) == {}
        if source != "IO":
            assert spans(tags, source) == found
            assert convert(convert(tags, source, target), target, source) == tags or target == "IO"
        assert convert(tags, source, "IO") == mark(found, length, "IO")


def test_what_schemes_look_like() -> None:
    found = [Span("PER", 0, 2), Span("PER", 2, 3), Span("LOC", 3, 6)]
    written = {scheme: " ".join(mark(found, 7, scheme)) for scheme in SCHEMES}
    assert written == {
        "BIO": "B-PER I-PER B-PER B-LOC I-LOC I-LOC O",
        "IOB1": "I-PER I-PER B-PER I-LOC I-LOC I-LOC O",
        "BIOES": "B-PER E-PER S-PER B-LOC I-LOC E-LOC O",
        "BILOU": "B-PER L-PER U-PER B-LOC I-LOC L-LOC O",
        "IO": "I-PER I-PER I-PER I-LOC I-LOC I-LOC O",
    }
    merged = [Span("PER", 0, 3), Span("LOC", 3, 6)]
    assert spans(written["IO"].split(), "IO") == merged


@given(sentence_spans())
def test_legal_iob1_is_read_as_seqeval_reads_it_strictly(case: tuple[list[Span], int]) -> None:
    tags = mark(*case, "IOB1")
    theirs = Entities([tags], IOB1).entities[0] if tags else []
    assert [(each.tag, each.start, each.end) for each in theirs] == [
        (s.type or "_", s.start, s.stop) for s in case[0]
    ]


@given(scheme_and_tags())
def test_the_masks_say_what_is_legal(case: tuple[Scheme, list[str]]) -> None:
    scheme, tags = case
    labels = tags_of(scheme, (*TYPES, ""))
    ids = np.array([labels.index(tag) for tag in tags], dtype=np.int64)
    assert legal(labels, scheme).allows(ids) == (check([tags], scheme) == {})


def test_illegal_places_are_counted_by_kind() -> None:
    assert check([["I-X", "I-X", "O", "I-X"], ["O", "I-X", "I-Y"]], "BIO") == {
        "I-X after O": 2,
        "I-X after the start": 1,
        "I-Y after I-X": 1,
    }
    assert check([["B-X"], ["S-X", "E-X"]], "BIOES") == {"the end after B-X": 1, "E-X after S-X": 1}
    assert check([["B-X", "I-X"]], "IOB1") == {"B-X after the start": 1}
    assert repair(["B-X", "I-Y", "E-Y", "I-X"], "BIOES") == (["S-X", "B-Y", "E-Y", "S-X"], 3)


@st.composite
def scored_words(draw: st.DrawFn) -> tuple[Scheme, list[str], np.ndarray]:
    scheme = draw(st.sampled_from(SCHEMES))
    labels = draw(st.permutations(tags_of(scheme, TYPES[:2])))
    words = draw(st.integers(1, 3 if len(labels) > 5 else 4))
    values = st.one_of(st.integers(-3, 0).map(float), st.just(-np.inf))  # ties, and what cannot be
    rows = st.lists(values, min_size=len(labels), max_size=len(labels))
    return scheme, labels, np.array(draw(st.lists(rows, min_size=words, max_size=words)))


@given(scored_words())
def test_decoding_finds_the_best_of_all_legal_sequences(case: tuple[Scheme, list[str], np.ndarray]) -> None:
    scheme, labels, log_probs = case
    rules, words = legal(labels, scheme), np.arange(len(log_probs))
    finite = np.maximum(log_probs, -1e9)
    sequences = map(np.array, itertools.product(range(len(labels)), repeat=len(words)))
    best = max(finite[words, each].sum() for each in sequences if rules.allows(each))
    found = decode(log_probs, labels, scheme)
    assert rules.allows(found)
    assert finite[words, found].sum() == best
    if rules.allows(finite.argmax(axis=1)):
        assert found.tolist() == finite.argmax(axis=1).tolist()


def test_decoding_corrects_a_word_by_its_neighbours() -> None:
    labels = ["O", "B-X", "I-X"]
    log_probs = np.log([[0.5, 0.4, 0.1], [0.1, 0.1, 0.8]])
    assert [labels[each] for each in decode(log_probs, labels, "BIO")] == ["B-X", "I-X"]
    assert decode(np.zeros((0, 3)), labels, "BIO").tolist() == []
    assert log_probs[0, 0] == np.log(0.5)


def test_what_cannot_be_decoded_is_said() -> None:
    with pytest.raises(DataError, match="No BIOES sequence of 1 words has the labels B-X, I-X alone"):
        decode(np.zeros((1, 2)), ["B-X", "I-X"], "BIOES")
    with pytest.raises(ModelError, match="not numbers"):
        decode(np.full((1, 2), np.nan), ["O", "B-X"], "BIO")
    with pytest.raises(DataError, match="'E-X' is none of BIO, whose letters are O, B, I"):
        legal(["O", "E-X"], "BIO")


@given(st.lists(sentence_spans(), min_size=1))
def test_the_scheme_is_recognised(sentences: list[tuple[list[Span], int]]) -> None:
    touching = ([Span("X", 0, 2), Span("X", 2, 4), Span("Y", 5, 6)], 6)  # without, IOB1 has no B
    for scheme in SCHEMES:
        assert detect([mark(*each, scheme) for each in (touching, *sentences)]) == scheme


@pytest.mark.parametrize(
    ("tags", "scheme"),
    [
        ("O O", "BIO"),
        ("B-X O B-Y", "BIO"),
        ("I-X O I-Y I-X", "IO"),
        ("I-X B-X", "IOB1"),
        ("S-X O", "BIOES"),
        ("U-X O", "BILOU"),
        ("B I O", "BIO"),
        ("B-X O " * 9 + "I-X", "BIO"),
        ("I-X O " * 9 + "B-X", "IOB1"),
    ],
)
def test_little_data_decides_too(tags: str, scheme: Scheme) -> None:
    assert detect([tags.split()]) == scheme


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ("O b-PER", "Sentence 1, word 2: tag 'b-PER' .*: the letter is a capital, as in 'B-PER'"),
        ("o", "capital letter O"),
        ("PER-B", "the letter stands first, before a hyphen, as in 'B-PER'"),
        ("B_PER", "before a hyphen, as in 'B-PER'"),
        ("b_per", "before a hyphen, as in 'B-per'"),
        ("NN", "a tag is O, or B, I, E, S, L or U with a hyphen and a type"),
        ("B-", "a tag is O, or"),
        ("", "a tag is O, or"),
        (
            "B-X O I-X",
            "1 entities begin with B and 1 with I .*: neither BIO nor IOB1; name it with --scheme",
        ),
        ("I-X E-X", "IOE is not read"),
        ("S-X U-X", "the letters of BIOES .* and of BILOU"),
    ],
)
def test_tags_that_leave_doubt_are_refused(tags: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        detect([tags.split(" ")])
    assert "\n" not in str(caught.value)


def test_an_error_names_the_place() -> None:
    with pytest.raises(DataError, match=r"^news\.txt:7, word 1: tag 'X' is of no scheme"):
        detect([["O"], ["X"]], sources=["news.txt:1", "news.txt:7"])


FILES = {
    "conll2002_es": ("BIO", "txt", -1),
    "conll2003_iob1": ("IOB1", "txt", -1),
    "uner_zh_gsdsimp": ("BIO", "iob2", 2),
    "wikiann_de": ("BIO", "conll", -1),
    "wikiann_en": ("BIO", "conll", -1),
    "wnut17": ("BIO", "conll", -1),
}


def sentences_of(path: Path, column: int) -> Iterator[list[str]]:
    with (lzma.open if path.suffix == ".xz" else open)(path, "rt", encoding="utf-8") as lines:
        for is_blank, group in itertools.groupby(lines, lambda line: not line.strip()):
            rows = [line.split() for line in group if not line.startswith(("# ", "-DOCSTART-"))]
            if not is_blank and rows:
                yield [row[column] for row in rows]


@pytest.mark.parametrize("name", FILES)
def test_real_files_are_what_they_say(shared: Path, name: str) -> None:
    scheme, suffix, column = FILES[name]
    folder = shared / "data" / "finetune" / "ner" / name
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    for part in ("train", "dev"):
        path = next(folder.glob(f"{part}.{suffix}*"))
        sentences = list(sentences_of(path, column))
        assert detect(sentences) == scheme
        illegal = sum(check(sentences, scheme).values())
        words = sum(map(len, sentences))
        assert illegal <= words / 500, f"{path.name}: {illegal} illegal places in {words} words"
        for tags in sentences[:500]:
            fixed, _ = repair(tags, scheme)
            assert convert(convert(fixed, scheme, "BIOES"), "BIOES", scheme) == fixed
