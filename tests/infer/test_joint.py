"""Blanks filled together: the chain rule by hand, exhaustive search, open lengths, words of several pieces."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clozelm.errors import ClozeError
from clozelm.families import FAMILIES
from clozelm.infer import blank_answers, windows
from clozelm.infer.fill_mask import FillMask
from clozelm.infer.fillings import FilledTogether, FillSettings
from clozelm.infer.joint import JointFill
from clozelm.nn.heads import MaskedLM
from clozelm.types import Reading, TokenBatch
from tests import tiny_models

TOKENIZER = tiny_models.wordpiece()
ORDINARY = TOKENIZER.vocabulary.ordinary_ids.tolist()
MASK = TOKENIZER.vocabulary.mask_id


def logs(model: MaskedLM, ids: list[int], temperature: float = 1.0) -> torch.Tensor:
    """Log-probabilities of a text with special tokens around it: [seq, vocab]."""
    batch = torch.tensor([[2, *ids, 3]])
    with torch.no_grad():
        logits = model(TokenBatch.from_padded(batch, torch.ones_like(batch)))[0]
    return (logits / temperature).log_softmax(-1)[1:-1]


def pieces_of(filled: FilledTogether) -> list[tuple[int, ...]]:
    return [tuple(p.id for a in one.answers for p in a.pieces) for one in filled.fillings]


def filler(family: str = "bert", **wishes: object) -> JointFill:
    return JointFill(tiny_models.tiny_model(family), TOKENIZER, FillSettings(**wishes))  # type: ignore[arg-type]


@pytest.mark.parametrize("family", FAMILIES)
def test_one_mask_is_fill_mask_without_special_pieces(family: str) -> None:
    joint = filler(family)
    (found,) = joint("the cat [MASK] on the mat", top=8)
    (mask,) = FillMask(joint.model, TOKENIZER)("the cat [MASK] on the mat", top=20)[0].masks
    expected = [one for one in mask if one.id in ORDINARY][:8]
    assert pieces_of(found) == [(one.id,) for one in expected]
    for one, other in zip(found.fillings, expected, strict=True):
        (piece,) = one.answers[0].pieces
        assert piece.rank == other.rank
        assert one.log_probability == pytest.approx(other.log_probability, abs=1e-5)
        assert one.text == Plain.text("the cat", piece.piece, "on the mat")


class Plain:
    @staticmethod
    def text(before: str, piece: str, after: str) -> str:
        gap = "" if piece.startswith("##") or piece == "." else " "
        return f"{before}{gap}{piece.removeprefix('##')} {after}"


@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_left_to_right_with_a_wide_beam_is_exhaustive_search(family: str) -> None:
    """All pairs of pieces: p(first | both masked) p(second | first)."""
    joint = filler(family, order="left-to-right", beam=len(ORDINARY))
    (found,) = joint("the [MASK] sat [MASK]", top=10)
    the, sat = 5, 8
    first = logs(joint.model, [the, MASK, sat, MASK])[1]
    everything = []
    for one in ORDINARY:
        second = logs(joint.model, [the, one, sat, MASK])[3]
        everything += [(float(first[one] + second[two]), (one, two)) for two in ORDINARY]
    everything.sort(reverse=True)
    assert pieces_of(found) == [pair for _, pair in everything[:10]]
    for one, (expected, _) in zip(found.fillings, everything, strict=False):
        assert one.log_probability == pytest.approx(expected, abs=1e-5)
        assert one.score == pytest.approx(one.log_probability)


def test_best_first_asks_the_most_certain_mask_first() -> None:
    """Greedy, by hand: fill the mask whose best piece is the most probable, read anew, and so on."""
    joint = filler(beam=1)
    for text, ids in (
        ("the [MASK] sat [MASK] a [MASK]", [5, MASK, 8, MASK, 12, MASK]),
        ("[MASK] [MASK]", [MASK] * 2),
    ):
        (found,) = joint(text, top=1)
        total = 0.0
        while MASK in ids:
            table = logs(joint.model, ids)
            options = [(float(table[c, p]), c, p) for c, one in enumerate(ids) if one == MASK for p in ORDINARY]
            best, column, piece = max(options)
            ids[column] = piece
            total += best
        assert found.fillings[0].log_probability == pytest.approx(total, abs=1e-5)
        places = [place for place, part in enumerate(text.split()) if part == "[MASK]"]
        assert pieces_of(found) == [tuple(ids[place] for place in places)]


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from(["the", "cat", "[MASK]", "[MASK*]", "sat", "."]), min_size=1, max_size=6))
def test_the_joint_log_probability_is_that_of_the_chain_rule(parts: list[str]) -> None:
    """Whatever was found: each piece's probability, with the pieces before it and masks after it, adds up."""
    joint = filler(order="left-to-right", beam=3, max_pieces=2)
    text = " ".join(parts)
    if "MASK" not in text:
        return
    (found,) = joint(text, top=3)
    assert found.fillings == sorted(found.fillings, key=lambda one: -one.score)
    for one in found.fillings:
        left, total = list(one.answers), 0.0
        for number in range(len(left)):
            known = [p.id for a in left[:number] for p in a.pieces]
            for done in range(len(left[number].pieces)):
                chosen = [*known, *[p.id for p in left[number].pieces[:done]]]
                ids, columns = [], []
                spot = iter(len(a.pieces) if i <= number else 1 for i, a in enumerate(left))
                for part in parts:
                    if "MASK" in part:
                        width = next(spot)
                        columns += range(len(ids), len(ids) + width)
                        ids += [MASK] * width
                    else:
                        ids += TOKENIZER.encode(part).ids.tolist()
                for column, piece in zip(columns, chosen, strict=False):
                    ids[column] = piece
                total += float(logs(joint.model, ids)[columns[len(chosen)], left[number].pieces[done].id])
        assert one.log_probability == pytest.approx(total, abs=1e-4)


