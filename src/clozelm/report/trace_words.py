"""How the four steps are put into words, the same in a terminal and on a page; reads the plain data of a trace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clozelm.report.explanation_words import percent

Trace = Mapping[str, Any]
STEPS = (
    "The pieces the model reads",
    "What is hidden, and why",
    "What it predicts, from both sides",
    "The loss, one update, and the same prediction after it",
)
_ONE = {"mask": "becomes the mask:", "random": "is replaced at random:", "keep": "stays as it is:"}
_MANY = {"mask": "become masks:", "random": "are replaced at random:", "keep": "stay as they are:"}
_FATES = {
    "mask": "what stood there has to be found out from its context. Of pieces drawn, 80% go this way.",
    "random": "so the model must not trust blindly what it reads. Of pieces drawn, 10% go this way.",
    "keep": "it is predicted all the same, and the model cannot tell which. Of pieces drawn, 10% go this way.",
}


def pieces_said(trace: Trace) -> str:
    """Say how many words and pieces there are."""
    words = len({piece["word"] for piece in trace["pieces"]} - {None})
    inner = sum(piece["word"] is not None for piece in trace["pieces"])
    later = sum(piece["word"] is not None and not piece["begins_word"] for piece in trace["pieces"])
    ends = [piece["token"] for piece in (trace["pieces"][0], trace["pieces"][-1])]
    split = f", {later} of them later parts of words" if later else ""
    return (
        f"{words} {'word is' if words == 1 else 'words and marks are'} {inner} pieces of the vocabulary{split}; "
        f"{ends[0]} and {ends[1]} mark where the text begins and ends. Every piece has a number, and the model "
        "reads only that."
    )


def hidden_said(trace: Trace) -> str:
    """Say how pieces were chosen."""
    count = len(trace["predictions"])
    if trace["hide"]:
        return (
            f"You chose to hide {', '.join(trace['hide'])}. In training nobody chooses: about 15% of the pieces "
            "are drawn, of which 80% become the mask, 10% another piece, and 10% stay, since real texts have no "
            "masks."
        )
    inner = sum(piece["word"] is not None for piece in trace["pieces"])
    return (
        f"{trace['rate']:.0%} of {inner} pieces are drawn, at least one: here {count}, by seed {trace['seed']}. "
        "Another seed draws others, and in training every pass over a text does."
    )


def fates_said(trace: Trace) -> list[tuple[str, str]]:
    """Return what was hidden with what became of it, those of one fate together."""
    pieces = [one["piece"] for one in trace["predictions"]]
    found = []
    for fate, why in _FATES.items():
        group = [piece for piece in pieces if piece["fate"] == fate]
        if group:
            truths = [
                f"{piece['truth']} → {piece['shown']}" if fate == "random" else piece["truth"] for piece in group
            ]
            found.append((", ".join(truths), (_MANY if len(group) > 1 else _ONE)[fate] + f" {why}"))
    return found


def shown_at(trace: Trace) -> list[tuple[str, Mapping[str, Any] | None]]:
    """Return what stands in every column, with the hidden piece where there is one."""
    hidden = {one["piece"]["column"]: one["piece"] for one in trace["predictions"]}
    return [
        (hidden[column]["shown"] if column in hidden else piece["token"], hidden.get(column))
        for column, piece in enumerate(trace["pieces"])
    ]


def loss_said(trace: Trace) -> str:
    """Say what the loss is made of."""
    update, found = trace["update"], [one["both"]["probability"] for one in trace["predictions"]]
    before, even = f"{update['loss_before']:.2f}", f"{update['loss_even']:.2f}"
    if len(found) == 1:
        made = f"−ln {percent(found[0])} = {before} nats"
    else:
        each = ", ".join(percent(one) for one in found[:4]) + (", …" if len(found) > 4 else "")
        made = f"the mean of −ln of {each} = {before} nats"
    return f"The loss is {made}. Guessing evenly among all pieces would cost {even}."


def step_said(trace: Trace) -> str:
    """Say what the update did."""
    update = trace["update"]
    return (
        f"The gradient says how each of {update['weights']:,} weights changes the loss (norm "
        f"{update['gradient_norm']:.2f}). AdamW takes one step against it, at a learning rate of "
        f"{update['learning_rate']:g}: no weight moves by more than {update['moved']:.1g}."
    )


def after_said(trace: Trace) -> str:
    """Say what the step changed."""
    update = trace["update"]
    return (
        f"The same prediction now costs {update['loss_after']:.2f} nats instead of {update['loss_before']:.2f}. "
        "Training is this, over and over, on many sentences at once. The step was taken on a copy: nothing was "
        "written."
    )
