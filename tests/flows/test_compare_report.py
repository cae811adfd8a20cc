"""What is measured of finished runs, and the report with their numbers."""

import json
import math
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from clozelm import hub
from clozelm.cli.main import main
from clozelm.data.store import TokenStore
from clozelm.errors import DataError, SettingsError
from clozelm.flows import compare, compare_report
from clozelm.flows.compare_settings import MeasureSettings, load_comparison
from clozelm.flows.finetune_model import new_model
from clozelm.flows.measures import check_measures, spread_sentences
from clozelm.flows.task_data import ClassifyRequest, TagRequest, classify_data, tag_data
from clozelm.infer.minimal_pairs import minimal_pairs
from clozelm.infer.score import Scorer
from clozelm.report.comparison import build
from clozelm.report.page import page
from clozelm.report.plots import plots
from clozelm.settings import load
from clozelm.text.labelled import Wanted
from clozelm.text.pair_files import Pair
from clozelm.text.readers import documents
from clozelm.train.evaluate import evaluate_store
from clozelm.train.finetune import finetune
from clozelm.train.finetune_settings import FinetuneSettings
from clozelm.train.tuning import Tuning
from clozelm.train.words import evaluate_words
from tests.flows.comparisons import QUIET, recipe, started
from tests.report.test_comparison import FACTS, arm

pytestmark = pytest.mark.usefixtures("known_machine")


@pytest.mark.parametrize(
    ("masking", "is_said"),
    [({"rate": 0.4}, True), ({"schedule": "linear", "rate_end": 0.15}, True), ({"strategy": "span"}, False)],
)
def test_rates_that_differ_are_said(
    masking: dict[str, object], is_said: bool, tiny_store: Path, tmp_path: Path
) -> None:
    arms = {"one": {}, "other": {"masking": masking}}
    comparison = load_comparison(
        recipe(tmp_path, arms), ["base.masking.schedule=constant", "base.masking.rate_end=none"]
    )
    plan = compare.begin(comparison, data=tiny_store, out=tmp_path / "out")
    notes = " ".join(compare_report.report(plan, console=QUIET)["notes"])
    assert ("one masking rate, which only some of them were trained at" in notes) == is_said


PAIR = ("good", "bad", "group")


def labelled(folder: Path, name: str, count: int) -> str:
    rows = [
        {"said": f"the {'cat' if i % 2 else 'dog'} {i}", "kind": "cat" if i % 2 else "dog"} for i in range(count)
    ]
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def tagged(folder: Path, name: str, count: int) -> str:
    path = folder / f"{name}.conll"
    path.write_text("".join(f"the O\ncat B-PET\nTom I-PET\nsat O\n{i} O\n\n" for i in range(count)))
    return str(path)


