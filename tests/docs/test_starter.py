"""The starter: its making in small, from raw text to a packaged directory, and that what its card says is so."""

import hashlib
import itertools
import json
import lzma
import math
from pathlib import Path

import pytest

import clozelm
from clozelm.errors import DataError
from clozelm.flows.cloze_sentences import ClozeSentence, ask, read_sentences, share_found
from clozelm.samples import ABSTRACTS
from clozelm.shipped import DIRECTORY
from tools.starter.card import joined
from tools.starter.corpus import Recipe, Source, check_files, leaks, plain, read_recipe
from tools.starter.make import MOST_BYTES, Starter
from tools.starter.measure import EXAMPLES, example

SMALL = (
    "model.num_layers=1",
    "model.hidden_size=32",
    "model.num_heads=2",
    "model.intermediate_size=32",
    "data.tokens_per_step=512",
    "budget.tokens=4096",
    "evaluation.every=0.5",
    "run.precision=fp32",
)


def source(path: Path, times: int = 1) -> Source:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Source(path.name, digest, f"lines of {path.stem}", "CC0", times)


@pytest.fixture
def small(tmp_path: Path, known_machine: None) -> Starter:
    """A maker with some abstracts, a few of them read twice, others held out, and two minimal pairs."""
    corpus = tmp_path / "corpus"
    (corpus / "pairs").mkdir(parents=True)
    with lzma.open(ABSTRACTS, "rt", encoding="utf-8") as lines:
        for name, count in (("train", 60), ("again", 10), ("held", 10)):
            (corpus / f"{name}.jsonl").write_text("".join(itertools.islice(lines, count)), encoding="utf-8")
    held = corpus / "held.txt"  # plain text, which has no fields
    abstracts = (corpus / "held.jsonl").read_text(encoding="utf-8").splitlines()
    held.write_text("\n\n".join(json.loads(line)["text"] for line in abstracts), encoding="utf-8")
    pairs = [{"sentence_good": "the words are here", "sentence_bad": "the words is here"}] * 2
    (corpus / "pairs" / "agreement.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in pairs))
    train, again = (corpus / f"{name}.jsonl" for name in ("train", "again"))
    files = Recipe("wordpiece", 400, (source(train), source(again, 2)), (source(held),))
    return Starter(corpus, tmp_path / "out", package=tmp_path / "package", files=files, pairs="pairs")


def test_the_whole_road_in_small(small: Starter, capsys: pytest.CaptureFixture[str]) -> None:
    small.make(*SMALL, dry_run=True)
    said = capsys.readouterr().out
    assert "again.jsonl: lines of again (CC0), read 2 times" in said
    assert "Nothing was written." in said
    assert not small.out.exists()
    assert not small.package.exists()

    small.make(*SMALL)
    capsys.readouterr()
    manifest = json.loads((small.out / "tokens" / "manifest.json").read_text())
    assert manifest["num_documents"] == 60 + 2 * 10
    model = clozelm.load(small.package)
    assert model.tokenizer.vocab_size == 400
    measured = json.loads((small.package / "measured.json").read_text())
    assert [one["steps"] for one in measured["parts"]] == [8, 8]
    assert [one["unit"] for one in measured["parts"]] == ["document", "sentence"]
    assert measured["figures"]["minimal pairs"]["pairs"] == 2
    assert measured["figures"]["held out"]["unigram nats"] < math.log(400)
    tokens = [row["tokens"] for row in joined(measured["parts"])]
    assert tokens == sorted(tokens)
    assert tokens[-1] == sum(one["tokens"] for one in measured["parts"])
    card = (small.package / "README.md").read_text()
    data = measured["parts"][-1]["data"]
    for fact in ("lines of again", "CC0", data, "kWh", "BLiMP", "![Loss against tokens](loss.png)"):
        assert fact in card, fact
    assert (small.package / "loss.png").read_bytes().startswith(b"\x89PNG")
    before = (small.package / "model.safetensors").read_bytes()
    small.make(*SMALL)
    assert (small.package / "model.safetensors").read_bytes() == before

    more = Starter(
        small.corpus, small.out.with_name("more"), package=small.out.with_name("third"), files=small.files
    )
    more.make(*SMALL, first=small.package)
    said = json.loads((more.package / "measured.json").read_text())
    assert [one["unit"] for one in said["parts"]] == ["document", "sentence", "sentence"]
    assert said["parts"][:2] == measured["parts"]
    assert not (more.out / "run").exists()


def test_a_first_part_that_is_not_there_is_refused_before_anything(small: Starter) -> None:
    with pytest.raises(DataError, match="does not say how the first part was made"):
        small.make(*SMALL, first=small.out / "nowhere")
    assert not small.out.exists()
    assert not small.package.exists()


def test_another_file_is_refused(small: Starter) -> None:
    path = small.corpus / "train.jsonl"
    path.write_text(path.read_text() + "\n")
    with pytest.raises(DataError, match=r"train\.jsonl is not the recipe's file: its SHA-256 is [0-9a-f]{64}, not"):
        check_files(small.files, small.corpus)
    path.unlink()
    with pytest.raises(DataError, match=r"train\.jsonl is missing"):
        check_files(small.files, small.corpus)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("Today machine learning is a powerful technology.", 1),
        ("MACHINE-LEARNING  was\nan enabling\ttechnology", 1),
        ("machine learning as a technology", 1),
        ("Machine learning is the very useful technologies", 1),
        ("Machine learning is a field of study, and technology another.", 0),
        ("Learning machines are a technology.", 0),
    ],
)
def test_close_variants_of_the_example_are_found(text: str, count: int, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(f"Before.\n\n{text}\n")
    questions = [ClozeSentence("technical", "field", "machine learning is a [MASK] of study!")]
    found = leaks([tmp_path / "text.txt"], questions)
    assert found["examples"] == count
    assert found["sentences"] == ([questions[0].sentence] if "field" in text else [])


def test_the_example_in_the_training_text_ends_the_making(small: Starter) -> None:
    path = small.corpus / "train.jsonl"
    path.write_text(
        path.read_text() + json.dumps({"title": "New", "text": "Machine learning is a new technology."}) + "\n"
    )
    small.files = Recipe("wordpiece", 400, (source(path),), small.files.held_out)
    with pytest.raises(DataError, match="has the public example 1 times"):
        small.make(*SMALL)


def test_words_are_compared_alone() -> None:
    assert plain("The  Cat's 2nd\nlife.") == " the cat s 2nd life "


def test_the_recipe_names_files_that_may_be_given_away() -> None:
    recipe = read_recipe()
    assert {one.licence for one in recipe.files} <= {"CC BY-SA 3.0", "CC BY 4.0", "public domain in the USA"}
    assert all(len(one.sha256) == 64 for one in recipe.files)


def test_there_are_fifty_sentences_of_each_kind() -> None:
    questions = read_sentences()
    assert [sum(one.kind == kind for one in questions) for kind in ("everyday", "technical")] == [50, 50]
    assert len({one.sentence for one in questions}) == 100


def test_a_file_of_sentences_with_a_mistake_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.tsv"
    path.write_text("kind\texpected\tsentence\na\tb\tno mask here\n")
    with pytest.raises(DataError, match=r"mine\.tsv, line 2: needs kind, expected and a sentence with one"):
        read_sentences(path)


def test_what_the_card_says_is_so() -> None:
    """The package's own figures, asked again: sentences, their count, the example; and its size."""
    measured = json.loads((DIRECTORY / "measured.json").read_text(encoding="utf-8"))["figures"]
    model = clozelm.load()
    asked = ask(model, read_sentences())
    for kind, said in measured["sentences"].items():
        found, of = share_found(asked, kind)
        assert of == said["of"]
        assert abs(found - said["found"]) <= 1, "a tie may fall otherwise on another machine"
    for text in EXAMPLES:
        said = measured["example"][text]["probability"]
        assert example(model, text)["probability"] == pytest.approx(said, rel=1e-3)
    assert sum(path.stat().st_size for path in DIRECTORY.rglob("*") if path.is_file()) <= MOST_BYTES
