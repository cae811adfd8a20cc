"""Standard output that takes nothing: full, or closed."""

import sys
from pathlib import Path

import pytest

from clozelm.cli.main import main

FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("buffering", [1, -1])  # full while printing, or at the end
def test_a_full_one_is_a_line(
    buffering: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with FULL.open("w", buffering=buffering, encoding="utf-8") as full:
        monkeypatch.setattr("sys.stdout", full)
        with pytest.raises(SystemExit) as caught:
            main(["--version"])
    assert caught.value.code == 2
    assert capsys.readouterr().err == "cloze: Standard output could not be written: No space left on device.\n"


def test_a_closed_one_is_no_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", None)
    with pytest.raises(SystemExit) as caught:
        main(["settings", "prepare"])
    assert not caught.value.code
    sys.stdout.close()  # which main opened
