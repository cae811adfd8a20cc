"""`cloze predict` and `cloze evaluate` of fine-tuned models: where answers go, and what is refused."""

import io
import json
import resource
import sys
from pathlib import Path

import pytest

from clozelm.cli.main import main
from tests import tiny_tasks
from tests.cli.conftest import Cloze, Mistake
from tests.tiny_classifiers import save, tiny_classifier

ROWS = [["text", "label"], ["a cat", "cold"], ["the dog sat", "warm"]]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("a") / "model"
    return save(tiny_classifier("bert", "sequence"), place, "bert", ("cold", "mild", "warm"))


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(
        tiny_classifier("bert", "token"), tmp_path_factory.mktemp("b") / "model", "bert", ("O", "B-X", "I-X")
    )


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tiny_tasks.table(tmp_path / "a.csv", ROWS)


def test_to_standard_output_or_a_file(classifier: Path, table: Path, tmp_path: Path, cloze: Cloze) -> None:
    printed = cloze("predict", classifier, table)
    assert printed.splitlines()[0] == "text,label,predicted,probability"
    (tmp_path / "out.csv").write_text("before")
    assert cloze("predict", classifier, table, "--out", tmp_path / "out.csv") == ""
    assert (tmp_path / "out.csv").read_text() == printed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "out.csv"]


def test_bf16_says_what_it_changes(
    classifier: Path, table: Path, cloze: Cloze, capsys: pytest.CaptureFixture[str]
) -> None:
    exact = cloze("predict", classifier, table)
    with pytest.raises(SystemExit) as caught:
        main(["predict", str(classifier), str(table), "--precision", "bf16"])
    assert not caught.value.code
    rounded = capsys.readouterr()
    assert len(rounded.out.splitlines()) == len(exact.splitlines())
    assert rounded.err.startswith("bf16 changes the first 2 answers' probabilities by up to 0.")


def test_what_is_read_is_not_written_over(
    classifier: Path, table: Path, tmp_path: Path, mistake: Mistake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clozelm.infer.predict.Predictor.open", lambda *_, **__: pytest.fail("too late"))
    before = table.read_text()
    (tmp_path / "link.csv").symlink_to(table)
    for out in (table, tmp_path / "link.csv"):
        assert "is the file that is read: name another with --out." in mistake(
            "predict", classifier, table, "--out", out
        )
    assert table.read_text() == before
    assert "is a directory: name a file" in mistake("predict", classifier, table, "--out", tmp_path)
    assert "is no directory: make it" in mistake("predict", classifier, table, "--out", tmp_path / "no" / "a.csv")
    assert "name a .jsonl file" in mistake("predict", classifier, table, "--out", tmp_path / "a.parquet")


def test_a_full_disk_leaves_what_was_there(classifier: Path, table: Path, tmp_path: Path, mistake: Mistake) -> None:
    (tmp_path / "out.csv").write_text("mine")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, before[1]))
    try:
        said = mistake("predict", classifier, table, "--out", tmp_path / "out.csv")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "out.csv could not be written: the quota or file size limit is reached" in said
    assert (tmp_path / "out.csv").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "out.csv"]
    assert "the disk is full" in mistake("predict", classifier, table, "--out", "/dev/full")


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "utf-16"])
def test_standard_input_in_its_encoding(
    encoding: str, classifier: Path, cloze: Cloze, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = "id,text\n1,caf\xe9\n".encode(encoding)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), encoding="utf-8"))
    options = [] if encoding == "utf-8" else ["--encoding", encoding]
    assert cloze("predict", classifier, "-", *options).splitlines()[1].startswith("1,caf\xe9,")


def test_mistakes_of_standard_input(classifier: Path, mistake: Mistake, monkeypatch: pytest.MonkeyPatch) -> None:
    for content, options, said in (
        (b"id,text\n1,caf\xe9\n", [], "stdin: is not utf-8"),
        (b"id,text\n1,x\n", ["--encoding", "latin-99"], "--encoding 'latin-99' is unknown"),
        (b"", [], "stdin: there is nothing in it"),
        (b"a cat sat\n", [], 'a JSON line is as {"text": "..."}'),
    ):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), encoding="utf-8"))
        assert said in mistake("predict", classifier, "-", *options)


def test_models_and_files_that_do_not_fit(
    classifier: Path, tagger: Path, table: Path, tmp_path: Path, mistake: Mistake
) -> None:
    words = tiny_tasks.columns(tmp_path / "a.conll", ["the cat sat", "a dog"])
    base = tiny_tasks.model(tmp_path / "base")
    assert "is no classifier but BertForMaskedLM" in mistake("predict", base, table)
    assert "There is no model directory" in mistake("predict", tmp_path / "no", table)
    assert "columns of words and tags are for taggers" in mistake("predict", classifier, words)
    assert "a.csv: is a table, and this model tags words" in mistake("predict", tagger, table)
    assert "a.csv: is a table, and this model tags words" in mistake("evaluate", tagger, table)
    assert "no such file" in mistake("predict", classifier, tmp_path / "no.csv")
    for options in (["--text", "x"], ["--delimiter", ";"], ["--quoting", "none"], ["--no-header"]):
        assert f"{options[0]} has no use here: this model tags words" in mistake("predict", tagger, words, *options)


def test_evaluate_refuses_what_is_of_other_models(classifier: Path, table: Path, mistake: Mistake) -> None:
    for options in (["--rate", "0.15"], ["--seed", "1"], ["--documents", "line"], ["--row-length", "64"]):
        assert f"{options[0]} has no use here" in mistake("evaluate", classifier, table, *options)
    assert "one file of examples, not on 2" in mistake("evaluate", classifier, table, table)


def test_evaluate_speaks_of_what_it_measured(classifier: Path, table: Path, cloze: Cloze) -> None:
    found = json.loads(cloze("evaluate", classifier, table, "--json"))
    assert found["dev"] == str(table)
    assert found["model"] == str(classifier)
    assert "2 examples of" in cloze("evaluate", classifier, table)
