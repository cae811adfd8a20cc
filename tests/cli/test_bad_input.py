"""Bad input at the command line: exit 2, one clear line, nothing half-written left."""

import shutil
from pathlib import Path

import pytest

from clozelm import hub
from clozelm.cli.main import main
from clozelm.text.tokenizer import Tokenizer
from tests import tiny_models, tiny_runs, tiny_tasks
from tests.cli.conftest import Mistake


@pytest.fixture(scope="module")
def tokenizer_folder(tiny_tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer") / "tiny"
    tiny_tokenizer.save(folder)
    return folder


@pytest.fixture
def out(tmp_path: Path):
    """A place to write that must be untouched at the end, hidden leftovers beside it included."""
    folder = tmp_path / "results"
    folder.mkdir()
    yield folder / "out"
    assert list(folder.iterdir()) == []


def bad_file(kind: str, folder: Path) -> Path:
    path = folder / f"bad-{kind}.txt"
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "blank":
        path.write_bytes(b" \n\n \n")
    elif kind == "binary":
        path.write_bytes(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0")
    elif kind == "utf-16":
        path.write_bytes("some text".encode("utf-16"))
    elif kind == "gz":
        path = path.with_suffix(".txt.gz")
        path.write_bytes(b"\x1f\x8b\x08\0\0\0\0\0\0\x03broken")
    elif kind == "jsonl":
        path = path.with_suffix(".jsonl")
        path.write_text('{"text": "fine"}\n{"text": \n', encoding="utf-8")
    elif kind == "folder":
        path = folder / "empty-folder"
        path.mkdir()
    return path


BAD_FILES = [
    ("missing", "no such file or directory"),
    ("empty", "the file is empty"),
    ("blank", ""),
    ("binary", "looks like a binary file"),
    ("utf-16", "looks like UTF-16 text"),
    ("gz", "damaged .gz file"),
    ("jsonl", ":2"),
    ("folder", "files (plain or .gz, .xz, .zst) in it"),
]


@pytest.mark.parametrize(("kind", "said"), BAD_FILES)
def test_files_that_cannot_be_read(
    kind: str, said: str, mistake: Mistake, tokenizer_folder: Path, tmp_path: Path, out: Path
) -> None:
    path = bad_file(kind, tmp_path)
    commands = [
        ("tokenizer", "train", path, "--vocab-size", 100, "--out", out),
        ("prepare", path, "--tokenizer", tokenizer_folder, "--out", out, "--workers", 1),
        ("prepare", path, "--tokenizer", tokenizer_folder, "--out", out, "--hold-out", 0.1, "--workers", 1),
    ]
    for command in commands:
        answer = mistake(*command)
        assert said in answer
        if kind != "blank":
            assert path.name in answer


def test_an_unreadable_file(mistake: Mistake, tokenizer_folder: Path, corpus: Path, out: Path) -> None:
    corpus.chmod(0)
    try:
        corpus.read_bytes()
    except PermissionError:
        answer = mistake("prepare", corpus, "--tokenizer", tokenizer_folder, "--out", out)
        assert answer == f"{corpus}: cannot be read (Permission denied)."
    else:
        pytest.skip("this user may read everything")


def test_invalid_utf8_is_refused_with_its_line(
    mistake: Mistake, tokenizer_folder: Path, corpus: Path, out: Path
) -> None:
    with corpus.open("ab") as file:
        line = corpus.read_bytes().count(b"\n") + 3
        file.write(b"\n\nfine\xff\n\nafter")
    common = ("--out", out, "--invalid-utf8", "refuse")
    for command in (
        ("prepare", corpus, "--tokenizer", tokenizer_folder, "--workers", 1, *common),
        ("tokenizer", "train", corpus, "--vocab-size", 100, *common),
    ):
        assert mistake(*command).startswith(f"{corpus}:{line}: invalid UTF-8, byte 0xff at 5 in the line")


def test_a_record_without_the_field(mistake: Mistake, tokenizer_folder: Path, tmp_path: Path, out: Path) -> None:
    records = tmp_path / "records.jsonl"
    records.write_text('{"text": "a"}\n{"title": "b"}\n', encoding="utf-8")
    answer = mistake("prepare", records, "--tokenizer", tokenizer_folder, "--out", out, "--workers", 1)
    assert f"{records}:2" in answer
    assert "text" in answer


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram"])
def test_a_vocabulary_larger_than_the_corpus_can_fill(
    kind: str, mistake: Mistake, tmp_path: Path, out: Path
) -> None:
    small = tmp_path / "small.txt"
    small.write_text("a few words and a few more words", encoding="utf-8")
    answer = mistake("tokenizer", "train", small, "--kind", kind, "--vocab-size", 30_000, "--out", out)
    assert "vocab_size=30000 is more than the corpus can fill" in answer


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--vocab-size", 0), "--vocab-size"),
        (("--vocab-size", -5), "--vocab-size"),
        (("--vocab-size", "many"), "--vocab-size"),
        (("--vocab-size", 9), "vocab_size=9"),
        (("--kind", "words"), "--kind"),
        (("--hold-out", 1.5), "hold_out=1.5 must be at least 0 and less than 1"),
        (("--documents", "page"), "documents=page must be"),
        (("--sample-megabytes", 0), "sample"),
        (("--sample-megabytes", -1), "sample"),
        (("--bogus",), "No such option: --bogus"),
    ],
)
def test_tokenizer_options(
    options: tuple[object, ...], said: str, mistake: Mistake, corpus: Path, out: Path
) -> None:
    assert said in mistake("tokenizer", "train", corpus, "--out", out, *options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--hold-out", -0.1), "hold_out=-0.1 must be at least 0 and less than 1"),
        (("--workers", 0), "--workers"),
        (("--filters", "min_words=3"), "Unknown setting 'filters.min_words'"),
        (("--filters", "nonsense"), "is not a setting"),
        (("--set", "unicode_form=NFX"), "unicode_form=NFX must be"),
        (("--set", "filters.min_characters=1000000"), "No tokens:"),
    ],
)
def test_prepare_options(
    options: tuple[object, ...], said: str, mistake: Mistake, corpus: Path, tokenizer_folder: Path, out: Path
) -> None:
    common = ("--tokenizer", tokenizer_folder, "--out", out)
    workers = () if "--workers" in options else ("--workers", 1)
    assert said in mistake("prepare", corpus, *common, *workers, *options)


