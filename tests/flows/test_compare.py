"""A comparison of tiny arms: trained, stopped, resumed and refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from clozelm.data.store import TokenStore
from clozelm.errors import DataError, SettingsError
from clozelm.flows import compare
from clozelm.flows.compare_settings import load_comparison
from clozelm.text.atomic import alone
from clozelm.train import pretrain
from clozelm.train.journal import records
from clozelm.train.pretrain import train
from clozelm.train.run import Run
from tests import tiny_runs
from tests.flows.comparisons import ARMS, QUIET, recipe, started

pytestmark = pytest.mark.usefixtures("known_machine")


def test_arms_and_seeds_are_ordinary_runs(tiny_store: Path, tmp_path: Path) -> None:
    comparison = load_comparison(recipe(tmp_path))
    plan = started(comparison, tiny_store, tmp_path / "out")
    assert not plan.unfinished
    assert [(job.arm.name, job.seed) for job in plan.jobs] == [
        ("uniform", 0),
        ("words", 0),
        ("uniform", 1),
        ("words", 1),
    ]
    alone = tiny_runs.settings("masking.strategy=whole_word", "run.seed=1", "budget.steps=4")
    tiny_runs.trained(alone, tiny_store, tmp_path / "alone")
    tiny_runs.assert_equal_runs(tmp_path / "alone", tmp_path / "out" / "arms" / "words" / "seed-1")


def test_what_is_finished_is_not_trained_again_and_the_rest_is_resumed(
    tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    comparison = load_comparison(recipe(tmp_path))
    started(comparison, tiny_store, tmp_path / "straight")
    plan = compare.begin(comparison, data=tiny_store, out=tmp_path / "cut")
    assert compare.train_arms(plan, only=["words"], console=QUIET)
    assert [job.arm.name for job in plan.unfinished] == ["uniform", "uniform"]
    first = plan.unfinished[0]
    tiny_runs.trained(first.settings, first.store, first.out, stop_after=2)
    opened = []

    def noted(plan: compare.Plan, job: compare.Job) -> Run:
        opened.append((job.arm.name, job.seed))
        return Run.open(job.settings, data=job.store, out=job.out, heldout=plan.heldout)

    monkeypatch.setattr(compare, "open_run", noted)
    started(comparison, tiny_store, tmp_path / "cut")
    assert opened == [("uniform", 0), ("uniform", 1)]
    for job in plan.jobs:
        other = tmp_path / "straight" / "arms" / job.arm.name / f"seed-{job.seed}"
        tiny_runs.assert_equal_runs(job.out, other)


def test_a_signal_stops_between_steps_and_later_runs_are_not_begun(
    tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    comparison = load_comparison(recipe(tmp_path))

    def interrupted(run: Run, **_: Any) -> None:
        list(train(run, stop_after=2))

    monkeypatch.setattr(compare, "show_run", interrupted)
    plan = compare.begin(comparison, data=tiny_store, out=tmp_path / "out")
    assert not compare.train_arms(plan, console=QUIET)
    assert len(plan.unfinished) == 4
    assert [path.name for path in (tmp_path / "out" / "arms").iterdir()] == ["uniform"]


def test_a_run_is_trained_by_one_process_at_a_time(tiny_store: Path, tmp_path: Path) -> None:
    plan = compare.begin(load_comparison(recipe(tmp_path, seeds=[0])), data=tiny_store, out=tmp_path / "out")
    job = plan.jobs[0]
    job.out.mkdir(parents=True)
    with (
        alone(job.out),
        pytest.raises(SettingsError, match=r"uniform/seed-0 is being worked in by another"),
    ):
        compare.train_arms(plan, console=QUIET)
    assert not list(job.out.iterdir())
    assert compare.train_arms(plan, console=QUIET)
    assert not plan.unfinished


@pytest.mark.parametrize(
    ("budget", "amount", "steps"), [("steps", 3, [3, 3]), ("tokens", 1024, [4, 4]), ("flops", None, None)]
)
def test_the_budget_is_equal(
    budget: str, amount: float | None, steps: list[int] | None, tiny_store: Path, tmp_path: Path
) -> None:
    arms = ARMS | {"many": {"masking": {"rate": 0.8, "rate_end": 0.7}}}
    amount = amount or 3e8
    comparison = load_comparison(recipe(tmp_path, arms, budget=budget, amount=amount, seeds=[0]))
    plan = started(comparison, tiny_store, tmp_path / "out")
    journals = [list(records(job.out / "journal.jsonl")) for job in plan.jobs]
    if steps is not None:
        assert [len(each) for each in journals][:2] == steps
    else:
        spent = [sum(float(record["flops"] or 0) for record in each) for each in journals]
        assert spent == pytest.approx([amount] * 3, rel=0.1)
        assert len(journals[2]) < len(journals[0])
        again = compare.begin(comparison, data=tiny_store, out=tmp_path / "out")
        assert not again.unfinished


def test_minutes_are_a_budget(tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run fixes as many steps as fit into its minutes, and every one is trained to its end."""
    spent = iter([0.3, 0.2])
    monkeypatch.setattr(pretrain, "rehearse", lambda run, *, seconds: next(spent))
    comparison = load_comparison(recipe(tmp_path, budget="minutes", amount=0.02, seeds=[0]))
    plan = started(comparison, tiny_store, tmp_path / "out")
    assert not plan.unfinished
    assert [len(list(records(job.out / "journal.jsonl"))) for job in plan.jobs] == [4, 6]


