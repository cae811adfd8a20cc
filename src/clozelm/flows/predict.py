"""Files in, the same files with predictions out; and how good those are where the truth is known."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from clozelm.errors import DataError, SettingsError
from clozelm.flows.finetune_result import counts, hardest
from clozelm.infer.predict import Prediction, Predictor
from clozelm.tasks import tags
from clozelm.tasks.classify import Classify
from clozelm.tasks.tag import Tag, without_entities
from clozelm.text.conll import Tagged, TaggedForm, read_tagged, stream_tagged, with_columns
from clozelm.text.examples import TaggedSentence, TextExample
from clozelm.text.files import suffix_of
from clozelm.text.label_checks import check_known
from clozelm.text.labelled import Examples, Wanted, read_examples, stream_examples
from clozelm.text.record_files import TableForm
from clozelm.text.sentiment import SCALE_FACT, Scale
from clozelm.text.valid import is_valid

PREDICTED, PROBABILITY, PROBABILITIES = "predicted", "probability", "probabilities"
_RESAMPLES, _SHOWN = 1000, 8


def predict_texts(
    predictor: Predictor,
    source: str | IO[str],
    out: IO[str],
    *,
    wanted: Wanted,
    form: TableForm,
    with_probabilities: bool = False,
) -> list[str]:
    """Write every record of a file, or of an open stream, with the prediction for it; return what should be said.

    Tables stay tables with the delimiter they had; everything else becomes JSON lines. Raises ``DataError`` where a
    record has a field of one of the names that are added.
    """
    found = _examples(predictor, source, replace(wanted, labelled=False), form)
    predicted = predictor.answers(found.examples).logits
    rows = (
        _with(example.record, predictor.prediction(logits), example.source, with_probabilities)
        for example, logits in zip(found.examples, predicted, strict=True)
    )
    if found.format in ("csv", "tsv"):
        _write_table(rows, out, found.delimiter or ",", header=form.header)
    else:
        _write_lines(rows, out)
    return [*found.notes, *predictor.notes]


def predict_tags(
    predictor: Predictor, source: str | IO[str], out: IO[str], *, form: TaggedForm, with_probabilities: bool = False
) -> list[str]:
    """Write the sentences of a file, or of an open stream, with their predicted tags; return what should be said.

    Columns stay as they are, with the predicted tag behind them, and its probability if that is wanted; everything
    else becomes JSON lines with lists of both, empty for a record without words.
    """
    found = _sentences(source, form, labelled=False)
    assert isinstance(predictor.task, Tag)
    answered = predictor.answers(found.sentences)
    guesses = [predictor.task.answer(answered.of(number)) for number in range(len(found.sentences))]
    if found.format == "conll":
        numbers = [[f"{one:.6f}" for one in sure] for _, sure in guesses]
        cells = [zip(guess, shown, strict=True) for (guess, _), shown in zip(guesses, numbers, strict=True)]
        added = [[row if with_probabilities else row[:1] for row in rows] for rows in cells]
        out.write(with_columns(found, added))
    else:
        by_source = dict(zip((one.source for one in found.sentences), guesses, strict=True))
        _write_lines(_with_tags(found, by_source), out)
    return [*found.notes, *predictor.notes]


def evaluate_texts(predictor: Predictor, source: str, *, wanted: Wanted, form: TableForm) -> dict[str, Any]:
    """Return how good a classifier is on labelled texts, in the form of ``results.json``."""
    task = predictor.task
    assert isinstance(task, Classify)
    found = _examples(predictor, source, replace(wanted, problem=task.problem), form)
    examples = _on_scale(predictor, found.examples)
    if task.problem != "regression":
        check_known(examples, task.labels)
    return _evaluated(predictor, source, examples, found.notes)


def evaluate_tags(predictor: Predictor, source: str, *, form: TaggedForm) -> dict[str, Any]:
    """Return how good a tagger is on tagged sentences, in the form of ``results.json``.

    Tags of another scheme than the model's are written in it; those that are not legal are repaired and counted.
    """
    task = predictor.task
    assert isinstance(task, Tag)
    found = _sentences(source, form, labelled=True)
    scheme = tags.detect(
        [one.tags or () for one in found.sentences],
        sources=[one.source for one in found.sentences],
        like=task.scheme,
    )
    sentences, repairs = [], 0
    for one in found.sentences:
        legal, count = tags.repair(one.tags or (), scheme)
        repairs += count
        written = legal if scheme == task.scheme else tags.convert(legal, scheme, task.scheme)
        sentences.append(replace(one, tags=tuple(written)))
    notes = [*found.notes, *([f"{repairs:,} tags that are not legal in {scheme} were repaired"] if repairs else [])]
    return _evaluated(
        predictor, source, sentences, [*notes, *_unknown_types(task, sentences), *without_entities(sentences)]
    )


def _unknown_types(task: Tag, sentences: Sequence[TaggedSentence]) -> list[str]:
    """Say which entities the model cannot find."""
    known = {label.partition("-")[2] for label in task.labels}
    unknown = {name: count for name, count in counts(sentences).items() if name not in known}
    if not unknown:
        return []
    shown = ", ".join(f"{name} {count:,}" for name, count in list(unknown.items())[:_SHOWN])
    more = ", ..." if len(unknown) > _SHOWN else ""
    return [
        f"{sum(unknown.values()):,} entities of types that the model does not know count as missed: {shown}{more}"
    ]


def _evaluated(predictor: Predictor, source: str, examples: Sequence[Any], notes: Sequence[str]) -> dict[str, Any]:
    task: Any = predictor.task
    answered = predictor.answers(examples)
    measured = task.measure(answered, examples, resamples=_RESAMPLES)
    results = {
        "format": 1,
        "task": task.name,
        "problem": task.problem,
        "labels": list(task.labels),
        "model": "",
        "dev": source,
        "examples": {"dev": len(examples)},
        "counts": {"dev": counts(examples)},
        "metric": task.metric,
        "notes": [*notes, *predictor.notes, *measured["notes"]],
        "hardest": hardest(task, answered, examples),
        **{name: measured[name] for name in ("figures", "per_class", "confusion")},
    }
    return results | {name: measured[name] for name in ("mode", "scheme") if name in measured}


def _examples(predictor: Predictor, source: str | IO[str], wanted: Wanted, form: TableForm) -> Examples:
    """Read texts; the fields are those the model was trained on where they are there and none are named."""
    if wanted.text is None and (fields := predictor.facts.get("text")):
        wanted = replace(wanted, text=tuple(fields))
    trained = predictor.facts.get("text")
    if isinstance(trained, list) and wanted.text is not None and len(trained) != len(wanted.text):
        what = "pairs" if len(trained) == 2 else "single texts"
        raise SettingsError(f"--text {','.join(wanted.text)} does not fit: this model was trained on {what}.")
    if wanted.labelled and wanted.label is None and (field := predictor.facts.get("label")):
        wanted = replace(wanted, label=field)
    if wanted.labelled and wanted.separator is None and (separator := predictor.facts.get("separator")):
        wanted = replace(wanted, separator=separator)
    if isinstance(source, str):
        return read_examples(source, wanted, form)
    return stream_examples(source, wanted, form)


def _on_scale(predictor: Predictor, examples: list[TextExample]) -> list[TextExample]:
    """Read labels as sentiment as those the model learned from were, or as the model's own."""
    names, labels = predictor.facts.get(SCALE_FACT), predictor.task.labels
    if not isinstance(names, list) or len(names) != len(labels):
        return examples
    is_own = all(example.label in labels for example in examples)
    return examples if is_own else Scale(tuple(map(str, names))).relabelled(examples)


