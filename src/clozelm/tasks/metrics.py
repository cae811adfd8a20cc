"""How good predictions are: figures of scikit-learn and seqeval, each with a bootstrap interval.

Every result is plain data: ``figures`` by name, ``per_class``, ``confusion`` and ``notes``, sentences that say what
a reader of the figures has to know.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from types import ModuleType
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from clozelm.errors import DataError, ModelError, SettingsError
from clozelm.tasks.calibration import expected_calibration_error
from clozelm.tasks.resampling import (
    RESAMPLES,
    Figure,
    Floats,
    classification_figures,
    entity_figures,
    multilabel_figures,
    regression_figures,
    with_intervals,
)
from clozelm.tasks.tags import Scheme, Span, check, convert, spans, spelled

NO_ENTITY = "no entity"
"""The last row and column of an entity confusion: in the row what is spurious, in the column what is missed."""

LESS_IS_BETTER = frozenset({"log_loss", "ece", "mse", "mae", "mae_steps"})
"""The figures of which the lower is the better."""

_NEEDED = "Scoring needs the package {}: `pip install clozelm[finetune]`."
_NOTHING = "There is nothing to score: no example has both a truth and a prediction."

_ROUNDING = 0.02  # by how much a row of many bfloat16 probabilities may miss 1


class ClassRow(TypedDict):
    """The figures of one class, label or entity type; ``support`` is how often it truly occurs."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int


class Confusion(TypedDict):
    """How often the truth of a row was predicted as a column."""

    labels: list[str]
    counts: list[list[int]]


class Scores(TypedDict):
    """What the predictions of a task are worth."""

    figures: dict[str, Figure]
    per_class: list[ClassRow]
    confusion: Confusion | None
    notes: list[str]


class EntityScores(Scores):
    """The same for tags, with how entities were counted."""

    mode: str
    scheme: Scheme


