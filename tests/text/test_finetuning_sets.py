"""The real sets: every one is read with the options anybody would give, and no row is lost or joined."""

import lzma
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from clozelm.errors import DataError
from clozelm.text.conll import read_tagged
from clozelm.text.label_checks import check_labels, label_counts, label_names
from clozelm.text.labelled import Examples, Wanted, read_examples
from clozelm.text.overlap import find_overlap, hold_out
from clozelm.text.record_files import TableForm

NO_HEADER = TableForm(header=False)
SETS: list[tuple[str, Wanted, TableForm, int, int]] = [
    ("sst2_glue/train.tsv.xz", Wanted(), TableForm(), 67349, 2),
    ("sst2_glue/dev.tsv", Wanted(), TableForm(), 872, 2),
    ("sst2_sentences/train.jsonl.xz", Wanted(), TableForm(), 6920, 2),
    ("sst5/train.jsonl.xz", Wanted(), TableForm(), 8544, 5),
    ("sst5/dev.jsonl", Wanted(), TableForm(), 1101, 5),
    ("imdb/train.jsonl.xz", Wanted(), TableForm(), 24999, 2),
    ("agnews10k/train.jsonl.xz", Wanted(), TableForm(), 10001, 4),
    ("trec/train.jsonl.xz", Wanted(), TableForm(), 5452, 6),
    ("trec/train.jsonl.xz", Wanted(label="fine"), TableForm(), 5452, 50),
    ("20newsgroups/train.jsonl.xz", Wanted(), TableForm(), 11314, 20),
    ("banking77/train.csv.xz", Wanted(), TableForm(), 10003, 77),
    ("goemotions_group/train.jsonl.xz", Wanted(problem="multi"), TableForm(), 43410, 4),
    ("sib200/eng_Latn/train.tsv", Wanted(), TableForm(), 701, 7),
    ("sib200/zho_Hans/dev.tsv", Wanted(), TableForm(), 99, 7),
    ("germeval2018_de/train.txt.xz", Wanted(["1"], "2"), NO_HEADER, 5009, 2),
    ("nsmc_rebuilt_ko/train.jsonl.xz", Wanted(), TableForm(), 80000, 2),
    ("spamassassin/train.jsonl.xz", Wanted(), TableForm(), 4836, 2),
    ("chnsenticorp_hotel_zh/train.jsonl.xz", Wanted(), TableForm(), 6212, 2),
    ("glue/CoLA/train.tsv.xz", Wanted(["4"], "2"), NO_HEADER, 8551, 2),
    ("glue/MRPC/train.tsv.xz", Wanted(), TableForm(), 3667, 2),
    ("glue/MRPC/dev.tsv", Wanted(["#1 String", "#2 String"], "Quality"), TableForm(), 408, 2),
    ("glue/RTE/train.tsv.xz", Wanted(), TableForm(), 2490, 2),
    ("glue/STS-B/train.tsv.xz", Wanted(problem="regression"), TableForm(), 5749, 0),
    ("glue/STS-B/dev.tsv", Wanted(problem="regression"), TableForm(), 1500, 0),
]
TAGGED = [
    ("conll2003_iob1/train.txt.xz", 14041, 946, 8),
    ("conll2003_iob1/dev.txt.xz", 3250, 216, 6),
    ("conll2002_es/dev.txt.xz", 1915, 1, 9),
    ("uner_zh_gsdsimp/dev.iob2", 500, 17, 7),
    ("wikiann_de/dev.conll.xz", 10000, 1, 7),
    ("wikiann_en/dev.conll.xz", 10000, 1, 7),
    ("wnut17/train.conll.xz", 3394, 1, 13),
    ("wnut17/dev.conll", 1009, 1, 13),
]


@pytest.fixture
def sets(shared: Path) -> Path:
    path = shared / "data" / "finetune"
    if not path.is_dir():
        pytest.skip(f"no fine-tuning sets at {path}")
    return path


def raw_lines(path: Path) -> list[bytes]:
    raw = lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()
    return raw.removesuffix(b"\n").split(b"\n")


