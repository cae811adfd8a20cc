"""Where a model fails, as one page of HTML: no script, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from clozelm.report.error_charts import Scales, calibration_chart, difference_chart, group_chart
from clozelm.report.error_text import (
    Report,
    calibration_said,
    findings,
    headline,
    is_significant,
    missing_intervals,
    notes,
    percent,
    percent_interval,
)
from clozelm.report.error_text import signed as written
from clozelm.report.page_parts import document, legend, plain

_LONG = 24


def page(report: Report) -> str:
    """Return the page of what ``clozelm.flows.errors.find_errors`` found."""
    parts = [*_head(report), *_findings(report), *_groups(report), *_differences(report), *_calibration(report)]
    parts += [*_examples(report), *_changes(report), *_confusions(report), *_notes(report)]
    return document(_title(report), parts)


def _title(report: Report) -> str:
    models, texts = report["models"], [PurePath(text).name for text in report["text"]]
    who = " and ".join(models)
    where = texts[0] if len(texts) == 1 else f"{texts[0]} and {len(texts) - 1} more"
    return f"Where {who} {'fails' if len(models) == 1 else 'fail'} on {where}"


def _head(report: Report) -> Iterator[str]:
    yield f'<header><p class="kind">Errors</p><h1>{plain(_title(report))}</h1>'
    yield f'<p class="question">{plain(" ".join(headline(report)))}</p></header>'


def _findings(report: Report) -> Iterator[str]:
    yield '<section><h2>What it shows</h2><ul class="reading">'
    yield from (f"<li>{plain(one)}</li>" for one in findings(report))
    yield "</ul></section>"


def _legend(report: Report) -> str:
    return legend(enumerate(report["models"])) if len(report["models"]) > 1 else ""


def _groups(report: Report) -> Iterator[str]:
    yield f"<section><h2>Where errors are</h2>{_legend(report)}"
    if (missing := missing_intervals(report)) is not None:
        yield f'<p class="warning">{plain(missing)}</p>'
    yield '<p class="fine">Marks are with 95% intervals; grey strokes are the loss of frequencies alone: the '
    yield "further left of it a mark is, the more the context told. All axes are the same.</p>"
    scales = Scales(report["groups"])
    yield '<div class="charts">'
    for group in report["groups"]:
        about = f" <span>({plain(group['about'])})</span>" if group["about"] else ""
        yield f"<figure><figcaption><b>{plain(group['title'])}</b>{about}</figcaption>"
        yield f"{group_chart(group, scales).inline()}</figure>"
    yield "</div>"
    yield from _numbers(report)
    yield "</section>"


def _numbers(report: Report) -> Iterator[str]:
    """Yield the same as a table, folded."""
    models = report["models"]
    heads = ["group", "predictions", *(f"{what}, {name}" for name in models for what in ("right", "loss"))]
    heads += ["frequencies alone", *(["loss difference", "p, corrected"] if len(models) > 1 else [])]
    yield '<details><summary>The numbers as a table</summary><div class="wide long"><table><thead><tr>'
    yield "".join(f"<th>{plain(head)}</th>" for head in heads) + "</tr></thead><tbody>"
    for group in report["groups"]:
        for cell in group["cells"]:
            yield f"<tr><th>{plain(cell['name'])}<small> {plain(group['title'].lower())}</small></th>"
            yield f"<td>{cell['predictions']:,}</td>"
            for model in cell["models"]:
                right = model["accuracy"]
                yield f"<td>{percent(right['value'])}<small>{percent_interval(right)}</small></td>"
                yield f"<td>{model['loss']['value']:.3f}</td>"
            yield f"<td>{cell['unigram']:.3f}</td>"
            if cell["difference"]:
                one = cell["difference"]["loss"]
                p = one["p_corrected"]
                yield f"<td>{written(one['value'])}</td><td>{'–' if p is None else f'{p:.3f}'}</td>"
            yield "</tr>"
    yield "</tbody></table></div></details>"


def _differences(report: Report) -> Iterator[str]:
    if report["all"]["difference"] is None:
        return
    old, new = report["models"]
    yield f"<section><h2>{plain(new)} against {plain(old)}</h2>"
    yield '<p class="fine">The same pieces hidden for both; left of the line the second is better.</p>'
    yield '<div class="charts">'
    for group in report["groups"]:
        chart = difference_chart(group, f"{group['title']}: difference of loss")
        if chart is not None:
            sure = sum(is_significant(cell["difference"]["loss"]) for cell in group["cells"])
            said = f"{sure} of {len(group['cells'])} significant"
            yield f"<figure><figcaption><b>{plain(group['title'])}</b>: {said}</figcaption>"
            yield f"{chart.inline()}</figure>"
    yield "</div></section>"


def _calibration(report: Report) -> Iterator[str]:
    yield f"<section><h2>Does its confidence mean something?</h2>{_legend(report)}"
    chart = calibration_chart(report["calibration"], title="how often answers of a given confidence are right")
    each = (f"{name}: {calibration_said(report, number)}" for number, name in enumerate(report["models"]))
    said = plain("; ".join(each))
    yield f'<figure class="square"><figcaption>{said}</figcaption>{chart.inline()}</figure>'
    yield '<p class="fine">On the dashed line, answers given with 70% are right 70% of the time; below it the '
    yield "model is too sure. Grey bars: how many answers there are of each confidence.</p></section>"


def _examples(report: Report) -> Iterator[str]:
    for name, mistakes in zip(report["models"], report["mistakes"], strict=True):
        if mistakes:
            whose = f" of {plain(name)}" if len(report["models"]) > 1 else ""
            yield f"<section><h2>Most confident mistakes{whose}</h2>"
            yield '<p class="fine">At most one of each confusion; [MASK] in the context was hidden too. Often '
            yield "there is something to find: a second good answer, noise, a word that is cut oddly.</p>"
            number = report["models"].index(name) if report["models"].count(name) == 1 else 0
            yield from _list(mistakes, report, [number])
            yield "</section>"


def _changes(report: Report) -> Iterator[str]:
    if report["all"]["difference"] is None:
        return
    new = report["models"][1]
    for title, key in ((f"Where {new} gains most", "better"), (f"Where {new} loses most", "worse")):
        if report[key]:
            yield f"<section><h2>{plain(title)}</h2>"
            yield from _list(report[key], report, [0, 1])
            yield "</section>"


def _list(examples: Sequence[Mapping[str, Any]], report: Report, models: Sequence[int]) -> Iterator[str]:
    yield f'<ul class="examples{" long" * (len(examples) > _LONG)}">'
    for one in examples:
        hidden = f'<b class="blank">{plain(one["truth"])}</b>'  # in one string: line ends show in a quotation
        yield f'<li><p class="text">{plain(one["left"])} {hidden} {plain(one["right"])}</p>'
        for number in models:
            said = one["answers"][number]
            who = f"{plain(report['models'][number])}: " if len(models) > 1 else ""
            kind = "true" if said["answer"] == one["truth"] else "said"
            yield f'<p class="verdict">{who}answered <span class="{kind}">{plain(said["answer"])}</span> '
            yield f"{percent(said['confidence'])}"
            if kind == "said":
                yield f'; the truth <span class="true">{plain(one["truth"])}</span> {percent(said["truth"], 2)}'
            yield f' <span class="fine">document {one["document"] + 1:,}</span></p>'
        yield "</li>"
    yield "</ul>"


def _confusions(report: Report) -> Iterator[str]:
    if not any(report["confusions"]):
        return
    yield "<section><h2>What is taken for what</h2>"
    for name, rows in zip(report["models"], report["confusions"], strict=True):
        yield f"<h3>{plain(name)}</h3>" if len(report["models"]) > 1 else ""
        yield '<div class="wide long narrow"><table><thead><tr><th>hidden</th><th>answered</th><th>times</th>'
        yield "<th>of the hidden</th></tr></thead><tbody>"
        for row in rows:
            share = row["count"] / row["of"]
            yield f"<tr><th>{plain(row['truth'])}</th><td>{plain(row['answer'])}</td><td>{row['count']:,}</td>"
            yield f"<td>{percent(share)}</td></tr>"
        yield "</tbody></table></div>"
    yield "</section>"


def _notes(report: Report) -> Iterator[str]:
    yield '<section><h2>How this was measured</h2><ul class="fine">'
    yield from (f"<li>{plain(note)}</li>" for note in notes(report))
    yield "</ul></section>"
