"""Every view of a prediction, for every family, against naive loops and formulas."""

import json
import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from clozelm.errors import ClozeError
from clozelm.explain.attribute import by_word, integrated_gradients, occlusion, rolled_out, rollout
from clozelm.explain.context import sides, swaps
from clozelm.explain.explain import explain
from clozelm.explain.faithful import Curve, Deletion, deletion, order_of
from clozelm.explain.lens import lens
from clozelm.explain.probe import Probe, log_odds_of
from clozelm.explain.question import read_question
from clozelm.explain.record import record
from clozelm.families import FAMILIES
from clozelm.infer.fill_mask import FillMask
from clozelm.nn.heads import MaskedLM
from clozelm.types import Reading, TokenBatch
from tests import tiny_models

TOKENIZER = tiny_models.wordpiece()
TEXT = "the powerful cats sat on a [MASK], learning is learning on the mats ."
MASK = 4


@pytest.fixture(params=FAMILIES, scope="module")
def model(request: pytest.FixtureRequest) -> MaskedLM:
    return tiny_models.tiny_model(request.param)


def make_probe(model: MaskedLM, word: str | None = None, text: str = TEXT) -> Probe:
    return Probe(model, TOKENIZER, read_question(TOKENIZER, 64, text, word=word))


@torch.no_grad()
def log_p(model: MaskedLM, ids: np.ndarray) -> torch.Tensor:
    """Log-probabilities of one window at every column, alone in its batch."""
    row = torch.from_numpy(ids)[None]
    return model(TokenBatch.from_padded(row, torch.ones_like(row)))[0].double().log_softmax(-1)


def by_hand(model: MaskedLM, ids: np.ndarray, columns: tuple[int, ...], target: tuple[int, ...]) -> float:
    ids, total = ids.copy(), 0.0
    for column, piece in zip(columns, target, strict=True):
        total += float(log_p(model, ids)[column, piece])
        ids[column] = piece
    return total


@pytest.mark.parametrize("word", [None, "dog", "dogs"])
def test_hiding_a_word_is_what_a_loop_finds(model: MaskedLM, word: str | None) -> None:
    probe = make_probe(model, word)
    question = probe.question
    if word is None:
        filled = FillMask(model, TOKENIZER)(TEXT, top=1)[0].masks[0][0]
        assert probe.target == (filled.id,)
    falls, moved = occlusion(probe)
    full = log_p(model, question.ids)[question.columns[0]].numpy()
    start = log_odds_of(np.array([by_hand(model, question.ids, question.columns, probe.target)]))[0]
    for number, one in enumerate(question.words):
        ids = question.ids.copy()
        ids[[*one.columns]] = MASK
        odds = log_odds_of(np.array([by_hand(model, ids, question.columns, probe.target)]))[0]
        assert falls.values[number] == pytest.approx(start - odds, abs=2e-4)
        row = log_p(model, ids)[question.columns[0]].numpy()
        assert moved.values[number] == pytest.approx(float((np.exp(full) * (full - row)).sum()), abs=2e-4)
    assert min(moved.values) >= 0


@pytest.mark.parametrize("word", [None, "dogs"])
def test_gradients_are_complete(model: MaskedLM, word: str | None) -> None:
    """The words' shares add up to what hiding all of them costs, found by asking with all hidden."""
    probe = make_probe(model, word)
    given, found = integrated_gradients(probe)
    ends = probe.ask([probe.without(range(len(probe.question.words))), probe.variation()]).log_probability
    difference = float(np.diff(log_odds_of(ends))[0])
    assert found.difference == pytest.approx(difference, abs=2e-4)
    assert sum(given.values) == pytest.approx(difference, rel=0.03, abs=0.02)
    assert found.error == pytest.approx(sum(given.values) - difference, abs=5e-4)


def test_more_than_one_word_gets_a_share(model: MaskedLM) -> None:
    values = integrated_gradients(make_probe(model))[0].values
    assert sum(abs(value) > 1e-3 for value in values) > 1


def test_rollout_is_its_formula(model: MaskedLM) -> None:
    """Abnar & Zuidema 2020: A_l = 0.5 W_l + 0.5 I, R_1 = A_1, R_l = A_l R_(l-1)."""
    probe = make_probe(model)
    attention = record(probe).attention
    expected = None
    for layer in attention.weights:
        mixed = 0.5 * layer.mean(axis=0) + 0.5 * np.eye(layer.shape[-1])
        expected = mixed if expected is None else np.einsum("ij,jk->ik", mixed, expected)
    assert expected is not None
    assert np.abs(rolled_out(attention.weights) - expected).max() <= 1e-6
    assert np.allclose(rolled_out(attention.weights).sum(axis=1), 1, atol=1e-5)
    given = rollout(probe, attention)
    row = expected[probe.question.columns[0]]
    assert given.values == pytest.approx(
        [sum(row[column] for column in word.columns) for word in probe.question.words], abs=1e-5
    )
    assert sum(given.values) + given.rest == pytest.approx(1)


