"""`cloze generate`, for a person and as JSON."""

import json
import shutil
from pathlib import Path

import pytest

from clozelm import hub
from clozelm.cli.main import main
from tests import tiny_models
from tests.cli.conftest import Cloze, Mistake

TEXT = "The cat [MASK] [MASK] mat [bold]."


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("generate") / "model"
    hub.save(tiny_models.tiny_model("bert"), tiny_models.wordpiece(), folder, family="bert")
    return folder


def test_a_text_is_printed_as_it_is(cloze: Cloze, model: Path) -> None:
    (line,) = cloze("generate", model, "--text", TEXT).splitlines()
    assert line.startswith("The cat")
    assert line.endswith("mat [bold].")
    assert "[MASK]" not in line
    assert cloze("generate", model, "--text", TEXT).splitlines() == [line]


def test_the_starter_writes_where_no_model_is_named(cloze: Cloze) -> None:
    frame = "The [MASK] was [MASK] by the king."
    written = cloze("generate", frame)
    assert written.endswith("by the king.\n")
    assert cloze("generate", "--text", frame) == written == cloze("generate", "starter", frame)


def test_pages_of_masks_are_said_to_be_new_to_the_model(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*arguments: object) -> str:
        with pytest.raises(SystemExit):
            main(["generate", *map(str, arguments)])
        return capsys.readouterr().err

    shutil.copytree(model, tmp_path / "run" / "model")
    page = (tmp_path / "run", "--length", 3)
    assert "3 of 3 pieces were masks, and the model is not known to be trained on pages of masks" in said(*page)
    for objective, expected in (("mlm", "objective.name=mlm, not trained on"), ("diffusion", "")):
        settings = {"settings": {"objective": {"name": objective}}}
        (tmp_path / "run" / "run.json").write_text(json.dumps(settings), encoding="utf-8")
        heard = said(*page)
        assert expected in heard
        assert bool(heard) == bool(expected)
    assert "with objective.name=mlm" in said("--length", 3)
    assert said(model, "--text", TEXT) == ""


def test_json(cloze: Cloze, model: Path) -> None:
    page = f"the cat sat on {'[MASK] ' * 7}and the dog ran ."
    common = ("generate", model, "--text", page, "--steps", 3, "--samples", 2, "--seed", 1)
    found = [json.loads(line) for line in cloze(*common, "--json").splitlines()]
    assert len(found) == 2
    for each in found:
        assert list(each) == ["text", "steps"]
        assert [len(step["filled"]) for step in each["steps"]] == [2, 2, 3]
        assert all(0 < share <= 1 for step in each["steps"] for share in step["confidences"])
        assert each["steps"][-1]["text"] == each["text"]
    printed = cloze(*common).splitlines()
    assert printed[:2] == ["sample 1", found[0]["text"]]


def test_every_step_is_shown(cloze: Cloze, model: Path) -> None:
    lines = cloze("generate", model, "--text", TEXT, "--show").splitlines()
    assert lines[0] == "⟦word⟧ filled in this step   __ still masked"
    assert sum(line.startswith("step ") for line in lines) == 2
    pages = [line for line in lines[1:] if line.startswith("The cat")]
    assert [(page.count("⟦"), page.count("__")) for page in pages] == [(1, 1), (1, 0), (0, 0)]


def test_colours_where_somebody_watches(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    with pytest.raises(SystemExit) as caught:
        main(["generate", str(model), "--text", TEXT, "--show"])
    assert not caught.value.code
    out = capsys.readouterr().out
    assert "\x1b[" in out
    assert "⟦" not in out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "There is nothing to write: give a text with [MASK], or a length."),
        (("--text", "the cat"), "'the cat' has no [MASK]"),
        (("cat [MASK]", "--text", "the [MASK]"), "2 were given"),
        (("--text", "a [MASK]", "--length", 2), "give one of them"),
        (("--length", 63), "longer than the 62 that the model reads"),
        (("--length", 0), "length=0 must be at least 1"),
        (("--length", 5, "--steps", 0), "steps=0 must be at least 1"),
        (("--length", 5, "--temperature", -1), "temperature=-1.0 must be at least 0"),
        (("--length", 5, "--top-k", 0), "top_k=0 must be at least 1"),
        (("--length", 5, "--samples", 0), "samples=0 must be at least 1"),
        (("--length", 5, "--order", "any"), "--order"),
    ],
)
def test_mistakes(options: tuple[object, ...], said: str, mistake: Mistake, model: Path) -> None:
    assert said in mistake("generate", model, *options)


def test_no_model(mistake: Mistake, tmp_path: Path) -> None:
    assert "There is no model directory" in mistake("generate", tmp_path / "nowhere", "--length", 3)