def test_a_blank_of_open_length_tries_every_length() -> None:
    """With a beam as wide as the vocabulary, one and two pieces are all tried; answers begin a word.

    Those of two pieces are of letters, and no piece comes twice.
    """
    joint = filler(max_pieces=2)
    starts = [i for i in ORDINARY if not TOKENIZER.token(i).startswith("##")]
    (found,) = joint("the [MASK*] sat", top=len(starts) * (len(ORDINARY) + 1))
    expected = {(one,): float(logs(joint.model, [5, MASK, 8])[1, one]) for one in starts}
    first = logs(joint.model, [5, MASK, MASK, 8])[1]
    lettered = [i for i in ORDINARY if any(c.isalnum() for c in TOKENIZER.piece_text(i))]
    assert len(lettered) < len(ORDINARY)
    for one in set(starts) & set(lettered):
        second = logs(joint.model, [5, one, MASK, 8])[2]
        expected |= {(one, two): float(first[one] + second[two]) for two in lettered if two != one}
    assert set(pieces_of(found)) == set(expected)
    for pieces, one in zip(pieces_of(found), found.fillings, strict=True):
        assert one.log_probability == pytest.approx(expected[pieces], abs=1e-5)
        assert one.score == pytest.approx(expected[pieces] - math.log(5) * (len(pieces) - 1), abs=1e-5)
        assert "##" not in one.text
    scores = [one.score for one in found.fillings]
    assert scores == sorted(scores, reverse=True)


def test_targets_are_scored_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """ "catsing" is three pieces, scored through three masks from left to right, not cut to "cat"."""
    words = ("powerful", "catsing", "cats", "cat", "dogs", "Learning machine")
    joint = filler(targets=words)
    (found,) = joint("a [MASK] sat")
    assert {one.answers[0].text for one in found.fillings} == set(words)
    for one in found.fillings:
        answer = one.answers[0]
        ids = TOKENIZER.encode(answer.text).ids.tolist()
        assert [piece.id for piece in answer.pieces] == ids
        total = 0.0
        for done in range(len(ids)):
            table = logs(joint.model, [12, *ids[:done], *[MASK] * (len(ids) - done), 8])
            total += float(table[1 + done, ids[done]])
        assert answer.log_probability == pytest.approx(total, abs=1e-5)
        assert answer.score == answer.log_probability, "words that were given are not judged by their length"
    monkeypatch.setattr(blank_answers, "_WORDS_AT_ONCE", 1)
    best = [one.answers[0].text for one in found.fillings]
    for top in range(1, 7):
        (few,) = filler(only=words)("a [MASK] sat", top=top)
        assert [one.answers[0].text for one in few.fillings] == best[:top], "long lists are cut without loss"


def test_words_of_several_pieces_in_several_masks() -> None:
    (found,) = filler(only=("cats", "dog"), beam=9)("the [MASK] sat on the [MASK].", top=9)
    assert {tuple(a.text for a in one.answers) for one in found.fillings} == set(
        itertools.product(("cats", "dog"), repeat=2)
    )
    assert {one.text for one in found.fillings} >= {"the cats sat on the dog.", "the dog sat on the cats."}


def test_whole_words_and_words_that_are_not_wanted() -> None:
    joint = filler(whole_words=True, exclude=("Cat", "mat"), order="each")
    (found,) = joint("a [MASK] and [MASK]", top=50)
    for answers in found.each:
        assert {one.text for one in answers} == set(tiny_models.WORDS) - {"cat", "mat"}
    open_ended = filler(exclude=("cat the", "the"), max_pieces=2)
    (found,) = open_ended("a [MASK*] sat", top=1000)
    texts = {one.answers[0].text for one in found.fillings}
    assert "cat the" not in texts
    assert "the" not in texts
    assert "the cat" in texts


