"""Which arguments are a model, and which are what it is asked."""

import os
from pathlib import Path

import pytest

from clozelm.cli.default_model import one_text, split_model
from clozelm.errors import ClozeError
from tests.cli.conftest import Cloze


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("run/model").mkdir(parents=True)
    Path("run/model/config.json").write_text("{}")
    Path("texts").mkdir()
    Path("news.txt").write_text("a\n")
    return tmp_path


@pytest.mark.parametrize(
    ("given", "model", "rest"),
    [
        ([], "starter", []),
        (["A [MASK]."], "starter", ["A [MASK]."]),
        (["[MASK*]"], "starter", ["[MASK*]"]),
        (["<mask>"], "starter", ["<mask>"]),
        (["One two.", "Three four."], "starter", ["One two.", "Three four."]),
        (["-"], "starter", ["-"]),
        (["starter", "A [MASK]."], "starter", ["A [MASK]."]),
        (["run", "A [MASK]."], "run", ["A [MASK]."]),
        (["run"], "run", []),
        ([""], "starter", [""]),
        (["org/name", "A [MASK]."], "org/name", ["A [MASK]."]),
        (["x" * 5000 + " [MASK]"], "starter", ["x" * 5000 + " [MASK]"]),
    ],
)
def test_sentences(given: list[str], model: str, rest: list[str]) -> None:
    assert split_model(given, "sentences") == (model, rest)


def test_one_word_is_a_sentence_where_there_is_no_other() -> None:
    assert split_model(["hello"], "sentences", may_be_word=True) == ("starter", ["hello"])
    assert split_model(["run"], "sentences", may_be_word=True) == ("run", [])
    assert split_model(["org/name"], "sentences", may_be_word=True) == ("org/name", [])
    for given, may_be_word in ((["hello", "A [MASK]."], True), (["hello"], False)):
        assert split_model(given, "sentences", may_be_word=may_be_word) == ("hello", given[1:])
    with pytest.raises(ClozeError, match="An empty name was given for the model"):
        split_model(["", "a"], "sentences")


def test_a_directory_with_a_space_is_a_model() -> None:
    os.rename("run", "my run")
    assert split_model(["my run", "A [MASK]."], "sentences") == ("my run", ["A [MASK]."])


@pytest.mark.parametrize(
    ("given", "model", "rest"),
    [
        (["news.txt"], "starter", ["news.txt"]),
        (["news.txt", "texts"], "starter", ["news.txt", "texts"]),
        (["texts"], "starter", ["texts"]),
        (["*.txt", "texts"], "starter", ["*.txt", "texts"]),
        (["absent.txt"], "starter", ["absent.txt"]),
        (["starter", "news.txt"], "starter", ["news.txt"]),
        (["run", "news.txt"], "run", ["news.txt"]),
        (["run"], "run", []),
        (["mistyped", "news.txt"], "mistyped", ["news.txt"]),
    ],
)
def test_files(given: list[str], model: str, rest: list[str]) -> None:
    assert split_model(given, "files") == (model, rest)


def test_one_sentence() -> None:
    assert one_text(["A [MASK]."], "x") == "A [MASK]."
    with pytest.raises(ClozeError, match="There is no sentence: give one after the model, such as 'x y'"):
        one_text([], "x y")
    with pytest.raises(ClozeError, match=r"2 were given\. Put it in quotes"):
        one_text(["She", "opened"], "x y")


@pytest.mark.parametrize("command", ["score", "generate", "errors", "minimal-pairs"])
def test_usage_lines_can_be_read(command: str, cloze: Cloze) -> None:
    usage = next(line for line in cloze(command, "--help").splitlines() if "Usage:" in line)
    assert "[[" not in usage
    assert "......" not in usage
    assert "...]..." not in usage
