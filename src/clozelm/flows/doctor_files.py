"""The checks of the files that a run keeps of itself: its journal and its checkpoints."""

from __future__ import annotations

import math

from clozelm.flows.doctor_finding import Check, Finding, NotCheckedError
from clozelm.flows.doctor_journal import RunFacts
from clozelm.text.atomic import is_worked_in
from clozelm.train.checkpoint import FOLDER, opened
from clozelm.train.journal import JOURNAL

_RESUME = "Start the same `cloze pretrain` again: it takes up the newest whole checkpoint, and trains from there."


def journal(facts: RunFacts) -> Finding | None:
    """Find a journal that is gone or empty, and lines in it that are no records."""
    file = facts.path / JOURNAL
    if facts.damaged_lines:
        first, more = facts.damaged_lines[0], len(facts.damaged_lines) - 1
        rest = f", and {more:,} more like it" if more else ""
        return Finding(
            "warning",
            f"{file}:{first}: not a journal record{rest}.",
            "What it said is lost and left out of every check; a run that is resumed cuts its journal there.",
            "Remove what is no record; find out what else writes there, or whether the disk fails.",
        )
    if facts.journal:
        return None
    left = [name for name in (FOLDER, "model") if (facts.path / name).is_dir()]
    if not left:
        raise NotCheckedError("the run has done no step")
    return Finding(
        "warning",
        f"{file} is {'empty' if file.is_file() else 'missing'}, though the run has left {' and '.join(left)}.",
        "Without it nobody can tell how training went: no check of losses, gradients and speed can be made.",
        "Put the journal back if there is a copy; a run that goes on writes the rest of it.",
    )


def checkpoints(facts: RunFacts) -> Finding | None:
    """Find checkpoints that are damaged or gone."""
    damaged = {path: damage for path, damage in facts.checkpoints if damage is not None}
    whole = [path for path, damage in facts.checkpoints if damage is None]
    said = "; ".join(f"{path}: {damage}" for path, damage in damaged.items())
    if facts.is_finished:
        why = "The run is finished and needs none, unless its model has to be written anew."
        return Finding("note", f"{said}.", why, "Remove what is damaged.") if damaged else None
    if not whole:
        return _none_whole(facts, said)
    newest = opened(whole[0])
    if damaged and facts.checkpoints[0][1] is not None:
        return Finding(
            "warning",
            f"{said}. The newest whole one is of step {newest.step:,}.",
            "The run would resume there, and do the steps after it again.",
            f"{_RESUME} Look at the disk: files do not change by themselves.",
        )
    if damaged:
        return Finding("note", f"{said}.", "Were the newest one lost, there would be fewer before it.", _RESUME)
    if _is_gone(facts, newest.step, newest.meta.get("elapsed_seconds")):
        return Finding(
            "warning",
            f"The newest checkpoint is of step {newest.step:,}, the journal goes on to {facts.step:,}: one that "
            "was due between them is gone.",
            f"The run would resume at step {newest.step:,}, and do the steps after it again.",
            "Put it back if there is a copy, before the run is resumed.",
        )
    return None


def _none_whole(facts: RunFacts, damaged: str) -> Finding:
    if not facts.step and not damaged:
        raise NotCheckedError("the run has done no step")
    if not damaged and not _is_gone(facts, 0, 0.0) and is_worked_in(facts.path):
        raise NotCheckedError("the first checkpoint is still to come")
    done = f", and {facts.step:,} of {facts.num_steps:,} steps were done" if facts.step else ""
    return Finding(
        "error",
        f"There is no whole checkpoint{done}." + (f" {damaged}." if damaged else ""),
        "Started again, the run begins at its first step, and what it has learned is lost.",
        f"Put {facts.path / FOLDER} back if there is a copy; else begin anew, with a smaller "
        "checkpoint.every_minutes if the run was interrupted before its first one.",
    )


def _is_gone(facts: RunFacts, step: int, seconds: float | None) -> bool:
    """Tell whether a checkpoint was due after one of a step and time of the run, and before the journal's end."""
    section = facts.settings["checkpoint"]
    if section["every_steps"] is not None:
        return bool((facts.step - 1) // section["every_steps"] > step // section["every_steps"])
    elapsed = facts.finite("elapsed_seconds")
    if not len(elapsed) or seconds is None:
        return False
    longest = max(facts.finite("seconds"), default=math.inf)
    return bool(elapsed[-1] - seconds > 60 * section["every_minutes"] + 2 * longest)


FILE_CHECKS: dict[str, Check[RunFacts]] = {"journal": journal, "checkpoints": checkpoints}
