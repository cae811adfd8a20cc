"""What the figures of an examination of errors say, in plain sentences for terminal and page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Report = Mapping[str, Any]

_LEVEL = 0.05
_FEW = 0.005  # of the predictions: cells below are left out of the sentences
_MOST = 4
_CERTAIN = 0.01


def percent(share: float | None, digits: int = 1) -> str:
    """Write a share."""
    return "–" if share is None else f"{100 * share:.{digits}f}%"


def percent_interval(figure: Mapping[str, Any], digits: int = 1) -> str:
    """Write the interval of a share, without its sign of percent; nothing where there is none."""
    if figure["low"] is None:
        return ""
    return f"{100 * figure['low']:.{digits}f}–{100 * figure['high']:.{digits}f}"


def signed(value: float | None, digits: int = 3) -> str:
    """Write a difference with its sign."""
    return "–" if value is None else f"{value:+.{digits}f}".replace("-", "−")


def is_significant(one: Mapping[str, Any]) -> bool:
    """Tell whether a difference stands after the correction for how many were looked at."""
    return one["p_corrected"] is not None and one["p_corrected"] < _LEVEL


def headline(report: Report) -> list[str]:
    """Say how good the model is on how much, and of two models which is better."""
    everything, model = report["all"], report["models"][0]
    accuracy, loss = (everything["models"][0][name] for name in ("accuracy", "loss"))
    between = f" (95% interval {percent_interval(accuracy)})" if accuracy["low"] is not None else ""
    said = [
        f"{model} guesses {percent(accuracy['value'])} of {everything['predictions']:,} hidden pieces{between}, "
        f"at {loss['value']:.3f} nats each; frequencies alone would cost {everything['unigram']:.3f}."
    ]
    if everything["difference"] is not None:
        said.append(_compared(report))
    return said


def missing_intervals(report: Report) -> str | None:
    """Say why there are no intervals, where there are none."""
    if report["all"]["models"][0]["accuracy"]["low"] is not None:
        return None
    return f"Too few documents ({report['clusters']}) for intervals."


def calibration_said(report: Report, number: int) -> str:
    """Say how large the calibration error of a model is, with its interval or why there is none."""
    error = report["calibration"][number]["ece"]
    if error["low"] is None:
        between = f"too few documents ({report['clusters']}) for an interval"
    else:
        between = f"95% interval {percent_interval(error)}"
    return f"calibration error {percent(error['value'])}, {between}"


def _compared(report: Report) -> str:
    one, (old, new) = report["all"]["difference"]["loss"], report["models"]
    if one["low"] is None:
        return f"{new} costs {signed(one['value'])} nats more than {old}; too few documents to say more."
    between = f"95% interval {signed(one['low'])} to {signed(one['high'])}"
    if not is_significant(one):
        return f"{new} and {old} cannot be told apart on this text: {signed(one['value'])} nats, {between}."
    word = "better" if one["value"] < 0 else "worse"
    return f"{new} is {word} than {old}: {signed(one['value'])} nats a piece, {between}."


def findings(report: Report) -> list[str]:
    """Say where errors cluster, where context helps least, and whether confidence means something."""
    said = [*_spreads(report), *_least_help(report), *_confidence(report)]
    return said + ([_where_they_differ(report)] if report["all"]["difference"] is not None else [])


def _solid(group: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the cells that are large enough to speak of."""
    return [
        cell
        for cell in group["cells"]
        if cell["share"] >= _FEW and cell["models"][0]["accuracy"]["low"] is not None
    ]


def _spreads(report: Report) -> Iterator[str]:
    found = []
    for group in report["groups"]:
        if group["name"] == "place":  # no news
            continue
        cells = sorted(_solid(group), key=lambda cell: cell["models"][0]["accuracy"]["value"])
        if len(cells) < 2:
            continue
        worst, best = (cell["models"][0]["accuracy"] for cell in (cells[0], cells[-1]))
        if worst["high"] < best["low"]:
            about = f" ({group['about']})" if group["about"] else ""
            text = (
                f"{group['title']}{about}: {percent(best['value'])} right for {_quoted(cells[-1]['name'])}, "
                f"{percent(worst['value'])} for {_quoted(cells[0]['name'])}."
            )
            found.append((best["value"] - worst["value"], text))
    yield from (text for _, text in sorted(found, key=lambda one: -one[0])[:_MOST])


def _least_help(report: Report) -> Iterator[str]:
    """Say for which kind of word the model gains least over frequencies."""
    written = next(group for group in report["groups"] if group["name"] == "shape")
    cells = _solid(written)
    if len(cells) < 2:
        return
    gains = {cell["name"]: cell["unigram"] - cell["models"][0]["loss"]["value"] for cell in cells}
    least, most = min(gains, key=lambda name: gains[name]), max(gains, key=lambda name: gains[name])
    yield (
        f"Context helps least with words that are {_quoted(least)}: {gains[least]:.2f} nats better than "
        f"frequencies alone, {gains[most]:.2f} with {_quoted(most)}."
    )


def _confidence(report: Report) -> Iterator[str]:
    for number, (model, one) in enumerate(zip(report["models"], report["calibration"], strict=True)):
        gap = one["confidence"] - one["accuracy"]
        sure, right = percent(one["confidence"]), percent(one["accuracy"])
        says = f"it gives its answers {sure} and is right {right} of the time"
        tells = "means its probabilities" if abs(gap) < _CERTAIN else "is too sure" if gap > 0 else "is too careful"
        yield f"{model} {tells}: {says} ({calibration_said(report, number)})."


def _where_they_differ(report: Report) -> str:
    cells = [(group, cell) for group in report["groups"] for cell in group["cells"]]
    sure = [(group, cell) for group, cell in cells if is_significant(cell["difference"]["loss"])]
    new = report["models"][1]
    if not sure:
        return f"In none of the {len(cells)} cells below is the difference significant (Holm's correction)."
    group, cell = max(sure, key=lambda one: abs(one[1]["difference"]["loss"]["value"]))
    value = cell["difference"]["loss"]["value"]
    return (
        f"The difference is significant in {len(sure)} of {len(cells)} cells (Holm's correction), widest for "
        f"{_quoted(cell['name'])} ({group['title'].lower()}): {signed(value)} nats for {new}."
    )


def _quoted(name: str) -> str:
    return f"“{name}”"


def notes(report: Report) -> list[str]:
    """Say how everything was measured."""
    counted = f"in the token store {report['counts']}" if report["counts"] else "in this text"
    said = [
        f"{report['rate']:.0%} of the tokens hidden as `cloze evaluate` hides them (seed {report['seed']}, rows of "
        f"{report['row_length']}): {report['tokens']:,} tokens in {report['documents']:,} documents.",
        "Intervals are 95% bootstrap intervals over documents, since the predictions of one document are not "
        "independent; cells with predictions in fewer than five documents have none, a calibration error has none "
        "of fewer than ten.",
        f"Words are what the tokenizer cuts out before it makes pieces; their frequency is counted {counted}.",
        "“Frequencies alone” is the loss of knowing only how often each piece occurs in this text.",
        "A dot before a piece (·ing) says that it joins on to the one before it.",
    ]
    if report["clusters"] < report["documents"]:
        said.append(f"For the intervals, documents were put together into {report['clusters']:,} units.")
    if not report["are_confusions_exact"]:
        said.append("There were too many different confusions to keep: the counts may be a few too small.")
    return said
