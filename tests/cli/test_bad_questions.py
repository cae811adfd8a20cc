"""What a model is asked: texts, names, places and devices that cannot be used are one line, exit 2."""

import errno
import os
from pathlib import Path

import pytest

from clozelm import hub
from clozelm.cli.main import main
from tests import tiny_classifiers, tiny_models
from tests.cli.conftest import Mistake

LONG = "n" * 5000


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "bert"
    hub.save(tiny_models.tiny_model("bert"), tiny_models.wordpiece(), folder, family="bert")
    return folder


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("classifier") / "bert"
    return tiny_classifiers.save(tiny_classifiers.tiny_classifier("bert", "sequence"), place, "bert")


@pytest.mark.parametrize("command", ["fill", "score", "errors", "evaluate"])
def test_bytes_that_are_not_utf8_are_refused_with_their_line(
    command: str, mistake: Mistake, model: Path, tmp_path: Path
) -> None:
    file = tmp_path / "asked.txt"
    file.write_bytes(b"the [MASK] sat\n\nthe caf\xe9 [MASK]\n")
    given = ("--file", file) if command in ("fill", "score") else (file,)
    answer = mistake(command, model, *given)
    assert answer == (f"{file}:3: invalid UTF-8, byte 0xe9 at 8 in the line: convert the file to UTF-8.")


@pytest.mark.parametrize("command", ["fill", "score", "errors", "evaluate"])
def test_a_field_of_plain_text_is_refused(command: str, mistake: Mistake, model: Path, tmp_path: Path) -> None:
    file = tmp_path / "asked.txt"
    file.write_text("the [MASK] sat\n")
    given = ("--file", file) if command in ("fill", "score") else (file,)
    answer = mistake(command, model, *given, "--field", "title")
    assert answer == f"{file}: plain text has no field 'title': leave out --field."


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("fill", "MODEL", "--file", ""), "An empty name was given for --file: name a file or directory."),
        (("score", "MODEL", "--file", ""), "An empty name was given for --file"),
        (("score", "", "the cat"), "An empty name was given for the model: name a run"),
        (("evaluate", "MODEL", ""), "An empty name was given for a file: name a file or directory."),
        (("evaluate", "", "FILE"), "An empty name was given for MODEL"),
        (("errors", "MODEL", ""), "An empty name was given for a file"),
        (("minimal-pairs", "MODEL", ""), "An empty name was given for a file"),
        (("predict", "MODEL", ""), "An empty name was given for a file"),
        (("prepare", "", "--tokenizer", "MODEL", "--out", "OUT"), "An empty name was given for a file"),
        (("prepare", "FILE", "--tokenizer", "", "--out", "OUT"), "An empty name was given for --tokenizer"),
        (("tokenizer", "train", "FILE", "--out", ""), "An empty name was given for --out"),
        (("finetune", "classify", "MODEL", "", "--out", "OUT"), "An empty name was given for TRAIN"),
        (("finetune", "tag", "", "FILE", "--out", "OUT"), "An empty name was given for MODEL"),
        (("inspect", ""), "An empty name was given for MODEL"),
        (("pretrain", "tiny", "--data", "", "--out", "OUT"), "An empty name was given for --data"),
    ],
)
def test_empty_names(
    arguments: tuple[str, ...], said: str, mistake: Mistake, model: Path, classifier: Path, tmp_path: Path
) -> None:
    (tmp_path / "file.txt").write_text("the cat sat\n")
    opened = classifier if arguments[0] == "predict" else model
    places = {"MODEL": opened, "FILE": tmp_path / "file.txt", "OUT": tmp_path / "out"}
    assert said in mistake(*(places.get(each, each) for each in arguments))
    assert [path.name for path in tmp_path.iterdir()] == ["file.txt"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("fill", LONG, "the [MASK]"),
        ("fill", "MODEL", "--file", LONG),
        ("score", "MODEL", "--file", LONG),
        ("evaluate", "MODEL", LONG),
        ("evaluate", LONG, "FILE"),
        ("errors", "MODEL", "FILE", "--html", LONG),
        ("minimal-pairs", "MODEL", LONG),
        ("predict", LONG, "FILE"),
        ("predict", "CLASSIFIER", LONG),
        ("generate", LONG, "--length", "2"),
        ("inspect", LONG),
        ("convert", LONG, "--to", "OUT"),
        ("convert", "MODEL", "--to", LONG),
        ("doctor", LONG),
        ("masks", LONG),
        ("finetune", "classify", "MODEL", LONG, "--out", "OUT"),
        ("finetune", "tag", "MODEL", LONG, "--out", "OUT"),
        ("prepare", LONG, "--tokenizer", "MODEL", "--out", "OUT"),
        ("prepare", "FILE", "--tokenizer", "MODEL", "--out", LONG),
        ("prepare", "FILE", "--tokenizer", LONG, "--out", "OUT"),
        ("tokenizer", "train", "FILE", "--out", LONG),
        ("pretrain", LONG, "--data", "OUT", "--out", "OUT"),
        ("pretrain", "tiny", "--data", LONG, "--out", "OUT"),
        ("compare", LONG, "--data", "OUT", "--out", "OUT"),
        ("adapt", LONG, "FILE", "--out", "OUT"),
        ("demo", "--out", LONG),
    ],
)
def test_names_that_are_too_long(
    arguments: tuple[str, ...], mistake: Mistake, model: Path, classifier: Path, tmp_path: Path
) -> None:
    (tmp_path / "file.txt").write_text("the cat sat\n")
    places = {"MODEL": model, "CLASSIFIER": classifier, "FILE": tmp_path / "file.txt", "OUT": tmp_path / "out"}
    assert "File name too long" in mistake(*(places.get(each, each) for each in arguments))
    assert [path.name for path in tmp_path.iterdir()] == ["file.txt"]


