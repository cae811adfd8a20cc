"""Prompts on disk: plain masked language models that give labels by the logits of words at the mask."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clozelm import hub
from clozelm.errors import ClozeError, ModelError
from clozelm.families import FAMILIES
from clozelm.hub.inspect import inspect
from clozelm.infer.answers import read_as_model
from clozelm.infer.fill_mask import FillMask
from clozelm.infer.predict import Predictor
from clozelm.nn.heads import MaskedLM
from clozelm.nn.prompt import PromptClassifier
from clozelm.tasks.prompt import Prompt
from clozelm.types import Reading
from tests import tiny_classifiers, tiny_models

LABELS = ("wild", "pet")
PROMPT = Prompt("{text} is [MASK] .", {"pet": ("cat", "dog"), "wild": ("powerful",)})
TEXTS = ["the cat sat", "a dog ran on the mat", "", "learning is a machine " * 5]


def saved(directory: Path, family: str = "bert", **changes: Any) -> Path:
    model = tiny_models.tiny_model(family, **changes)
    hub.save(model, tiny_models.wordpiece(), directory, family=family)
    return directory


def logits(predictor: Predictor, texts: list[str] = TEXTS) -> np.ndarray:
    from clozelm.text.examples import TextExample

    return predictor.answers([TextExample((text,)) for text in texts]).logits


def of_words(pieces: torch.Tensor) -> torch.Tensor:
    """The logits of the labels from those of all pieces, by hand."""
    cat, dog, powerful = (tiny_models.wordpiece().id(word) or 0 for word in ("cat", "dog", "powerful"))
    return torch.stack([pieces[..., powerful], pieces[..., [cat, dog]].logsumexp(-1)], dim=-1)


@pytest.mark.parametrize("family", list(FAMILIES))
def test_logits_are_those_of_transformers_at_the_mask(family: str, tmp_path: Path) -> None:
    """With texts of different lengths in one row, one of them cut."""
    import transformers

    found = hub.new_prompt(saved(tmp_path / "model", family), prompt=PROMPT, labels=LABELS)
    hub.save_prompt(found, tmp_path / "prompted", facts={"max_length": 20})
    stock = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "prompted", attn_implementation="eager")
    tokenizer = tiny_models.wordpiece()
    predictor = Predictor.open(tmp_path / "prompted")
    for text, given in zip(TEXTS, logits(predictor), strict=True):
        pieces = tokenizer.encode(text).ids[:15].tolist()
        asked = tokenizer.encode(" is [MASK] .").ids.tolist()
        ids = torch.tensor([[2, *pieces, *asked, 3]])
        with torch.no_grad():
            expected = of_words(stock(ids).logits[0, ids[0] == 4][0])
        torch.testing.assert_close(torch.tensor(given).float(), expected, atol=2e-5, rtol=1e-4)


def test_probabilities_are_those_of_fill_mask_divided_by_their_sum(tmp_path: Path) -> None:
    predictor = Predictor(hub.new_prompt(saved(tmp_path / "model"), prompt=PROMPT, labels=LABELS))
    loaded = hub.load(tmp_path / "model")
    fill = FillMask(loaded.model, loaded.tokenizer)
    texts = [text for text in TEXTS if len(text) < 60]
    for text, prediction in zip(texts, predictor(texts), strict=True):
        (candidates,) = fill(f"{text} is [MASK] .", top=99)[0].masks
        by_word = {each.token: each.probability for each in candidates}
        pet, wild = by_word["cat"] + by_word["dog"], by_word["powerful"]
        assert prediction.probabilities == pytest.approx({"wild": wild / (pet + wild), "pet": pet / (pet + wild)})


@pytest.mark.parametrize("family", list(FAMILIES))
def test_a_saved_prompt_answers_as_before_and_fills_masks(family: str, tmp_path: Path) -> None:
    found = hub.new_prompt(saved(tmp_path / "model", family), prompt=PROMPT, labels=LABELS)
    before = logits(Predictor(found))
    found.model.divide_logits(1.7)
    hub.save_prompt(found, tmp_path / "prompted", card={"accuracy": 0.5}, facts={"text": ["text"]})
    assert hub.is_prompt(tmp_path / "prompted")
    assert hub.has_task(tmp_path / "prompted")
    assert not hub.is_prompt(tmp_path / "model")
    again = hub.load_prompt(tmp_path / "prompted")
    assert (again.labels, again.prompt, again.problem) == (LABELS, PROMPT, "single")
    assert logits(Predictor(again)) == pytest.approx(before / 1.7, abs=1e-6)
    assert Predictor(again).facts["text"] == ["text"]
    plain = hub.load(tmp_path / "prompted").model.state_dict()
    for name, tensor in hub.load(tmp_path / "model").model.state_dict().items():
        assert torch.equal(tensor, plain[name]), name
    card = (tmp_path / "prompted" / "README.md").read_text()
    assert "wild = powerful, pet = cat or dog" in card
    assert "| temperature | 1.7, by which the logits of the words are divided |" in card
    assert "pipeline_tag: fill-mask" in card


def test_dropout_and_precision_are_as_asked(tmp_path: Path) -> None:
    directory = saved(tmp_path / "model")
    found = hub.new_prompt(directory, prompt=PROMPT, labels=LABELS, dropout=0.2, attention_dropout=0.3)
    assert found.model.training
    assert (found.model.config.dropout, found.model.config.attention_dropout) == (0.2, 0.3)
    before = hub.load(directory).model.state_dict()
    assert all(torch.equal(tensor, before[name]) for name, tensor in found.model.state_dict().items())
    assert found.model.state_dict().keys() == before.keys()
    hub.save_prompt(found, tmp_path / "prompted")
    half = hub.load_prompt(tmp_path / "prompted", dtype=torch.bfloat16)
    assert not half.model.training
    logits(Predictor(half))
    assert not half.masked_lm.encoder.training
    assert half.model.head.bias.dtype == torch.bfloat16
    batch = tiny_models.padded(tiny_models.documents([5, 9]), 9)
    assert half.model(batch, torch.tensor([2, 11])).dtype == torch.float32


def test_gradients_reach_the_tied_matrix_at_the_words_and_in_the_text() -> None:
    model = tiny_models.tiny_model("bert")
    prompted = PromptClassifier(model, [[6, 7], [9]])
    batch = tiny_models.padded([torch.tensor([2, 5, 10, 4, 3])], 5)
    prompted(batch, torch.tensor([3])).sum().backward()
    gradient = model.decoder_weight.grad
    assert gradient is not None
    moved = gradient.abs().sum(dim=1).nonzero().squeeze(1).tolist()
    assert moved == [2, 3, 4, 5, 6, 7, 9, 10]
    assert model.head.bias.grad is not None
    assert model.head.bias.grad.nonzero().squeeze(1).tolist() == [6, 7, 9]


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("inf"), float("nan")])
def test_a_temperature_that_divides_nothing_is_refused(temperature: float) -> None:
    with pytest.raises(ModelError, match="it must be positive"):
        PromptClassifier(tiny_models.tiny_model("bert"), [[5], [6]]).divide_logits(temperature)


def refused(call: Any, *said: str) -> None:
    with pytest.raises(ClozeError) as caught:
        call()
    assert len(str(caught.value).splitlines()) == 1
    for each in said:
        assert each in str(caught.value)


@pytest.mark.parametrize("reading", [Reading("left", ahead=True), Reading("both", ahead=True)], ids=str)
def test_models_that_read_otherwise_are_refused(reading: Reading, tmp_path: Path) -> None:
    model = MaskedLM(tiny_models.tiny_config("bert"), reading)
    hub.save(model, tiny_models.wordpiece(), tmp_path / "model", family="bert")
    refused(
        lambda: hub.new_prompt(tmp_path / "model", prompt=PROMPT, labels=LABELS),
        "A prompt asks a model that reads as BERT does",
        "fine-tune it without a prompt",
    )


def test_models_that_fill_no_masks_are_refused(tmp_path: Path) -> None:
    classifier = tiny_classifiers.tiny_classifier("bert", "sequence")
    tiny_classifiers.save(classifier, tmp_path / "classifier", "bert")
    refused(lambda: hub.new_prompt(tmp_path / "classifier", prompt=PROMPT, labels=LABELS), "which fills no masks")
    refused(lambda: hub.load_prompt(saved(tmp_path / "model")), "keeps no prompt", "--prompt")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"pattern": "{text}"}, "has no [MASK]"),
        ({"labels": ["pet"]}, "there must be at least 2"),
        ({"labels": ["a", "b", "c"]}, "zip() argument 2 is shorter"),
        ({"words": [["cat"], []]}, "each label needs a list of words"),
        ({"words": [["cat"], ["zebra"]]}, "'zebra' is unknown"),
        ({"temperature": 0}, "must be positive"),
        ({"temperature": "warm"}, "could not convert"),
        ({"pattern": None}, "no 'pattern'"),
    ],
)
def test_a_damaged_prompt_is_said_in_one_line(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    found = hub.new_prompt(saved(tmp_path / "model"), prompt=PROMPT, labels=LABELS)
    hub.save_prompt(found, tmp_path / "prompted")
    file = tmp_path / "prompted" / "config.json"
    config = json.loads(file.read_text())
    kept = config["clozelm_task"]["prompt"] | changes
    config["clozelm_task"]["prompt"] = {name: value for name, value in kept.items() if value is not None}
    file.write_text(json.dumps(config))
    refused(lambda: Predictor.open(tmp_path / "prompted"), "its clozelm_task.prompt is no prompt", said)
    assert hub.load(tmp_path / "prompted").model
    assert said in inspect(tmp_path / "prompted")["task"]["problem"]


def test_inspect_says_what_is_asked(tmp_path: Path) -> None:
    hub.save_prompt(hub.new_prompt(saved(tmp_path / "m"), prompt=PROMPT, labels=LABELS), tmp_path / "prompted")
    facts = inspect(tmp_path / "prompted")
    assert facts["opens"]
    assert facts["task"]["labels"] == LABELS
    assert facts["task"]["answers"] == "one label for a text, by the prompt '{text} is [MASK] .'"


def test_a_long_text_is_cut_to_the_positions_of_the_model(tmp_path: Path) -> None:
    found = hub.new_prompt(saved(tmp_path / "model"), prompt=PROMPT, labels=LABELS)
    predictor = Predictor(found)
    longest = read_as_model(found.model).max_length
    room = longest - 2 - 3
    given = logits(predictor, ["the cat sat " * 500, " ".join(("the cat sat " * 500).split()[:room])])
    assert given[0] == pytest.approx(given[1], abs=1e-6)
    assert predictor.notes == [f"1 of 2 texts, longer than {longest} pieces with the prompt, were cut"]
    assert replace(PROMPT, pattern="[MASK] {text}").num_texts == 1
