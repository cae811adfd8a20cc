"""What a fine-tuned model gets right and wrong, as sections of its page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clozelm.report.figures import Results, number, percent, short_name, written
from clozelm.report.page_parts import plain, printable
from clozelm.report.svg_shapes import matrix, reliability, scatter

LARGEST_TABLE = 20
_PAIRS, _LONG, _CUT = 15, 24, 260
_NOTHING = ("no entity", "missed", "spurious", "missed/spurious", "none", "O")


@dataclass(frozen=True)
class Confusion:
    """How often each truth (row) was answered how (column)."""

    rows: Sequence[str]
    columns: Sequence[str]
    counts: Sequence[Sequence[int]]

    def mistakes(self) -> list[tuple[str, str, int, int]]:
        """Return (truth, predicted, count, answers of that truth) of all that is off the diagonal, most first."""
        found = [
            (truth, predicted, count, sum(row))
            for truth, row in zip(self.rows, self.counts, strict=True)
            for predicted, count in zip(self.columns, row, strict=True)
            if count and truth != predicted
        ]
        return sorted(found, key=lambda one: -one[2])


def confusion_of(results: Results) -> Confusion | None:
    """Return the confusion matrix with rows and columns named apart; None where there is none.

    Of entities, what was not marked stands in a column "missed" and what was marked without cause in a row
    "spurious": a row or column for them that cannot hold anything is left out.
    """
    given = results.get("confusion") or {}
    labels, counts = [str(label) for label in given.get("labels") or []], given.get("counts") or []
    if not labels or not any(any(row) for row in counts):
        return None
    rows = [str(label) for label in given.get("rows") or labels]
    columns = [str(label) for label in given.get("columns") or labels]
    if results.get("task") == "tag":
        kept = [j for j, name in enumerate(columns) if name not in _NOTHING or any(row[j] for row in counts)]
        held = [i for i, name in enumerate(rows) if name not in _NOTHING or any(counts[i])]
        rows = ["spurious" if rows[i] in _NOTHING else rows[i] for i in held]
        columns = ["missed" if columns[j] in _NOTHING else columns[j] for j in kept]
        counts = [[counts[i][j] for j in kept] for i in held]
    return Confusion(rows, columns, counts)


def confusion_section(results: Results) -> Iterator[str]:
    """Yield the confusion matrix: a table with counts and shares, of many classes a picture and the worst pairs."""
    found = confusion_of(results)
    if found is None:
        return
    yield "<section><h2>What is taken for what</h2>"
    if max(len(found.rows), len(found.columns)) <= LARGEST_TABLE:
        yield from _heat(found)
        said = "Rows are the truth, columns the answer; below each count its share of the row."
    else:
        yield from _pairs(found)
        title = "confusion matrix: rows are the truth, columns the answer"
        chart = matrix(found.rows, found.columns, found.counts, title=title)
        yield f'<figure class="square">{chart.inline()}</figure>'
        said = "Labels in the order of the model; point at a square for its names. Strength: share of the row."
    if results.get("task") == "tag":
        said += " An entity that was not marked is missed, one that was marked without cause spurious."
    yield f'<p class="fine">{said}</p></section>'


def _heat(found: Confusion) -> Iterator[str]:
    many = " many" if len(found.columns) > 6 else ""
    yield f'<div class="wide"><table class="heat{many}"><thead><tr><th class="corner">truth ↓ answer →</th>'
    yield from (f"<th>{plain(name)}</th>" for name in found.columns)
    yield "</tr></thead><tbody>"
    for truth, row in zip(found.rows, found.counts, strict=True):
        total = sum(row)
        yield f"<tr><th>{plain(truth)}</th>"
        for predicted, count in zip(found.columns, row, strict=True):
            if not count:
                yield '<td class="none">0</td>'
                continue
            kind, share = "right" if truth == predicted else "wrong", count / total
            style = f"background:rgba(var(--{kind}),{0.06 + 0.54 * share:.3f})"
            yield f'<td style="{style}"><b>{count:,}</b><small>{percent(share)}</small></td>'
        yield "</tr>"
    yield "</tbody></table></div>"


def _pairs(found: Confusion) -> Iterator[str]:
    mistakes = found.mistakes()
    if not mistakes:
        yield "<p>Nothing was taken for anything else.</p>"
        return
    yield '<div class="wide"><table><thead><tr><th>truth</th><th class="left">taken for</th><th>times</th>'
    yield "<th>share of truth</th></tr></thead><tbody>"
    for truth, predicted, count, total in mistakes[:_PAIRS]:
        yield f'<tr><th>{plain(truth)}</th><td class="left">{plain(predicted)}</td><td>{count:,}</td>'
        yield f"<td>{percent(count / total)}</td></tr>"
    yield "</tbody></table></div>"
    if len(mistakes) > _PAIRS:
        yield f'<p class="fine">The {_PAIRS} most frequent of {len(mistakes):,} pairs.</p>'


def classes_section(results: Results) -> Iterator[str]:
    """Yield precision, recall and F1 of every label or type of entity, frequent ones first."""
    rows = sorted(results.get("per_class") or [], key=lambda one: (-(number(one.get("support")) or 0),))
    if not rows:
        return
    what = "entity" if results.get("task") == "tag" else "label"
    yield f"<section><h2>{'By type of entity' if what == 'entity' else 'By label'}</h2>"
    yield f'<div class="wide{" long" * (len(rows) > _LONG)}"><table><thead><tr><th>{what}</th><th>support</th>'
    yield "<th>precision</th><th>recall</th><th>F1</th><th></th></tr></thead><tbody>"
    for one in rows:
        support = number(one.get("support"))
        yield f"<tr><th>{plain(one.get('label'))}</th><td>{'–' if support is None else f'{support:,.0f}'}</td>"
        yield from (f"<td>{written(one.get(name), name)}</td>" for name in ("precision", "recall", "f1"))
        yield f"<td>{_bar(number(one.get('f1')) or 0.0)}</td></tr>"
    said = f"Support: how many there are in what was measured. {_all(rows)}"
    yield f'</tbody></table></div><p class="fine">{said}</p></section>'


def calibration_section(results: Results) -> Iterator[str]:
    """Yield reliability diagrams before and after the temperature, with their errors."""
    given = results.get("calibration") or {}
    sides = [(name, given[name]) for name in ("before", "after") if given.get(name)]
    if not sides:
        return
    yield "<section><h2>Does its confidence mean something?</h2>"
    temperature = number(given.get("temperature"))
    if number(given.get("refused")) is not None:
        yield "<p>No temperature is used: what fits one half of the examples does not help the other.</p>"
    elif temperature is not None:
        tells = "too sure of itself" if temperature > 1 else "not sure enough"
        said = f"before, the model was {tells}" if abs(temperature - 1) > 0.02 else "they were as they should be"
        yield f"<p>Dividing the logits by a temperature of <b>{temperature:.3g}</b> fits best: {said}."
        yield "The saved model has it built in.</p>"
    yield '<div class="charts">'
    for name, side in sides:
        error, loss = written(side.get("ece"), "ece"), number(side.get("log_loss"))
        spent = "" if loss is None else f", log loss <b>{written(loss, 'log_loss')}</b>"
        chart = reliability(side.get("bins") or [], title=f"reliability {name}: calibration error {error}")
        yield f"<figure><figcaption>{name.capitalize()}: calibration error <b>{error}</b>{spent}</figcaption>"
        yield f"{chart.inline()}</figure>"
    yield (
        '</div><p class="fine">A point for every bin of confidence, with its 95% interval; on the dashed line, of '
        "answers given with 80% confidence 80% are right. Grey: how many answers. The error is the mean distance "
        "from the line. After: each half of the examples under the temperature fitted to the other.</p></section>"
    )


def scatter_section(results: Results) -> Iterator[str]:
    """Yield predictions over the truth, where labels are numbers."""
    pairs = [
        (truth, predicted)
        for one in results.get("scatter") or []
        if (truth := number(one[0])) is not None and (predicted := number(one[1])) is not None
    ]
    if pairs:
        yield "<section><h2>Prediction against truth</h2>"
        chart = scatter(pairs, title="predictions over the truth")
        yield f'<figure class="square">{chart.inline()}</figure>'
        yield '<p class="fine">A perfect model has every point on the dashed line.</p></section>'


def hardest_section(results: Results) -> Iterator[str]:
    """Yield the mistakes the model was surest of; long texts unfold."""
    examples = results.get("hardest") or []
    if not examples:
        return
    is_number = results.get("problem") == "regression"
    yield f'<section><h2>{"Largest errors" if is_number else "Most confident mistakes"}</h2><ol class="examples">'
    for one in examples:
        probability, source = number(one.get("probability")), one.get("source")
        sure = "" if probability is None else f" with {percent(probability)}"
        where = f' <span class="fine">{plain(short_name(source))}</span>' if source else ""
        yield f"<li>{_text(one.get('text'))}"
        answered, truth = plain(one.get("predicted")), plain(one.get("truth"))
        yield f'<p class="verdict">answered <bdi class="said">{answered}</bdi>{sure},'
        yield f' truth <bdi class="true">{truth}</bdi>{where}</p></li>'
    yield "</ol>"
    if not is_number:
        yield '<p class="fine">Some may be mistakes of the labels rather than of the model.</p>'
    yield "</section>"


def labels_section(results: Results) -> Iterator[str]:
    """Yield how many examples of each label there are in what was learned from and what was measured."""
    counts = {part: each for part, each in (results.get("counts") or {}).items() if each}
    if not counts:
        return
    parts = [part for part in ("train", "dev") if part in counts]
    names = sorted(
        dict.fromkeys(label for part in parts for label in counts[part]),
        key=lambda label: [-counts[part].get(label, 0) for part in parts],
    )
    totals = {part: _total(results, part, counts[part]) for part in parts}
    most = max((counts[parts[0]].get(name, 0) for name in names), default=0) or 1
    yield f'<section><h2>Labels</h2><div class="wide{" long" * (len(names) > _LONG)}"><table><thead><tr>'
    yield "<th>label</th>"
    yield from (f"<th>{part}</th><th>share</th>" for part in parts)
    yield "<th></th></tr></thead><tbody>"
    for name in names:
        yield f"<tr><th>{plain(name)}</th>"
        for part in parts:
            count = counts[part].get(name, 0)
            yield f"<td>{count:,}</td><td>{percent(count / totals[part])}</td>"
        yield f"<td>{_bar(counts[parts[0]].get(name, 0) / most)}</td></tr>"
    yield "</tbody></table></div>"
    yield f'<p class="fine">{_all(names)}</p></section>' if _all(names) else "</section>"


def _all(rows: Sequence[object]) -> str:
    """Say that a long table scrolls."""
    return f"The table scrolls: {len(rows):,} rows." if len(rows) > _LONG else ""


def _total(results: Results, part: str, counts: Mapping[str, Any]) -> int:
    """Return what counts are shares of: of examples that may have several labels, the examples."""
    examples = (results.get("examples") or {}).get(part)
    return (examples if results.get("problem") == "multi" else None) or sum(counts.values()) or 1


def _text(text: object) -> str:
    """Return a text as a paragraph; a long one cut, with the whole of it to unfold."""
    whole = printable(text or "").strip()
    cut = shortened(whole, _CUT)
    if cut == whole:
        return f'<p class="text" dir="auto">{plain(whole)}</p>'
    unfold = f'<details><summary>whole text, {len(whole):,} characters</summary><p class="text" dir="auto">'
    return f'<p class="text" dir="auto">{plain(cut)}</p>{unfold}{plain(whole)}</p></details>'


def shortened(text: str, longest: int) -> str:
    """Return at most ``longest`` characters of a text, cut between words where it can be, with an ellipsis."""
    if len(text) <= longest:
        return text
    cut = text[: longest - 1]
    at_word = cut.rpartition(" ")[0]
    return f"{(at_word if len(at_word) > longest // 2 else cut).rstrip()}…"


def _bar(share: float) -> str:
    return f'<span class="bar"><i style="width:{100 * min(max(share, 0.0), 1.0):.1f}%"></i></span>'