@pytest.mark.parametrize("family", ["roberta", "modernbert"])
def test_byte_level_words_begin_with_their_space(family: str) -> None:
    tokenizer = tiny_models.byte_bpe()
    model = MaskedLM(tiny_models.tiny_config(family, vocab_size=tokenizer.vocab_size))
    tiny_models.perturb(model, 0)
    joint = JointFill(model.eval(), tokenizer, FillSettings(whole_words=True))
    (inside,) = joint("a <mask> b", top=500)
    assert all(one.answers[0].pieces[0].piece.startswith("Ġ") for one in inside.fillings)
    assert {"a cat b", "a dog b"} <= {one.text for one in inside.fillings}
    (first,) = joint("<mask> b", top=500)
    assert not any(one.answers[0].pieces[0].piece.startswith("Ġ") for one in first.fillings)
    assert not any("Ġ" in one.text for one in [*inside.fillings, *first.fillings])
    (words,) = JointFill(model, tokenizer, FillSettings(targets=("cat", "bad")))("a [MASK] b")
    assert {tuple(p.piece for p in one.answers[0].pieces) for one in words.fillings} == {
        ("Ġcat",),
        tuple(tokenizer.token(i) for i in tokenizer.encode(" bad").ids),
    }


def test_together_is_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [
        "the [MASK] sat [MASK]",
        "[MASK*]",
        "a [MASK*] is [MASK] and [MASK*].",
        "the " * 50 + "[MASK] dog [MASK]",
    ]
    joint = filler(max_pieces=2)
    together = list(joint(texts, top=3))
    alone = [next(joint(text, top=3)) for text in texts]
    monkeypatch.setattr(windows, "TOKENS_PER_BATCH", 60)
    for one, *others in zip(together, alone, joint(texts, top=3), strict=True):
        for other in others:
            assert pieces_of(one) == pieces_of(other)
            assert [x.log_probability for x in one.fillings] == pytest.approx(
                [x.log_probability for x in other.fillings], abs=1e-5
            )


def test_long_texts_are_read_around_their_masks() -> None:
    text = "the " * 100 + "[MASK] cat [MASK*] " + "dog " * 100
    (found,) = filler(max_pieces=2)(text, top=2)
    assert found.notice == (
        "The text has 203 pieces and the model reads 62: its masks were filled from the pieces around them."
    )
    assert found.fillings[0].text.startswith("the the")
    assert found.fillings[0].text.count("dog ") >= 99
    (each,) = filler(order="each")("[MASK] " + "the " * 100 + "[MASK]")
    assert len(each.each) == 2


def test_temperature_flattens() -> None:
    joint = filler(temperature=3.0)
    (found,) = joint("the [MASK]", top=2)
    table = logs(joint.model, [5, MASK], temperature=3.0)[1]
    for one in found.fillings:
        (piece,) = one.answers[0].pieces
        assert piece.log_probability == pytest.approx(float(table[piece.id]), abs=1e-5)
        assert one.answers[0].entropies[0] == pytest.approx(float(-(table.exp() * table).sum()), abs=1e-4)


def test_a_model_that_sees_one_side_fills_as_one_reads() -> None:
    model = tiny_models.tiny_model("bert")
    model.reading = Reading("left", ahead=True)
    assert JointFill(model, TOKENIZER).order == "left-to-right"
    assert filler().order == "best-first"


@pytest.mark.parametrize(
    ("wishes", "text", "said"),
    [
        ({}, "the cat", r"'the cat' has no \[MASK\]: write \[MASK\]"),
        ({}, "[MASK] " * 600, r"has 600 masks, and at most 64 are filled together"),
        ({}, "[MASK] " + "the " * 100 + "[MASK]", r"need 102 pieces together and the model reads 62"),
        ({"targets": ("cat", "zebra")}, "[MASK]", r"no pieces to write 'zebra': leave it out"),
        ({"targets": ("[SEP]",)}, "[MASK]", r"no pieces to write '\[SEP\]'"),
        ({"only": ("zebra",)}, "[MASK]", r"None of the words"),
        ({"only": ("cat",), "targets": ("cat",)}, "[MASK]", r"contradict each other"),
        ({"targets": ("cat",), "exclude": ("Cat",)}, "[MASK]", r"'cat' is both asked for and excluded"),
        ({"exclude": tuple(TOKENIZER.piece_text(i) for i in ORDINARY)}, "[MASK]", r"Nothing is left"),
        ({"order": "random"}, "[MASK]", r"order='random' is not one of best-first, left-to-right, each"),
        ({"beam": 0}, "[MASK]", r"beam=0 must be at least 1"),
        ({"temperature": 0.0}, "[MASK]", r"temperature=0 must be between 0.01 and 100"),
        ({"targets": (" ",)}, "[MASK]", r"targets names no word"),
    ],
)
def test_mistakes(wishes: dict[str, object], text: str, said: str) -> None:
    with pytest.raises(ClozeError, match=said) as caught:
        next(filler(**wishes)(text))
    assert "\n" not in str(caught.value)


def test_words_that_cannot_be_written_are_left_out_of_a_list() -> None:
    (found,) = filler(only=("cat", "zebra", "dog"))("a [MASK]")
    assert found.notice == "The vocabulary of this model has no pieces to write 'zebra': 1 of 3 words are left out."
    assert {one.answers[0].text for one in found.fillings} == {"cat", "dog"}
    assert math.isclose(found.fillings[0].probability, math.exp(found.fillings[0].log_probability))