def _sentences(source: str | IO[str], form: TaggedForm, *, labelled: bool) -> Tagged:
    if isinstance(source, str):
        if suffix_of(Path(source)) == ".csv":
            raise DataError(f"{source}: is a table, and this model tags words: give CoNLL columns or JSON lines.")
        return read_tagged(source, form, labelled=labelled)
    return stream_tagged(source, form, labelled=labelled)


def _with(record: Mapping[str, Any], found: Prediction, source: str, with_probabilities: bool) -> dict[str, Any]:
    """Return a record with the prediction for it."""
    label = list(found.label) if isinstance(found.label, tuple) else found.label
    added: dict[str, Any] = {PREDICTED: label}
    if found.probability is not None:
        added[PROBABILITY] = round(found.probability, 6)
    if with_probabilities and found.probabilities:
        added[PROBABILITIES] = {name: round(each, 6) for name, each in found.probabilities.items()}
    return _joined(record, added, source)


def _with_tags(found: Tagged, guesses: Mapping[str, tuple[Sequence[str], Any]]) -> Iterator[dict[str, Any]]:
    for source, record in found.records:
        guess, sure = guesses.get(source, ((), ()))
        added = {PREDICTED: list(guess), PROBABILITY: [round(float(one), 6) for one in sure]}
        yield _joined(record, added, source)


def _joined(record: Mapping[str, Any], added: Mapping[str, Any], source: str) -> dict[str, Any]:
    if taken := sorted(added.keys() & record.keys()):
        raise DataError(f"{source}: the record has a field {taken[0]!r} already: rename it first.")
    return {**record, **added}


def _write_lines(rows: Iterator[dict[str, Any]], out: IO[str]) -> None:
    for row in rows:
        line = json.dumps(row, ensure_ascii=False, default=str)
        out.write((line if is_valid(line) else json.dumps(row, default=str)) + "\n")


def _write_table(rows: Iterator[dict[str, Any]], out: IO[str], delimiter: str, *, header: bool) -> None:
    writer: csv.DictWriter[str] | None = None
    for row in rows:
        flat = {
            name: json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value
            for name, value in row.items()
        }
        if writer is None:
            writer = csv.DictWriter(out, list(flat), delimiter=delimiter, lineterminator="\n")
            if header:
                writer.writeheader()
        writer.writerow(flat)


def check_kind(predictor: Predictor, *, tag_options: Mapping[str, Any], text_options: Mapping[str, Any]) -> None:
    """Refuse options that the model's task has no use for."""
    is_tagger = isinstance(predictor.task, Tag)
    for name, value in (text_options if is_tagger else tag_options).items():
        if value is not None:
            what = "tags words" if is_tagger else "classifies texts"
            raise SettingsError(f"--{name} has no use here: this model {what}.")