@pytest.mark.usefixtures("known_machine")
def test_places_that_cannot_be_written(
    mistake: Mistake, corpus: Path, tokenizer_folder: Path, tiny_store: Path, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_text("keep me", encoding="utf-8")
    occupied = tmp_path / "occupied"
    occupied.mkdir()
    (occupied / "thesis.tex").write_text("keep me", encoding="utf-8")
    recipe = tiny_runs.recipe(tmp_path)
    for place, said in ((file / "below", "file"), (file, "is a file"), (occupied, "not empty")):
        for command in (
            ("tokenizer", "train", corpus, "--vocab-size", 320, "--out", place),
            ("prepare", corpus, "--tokenizer", tokenizer_folder, "--out", place, "--workers", 1),
            ("pretrain", recipe, "--data", tiny_store, "--out", place),
        ):
            answer = mistake(*command)
            assert str(place) in answer
            assert said in answer or "ot a directory" in answer
    assert file.read_text(encoding="utf-8") == "keep me"
    assert [path.name for path in occupied.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("kind", ["file", "below", "unwritable"])
def test_a_place_that_cannot_be_written_is_told_before_any_work(
    kind: str,
    mistake: Mistake,
    corpus: Path,
    tiny_tokenizer: Tokenizer,
    tiny_store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def work(*_: object, **__: object) -> None:
        raise AssertionError("work was begun")

    for name in ("train.run.matrix_rate", "train.run.choose_precision", "text.train_tokenizer._sample"):
        monkeypatch.setattr(f"clozelm.{name}", work)
    tiny_model = tiny_models.tiny_model("bert", vocab_size=tiny_tokenizer.vocab_size)
    hub.save(tiny_model, tiny_tokenizer, tmp_path / "model", family="bert")
    texts = tiny_tasks.table(tmp_path / "a.csv", [["text", "label"], *[["a cat", "x"], ["a dog", "y"]] * 10])
    place = {"file": corpus, "below": corpus / "x", "unwritable": tmp_path / "new"}[kind]
    if kind == "unwritable":  # whoever runs the tests, who may be allowed everything
        monkeypatch.setattr("clozelm.text.atomic.os.access", lambda path, mode, **_: Path(path) != tmp_path)
    for command in (
        ("pretrain", tiny_runs.recipe(tmp_path), "--data", tiny_store),
        ("tokenizer", "train", corpus, "--vocab-size", 320),
        ("finetune", "classify", tmp_path / "model", texts, "--dry-run"),
        ("finetune", "classify", tmp_path / "model", texts),
        ("adapt", tmp_path / "model", corpus, "--minutes", 1),
    ):
        answer = mistake(*command, "--out", place)
        assert answer.startswith(f"{place} ")
        assert {"file": "is a file", "below": f"lie below {corpus}", "unwritable": "may not be written in"}[
            kind
        ] in answer
    assert not (tmp_path / "new").exists()


def test_a_comparison_without_terms(mistake: Mistake, tiny_store: Path, tmp_path: Path, out: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("[arms.a]\n[arms.b.masking]\nrate = 0.4\n")
    answer = mistake("compare", path, "--data", tiny_store, "--out", out)
    assert answer.startswith(f"{path} has no table [compare]: add one with the budget of every arm")


# --- stores, recipes and runs ---


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return tiny_runs.recipe(tmp_path)


@pytest.mark.usefixtures("known_machine")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--set", "masking.rte=0.2"), "Unknown setting 'masking.rte'. Did you mean 'masking.rate'?"),
        (
            ("--set", "masking.rate=1.5"),
            "masking.rate=1.5 must lie strictly between 0 and 1 (BERT uses 0.15).",
        ),
        (("--set", "data.row_length=128"), "data.row_length=128 is longer than model.max_positions=64"),
        (("--set", "budget.steps=none"), "No budget: pass --minutes, --steps or --tokens"),
        (
            ("--set", "budget.tokens=100", "--set", "budget.steps=3"),
            "are several budgets: give one of them",
        ),
        (("--steps", 3, "--minutes", 2), "are several budgets: give one of them"),
        (("--steps", 0), "budget.steps=0 must be at least 1"),
        (("--steps", -1), "budget.steps=-1 must be at least 1"),
        (("--minutes", 0), "budget.minutes=0.0 must be greater than 0"),
        (("--tokens", "few"), "--tokens"),
        (("--set", "run.device=abacus"), "run.device='abacus' is not a device"),
        (("--set", "model.window=8"), "bert has no window=8"),
        (("--heldout", "nowhere"), "nowhere does not exist or is not a directory"),
    ],
)
def test_pretrain_options(
    options: tuple[object, ...], said: str, mistake: Mistake, recipe: Path, tiny_store: Path, out: Path
) -> None:
    assert said in mistake("pretrain", recipe, "--data", tiny_store, "--out", out, *options)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "there is no such recipe file, and no recipe of that name (shipped: "),
        ("[model\nfamily = 'bert'", "not a TOML file"),
        ("model = 3", "model=3 must be a table of settings"),
        ("[modle]\nfamily = 'bert'", "Unknown setting 'modle'"),
        ("[masking]\nrate = 'much'", "masking.rate=much must be"),
    ],
)
def test_recipes(
    content: str | None, said: str, mistake: Mistake, tiny_store: Path, tmp_path: Path, out: Path
) -> None:
    path = tmp_path / "own.toml"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    assert said in mistake("pretrain", path, "--data", tiny_store, "--out", out, "--steps", 2)


