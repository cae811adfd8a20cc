"""`cloze masks`, for a person and as JSON."""

import json
import re
from pathlib import Path

import pytest

from clozelm.cli.main import main
from tests.cli.conftest import Cloze, Mistake

pytestmark = pytest.mark.usefixtures("in_folder")
SMALL = ("--tokens", 1500, "--row-length", 32)


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in: pictures go where one stands."""
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


def test_for_a_person(cloze: Cloze, tiny_store: Path, tmp_path: Path) -> None:
    picture = tmp_path / "masks.png"
    out = cloze("masks", tiny_store, "--strategy", "ngram", "--rate", 0.3, "--show", 3, *SMALL, "--png", picture)
    lines = out.splitlines()
    assert lines[0] == "⟦word⟧ [MASK]   ⟦word→other⟧ a random piece   ⟦=word⟧ kept but predicted"
    assert sum(line.startswith("document ") for line in lines) == 3
    assert any(line.startswith("ngram: ") for line in lines)
    assert "; asked for 30.00%), measured on" in " ".join(out.split())
    for name in ("all tokens", "later piece", "punctuation", "rare (", "last third", "a hidden run, words"):
        assert any(line.startswith(name) for line in lines), name
    assert max(map(len, lines[:-1])) <= 80
    assert lines[-1] == f"Picture: {picture}"
    assert picture.read_bytes().startswith(b"\x89PNG")
    hidden = sum(
        line.count("⟦") for line in lines[2 : lines.index(next(x for x in lines if x.startswith("ngram")))]
    )
    assert hidden > 5


def test_the_picture_without_being_asked(cloze: Cloze, tiny_store: Path, in_folder: Path) -> None:
    common = ("masks", tiny_store, "--show", 0, *SMALL)
    cloze(*common, "--json")
    assert cloze(*common, "--png", "none").splitlines()[-1] != "Picture: none"
    assert not list(in_folder.iterdir())
    assert cloze(*common).splitlines()[-1] == "Picture: masks.png"
    assert (in_folder / "masks.png").read_bytes().startswith(b"\x89PNG")


def test_figures_are_shown_where_no_picture_can_be(
    tiny_store: Path, in_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (in_folder / "masks.png").mkdir()
    with pytest.raises(SystemExit) as caught:
        main(["masks", str(tiny_store), "--show", "0", *map(str, SMALL)])
    assert caught.value.code == 2
    said = capsys.readouterr()
    assert "uniform: " in said.out
    assert "masks.png could not be written" in said.err


def test_json_says_what_the_table_says(cloze: Cloze, tiny_store: Path) -> None:
    common = ("masks", tiny_store, "--strategy", "whole_word", "--seed", 4, "--epoch", 1, *SMALL)
    found = json.loads(cloze(*common, "--json"))
    assert (found["strategy"], found["rate"], found["seed"], found["epoch"]) == ("whole_word", 0.15, 4, 1)
    everything = found["kinds"]["all"][0]
    assert everything["rate"] == everything["hidden"] / everything["tokens"]
    out = cloze(*common)
    assert f"whole_word: {everything['rate']:.2%} hidden" in out
    for shares in found["kinds"].values():
        assert sum(share["tokens"] for share in shares) == everything["tokens"]
        for share in shares:
            assert any(share["name"] in line and f"{share['rate']:.2%}" in line for line in out.splitlines())
    assert len(found["examples"]) == 5
    assert found == json.loads(cloze(*common, "--json"))


def test_the_best_collocations_are_shown(cloze: Cloze, tiny_store: Path) -> None:
    common = ("masks", tiny_store, "--strategy", "pmi", "--set", "masking.pmi.min_count=2", "--show", 0, *SMALL)
    found = json.loads(cloze(*common, "--json"))["collocations"]
    assert len(found["best"]) == 12
    assert found["numbers"].keys() == set("2345")
    out = " ".join(cloze(*common).split())
    assert f"Collocations, hidden together: {found['numbers']['2']:,} of 2 words, " in out
    assert all(" ".join(text.split()) in out for text in found["best"])
    assert json.loads(cloze("masks", tiny_store, "--json", "--show", 0, *SMALL))["collocations"] is None


def test_a_recipe_of_pairs_and_one_without_masks(cloze: Cloze, mistake: Mistake, tiny_store: Path) -> None:
    assert "[SEP]" in cloze("masks", tiny_store, "--recipe", "bert-tiny", "--tokens", 1500)
    said = mistake("masks", tiny_store, "--recipe", "tiny", "--set", "objective.name=clm")
    assert "no masks to look at" in said
    out = cloze("masks", tiny_store, "--set", "objective.name=hybrid", "--show", 0, *SMALL)
    assert "a share objective.hybrid.causal of these rows from left to right, unmasked" in " ".join(out.split())


def test_settings_reach_the_masks(cloze: Cloze, tiny_store: Path) -> None:
    common = ("masks", tiny_store, "--json", "--show", 0, *SMALL)
    found = json.loads(cloze(*common, "--set", "masking.corruption.mask=1", "--set", "masking.corruption.random=0"))
    assert found["fates"] == {"mask": 1.0, "random": 0.0, "keep": 0.0}
    assert found["strategy"] == "uniform"
    assert found["examples"] == []
    later = json.loads(cloze(*common, "--rate", 0.2, "--set", "masking.rate=0.4"))
    assert later["rate"] == 0.4


def test_a_recipe_says_what_training_hides(cloze: Cloze, tiny_store: Path, tmp_path: Path) -> None:
    common = ("masks", tiny_store, "--json", "--show", 0, "--tokens", 1500, "--recipe")
    found = json.loads(cloze(*common, "tiny"))
    assert (found["rate"], found["row_length"], found["seed"]) == (0.5, 128, 0)
    assert found["kinds"]["all"][0]["rate"] == pytest.approx(0.5, abs=0.05)
    later = [json.loads(cloze(*common, "tiny", "--at", at)) for at in (0.5, 1)]
    assert [one["rate"] for one in later] == pytest.approx([0.325, 0.15])
    assert later[1]["kinds"]["all"][0]["rate"] == pytest.approx(0.15, abs=0.03)
    mine = tmp_path / "mine.toml"
    mine.write_text(
        '[data]\nrow_length = 32\nunit = "sentence"\n[run]\nseed = 3\n[masking]\nstrategy = "whole_word"\n',
        encoding="utf-8",
    )
    own = json.loads(cloze(*common, mine))
    assert (own["strategy"], own["rate"], own["row_length"], own["seed"]) == ("whole_word", 0.15, 32, 3)
    by_hand = ("masks", tiny_store, "--json", "--show", 0, "--tokens", 1500, "--strategy", "whole_word")
    documents = json.loads(cloze(*by_hand, "--row-length", 32, "--seed", 3))
    assert own["pieces"] > documents["pieces"], "a sentence is a document by itself"
    assert json.loads(cloze(*common, mine, "--rate", 0.4, "--seed", 1))["rate"] == 0.4


def test_recipes_that_are_none(mistake: Mistake, tiny_store: Path) -> None:
    assert "no recipe of that name" in mistake("masks", tiny_store, "--recipe", "tinny")
    assert "at=1.5 must lie between 0" in mistake("masks", tiny_store, "--recipe", "tiny", "--at", 1.5)


def test_colours_where_somebody_watches(
    tiny_store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("COLORTERM", "truecolor")
    with pytest.raises(SystemExit) as caught:
        main(["masks", str(tiny_store), "--show", "3", "--rate", "0.4", *map(str, SMALL)])
    assert not caught.value.code
    out = capsys.readouterr().out
    assert "\x1b[2m [MASK]" in out, "only the word before it is coloured"
    legend, _, texts = out.partition("document ")
    for colour in ("42;111;151", "209;73;91", "237;174;73"):
        block = re.compile(rf"\x1b\[[\d;]*48;2;{colour}m\S")
        assert len(block.findall(legend)) == 1 + (colour == "209;73;91"), "the random piece stands behind an arrow"
        assert block.search(texts)
    assert "⟦" not in out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--strategy", "everything"), "masking.strategy=everything must be"),
        (("--rate", 0), "masking.rate=0.0 must lie strictly between 0 and 1"),
        (("--rate", 1.5), "masking.rate=1.5 must lie strictly between 0 and 1"),
        (("--rate", "nan"), "masking.rate=nan must be"),
        (("--set", "masking.rte=0.2"), "Unknown setting 'masking.rte'. Did you mean 'masking.rate'?"),
        (("--set", "masking.span.p=0.3"), "masking.span has no use with masking.strategy=uniform"),
        (("--strategy", "span", "--set", "masking.span.longest=500"), "masking.span.longest=500 does not fit"),
        (("--strategy", "chosen", "--set", "masking.chosen.annotated=true"), "has no annotated token"),
        (("--set", "optim.name=muon"), "Unknown setting 'optim.name'"),
        (("--row-length", 8), "--row-length"),
        (("--row-length", 10**6), "too few to fill one row"),
        (("--tokens", 0), "--tokens"),
        (("--png", "nowhere/masks.png"), "nowhere"),
        (("--png", "masks.jpg"), "--png masks.jpg: a PNG is what is drawn, so name a file that ends in .png."),
        (("--epoch", 10**30), "--epoch"),
    ],
)
def test_mistakes(
    options: tuple[object, ...],
    said: str,
    mistake: Mistake,
    tiny_store: Path,
) -> None:
    assert said in mistake("masks", tiny_store, "--show", 1, *options)


def test_no_store(mistake: Mistake, tmp_path: Path) -> None:
    assert "make a token store with `cloze prepare`" in mistake("masks", tmp_path / "nowhere")
    assert "is not a token store" in mistake("masks", tmp_path)
