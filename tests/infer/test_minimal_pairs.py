"""Minimal pairs: wins, ties, intervals, and files of pairs."""

import json
from pathlib import Path

import pytest
import torch

from clozelm import hub
from clozelm.errors import DataError
from clozelm.infer import minimal_pairs as module
from clozelm.infer.minimal_pairs import Accuracy, _mean_interval, minimal_pairs
from clozelm.infer.score import Scorer
from clozelm.shipped import DIRECTORY
from clozelm.text.pair_files import Pair, read_pairs
from clozelm.types import TokenBatch
from tests import tiny_models

MODEL, TOKENIZER = tiny_models.tiny_model("bert"), tiny_models.wordpiece()
BLIMP = ("adjunct_island", "anaphor_gender_agreement", "animate_subject_trans", "causative")


def test_what_is_more_probable_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAIRS_AT_ONCE", 2)
    texts = ["the cat sat", "a dog ran on the mat", "learning is powerful"]
    scores = {one.text: one.log_probability for one in Scorer(MODEL, TOKENIZER)(texts)}
    best, middle, worst = sorted(texts, key=lambda text: -scores[text])
    pairs = [
        Pair(best, worst, "a"),
        Pair(worst, middle, "b"),
        Pair(middle, worst, "a"),
        Pair(best, f"  {best.upper()} ", "a"),  # the same pieces
    ]
    result = minimal_pairs(MODEL, TOKENIZER, pairs)
    assert result.groups == {"a": Accuracy(3, 2, 1), "b": Accuracy(1, 0, 0)}
    assert result.pooled == Accuracy(4, 2, 1)
    assert result.pooled.accuracy == pytest.approx(2.5 / 4)
    assert result.mean == pytest.approx((2.5 / 3 + 0) / 2)
    low, high = result.mean_interval
    assert 0 <= low <= result.mean <= high <= 1
    assert result.method == "within_word"
    assert result.credits.tolist() == [1.0, 0.0, 1.0, 0.5]
    assert result.owners.tolist() == [0, 1, 0, 0]


def test_pairs_may_be_tuples() -> None:
    result = minimal_pairs(MODEL, TOKENIZER, [("zebra", "giraffe")])
    assert result.pooled == Accuracy(1, 0, 1), "both are the unknown piece"


def test_wilson() -> None:
    """The example of a 95% interval for 81 of 263 (Newcombe 1998, table I): 0.2553 to 0.3662."""
    assert Accuracy(263, 81, 0).interval == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert Accuracy(10, 10, 0).interval[1] == pytest.approx(1.0)
    assert Accuracy(10, 9, 2).interval == Accuracy(10, 10, 0).interval


def test_nothing_to_compare() -> None:
    with pytest.raises(DataError, match="There are no minimal pairs"):
        minimal_pairs(MODEL, TOKENIZER, [])
    with pytest.raises(DataError, match=r"^p\.csv:2: '\[SEP\]' has no piece to score"):
        minimal_pairs(MODEL, TOKENIZER, [Pair("the cat", "[SEP]", source="p.csv:2")])


def test_files(tmp_path: Path) -> None:
    blimp = {"sentence_good": "a", "sentence_bad": "b", "UID": "npi", "pairID": "0"}
    (tmp_path / "one.jsonl").write_text("\n".join([json.dumps(blimp)] * 3))
    (tmp_path / "two.csv").write_text('good,bad\n"x, y",z\nu,v\n')
    (tmp_path / "three.tsv").write_text("bad\tgroup\tgood\nz\tg\tx\n")
    (tmp_path / "four.csv").write_text("right,wrong,kind\nx,z,k\n")
    assert list(read_pairs([tmp_path / "one.jsonl"], limit=1)) == [Pair("a", "b", "npi", f"{tmp_path}/one.jsonl:1")]
    first, second = read_pairs([tmp_path / "two.csv"])
    assert first == Pair("x, y", "z", "two", f"{tmp_path}/two.csv:2")
    assert second == Pair("u", "v", "two", f"{tmp_path}/two.csv:3")
    assert list(read_pairs([tmp_path / "three.tsv"])) == [Pair("x", "z", "g", f"{tmp_path}/three.tsv:2")]
    named = read_pairs([tmp_path / "four.csv"], good="right", bad="wrong", group="kind")
    assert list(named) == [Pair("x", "z", "k", f"{tmp_path}/four.csv:2")]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "good,bad\nx,y\nx,\n", r"a\.csv:3: field 'bad' is empty\."),
        ("a.csv", "good,bad\nx,\n", r"a\.csv:2: field 'bad' is empty\."),
        ("a.csv", "good,bad\nx,y\nz\n", r"a\.csv:3: has 1 field where line 1 has 2"),
        ("a.csv", "good,bad,good\nx,y,z\n", r"a\.csv:1: two columns are called 'good'"),
        (
            "a.csv",
            "good,wrong\nx,y\n",
            r"a\.csv:2: no field 'bad'; the record has good, wrong\. Name it with --bad",
        ),
        ("a.csv", "good,bad\n", r"a\.csv: there are no pairs in it"),
        ("a.jsonl", '{"good": "x", "bad": 3}\n', r"a\.jsonl:1: field 'bad' is a int, not text"),
        ("a.jsonl", '{"good": "x", "bad": "\\ud800"}\n', r"a\.jsonl:1: field 'bad' holds half a surrogate pair"),
        (
            "a.jsonl",
            '{"good": "x", "bad": "y", "group": "\\ud800"}\n',
            r"a\.jsonl:1: field 'group' is '\\ud800', wh",
        ),
        (
            "a.jsonl",
            '{"good": "x", "bad": "y", "group": [1]}\n',
            r"a\.jsonl:1: field 'group' is \[1\], which is no",
        ),
        ("a.jsonl", '{"good": "x", "bad": "y", "group": null}\n', r"a\.jsonl:1: field 'group' is empty\."),
        ("a.csv", "good,bad,group\nx,y\n", r"a\.csv:2: has 2 fields where line 1 has 3"),
        ("a.jsonl", '{"good": "x"\n', r"a\.jsonl:1: not a JSON record"),
        ("a.jsonl", "[1]\n", r"a\.jsonl:1: a JSON record must be an object"),
        ("a.jsonl", '{"sentence_good": "x"}\n', r"a\.jsonl:1: no field 'sentence_bad'"),
        ("a.jsonl", "", r"a\.jsonl: the file is empty"),
        ("a.txt", "x\ty\n", r"a\.txt: holds no records: give a \.jsonl, \.json, \.csv or \.tsv file"),
    ],
)
def test_bad_files(name: str, content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=said):
        list(read_pairs([tmp_path / name]))


