"""`cloze fill`, for a person and as JSON."""

import io
import json
from pathlib import Path

import pytest

from clozelm import hub
from clozelm.cli.main import main
from tests import tiny_models


@pytest.fixture
def directory(tmp_path: Path) -> str:
    hub.save(tiny_models.tiny_model("bert"), tiny_models.wordpiece(), tmp_path / "model", family="bert")
    return str(tmp_path / "model")


def cloze(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["fill", *arguments])
    return int(caught.value.code or 0)


def test_json(directory: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cloze(directory, "the [mask] sat", "[MASK] [MASK]", "--top", "2", "--json") == 0
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert first.keys() == {"text", "masks"}
    assert first["text"] == "the [mask] sat"
    assert [len(mask["candidates"]) for mask in second["masks"]] == [2, 2]
    assert first["masks"][0]["candidates"][0].keys() == {"id", "token", "probability"}


def test_for_a_person(directory: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cloze(directory, "the [MASK] [bold]sat[/bold] on a [MASK]", "--top", "3") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "the [MASK] [bold]sat[/bold] on a [MASK]"
    assert lines[1].strip() == "mask 1"
    assert "%" in lines[2]
    assert len(lines) == 1 + 2 * 4


def test_standard_input(
    directory: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("a [MASK]\n\nthe [MASK]\n"))
    assert cloze(directory, "-", "--json") == 0
    texts = [json.loads(line)["text"] for line in capsys.readouterr().out.splitlines()]
    assert texts == ["a [MASK]", "the [MASK]"]


def test_a_notice_goes_to_standard_error(directory: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cloze(directory, "the " * 100 + "[MASK]", "--json") == 0
    captured = capsys.readouterr()
    assert captured.err.startswith("notice: The text has 101 pieces and the model reads 62")
    assert len(captured.out.splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "said"), [("the cat", "'the cat' has no [MASK]"), ("-", "standard input was empty")]
)
def test_mistakes(
    directory: str,
    text: str,
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert cloze(directory, text) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1


def test_no_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cloze(str(tmp_path / "nowhere"), "a [MASK]") == 2
    assert "There is no model directory" in capsys.readouterr().err
