"""A run from weights that are there: what fits, what is refused, and that nothing changes before the first step."""

import json
from pathlib import Path

import pytest
import torch

from clozelm import hub
from clozelm.cli.main import main
from clozelm.errors import DataError, SettingsError
from clozelm.nn.grow import grown
from clozelm.train.assemble import Given, build_objective, encoder_config
from clozelm.train.run import Run
from clozelm.train.student import student_config, take_layers
from clozelm.types import Reading
from tests import tiny_models, tiny_runs
from tests.tiny_runs import settings, trained

pytestmark = pytest.mark.usefixtures("known_machine")


@pytest.fixture(scope="module")
def first(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two steps; the machine's speed is not asked for."""
    out = tmp_path_factory.mktemp("first")
    patch = pytest.MonkeyPatch()
    patch.setattr("clozelm.train.run.matrix_rate", lambda *_, **__: 1e11)
    trained(settings("budget.steps=2"), tiny_store, out / "run")
    patch.undo()
    return out / "run"


def bare(*overrides: str):
    """The tiny settings without a shape of their own."""
    shape = ("num_layers", "hidden_size", "num_heads", "intermediate_size", "max_positions")
    none = [f"model.{key}=none" for key in (*shape, "dropout", "attention_dropout")]
    return settings(*none, *overrides)


def test_a_run_goes_on_with_the_weights_it_is_given(first: Path, tiny_store: Path, tmp_path: Path) -> None:
    run = Run.open(bare(f"model.start={first}"), data=tiny_store, out=tmp_path / "next")
    run.close()
    loaded = hub.load(first / "model")
    assert run.config == loaded.model.config
    assert run.config.dropout == 0.1
    for name, tensor in loaded.model.state_dict().items():
        assert torch.equal(run.model.state_dict()[name], tensor), name


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("model.num_layers=3", "model.num_layers=3 does not fit model.start="),
        ("model.max_positions=128", "model.max_positions=128 does not fit model.start="),
        ("model.family=roberta", "is a bert, but model.family=roberta: set model.family=bert"),
        ("objective.name=rtd", "model.start has no use with objective.name=rtd"),
        ("model.look_beside=true", "model.look_beside has no use with model.start"),
    ],
)
def test_what_does_not_fit_the_weights_is_refused(
    override: str, said: str, first: Path, tiny_store: Path, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=said):
        Run.open(bare(f"model.start={first}", override), data=tiny_store, out=tmp_path / "next")
    assert not (tmp_path / "next").exists()


def test_weights_of_another_tokenizer_are_refused(first: Path, texts: list[str], tmp_path: Path) -> None:
    other = tiny_runs.make_store(tmp_path, texts, tiny_runs.tokenizer(texts[:20]))
    with pytest.raises(DataError, match="but the token store was prepared with"):
        Run.open(bare(f"model.start={first}"), data=other, out=tmp_path / "next")


def test_distillation_needs_a_teacher(tiny_store: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"set objective\.distill\.teacher to a model directory"):
        Run.open(bare("objective.name=distill"), data=tiny_store, out=tmp_path / "a")


