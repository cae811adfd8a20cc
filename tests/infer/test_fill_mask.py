"""Filled masks: the same alone or together, near the masks of long texts, and as people write them."""

import numpy as np
import pytest
import torch

from clozelm.errors import ClozeError
from clozelm.families import FAMILIES
from clozelm.infer import windows
from clozelm.infer.fill_mask import Filled, FillMask
from clozelm.nn.heads import MaskedLM
from clozelm.text.tokenizer import Tokenizer
from clozelm.types import TokenBatch
from tests import tiny_models

TEXTS = [
    "the cat [MASK] on the mat",
    "[MASK]",
    "a dog is [MASK] and a cat is [MASK].",
    "the " * 50 + "dog [MASK]",
    "machine learning is a [MASK] learning machine",
]


@pytest.fixture(params=FAMILIES)
def fill(request: pytest.FixtureRequest) -> FillMask:
    return FillMask(tiny_models.tiny_model(request.param), tiny_models.wordpiece())


def close(one: Filled, other: Filled) -> bool:
    pairs = [
        (a, b) for mask, again in zip(one.masks, other.masks, strict=True) for a, b in zip(mask, again, strict=True)
    ]
    return all(a.id == b.id and abs(a.probability - b.probability) < 1e-6 for a, b in pairs)


def test_by_hand(fill: FillMask) -> None:
    """The candidates are the softmax of the plain forward pass, special tokens around the text."""
    (filled,) = fill("the cat [MASK] on", top=20)
    ids = torch.tensor([[2, 5, 6, 4, 10, 3]])
    with torch.no_grad():
        logits = fill.model(TokenBatch.from_padded(ids, torch.ones_like(ids)))[0, 3]
    expected = logits.softmax(dim=0)
    (mask,) = filled.masks
    ordinary = ~fill.tokenizer.vocabulary.is_special
    order = enumerate(expected.argsort(descending=True).tolist(), start=1)
    assert [(c.id, c.rank) for c in mask] == [(each, rank) for rank, each in order if ordinary[each]]
    assert sum(c.probability for c in mask) == pytest.approx(float(expected[ordinary].sum()), abs=1e-5)
    assert all(c.probability == pytest.approx(float(expected[c.id]), abs=1e-6) for c in mask)
    assert filled.text == "the cat [MASK] on"
    share = float(expected[~ordinary].sum())
    assert (filled.notice is None) == (share <= 0.5)
    if filled.notice:
        likeliest = fill.tokenizer.token(int(expected.masked_fill(torch.from_numpy(ordinary), 0.0).argmax()))
        assert filled.notice.startswith(f"{share:.1%} of the probability is on special pieces")
        assert f"most of it on {likeliest}: the model has no word for this place" in filled.notice


def test_together_is_one_by_one(fill: FillMask, monkeypatch: pytest.MonkeyPatch) -> None:
    together = fill(TEXTS)
    assert [len(filled.masks) for filled in together] == [1, 1, 2, 1, 1]
    alone = [fill(text)[0] for text in TEXTS]
    assert all(map(close, together, alone))
    monkeypatch.setattr(windows, "TOKENS_PER_BATCH", 60)
    assert all(map(close, fill(TEXTS), alone))


def test_the_mask_in_any_spelling(fill: FillMask) -> None:
    expected = fill("the [MASK] sat")[0]
    for written in ("[mask]", "<mask>", "[Mask]", "<MASK>"):
        (filled,) = fill(f"the {written} sat")
        assert close(filled, expected)
        assert filled.text == f"the {written} sat"


def test_pieces_are_readable(fill: FillMask) -> None:
    tokens = {c.id: c.token for c in fill("[MASK]", top=20)[0].masks[0]}
    assert (tokens[5], tokens[17], tokens[18]) == ("the", "s", "ing")


def test_a_byte_level_mask_takes_the_space_before_it() -> None:
    tokenizer = tiny_models.byte_bpe()
    config = tiny_models.tiny_config("modernbert")
    model = MaskedLM(FAMILIES["modernbert"].preset("tiny", tokenizer.vocab_size, **sizes(config)))
    tiny_models.perturb(model, 0)
    fill = FillMask(model, tokenizer)
    assert fill._encode("a <mask> dog").tolist() == fill._encode("a[MASK] dog").tolist()
    assert fill._encode("a <mask> dog").tolist() == [
        tokenizer.id("a"),
        tokenizer.vocabulary.mask_id,
        tokenizer.id("Ġdog"),
    ]
    tokens = {c.id: c.token for c in fill("a <mask> dog", top=500)[0].masks[0]}
    assert tokens[tokenizer.id("Ġcat") or 0] == "cat"


def test_a_long_text_is_read_around_its_masks(fill: FillMask) -> None:
    """62 pieces fit. The first window holds two masks, the second one."""
    text = "the " * 100 + "[MASK] cat [MASK] " + "dog " * 100 + "[MASK] sat"
    (filled,) = fill(text)
    assert len(filled.masks) == 3
    assert filled.notice is not None
    assert filled.notice.startswith(
        "The text has 205 pieces and the model reads 62: each mask was filled from the pieces around it."
    )
    near = fill("the " * 29 + "[MASK] cat [MASK] " + "dog " * 30)[0]
    last = fill("dog " * 60 + "[MASK] sat")[0]
    assert "pieces and the model reads" not in (near.notice or "")
    assert close(Filled("", near.masks + last.masks), filled)


def test_ids_beyond_the_tokenizer_are_no_answers() -> None:
    tokenizer = tiny_models.wordpiece()
    config = tiny_models.tiny_config("bert")
    model = MaskedLM(FAMILIES["bert"].preset("tiny", tokenizer.vocab_size + 4, **sizes(config)))
    tiny_models.perturb(model, 0)
    (filled,) = FillMask(model, tokenizer)("[MASK]", top=100)
    assert {c.id for c in filled.masks[0]} == set(np.flatnonzero(~tokenizer.vocabulary.is_special).tolist())


def test_the_mode_of_the_model_is_kept() -> None:
    model = tiny_models.tiny_model("bert", dropout=0.5).train()
    fill = FillMask(model, tiny_models.wordpiece())
    assert close(fill("[MASK]")[0], fill("[MASK]")[0])
    assert model.training


def test_nothing_to_fill(fill: FillMask) -> None:
    assert fill([]) == []
    with pytest.raises(ClozeError, match=r"'the cat' has no \[MASK\]: write \[MASK\]"):
        fill(["[MASK]", "the cat"])
    with pytest.raises(ClozeError, match="top=0"):
        fill("[MASK]", top=0)


def sizes(config: object) -> dict[str, int]:
    names = ("hidden_size", "num_heads", "num_layers", "intermediate_size", "max_positions")
    return {name: getattr(config, name) for name in names}


def test_every_mask_is_counted(fill: FillMask) -> None:
    tokenizer: Tokenizer = fill.tokenizer
    text = "[MASK] " * 200
    assert int((tokenizer.encode(text).ids == tokenizer.vocabulary.mask_id).sum()) == 200
    assert len(fill(text)[0].masks) == 200
