"""Fine-tuning by a prompt: every family learns, resuming and splitting change nothing, 0 epochs only ask."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from clozelm import hub
from clozelm.errors import SettingsError
from clozelm.families import FAMILIES
from clozelm.hub.classifier import new_classifier
from clozelm.settings import load
from clozelm.tasks.classify import Classify
from clozelm.tasks.prompt import Prompt
from clozelm.text.examples import TextExample
from clozelm.train.finetune_settings import FinetuneSettings
from clozelm.train.tuning import Split, Tuning
from tests.tiny_models import tiny_model, wordpiece
from tests.train.test_finetune import BY_HEART, PAIRS, QUICK, TEXTS, steps

WORDS = {"pet": ("powerful",), "wild": ("learning", "is")}
ONE, TWO = Prompt("{text} the [MASK] .", WORDS), Prompt("{b} the [MASK] . {a}", WORDS)


def saved(family: str, tmp_path: Path) -> Path:
    if not (tmp_path / family).exists():
        hub.save(tiny_model(family), wordpiece(), tmp_path / family, family=family)
    return tmp_path / family


def tuning(
    directory: Path,
    out: Path,
    *settings: str,
    prompt: Prompt = ONE,
    examples: list[TextExample] = TEXTS,
    dev: list[TextExample] | None = None,
    **rest: Any,
) -> Tuning[Any]:
    task = Classify(("pet", "wild"), prompt=prompt)
    run = Tuning(
        load(FinetuneSettings, None, [*QUICK, *settings]),
        task=task,
        start=hub.new_prompt(directory, prompt=prompt, labels=task.labels, **rest),
        split=Split(examples, dev or examples),
        out=out,
    )
    run.open()
    return run


@pytest.mark.parametrize("prompt", [ONE, TWO], ids=["texts", "pairs"])
@pytest.mark.parametrize("family", list(FAMILIES))
def test_sixteen_examples_are_learned_by_heart(family: str, prompt: Prompt, tmp_path: Path) -> None:
    examples = TEXTS if prompt is ONE else PAIRS
    run = tuning(saved(family, tmp_path), tmp_path / "out", *BY_HEART, prompt=prompt, examples=examples)
    reports = steps(run)
    assert run.best_value == 1.0, [report.dev for report in reports if report.dev][-1]
    assert run.metric == "accuracy"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_resumed_run_is_the_uninterrupted_one(precision: str, tmp_path: Path) -> None:
    given = (f"run.precision={precision}", "checkpoint.every_steps=3", "budget.epochs=4")
    directory = saved("bert", tmp_path)
    whole = tuning(directory, tmp_path / "whole", *given, dropout=0.1)
    steps(whole)
    steps(tuning(directory, tmp_path / "parts", *given, dropout=0.1), 4)  # one step after the checkpoint is lost
    second = tuning(directory, tmp_path / "parts", *given, dropout=0.1)
    assert second.step == 3
    steps(second)
    assert all(torch.equal(tensor, second.weights()[name]) for name, tensor in whole.weights().items())
    whole.settle()
    second.settle()
    assert (whole.answer_dev().logits == second.answer_dev().logits).all()


def labelled_by(directory: Path, out: Path) -> list[TextExample]:
    """Texts with what the model answers to them as it is."""
    untrained = tuning(directory, out)
    answers = untrained.answer_dev().logits.argmax(axis=1).tolist()
    pairs = zip(TEXTS, answers, strict=True)
    return [replace(text, label=untrained.task.labels[answer]) for text, answer in pairs]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_untrained_model_is_kept_where_nothing_beats_it(precision: str, tmp_path: Path) -> None:
    """In a run that was interrupted as well; what is learned here is wrong everywhere."""
    directory = saved("bert", tmp_path)
    dev = labelled_by(directory, tmp_path / "asked")
    examples = [replace(one, label="wild" if one.label == "pet" else "pet") for one in dev]
    worse = (
        "optim.learning_rate=0.01",
        f"run.precision={precision}",
        "checkpoint.every_steps=3",
        "budget.epochs=2",
    )
    run = tuning(directory, tmp_path / "out", *worse, examples=examples, dev=dev)
    steps(run, 4)
    run = tuning(directory, tmp_path / "out", *worse, examples=examples, dev=dev)
    reports = [report for report in steps(run) if report.dev]
    assert not any(report.is_best for report in reports)
    assert run.best_step == 0
    run.settle()
    before = hub.load(directory).model.state_dict()
    start: Any = run.start
    after = start.masked_lm.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_another_prompt_in_the_same_place_is_refused(tmp_path: Path) -> None:
    directory = saved("bert", tmp_path)
    tuning(directory, tmp_path / "out")
    tuning(directory, tmp_path / "out")
    other = Prompt(ONE.pattern, WORDS | {"pet": ("machine",)})
    with pytest.raises(SettingsError, match=r"holds another fine-tuning \(prompt\)"):
        tuning(directory, tmp_path / "out", prompt=other)
    with pytest.raises(SettingsError, match=r"holds another fine-tuning \(prompt\)"):
        Tuning(
            load(FinetuneSettings, None, QUICK),
            task=Classify(("pet", "wild")),
            start=new_classifier(directory, kind="sequence", labels=("pet", "wild")),
            split=Split(TEXTS, TEXTS),
            out=tmp_path / "out",
        ).open()


def test_a_step_in_parts_is_the_whole_step(tmp_path: Path) -> None:
    runs = [
        tuning(saved("bert", tmp_path), tmp_path / str(n), f"data.micro_batch_tokens={n}", "data.batch_size=16")
        for n in (8192, 16)
    ]
    losses = [[report.loss for report in steps(run, 2)] for run in runs]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_low_rank_updates_merge_into_the_model_that_is_saved(tmp_path: Path) -> None:
    run = tuning(saved("bert", tmp_path), tmp_path / "out", "model.lora_rank=4", "budget.epochs=4")
    steps(run)
    run.settle()
    start: Any = run.start
    hub.save_prompt(start, tmp_path / "prompted")
    again = hub.load_prompt(tmp_path / "prompted").model.state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in run.model.state_dict().items())
    fixed = hub.load(tmp_path / "bert").model.state_dict()
    name = "encoder.embeddings.tokens.weight"
    assert torch.equal(fixed[name], again[name])
    assert not torch.equal(fixed["encoder.layers.0.mlp.up.weight"], again["encoder.layers.0.mlp.up.weight"])


def test_no_epochs_change_nothing_and_need_a_prompt(tmp_path: Path) -> None:
    directory = saved("bert", tmp_path)
    run = tuning(directory, tmp_path / "out", "budget.epochs=0")
    assert run.is_finished
    before = run.answer_dev().logits
    assert not steps(run)
    run.settle()
    assert (run.answer_dev().logits == before).all()
    with pytest.raises(SettingsError, match=r"budget.epochs=0 trains nothing, and the head of the model is new"):
        Tuning(
            load(FinetuneSettings, None, [*QUICK, "budget.epochs=0"]),
            task=Classify(("pet", "wild")),
            start=new_classifier(directory, kind="sequence", labels=("pet", "wild")),
            split=Split(TEXTS, TEXTS),
            out=tmp_path / "other",
        )
