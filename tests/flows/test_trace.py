"""The four steps on one sentence: masks as in training, predictions as fill gives them, one step of AdamW."""

import copy
import json
import math

import numpy as np
import pytest
import torch

from clozelm.errors import ClozeError, SettingsError
from clozelm.families import FAMILIES
from clozelm.flows.model import Model
from clozelm.flows.trace import TraceReport
from clozelm.infer.fill_mask import FillMask
from clozelm.nn.heads import MaskedLM
from clozelm.train.one_step import Step
from clozelm.types import Reading, TokenBatch
from tests import tiny_models

TOKENIZER = tiny_models.wordpiece()
TEXT = "The powerful cats sat on a mat."
RATE = 1e-3


@pytest.fixture(params=FAMILIES, scope="module")
def model(request: pytest.FixtureRequest) -> Model:
    return Model(tiny_models.tiny_model(request.param), TOKENIZER, FAMILIES[request.param])


def ids_of(found: TraceReport) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The masked row, the columns to be predicted, and the truths."""
    row = torch.tensor([[piece.id for piece in found.pieces]])
    columns = torch.tensor([one.piece.column for one in found.predictions])
    truths = row[0, columns]
    for one in found.predictions:
        row[0, one.piece.column] = TOKENIZER.id(one.piece.shown) or 0
    return row, columns, truths


def logits_of(model: MaskedLM, row: torch.Tensor) -> torch.Tensor:
    return model(TokenBatch.from_padded(row, torch.ones_like(row)))[0]


def test_one_step_is_one_of_adamw(model: Model) -> None:
    """The same as torch's optimiser on the whole row, and the model keeps every bit of its weights."""
    before = copy.deepcopy(model.masked_lm.state_dict())
    found = model.trace(TEXT, hide=["sat", "Cats"], learning_rate=RATE)
    assert all(torch.equal(before[name], weight) for name, weight in model.masked_lm.state_dict().items())
    assert not model.masked_lm.training
    row, columns, truths = ids_of(found)
    assert [one.piece.truth for one in found.predictions] == ["cat", "s", "sat"]
    assert {one.piece.fate for one in found.predictions} == {"mask"}
    twin = copy.deepcopy(model.masked_lm)
    optimiser = torch.optim.AdamW(twin.parameters(), lr=RATE, betas=(0.9, 0.98), eps=1e-8, weight_decay=0.0)
    loss = torch.nn.functional.cross_entropy(logits_of(twin, row)[columns], truths)
    loss.backward()
    gradients = [p.grad for p in twin.parameters() if p.grad is not None]
    norm = torch.linalg.vector_norm(torch.stack([gradient.norm() for gradient in gradients]))
    optimiser.step()
    after = logits_of(twin, row)[columns].softmax(-1)[torch.arange(3), truths]
    assert found.update.loss_before == pytest.approx(loss.item(), abs=1e-4)
    assert found.update.gradient_norm == pytest.approx(float(norm), rel=1e-3)
    assert found.update.loss_after == pytest.approx(-after.log().mean().item(), abs=5e-3)
    assert [one.after.probability for one in found.predictions] == pytest.approx(after.tolist(), abs=5e-3)
    assert found.update.loss_after < found.update.loss_before
    assert found.update.moved == pytest.approx(RATE, rel=0.02)
    assert found.update.loss_even == pytest.approx(math.log(TOKENIZER.vocab_size))


def test_predictions_are_those_of_fill(model: Model) -> None:
    found = model.trace(TEXT, hide=["sat"], top=3)
    (one,) = found.predictions
    shown = {
        "both": "The powerful cats [MASK] on a mat.",
        "left": "The powerful cats [MASK] [MASK] [MASK] [MASK] [MASK]",
        "right": "[MASK] [MASK] [MASK] [MASK] [MASK] on a mat.",
    }
    for side, text in shown.items():
        masks = FillMask(model.masked_lm, TOKENIZER)(text, top=20)[0].masks
        filled = masks[{"both": 0, "left": 0, "right": 4}[side]]
        seen = getattr(one, side)
        truth = next(each for each in filled if each.token == "sat")
        assert seen.rank == truth.rank, side
        assert seen.probability == pytest.approx(truth.probability, abs=1e-5)
        assert [guess.id for guess in seen.guesses] == [each.id for each in filled[:3]]


