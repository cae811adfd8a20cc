"""`cloze errors` and `cloze doctor` as a person uses them: what they print, write and refuse."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from clozelm import hub
from clozelm.cli.main import main
from clozelm.text.tokenizer import Tokenizer
from tests import tiny_models, tiny_runs
from tests.cli.conftest import Cloze, Mistake


@pytest.fixture(scope="module")
def models(tiny_tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("one", "two")):
        model = tiny_models.tiny_model("bert", vocab_size=tiny_tokenizer.vocab_size, seed=seed)
        hub.save(model, tiny_tokenizer, folder / name, family="bert")
    return folder


def test_errors_of_one_model(cloze: Cloze, models: Path, corpus: Path, tmp_path: Path) -> None:
    out = cloze("errors", models / "one", corpus, "--row-length", 32, "--html", tmp_path / "errors.html")
    for part in ("Word frequency", "Others hidden nearby", "Most confident mistakes", "What is taken for what"):
        assert part in out
    assert max(len(line) for line in out.splitlines() if "errors.html" not in line) <= 80
    page = (tmp_path / "errors.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 10
    for never in ("<script", "http://", "https://", "src="):
        assert never not in page


def test_quotations_on_the_page_have_no_line_ends(cloze: Cloze, models: Path, corpus: Path, tmp_path: Path) -> None:
    """The style shows them (white-space:pre-line), so that each would break a sentence in two."""
    common = ("errors", models / "one", corpus, "--against", models / "two", "--row-length", 32)
    cloze(*common, "--html", tmp_path / "errors.html")
    page = (tmp_path / "errors.html").read_text(encoding="utf-8")
    quoted = re.findall(r'<p class="text">.*?</p>', page, re.DOTALL)
    assert len(quoted) > 20
    assert not [one for one in quoted if "\n" in one]


def test_few_documents_have_no_intervals_and_that_is_said_once(
    cloze: Cloze, models: Path, corpus: Path, tmp_path: Path
) -> None:
    common = ("errors", models / "one", corpus, "--row-length", 32, "--max-documents", 2)
    out = cloze(*common, "--html", tmp_path / "errors.html")
    assert out.count("Too few documents (2) for intervals.") == 1
    assert "too few documents (2) for an interval" in " ".join(out.split())
    assert "[word] was hidden; ·word joins on" in out
    assert "Too few documents (2)" in (tmp_path / "errors.html").read_text(encoding="utf-8")
    assert "Too few" not in cloze(*common[:-1], 12)


def test_two_models(cloze: Cloze, models: Path, corpus: Path, tmp_path: Path) -> None:
    common = ("errors", models / "one", corpus, "--against", models / "two", "--row-length", 32)
    out = cloze(*common, "--html", tmp_path / "errors.html")
    assert "A: one" in out
    assert "B − A" in out
    page = (tmp_path / "errors.html").read_text(encoding="utf-8")
    assert "two against one" in page
    found = json.loads(cloze(*common, "--json", "--show", 0))
    assert found["models"] == ["one", "two"]
    assert found["mistakes"] == [[], []]
    assert len(found["groups"]) == 9


def test_what_errors_refuses(
    mistake: Mistake, models: Path, corpus: Path, tiny_store: Path, texts: list[str]
) -> None:
    one = models / "one"
    assert "held_out.jsonl" in mistake("errors", one, tiny_store)
    assert "--rate" in mistake("errors", one, corpus, "--rate", 1.5)
    assert "is a directory" in mistake("errors", one, corpus, "--html", models)
    assert "no model directory" in mistake("errors", models / "three", corpus)
    assert "no text to examine" in mistake("errors", one, empty(corpus))
    other = tiny_runs.tokenizer(texts[:10])
    model = tiny_models.tiny_model("bert", vocab_size=other.vocab_size)
    hub.save(model, other, models / "other", family="bert")
    assert "different tokenizers" in mistake("errors", one, corpus, "--against", models / "other")


def empty(corpus: Path) -> Path:
    file = corpus.with_name("empty.txt")
    file.write_text(" \n\n", encoding="utf-8")
    return file


def test_doctor_exits_by_severity(models: Path, tiny_store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A random model: it knows nothing, which is an error where the store is its own and a warning elsewhere."""

    def status(*arguments: object) -> int:
        with pytest.raises(SystemExit) as caught:
            main(["doctor", *map(str, arguments)])
        return int(caught.value.code or 0)

    assert status(models / "one", "--data", tiny_store) == 1
    printed = capsys.readouterr().out
    assert "✖ error  knows something" in printed
    assert "why  " in printed
    assert status(tiny_store) == 0, "a small vocabulary and little text are no errors"
    assert status(tiny_store, "--fail-on", "note") == 1
    capsys.readouterr()


def test_doctor_of_a_damaged_model(models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = Path(shutil.copytree(models / "one", tmp_path / "broken"))
    os.truncate(broken / "model.safetensors", 1000)
    with pytest.raises(SystemExit) as caught:
        main(["doctor", str(broken)])
    assert caught.value.code == 1
    assert "The model cannot be opened: " in " ".join(capsys.readouterr().out.split())


def test_doctor_as_json(cloze: Cloze, tiny_store: Path) -> None:
    found = json.loads(cloze("doctor", tiny_store, "--json"))
    assert found["kinds"] == ["token store"]
    assert {"severity", "what", "why", "do", "check"} == set(found["findings"][0])
    assert found["worst"] in ("note", "warning")


def test_what_doctor_refuses(mistake: Mistake, tmp_path: Path, tiny_store: Path) -> None:
    assert "There is no" in mistake("doctor", tmp_path / "nothing")
    assert "no run" in mistake("doctor", tmp_path)
    (tmp_path / "run.json").write_text("{", encoding="utf-8")
    assert "run.json is damaged" in mistake("doctor", tmp_path)
    assert "no use here" in mistake("doctor", tiny_store, "--data", tiny_store)
    assert "fill one row of 99999999999" in mistake("doctor", tiny_store, "--row-length", 99999999999)
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "config.json").write_text('{"model_type": "gpt2"}', encoding="utf-8")
    assert "'gpt2' is not supported" in mistake("doctor", tmp_path / "foreign")
    (tmp_path / "tuned").mkdir()
    (tmp_path / "tuned" / "run.json").write_text('{"task": "classify"}', encoding="utf-8")
    assert "is a fine-tuning" in mistake("doctor", tmp_path / "tuned")