@pytest.mark.parametrize(("name", "wanted", "form", "count", "num_labels"), SETS, ids=lambda value: str(value)[:40])
def test_every_row_of_a_set_is_read(
    sets: Path, name: str, wanted: Wanted, form: TableForm, count: int, num_labels: int
) -> None:
    found = read_examples(sets / name, wanted, form)
    assert len(found.examples) == count
    assert len(label_names(found.examples)) == num_labels
    check_labels(found.examples, None, wanted.problem, field=found.label_field)
    if "banking77" not in name:  # the one set with quoted line ends
        assert len(raw_lines(sets / name)) == count + (found.delimiter is not None and form.header)
        assert [int(each.source.rpartition(":")[2]) for each in found.examples] == sorted(
            int(each.source.rpartition(":")[2]) for each in found.examples
        )
    train, dev = hold_out(found.examples)
    assert len(train) + len(dev) == count
    assert 0.08 < len(dev) / count < 0.12


def test_quotes_that_do_not_quote_are_kept(sets: Path) -> None:
    found = read_examples(sets / "glue/MRPC/dev.tsv", Wanted())
    for line, example in zip(raw_lines(sets / "glue/MRPC/dev.tsv")[1:], found.examples, strict=True):
        assert list(example.record.values()) == line.decode().split("\t")


def test_quotes_that_quote_are_gone(sets: Path) -> None:
    texts = [each.texts[0] for each in read_examples(sets / "banking77/train.csv.xz", Wanted()).examples]
    assert "How do I know if I will get my card, or if it is lost?" in texts
    assert sum('"' in text for text in texts) < 30


@pytest.mark.parametrize("name", ["glue/CoLA/train.tsv.xz", "germeval2018_de/train.txt.xz"])
def test_a_missing_header_is_seen(sets: Path, name: str) -> None:
    with pytest.raises(DataError, match="--no-header"):
        read_examples(sets / name, Wanted())


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("imdb/train.jsonl.xz", {"label": "id"}, "24,999 different values in 24,999 records: no labels"),
        ("glue/STS-B/dev.tsv", {"label": "sentence1", "text": ["sentence2"]}, "no labels; .*'genre' has 3"),
        ("glue/STS-B/dev.tsv", {"label": "index"}, "but numbers"),
    ],
)
def test_a_field_that_is_no_label(sets: Path, name: str, options: dict[str, Any], said: str) -> None:
    found = read_examples(sets / name, Wanted(**options))
    with pytest.raises(DataError, match=said):
        check_labels(found.examples, None, "single", field=found.label_field)


def test_overlap_of_a_train_and_a_dev(sets: Path) -> None:
    def read(name: str) -> Examples:
        return read_examples(sets / name, Wanted())

    train, dev = read("sst2_glue/train.tsv.xz"), read("sst2_glue/dev.tsv")
    found = find_overlap(train.examples, dev.examples)
    assert not found.within_dev
    assert len(found.within_train) > 300
    assert len(found.across) < 10


@pytest.mark.parametrize(("name", "count", "documents", "num_tags"), TAGGED)
def test_every_sentence_is_read(sets: Path, name: str, count: int, documents: int, num_tags: int) -> None:
    path = sets / "ner" / name
    found = read_tagged(path).sentences
    assert len(found) == count
    assert len({each.document for each in found}) == documents
    assert len(label_counts(found)) == num_tags
    rows = [line.decode() for line in raw_lines(path)]
    rows = [row for row in rows if row.strip() and not row.startswith(("-DOCSTART-", "# "))]
    assert sum(len(each.words) for each in found) == len(rows)


def test_words_of_the_sets_are_those_of_the_files(sets: Path) -> None:
    wikiann = read_tagged(sets / "ner/wikiann_en/dev.conll.xz")
    assert wikiann.sentences[0].words[:4] == ("Sioux", "Falls", "Arena", "(")
    assert any(note.startswith("words after 'en:'") for note in wikiann.notes)
    uner = read_tagged(sets / "ner/uner_zh_gsdsimp/dev.iob2")
    assert uner.sentences[0].words[:3] == ("同样", "，", "施力")
    assert Counter(tag for each in uner.sentences for tag in each.tags or ())["B-LOC"] == 375
    assert [len(each.words) for each in read_tagged(sets / "ner/wnut17/dev.conll", labelled=False).sentences] == [
        len(each.words) for each in read_tagged(sets / "ner/wnut17/dev.conll").sentences
    ]
