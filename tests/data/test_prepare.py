"""The corpus pipeline: the store holds what the tokenizer says of the text, for any number of workers."""

import errno
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clozelm.cli.main import main
from clozelm.data import workers
from clozelm.data.prepare import HELD_OUT, PrepareSettings, prepare, training_documents
from clozelm.data.store import TOKENIZER, TokenStore
from clozelm.data.workers import run_ordered
from clozelm.errors import DataError, SettingsError
from clozelm.settings import load
from clozelm.text.filters import FilterSettings
from clozelm.text.readers import Document, documents
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
    for count in (1, 3):
        prepare([corpus], tokenizer, tmp_path / f"s{count}", workers=count)
    for file in (tmp_path / "s1").glob("*.bin"):
        assert file.read_bytes() == (tmp_path / "s3" / file.name).read_bytes()
    store = TokenStore.open(tmp_path / "s1", tokenizer)
    store.verify()
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
    held.verify()
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


@pytest.mark.parametrize(
    ("name", "content", "share", "said"),
    [
        (
            "a.txt",
            "one\nblock\n",
            0.1,
            "a.txt was read as 1 document, which --hold-out 0.1 keeps apart: pass --doc",
        ),
        ("a.md", "one\n\nfile\n", 0.1, "a.md was read as 1 document, which --hold-out 0.1 keeps apart: pass --doc"),
        (
            "a.txt",
            "one\n\ntwo\n",
            0.9,
            "a.txt was read as 2 documents, which --hold-out 0.9 keeps apart: pass --doc",
        ),
        (
            "a.jsonl",
            '{"text": "one"}',
            0.1,
            "which --hold-out 0.1 keeps apart: give more documents, or --hold-out 0.",
        ),
    ],
)
def test_a_corpus_that_is_held_out_whole(tmp_path: Path, name: str, content: str, share: float, said: str) -> None:
    (tmp_path / name).write_text(content)
    settings = PrepareSettings(hold_out=share)
    tokenizer = train(SENTENCES, vocab_size=50)[0]
    for call in (
        lambda: prepare([tmp_path / name], tokenizer, tmp_path / "s", settings, workers=1),
        lambda: training_documents([tmp_path / name], settings),
    ):
        with pytest.raises(DataError, match=re.escape(said)):
            next(iter(call()))
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_worker_errors_and_deaths_are_reported() -> None:
    with pytest.raises(ZeroDivisionError):
        list(run_ordered(_divider, 1, [1, 0], workers=2))
    with pytest.raises(DataError, match=r"worker process ended \(exit status 3\)"):
        list(run_ordered(_leaver, None, range(10), workers=2))
    assert list(run_ordered(_divider, 6, range(1, 7), workers=2)) == [6, 3, 2, 1.5, 1.2, 1]


def _divider(number: int):  # type: ignore[no-untyped-def]
    return _Divider(number)


class _Divider:
    def __init__(self, number: int) -> None:
        self.number = number

    def __call__(self, by: int) -> float:
        return self.number / by


def _sleeper(_: object):  # type: ignore[no-untyped-def]
    return lambda task: time.sleep(0.3) or task


def _leaver(_: object):  # type: ignore[no-untyped-def]
    return lambda task: os._exit(3)


