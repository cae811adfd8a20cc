"""Generated text: every mask filled, what was given kept, on schedule, and the same for the same seed."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from clozelm.errors import ClozeError
from clozelm.families import FAMILIES
from clozelm.infer.generate import Generated, Generator, Sampling
from clozelm.nn.heads import MaskedLM
from clozelm.text.tokenizer import Tokenizer
from clozelm.text.train_tokenizer import Kind
from clozelm.types import Context, Reading, TokenBatch
from tests import tiny_models, tiny_runs

KINDS: list[Kind] = ["wordpiece", "bpe", "unigram"]
TEXT = "We propose [MASK] [MASK] model (with\n[MASK]) for  the [MASK]."


@pytest.fixture(scope="module", params=KINDS)
def generator(request: pytest.FixtureRequest, texts: list[str]) -> Generator:
    return made(tiny_runs.tokenizer(texts, request.param))


@pytest.fixture(scope="module")
def wordpiece() -> Generator:
    return Generator(tiny_models.tiny_model("bert"), tiny_models.wordpiece())


def made(tokenizer: Tokenizer, spare: int = 3) -> Generator:
    """A random model whose matrix is larger than the tokenizer's vocabulary."""
    sizes = {"hidden_size": 32, "num_heads": 2, "num_layers": 2, "intermediate_size": 48, "max_positions": 64}
    model = MaskedLM(FAMILIES["bert"].preset("tiny", tokenizer.vocab_size + spare, **sizes))
    tiny_models.perturb(model, 0)
    return Generator(model.eval(), tokenizer)


@pytest.mark.parametrize("order", ["confident", "random"])
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 50, None])
def test_every_mask_is_filled_and_the_rest_is_kept(generator: Generator, steps: int | None, order: str) -> None:
    (generated,) = generator(TEXT, sampling=Sampling(steps=steps, order=order))  # type: ignore[arg-type]
    vocabulary = generator.tokenizer.vocabulary
    before = generator.tokenizer.encode(TEXT.replace("[MASK]", mask_of(generator))).ids
    is_mask = before == vocabulary.mask_id
    assert is_mask.sum() == 4
    after = np.array(generated.steps[-1].ids)
    assert (after[~is_mask] == before[~is_mask]).all()
    assert not vocabulary.is_special[after[is_mask]].any()
    assert sorted(column for step in generated.steps for column in step.filled) == np.flatnonzero(is_mask).tolist()
    assert generated.text.startswith("We propose")
    assert "model (with" in generated.text
    assert ") for  the" in generated.text
    assert generated.text.endswith(".")
    assert mask_of(generator) not in generated.text


def test_no_special_piece_is_written(generator: Generator) -> None:
    """A hundred texts hold every piece a random model likes, and no special one, nor one beyond the tokenizer."""
    special = generator.tokenizer.vocabulary.is_special
    drawn = {id for each in generator(length=60, sampling=Sampling(steps=1), samples=100) for id in last(each)}
    assert len(drawn) > 0.5 * generator.tokenizer.vocab_size
    assert max(drawn) < generator.tokenizer.vocab_size
    assert not special[sorted(drawn)].any()


