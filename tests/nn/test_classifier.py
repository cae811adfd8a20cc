"""Classifiers: which token a document is read off, means of documents, temperatures, one-sided encoders."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clozelm.errors import ModelError
from clozelm.nn.classifier import Classifier, TaskHeadConfig, TaskKind
from clozelm.nn.dropout import reseed_dropout
from clozelm.types import Context, TokenBatch
from tests import tiny_classifiers, tiny_models

ROWS = st.lists(st.lists(st.integers(1, 4), max_size=4), min_size=1, max_size=3)


def rectangle(rows: list[list[int]]) -> TokenBatch:
    """Documents of the given lengths, some rows longer than others, with two columns of padding at least."""
    width = max(sum(row) for row in rows) + 2
    doc_ids, positions = torch.zeros(len(rows), width).long(), torch.zeros(len(rows), width).long()
    for index, row in enumerate(rows):
        start = 0
        for number, length in enumerate(row, 1):
            doc_ids[index, start : start + length] = number
            positions[index, start : start + length] = torch.arange(length)
            start += length
    return TokenBatch(torch.full_like(doc_ids, 7), doc_ids, positions)


@given(rows=ROWS, context=st.sampled_from(["both", "left", "right"]))
def test_each_document_is_read_off_its_first_token_or_its_last(rows: list[list[int]], context: Context) -> None:
    batch = rectangle(rows)
    model = tiny_classifiers.tiny_classifier("bert", "sequence", num_layers=1, context=context)
    flat = batch.doc_ids.flatten().tolist()
    width = batch.doc_ids.shape[1]
    expected = []
    for index, row in enumerate(rows):
        for number in range(1, len(row) + 1):
            columns = [c for c in range(width) if flat[index * width + c] == number]
            expected.append(index * width + (columns[-1] if context == "left" else columns[0]))
    assert model.document_positions(batch).tolist() == expected


@given(rows=ROWS)
def test_means_are_those_of_the_documents(rows: list[list[int]]) -> None:
    batch = rectangle(rows)
    plain = tiny_classifiers.tiny_classifier("modernbert", "sequence")
    head = TaskHeadConfig("sequence", 3, activation="gelu", has_norm=True, pooling="mean")
    model = Classifier(plain.config, head).eval()
    model.load_state_dict(plain.state_dict())
    scored = model.document_positions(batch)
    with torch.no_grad():
        hidden = model.encoder(batch)
        means = [
            hidden[row][batch.doc_ids[row] == number].mean(0)
            for row in range(len(rows))
            for number in range(1, len(rows[row]) + 1)
        ]
        expected = model.head(torch.stack(means)) if means else torch.zeros(0, 3)
        assert torch.allclose(model(batch, scored), expected, atol=1e-5)


@pytest.mark.parametrize(("family", "kind"), tiny_classifiers.CASES)
def test_a_temperature_divides_the_logits(family: str, kind: TaskKind) -> None:
    model = tiny_classifiers.tiny_classifier(family, kind)
    batch = tiny_models.padded(tiny_models.documents([5, 9]), 12)
    scored = tiny_classifiers.scored(model, batch)
    with torch.no_grad():
        before = model(batch, scored)
        model.divide_logits(2.5)
        assert torch.allclose(model(batch, scored), before / 2.5, atol=1e-6)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("inf"), float("nan")])
def test_no_such_temperature(temperature: float) -> None:
    model = tiny_classifiers.tiny_classifier("bert", "sequence")
    with pytest.raises(ModelError, match="must be positive"):
        model.divide_logits(temperature)


@pytest.mark.parametrize(("context", "changed"), [("left", 12), ("right", 2)])
def test_a_one_sided_encoder_stays_one_sided(context: Context, changed: int) -> None:
    model = tiny_classifiers.tiny_classifier("bert", "token", context=context)
    [doc] = tiny_models.documents([15])
    other = doc.clone()
    other[changed] = doc[changed] % 10 + 3
    with torch.no_grad():
        one, two = (model(tiny_models.padded([each], 15), torch.arange(15)) for each in (doc, other))
    moved = (one - two).abs().amax(1) > 1e-6
    assert moved.tolist() == [i >= changed if context == "left" else i <= changed for i in range(15)]


def test_a_document_is_told_by_all_of_its_tokens_where_they_see_the_left_alone() -> None:
    """The first token sees nothing but itself there: read off it, all documents would be alike."""
    model = tiny_classifiers.tiny_classifier("bert", "sequence", context="left")
    docs = tiny_models.documents([6, 6])
    docs[1][0] = docs[0][0]
    batch = tiny_models.padded(docs, 8)
    with torch.no_grad():
        first, second = model(batch, model.document_positions(batch))
        alike = model(batch, torch.tensor([0, 8]))
    assert (first - second).abs().max() > 1e-3
    assert torch.allclose(alike[0], alike[1], atol=1e-6)


@pytest.mark.parametrize(("family", "kind"), tiny_classifiers.CASES)
def test_dropout_is_a_function_of_its_seed(family: str, kind: TaskKind) -> None:
    model = tiny_classifiers.tiny_classifier(family, kind, dropout=0.2, attention_dropout=0.1).train()
    batch = tiny_models.padded(tiny_models.documents([9, 4]), 12)
    scored = tiny_classifiers.scored(model, batch)
    runs = []
    for seed in (1, 1, 2):
        reseed_dropout(model, seed)
        with torch.no_grad():
            runs.append(model(batch, scored))
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


@pytest.mark.parametrize("changes", [{"num_labels": 0}, {"dropout": 1.0}, {"dropout": -0.1}])
def test_no_such_head(changes: dict[str, float]) -> None:
    with pytest.raises(ModelError, match="must"):
        TaskHeadConfig(**{"kind": "token", "num_labels": 2, **changes})  # type: ignore[arg-type]