def test_fine_tuning_is_that_of_the_saved_model(tiny_store: Path, tmp_path: Path) -> None:
    """What is measured of a run is what anyone gets from its directory with the same settings."""
    texts, sentences = labelled(tmp_path, "texts", 40), tagged(tmp_path, "sentences", 40)
    learned = {"probe": texts, "probe_dev": texts, "probe_text": "said", "probe_label": "kind", "finetune": True}
    learned |= {"entities": sentences, "entities_dev": sentences, "finetune_epochs": 25.0}
    comparison = load_comparison(recipe(tmp_path, {"mlm": {}}, seeds=[3], amount=2), measure=learned)
    plan = started(comparison, tiny_store, tmp_path / "out")
    result = compare_report.report(plan, console=QUIET)
    measured = {one["name"]: one["arms"]["mlm"] for one in result["measures"]}
    wanted = Wanted(text=("said",), label="kind")
    for name, figure, data in (
        ("finetuned", "accuracy", classify_data(ClassifyRequest(Path(texts), Path(texts), wanted))),
        ("entities", "f1", tag_data(TagRequest(Path(sentences), Path(sentences)))),
    ):
        given = ["budget.epochs=25", "evaluation.every=25", "run.seed=3", "run.precision=fp32", "run.device=cpu"]
        settings = load(FinetuneSettings, None, given)
        start = new_model(settings, plan.jobs[0].out / "model", data.task)
        tuning = Tuning(settings, task=data.task, start=start, split=data.split, out=tmp_path / name)
        tuning.open()
        *_, last = finetune(tuning)
        assert last.dev is not None
        assert (last.dev[figure] or 0.0) > 0.0
        assert measured[name]["mean"] == pytest.approx(last.dev[figure])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"finetune": True}, "measure.finetune needs measure.probe"),
        ({"entities": "a.conll"}, "measure.entities needs measure.entities_dev"),
        ({"entities_dev": "a.conll"}, "measure.entities_dev needs measure.entities:"),
    ],
)
def test_measures_that_lack_a_file_are_refused(given: dict[str, object], said: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load_comparison(recipe(tmp_path), measure=given)
    assert said in str(caught.value)


def test_entities_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.conll"):
        check_measures(MeasureSettings(entities="nowhere.conll", entities_dev="nowhere.conll"))


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
        scores = list(Scorer(loaded.model, loaded.tokenizer)(spread_sentences(texts, 300)))
        nats, size = -sum(one.log_probability for one in scores), sum(one.num_bytes for one in scores)
        assert len(scores) > 10
        assert measures["sentence_bits"]["values"]["words"][str(seed)] == pytest.approx(
            nats / math.log(2) / size, rel=1e-5
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


def test_the_plots_of_the_page_are_files_too(tiny_store: Path, tmp_path: Path) -> None:
    plan = started(load_comparison(recipe(tmp_path, seeds=[0])), tiny_store, tmp_path / "out")
    folder = tmp_path / "out" / "plots"
    folder.mkdir()
    (folder / "difference-gone.svg").write_text("of an earlier report", encoding="utf-8")
    (folder / "notes.txt").write_text("of a person", encoding="utf-8")
    result = compare_report.report(plan, console=QUIET)
    drawn = {f"{plot.name}.svg": plot.file() for plot in plots(result)}
    assert {"loss-tokens.svg", "difference-masked-loss.svg", "quality-bits-per-byte-flops.svg"} <= drawn.keys()
    assert {path.name for path in folder.iterdir()} == {*drawn, "notes.txt"}
    assert all((folder / name).read_text(encoding="utf-8") == content for name, content in drawn.items())


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
        ('{"text": "a"}\n', "train.jsonl:1: no field 'label'; the record has 'text'."),
        ('{"text": "a", "label": null}\n', "train.jsonl:1: label 'label' is missing (null)"),
        ('{"text": ["a"], "label": "x"}\n', "train.jsonl:1: field 'text' is a list, not text."),
        ('{"text": "a", "label": "\\ud800"}\n', "train.jsonl:1: label 'label' is '\\ud800'"),
        ("nothing\n", "train.jsonl:1: not a JSON record"),
        (None, "train.jsonl: no such file or directory."),
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


@pytest.mark.parametrize(("arms", "width"), [(2, 100), (6, 100), (6, 60), (3, 20)])
def test_the_table_fits_the_width(arms: int, width: int, capsys: pytest.CaptureFixture[str]) -> None:
    made = [arm(f"number {i}", [3.0 + i, 3.1, 3.2]) for i in range(arms)]
    result = build(FACTS, made)
    compare_report.show(result, Console(width=width, highlight=False, markup=False))
    table = capsys.readouterr().out.partition("Of ")[0]
    assert all(len(line) <= width for line in table.splitlines())
    if width > 20:
        head = table.splitlines()[1].split("  ")
        assert ("the <number 1>" in map(str.strip, head)) == (arms == 2), "arms are columns where they fit"
        for each in made:
            assert table.count(each.label) == (1 if arms == 2 else table.count("the <number 0>"))
        for title in ("masked loss", "FLOPs", "training time", "parameters", "3.100 ± 0.248"):
            assert table.count(title) == 1


def test_sentences_are_spread_over_the_texts() -> None:
    texts = [
        f"This is sentence number {i} of a text. Short. " + "x" * 500 + f"! And this is another one, {i}."
        for i in range(9)
    ]
    found = spread_sentences(texts, 6)
    assert len(found) == 6
    assert found[0] == "This is sentence number 0 of a text."
    assert found[-1] == "And this is another one, 8."
    assert len(spread_sentences(texts, 100)) == 18
    assert spread_sentences([], 5) == []


def test_every_objective_gets_the_columns_it_can(tiny_store: Path, tmp_path: Path) -> None:
    """An encoder-decoder is judged by what it writes, ELECTRA by its discriminator; what is not asked is empty."""
    arms = {
        "mlm": {},
        "clm": {"objective": {"name": "clm"}},
        "spans": {"objective": {"name": "span_corruption"}},
        "rtd": {"objective": {"name": "rtd", "rtd": {"generator": 0.5}}},
        "hybrid": {"objective": {"name": "hybrid"}},
    }
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text('{"good": "the cats sleep", "bad": "the cats sleeps"}\n' * 2, encoding="utf-8")
    path = recipe(tmp_path, arms, seeds=[0], amount=2)
    electra = ["base.model.family=electra", "base.model.embedding_size=16", f"measure.pairs=['{pairs}']"]
    texts, sentences = labelled(tmp_path, "texts", 12), tagged(tmp_path, "sentences", 6)
    learned = {"probe": texts, "probe_dev": texts, "probe_text": "said", "probe_label": "kind", "finetune": True}
    learned |= {"entities": sentences, "entities_dev": sentences, "finetune_epochs": 1.0}
    comparison = load_comparison(path, electra, measure=learned)
    plan = started(comparison, tiny_store, tmp_path / "out")
    result = compare_report.report(plan, console=QUIET)
    measures = {one["name"]: one for one in result["measures"]}
    there = {name: {arm for arm, mean in one["arms"].items() if mean is not None} for name, one in measures.items()}
    for name in ("pairs", "sentence_bits", "probe", "finetuned", "entities"):
        assert there[name] == set(arms)
    assert there["masked_loss"] == there["bits_per_byte"] == set(arms) - {"spans"}
    assert set(measures["masked_loss"]["caveats"]) == {"clm", "rtd"}
    assert set(measures["sentence_bits"]["caveats"]) == {"clm", "spans", "rtd"}
    assert set(measures["pairs"]["caveats"]) == {"spans", "rtd"}
    assert measures["probe"]["caveats"] == {}
    (line,) = (line for line in result["reading"] if line.startswith("Masked loss: rtd"))
    assert line.endswith(" Another question is asked of rtd, see *.")
    told = "Masked loss; masked accuracy; bits per byte; words right; bits per byte, pseudo of rtd: that of its"
    assert any(each.startswith(f"{told} generator, which is smaller and") for each in result["caveats"])
    assert "set unlike questions side by side" in result["summary"]
    loss = next(plot for plot in plots(result) if plot.name == "loss-tokens")
    assert [label for _, label in loss.arms] == ["mlm", "clm*", "rtd*", "hybrid"]
    assert result["shared"]["model.family"] == "electra"
    html = page(result)
    assert "What all arms share" in html
    assert "* another question, see above" in html
    notes = " ".join(result["notes"])
    assert f"Minimal pairs: {pairs}." in notes
    assert f"judged on {texts}; fine-tuned for 1 epoch." in notes
    assert "Trained in fp32." in notes
    assert "sentences and minimal pairs are scored by its decoder" in notes
