"""What a run's record says, and what of it may be older than the program that reads it."""

import json
from pathlib import Path

import pytest

from clozelm.errors import DataError, SettingsError
from clozelm.text.atomic import alone
from clozelm.train.run import Run
from tests import tiny_runs

pytestmark = pytest.mark.usefixtures("known_machine")


@pytest.fixture
def begun(tmp_path: Path) -> tuple[Path, Path]:
    """A store, and a run on it that was stopped after two steps."""
    texts = tiny_runs.abstracts(30)
    store = tiny_runs.make_store(tmp_path, texts, tiny_runs.tokenizer(texts))
    tiny_runs.trained(tiny_runs.settings(), store, tmp_path / "run", stop_after=2)
    return store, tmp_path / "run"


def test_a_run_is_open_in_one_process_at_a_time(begun: tuple[Path, Path], tmp_path: Path) -> None:
    store, out = begun
    before = (out / "journal.jsonl").read_bytes()
    with alone(out), pytest.raises(SettingsError, match="run is being worked in by another process: wait for it"):
        Run.open(tiny_runs.settings(), data=store, out=out)
    assert (out / "journal.jsonl").read_bytes() == before
    first = Run.open(tiny_runs.settings(), data=store, out=tmp_path / "new")
    with pytest.raises(SettingsError, match="new is being worked in by another process"):
        Run.open(tiny_runs.settings(), data=store, out=tmp_path / "new")
    first.close()
    assert len(tiny_runs.trained(tiny_runs.settings(), store, tmp_path / "new")) == 6
    assert len(tiny_runs.trained(tiny_runs.settings(), store, out)) == 4


def rewrite(run: Path, **changes: object) -> None:
    record = json.loads((run / "run.json").read_text())
    model = record["settings"]["model"]
    for key, value in changes.items():
        if value is None:
            del model[key]
        else:
            model[key] = value
    (run / "run.json").write_text(json.dumps(record))


def test_a_run_from_before_a_setting_existed_goes_on(begun: tuple[Path, Path]) -> None:
    store, run = begun
    rewrite(run, context=None, look_beside=None)
    assert len(tiny_runs.trained(tiny_runs.settings(), store, run)) == 4
    with pytest.raises(SettingsError, match=r"model\.context was both, now left"):
        tiny_runs.trained(tiny_runs.settings("model.context=left"), store, run)


def test_a_setting_that_is_no_more_is_named(begun: tuple[Path, Path]) -> None:
    store, run = begun
    rewrite(run, colour="red")
    with pytest.raises(SettingsError, match=r"model\.colour was red, now None"):
        tiny_runs.trained(tiny_runs.settings(), store, run)


def test_a_list_of_words_that_changed_is_noticed(begun: tuple[Path, Path], tmp_path: Path) -> None:
    store, _ = begun
    words, out = tmp_path / "words.txt", tmp_path / "chosen"
    words.write_text("model\n")
    chosen = tiny_runs.settings("masking.strategy=chosen", f"masking.chosen.file={words}")
    tiny_runs.trained(chosen, store, out, stop_after=2)
    words.write_text("data\n")
    with pytest.raises(DataError, match=r"drew its masks by other words than masking\.chosen\.file"):
        tiny_runs.trained(chosen, store, out)
    words.write_text("model\n")
    assert len(tiny_runs.trained(chosen, store, out)) == 4


def test_other_collocations_are_refused_and_a_damaged_list_is_made_anew(
    begun: tuple[Path, Path], tmp_path: Path
) -> None:
    store, _ = begun
    out, kept = tmp_path / "pmi", store / "collocations.npz"
    chosen = tiny_runs.settings("masking.strategy=pmi", "masking.pmi.min_count=2")
    tiny_runs.trained(chosen, store, out, stop_after=2)
    record = json.loads((out / "run.json").read_text())
    good = kept.read_bytes()
    kept.write_bytes(good[:-100])
    run = Run.open(chosen, data=store, out=out)
    run.close()
    assert run.step == 2
    assert any("collocations.npz is damaged, or of an older version: mined anew." in each for each in run.notices)
    assert kept.read_bytes() == good
    (out / "run.json").write_text(json.dumps(record | {"collocations": "0123456789abcdef"}))
    with pytest.raises(DataError, match=r"drew its masks by other collocations than are mined from .*tokens now"):
        Run.open(chosen, data=store, out=out)
    del record["collocations"]  # as in older records
    (out / "run.json").write_text(json.dumps(record))
    assert len(tiny_runs.trained(chosen, store, out)) == 4
