"""The heads of each family's classifiers, as its stock code has them: shapes and weight names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from clozelm.errors import ModelError
from clozelm.families.family import Family, Weight, both, need, shape
from clozelm.nn.classifier import HeadActivation, Pooling, TaskHeadConfig, TaskKind
from clozelm.nn.config import EncoderConfig


@dataclass(frozen=True)
class StockHead:
    """A classifier's head in a family's stock code, and the architecture that carries it.

    ``weights`` names every tensor that the head may have. ``dropout`` is the key of ``config.json`` that holds the
    head's dropout and the stock default; none stands for the encoder's rate, as key and as default.
    """

    architecture: str
    weights: tuple[Weight, ...]
    dropout: tuple[str | None, float | None]
    activation: HeadActivation | Literal["the encoder's"] | None = None
    has_norm: bool = False
    drops_input: bool = False
    may_pool: bool = False

    def read(
        self, config: Mapping[str, Any], encoder: EncoderConfig, kind: TaskKind, labels: int
    ) -> TaskHeadConfig:
        """Return the head that a stock ``config.json`` describes, for that number of labels."""
        pooling: Pooling = "cls"
        if self.may_pool:
            need(config, "classifier_pooling", ("cls", "mean"), "cls")
            pooling = config.get("classifier_pooling", "cls")
        activation = encoder.activation if self.activation == "the encoder's" else self.activation
        return TaskHeadConfig(
            kind=kind,
            num_labels=labels,
            activation=activation,
            has_norm=self.has_norm,
            drops_input=self.drops_input,
            dropout=self._read_dropout(config, encoder),
            pooling=pooling,
        )

    def write(self, head: TaskHeadConfig, encoder: EncoderConfig) -> dict[str, Any]:
        """Return what ``read`` reads."""
        key, _ = self.dropout
        if key is None and head.dropout != encoder.dropout:
            raise ModelError(
                f"{self.architecture} has one dropout for encoder and head: {encoder.dropout} and {head.dropout} "
                "cannot be written."
            )
        dropout = {} if key is None else {key: head.dropout}
        return dropout | ({"classifier_pooling": head.pooling} if self.may_pool else {})

    def _read_dropout(self, config: Mapping[str, Any], encoder: EncoderConfig) -> float:
        key, default = self.dropout
        if key is None or config.get(key, default) is None:
            return encoder.dropout
        return float(shape(config, {"dropout": (key, 0.1 if default is None else default)})["dropout"])


_PLAIN = (*both("head.out", "classifier"),)
_PROJECTED = (*both("head.dense", "classifier.dense"), *both("head.out", "classifier.out_proj"))
_MODERNBERT = (*both("head.dense", "head.dense"), *both("head.norm", "head.norm"), *_PLAIN)

_OWN = ("classifier_dropout", None)
_ALBERT_DROPOUT = ("classifier_dropout_prob", 0.1)
_MODERNBERT_DROPOUT = ("classifier_dropout", 0.0)

_SEQUENCE: dict[str, StockHead] = {
    "bert": StockHead(
        "BertForSequenceClassification", (*both("head.dense", "bert.pooler.dense"), *_PLAIN), _OWN, "tanh"
    ),
    "roberta": StockHead("RobertaForSequenceClassification", _PROJECTED, _OWN, "tanh", drops_input=True),
    "albert": StockHead(
        "AlbertForSequenceClassification",
        (*both("head.dense", "albert.pooler"), *_PLAIN),
        _ALBERT_DROPOUT,
        "tanh",
    ),
    "distilbert": StockHead(
        "DistilBertForSequenceClassification",
        (*both("head.dense", "pre_classifier"), *_PLAIN),
        ("seq_classif_dropout", 0.2),
        "relu",
    ),
    "electra": StockHead("ElectraForSequenceClassification", _PROJECTED, _OWN, "gelu", drops_input=True),
    "modernbert": StockHead(
        "ModernBertForSequenceClassification",
        _MODERNBERT,
        _MODERNBERT_DROPOUT,
        "the encoder's",
        has_norm=True,
        may_pool=True,
    ),
}
_TOKEN: dict[str, StockHead] = {
    "bert": StockHead("BertForTokenClassification", _PLAIN, _OWN),
    "roberta": StockHead("RobertaForTokenClassification", _PLAIN, _OWN),
    "albert": StockHead("AlbertForTokenClassification", _PLAIN, _ALBERT_DROPOUT),
    "distilbert": StockHead("DistilBertForTokenClassification", _PLAIN, (None, None)),
    "electra": StockHead("ElectraForTokenClassification", _PLAIN, _OWN),
    "modernbert": StockHead(
        "ModernBertForTokenClassification", _MODERNBERT, _MODERNBERT_DROPOUT, "the encoder's", has_norm=True
    ),
}
STOCK_HEADS: dict[TaskKind, dict[str, StockHead]] = {"sequence": _SEQUENCE, "token": _TOKEN}


def stock_head(family: Family, kind: TaskKind) -> StockHead:
    """Return the family's head for that kind of task."""
    return STOCK_HEADS[kind][family.name]