@pytest.mark.parametrize("code", ["EACCES", "EPERM", "ELOOP", "ENOTDIR", "EISDIR", "ENOENT", "EROFS", "EIO"])
def test_what_the_system_refuses_of_a_file_is_one_line(
    code: str, mistake: Mistake, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = getattr(errno, code)

    def refused(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), "some/place")

    monkeypatch.setattr("clozelm.flows.model.load", refused)
    assert mistake("fill", model, "the [MASK]") == f"'some/place' cannot be used: {os.strerror(number)}."


def test_a_system_error_without_a_file_is_a_traceback(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EACCES, "no file of the user's")

    monkeypatch.setattr("clozelm.flows.model.load", refused)
    with pytest.raises(OSError, match="no file of the user's"):
        main(["fill", str(model), "the [MASK]"])


@pytest.mark.parametrize(
    "arguments",
    [
        ("fill", "MODEL", "the [MASK]"),
        ("score", "MODEL", "the cat"),
        ("explain", "MODEL", "the [MASK]"),
        ("trace", "MODEL", "the cat sat"),
        ("generate", "MODEL", "--length", "2"),
        ("evaluate", "MODEL", "FILE"),
        ("errors", "MODEL", "FILE"),
        ("minimal-pairs", "MODEL", "PAIRS"),
        ("predict", "CLASSIFIER", "PAIRS"),
        ("evaluate", "CLASSIFIER", "PAIRS"),
    ],
)
@pytest.mark.parametrize("device", ["meta", "abacus"])
def test_devices_that_compute_nothing(
    arguments: tuple[str, ...], device: str, mistake: Mistake, model: Path, classifier: Path, tmp_path: Path
) -> None:
    (tmp_path / "file.txt").write_text("the cat sat\n")
    (tmp_path / "pairs.csv").write_text("good,bad\nthe cat,cat the\n")
    places = {
        "MODEL": model,
        "CLASSIFIER": classifier,
        "FILE": tmp_path / "file.txt",
        "PAIRS": tmp_path / "pairs.csv",
    }
    answer = mistake(*(places.get(each, each) for each in arguments), "--device", device)
    assert answer == f"device={device!r} is not a device: use auto, cpu, cuda or cuda:0."