@pytest.mark.parametrize("masks", [1, 5, 16, 61])
@pytest.mark.parametrize("steps", [1, 3, 7, 16, 100])
def test_the_number_filled_follows_the_schedule(wordpiece: Generator, masks: int, steps: int) -> None:
    (generated,) = wordpiece(length=masks, sampling=Sampling(steps=steps))
    counts = [len(step.filled) for step in generated.steps]
    used = min(steps, masks)
    assert np.cumsum(counts).tolist() == [masks * step // used for step in range(1, used + 1)]
    assert min(counts) >= 1
    for number, step in enumerate(generated.steps):
        unfilled = step.ids.count(wordpiece.tokenizer.vocabulary.mask_id)
        assert unfilled == masks - sum(counts[: number + 1])
        assert sum(part.state == "masked" for part in step.parts) == unfilled
        assert sum(part.state == "new" for part in step.parts) == counts[number]


def test_one_step_is_the_best_piece_everywhere(generator: Generator) -> None:
    (generated,) = generator(TEXT, sampling=Sampling(steps=1, temperature=0.0))
    vocabulary = generator.tokenizer.vocabulary
    ids = generator.tokenizer.encode(TEXT.replace("[MASK]", mask_of(generator))).ids.tolist()
    whole = torch.tensor([[vocabulary.cls_id, *ids, vocabulary.sep_id]])
    with torch.no_grad():
        logits = generator.model(TokenBatch.from_padded(whole, torch.ones_like(whole)))[0, 1:-1]
    logits = logits[:, : generator.tokenizer.vocab_size].clone()
    logits[:, sorted(vocabulary.special_ids)] = -torch.inf
    (step,) = generated.steps
    assert [step.ids[column] for column in step.filled] == logits.argmax(1)[step.filled].tolist()
    assert step.confidences == pytest.approx(logits.softmax(1).amax(1)[step.filled].tolist(), abs=1e-5)


def test_the_confident_order_takes_the_most_probable_first(wordpiece: Generator) -> None:
    (all_at_once,) = wordpiece(length=9, sampling=Sampling(steps=1, temperature=0.0))
    (one_by_one,) = wordpiece(length=9, sampling=Sampling(temperature=0.0))
    first = one_by_one.steps[0]
    assert first.filled == [int(np.argmax(all_at_once.steps[0].confidences))]
    assert first.confidences == [max(all_at_once.steps[0].confidences)]
    (any_order,) = wordpiece(length=9, sampling=Sampling(temperature=0.0, order="random"))
    assert [step.filled for step in any_order.steps] != [step.filled for step in one_by_one.steps]


def test_the_same_seed_writes_the_same(generator: Generator) -> None:
    three = generator(length=12, samples=3, seed=5)
    assert three == generator(length=12, samples=3, seed=5)
    assert three[:1] == generator(length=12, seed=5)
    assert len({each.text for each in [*three, *generator(length=12, seed=6)]}) == 4


def test_draws_follow_the_model(wordpiece: Generator) -> None:
    """The best piece of a page of one mask comes as often as its probability says, in 4000 draws."""
    draws = [last(each)[0] for each in wordpiece(length=1, samples=4000)]
    (filled,) = wordpiece(length=1, sampling=Sampling(temperature=0.0))
    best, share = last(filled)[0], filled.steps[0].confidences[0]
    found = draws.count(best) / len(draws)
    assert abs(found - share) < 5 * (share * (1 - share) / len(draws)) ** 0.5


def test_temperature_and_top_k(wordpiece: Generator) -> None:
    best = wordpiece(length=8, sampling=Sampling(temperature=0.0))
    assert same_ids(best, wordpiece(length=8, sampling=Sampling(top_k=1)))
    assert same_ids(best, wordpiece(length=8, sampling=Sampling(temperature=1e-300)))
    few = {last(each)[0] for each in wordpiece(length=1, samples=200, sampling=Sampling(top_k=3))}
    many = {last(each)[0] for each in wordpiece(length=1, samples=200, sampling=Sampling(top_k=999))}
    assert len(few) == 3 < len(many)


def test_a_text_goes_on(generator: Generator) -> None:
    (generated,) = generator("We propose a model", length=5)
    assert generated.text.startswith("We propose a model")
    assert len(generated.text) > len("We propose a model")
    assert len(generated.steps) == 5
    (again,) = generator(f"We propose a model{' [MASK]' * 5}")
    assert again == generated


def test_continuing_pieces_join_their_word(wordpiece: Generator) -> None:
    tokenizer = wordpiece.tokenizer
    page = generator_page(tokenizer, "The [MASK] [MASK] ([MASK]) on [MASK].")
    ids = page.ids.copy()
    ids[page.masks] = [tokenizer.id(piece) for piece in ("cat", "##s", "sat", ".")]
    assert page.text(ids) == "The cats (sat) on.."
    assert "".join(part.text for part in page.parts(ids, [], [])) == "The cats (sat) on.."


def test_characters_of_several_pieces_are_whole_in_the_end() -> None:
    tokenizer = tiny_models.byte_bpe()
    page = generator_page(tokenizer, "a <mask><mask>.")
    ids = page.ids.copy()
    ids[page.masks] = tokenizer.encode("é").ids
    assert page.text(ids) == "aé."


def reader(context: Context, *, ahead: bool = False) -> Generator:
    model = MaskedLM(tiny_models.tiny_config("bert"), Reading(context, ahead))
    tiny_models.perturb(model, 0)
    return Generator(model.eval(), tiny_models.wordpiece())


@pytest.mark.parametrize("ahead", [False, True])
def test_a_model_that_sees_one_side_writes_in_its_direction(ahead: bool) -> None:
    text = "the [MASK] sat [MASK] [MASK]"
    (generated,) = reader("left", ahead=ahead)(text)
    assert [step.filled for step in generated.steps] == [[1], [3], [4]]
    (generated,) = reader("right")(text, sampling=Sampling(steps=3))
    assert [step.filled for step in generated.steps] == [[4], [3], [1]]
    for sampling in (Sampling(steps=2), Sampling(order="random")):
        with pytest.raises(ClozeError, match="leave out steps and order"):
            reader("left", ahead=ahead)(text, sampling=sampling)


def test_a_causal_model_is_sampled_as_ever() -> None:
    """Each piece is the best after those before it, whatever stands behind."""
    generator = reader("left", ahead=True)
    (generated,) = generator("the cat", length=6, sampling=Sampling(temperature=0.0))
    ids = [2, *generator.tokenizer.encode("the cat").ids.tolist()]
    for _ in range(6):
        whole = torch.tensor([[*ids, 3]])  # what stands at the position itself is not seen
        with torch.no_grad():
            logits = generator.model(tiny_runs.one_row(whole))[0, -1]
        logits[sorted(generator.tokenizer.vocabulary.special_ids)] = -torch.inf
        ids.append(int(logits.argmax()))
    assert last(generated) == ids[1:]


def test_the_mode_of_the_model_is_kept() -> None:
    model = tiny_models.tiny_model("bert", dropout=0.5).train()
    generator = Generator(model, tiny_models.wordpiece())
    assert generator(length=5) == generator(length=5)
    assert model.training


@pytest.mark.parametrize(
    ("text", "length", "said"),
    [
        (None, None, "There is nothing to write: give a text with"),
        ("the cat", None, r"'the cat' has no \[MASK\]: write \[MASK\]"),
        ("the [MASK]", 3, "has masks, and length=3 asks for more"),
        (None, 0, "length=0 must be at least 1"),
        (None, 63, "A page of 63 pieces is longer than the 62 that the model reads"),
        (None, 10**30, f"A page of {10**30} pieces is longer than the 62 that the model reads"),
        ("the " * 60, 3, "A page of 63 pieces"),
        ("\ud800 [MASK]", None, "not valid text"),
    ],
)
def test_pages_that_cannot_be(wordpiece: Generator, text: str | None, length: int | None, said: str) -> None:
    with pytest.raises(ClozeError, match=said):
        wordpiece(text, length=length)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"steps": 0}, "steps=0 must be at least 1"),
        ({"top_k": 0}, "top_k=0 must be at least 1"),
        ({"temperature": -0.1}, "temperature=-0.1 must be at least 0"),
        ({"temperature": float("nan")}, "temperature=nan"),
        ({"order": "any"}, "order='any' must be one of confident, random"),
    ],
)
def test_samplings_that_cannot_be(values: dict[str, object], said: str) -> None:
    with pytest.raises(ClozeError, match=said):
        Sampling(**values)  # type: ignore[arg-type]


def test_no_samples(wordpiece: Generator) -> None:
    with pytest.raises(ClozeError, match="samples=0"):
        wordpiece(length=2, samples=0)


def test_the_facade_writes_the_same(tmp_path: Path) -> None:
    import clozelm
    from clozelm import hub

    hub.save(tiny_models.tiny_model("bert"), tiny_models.wordpiece(), tmp_path / "model", family="bert")
    model = clozelm.load(tmp_path / "model")
    expected = Generator(model.masked_lm, model.tokenizer)(length=6, sampling=Sampling(steps=2, order="random"))
    assert model.generate(length=6, steps=2, order="random") == expected


def mask_of(generator: Generator) -> str:
    return generator.tokenizer.token(generator.tokenizer.vocabulary.mask_id)


def generator_page(tokenizer: Tokenizer, text: str):
    from clozelm.infer.page import Page

    return Page(tokenizer, text, None)


def last(generated: Generated) -> list[int]:
    return generated.steps[-1].ids


def same_ids(one: list[Generated], other: list[Generated]) -> bool:
    pairs: Iterator[tuple[Generated, Generated]] = zip(one, other, strict=True)
    return all(last(a) == last(b) for a, b in pairs)
