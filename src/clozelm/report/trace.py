"""The four steps on one sentence as one page of HTML: no script, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from clozelm.report.explanation_words import percent
from clozelm.report.page_parts import document, plain
from clozelm.report.trace_words import (
    STEPS,
    Trace,
    after_said,
    fates_said,
    hidden_said,
    loss_said,
    pieces_said,
    shown_at,
    step_said,
)

_SIDES = (("both sides", "both"), ("left alone", "left"), ("right alone", "right"))


def page(trace: Trace, *, model: str) -> str:
    """Return the page of a trace from its plain data; ``model`` is what the model is called."""
    parts = [*_head(trace, model), *_pieces(trace), *_hidden(trace), *_predicted(trace), *_update(trace)]
    return document(f"Masked language modelling: {trace['text'][:60]}", parts)


def _head(trace: Trace, model: str) -> Iterator[str]:
    yield '<header><p class="kind">Masked language modelling in four steps</p>'
    yield f"<h1>{plain(trace['text'])}</h1>"
    yield (
        f'<p class="terms">Model {plain(model)}. Part of a text is hidden, the model predicts it from both sides, '
        "and learns from how wrong it was (Devlin et al. 2018).</p></header>"
    )
    if trace["notice"]:
        yield f'<p class="warning">{plain(trace["notice"])}</p>'


def _title(number: int) -> str:
    return f"<section><h2>{number}. {STEPS[number - 1]}</h2>"


def _pieces(trace: Trace) -> Iterator[str]:
    yield f'{_title(1)}<div class="pieces">'
    for piece in trace["pieces"]:
        is_later = piece["word"] is not None and not piece["begins_word"]
        kind = ' class="later"' if is_later else ""
        yield f"<span{kind}>{plain(piece['token'])}<small>{piece['id']}</small></span>"
    yield f'</div><p class="fine">{plain(pieces_said(trace))}</p></section>'


def _hidden(trace: Trace) -> Iterator[str]:
    yield f'{_title(2)}<div class="pieces">'
    for token, piece in shown_at(trace):
        kind = f' class="{piece["fate"]}"' if piece else ""
        under = f"<small>{plain(piece['truth'])}</small>" if piece else ""
        yield f"<span{kind}>{plain(token)}{under}</span>"
    yield f"</div><p>{plain(hidden_said(trace))}</p><ul>"
    for truths, said in fates_said(trace):
        yield f"<li><b>{plain(truths)}</b> {plain(said)}</li>"
    yield "</ul></section>"


def _predicted(trace: Trace) -> Iterator[str]:
    yield _title(3)
    yield (
        "<p>Every hidden piece gets a probability for each piece of the vocabulary. Read from one side alone, the "
        "words of the other are hidden as well.</p>"
    )
    for one in trace["predictions"]:
        yield from _table(one, _SIDES)
    yield "</section>"


def _update(trace: Trace) -> Iterator[str]:
    yield f"{_title(4)}<p>{plain(loss_said(trace))}</p><p>{plain(step_said(trace))}</p>"
    for one in trace["predictions"]:
        yield from _table(one, (("before", "both"), ("after", "after")))
    yield f"<p>{plain(after_said(trace))}</p></section>"


def _table(one: Mapping[str, Any], rows: tuple[tuple[str, str], ...]) -> Iterator[str]:
    truth = one["piece"]["truth"]
    yield f'<div class="wide"><table><thead><tr><th></th><th class="left">"{plain(truth)}"</th><th></th>'
    yield '<th>place</th><th class="left">first guesses</th></tr></thead><tbody>'
    most = max(one[key]["probability"] for _, key in rows) or 1.0
    for name, key in rows:
        seen = one[key]
        share = 100 * seen["probability"] / most
        yield f'<tr><th>{name}</th><td><span class="bar"><i style="width:{share:.1f}%"></i></span></td>'
        yield f'<td>{percent(seen["probability"])}</td><td>{seen["rank"]:,}</td><td class="left chips">'
        for guess in seen["guesses"]:
            strength = 0.62 * guess["probability"]
            said = f"<b>{plain(guess['text'])}</b> {percent(guess['probability'])}"
            yield f'<span style="background:rgba(var(--right),{strength:.2f})">{said}</span>'
        yield "</td></tr>"
    yield "</tbody></table></div>"
