"""A linear probe: how well labels are read off the vectors of a frozen encoder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clozelm.errors import DataError, SettingsError
from clozelm.flows.compare_settings import MeasureSettings
from clozelm.text.records import records
from clozelm.text.valid import is_valid


class Labelled(NamedTuple):
    """Texts and the label of each."""

    texts: list[str]
    labels: list[str]


def read_labelled(path: Path, *, text: str, label: str) -> Labelled:
    """Read a .csv, .tsv or .jsonl file of texts with labels; the first row of a table names the fields."""
    texts, labels = [], []
    if not path.is_file():
        raise DataError(f"{path}: there is no such file of labelled texts.")
    for where, record in records(path):
        parts = [_value(record, name, where) for name in (*text.split(","), label)]
        texts.append("\n".join(parts[:-1]))
        labels.append(parts[-1])
    if len(set(labels)) < 2:
        raise DataError(f"{path} has {len(set(labels))} different labels in field {label!r}: a probe needs two.")
    return Labelled(texts, labels)


def _value(record: Mapping[str, Any], name: str, where: str) -> str:
    """Return a field as text; numbers are written out, what is missing or no text is refused."""
    if name not in record:
        raise DataError(f"{where}: no field {name!r}; the record has {', '.join(map(str, record)) or 'no fields'}.")
    value = record[name]
    if value is None or isinstance(value, list | dict):
        shown = "empty" if value is None else f"a {type(value).__name__}, not text"
        raise DataError(f"{where}: field {name!r} is {shown}.")
    if not is_valid(str(value)):
        raise DataError(f"{where}: field {name!r} holds half a surrogate pair, which is no character.")
    return str(value)


def check_probe(settings: MeasureSettings) -> tuple[Labelled, Labelled] | None:
    """Read what a probe learns from and is judged on; None where none is asked for."""
    if settings.probe is None or settings.probe_dev is None:
        return None
    _scikit_learn()
    names = {"text": settings.probe_text, "label": settings.probe_label}
    train, dev = (read_labelled(Path(path), **names) for path in (settings.probe, settings.probe_dev))
    unknown = sorted(set(dev.labels) - set(train.labels))
    if unknown:
        raise DataError(f"{settings.probe_dev}: label {unknown[0]!r} is not among those of {settings.probe}.")
    return train, dev


def probe(
    train: NDArray[np.float64], labels: list[str], dev: NDArray[np.float64], truth: list[str]
) -> NDArray[np.bool_]:
    """Return for every text of ``dev`` whether a logistic regression learned on ``train`` gives its label.

    Vectors are standardised by ``train``; L2 with C = 1, to convergence; deterministic.
    """
    pipeline, scaler, regression = _scikit_learn()
    model = pipeline(scaler(), regression(max_iter=2000))
    right: NDArray[np.bool_] = model.fit(train, labels).predict(dev) == np.array(truth)
    return right


def _scikit_learn() -> tuple[Any, Any, Any]:
    try:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError:
        raise SettingsError(
            "measure.probe needs the package scikit-learn: `pip install clozelm[probe]`, or leave the probe out."
        ) from None
    return make_pipeline, StandardScaler, LogisticRegression
