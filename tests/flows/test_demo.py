"""The demo, on a few of its abstracts and with a tiny model: the whole road, then again without walking it."""

import itertools
import lzma
from pathlib import Path

import pytest

import clozelm
from clozelm.flows import demo as module
from clozelm.samples import ABSTRACTS
from clozelm.text.readers import documents

TINY = (
    "model.num_layers=1",
    "model.hidden_size=32",
    "model.num_heads=2",
    "model.intermediate_size=32",
    "model.max_positions=128",
    "data.tokens_per_step=512",
    "run.precision=fp32",
)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch, known_machine: None, tmp_path: Path) -> None:
    with lzma.open(ABSTRACTS, "rt", encoding="utf-8") as lines:
        (tmp_path / "few.jsonl").write_text("".join(itertools.islice(lines, 80)), encoding="utf-8")
    monkeypatch.setattr(module, "ABSTRACTS", tmp_path / "few.jsonl")
    monkeypatch.setattr(module, "VOCAB_SIZE", 400)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_demo_runs_and_does_not_do_its_work_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "demo"
    module.demo(out, minutes=0.01, overrides=TINY)
    first = capsys.readouterr().out
    assert (out / "run" / "loss.png").read_bytes().startswith(b"\x89PNG")
    model = clozelm.load(out / "run")
    assert len(model.fill(module.PROBES[0])[0]) == 5
    for said in (
        "Training a WordPiece tokenizer of 400 pieces",
        "of 76 abstracts; 4 more",
        "Training modernbert, 1 layers x 32",
        "Held-out abstracts",
        "of that optimiser steps",
        f"cloze fill {out / 'run' / 'model'}",
        *(probe.replace("[MASK]", "____") for probe in module.PROBES),
    ):
        assert said in " ".join(first.split()), said
    before = files(out)
    module.demo(out, minutes=0.01, overrides=TINY)
    second = capsys.readouterr().out
    assert "Training a WordPiece tokenizer" not in second
    assert "Prepared" not in second
    after = files(out)
    assert after.keys() == before.keys()
    assert [name for name in after if after[name] != before[name]] in ([], ["run/loss.png"])


def test_nothing_held_out_is_learned_from(tmp_path: Path) -> None:
    module.demo(tmp_path / "demo", minutes=0.01, overrides=TINY)
    held = [each.text for each in documents([tmp_path / "demo" / "tokens" / "held_out.jsonl"])]
    learned = [each.text for each in module.training_documents([module.ABSTRACTS], module._PREPARE)]
    assert len(held) == 4
    assert len(learned) == 76
    assert not set(held) & {text.strip() for text in learned}
