"""A linear probe: how well labels are read off the vectors of a frozen encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clozelm.errors import DataError, SettingsError
from clozelm.flows.compare_settings import MeasureSettings
from clozelm.text.labelled import Wanted, read_examples


class Labelled(NamedTuple):
    """Texts and the label of each."""

    texts: list[str]
    labels: list[str]


def read_labelled(path: Path, *, text: str, label: str) -> Labelled:
    """Read labelled texts as fine-tuning does; a pair is joined by a line end."""
    examples = read_examples(path, Wanted(text=text.split(","), label=label)).examples
    labels = [str(example.label) for example in examples]
    if len(set(labels)) < 2:
        raise DataError(f"{path} has {len(set(labels))} different labels in field {label!r}: a probe needs two.")
    return Labelled(["\n".join(example.texts) for example in examples], labels)


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