@pytest.mark.parametrize(
    ("setting", "most"),
    [
        ("model.num_layers", "1000"),
        ("model.hidden_size", "100000"),
        ("model.intermediate_size", "500000"),
        ("model.max_positions", "500000"),
        ("data.tokens_per_step", "100000000"),
    ],
)
def test_sizes_beyond_any_machine(
    setting: str, most: str, mistake: Mistake, recipe: Path, tiny_store: Path, out: Path
) -> None:
    answer = mistake(
        "pretrain", recipe, "--data", tiny_store, "--out", out, "--dry-run", "--set", f"{setting}=999999999"
    )
    assert f"{setting}=999999999 must lie between" in answer
    assert f"and {most}" in answer


@pytest.mark.usefixtures("known_machine")
@pytest.mark.parametrize("dry_run", [(), ("--dry-run",)])
def test_data_that_is_no_whole_store(
    dry_run: tuple[str, ...], mistake: Mistake, recipe: Path, tiny_store: Path, tmp_path: Path, out: Path
) -> None:
    def refused(data: Path) -> str:
        return mistake("pretrain", recipe, "--data", data, "--out", out, *dry_run)

    assert "make a token store with `cloze prepare`" in refused(tmp_path / "nowhere")
    assert "is not a token store" in refused(tmp_path)
    store = Path(shutil.copytree(tiny_store, tmp_path / "copy"))
    shard = next(store.glob("tokens-*.bin"))
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-2])
    assert f"{shard} holds {len(whole) - 2} bytes, not the {len(whole)} of the manifest" in refused(store)
    shard.unlink()
    assert f"{shard} is missing" in refused(store)
    shard.write_bytes(whole)
    tiny_models.wordpiece().save(store / "tokenizer", replace=True)
    answer = refused(store)
    assert "was prepared with tokenizer" in answer
    assert tiny_models.wordpiece().fingerprint in answer
    shutil.rmtree(store / "tokenizer")
    assert "tokenizer" in refused(store)