def test_processes_start_as_tasks_come(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []
    real = workers._start
    monkeypatch.setattr(workers, "_start", lambda: started.append(None) or real())
    assert list(run_ordered(_divider, 6, [], workers=8)) == []
    assert started == []
    assert list(run_ordered(_divider, 6, [1, 2], workers=8)) == [6, 3]
    assert 1 <= len(started) <= 2
    started.clear()
    assert list(run_ordered(_sleeper, None, range(9), workers=3)) == list(range(9))
    assert len(started) == 3


def test_absurd_numbers_of_workers_are_refused(
    tmp_path: Path, corpus: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "available_cores", lambda: 6)
    with pytest.raises(SettingsError, match=r"^--workers 100000 are too many for 6 cores: give 24 at most"):
        prepare([corpus], tokenizer, tmp_path / "s", workers=100_000)
    assert workers.checked_workers(24) == 24
    assert workers.checked_workers(None) == 6


def test_a_process_that_cannot_start_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(workers, "_start", refused)
    with pytest.raises(DataError, match=r"could not be started \(Resource temporarily unavailable\): try fewer"):
        list(run_ordered(_divider, 6, [1, 2], workers=2))


def test_workers_that_die_end_the_command(tmp_path: Path, corpus: Path, root: Path) -> None:
    """With ten times more batches than workers, within the time limit: nothing may wait for a dead one."""
    train(SENTENCES, vocab_size=50)[0].save(tmp_path / "t")
    code = (
        "import sys\n"
        "from clozelm.cli.main import main\n"
        "from clozelm.data import prepare\n"
        "from tests.data.test_prepare import _leaver\n"
        "prepare.BatchPreparer, prepare._BATCH_DOCUMENTS = _leaver, 150\n"
        "main(sys.argv[1:])\n"
    )
    options = ["--tokenizer", tmp_path / "t", "--out", tmp_path / "s", "--workers", 2]
    command = [sys.executable, "-c", code, "prepare", corpus, *options]
    done = subprocess.run(
        [str(each) for each in command], cwd=root, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr == (
        "cloze: A worker process ended (exit status 3), perhaps for want of memory: try fewer --workers.\n"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus.txt", "t"]


@pytest.mark.parametrize("name", [f"{HELD_OUT}.jsonl", "tokenizer.json", "vocab.txt"])
def test_a_full_disk_is_one_line(tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    tokenizer = train(SENTENCES, vocab_size=50)[0]

    def full_for_one_file(method: str) -> None:
        real = getattr(Path, method)

        def written(self: Path, *args: Any, **kwargs: Any) -> Any:
            if self.name == name:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(self, *args, **kwargs)

        monkeypatch.setattr(Path, method, written)

    full_for_one_file("open")
    full_for_one_file("write_text")
    places = {
        tmp_path / "s": lambda out: prepare([corpus], tokenizer, out, PrepareSettings(hold_out=0.1), workers=1)
    }
    if name != f"{HELD_OUT}.jsonl":
        places[tmp_path / TOKENIZER] = tokenizer.save
    for out, write in places.items():
        with pytest.raises(DataError, match=f"^{out} could not be written: the disk is full"):
            write(out)
    assert [path.name for path in tmp_path.iterdir()] == ["corpus.txt"]


def test_what_can_be_known_is_said_before_anything_is_read(
    tmp_path: Path, corpus: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_all(*_: object) -> None:
        raise AssertionError("the corpus was read")

    monkeypatch.setattr("clozelm.data.prepare.read_all", read_all)
    settings = PrepareSettings(hold_out=0.1)
    (tmp_path / "b.txt").write_bytes(b"\x7fELF\0\0")
    for call in (
        lambda: prepare([corpus, tmp_path / "b.txt"], tokenizer, tmp_path / "s", settings),
        lambda: training_documents([corpus, tmp_path / "b.txt"], settings),
    ):
        with pytest.raises(DataError, match=r"b\.txt: looks like a binary file"):
            call()
    with pytest.raises(DataError, match="is not empty"):
        prepare([corpus], tokenizer, tmp_path, settings)


def test_a_tokenizer_learns_from_what_is_encoded(
    tmp_path: Path, texts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("\n\n".join(["cafe\u0301  \ufb01ne\x07", *texts]), encoding="utf-8")
    first = next(training_documents([path], PrepareSettings(collapse_spaces=True)))
    assert first == Document("caf\u00e9 \ufb01ne", f"{path}:1")
    for form, knows_ligature in (("NFC", True), ("NFKC", False)):
        options = ["--unicode-form", form, "--vocab-size", 320, "--out", tmp_path / form]
        assert run(capsys, "tokenizer", "train", path, *options)[0] == 0
        pieces = Tokenizer.load(tmp_path / form).backend.get_vocab()
        assert any("\ufb01" in piece for piece in pieces) == knows_ligature


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