@pytest.mark.parametrize("word", [None, "dogs"])
def test_the_last_layer_is_the_answer(model: MaskedLM, word: str | None) -> None:
    probe = make_probe(model, word)
    layers = lens(probe, record(probe), top=20)
    assert [layer.layer for layer in layers] == list(range(model.config.num_layers + 1))
    expected = by_hand(model, probe.question.ids, probe.question.columns, probe.target)
    assert math.log(layers[-1].probability) == pytest.approx(expected, abs=1e-4)
    assert layers[-1].rank == probe.rank(probe.full)
    for mine, other in zip(layers[-1].guesses, probe.best(probe.full, 20), strict=True):
        assert mine.probability == pytest.approx(other.probability, abs=1e-5)
    assert any(abs(one.probability - other.probability) > 1e-4 for one, other in pairwise(layers))


def test_a_side_is_hidden_behind_masks(model: MaskedLM) -> None:
    probe = make_probe(model)
    found = {side.side: side for side in sides(probe, top=3)}
    ids, (column,) = probe.question.ids, probe.question.columns
    words = {column for word in probe.question.words for column in word.columns}
    for side, kept in (
        ("both", words),
        ("none", set()),
        ("left", range(column)),
        ("right", range(column, len(ids))),
    ):
        read = np.array([piece if i not in words or i in kept else MASK for i, piece in enumerate(ids.tolist())])
        row = log_p(model, read)[column].exp()
        assert found[side].probability == pytest.approx(float(row[probe.target[0]]), abs=1e-4)
        ordinary = row[:20][torch.from_numpy(~TOKENIZER.vocabulary.is_special)]
        assert found[side].guesses[0].probability == pytest.approx(float(ordinary.max()), abs=1e-4)
    assert found["both"].moved == pytest.approx(0, abs=1e-6)
    assert found["left"].words + found["right"].words == found["both"].words == len(probe.question.words)


def test_swaps_are_edits_that_can_be_written(model: MaskedLM) -> None:
    """Each is told as the model answers the edited text; those that change it come first, likeliest first."""
    probe = make_probe(model)
    best = probe.best(probe.full, 1)[0].id
    found = swaps(probe, range(len(probe.question.words)))
    assert found
    changing = [swap.changes_answer for swap in found]
    assert changing == sorted(changing, reverse=True)
    likely = [swap.likely for swap in found if swap.changes_answer]
    assert likely == sorted(likely, reverse=True)
    for swap in found[:6]:
        span = probe.question.words[swap.word].span
        text = probe.question.text
        edited = text[: span[0]] + swap.new + text[span[1] :]
        answer = FillMask(model, TOKENIZER)(edited, top=1)[0].masks[0][0]
        assert (answer.id, answer.token) == (swap.answer.id, swap.answer.text)
        assert answer.probability == pytest.approx(swap.answer.probability, abs=1e-4)
        assert swap.changes_answer == (answer.id != best)


def test_deletion_hides_in_the_order_of_a_method(model: MaskedLM) -> None:
    probe = make_probe(model)
    falls, moved = occlusion(probe)
    found = deletion(probe, [falls, moved], seed=3)
    count = len(probe.question.words)
    assert found.hidden == list(range(count + 1))
    for given, curve in zip((falls, moved), found.curves, strict=True):
        order = sorted(range(count), key=lambda number, values=given.values: -values[number])
        expected = []
        for number in range(count + 1):
            ids = probe.without(order[:number]).ids
            expected.append(math.exp(by_hand(model, ids, probe.question.columns, probe.target)))
        assert curve.probabilities == pytest.approx(expected, abs=1e-4)
        area = sum((one + other) / 2 / count for one, other in pairwise(expected))
        assert curve.area == pytest.approx(area, abs=1e-4)
        assert curve.kept == pytest.approx(area / expected[0], rel=1e-2)
    assert found == deletion(probe, [falls, moved], seed=3)
    assert found.random_mean != deletion(probe, [falls, moved], seed=4).random_mean
    ends = {round(curve.probabilities[-1], 6) for curve in found.curves}
    assert ends == {round(found.random_mean[-1], 6)}, "all words hidden is the same in any order"