@pytest.mark.usefixtures("known_machine")
def test_a_store_smaller_than_a_row(
    mistake: Mistake, recipe: Path, tiny_tokenizer, tmp_path: Path, out: Path
) -> None:
    store = tiny_runs.make_store(tmp_path, ["a word"], tiny_tokenizer, hold_out=0)
    assert "too few to fill one row of 32" in mistake("pretrain", recipe, "--data", store, "--out", out)


@pytest.mark.usefixtures("known_machine")
@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"settings": {}}'])
def test_a_run_whose_record_is_damaged(
    content: str, mistake: Mistake, recipe: Path, tiny_store: Path, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text(content, encoding="utf-8")
    answer = mistake("pretrain", recipe, "--data", tiny_store, "--out", tmp_path / "run")
    assert "run.json: not a run record" in answer
    assert "run.json is damaged" in answer


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("settings", "pretrain", "maskin"), "have no 'maskin'; they have model, data, masking"),
        (("settings", "train"), "train"),
        (("bogus",), "No such command 'bogus'. See `cloze --help`."),
        (("demo", "--minutes", 0), "--minutes"),
        (("demo", "--set", "modle.size=1"), "Unknown setting 'modle.size'"),
    ],
)
def test_other_commands(
    arguments: tuple[object, ...], said: str, mistake: Mistake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said in mistake(*arguments)
    assert list(tmp_path.iterdir()) == []


def test_annotations_that_are_nowhere_are_noticed(
    tokenizer_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"text": "a cat sat", "spans": [[2, 5]]}\n' * 3)

    def noticed(field: str) -> str:
        common = ["--tokenizer", str(tokenizer_folder), "--out", str(tmp_path / field), "--workers", "1"]
        with pytest.raises(SystemExit) as caught:
            main(["prepare", str(corpus), *common, "--annotations", field])
        assert not caught.value.code
        return capsys.readouterr().err

    assert noticed("spans") == ""
    assert noticed("entities") == "notice: no record has a span in field 'entities': no token is annotated.\n"
