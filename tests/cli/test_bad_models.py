"""Models and sentences that cannot be used: exit 2 and one clear line."""

import io
import json
import shutil
from pathlib import Path

import pytest

from clozelm import hub
from tests import tiny_models
from tests.cli.conftest import Mistake


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "tiny"
    hub.save(tiny_models.tiny_model("bert"), tiny_models.wordpiece(), folder, family="bert")
    return folder


@pytest.mark.parametrize("content", [None, b"", b" \n\n \n", b"\x7fELF\x02\x01\x01\0\0\0"])
def test_files_that_cannot_be_evaluated_on(
    content: bytes | None, mistake: Mistake, model: Path, tmp_path: Path
) -> None:
    path = tmp_path / "bad.txt"
    if content is not None:
        path.write_bytes(content)
    assert str(path) in mistake("evaluate", model, path)


def test_model_directories(mistake: Mistake, model: Path, corpus: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(model, tmp_path / "copy"))
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    strange = tmp_path / "strange"
    strange.mkdir()
    (strange / "config.json").write_text(json.dumps({"model_type": "gpt2"}), encoding="utf-8")
    for folder, said in (
        (tmp_path / "nowhere", "There is no model directory"),
        (corpus, "There is no model directory"),
        (tmp_path, "holds no config.json"),
        (strange, "gpt2"),
        (broken, "damaged or cut short"),
    ):
        assert said in mistake("fill", folder, "a [MASK]")
        assert said in mistake("evaluate", folder, corpus)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("a word",), "'a word' has no [MASK]"),
        (("",), "'' has no [MASK]"),
        (("a \udcff [MASK]",), "is not valid text"),
        (("a [MASK]", "--top", 0), "--top"),
        (("a [MASK]", "--device", "abacus"), "device='abacus' is not a device"),
        ((), "There is no text to fill: give sentences with [MASK]"),
    ],
)
def test_fill(arguments: tuple[object, ...], said: str, mistake: Mistake, model: Path) -> None:
    assert said in mistake("fill", model, *arguments)


def test_standard_input_that_is_no_text(mistake: Mistake, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff [MASK]\n"), encoding="utf-8"))
    assert "Standard input is not UTF-8 text" in mistake("fill", model, "-")
    monkeypatch.setattr("sys.stdin", None)  # as `cloze fill MODEL - <&-` has it
    assert "standard input was empty" in mistake("fill", model, "-")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--rate", 0), "--rate=0.0 must lie strictly between 0 and 1"),
        (("--rate", 1.5), "--rate=1.5 must lie strictly between 0 and 1"),
        (("--rate", "nan"), "--rate=nan must lie strictly between 0 and 1"),
        (("--row-length", 2), "--row-length"),
        (("--max-documents", 0), "--max-documents"),
        (("--documents", "page"), "documents=page must be"),
        (("--seed", -1), "seed"),
    ],
)
def test_evaluate(options: tuple[object, ...], said: str, mistake: Mistake, model: Path, corpus: Path) -> None:
    assert said in mistake("evaluate", model, corpus, *options)