def test_one_field_for_both_sentences_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("good,bad\nx,y\n")
    with pytest.raises(
        DataError, match=r"^--good and --bad both name the field 'good': every pair would be a tie\."
    ):
        list(read_pairs([tmp_path / "a.csv"], good="good", bad="good"))


def test_a_byte_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"good,bad\nx,\xff\n")
    with pytest.raises(
        DataError, match=r"a\.csv:2: invalid UTF-8, byte 0xff at 3 in the line: convert the file to"
    ):
        list(read_pairs([tmp_path / "a.csv"]))


def test_blimp(shared: Path) -> None:
    pairs = list(read_pairs([shared / "data" / "eval" / "blimp_first200"], limit=2))
    assert len({pair.group for pair in pairs}) == 67
    assert len(pairs) == 134


def test_the_interval_of_the_mean_is_made_of_the_groups_own() -> None:
    """One group's is its own; equal groups narrow it by the root of their number; groups at 0% leave it wide."""
    one = Accuracy(40, 28, 0)
    assert _mean_interval([one]) == pytest.approx(one.interval)
    low, high = _mean_interval([one] * 4)
    assert high - one.accuracy == pytest.approx((one.interval[1] - one.accuracy) / 2)
    assert one.accuracy - low == pytest.approx((one.accuracy - one.interval[0]) / 2)
    low, high = _mean_interval([Accuracy(3, 0, 0), Accuracy(3, 3, 0)])
    assert low < 0.4 < 0.6 < high


def test_blimp_is_what_a_loop_over_single_copies_gives(shared: Path) -> None:
    """Every piece masked by itself, one row at a time, through the plain forward pass of the starter."""
    loaded = hub.load(DIRECTORY)
    files = [shared / "data" / "eval" / "blimp_first200" / f"{name}.jsonl" for name in BLIMP]
    pairs = [*read_pairs(files, limit=3), Pair("The cat sat.", "the cat sat.", BLIMP[0])]
    vocabulary = loaded.tokenizer.vocabulary

    @torch.no_grad()
    def loop(text: str) -> float:
        ids = [vocabulary.cls_id, *loaded.tokenizer.encode(text).ids.tolist(), vocabulary.sep_id]
        total = 0.0
        for place in range(1, len(ids) - 1):
            copy = torch.tensor([[*ids[:place], vocabulary.mask_id, *ids[place + 1 :]]])
            logits = loaded.model(TokenBatch.from_padded(copy, torch.ones_like(copy)))[0, place]
            total += float(logits.double().log_softmax(-1)[ids[place]])
        return total

    credits = []
    for pair in pairs:
        good, bad = loop(pair.good), loop(pair.bad)
        credits.append(0.5 if abs(good - bad) < 1e-3 else float(good > bad))
    result = minimal_pairs(loaded.model, loaded.tokenizer, pairs, method="original")
    assert result.credits.tolist() == credits
    for number, name in enumerate(result.groups):
        own = [credit for credit, owner in zip(credits, result.owners, strict=True) if owner == number]
        assert result.groups[name].accuracy == pytest.approx(sum(own) / len(own))
        low, high = result.groups[name].interval
        assert low <= result.groups[name].accuracy <= high
    assert result.mean == pytest.approx(sum(g.accuracy for g in result.groups.values()) / len(BLIMP))
    assert set(credits) == {0.0, 0.5, 1.0}
