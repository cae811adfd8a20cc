"""`cloze score` and `cloze minimal-pairs`, for a person and as JSON."""

import io
import json
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from clozelm import hub, load
from clozelm.cli.main import main
from clozelm.nn.heads import Discriminator
from tests import tiny_models
from tests.cli.conftest import Cloze, Mistake


@pytest.fixture
def model(tmp_path: Path) -> Path:
    hub.save(tiny_models.tiny_model("bert"), tiny_models.wordpiece(), tmp_path / "model", family="bert")
    return tmp_path / "model"


@pytest.fixture
def discriminator(tmp_path: Path) -> Path:
    discriminator = Discriminator(tiny_models.tiny_config("electra"))
    tiny_models.perturb(discriminator, 0)
    hub.save(discriminator, tiny_models.wordpiece(), tmp_path / "discriminator", family="electra")
    return tmp_path / "discriminator"


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.csv"
    path.write_text("good,bad,group\nthe cat,cat the,order\ncats,cat,number\na dog,dog a,order\n")
    return path


def test_json(cloze: Cloze, model: Path) -> None:
    (line,) = cloze("score", model, "the cats", "--json").splitlines()
    found = json.loads(line)
    assert list(found) == [
        "text",
        "method",
        "log_probability",
        "num_pieces",
        "num_bytes",
        "nats_per_piece",
        "nats_per_byte",
        "bits_per_byte",
        "pieces",
        "notice",
    ]
    assert [piece["token"] for piece in found["pieces"]] == ["the", "cat", "s"]
    assert found["pieces"][0].keys() == {"id", "token", "log_probability"}
    assert found["method"] == "within_word"
    facade = load(model).score("the cats")
    assert found["log_probability"] == pytest.approx(facade.log_probability)
    assert load(model).score(["the cats"]) == [facade]


def test_a_text_of_one_word_or_none_is_a_text(
    cloze: Cloze, mistake: Mistake, capsys: pytest.CaptureFixture[str]
) -> None:
    assert json.loads(cloze("score", "hello", "--json"))["text"] == "hello"
    with pytest.raises(SystemExit):
        main(["score", "", "--json"])
    assert json.loads(capsys.readouterr().out)["text"] == ""
    assert "hello" in mistake("score", "hello", "world")
    assert "Traceback" not in mistake("score", "hello", "--file", "nowhere.txt")


def test_for_a_person(cloze: Cloze, model: Path) -> None:
    head, first, second = cloze("score", model, "the cats", "a\ndog", "--method", "original").splitlines()
    assert head.split() == ["nats", "pieces", "per", "piece", "bits/byte", "text"]
    assert first.endswith("  the cats")
    assert second.endswith("  a dog")
    assert second.split()[1] == "2"


def test_files_and_standard_input(
    cloze: Cloze, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lines.txt").write_text("the cat\n\na dog\n")
    (tmp_path / "records.csv").write_text("id,says\n1,the mat\n")
    monkeypatch.setattr("sys.stdin", io.StringIO("\ufeffa cat\r\n\nthe dog\n"))

    def texts(*arguments: object) -> list[str]:
        return [json.loads(line)["text"] for line in cloze("score", model, *arguments, "--json").splitlines()]

    assert texts("-") == ["a cat", "the dog"]
    assert texts("a mat", "--file", tmp_path / "lines.txt") == ["a mat", "the cat", "a dog"]
    assert texts("--file", tmp_path / "records.csv", "--field", "says") == ["the mat"]


def test_nothing_to_score_is_null(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from clozelm.cli.main import main

    with pytest.raises(SystemExit):
        main(["score", str(model), "", "--json"])
    printed = capsys.readouterr()
    assert json.loads(printed.out)["bits_per_byte"] is None
    assert printed.err == "notice: The text has no piece to score.\n"


def test_a_discriminator(cloze: Cloze, mistake: Mistake, discriminator: Path, pairs: Path) -> None:
    assert json.loads(cloze("score", discriminator, "the cats", "--json"))["method"] == "replaced"
    assert json.loads(cloze("minimal-pairs", discriminator, pairs, "--json"))["method"] == "replaced"
    said = mistake("score", discriminator, "the cats", "--method", "original")
    assert said == "method='original' does not suit a discriminator: use replaced."
    weights = load_file(discriminator / "model.safetensors")
    broken = {name: one / 0 for name, one in weights.items()}
    save_file(broken, discriminator / "model.safetensors")
    assert "holds numbers that are not finite" in mistake("score", discriminator, "the cats")


def test_minimal_pairs(cloze: Cloze, model: Path, pairs: Path) -> None:
    found = json.loads(cloze("minimal-pairs", model, pairs, "--json"))
    assert list(found) == ["method", "mean", "pooled", "groups"]
    assert list(found["groups"]) == ["order", "number"]
    assert found["groups"]["order"].keys() == {"accuracy", "interval", "pairs", "wins", "ties"}
    assert found["pooled"]["pairs"] == 3
    lines = cloze("minimal-pairs", model, pairs).splitlines()
    assert [line.split()[0] for line in lines] == ["group", "order", "number", "mean", "all"]
    limited = json.loads(cloze("minimal-pairs", model, pairs, "--limit", 1, "--json"))
    assert list(limited["groups"]) == ["order"]


def test_mistakes(mistake: Mistake, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert "There is no text to score" in mistake("score", model)
    assert "standard input was empty" in mistake("score", model, "-")
    monkeypatch.setattr("sys.stdin", None)
    assert "standard input was empty" in mistake("score", model, "-")
    (tmp_path / "blank.txt").write_text("\n \n")
    assert mistake("score", model, "--file", tmp_path / "blank.txt").endswith("blank.txt holds none.")
    assert "not valid text" in mistake("score", model, "a \udcff")
    assert "no such file" in mistake("score", model, "--file", tmp_path / "none.txt")
    assert "method='pll' is not one of" in mistake("score", model, "a", "--method", "pll")
    assert "There is no model directory" in mistake("score", tmp_path / "nowhere", "a")
    (tmp_path / "bad.csv").write_text("good,bad\nthe cat,\n")
    assert mistake("minimal-pairs", model, tmp_path / "bad.csv").endswith("bad.csv:2: field 'bad' is empty.")


def test_bf16_says_what_it_changes(model: Path, pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from clozelm.cli.main import main

    found = {}
    for precision in ("fp32", "bf16"):
        with pytest.raises(SystemExit):
            main(["score", str(model), "the cats sat", "a dog", "--precision", precision, "--json"])
        printed = capsys.readouterr()
        found[precision] = [json.loads(line)["log_probability"] for line in printed.out.splitlines()]
        assert ("precision: bf16 differs from fp32 by up to" in printed.err) == (precision == "bf16")
    gap = max(abs(one - other) for one, other in zip(*found.values(), strict=True))
    assert gap > 0
    assert found["bf16"] == pytest.approx(found["fp32"], rel=0.05)
    with pytest.raises(SystemExit):
        main(["score", str(model), "the cats sat", "a dog", "--precision", "bf16"])
    assert f"up to {gap:.3f} nats a sentence" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["minimal-pairs", str(model), str(pairs), "--precision", "bf16", "--json"])
    printed = capsys.readouterr()
    assert "on the first 6;" in printed.err
    assert json.loads(printed.out)["pooled"]["pairs"] == 3