@pytest.fixture
def bert() -> Model:
    return Model(tiny_models.tiny_model("bert"), TOKENIZER, FAMILIES["bert"])


def test_masks_are_drawn_by_the_seed(bert: Model) -> None:
    """Every fate comes up, about as often as it should; the same seed draws the same."""
    fates: list[str] = []
    for seed in range(60):
        found = bert.trace(TEXT, seed=seed, rate=0.4)
        fates += [one.piece.fate for one in found.predictions]
        row, columns, truths = ids_of(found)
        for one, column, truth in zip(found.predictions, columns.tolist(), truths.tolist(), strict=True):
            now = int(row[0, column])
            assert (now == TOKENIZER.vocabulary.mask_id) == (one.piece.fate == "mask")
            assert one.piece.fate != "keep" or now == truth
            assert found.pieces[column].word is not None
    shares = {fate: fates.count(fate) / len(fates) for fate in ("mask", "random", "keep")}
    assert shares == pytest.approx({"mask": 0.8, "random": 0.1, "keep": 0.1}, abs=0.09)
    assert bert.trace(TEXT, seed=5, rate=0.4) == bert.trace(TEXT, seed=5, rate=0.4)
    assert len(bert.trace("cat").predictions) == 1, "at least one piece, however short the text"


def test_pieces_know_their_words(bert: Model) -> None:
    pieces = bert.trace(TEXT).pieces
    assert [(piece.token, piece.word, piece.begins_word) for piece in pieces[:6]] == [
        ("[CLS]", None, False),
        ("the", 0, True),
        ("powerful", 1, True),
        ("cat", 2, True),
        ("##s", 2, False),
        ("sat", 3, True),
    ]
    assert pieces[-1].word is None


def test_a_long_text_is_cut(bert: Model) -> None:
    found = bert.trace("cat " * 100)
    assert len(found.pieces) == 64
    assert found.notice == "The text has 100 pieces, of which the first 62 are traced."


def test_it_is_plain(bert: Model) -> None:
    plain = bert.trace(TEXT, rate=0.5).plain()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("a [MASK] cat", {}, "has a mask already: write the whole sentence"),
        ("  ", {}, "the text is empty"),
        ("Ünknown", {}, "has no piece that could be hidden"),
        ("a cat Ünknown", {"hide": ["ünknown"]}, "is unknown to the vocabulary"),
        ("a cat", {"hide": ["dog"]}, "hide='dog' is no word of the text as this model cuts it: a, cat"),
        ("a cat", {"rate": 0.0}, "rate"),
        ("a cat", {"rate": 1.5}, "rate"),
        ("a cat", {"learning_rate": 0.0}, "learning_rate=0.0"),
        ("a cat", {"learning_rate": math.inf}, "learning_rate=inf"),
        ("a cat", {"learning_rate": 1e30}, "learning_rate=1e\\+30 must be a number above 0 and at most 10"),
        ("a cat", {"top": 0}, "top=0"),
        ("a \udcff cat", {}, "is not valid text"),
    ],
)
def test_mistakes(bert: Model, text: str, options: dict[str, object], said: str) -> None:
    with pytest.raises(ClozeError, match=said):
        bert.trace(text, **options)


def test_models_that_cannot(bert: Model) -> None:
    damaged = tiny_models.tiny_model("bert")
    damaged.head.bias.data.fill_(np.nan)
    with pytest.raises(ClozeError, match="weights are damaged"):
        Model(damaged, TOKENIZER, FAMILIES["bert"]).trace(TEXT)
    bert.masked_lm.reading = Reading("left", ahead=True)
    with pytest.raises(ClozeError, match="fills no mask"):
        bert.trace(TEXT)


def test_an_update_that_breaks_the_model_is_one_line(bert: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(model: MaskedLM, *given: object, **options: float) -> Step:
        twin = copy.deepcopy(model)
        next(twin.parameters()).data.fill_(math.nan)
        return Step(twin, 1.0, 1.0, 1, 1.0)

    monkeypatch.setattr("clozelm.flows.trace.one_step", broken)
    with pytest.raises(SettingsError, match=r"learning_rate=5.0 breaks the model: after the update its answers"):
        bert.trace("a cat", learning_rate=5.0)
