"""Every family gives the logits and gradients of its `transformers` counterpart, padded and packed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from clozelm import hub
from clozelm.families import FAMILIES
from clozelm.nn.heads import MaskedLM
from clozelm.types import TokenBatch
from tests import tiny_models

transformers = pytest.importorskip("transformers")
transformers.logging.disable_progress_bar()

TOLERANCE = 2e-5
# Longer than the local window of 8, shorter, of one token, and as long as the row.
LENGTHS = [23, 5, 1, 40]
WIDTH = 40
BIASED = [(family, bias) for family in FAMILIES for bias in {True, family != "modernbert"}]


@pytest.fixture(params=BIASED, ids=lambda case: f"{case[0]}-{'bias' if case[1] else 'no bias'}")
def pair(request: pytest.FixtureRequest) -> tuple[Any, MaskedLM]:
    family, use_bias = request.param
    stock = tiny_models.stock_model(family, use_bias=use_bias)
    return stock, tiny_models.ours_from(stock, family)


def stock_logits(stock: Any, batch: TokenBatch) -> torch.Tensor:
    logits: torch.Tensor = stock(batch.input_ids, attention_mask=batch.is_token.long()).logits
    return logits


def test_padded_logits(pair: tuple[Any, MaskedLM]) -> None:
    stock, ours = pair
    batch = tiny_models.padded(tiny_models.documents(LENGTHS), WIDTH)
    with torch.no_grad():
        difference = (ours(batch) - stock_logits(stock, batch))[batch.is_token].abs().max()
    assert difference <= TOLERANCE


def test_packed_logits(pair: tuple[Any, MaskedLM]) -> None:
    stock, ours = pair
    docs = tiny_models.documents(LENGTHS)
    row = tiny_models.packed(docs, sum(LENGTHS) + 3)
    with torch.no_grad():
        alone = torch.cat([stock(doc[None]).logits[0] for doc in docs])
        together = ours(row)[row.is_token]
    assert (together - alone).abs().max() <= TOLERANCE


def test_gradients(pair: tuple[Any, MaskedLM]) -> None:
    """The gradient of the same loss, padded there and packed with scored positions only here."""
    stock, ours = pair
    docs = tiny_models.documents(LENGTHS)
    batch, row = tiny_models.padded(docs, WIDTH), tiny_models.packed(docs, sum(LENGTHS) + 3)
    targets = torch.cat(docs).roll(1)
    F.cross_entropy(stock_logits(stock, batch)[batch.is_token], targets).backward()
    scored = row.is_token.flatten().nonzero().squeeze(1)
    F.cross_entropy(ours(row, scored), targets).backward()
    stock_gradients = {name: weight.grad for name, weight in stock.named_parameters()}
    family = FAMILIES[stock.config.model_type]
    gradients = {name: weight.grad for name, weight in ours.named_parameters()}
    for name, gradient in family.to_stock(gradients, ours.config).items():
        scale = stock_gradients[name].abs().max().clamp(min=1.0)
        assert (gradient - stock_gradients[name]).abs().max() <= TOLERANCE * scale, name


def test_window_edge(pair: tuple[Any, MaskedLM]) -> None:
    """A token sees exactly as far here as there: changing one far token changes the same positions."""
    stock, ours = pair
    doc = tiny_models.documents([40])[0]
    other = doc.clone()
    other[20] = doc[20] % 10 + 3
    with torch.no_grad():
        moved = [(ours(tiny_models.padded([one], 40))[0], stock(one[None]).logits[0]) for one in (doc, other)]
    ours_moved, stock_moved = ((moved[0][i] - moved[1][i]).abs().amax(1) for i in (0, 1))
    assert torch.equal(ours_moved > 1e-6, stock_moved > 1e-6)


def test_saved_model_opens_there(pair: tuple[Any, MaskedLM], tmp_path: Path) -> None:
    stock, ours = pair
    hub.save(ours, tiny_models.wordpiece(), tmp_path / "model", family=stock.config.model_type)
    opened = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "model").eval()
    assert type(opened) is type(stock)
    batch = tiny_models.padded(tiny_models.documents(LENGTHS), WIDTH)
    with torch.no_grad():
        difference = (ours(batch) - stock_logits(opened, batch))[batch.is_token].abs().max()
    assert difference <= TOLERANCE
    for name, tensor in stock.state_dict().items():
        assert torch.equal(opened.state_dict()[name], tensor), name


def test_stock_directory_opens_here(pair: tuple[Any, MaskedLM], tmp_path: Path) -> None:
    stock, ours = pair
    stock.save_pretrained(tmp_path)
    tiny_models.wordpiece().write(tmp_path)
    loaded = hub.load(tmp_path)
    assert loaded.dropped == []
    assert loaded.model.config == ours.config
    for name, tensor in ours.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], tensor), name


# `original` is the upstream pickle, older than zip files, with twins of the tied matrix.
DROPPED = {
    "rxnfp-bert-mlm": {"bert.pooler.dense", "cls.seq_relationship"},
    "rxnmapper-albert-mlm": set(),
    "rxnmapper-albert-mlm/original": {"albert.pooler"},
    "sapiens-roberta-mlm-vh": set(),
}


@pytest.mark.parametrize("name", DROPPED)
def test_real_checkpoint(name: str, shared: Path, tmp_path: Path) -> None:
    whole = shared / "checkpoints" / name.partition("/")[0]
    for file in [*whole.glob("tokenizer*.json"), *(shared / "checkpoints" / name).glob("*.*")]:
        if not (tmp_path / file.name).exists() and "safetensors" not in file.name:
            (tmp_path / file.name).symlink_to(file)
    if name == whole.name:
        (tmp_path / "model.safetensors").symlink_to(whole / "model.safetensors")
    reference = np.load(whole / "reference_outputs.npz")
    loaded = hub.load(tmp_path)
    assert {one.rpartition(".")[0] for one in loaded.dropped} == DROPPED[name]
    batch = TokenBatch.from_padded(
        torch.from_numpy(reference["input_ids"]), torch.from_numpy(reference["attention_mask"])
    )
    is_token = reference["attention_mask"] > 0
    scored = torch.from_numpy(np.flatnonzero(is_token))
    with torch.no_grad():
        padded = loaded.model(batch).numpy()[is_token]
        packed = loaded.model(_packed_row(batch), torch.arange(len(scored))).numpy()
    expected = reference["output_eager"][is_token]
    assert np.abs(padded - expected).max() <= 1e-4
    assert np.abs(packed - expected).max() <= 1e-4


def _packed_row(batch: TokenBatch) -> TokenBatch:
    """The documents of a padded batch one after another in one row."""
    lengths = batch.is_token.sum(1)
    docs = [ids[mask] for ids, mask in zip(batch.input_ids, batch.is_token, strict=True)]
    return tiny_models.packed(docs, int(lengths.sum()))


def test_distilbert_made_of_a_real_bert(shared: Path, tmp_path: Path) -> None:
    """With its first segment folded into the positions, a BERT is a DistilBERT, there and here."""
    directory = shared / "checkpoints" / "rxnfp-bert-mlm"
    loaded = hub.load(directory)
    config = replace(loaded.model.config, type_vocab_size=0)
    state = dict(loaded.model.state_dict())
    segments = state.pop("encoder.embeddings.segments.weight")
    state["encoder.embeddings.positions.weight"] = state["encoder.embeddings.positions.weight"] + segments[0]
    student = MaskedLM(config).eval()
    student.load_state_dict(state)
    hub.save(student, loaded.tokenizer, tmp_path / "model", family="distilbert")
    reference = np.load(directory / "reference_outputs.npz")
    input_ids, attention_mask = (torch.from_numpy(reference[name]) for name in ("input_ids", "attention_mask"))
    stock = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "model").eval()
    assert type(stock).__name__ == "DistilBertForMaskedLM"
    with torch.no_grad():
        theirs = stock(input_ids, attention_mask=attention_mask).logits.numpy()
        ours = hub.load(tmp_path / "model").model(TokenBatch.from_padded(input_ids, attention_mask)).numpy()
    is_token = reference["attention_mask"] > 0
    assert np.abs(theirs - reference["output_eager"])[is_token].max() <= 1e-4
    assert np.abs(ours - reference["output_eager"])[is_token].max() <= 1e-4
