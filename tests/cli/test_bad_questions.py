"""What a model is asked: texts, names, places and devices that cannot be used are one line, exit 2."""

from pathlib import Path

import pytest

from clozelm import hub
from tests import tiny_models
from tests.cli.conftest import Mistake


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "bert"
    hub.save(tiny_models.tiny_model("bert"), tiny_models.wordpiece(), folder, family="bert")
    return folder


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
