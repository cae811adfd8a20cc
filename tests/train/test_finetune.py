"""Fine-tuning: every family learns, resuming and splitting change nothing, and only what should be trained is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from clozelm.errors import DataError, SettingsError, TrainingError
from clozelm.families import FAMILIES
from clozelm.hub.classifier import LoadedClassifier, new_classifier
from clozelm.hub.save import save
from clozelm.settings import load
from clozelm.tasks.classify import Classify, balanced, labels_of
from clozelm.tasks.tag import Tag, tags_of
from clozelm.tasks.task import Task
from clozelm.text.examples import TaggedSentence, TextExample
from clozelm.train import checkpoint
from clozelm.train.finetune import FinetuneReport, finetune
from clozelm.train.finetune_settings import FinetuneSettings
from clozelm.train.tuning import Split, Tuning
from tests.tiny_models import WORDS, tiny_model, wordpiece

ANIMALS = [
    f"the {word} {verb} on a {place}"
    for word in ("cat", "dog")
    for verb in ("sat", "ran")
    for place in ("mat", "dog", "cat", "machine")
]
TEXTS = [
    TextExample((text,), "pet" if text.split()[2] == "sat" else "wild", f"t:{i}") for i, text in enumerate(ANIMALS)
]
PAIRS = [TextExample((one.texts[0], "the cat sat"), one.label, one.source) for one in TEXTS]
MULTI = [
    TextExample(one.texts, tuple(w for w in ("ran", "mat", "machine") if w in one.texts[0].split()))
    for one in TEXTS
]
NUMBERS = [TextExample(one.texts, 1.0 if "ran" in one.texts[0] else -0.5) for one in TEXTS]
SENTENCES = [
    TaggedSentence(
        tuple(text.split()),
        tuple({"cat": "B-PET", "dog": "B-PET", "machine": "B-THING"}.get(w, "O") for w in text.split()),
    )
    for text in ANIMALS
]
QUICK = [
    "data.batch_size=8",
    "run.precision=fp32",
    "optim.learning_rate=5e-3",
    "budget.epochs=10",
    "run.device=cpu",
]


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    root = tmp_path_factory.mktemp("models")

    def made(family: str) -> Path:
        if not (root / family).exists():
            save(tiny_model(family), wordpiece(), root / family, family=family)
        return root / family

    return made


def start(directory: Path, task: Task[Any], **changes: Any) -> LoadedClassifier:
    return new_classifier(directory, kind=task.kind, labels=task.labels, problem=task.problem, **changes)


def tuning(
    directory: Path, out: Path, examples: list[Any], task: Task[Any], *settings: str, **changes: Any
) -> Tuning[Any]:
    run = Tuning(
        load(FinetuneSettings, None, [*QUICK, *settings]),
        task=task,
        start=start(directory, task, **changes),
        split=Split(examples, examples),
        out=out,
    )
    run.open()
    return run


def classify(examples: list[TextExample], problem: Any = "single") -> Classify:
    return Classify(labels_of(examples, problem), problem)


SLOWER = {("albert", "multi"): ["budget.epochs=240", "evaluation.every=80"]}  # its layers are one
BY_HEART = ["data.batch_size=16", "budget.epochs=90", "evaluation.every=30", "optim.weight_decay=0"]
CASES: list[tuple[str, list[Any], Task[Any], str, float]] = [
    ("texts", TEXTS, classify(TEXTS), "accuracy", 1.0),
    ("pairs", PAIRS, classify(PAIRS), "accuracy", 1.0),
    ("multi", MULTI, classify(MULTI, "multi"), "micro_f1", 0.99),
    ("numbers", NUMBERS, classify(NUMBERS, "regression"), "pearson", 0.95),
    ("tags", SENTENCES, Tag(tags_of(SENTENCES, "BIO")), "f1", 1.0),
]


@pytest.mark.parametrize(("name", "examples", "task", "metric", "enough"), CASES, ids=[case[0] for case in CASES])
@pytest.mark.parametrize("family", list(FAMILIES))
def test_sixteen_examples_are_learned_by_heart(
    family: str,
    name: str,
    examples: list[Any],
    task: Task[Any],
    metric: str,
    enough: float,
    tmp_path: Path,
    model_dir: Any,
) -> None:
    run = tuning(model_dir(family), tmp_path / "out", examples, task, *BY_HEART, *SLOWER.get((family, name), ()))
    reports = list(finetune(run))
    assert run.best_value >= enough, (family, name, [report.dev for report in reports if report.dev][-1])
    assert run.metric == metric


def steps(run: Tuning[Any], count: int | None = None) -> list[FinetuneReport]:
    found = []
    for report in finetune(run):
        found.append(report)
        if count is not None and len(found) == count:
            break
    return found


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_resumed_run_is_the_uninterrupted_one(precision: str, tmp_path: Path, model_dir: Any) -> None:
    given = (f"run.precision={precision}", "checkpoint.every_steps=3", "budget.epochs=4", "model.dropout=0.1")
    task, directory = classify(TEXTS), model_dir("bert")
    whole = tuning(directory, tmp_path / "whole", TEXTS, task, *given, dropout=0.1)
    steps(whole)
    first = tuning(directory, tmp_path / "parts", TEXTS, task, *given, dropout=0.1)
    steps(first, 4)  # one step after the checkpoint is lost
    second = tuning(directory, tmp_path / "parts", TEXTS, task, *given, dropout=0.1)
    assert second.step == 3
    steps(second)
    for name, tensor in whole.weights().items():
        assert torch.equal(tensor, second.weights()[name]), name
    assert whole.best is not None
    assert second.best is not None
    assert all(torch.equal(tensor, second.best[name]) for name, tensor in whole.best.items())
    journals = [(tmp_path / name / "journal.jsonl").read_text().splitlines() for name in ("whole", "parts")]
    without = [[line.partition('"seconds"')[0] for line in journal] for journal in journals]
    assert without[0] == without[1]


@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
def test_a_step_in_parts_is_the_whole_step(case: Any, tmp_path: Path, model_dir: Any) -> None:
    _, examples, task, _, _ = case
    losses, weights = [], []
    for tokens in (8192, 16):
        run = tuning(model_dir("bert"), tmp_path / str(tokens), examples, task, f"data.micro_batch_tokens={tokens}")
        losses.append([report.loss for report in steps(run, 3)])
        weights.append(run.weights())
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    for name, tensor in weights[0].items():
        assert torch.allclose(tensor, weights[1][name], atol=2e-4), name


def test_class_weights_count_as_repeated_examples(tmp_path: Path, model_dir: Any) -> None:
    """Balanced weights give the loss of a set in which the rarer class is repeated."""
    rare = [*TEXTS[:8], *(one for one in TEXTS[8:] if one.label == "pet")][:9]
    labels = labels_of(rare, "single")
    assert labels == ("pet", "wild")
    weights = balanced(rare, labels)
    task = Classify(labels, weights=weights)
    targets = torch.from_numpy(task.targets(rare).values)
    logits = torch.randn(len(rare), 2, generator=torch.Generator().manual_seed(0))
    mean = float(task.loss(logits, targets)) / task.count(targets)
    each = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    by_class = [float(each[targets == number].mean()) for number in (0, 1)]
    assert mean == pytest.approx(sum(by_class) / 2, rel=1e-5)


def changed(run: Tuning[Any], before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, tensor in run.weights().items() if not torch.equal(tensor, before[name])}


def test_frozen_layers_stay_and_top_layers_are_drawn_anew(tmp_path: Path, model_dir: Any) -> None:
    task = classify(TEXTS)
    fresh = {name: p.detach().clone() for name, p in start(model_dir("bert"), task).model.named_parameters()}
    run = tuning(model_dir("bert"), tmp_path / "a", TEXTS, task, "model.freeze_layers=2")
    steps(run, 2)
    moved = changed(run, fresh)
    assert not [name for name in moved if "embeddings" in name or "layers.0." in name or "layers.1." in name]
    assert {"head.out.weight", "encoder.layers.2.mlp.up.weight"} <= moved
    run = tuning(model_dir("bert"), tmp_path / "b", TEXTS, task, "model.reinit_layers=1")
    drawn = changed(run, fresh)
    assert drawn
    assert all(name.startswith("encoder.layers.2.") for name in drawn)
    assert float(run.weights()["encoder.layers.2.mlp.up.weight"].std()) == pytest.approx(0.02, rel=0.1)
    with pytest.raises(SettingsError, match="has only 3 layers"):
        tuning(model_dir("bert"), tmp_path / "c", TEXTS, task, "model.freeze_layers=4")


def test_low_rank_updates_train_little_and_merge_into_the_model(tmp_path: Path, model_dir: Any) -> None:
    task = Tag(tags_of(SENTENCES, "BIO"))
    run = tuning(model_dir("modernbert"), tmp_path / "a", SENTENCES, task, "model.lora_rank=4", "budget.epochs=20")
    begun = run.answer_dev().logits
    fresh = start(model_dir("modernbert"), task)
    run.model.eval()
    trained = [name for name, p in run.model.named_parameters() if p.requires_grad]
    assert all(name.startswith("head.") or name.endswith((".down", ".up")) for name in trained), trained
    steps(run)
    assert run.best_value > 0.9
    best = run.best
    assert best is not None
    run._take(best)
    before = run.answer_dev().logits
    run.settle()
    assert run.answer_dev().logits == pytest.approx(before, abs=1e-4)
    assert set(dict(run.model.named_parameters())) == set(dict(fresh.model.named_parameters()))
    assert abs(before - begun).max() > 0.1


def test_lower_layers_learn_slower(tmp_path: Path, model_dir: Any) -> None:
    run = tuning(
        model_dir("bert"), tmp_path / "a", TEXTS, classify(TEXTS), "optim.layer_decay=0.5", "optim.head_factor=2"
    )
    adamw = run.optimisers._parts["adamw"]
    rate = {id(p): group["base_lr"] for group in adamw.param_groups for p in group["params"]}
    by_name = {name: rate[id(p)] / 5e-3 for name, p in run.model.named_parameters()}
    assert by_name["head.out.weight"] == pytest.approx(2)
    assert by_name["encoder.layers.2.mlp.up.weight"] == pytest.approx(0.5)
    assert by_name["encoder.layers.0.mlp.up.weight"] == pytest.approx(0.125)
    assert by_name["encoder.embeddings.tokens.weight"] == pytest.approx(0.0625)


def test_patience_ends_training_and_the_best_is_kept(tmp_path: Path, model_dir: Any) -> None:
    run = tuning(
        model_dir("bert"),
        tmp_path / "a",
        TEXTS,
        classify(TEXTS),
        "budget.patience=2",
        "budget.epochs=50",
        "optim.learning_rate=1e-9",
    )
    reports = [report for report in steps(run) if report.dev]
    assert len(reports) == 3
    assert [report.is_best for report in reports] == [True, False, False]
    assert run.best_step == reports[0].step


def test_of_equal_figures_the_lower_loss_is_kept(tmp_path: Path, model_dir: Any) -> None:
    run = tuning(model_dir("bert"), tmp_path / "a", TEXTS, classify(TEXTS), "checkpoint.every_steps=1")
    taken = [run.take_stock(*one) for one in [(0.5, 1.0), (0.5, 0.9), (0.5, 0.95), (0.4, 0.1), (0.6, 2.0)]]
    assert taken == [True, True, False, False, True]
    assert run.misses == 0
    assert run.take_stock(0.6, 1.9)
    assert run.misses == 1, "what patience waits for is a better figure"
    run.save_checkpoint()
    again = tuning(model_dir("bert"), tmp_path / "a", TEXTS, classify(TEXTS), "checkpoint.every_steps=1")
    assert (again.best_value, again.best_loss) == (0.6, 1.9)
    assert not again.take_stock(0.6, 1.9)
    assert again.take_stock(0.6, 1.8)


def test_another_task_in_the_same_place_is_refused(tmp_path: Path, model_dir: Any) -> None:
    task = classify(TEXTS)
    tuning(model_dir("bert"), tmp_path / "a", TEXTS, task)
    with pytest.raises(SettingsError, match=r"optim.learning_rate"):
        tuning(model_dir("bert"), tmp_path / "a", TEXTS, task, "optim.learning_rate=1e-3")
    with pytest.raises(SettingsError, match="the examples of train"):
        tuning(model_dir("bert"), tmp_path / "a", TEXTS[:-1], task)
    (tmp_path / "b").mkdir()
    (tmp_path / "b/mine.txt").write_text("x")
    with pytest.raises(SettingsError, match="holds no fine-tuning"):
        tuning(model_dir("bert"), tmp_path / "b", TEXTS, task)


def test_unknown_labels_and_too_long_sequences_are_named(tmp_path: Path, model_dir: Any) -> None:
    other = [*TEXTS[:-1], TextExample(("the cat",), "fish", "dev.csv:9")]
    with pytest.raises(DataError, match=r"dev.csv:9: label 'fish' is not among those trained on \(pet, wild\)"):
        tuning(model_dir("bert"), tmp_path / "a", other, classify(TEXTS))
    with pytest.raises(SettingsError, match="more than the model's 64 positions"):
        tuning(model_dir("bert"), tmp_path / "b", TEXTS, classify(TEXTS), "data.max_length=65")


def test_checkpoints_hold_the_best_weights(tmp_path: Path, model_dir: Any) -> None:
    run = tuning(model_dir("bert"), tmp_path / "a", TEXTS, classify(TEXTS), "checkpoint.every_steps=2")
    steps(run, 4)
    newest, problems = checkpoint.newest(tmp_path / "a")
    assert newest is not None
    assert not problems
    assert run.best is not None
    best = newest.load("best", torch.device("cpu"))
    assert all(torch.equal(tensor, best[name]) for name, tensor in run.best.items())
    assert WORDS


@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
def test_a_model_that_diverges_in_its_last_step_is_no_result(case: Any, tmp_path: Path, model_dir: Any) -> None:
    """Answers that are no numbers must not pass for words that were not asked, which count as O."""
    _, examples, task, _, _ = case
    given = ("optim.learning_rate=1e30", "data.batch_size=16", "budget.epochs=1", "schedule.kind=constant")
    run = tuning(model_dir("bert"), tmp_path / "out", examples, task, *given)
    with pytest.raises(TrainingError, match=r"not finite at step 1 .* lower optim.learning_rate"):
        steps(run)


def test_any_seed_will_do(tmp_path: Path, model_dir: Any) -> None:
    run = tuning(model_dir("bert"), tmp_path / "out", TEXTS, classify(TEXTS), f"run.seed={2**80}", seed=2**80)
    assert len(steps(run, 1)) == 1