@pytest.mark.parametrize(
    ("family", "given", "said"),
    [
        ("roberta", {}, "cannot be a student of a bert: use model.family=bert or distilbert"),
        ("bert", {"hidden_size": 64}, "model.hidden_size=64: the student begins with layers of the teacher"),
        ("bert", {"num_layers": 9}, "the teacher has only 3 layers"),
    ],
)
def test_students_that_cannot_be(family: str, given: dict[str, int], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        student_config(tiny_models.tiny_config("bert"), "bert", family, given)


def test_shared_layers_cannot_be_left_out() -> None:
    with pytest.raises(SettingsError, match="shares its layers"):
        student_config(tiny_models.tiny_config("albert"), "albert", "albert", {})


@pytest.mark.parametrize(
    ("deep", "shallow", "expected"), [(12, 6, [0, 2, 4, 7, 9, 11]), (4, 2, [0, 3]), (3, 1, [0])]
)
def test_a_student_begins_with_evenly_spaced_layers(deep: int, shallow: int, expected: list[int]) -> None:
    teacher = tiny_models.tiny_model("bert", num_layers=deep)
    student = tiny_models.tiny_model("distilbert", num_layers=shallow)
    assert take_layers(student, teacher) == expected
    for index, origin in enumerate(expected):
        theirs = teacher.encoder.layers[origin].state_dict()
        for name, tensor in student.encoder.layers[index].state_dict().items():
            assert torch.equal(tensor, theirs[name])


def test_a_student_as_deep_as_its_teacher_answers_the_same() -> None:
    """With the segments folded into the positions nothing else is lost."""
    teacher, student = tiny_models.tiny_model("bert"), tiny_models.tiny_model("distilbert", seed=9)
    take_layers(student, teacher)
    batch = tiny_models.padded(tiny_models.documents([20, 7]), 24)
    with torch.no_grad():
        assert (student(batch) - teacher(batch))[batch.is_token].abs().max() <= 2e-5


def test_what_was_retained_is_reported(
    first: Path, tiny_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "distill.toml"
    recipe.write_text(
        '[model]\nfamily = "distilbert"\n[data]\nrow_length = 32\ntokens_per_step = 128\n'
        '[objective]\nname = "distill"\n'
        f'[objective.distill]\nteacher = "{first}"\n[run]\nprecision = "fp32"\nthreads = 1\n',
        encoding="utf-8",
    )
    with pytest.raises(SystemExit) as caught:
        main(["pretrain", str(recipe), "--data", str(tiny_store), "--out", str(tmp_path / "out"), "--steps", "2"])
    assert not caught.value.code
    printed = capsys.readouterr().out
    kept = json.loads((tmp_path / "out" / "retained.json").read_text(encoding="utf-8"))
    assert kept["teacher"]["parameters"] > kept["student"]["parameters"]
    assert kept["size"] == kept["student"]["parameters"] / kept["teacher"]["parameters"]
    assert f"{kept['student']['loss']:.3f} and {kept['teacher']['loss']:.3f} nats" in printed


def test_new_pieces_begin_at_the_mean_of_the_old() -> None:
    model = tiny_models.tiny_model("albert")
    size = model.config.vocab_size
    larger = grown(model, size, [[5, 7], [6]])
    assert larger.config.vocab_size == size + 2
    old, new = model.decoder_weight, larger.decoder_weight
    assert torch.equal(new[:size], old)
    torch.testing.assert_close(new[size], (old[5] + old[7]) / 2)
    torch.testing.assert_close(larger.head.bias[size + 1], model.head.bias[6])
    batch = tiny_models.padded(tiny_models.documents([9]), 9)
    with torch.no_grad():
        assert (larger(batch)[..., :size] - model(batch)).abs().max() <= 1e-5


def test_a_padded_matrix_is_used_up_first() -> None:
    model = tiny_models.tiny_model("bert")
    size = model.config.vocab_size
    assert grown(model, size - 3, [[1], [2]]).config.vocab_size == size
    assert grown(model, size - 1, [[1], [2]]).config.vocab_size == size + 1


def test_weights_are_drawn_the_same_for_a_seed(tiny_store: Path) -> None:
    from clozelm.train.record import open_data

    store, tokenizer = open_data(tiny_store)
    of_electra = ("model.family=electra", "objective.rtd.generator=0.5")
    near = ("model.look_beside=true",)
    for name, more in (("mlm", ()), ("nsp", near), ("rtd", of_electra), ("rtd", of_electra + near)):
        chosen = settings(f"objective.name={name}", *more)
        given = Given.open(chosen, tokenizer)
        config = encoder_config(chosen, tokenizer, given)
        one, other = (build_objective(chosen, config, store, tokenizer, given) for _ in range(2))
        for (key, mine), theirs in zip(one.named_parameters(), other.parameters(), strict=True):
            assert torch.equal(mine, theirs), key


def test_only_a_family_with_a_discriminator_detects_replaced_tokens(tiny_store: Path, tmp_path: Path) -> None:
    said = "needs a family that can hold a discriminator: electra, modernbert, not bert"
    with pytest.raises(SettingsError, match=said):
        Run.open(settings("objective.name=rtd", "objective.rtd.generator=0.5"), data=tiny_store, out=tmp_path / "a")
    said = "makes a generator that modernbert cannot hold: .*objective.rtd.generator=1 and objective.rtd.generator_"
    deep = settings("model.family=electra", "objective.name=rtd", "objective.rtd.generator_layers=9")
    with pytest.raises(SettingsError, match=r"generator_layers=9 is more than the discriminator's \d"):
        Run.open(deep, data=tiny_store, out=tmp_path / "a")
    narrow = settings("model.family=modernbert", "objective.name=rtd", "objective.rtd.generator=0.5")
    with pytest.raises(SettingsError, match=said):
        Run.open(narrow, data=tiny_store, out=tmp_path / "a")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("objective.distill.teacher=x", "objective.distill has no use with objective.name=mlm: it is for distill"),
        ("objective.rtd.weight=3", "objective.rtd has no use with objective.name=mlm"),
        ("objective.pair_weight=2", "it is for nsp and sop"),
    ],
)
def test_settings_of_another_objective_are_refused(override: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        settings(override)


def test_a_size_beside_given_weights_is_refused(first: Path, tiny_store: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"model.size=base has no use with model.start"):
        Run.open(bare(f"model.start={first}", "model.size=base"), data=tiny_store, out=tmp_path / "next")


def test_the_head_of_pairs_goes_on(tiny_store: Path, tmp_path: Path) -> None:
    trained(settings("objective.name=nsp", "budget.steps=2"), tiny_store, tmp_path / "one")
    before = hub.load(tmp_path / "one" / "model").heads["nsp"]
    run = Run.open(
        bare(f"model.start={tmp_path / 'one'}", "objective.name=nsp"), data=tiny_store, out=tmp_path / "two"
    )
    run.close()
    after = run.objective.pair.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_a_student_with_local_layers_in_other_places_is_refused() -> None:
    teacher = tiny_models.tiny_config("modernbert", num_layers=8)
    with pytest.raises(SettingsError, match="whose local and global attention would change places"):
        student_config(teacher, "modernbert", "modernbert", {})


def test_another_teacher_is_noticed(first: Path, tiny_store: Path, tmp_path: Path) -> None:
    teacher = tmp_path / "teacher"
    hub.save(hub.load(first / "model").model, hub.load(first / "model").tokenizer, teacher, family="bert")
    chosen = bare("objective.name=distill", f"objective.distill.teacher={teacher}", "model.family=distilbert")
    trained(chosen, tiny_store, tmp_path / "a", stop_after=2)
    other = hub.load(teacher).model
    with torch.no_grad():
        other.head.bias += 1
    hub.save(other, hub.load(teacher).tokenizer, teacher, family="bert")
    with pytest.raises(DataError, match="learned from another teacher"):
        Run.open(chosen, data=tiny_store, out=tmp_path / "a")


def test_a_teacher_that_reads_otherwise_is_refused(first: Path, tiny_store: Path, tmp_path: Path) -> None:
    loaded = hub.load(first / "model")
    loaded.model.reading = Reading("left", ahead=True)
    hub.save(loaded.model, loaded.tokenizer, tmp_path / "teacher", family="bert")
    chosen = bare("objective.name=distill", f"objective.distill.teacher={tmp_path / 'teacher'}")
    with pytest.raises(SettingsError, match="does not read as BERT does"):
        Run.open(chosen, data=tiny_store, out=tmp_path / "a")


def test_a_teacher_larger_than_its_tokenizer(first: Path, tiny_store: Path, tmp_path: Path) -> None:
    loaded = hub.load(first / "model")
    padded = grown(loaded.model, loaded.tokenizer.vocab_size, [[7], [8]])
    hub.save(padded, loaded.tokenizer, tmp_path / "teacher", family="bert")
    chosen = bare("objective.name=distill", f"objective.distill.teacher={tmp_path / 'teacher'}", "budget.steps=2")
    reports = trained(chosen, tiny_store, tmp_path / "a")
    assert "cosine_accuracy" not in reports[0].terms
    assert reports[-1].terms["soft_loss"] >= 0


def test_held_out_terms_look_at_no_more_than_they_are_told(tiny_store: Path, tmp_path: Path) -> None:
    run = Run.open(settings("objective.name=sop", "evaluation.tokens=64"), data=tiny_store, out=tmp_path / "a")
    run.close()
    assert run.evaluate_terms() == run.evaluate_terms()
    asked: list[int] = []
    forward = run.objective.forward
    run.objective.forward = lambda example: (asked.append(example.labels.numel()), forward(example))[1]
    run.evaluate_terms()
    assert sum(asked) == 64
