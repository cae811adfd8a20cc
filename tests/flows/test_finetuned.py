"""Fine-tuning from Python."""

from pathlib import Path

import pytest

import clozelm
from clozelm.errors import SettingsError
from clozelm.hub.save import save
from tests.tiny_models import tiny_model, wordpiece

QUICK = [
    "data.batch_size=4",
    "run.precision=fp32",
    "run.device=cpu",
    "optim.learning_rate=5e-3",
    "budget.epochs=15",
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("model") / "modernbert"
    save(tiny_model("modernbert"), wordpiece(), place, family="modernbert")
    return place


def test_from_a_table_to_predictions(model: Path, tmp_path: Path) -> None:
    rows = [
        f"the {one} {verb} on a mat,{'still' if verb == 'sat' else 'fast'}"
        for one in ("cat", "dog", "machine", "mat")
        for verb in ("sat", "ran")
    ]
    (tmp_path / "a.csv").write_text("\n".join(["said,how", *rows]) + "\n")
    found = clozelm.finetune(
        "classify",
        model,
        tmp_path / "a.csv",
        dev=tmp_path / "a.csv",
        out=tmp_path / "out",
        overrides=QUICK,
        text="said",
        label="how",
    )
    assert found.results["figures"]["accuracy"]["value"] == 1.0
    assert [one.label for one in found.predictor(["a cat sat on the mat", "a cat ran on the mat"])] == [
        "still",
        "fast",
    ]
    again = clozelm.Predictor.open(tmp_path / "out")
    assert again(["a dog ran"])[0] == found.predictor(["a dog ran"])[0]


def test_from_columns_to_entities(model: Path, tmp_path: Path) -> None:
    words = [f"the O\n{one} B-PET\nran O\n" for one in ("cat", "dog")] * 4
    (tmp_path / "a.conll").write_text("\n".join(words))
    found = clozelm.finetune(
        "tag", model, tmp_path / "a.conll", dev=tmp_path / "a.conll", out=tmp_path / "out", overrides=QUICK
    )
    found_there = found.predictor.entities(["The  cat ran", "the dog ran"])
    shown = [[(each.type, each.text, each.start, each.stop) for each in entities] for entities in found_there]
    assert shown == [[("PET", "cat", 5, 8)], [("PET", "dog", 4, 7)]]


def test_what_a_task_does_not_take_is_named(model: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="scheme='BIO' has no use with task='classify'"):
        clozelm.finetune("classify", model, "a.csv", out=tmp_path / "out", scheme="BIO")
    with pytest.raises(SettingsError, match="task='parse' is not known: use classify or tag"):
        clozelm.finetune("parse", model, "a.csv", out=tmp_path / "out")  # type: ignore[arg-type]
