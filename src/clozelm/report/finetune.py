"""What a fine-tuning leaves, as one page of HTML: no script, nothing loaded from elsewhere."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from clozelm.report.comparison import capital, shown
from clozelm.report.curves import smoothed
from clozelm.report.figures import (
    Results,
    figure,
    headline,
    interval_of,
    interval_text,
    model_name,
    names_of,
    number,
    over_seeds,
    short_name,
    value_of,
    written,
)
from clozelm.report.finetune_answers import (
    calibration_section,
    classes_section,
    confusion_section,
    hardest_section,
    labels_section,
    scatter_section,
)
from clozelm.report.finetune_table import trial_grid
from clozelm.report.page_parts import document, legend, plain
from clozelm.report.svg import Line, line_chart

_KINDS = {
    "single": "one label for a text",
    "multi": "any number of labels for a text",
    "regression": "a number for a text",
}
_POINTS = 400


def page(results: Results, journal: Iterable[Mapping[str, Any]], *, directory: str = "model") -> str:
    """Return the page of a fine-tuning from its ``results.json`` and the records of its journal.

    What is missing is left out. ``directory`` is where the model lies, for the commands that use it.
    """
    parts = [*_head(results), *_figures(results), *_seeds(results), *_trials(results)]
    parts += [*_curves(results, journal), *confusion_section(results), *scatter_section(results)]
    parts += [*classes_section(results), *calibration_section(results), *hardest_section(results)]
    parts += [*labels_section(results), *_notes(results), *_use(results, directory), *_settings(results)]
    return document(_title(results), parts)


def _title(results: Results) -> str:
    train = results.get("train")
    return f"{model_name(results)} fine-tuned{f' on {short_name(train)}' if train else ''}"


def _head(results: Results) -> Iterator[str]:
    kind = "entities" if results.get("task") == "tag" else _KINDS.get(str(results.get("problem")), "")
    yield f'<header><p class="kind">Fine-tuning{f": {kind}" if kind else ""}</p><h1>{plain(_title(results))}</h1>'
    yield f'<p class="question">{plain(" ".join(headline(results)))}</p>'
    named = (("model", "model"), ("trained on", "train"), ("measured on", "dev"))
    said = "; ".join(f"{word} {results[key]}" for word, key in named if results.get(key))
    yield f'<p class="terms">{plain(capital(said))}.</p></header>' if said else "</header>"


def _figures(results: Results) -> Iterator[str]:
    names = names_of(results)
    if not names:
        return
    yield '<section><h2>Quality</h2><div class="wide"><table><thead><tr><th>figure</th><th>value</th>'
    yield "<th>95% interval</th></tr></thead><tbody>"
    for name in names:
        one, known = results["figures"][name], figure(name)
        chose, lower = (
            "chose the checkpoint" * (name == results.get("metric")),
            "lower is better" * (known.better < 0),
        )
        about = "; ".join(term for term in (known.about, lower, chose) if term)
        yield f'<tr><th>{plain(capital(known.title))}<small class="about">{plain(about)}</small></th>'
        yield f"<td><b>{written(value_of(one), name)}</b></td>"
        yield f"<td>{interval_text(one, name) or '–'}</td></tr>"
    yield "</tbody></table></div>"
    said = ["The checkpoint was chosen on these very examples, so new ones may do a little worse."]
    if any(interval_of(results["figures"][name]) for name in names):
        said.insert(
            0, "Intervals (bootstrap) say what other texts of the kind would change, nothing of other seeds."
        )
    yield f'<p class="fine">{" ".join(said)}</p></section>'


def _seeds(results: Results) -> Iterator[str]:
    means = over_seeds(results)
    if not means:
        return
    seeds = list(dict.fromkeys(seed for _, each in means.values() for seed, _ in each))
    yield '<section><h2>Over seeds</h2><div class="wide"><table><thead><tr><th>figure</th><th>mean</th>'
    yield "<th>95% t-interval</th>"
    yield from (f"<th>seed {plain(seed)}</th>" for seed in seeds)
    yield "</tr></thead><tbody>"
    for name, (mean, each) in means.items():
        values = dict(each)
        reach = interval_text({"low": mean.low, "high": mean.high}, name)
        yield f"<tr><th>{plain(capital(figure(name).title))}</th><td><b>{written(mean.mean, name)}</b></td>"
        yield f"<td>{reach or '–'}</td>"
        yield from (f"<td>{written(values.get(seed), name)}</td>" for seed in seeds)
        yield "</tr>"
    yield (
        '</tbody></table></div><p class="fine">The t-interval says what other seeds would change on the same '
        "texts; it is wide with few seeds and assumes that they scatter normally.</p></section>"
    )


def _trials(results: Results) -> Iterator[str]:
    grid = trial_grid(results)
    if grid is None:
        return
    yield f'<section><h2>{plain(grid.title)}</h2><div class="wide long"><table><thead><tr>'
    yield from (f"<th>{plain(name)}</th>" for name in grid.head)
    yield "</tr></thead><tbody>"
    for row in grid.rows:
        yield f"<tr><th>{plain(row[0])}</th>{''.join(f'<td>{plain(cell)}</td>' for cell in row[1:])}</tr>"
    yield '</tbody></table></div><p class="fine">Trials were ranked on what they are measured on: the first one '
    yield "looks better than it is, the more so the more trials there were.</p></section>"


def _curves(results: Results, journal: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    by_step = {int(one["step"]): one for one in journal if number(one.get("step")) is not None}
    records = [by_step[step] for step in sorted(by_step)]
    charts = [*_loss_chart(records, results), *_metric_chart(records, results)]
    facts = _facts(results.get("training") or {})
    if not charts and not facts:
        return
    yield f"<section><h2>Training</h2>{f'<p>{facts}</p>' if facts else ''}"
    if charts:
        yield f'<div class="charts">{"".join(charts)}</div>'
    yield "</section>"


def _loss_chart(records: Sequence[Mapping[str, Any]], results: Results) -> Iterator[str]:
    loss, dev = _points(records, "loss"), _points(records, "dev_loss")
    lines = []
    if loss:
        steps, values = zip(*loss, strict=True)
        means = list(zip(steps, smoothed(values, 0.1).tolist(), strict=True))
        lines += [Line(0, _thinned(loss), is_faint=True), Line(0, _thinned(means))]
    if dev:
        lines.append(Line(1, dev, is_marked=len(dev) <= 40))
    if not lines:
        return
    chart = line_chart(lines, x_label="step", y_label="loss", title="loss by step", uprights=_best(results))
    names = [name for name, points in (((0, "training, smoothed"), loss), ((1, "dev"), dev)) if points]
    yield f"<figure>{legend(names)}{chart.inline()}</figure>"


def _metric_chart(records: Sequence[Mapping[str, Any]], results: Results) -> Iterator[str]:
    measured = [{"step": one["step"], **one["dev"]} for one in records if isinstance(one.get("dev"), Mapping)]
    names = dict.fromkeys(name for one in measured for name in one if name != "step")
    name = results.get("metric") if results.get("metric") in names else next(iter(names), None)
    points = _points(measured, str(name))
    if name is None or not points:
        return
    scale, unit = (100.0, ", %") if figure(name).unit == "%" else (1.0, "")
    line = Line(1, [(step, scale * value) for step, value in points], is_marked=len(points) <= 40)
    label = f"{figure(name).title}{unit}"
    chart = line_chart([line], x_label="step", y_label=label, title=f"{label} by step", uprights=_best(results))
    yield f"<figure>{legend([(1, f'{figure(name).title} on dev')])}{chart.inline()}</figure>"


def _best(results: Results) -> list[tuple[float, str]]:
    best = number((results.get("training") or {}).get("best_step"))
    return [] if best is None else [(best, "best")]


def _points(records: Sequence[Mapping[str, Any]], key: str) -> list[tuple[float, float]]:
    """Return (step, value) of the records that have a finite one."""
    found = ((float(one["step"]), value_of(one.get(key))) for one in records)
    return [(step, value) for step, value in found if value is not None]


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return at most about 400 of the points, evenly, the last among them."""
    every = max(1, len(points) // _POINTS)
    return list(points[::-1][::every][::-1])


def _facts(training: Mapping[str, Any]) -> str:
    known = {name: number(value) for name, value in training.items()}
    said = []
    for name, form in (
        ("epochs", "{:g} epochs"),
        ("steps", "{:,.0f} steps"),
        ("best_step", "best at step {:,.0f}"),
        ("tokens", ""),
        ("seconds", ""),
        ("examples_per_second", "{:,.0f} examples a second"),
    ):
        value = known.get(name)
        if value is None:
            continue
        own = {"tokens": f"{shown(value, '')} tokens", "seconds": shown(value, "s")}
        said.append(own.get(name) or form.format(value))
    return plain(capital(", ".join(said))) + "." if said else ""


def _notes(results: Results) -> Iterator[str]:
    notes = results.get("notes") or []
    if notes:
        yield "<section><h2>Found on the way</h2><ul>"
        yield from (f"<li>{plain(note)}</li>" for note in notes)
        yield "</ul></section>"


def _use(results: Results, directory: str) -> Iterator[str]:
    is_tag = results.get("task") == "tag"
    task, file = ("token-classification", "new.conll") if is_tag else ("text-classification", "new.csv")
    yield "<section><h2>Use it</h2>"
    yield f"<pre>cloze predict {plain(shlex.quote(directory))} {file}</pre>"
    yield "<p>or, in Python with <code>transformers</code>:</p>"
    ask = f"ask = pipeline({task!r}, {directory!r})"
    yield f"<pre>from transformers import pipeline\n\n{plain(ask)}</pre></section>"


def _settings(results: Results) -> Iterator[str]:
    settings = list(_flat(results.get("settings") or {}))
    if settings:
        yield '<section><h2>Settings</h2><p class="settings">'
        yield " ".join(f"<code>{plain(name)} = {plain(value)}</code>" for name, value in settings)
        yield "</p></section>"


def _flat(settings: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Yield settings by their dotted names."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        elif value is None or isinstance(value, bool):
            yield f"{before}{name}", "none" if value is None else str(value).lower()
        else:
            yield f"{before}{name}", str(value)
