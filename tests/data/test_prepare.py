"""The corpus pipeline: the store holds what the tokenizer says of the text, for any number of workers."""

import json
from pathlib import Path

import numpy as np
import pytest

from clozelm.cli.main import main
from clozelm.data.prepare import PrepareSettings, prepare, training_documents
from clozelm.data.store import TokenStore
from clozelm.data.workers import run_ordered
from clozelm.errors import DataError
from clozelm.settings import load
from clozelm.text.filters import FilterSettings
from clozelm.text.readers import documents
from clozelm.text.tokenizer import Tokenizer
from clozelm.text.train_tokenizer import train
from clozelm.vocab import ANNOTATED, SENTENCE_START, WORD_START

SENTENCES = [
    "The cat sat on the mat.",
    "Don't look now!",
    "Naïve cafés, 你好。世界",
    "A dog ran in the fog; it barked.",
]


@pytest.fixture(scope="module", params=["wordpiece", "bpe", "unigram"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return train(SENTENCES * 3, kind=request.param, vocab_size={"bpe": 290, "unigram": 40}.get(request.param, 50))[
        0
    ]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    blocks = [" ".join(rng.choice(SENTENCES, rng.integers(1, 40))) + f" {i}" for i in range(3000)]
    path = tmp_path / "corpus.txt"
    path.write_text("\n\n".join(blocks), encoding="utf-8")
    return path


def test_store_equals_encode_for_any_number_of_workers(tmp_path: Path, corpus: Path, tokenizer: Tokenizer) -> None:
    for workers in (1, 3):
        prepare([corpus], tokenizer, tmp_path / f"s{workers}", workers=workers)
    for file in (tmp_path / "s1").glob("*.bin"):
        assert file.read_bytes() == (tmp_path / "s3" / file.name).read_bytes()
    store = TokenStore.open(tmp_path / "s1", tokenizer)
    texts = [document.text for document in documents([corpus])]
    assert store.num_documents == len(texts) == 3000
    for index in (0, 1, 1500, 2999):
        ids, flags = store.document(index)
        expected = tokenizer.encode(texts[index])
        assert ids.tolist() == expected.ids.tolist()
        assert np.array_equal(flags & WORD_START > 0, expected.word_starts)
        assert flags[0] & SENTENCE_START
    assert store.manifest["text"]["bytes"] == sum(len(text.encode()) for text in texts)
    assert store.manifest["text"]["words"] == sum(len(text.split()) for text in texts)
    assert Tokenizer.load(store.tokenizer_path).fingerprint == tokenizer.fingerprint
    assert not set(np.unique(store.tokens(0, store.num_tokens))) & (
        tokenizer.vocabulary.special_ids - {tokenizer.vocabulary.unk_id}
    )


def test_annotated_spans_become_flags(tmp_path: Path, tokenizer: Tokenizer) -> None:
    text = "The\x00 cat  sat on the mat."
    record = {
        "text": text,
        "spans": [[text.index("cat"), text.index("cat") + 3], [text.index("mat"), len(text)]],
    }
    (tmp_path / "a.jsonl").write_text(json.dumps(record) + "\n" + json.dumps({"text": "no dog"}))
    prepare([tmp_path / "a.jsonl"], tokenizer, tmp_path / "s", PrepareSettings(collapse_spaces=True), workers=1)
    store = TokenStore.open(tmp_path / "s")
    offsets = tokenizer.encode("The cat sat on the mat.").offsets
    flags = store.document(0)[1]
    for (start, stop), flag in zip(offsets, flags, strict=True):
        inside = start < stop and (4 <= start < 7 or start >= 19)
        assert bool(flag & ANNOTATED) == inside
    assert not (store.document(1)[1] & ANNOTATED).any()


def test_drops_are_counted_by_reason(tmp_path: Path, tokenizer: Tokenizer) -> None:
    texts = ["The cat sat.", "cat", "The cat sat.", "12 34 56 78", "\x00", "A dog ran.", "The cat\x01 sat."]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
    filters = FilterSettings(min_characters=5, min_letter_share=0.5)
    settings = PrepareSettings(filters=filters, dedup=True)
    manifest = prepare([tmp_path / "a.jsonl"], tokenizer, tmp_path / "s", settings)
    assert manifest["dropped"] == {"duplicate": 2, "empty": 1, "min_characters": 1, "min_letter_share": 1}
    assert manifest["num_documents"] == 2
    assert load(PrepareSettings, manifest["settings"]) == settings
    assert manifest["sources"] == [
        {"path": str(tmp_path / "a.jsonl"), "bytes": (tmp_path / "a.jsonl").stat().st_size}
    ]


def test_held_out_documents_are_the_last_and_unseen_by_the_tokenizer(
    tmp_path: Path, corpus: Path, tokenizer: Tokenizer
) -> None:
    settings = PrepareSettings(hold_out=0.05)
    texts = [document.text for document in documents([corpus])]
    assert [d.text for d in training_documents([corpus], settings)] == texts[:2850]
    manifest = prepare([corpus], tokenizer, tmp_path / "s", settings, workers=2)
    held = TokenStore.open(tmp_path / "s/held_out", tokenizer)
    assert (manifest["num_documents"], held.num_documents) == (2850, 150)
    assert manifest["held_out"]["num_tokens"] == held.num_tokens
    assert [d.text for d in documents([tmp_path / "s/held_out.jsonl"])] == texts[2850:]
    assert held.document(149)[0].tolist() == tokenizer.encode(texts[-1]).ids.tolist()


def test_nothing_left_and_errors_leave_no_store(tmp_path: Path, corpus: Path, tokenizer: Tokenizer) -> None:
    strict = PrepareSettings(filters=FilterSettings(min_characters=10_000))
    with pytest.raises(DataError, match=r"3000 documents were read and none was left \({'min_characters': 3000}\)"):
        prepare([corpus], tokenizer, tmp_path / "s", strict)
    (tmp_path / "b.jsonl").write_text('{"text": "cat"}\n{"body": "x"}')
    with pytest.raises(DataError, match=r"b\.jsonl:2: no field 'text'"):
        prepare([corpus, tmp_path / "b.jsonl"], tokenizer, tmp_path / "s")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b.jsonl", "corpus.txt"]


def test_worker_errors_and_deaths_are_reported() -> None:
    with pytest.raises(ZeroDivisionError):
        list(run_ordered(_divider, 1, [1, 0], workers=2))
    with pytest.raises(DataError, match=r"worker process ended \(exit status 3\)"):
        list(run_ordered(_leaver, None, [3], workers=2))
    assert list(run_ordered(_divider, 6, range(1, 7), workers=2)) == [6, 3, 2, 1.5, 1.2, 1]


def _divider(number: int):  # type: ignore[no-untyped-def]
    return _Divider(number)


class _Divider:
    def __init__(self, number: int) -> None:
        self.number = number

    def __call__(self, by: int) -> float:
        return self.number / by


def _leaver(_: None):  # type: ignore[no-untyped-def]
    import os

    return os._exit


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    with pytest.raises(SystemExit) as exited:
        main([str(each) for each in arguments])
    said = capsys.readouterr()
    return int(exited.value.code or 0), said.out + said.err


def test_command_line(tmp_path: Path, corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train_it = ["tokenizer", "train", corpus, "--out", tmp_path / "t", "--vocab-size", 75, "--hold-out", 0.1]
    status, said = run(capsys, *train_it)
    assert (status, "fertility" in said) == (0, True), said
    prepare_it = [
        "prepare",
        corpus,
        "--tokenizer",
        tmp_path / "t",
        "--out",
        tmp_path / "s",
        "--hold-out",
        0.1,
    ]
    filters = "min_characters=3,min_letter_share=0.2"
    status, said = run(capsys, *prepare_it, "--dedup", "--filters", filters)
    assert (status, "held out: " in said) == (0, True), said
    settings = TokenStore.open(tmp_path / "s").manifest["settings"]
    assert (settings["dedup"], settings["hold_out"], settings["filters"]["min_characters"]) == (True, 0.1, 3)
    for again in (train_it, prepare_it):
        status, said = run(capsys, *again)
        assert (status, said.count("\n"), "pass --force" in said) == (2, 1, True), said
        assert run(capsys, *again, "--force")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["prepare", "x.txt", "--tokenizer", "t", "--out", "u"], "no such file"),
        (["prepare", "corpus.txt", "--tokenizer", ".", "--out", "u"], "holds no tokenizer.json"),
        (
            ["prepare", "corpus.txt", "--tokenizer", "t", "--out", "u", "--filters", "min_chars=3"],
            "Did you mean 'filters.min_characters'",
        ),
        (
            ["prepare", "corpus.txt", "--tokenizer", "t", "--out", "u", "--documents", "page"],
            "documents=page",
        ),
        (
            ["tokenizer", "train", "corpus.txt", "--out", "v", "--vocab-size", 9000],
            "more than the corpus can",
        ),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path,
    corpus: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[object],
    expected: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    train(SENTENCES, vocab_size=50)[0].save("t")
    status, said = run(capsys, *arguments)
    assert (status, said.count("\n")) == (2, 1), said
    assert expected in said
    assert not list(tmp_path.glob("[uv]*"))
