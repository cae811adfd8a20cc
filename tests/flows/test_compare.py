"""A comparison of tiny arms: trained, stopped, resumed, refused, and reported with the numbers of its runs."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from clozelm import hub
from clozelm.cli.main import main
from clozelm.data.store import TokenStore
from clozelm.errors import DataError, SettingsError
from clozelm.flows import compare, compare_report
from clozelm.flows.compare_settings import FOLDER, Comparison, MeasureSettings, _arm, _base, load_comparison
from clozelm.flows.measures import check_measures
from clozelm.flows.training import recipe_path
from clozelm.infer.minimal_pairs import minimal_pairs
from clozelm.settings import read_toml
from clozelm.text.pair_files import Pair
from clozelm.text.readers import documents
from clozelm.train.evaluate import evaluate_store
from clozelm.train.journal import records
from clozelm.train.pretrain import train
from clozelm.train.run import Run
from clozelm.train.words import evaluate_words
from tests import tiny_runs

pytestmark = pytest.mark.usefixtures("known_machine")

QUIET = Console(quiet=True)
ARMS: dict[str, dict[str, Any]] = {
    "uniform": {"label": "single pieces", "about": "as in BERT"},
    "words": {"masking": {"strategy": "whole_word"}},
}


def toml(table: Mapping[str, Any], prefix: str = "") -> str:
    plain = {key: value for key, value in table.items() if not isinstance(value, Mapping)}
    lines = [f"[{prefix}]"] if prefix else []
    lines += [f"{key} = {json.dumps(value)}" for key, value in plain.items()]
    for key, value in table.items():
        if isinstance(value, Mapping):
            lines.append(toml(value, f"{prefix}.{json.dumps(key)}" if prefix else json.dumps(key)))
    return "\n".join(lines) + "\n"


def recipe(folder: Path, arms: Mapping[str, Any] = ARMS, **changes: Any) -> Path:
    base = {key: value for key, value in tiny_runs.TINY.items() if key != "budget"}
    terms = {"budget": "steps", "amount": 4, "seeds": [0, 1], "title": "pieces or words"} | changes
    path = folder / "comparison.toml"
    path.write_text(toml({"compare": terms, "base": base, "arms": arms}), encoding="utf-8")
    return path


def started(comparison: Comparison, data: Path, out: Path, **options: Any) -> compare.Plan:
    plan = compare.begin(comparison, data=data, out=out)
    assert compare.train_arms(plan, console=QUIET, **options)
    return plan


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


@pytest.mark.parametrize(
    ("arms", "overrides", "said"),
    [
        ({}, (), "has no arms: add a table [arms.NAME]"),
        (
            {"a": {"masking": {"rte": 0.2}}},
            (),
            "[arms.a] Unknown setting 'masking.rte'. Did you mean 'masking.rate'?",
        ),
        ({"a": {}, "b": {}}, (), "Arms 'a' and 'b' have equal settings"),
        ({"a": 3}, (), "arms.a=3 must be a table of settings"),
        ({"a": {"label": 3}}, (), "arms.a.label=3 must be text"),
        ({"a b": {}}, (), "names a folder"),
        ({"a": {"budget": {"steps": 3}}}, (), "set compare.budget and compare.amount"),
        ({"a": {"run": {"seed": 3}}}, (), "set compare.seeds"),
        (ARMS, ("compare.amount=0",), "compare.amount=0 must be greater than 0"),
        (ARMS, ("compare.budget=hours",), "compare.budget=hours must be"),
        (ARMS, ("compare.seeds=[1, 1]",), "must be one or more different numbers"),
        (ARMS, ("compare.amuont=3",), "Did you mean 'compare.amount'?"),
        (ARMS, ("masking.rate=0.3",), "write base.masking.rate=0.3 for all arms, or arms.uniform.masking.rate=0.3"),
        (ARMS, ("arms.word.masking.rate=0.3",), "There is no arm 'word'. Did you mean 'words'?"),
        (ARMS, ("bsae.masking.rate=0.3",), "Did you mean 'base'?"),
        (ARMS, ("measure.probe=a.csv",), "measure.probe needs measure.probe_dev"),
        (ARMS, ("base=3",), "'base=3' sets a whole table"),
        (ARMS, ("arms",), "'arms' sets a whole table"),
        (ARMS, ("base.recipe=tiny",), "named in the recipe's own file"),
        (ARMS, ("arms.words=3",), "'arms.words=3' sets a whole arm"),
        (ARMS, ("arms.word=3",), "There is no arm 'word'. Did you mean 'words'?"),
    ],
)
def test_mistakes(arms: dict[str, Any], overrides: tuple[str, ...], said: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load_comparison(recipe(tmp_path, arms), overrides)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_overrides_stand_above_the_table_they_are_of(tmp_path: Path) -> None:
    comparison = load_comparison(
        recipe(tmp_path, {"a": {}, "b": {"masking": {"rate": 0.2}}}),
        ("base.masking.rate=0.4", "arms.a.label=first", "arms.b.masking.rate_end=0.1", "compare.seeds=[3]"),
    )
    first, second = comparison.arms
    assert (first.settings.masking.rate, first.label) == (0.4, "first")
    assert (second.settings.masking.rate, second.settings.masking.rate_end) == (0.2, 0.1)
    assert comparison.settings.compare.seeds == (3,)


def test_an_arm_may_have_dots_in_its_name(tmp_path: Path) -> None:
    made = load_comparison(
        recipe(tmp_path, {"a": {}, "a.b": {}}), ("arms.a.masking.rate=0.4", "arms.a.b.masking.rate=0.5")
    )
    assert [arm.settings.masking.rate for arm in made.arms] == [0.4, 0.5]


@pytest.mark.parametrize("name", [5, ["tiny"]])
def test_what_the_base_is_built_on_is_a_name(name: object, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"base.recipe=.* must be the name of a recipe, or its file"):
        _base({"recipe": name}, (), tmp_path)


def test_a_shipped_recipe_may_be_the_base(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(
        'base = "demo"\n[compare]\namount = 5\n[arms.a]\n[arms.b.masking]\nrate = 0.4\n', encoding="utf-8"
    )
    first, second = load_comparison(path).arms
    assert first.settings.optim.name == second.settings.optim.name == "muon"
    assert (first.settings.masking.rate, second.settings.masking.rate) == (0.5, 0.4)


PAIR = ("good", "bad", "group")


def labelled(folder: Path, name: str, count: int) -> str:
    rows = [
        {"said": f"the {'cat' if i % 2 else 'dog'} {i}", "kind": "cat" if i % 2 else "dog"} for i in range(count)
    ]
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_the_report_has_the_numbers_of_the_runs(tiny_store: Path, tmp_path: Path) -> None:
    probe = {"probe": labelled(tmp_path, "train", 12), "probe_dev": labelled(tmp_path, "dev", 8)}
    fields = {"probe_text": "said", "probe_label": "kind"}
    pairs = tmp_path / "pairs.jsonl"
    made = [
        ("the cats sleep", "the cats sleeps", "verb"),
        ("a dog", "a dogs", "noun"),
        ("she is", "she is", "noun"),
    ]
    pairs.write_text(
        "".join(json.dumps(dict(zip(PAIR, one, strict=True))) + "\n" for one in made), encoding="utf-8"
    )
    comparison = load_comparison(recipe(tmp_path), measure=probe | fields | {"pairs": [str(pairs)]})
    plan = started(comparison, tiny_store, tmp_path / "out")
    result = compare_report.report(plan, console=QUIET)
    measures = {one["name"]: one for one in result["measures"]}
    values = []
    for seed in (0, 1):
        loaded = hub.load(tmp_path / "out" / "arms" / "words" / f"seed-{seed}" / "model")
        store = TokenStore.open(tiny_store / "held_out", loaded.tokenizer)
        again = evaluate_store(loaded.model, store, loaded.tokenizer.vocabulary, row_length=32)
        texts = [document.text for document in documents([tiny_store / "held_out.jsonl"])]
        words = evaluate_words(loaded.model, loaded.tokenizer, texts)
        assert measures["masked_loss"]["values"]["words"][str(seed)] == pytest.approx(again.loss, abs=1e-6)
        assert measures["masked_accuracy"]["values"]["words"][str(seed)] == pytest.approx(again.accuracy)
        assert measures["bits_per_byte"]["values"]["words"][str(seed)] == pytest.approx(
            words.bits_per_byte, abs=1e-6
        )
        judged = minimal_pairs(loaded.model, loaded.tokenizer, [Pair(*one) for one in made])
        assert measures["pairs"]["values"]["words"][str(seed)] == pytest.approx(judged.mean)
        values.append(again.loss)
    assert measures["masked_loss"]["arms"]["words"]["mean"] == pytest.approx(sum(values) / 2, abs=1e-6)
    assert 0.0 <= measures["probe"]["arms"]["uniform"]["mean"] <= 1.0
    assert result["arms"][1]["settings"] == {"masking.strategy": "whole_word"}
    costs = {one["name"]: one["arms"] for one in result["costs"]}
    assert costs["steps"] == {"uniform": 4, "words": 4}
    assert all(costs[name]["words"] > 0 for name in ("tokens", "flops", "seconds", "peak_bytes", "parameters"))
    html = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert f"{measures['masked_loss']['arms']['words']['mean']:.3f}" in html
    assert (
        json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))["summary"] == result["summary"]
    )


def test_a_run_is_measured_once_and_again_when_measured_otherwise(
    tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, said = tmp_path / "out", list[str]()
    plan = started(load_comparison(recipe(tmp_path, seeds=[0])), tiny_store, out)
    console = Console(quiet=True)
    monkeypatch.setattr(console, "print", lambda text, **_: said.append(text))
    first = compare_report.report(plan, console=console)
    assert said == ["measuring single pieces, seed 0", "measuring words, seed 0"]
    said.clear()
    assert compare_report.report(plan, console=console) == first
    assert not said
    other = load_comparison(recipe(tmp_path, seeds=[0]), ["measure.rate=0.3"])
    compare_report.report(compare.begin(other, data=tiny_store, out=out), console=console)
    assert len(said) == 2


@pytest.mark.parametrize("content", [None, b"", b"text", b"PK\x03\x04", "values", "journal"])
def test_what_is_damaged_of_measures_is_measured_again(
    content: bytes | str | None, tiny_store: Path, tmp_path: Path
) -> None:
    plan = started(load_comparison(recipe(tmp_path, seeds=[0])), tiny_store, tmp_path / "out")
    before = compare_report.report(plan, console=QUIET)
    place = plan.jobs[0].out
    if content is None or content == "journal":
        (place / ("units.npz" if content is None else "journal.jsonl")).unlink()
    elif isinstance(content, bytes):
        (place / "units.npz").write_bytes(content)
    else:
        known = json.loads((place / "measures.json").read_text())
        (place / "measures.json").write_text(json.dumps({"measured_as": known["measured_as"]}))
    after = compare_report.report(plan, console=QUIET)
    assert [each["arms"] for each in after["measures"]] == [each["arms"] for each in before["measures"]]


def test_a_finished_run_without_its_checkpoints_is_not_measured_as_it_began(
    tiny_store: Path, tmp_path: Path
) -> None:
    plan = started(load_comparison(recipe(tmp_path, seeds=[0])), tiny_store, tmp_path / "out")
    shutil.rmtree(plan.jobs[0].out / "checkpoints")
    with pytest.raises(DataError, match=r"its last checkpoint is gone or damaged \(now at step 0 of 4\)"):
        compare_report.report(plan, console=QUIET)
    (plan.jobs[0].out / compare.USAGE).unlink()
    started(plan.comparison, tiny_store, tmp_path / "out")
    assert compare_report.report(plan, console=QUIET)["missing"] == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"text": "a", "label": "x"}\n', "has 1 different labels in field 'label'"),
        ('{"text": "a"}\n', "train.jsonl:1: no field 'label'; the record has text."),
        ('{"text": "a", "label": null}\n', "train.jsonl:1: field 'label' is empty."),
        ('{"text": ["a"], "label": "x"}\n', "train.jsonl:1: field 'text' is a list, not text."),
        ('{"text": "\\ud800", "label": "x"}\n', "train.jsonl:1: field 'text' holds half a surrogate pair"),
        ("nothing\n", "train.jsonl:1: not a JSON record"),
        (None, "there is no such file of labelled texts"),
    ],
)
def test_labels_that_cannot_be_learned_are_refused(content: str | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        check_measures(MeasureSettings(probe=str(path), probe_dev=str(path)))
    assert said in str(caught.value)


def test_names_are_printed_as_they_are(
    tiny_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arms = {"a": {"label": "[/x] [red]"}, "b": {"masking": {"rate": 0.2, "rate_end": 0.2}}}
    made = recipe(tmp_path, arms, seeds=[0], amount=1, title="of [/i]")
    with pytest.raises(SystemExit) as caught:
        main(["compare", str(made), "--data", str(tiny_store), "--out", str(tmp_path / "[out]")])
    printed = capsys.readouterr().out
    assert not caught.value.code
    for each in ("[/x] [red], seed 0 (1 of 2 to train)", "measuring [/x] [red], seed 0", "of [/i]", "[out]/report"):
        assert each in printed


def test_the_command(tiny_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["compare", str(recipe(tmp_path)), "--data", str(tiny_store), "--out", str(tmp_path / "out")]

    def cloze(*more: str) -> tuple[int | str | None, str, str]:
        with pytest.raises(SystemExit) as caught:
            main([*arguments, *more])
        printed = capsys.readouterr()
        return caught.value.code, printed.out, printed.err

    code, out, _ = cloze("--only", "words")
    assert not code
    assert "Not finished: single pieces, seed 0, single pieces, seed 1." in out
    code, out, _ = cloze()
    assert not code
    assert "masked loss" in out
    assert (tmp_path / "out" / "report.html").is_file()
    assert cloze("--only", "wrods")[0::2] == (2, "cloze: There is no arm 'wrods'. Did you mean 'words'?\n")
    assert cloze("--pairs", "nowhere.jsonl")[0] == 2
    code, out, _ = cloze("--report-only")
    assert not code
    assert "to train" not in out


SHIPPED = sorted(path.stem for path in (Path(compare.__file__).parents[1] / "recipes" / "compare").glob("*.toml"))
NOT_YET = ("objective.name=", "masking.strategy=", "Unknown setting 'model.context'")


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_comparison_loads(name: str) -> None:
    """Arms of objectives and strategies that are not there are left out of the test, and of nothing else."""
    table = read_toml(recipe_path(name, within=FOLDER))
    base = _base(table["base"], (), Path(name))
    problems = {arm: problem(arm, settings, base) for arm, settings in table["arms"].items()}
    assert all(said.startswith(NOT_YET) for said in problems.values() if said), problems
    assert "" in problems.values()
    if not any(problems.values()):
        assert [arm.name for arm in load_comparison(name).arms] == list(problems)


def problem(arm: str, settings: Any, base: dict[str, Any]) -> str:
    """What an arm is refused for; empty where it is not."""
    try:
        _arm(arm, settings, base, ())
    except SettingsError as error:
        return str(error).removeprefix(f"[arms.{arm}] ")
    return ""
