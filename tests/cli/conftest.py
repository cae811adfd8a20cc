"""What the tests of bad input share: a command that must be refused, and a corpus."""

from collections.abc import Callable
from pathlib import Path

import pytest

from clozelm.cli.main import main

Mistake = Callable[..., str]
Cloze = Callable[..., str]


@pytest.fixture
def mistake(capsys: pytest.CaptureFixture[str]) -> Mistake:
    """Run `cloze` on arguments that must be refused, and return what it says."""

    def run(*arguments: object) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in arguments])
        error = capsys.readouterr().err
        assert caught.value.code == 2, error
        assert len(error.splitlines()) == 1, error
        assert error.startswith("cloze: ")
        assert error.rstrip().endswith((".", "?")), "a sentence"
        return error.removeprefix("cloze: ").rstrip("\n")

    return run


@pytest.fixture
def cloze(capsys: pytest.CaptureFixture[str]) -> Cloze:
    """Run `cloze`, which must succeed and say nothing on standard error, and return what it prints."""

    def run(*arguments: object) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        assert not caught.value.code, printed.err
        assert printed.err == ""
        assert "\r" not in printed.out
        assert "\x1b" not in printed.out, "no control characters where nobody watches"
        return printed.out

    return run


@pytest.fixture
def corpus(texts: list[str], tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text("\n\n".join(texts), encoding="utf-8")
    return path