def classification(
    truth: Sequence[int] | NDArray[np.integer],
    probabilities: NDArray[np.floating],
    labels: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Scores:
    """Score one label of several: truth [count] as numbers of labels, probabilities [count, labels].

    Macro F1 is over the classes that occur or are predicted, and balanced accuracy over those that occur, as in
    scikit-learn; the notes name classes that never occur. Of equal probabilities the first label counts.
    """
    actual, given = np.asarray(truth, dtype=np.int64), _finite(probabilities)
    _check_sizes(len(actual), len(given), given.shape[1], labels)
    given = _distributions(given)
    metrics, predicted, every = _scikit_learn(), given.argmax(axis=1), np.arange(len(labels))
    scores = {"y_true": actual, "y_pred": predicted, "zero_division": 0.0}
    values = {
        "accuracy": metrics.accuracy_score(actual, predicted),
        "macro_f1": metrics.f1_score(**scores, average="macro"),
        "weighted_f1": metrics.f1_score(**scores, average="weighted"),
        "mcc": metrics.matthews_corrcoef(actual, predicted) if np.union1d(actual, predicted).size > 1 else 0.0,
        "balanced_accuracy": metrics.recall_score(**scores, average="macro", labels=np.unique(actual)),
        "log_loss": metrics.log_loss(actual, given, labels=every) if len(labels) > 1 else 0.0,
        "ece": expected_calibration_error(given, actual),
    }
    confusion = metrics.confusion_matrix(actual, predicted, labels=every)
    unseen = [name for name, count in zip(labels, confusion.sum(axis=1), strict=True) if not count]
    return Scores(
        figures=with_intervals(
            values, classification_figures(actual, given), len(actual), resamples=resamples, seed=seed
        ),
        per_class=_rows(labels, metrics.precision_recall_fscore_support(**scores, labels=every)),
        confusion=Confusion(labels=list(labels), counts=confusion.tolist()),
        notes=_absent(unseen),
    )


def multilabel(
    truth: NDArray[np.integer] | NDArray[np.bool_],
    probabilities: NDArray[np.floating],
    labels: Sequence[str],
    *,
    threshold: float = 0.5,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Scores:
    """Score any number of labels: truth and probabilities [count, labels]; above ``threshold`` a label is given.

    Macro F1 is over all labels, those that never occur with 0, as in scikit-learn. The calibration error is that
    of single questions, whose confidence is the likelier side's probability.
    """
    actual, given = np.asarray(truth) > 0, _finite(probabilities)
    if actual.shape != given.shape:
        raise ValueError(f"truth is {actual.shape}, probabilities are {given.shape}")
    if given.size and (given.min() < 0.0 or given.max() > 1.0):
        raise ValueError(f"probabilities from {given.min()} to {given.max()}")
    _check_sizes(len(actual), len(given), given.shape[1], labels)
    metrics, predicted = _scikit_learn(), given > threshold
    sides = np.stack([1.0 - given.ravel(), given.ravel()], axis=1)
    rows = [
        metrics.precision_recall_fscore_support(
            actual[:, each], predicted[:, each], average="binary", zero_division=0.0
        )
        for each in range(len(labels))
    ]
    precision, recall, f1, _ = (list(column) for column in zip(*rows, strict=True))
    scores = {"y_true": actual.ravel(), "y_pred": predicted.ravel(), "zero_division": 0.0}
    values = {
        "micro_f1": metrics.f1_score(**scores),
        "macro_f1": np.mean(f1),
        "subset_accuracy": metrics.accuracy_score(actual, predicted),
        "log_loss": metrics.log_loss(actual.ravel(), sides, labels=[False, True]),
        "ece": expected_calibration_error(given, actual.astype(np.int64)),
    }
    support = actual.sum(axis=0)
    return Scores(
        figures=with_intervals(
            values, multilabel_figures(actual, given, predicted), len(actual), resamples=resamples, seed=seed
        ),
        per_class=_rows(labels, (precision, recall, f1, support)),
        confusion=None,
        notes=_absent([name for name, count in zip(labels, support, strict=True) if not count]),
    )


def regression(
    truth: Sequence[float] | NDArray[np.floating],
    predicted: Sequence[float] | NDArray[np.floating],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Scores:
    """Score numbers, [count] each. Correlations with what does not vary are 0, and so is R2 then unless exact."""
    actual, given = np.asarray(truth, dtype=np.float64), _finite(np.asarray(predicted))
    if actual.shape != given.shape:
        raise ValueError(f"truth is {actual.shape}, predictions are {given.shape}")
    _check_sizes(len(actual), len(given), 0, ())
    metrics, weighted = _scikit_learn(), regression_figures(actual, given)
    values = weighted(np.ones(len(actual)))
    values |= {
        "mse": float(metrics.mean_squared_error(actual, given)),
        "mae": float(metrics.mean_absolute_error(actual, given)),
    }
    constant = [name for name, side in (("true", actual), ("predicted", given)) if np.ptp(side) == 0.0]
    return Scores(
        figures=with_intervals(values, weighted, len(actual), resamples=resamples, seed=seed),
        per_class=[],
        confusion=None,
        notes=[f"All {name} numbers are the same: the correlations are 0, nothing varies." for name in constant],
    )


def entities(
    truth: Sequence[Sequence[str]],
    predicted: Sequence[Sequence[str]],
    scheme: Scheme,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> EntityScores:
    """Score the tags of sentences by whole entities: type and boundaries must agree.

    Precision, recall and F1 (micro) are those of seqeval's strict mode in the file's scheme, in which an entity
    whose tags are not legal does not count. IOB1 and IO, of which seqeval has no sound strict reading, are read as
    conlleval does and written in BIO first. ``f1_default_mode`` is what seqeval says without a mode, which takes
    pieces for entities. Intervals resample sentences.
    """
    _check_sentences(truth, predicted)
    reading: Scheme = "BIOES" if scheme in ("BIOES", "BILOU") else "BIO"
    sides = [[spelled(tags, scheme) for tags in side] for side in (truth, predicted)]
    whole = [[_written(tags, scheme, reading) for tags in side] for side in sides]
    found = [[spans(tags, reading, strict=True) for tags in side] for side in whole]
    pieces = [[spans(tags, scheme) for tags in side] for side in sides]
    sums = np.array(
        [
            (*_agreement(*strict), *_agreement(*default), sum(map(str.__eq__, *tags)), len(tags[0]))
            for strict, default, tags in zip(
                zip(*found, strict=True), zip(*pieces, strict=True), zip(*sides, strict=True), strict=True
            )
        ],
        dtype=np.float64,
    )
    weighted = entity_figures(sums)
    values, rows = weighted(np.ones(len(sums))), list[ClassRow]()
    if sums[:, 1:3].any():
        scored, rows = _seqeval(whole[0], whole[1], reading)
        values |= scored
    return EntityScores(
        figures=with_intervals(values, weighted, len(sums), resamples=resamples, seed=seed),
        per_class=rows,
        confusion=_entity_confusion(*found),
        notes=_entity_notes(truth, predicted, scheme),
        mode="strict",
        scheme=scheme,
    )


def _seqeval(
    truth: list[list[str]], predicted: list[list[str]], scheme: Scheme
) -> tuple[dict[str, float], list[ClassRow]]:
    """Return seqeval's strict micro figures and its default F1, and the rows of the types."""
    try:
        from seqeval.metrics import classification_report, f1_score
        from seqeval.scheme import IOB2, IOBES
    except ImportError:
        raise SettingsError(_NEEDED.format("seqeval")) from None
    report: dict[str, dict[str, Any]] = classification_report(
        truth,
        predicted,
        mode="strict",
        scheme=IOB2 if scheme == "BIO" else IOBES,
        output_dict=True,
        zero_division=0,
    )
    micro = report["micro avg"]
    rows = [
        _row(name, each["precision"], each["recall"], each["f1-score"], each["support"])
        for name, each in report.items()
        if name not in ("micro avg", "macro avg", "weighted avg")
    ]
    values = {"precision": micro["precision"], "recall": micro["recall"], "f1": micro["f1-score"]}
    values["f1_default_mode"] = f1_score(truth, predicted, zero_division=0)
    return {name: float(value) for name, value in values.items()}, rows


def _written(tags: list[str], scheme: Scheme, reading: Scheme) -> list[str]:
    """Return the tags that seqeval reads strictly: themselves, or those of BIO."""
    if scheme == "BILOU":
        return spelled(tags, "BIOES")
    return tags if scheme == reading else convert(tags, scheme, reading)


def _agreement(truth: list[Span], predicted: list[Span]) -> tuple[int, int, int]:
    return len(set(truth) & set(predicted)), len(truth), len(predicted)


def _entity_confusion(truth: list[list[Span]], predicted: list[list[Span]]) -> Confusion:
    """Count entities of the same boundaries by type, and those that only one side has."""
    counts: Counter[tuple[str, str]] = Counter()
    for actual, given in zip(truth, predicted, strict=True):
        actual_at, given_at = ({span[1:]: span.type or "_" for span in side} for side in (actual, given))
        for place in actual_at.keys() | given_at.keys():
            counts[actual_at.get(place, NO_ENTITY), given_at.get(place, NO_ENTITY)] += 1
    labels = [*sorted({name for pair in counts for name in pair} - {NO_ENTITY}), NO_ENTITY]
    return Confusion(labels=labels, counts=[[counts[one, other] for other in labels] for one in labels])


def _entity_notes(truth: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], scheme: Scheme) -> list[str]:
    if scheme in ("IOB1", "IO"):
        return [
            f"{scheme} tags are read as conlleval reads them and scored in BIO: seqeval cannot be strict there."
        ]
    illegal = {
        name: sum(check(side, scheme).values()) for name, side in (("true", truth), ("predicted", predicted))
    }
    return [
        f"{count} places of the {name} tags are not legal {scheme}: in strict mode such entities do not count."
        for name, count in illegal.items()
        if count
    ]


def _check_sentences(truth: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> None:
    if [len(tags) for tags in truth] != [len(tags) for tags in predicted]:
        raise ValueError("truth and predictions differ in their numbers of sentences or words")
    if not sum(len(tags) for tags in truth):
        raise DataError(_NOTHING)


def _check_sizes(truth: int, predictions: int, columns: int, labels: Sequence[str]) -> None:
    if truth != predictions or columns != len(labels):
        raise ValueError(
            f"{truth} truths, {predictions} predictions of {columns} labels, {len(labels)} label names"
        )
    if not truth:
        raise DataError(_NOTHING)


def _finite(predictions: NDArray[np.floating]) -> Floats:
    given: Floats = predictions.astype(np.float64)
    wrong = np.count_nonzero(~np.isfinite(given))
    if wrong:
        raise ModelError(f"{wrong} of {given.size} predicted numbers are not finite: the model cannot be scored.")
    return given


def _distributions(given: Floats) -> Floats:
    """Return rows that sum to 1 in double precision; those of single and half precision come near."""
    totals = given.sum(axis=1, keepdims=True)
    if given.min() < 0.0 or np.abs(totals - 1.0).max() > _ROUNDING:
        raise ValueError("probabilities are negative, or do not sum to 1")
    rows: Floats = given / totals
    return rows


def _rows(labels: Sequence[str], columns: Sequence[Any]) -> list[ClassRow]:
    return [_row(name, *figures) for name, *figures in zip(labels, *columns, strict=True)]


def _row(label: str, precision: float, recall: float, f1: float, support: float) -> ClassRow:
    return ClassRow(
        label=label, precision=float(precision), recall=float(recall), f1=float(f1), support=int(support)
    )


def _absent(names: list[str]) -> list[str]:
    shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
    return [f"{len(names)} of the labels never occur: {shown}."] if names else []


def _scikit_learn() -> ModuleType:
    try:
        import sklearn.metrics
    except ImportError:
        raise SettingsError(_NEEDED.format("scikit-learn")) from None
    module: ModuleType = sklearn.metrics
    return module
