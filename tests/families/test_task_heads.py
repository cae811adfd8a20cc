"""The heads of classifiers as data: every family has both, and configurations go both ways."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clozelm.errors import ModelError
from clozelm.families import FAMILIES
from clozelm.families.task_heads import STOCK_HEADS, stock_head
from clozelm.nn.classifier import TaskKind
from tests import tiny_classifiers, tiny_models

CASES = pytest.mark.parametrize(("family", "kind"), tiny_classifiers.CASES)


def test_every_family_has_both_heads() -> None:
    assert {kind: list(heads) for kind, heads in STOCK_HEADS.items()} == {
        kind: list(FAMILIES) for kind in tiny_classifiers.KINDS
    }


@CASES
def test_every_parameter_of_a_head_has_a_name(family: str, kind: TaskKind) -> None:
    stock = stock_head(FAMILIES[family], kind)
    model = tiny_classifiers.tiny_classifier(family, kind, **({"use_bias": True} if family == "modernbert" else {}))
    heads = {name for name in model.state_dict() if name.startswith("head.")}
    assert {weight.ours for weight in stock.weights} == heads
    assert len({weight.theirs for weight in stock.weights}) == len(heads)
    prefix = FAMILIES[family].architecture.removesuffix("ForMaskedLM")
    assert stock.architecture == f"{prefix}For{kind.capitalize()}Classification"


@CASES
@given(rate=st.sampled_from([0.0, 0.25]), encoder_rate=st.sampled_from([0.0, 0.1]))
def test_config_round_trip(family: str, kind: TaskKind, rate: float, encoder_rate: float) -> None:
    stock, encoder = stock_head(FAMILIES[family], kind), tiny_models.tiny_config(family, dropout=encoder_rate)
    head = replace(stock.read({}, encoder, kind, 4), dropout=rate, pooling="mean" if stock.may_pool else "cls")
    if stock.dropout[0] is None and rate != encoder_rate:
        with pytest.raises(ModelError, match="one dropout for encoder and head"):
            stock.write(head, encoder)
        return
    assert stock.read(stock.write(head, encoder), encoder, kind, 4) == head


def test_what_no_head_has() -> None:
    stock, encoder = stock_head(FAMILIES["modernbert"], "sequence"), tiny_models.tiny_config("modernbert")
    with pytest.raises(ModelError, match="classifier_pooling='max' is not supported, only 'cls' or 'mean'"):
        stock.read({"classifier_pooling": "max"}, encoder, "sequence", 2)
    with pytest.raises(ModelError, match="classifier_dropout='much' must be a number"):
        stock.read({"classifier_dropout": "much"}, encoder, "sequence", 2)
