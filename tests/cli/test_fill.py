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
    assert first["masks"][0].keys() == {"entropy", "candidates"}
    piece = {"id", "token", "piece", "probability", "log_probability", "rank"}
    assert first["masks"][0]["candidates"][0].keys() == piece
    assert second.keys() == {"text", "order", "fillings"}
    assert second["order"] == "best-first"
    assert len(second["fillings"]) == 2
    assert second["fillings"][0].keys() == {"text", "probability", "log_probability", "score", "answers"}
    answer = second["fillings"][0]["answers"][1]
    assert answer.keys() == {"text", "probability", "log_probability", "score", "pieces"}
    assert answer["pieces"][0].keys() == piece | {"entropy"}
    assert cloze(directory, "[MASK] [MASK]", "--top", "2", "--json", "--order", "each") == 0
    each = json.loads(capsys.readouterr().out)
    assert [len(mask["candidates"]) for mask in each["masks"]] == [2, 2]
    assert cloze(directory, "[MASK] [MASK]", "--top", "2", "--json", "--order", "each", "--only", "cat,dogs") == 0
    each = json.loads(capsys.readouterr().out)
    assert [{one["text"] for one in answers} for answers in each["each"]] == [{"cat", "dogs"}] * 2


def test_for_a_person(directory: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cloze(directory, "the [MASK] [bold]sat[/bold] on a [MASK]", "--top", "3", "--order", "each") == 0
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


def test_together_for_a_person(directory: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cloze(directory, "the [MASK] [bold]sat on a [MASK]", "a [MASK*] sat", "--top", "3", "--whole-words") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "the [MASK] [bold]sat on a [MASK]"
    assert all(" [bold]sat on a " in line and "MASK" not in line and "%" in line for line in lines[1:4])
    assert lines[4] == "a [MASK*] sat"
    assert len(lines) in (8, 9)
    assert cloze(directory, "a [MASK]", "--targets", "cat,dogs,catsing") == 0
    head, *rest = capsys.readouterr().out.splitlines()[1:]
    assert head.split() == ["joint", "pieces"]
    assert sorted(line.split()[1:3] for line in rest) == [["cat", "1"], ["catsing", "3"], ["dogs", "2"]]
    assert not any("##" in line for line in lines + rest)


def test_files_of_texts_and_words(directory: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "words.txt").write_text("cat\n\ndogs\nzebra\n")
    (tmp_path / "texts.txt").write_text("a [MASK]\n\nthe [MASK] sat\n")
    (tmp_path / "texts.csv").write_text("id,says\n1,the [MASK*] ran\n")
    for name, count, more in (("texts.txt", 2, ()), ("texts.csv", 1, ("--field", "says"))):
        wanted = ("--file", str(tmp_path / name), *more, "--only", str(tmp_path / "words.txt"), "--json")
        assert cloze(directory, *wanted) == 0
        captured = capsys.readouterr()
        found = [json.loads(line) for line in captured.out.splitlines()]
        assert len(found) == count
        for one in found:
            assert {filling["answers"][0]["text"] for filling in one["fillings"]} == {"cat", "dogs"}
        assert "no pieces to write 'zebra': 1 of 3 words are left out." in captured.err


def test_what_came_before_a_bad_text_is_printed(directory: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cloze(directory, "a [MASK]", "[MASK] [MASK]", "none", "the [MASK]", "--json") == 2
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 2
    assert captured.err.startswith("cloze: 'none' has no [MASK]")


def test_a_bad_line_of_a_file_is_named(directory: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "texts.txt"
    path.write_text("a [MASK]\n\nnone\nthe [MASK]\n")
    assert cloze(directory, "--file", str(path), "--json") == 2
    captured = capsys.readouterr()
    assert [json.loads(line)["source"] for line in captured.out.splitlines()] == [f"{path}:1"]
    assert captured.err.startswith(f"cloze: {path}:3: 'none' has no [MASK]")
    path.write_bytes(b"caf\xe9 [MASK]\n")
    assert cloze(directory, "--file", str(path)) == 2
    assert f"{path}:1: " in capsys.readouterr().err


def test_calibration(directory: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "corpus.txt").write_text("\n\n".join(["the cat sat on the mat.", "a dog is learning"] * 40))
    text = ("the [MASK] sat", "--json", "--whole-words")
    assert cloze(directory, *text, "--calibrate", str(tmp_path / "corpus.txt")) == 0
    captured = capsys.readouterr()
    assert captured.err.startswith("calibrated: temperature ")
    assert "fitted on 80 masked pieces of" in captured.err
    temperature = captured.err.split()[2].rstrip(",")
    assert cloze(directory, *text, "--temperature", temperature) == 0
    again = json.loads(capsys.readouterr().out)["fillings"][0]
    assert json.loads(captured.out)["fillings"][0]["probability"] == pytest.approx(again["probability"], rel=1e-2)
    assert cloze(directory, *text, "--calibrate", str(tmp_path / "corpus.txt"), "--temperature", "2") == 2
    assert "contradict each other" in capsys.readouterr().err
    (tmp_path / "short.txt").write_text("the cat")
    assert cloze(directory, *text, "--calibrate", str(tmp_path / "short.txt")) == 2
    assert "gives 1 masks and 50 are needed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "There is no text to fill"),
        (("a [MASK]", "--targets", "cat,zebra"), "has no pieces to write 'zebra'"),
        (("a [MASK]", "--targets", "cat", "--only", "dog"), "contradict each other"),
        (("a [MASK]", "--only", "nowhere.txt"), "nowhere.txt: no such file of words"),
        (("a [MASK]", "--not", ","), "--not names no word"),
        (("a [MASK]", "--only", "Cat", "--not", "cat"), "--not has every word of --only"),
        (("[MASK] [MASK]", "--beam", "100000"), "beam=100000 must be at most 200"),
        (("[MASK] [MASK]", "--top", "100000"), "top=100000 must be at most 200 for several masks"),
        (("a [MASK]", "--order", "backwards"), "backwards"),
        (("a [MASK]", "--temperature", "-1"), "temperature=-1 must be between 0.01 and 100"),
        (("[MASK] " * 600,), "has 600 masks, and at most 64 are filled together"),
        (("--file", "nowhere.jsonl"), "no such file"),
    ],
)
def test_wishes_that_cannot_be_met(
    directory: str, arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cloze(directory, *arguments) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1


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
