"""An explained prediction as one page of HTML: no script, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from clozelm.explain.attribute import Attribution
from clozelm.explain.explain import Explanation
from clozelm.explain.faithful import Deletion
from clozelm.explain.probe import Guess
from clozelm.report.attention_map import MOST_PIECES, attention_map
from clozelm.report.comparison import capital
from clozelm.report.explanation_words import (
    ASKED,
    METHODS,
    SIDES,
    believed,
    completeness_said,
    percent,
    reach,
    side_text,
    strengths,
    stretches,
    swap_said,
    target_said,
    undecided,
    value_written,
)
from clozelm.report.page_parts import document, legend, plain
from clozelm.report.svg import Line, line_chart

_RANDOM = 7  # the grey one of the colours
_MOST_SWAPS = 10
_MOST_CHIPS = 5
_LEAST_LOOK = 0.03


def page(found: Explanation, *, model: str) -> str:
    """Return the page of an explanation; ``model`` is what the model is called."""
    parts = [*_head(found, model), *_answer(found), *_words(found), *_belief(found), *_layers(found)]
    parts += [*_sides(found), *_swaps(found), *_looks(found), *_maps(found), *_sources()]
    return document(f'Why "{found.answer.target.text}"?', parts)


def _head(found: Explanation, model: str) -> Iterator[str]:
    best = found.words.attributions[believed(found.words)]
    yield '<header><p class="kind">One prediction explained</p>'
    yield f'<h1 class="words big">{_coloured(found, best)}</h1>'
    yield f'<p class="question">{plain(target_said(found.answer))}</p>'
    yield (
        f'<p class="terms">Model {plain(model)}, {len(found.prompt.pieces)} pieces read. Words are coloured by '
        f"{plain(best.method)}: blue speaks for the answer{', orange against it' * best.is_signed}.</p></header>"
    )
    if found.prompt.notice:
        yield f'<p class="warning">{plain(found.prompt.notice)}</p>'


def _answer(found: Explanation) -> Iterator[str]:
    yield '<section><h2>What the model says</h2><div class="narrow"><table><tbody>'
    for guess in found.answer.guesses:
        yield f"<tr><th>{plain(guess.text)}</th><td>{_bar(guess.probability)}</td>"
        yield f"<td>{percent(guess.probability)}</td></tr>"
    yield f'</tbody></table></div><p class="fine">It is {plain(undecided(found.answer))}.</p></section>'


def _words(found: Explanation) -> Iterator[str]:
    methods = found.words.attributions
    yield "<section><h2>Which words it rests on</h2>"
    yield (
        "<p>Four methods give every word a share in the answer. They ask in different ways and need not agree; the "
        "next section says which to believe here.</p>"
    )
    leaders = {curve.method for curve in found.words.deletion.leaders}
    said = "most faithful here" if len(leaders) == 1 else "as faithful as any here"
    for each in methods:
        is_best = each.method in leaders
        badge = f' <span class="badge">▲ {said}</span>' if is_best else ""
        yield f'<div class="method{" best" * is_best}"><h3>{plain(capital(each.method))}{badge}</h3>'
        about = plain(METHODS[each.method])
        yield f'<p class="words">{_coloured(found, each)}</p><p class="fine">{about}</p></div>'
    yield "<details><summary>All numbers</summary>"
    yield '<div class="wide long"><table><thead><tr><th>word</th>'
    yield from (f"<th>{plain(each.method)}<small>{plain(each.unit)}</small></th>" for each in methods)
    yield "</tr></thead><tbody>"
    for number, word in enumerate(found.prompt.words):
        cells = "".join(f"<td>{value_written(each.values[number], each.unit)}</td>" for each in methods)
        yield f"<tr><th>{plain(word)}</th>{cells}</tr>"
    rest = "".join(f"<td>{value_written(each.rest, each.unit) if each.rest else ''}</td>" for each in methods)
    yield f"<tr><th>masks and special tokens</th>{rest}</tr></tbody></table></div></details>"
    yield f'<p class="fine">{plain(completeness_said(found.words))}</p></section>'


def _belief(found: Explanation) -> Iterator[str]:
    deletion = found.words.deletion
    yield "<section><h2>Whom to believe</h2>"
    yield f'<p class="question">{plain(deletion.verdict)}</p>'
    if not deletion.curves:
        yield "</section>"
        return
    yield (
        "<p>Words are hidden one after another, those that a method names first. A method that knows what carries "
        "the answer makes the curve fall early. Occlusion has it easy: the test asks its own question, many words "
        "at a time.</p>"
    )
    names = [(number, curve.method) for number, curve in enumerate(deletion.curves)]
    chart = line_chart(
        _curve_lines(deletion),
        x_label="words hidden",
        y_label="probability of the answer, %",
        title="Deletion curves",
    )
    yield '<div class="charts"><figure>'
    yield f"<figcaption>{legend([*names, (_RANDOM, f'{deletion.orders} random orders, 5% to 95%')])}</figcaption>"
    yield f"{chart.inline()}</figure><div>"
    yield "<table><thead><tr><th>order</th><th>it keeps</th><th>beats random</th></tr></thead><tbody>"
    for curve in sorted(deletion.curves, key=lambda one: one.area):
        yield f"<tr><th>{plain(curve.method)}</th><td><b>{curve.kept:.0%}</b></td>"
        yield f"<td>{1 - curve.worse_than:.0%}</td></tr>"
    yield f"<tr><th>random</th><td>{deletion.random_kept:.0%}</td><td></td></tr></tbody></table>"
    yield '<p class="fine">Mean share of its probability that the answer keeps on the way; less is better.</p>'
    yield "</div></div></section>"


def _curve_lines(deletion: Deletion) -> list[Line]:
    def percents(values: Sequence[float]) -> list[tuple[float, float]]:
        return [(float(x), 100 * y) for x, y in zip(deletion.hidden, values, strict=True)]

    band = [(100 * low, 100 * high) for low, high in zip(deletion.random_low, deletion.random_high, strict=True)]
    lines = [Line(_RANDOM, percents(deletion.random_mean), band)]
    return lines + [
        Line(number, percents(curve.probabilities), is_marked=len(deletion.hidden) <= 12)
        for number, curve in enumerate(deletion.curves)
    ]


def _layers(found: Explanation) -> Iterator[str]:
    target = plain(found.answer.target.text)
    yield "<section><h2>Layer by layer</h2>"
    yield (
        "<p>What the model would say if it stopped after a layer: its own head reads the mask's vector there. "
        "Early layers were never meant to be read, so their guesses only show how the answer takes shape.</p>"
    )
    yield '<div class="wide"><table><thead><tr><th>layer</th><th class="left">guesses</th>'
    yield f'<th class="left">"{target}"</th><th></th><th>place</th></tr></thead><tbody>'
    most = max(each.probability for each in found.layers) or 1.0
    for each in found.layers:
        name = "before" if each.layer == 0 else each.layer
        yield f'<tr><th>{name}</th><td class="left chips">{_chips(each.guesses)}</td>'
        yield f"<td>{_bar(each.probability / most)}</td><td>{percent(each.probability)}</td>"
        yield f"<td>{each.rank:,}</td></tr>"
    yield "</tbody></table></div></section>"


def _sides(found: Explanation) -> Iterator[str]:
    yield "<section><h2>From one side</h2>"
    yield (
        "<p>A masked model reads what stands before the mask and what stands behind it. Here the words of one side "
        "are hidden, and it has to answer from the other.</p>"
    )
    yield '<div class="wide"><table><thead><tr><th>reads</th><th class="left">guesses</th>'
    yield f'<th>"{plain(found.answer.target.text)}"</th><th>place</th></tr></thead><tbody>'
    for side in found.sides:
        text = plain(side_text(found, side.side))
        yield f'<tr><th>{SIDES[side.side]}<small class="about">{text}</small></th>'
        yield f'<td class="left chips">{_chips(side.guesses)}</td>'
        yield f"<td>{percent(side.probability)}</td><td>{side.rank:,}</td></tr>"
    yield "</tbody></table></div></section>"


def _swaps(found: Explanation) -> Iterator[str]:
    yield f"<section><h2>Small edits</h2><p>{plain(swap_said(found))}</p>"
    if found.swaps:
        yield '<div class="wide"><table><thead><tr><th>edit</th><th>how likely there</th>'
        yield f'<th class="left">it then says</th><th>"{plain(found.answer.target.text)}"</th></tr></thead><tbody>'
    for swap in found.swaps[:_MOST_SWAPS]:
        yield f"<tr><th>{plain(swap.old)} → {plain(swap.new)}</th><td>{percent(swap.likely)}</td>"
        yield f'<td class="left chips">{_chips([swap.answer])}</td><td>{percent(swap.probability)}</td></tr>'
    yield ("</tbody></table></div>" if found.swaps else "") + "</section>"


def _looks(found: Explanation) -> Iterator[str]:
    attention = found.attention
    yield "<section><h2>Where the mask looks</h2>"
    yield (
        "<p>Each head of a layer spreads its attention over the pieces; here is what the mask has for words. "
        "What a head looks at need not matter: that is for the methods above.</p>"
    )
    yield '<div class="wide long"><table><thead><tr><th>layer</th><th>head</th>'
    yield '<th class="left">words</th></tr></thead><tbody>'
    looks = attention.weights[:, :, list(attention.asking)].mean(axis=2)
    for layer, heads in enumerate(looks):
        for head, row in enumerate(heads):
            shares = [(float(row[columns].sum()), word) for word, columns in enumerate(found.prompt.columns)]
            best = [one for one in sorted(shares, reverse=True)[:_MOST_CHIPS] if one[0] >= _LEAST_LOOK]
            chips = "".join(_chip(found.prompt.words[word], share, share) for share, word in best)
            about = f"<small class='about'>{reach(attention.windows[layer])}</small>" if head == 0 else ""
            name = f"{layer + 1}{about}" if head == 0 else ""
            yield f'<tr><th>{name}</th><td>{head + 1}</td><td class="left chips">{chips or "no word"}</td></tr>'
    yield "</tbody></table></div></section>"


def _maps(found: Explanation) -> Iterator[str]:
    attention, pieces = found.attention, found.prompt.pieces
    if len(pieces) > MOST_PIECES:
        return
    yield "<section><h2>Attention maps</h2>"
    yield (
        "<p>All heads, all pieces: the stronger a square, the more the piece of its row looks at the piece of its "
        "column. Rows add up to 1; the framed row is the one that gives the answer.</p>"
    )
    for layer, heads in enumerate(attention.weights):
        is_open = " open" * (layer in (0, len(attention.weights) - 1) and len(heads) <= 8)
        yield f"<details{is_open}><summary>Layer {layer + 1}, {reach(attention.windows[layer])}</summary>"
        yield '<div class="maps">'
        for head, weights in enumerate(heads):
            title = f"Layer {layer + 1}, head {head + 1}"
            chart = attention_map(weights, pieces, attention.asking, title=title)
            yield f"<figure><figcaption>head {head + 1}</figcaption>{chart.inline()}</figure>"
        yield "</div></details>"
    yield "</section>"


def _sources() -> Iterator[str]:
    yield (
        '<footer><p class="fine">Integrated gradients: Sundararajan et al. 2017. Attention rollout: Abnar &amp; '
        "Zuidema 2020. Deletion curves: Petsiuk et al. 2018. Reading layers early: nostalgebraist 2020. KL is the "
        "Kullback-Leibler divergence from the answer with all words.</p></footer>"
    )


def _coloured(found: Explanation, method: Attribution) -> str:
    """Return the text with its words on the colours of a method."""
    shades = strengths(method)
    parts = []
    for text, number in stretches(found.prompt):
        if number is None:
            parts.append(plain(text))
        elif number == ASKED:
            parts.append(f'<span class="asked">{plain(text)}</span>')
        else:
            value = value_written(method.values[number], method.unit)
            colour = _ground(shades[number])
            parts.append(f'<span style="{colour}" title="{value} {plain(method.unit)}">{plain(text)}</span>')
    return "".join(parts)


def _ground(strength: float) -> str:
    name = "right" if strength >= 0 else "wrong"
    return f"background:rgba(var(--{name}),{0.62 * min(1.0, abs(strength)):.2f})"


def _chips(guesses: Sequence[Guess]) -> str:
    return "".join(_chip(guess.text, guess.probability, guess.probability) for guess in guesses)


def _chip(text: str, share: float, strength: float) -> str:
    return f'<span style="{_ground(strength)}"><b>{plain(text)}</b> {percent(share)}</span>'


def _bar(share: float) -> str:
    return f'<span class="bar"><i style="width:{100 * min(1.0, share):.1f}%"></i></span>'
