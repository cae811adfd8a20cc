"""How an explanation is put into words and numbers, the same in a terminal and on a page."""

from __future__ import annotations

import math

from clozelm.explain.attribute import Attribution
from clozelm.explain.explain import Answer, Explanation, Prompt, Words

METHODS = {
    "occlusion": "hide the word, see how far the answer's log-odds fall",
    "occlusion KL": "hide the word, see how far the whole list of guesses moves",
    "integrated gradients": "follow the gradient from a text of masks to the text",
    "attention rollout": "follow attention back from the mask; knows nothing of the answer",
}
ASKED = -1
_LEAST_FULL = {"nats of log-odds": 0.25, "nats": 0.1, "share": 0.1}  # what has the full colour at least
SIDES = {"both": "both sides", "left": "left alone", "right": "right alone", "none": "neither"}


def percent(share: float) -> str:
    """Write a share with two digits that count, as far down as they are worth reading."""
    if share == 0.0:
        return "0%"
    if share < 1e-5:
        return "<0.001%"
    digits = max(0, 1 - math.floor(math.log10(100 * share) + 1e-9))
    return f"{100 * share:.{min(digits, 1 if share >= 0.001 else 3)}f}%"


def signed(value: float, digits: int = 2) -> str:
    """Write a number with its sign, which zero has none of."""
    written = f"{value:+.{digits}f}"
    return f"{0:.{digits}f}" if not float(written) else written.replace("-", "−")


def undecided(answer: Answer) -> str:
    """Say how undecided a model is."""
    choices = math.exp(answer.entropy)
    like = f"as undecided as between {choices:,.0f} equally likely pieces" if choices >= 1.5 else "hardly undecided"
    return f"{like} (entropy {answer.entropy:.2f} of at most {answer.highest:.2f} nats)"


def target_said(answer: Answer) -> str:
    """Say which answer is explained, and how likely it is."""
    target = answer.target
    if target.is_expected:
        where = "the first of its pieces is" if len(target.ids) > 1 else "which is"
        return (
            f'Explained is the word you expect, "{target.text}": {percent(target.probability)}, {where} number '
            f"{target.rank:,} of the guesses."
        )
    return f'Explained is the first guess, "{target.text}": {percent(target.probability)}.'


def believed(words: Words) -> int:
    """Return the number of the method to believe most; the first where there is nothing to compare."""
    best = words.deletion.best
    return 0 if best is None else words.deletion.curves.index(best)


def strengths(method: Attribution) -> list[float]:
    """Return what a method gives to words as shares of the greatest in size, from -1 to 1.

    Where all are small, so are the shares: noise gets no colour.
    """
    most = max([abs(value) for value in method.values] + [_LEAST_FULL[method.unit]])
    return [value / most for value in method.values]


def value_written(value: float, unit: str) -> str:
    """Write what a method gives to a word."""
    if unit == "share":
        return f"{value:.1%}"
    return signed(value) if unit == "nats of log-odds" else f"{value:.2f}"


def side_text(explanation: Explanation, side: str) -> str:
    """Return the text as it is read from one side: words of the other are masks."""
    first, last = explanation.prompt.asked[0], explanation.prompt.asked[-1]
    columns = explanation.prompt.columns
    written = []
    for text, word in stretches(explanation.prompt):
        if word is None or word == ASKED:
            written.append(text)
            continue
        is_left, is_right = columns[word][-1] < first, columns[word][0] > last
        is_read = {"both": True, "left": is_left, "right": is_right, "none": False}[side]
        written.append(text if is_read else "▒" * len(text))
    return "".join(written)


def stretches(prompt: Prompt) -> list[tuple[str, int | None]]:
    """Return the text that was read in stretches: words with their number, the mask with -1, the rest with None.

    What was cut off at either end is "…".
    """
    places = [*((span, number) for number, span in enumerate(prompt.spans)), (prompt.asked_span, ASKED)]
    found: list[tuple[str, int | None]] = []
    end = 0
    for (start, stop), number in sorted(places):
        between = prompt.text[end:start]
        if between:
            found.append((between if found or not between.strip() else "… ", None))
        found.append(("[MASK]" if number == ASKED else prompt.text[start:stop], number))
        end = stop
    rest = prompt.text[end:]
    return [*found, (" …" if rest.strip() else "", None)]


def completeness_said(words: Words) -> str:
    """Say whether integrated gradients add up."""
    found = words.completeness
    return (
        f"Integrated gradients add up to {signed(found.total, 3)} of {signed(found.difference, 3)} nats, the "
        f"log-odds of the answer with all words less those with none ({found.steps} steps)."
    )


def swap_said(explanation: Explanation) -> str:
    """Say what the swaps found."""
    found = explanation.swaps
    changing = sum(swap.changes_answer for swap in found)
    if not found:
        return "No word could be swapped for another that the model finds likely there."
    if not changing:
        return f"None of {len(found)} likely swaps of one word changes the first guess; these move them most."
    return f"{changing} of {len(found)} likely swaps of one word change the first guess; the likeliest come first."


def reach(window: int | None) -> str:
    """Say how far a layer sees."""
    return "sees all" if window is None else f"sees {window} each side"