@pytest.mark.parametrize(("budget", "amount"), [("flops", "1e-300"), ("tokens", "255")])
def test_less_than_a_step_is_refused(budget: str, amount: str, tiny_store: Path, tmp_path: Path) -> None:
    comparison = load_comparison(recipe(tmp_path, budget=budget, amount=float(amount)))
    said = rf"compare.amount={amount} is less than the .* {budget if budget == 'tokens' else 'FLOPs'} of one step"
    with pytest.raises(SettingsError, match=said):
        compare.begin(comparison, data=tiny_store, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("epochs", "warned"), [(0.5, 1), (3.0, 0)])
def test_masks_that_never_come_again_are_warned_of(
    epochs: float, warned: int, tiny_store: Path, tmp_path: Path
) -> None:
    arms = {
        "new": {},
        "static": {
            "label": "drawn once",
            "masking": {"dynamic": False, "schedule": "constant", "rate_end": "none"},
        },
    }
    tokens = int(epochs * TokenStore.open(tiny_store).num_tokens)
    comparison = load_comparison(recipe(tmp_path, arms, budget="tokens", amount=tokens))
    plan = compare.begin(comparison, data=tiny_store, out=tmp_path / "out")
    assert [line.partition(":")[0] for line in plan.warnings] == ["drawn once"] * warned


def test_changed_settings_are_refused_by_arm_and_key(tiny_store: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    compare.begin(load_comparison(recipe(tmp_path)), data=tiny_store, out=out)

    def refused(*overrides: str) -> str:
        with pytest.raises(SettingsError) as caught:
            compare.begin(load_comparison(recipe(tmp_path), overrides), data=tiny_store, out=out)
        return str(caught.value)

    assert "arms.words.masking.rate was 0.3, now 0.25" in refused("arms.words.masking.rate=0.25")
    assert "compare.amount was 4.0, now 5.0" in refused("compare.amount=5")
    assert "arms.uniform.optim.learning_rate was 0.001, now 0.002" in refused("base.optim.learning_rate=0.002")
    with pytest.raises(SettingsError, match=r"--heldout was other text \("):
        compare.begin(load_comparison(recipe(tmp_path)), data=tiny_store, out=out, heldout=tiny_store)
    more = load_comparison(recipe(tmp_path, ARMS | {"third": {"masking": {"rate": 0.4}}}, seeds=[0, 1, 2]))
    assert len(compare.begin(more, data=tiny_store, out=out).jobs) == 9


@pytest.mark.parametrize(
    "change",
    [
        {"arms": 5},
        {"arms": {"words": 5}},
        {"arms": {"words": {}}},
        {"arms": {"words": {"settings": {}}}},
        {"compare": 5},
    ],
)
def test_a_record_that_is_none_is_refused(change: dict[str, Any], tiny_store: Path, tmp_path: Path) -> None:
    comparison, out = load_comparison(recipe(tmp_path)), tmp_path / "out"
    compare.begin(comparison, data=tiny_store, out=out)
    path = out / compare.RECORD
    path.write_text(json.dumps(json.loads(path.read_text()) | change), encoding="utf-8")
    with pytest.raises(DataError, match=r"compare.json is no record of a comparison: put the old one back"):
        compare.begin(comparison, data=tiny_store, out=out)


def test_a_list_of_words_that_changed_is_refused(tiny_store: Path, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("model\n")
    listed = {"masking": {"strategy": "chosen", "chosen": {"file": str(words)}}}
    comparison = load_comparison(recipe(tmp_path, ARMS | {"listed": listed}))
    compare.begin(comparison, data=tiny_store, out=tmp_path / "out")
    words.write_text("data\n")
    with pytest.raises(SettingsError, match=r"arms\.listed had another file of words"):
        compare.begin(comparison, data=tiny_store, out=tmp_path / "out")


def test_an_arm_that_cannot_be_built_is_refused_before_any_is_trained(tiny_store: Path, tmp_path: Path) -> None:
    spans = {"objective": {"name": "span_corruption", "span_corruption": {"sentinels": 2}}}
    comparison = load_comparison(recipe(tmp_path, ARMS | {"spans": spans}))
    with pytest.raises(SettingsError, match=r"\[arms\.spans\] A row of data\.row_length=.* sentinels"):
        compare.begin(comparison, data=tiny_store, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_other_tokenizers_are_refused(tiny_store: Path, texts: list[str], tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = tiny_runs.make_store(tmp_path / "other", texts, tiny_runs.tokenizer(texts, "bpe"))
    comparison = load_comparison(recipe(tmp_path, ARMS | {"bytes": {"store": str(other)}}))
    with pytest.raises(DataError, match=r"a loss per piece does not compare across tokenizers"):
        compare.begin(comparison, data=tiny_store, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