def test_long_texts_are_followed_at_few_points() -> None:
    probe = make_probe(tiny_models.tiny_model("bert"), text="the cat sat on " * 14 + "[MASK]")
    falls, _ = occlusion(probe)
    found = deletion(probe, [falls])
    assert (len(found.hidden), found.hidden[0], found.hidden[-1]) == (21, 0, 56)


def test_methods_that_cannot_be_told_apart_are_all_named() -> None:
    def curve(method: str, kept: float) -> Curve:
        return Curve(method, [1.0, kept], kept, kept, 0.0)

    curves = [curve("occlusion", 0.0612), curve("rollout", 0.09), curve("gradients", 0.0601)]
    found = Deletion([0, 1], curves, 40, [1.0, 0.9], [1.0, 0.8], [1.0, 1.0], 0.9, 0.9)
    assert [each.method for each in found.leaders] == ["occlusion", "gradients"]
    assert found.verdict.startswith("Occlusion and gradients name the words")
    assert "in their order it keeps 6%" in found.verdict
    assert Deletion([], [], 0, [], [], [], 0.0, 0.0).leaders == []


def test_everything_is_plain(model: MaskedLM) -> None:
    explanation = explain(model, TOKENIZER, TEXT, word="cats", top=3)
    plain = explanation.plain()
    assert json.loads(json.dumps(plain, allow_nan=False)) == json.loads(json.dumps(plain))
    assert explanation.answer.target.pieces == ["cat", "##s"]
    assert "is 2 pieces to this model (cat ##s)" in (explanation.prompt.notice or "")
    looks = np.array(plain["attention"]["from_mask"])
    assert looks.shape == (model.config.num_layers, model.config.num_heads, len(explanation.prompt.pieces))
    assert np.allclose(looks.sum(axis=-1), 1, atol=1e-3)


@pytest.mark.parametrize("text", ["[MASK]", "[MASK] [MASK]"])
def test_a_mask_without_words(model: MaskedLM, text: str) -> None:
    explanation = explain(model, TOKENIZER, text, mask=1)
    assert explanation.words.deletion.best is None
    assert "no word around the mask" in explanation.words.deletion.verdict
    assert explanation.swaps == []
    json.dumps(explanation.plain(), allow_nan=False)


def test_what_a_model_does_not_see_does_not_matter() -> None:
    """A model that reads the left side alone owes nothing to the words on the right, by any method."""
    model = tiny_models.tiny_model("bert")
    model.reading = Reading("left")
    probe = make_probe(model)
    right = [n for n, word in enumerate(probe.question.words) if word.columns[0] > probe.question.columns[0]]
    falls, moved = occlusion(probe)
    gradients, _ = integrated_gradients(probe)
    given = rollout(probe, record(probe).attention)
    for attribution in (falls, moved, gradients, given):
        assert np.abs(np.array(attribution.values)[right]).max() <= 1e-5
        assert np.abs(np.array(attribution.values)).max() > 1e-3


def test_a_model_that_reads_ahead() -> None:
    model = tiny_models.tiny_model("bert")
    model.reading = Reading("both", ahead=True)
    probe = make_probe(model)
    layers = lens(probe, record(probe))
    expected = FillMask(model, TOKENIZER)(TEXT, top=1)[0].masks[0][0]
    assert layers[-1].guesses[0].text == expected.token
    assert layers[-1].probability == pytest.approx(expected.probability, abs=1e-5)
    assert integrated_gradients(probe)[1].difference != 0


def test_mistakes() -> None:
    model = tiny_models.tiny_model("bert")
    with pytest.raises(ClozeError, match="top=0"):
        explain(model, TOKENIZER, TEXT, top=0)
    model.reading = Reading("left", ahead=True)
    with pytest.raises(ClozeError, match="predicts the next piece, so it fills no mask"):
        explain(model, TOKENIZER, TEXT)
    damaged = tiny_models.tiny_model("bert")
    damaged.head.bias.data.fill_(math.nan)
    with pytest.raises(ClozeError, match="not a finite number"):
        explain(damaged, TOKENIZER, TEXT)


def test_captum_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "captum.attr", None)
    with pytest.raises(ClozeError, match=r"pip install 'clozelm\[explain\]'"):
        integrated_gradients(make_probe(tiny_models.tiny_model("bert")))


def test_small_things() -> None:
    assert by_word(np.array([1.0, 2.0, 4.0]), [0, 0, 2], 3) == [3.0, 0.0, 4.0]
    assert order_of([1.0, 3.0, 3.0, -2.0]).tolist() == [1, 2, 0, 3]
    assert log_odds_of(np.log([0.5, 0.9])).tolist() == pytest.approx([0, math.log(9)])
    assert np.isfinite(log_odds_of(np.array([0.0, -1e-300, -800.0]))).all()
