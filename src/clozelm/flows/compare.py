"""Train several arms under an equal budget with several seeds, and measure them alike."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from clozelm import __version__
from clozelm.data.prepare import HELD_OUT
from clozelm.data.store import TokenStore
from clozelm.errors import ClozeError, DataError, SettingsError
from clozelm.flows.compare_settings import Arm, Comparison, check_arms
from clozelm.flows.progress import show_run
from clozelm.text.atomic import check_writable, disk_errors
from clozelm.text.tokenizer import Tokenizer
from clozelm.train.cost import flops_a_step, peak_bytes, restart_peak
from clozelm.train.denormals import start_threads
from clozelm.train.record import (
    completed,
    data_fingerprint,
    differences,
    open_data,
    open_heldout,
    teacher_fingerprint,
    words_fingerprint,
)
from clozelm.train.run import Run
from clozelm.train.settings import PretrainSettings

RECORD, USAGE = "compare.json", "usage.json"


@dataclass(frozen=True)
class Job:
    """One run of a comparison: an arm with a seed, where its tokens are and where it lives."""

    arm: Arm
    seed: int
    settings: PretrainSettings
    store: Path
    out: Path

    @property
    def is_finished(self) -> bool:
        """Whether the run was trained to its end and its models were saved."""
        return bool(usage(self).get("is_finished"))


@dataclass(frozen=True)
class Plan:
    """A comparison that was checked: everything it needs is there and fits what was done before."""

    comparison: Comparison
    data: Path
    out: Path
    heldout: Path | None
    tokenizer: Tokenizer
    jobs: tuple[Job, ...]
    warnings: tuple[str, ...] = ()

    def done(self, arm: str) -> list[Job]:
        """Return the finished runs of an arm, seed by seed."""
        return [job for job in self.jobs if job.arm.name == arm and job.is_finished]

    @property
    def unfinished(self) -> list[Job]:
        """Return the runs that are still to be trained, all arms of a seed before those of the next."""
        return [job for job in self.jobs if not job.is_finished]


def begin(comparison: Comparison, *, data: str | Path, out: str | Path, heldout: str | Path | None = None) -> Plan:
    """Check a comparison against its stores and against what ``out`` holds, and write down what it is.

    Every new arm is put together once, so that one that cannot be trained is refused before others are.
    All arms are measured on ``heldout``, by default the text that was held out of ``data``. Raises
    ``SettingsError`` when a comparison of other settings is there, ``DataError`` when tokenizers differ.
    """
    start_threads()
    data, out = Path(data), Path(out)
    store, tokenizer = open_data(data)
    if heldout is None and (data / HELD_OUT).is_dir():
        heldout = data / HELD_OUT
    judge = open_heldout(data, heldout, tokenizer)
    stores = {arm.name: _store(arm, data, store, tokenizer) for arm in comparison.arms}
    before = _check_out(out)
    now = _record(comparison, stores, None if judge is None else data_fingerprint(judge))
    _check_same(out, before, now)
    for arm in comparison.arms:
        known = before.get("arms", {}).get(arm.name, {}).get("flops_a_step")
        flops = known or _flops(comparison, arm, stores[arm.name], tokenizer)
        _check_enough(comparison, arm, flops)
        now["arms"][arm.name]["flops_a_step"] = flops
    jobs = tuple(_jobs(comparison, data, out, now["arms"]))
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    write_json(out / RECORD, now | {"arms": before.get("arms", {}) | now["arms"]})
    warnings = tuple(_never_repeated(comparison, stores))
    return Plan(comparison, data, out, None if heldout is None else Path(heldout), tokenizer, jobs, warnings)


def train_arms(plan: Plan, *, only: Sequence[str] = (), console: Console) -> bool:
    """Train what is not finished, of the arms ``only`` or of all; False when a signal stopped it.

    Every run is an ordinary one, checkpointed and resumed bit for bit.
    """
    check_arms(only, plan.comparison)
    wanted = [job for job in plan.unfinished if not only or job.arm.name in only]
    for number, job in enumerate(wanted, start=1):
        console.print(f"{job.arm.label}, seed {job.seed} ({number} of {len(wanted)} to train)", style="bold")
        if not _trained(plan, job, console):
            return False
    return True


def open_run(plan: Plan, job: Job) -> Run:
    """Open the run of a job, new or as it was left."""
    return Run.open(job.settings, data=job.store, out=job.out, heldout=plan.heldout)


def _trained(plan: Plan, job: Job, console: Console) -> bool:
    run = open_run(plan, job)
    restart_peak(run.device)
    show_run(run, console=console)
    is_finished = run.step == run.num_steps
    peak = max(usage(job).get("peak_bytes", 0), peak_bytes(run.device))
    place = "tensors on the GPU" if run.device.type == "cuda" else "resident in the process"
    write_json(job.out / USAGE, {"is_finished": is_finished, "peak_bytes": peak, "peak_of": place})
    return is_finished


def usage(job: Job) -> dict[str, Any]:
    """Return what the training of a run took, and whether it is finished; empty before it was begun."""
    path = job.out / USAGE
    return read_json(path) if path.is_file() else {}


def _store(arm: Arm, data: Path, store: TokenStore, tokenizer: Tokenizer) -> TokenStore:
    """Open the tokens of an arm; other pieces than the reference's are refused."""
    if arm.store is None:
        return store
    own, its_tokenizer = open_data(arm.store)
    if its_tokenizer.fingerprint != tokenizer.fingerprint:
        raise DataError(
            f"arms.{arm.name}.store={arm.store} has tokenizer {its_tokenizer.fingerprint}, {data} has "
            f"{tokenizer.fingerprint}: a loss per piece does not compare across tokenizers; prepare both with one."
        )
    return own


def _check_enough(comparison: Comparison, arm: Arm, flops_a_step: float) -> None:
    section = comparison.settings.compare
    tokens = arm.settings.data.tokens_per_step
    steps = {"flops": (flops_a_step, f"{flops_a_step:.2g} FLOPs"), "tokens": (tokens, f"{tokens:,} tokens")}
    least, said = steps.get(section.budget, (0, ""))
    if section.amount < least:
        raise SettingsError(
            f"compare.amount={section.amount:g} is less than the {said} of one step of arm {arm.name!r}: with less "
            "than a step no budget is equal."
        )


def _never_repeated(comparison: Comparison, stores: Mapping[str, TokenStore]) -> Iterator[str]:
    """Warn of arms whose masks are to stay the same from epoch to epoch, of which there is but one."""
    section = comparison.settings.compare
    for arm in comparison.arms:
        a_step = {"tokens": 1, "steps": arm.settings.data.tokens_per_step}.get(section.budget)
        epoch = stores[arm.name].num_tokens
        if a_step and not arm.settings.masking.dynamic and section.amount * a_step <= epoch:
            yield (
                f"{arm.label}: masks that are drawn once come again in a second epoch only, and {section.amount:g} "
                f"{section.budget} are within the first one of {epoch:,} tokens. Name less data with --data, or a "
                "larger compare.amount."
            )


def _check_out(out: Path) -> dict[str, Any]:
    """Return the record of the comparison in ``out``, empty where there is none; refuse another thing's place."""
    if out.exists() and not out.is_dir():
        raise SettingsError(f"{out} is a file: name an empty or new directory with --out.")
    check_writable(out)
    if (out / RECORD).is_file():
        found = read_json(out / RECORD)
        if not _is_record(found):
            raise DataError(
                f"{out / RECORD} is no record of a comparison: put the old one back, or name another --out."
            )
        return found
    if out.is_dir() and any(not each.name.startswith(f".{RECORD}.tmp") for each in out.iterdir()):
        raise SettingsError(
            f"{out} is not empty and holds no comparison: name an empty or new directory with --out."
        )
    return {}


def _is_record(found: Mapping[str, Any]) -> bool:
    arms = found.get("arms")
    return (
        isinstance(found.get("compare"), dict)
        and isinstance(arms, dict)
        and all(isinstance(arm, dict) and isinstance(arm.get("settings"), dict) for arm in arms.values())
        and all("data" in arm for arm in arms.values())
    )


def _record(comparison: Comparison, stores: Mapping[str, TokenStore], heldout: str | None) -> dict[str, Any]:
    section = comparison.settings.compare
    return {
        "format": 1,
        "clozelm": __version__,
        "compare": {"budget": section.budget, "amount": section.amount},
        "heldout": heldout,
        "arms": {
            arm.name: {
                "settings": arm.settings.model_dump(mode="json"),
                "data": data_fingerprint(stores[arm.name]),
                "teacher": teacher_fingerprint(arm.settings),
                "words": words_fingerprint(arm.settings),
            }
            for arm in comparison.arms
        },
    }


def _check_same(out: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to go on under another budget, other held-out text or with another arm; arms, seeds may be added."""
    changed = [f"compare.{each}" for each in differences(before.get("compare", now["compare"]), now["compare"])]
    if before.get("heldout", now["heldout"]) != now["heldout"]:
        changed.append(f"--heldout was other text ({before['heldout']}, now {now['heldout']})")
    for name, arm in now["arms"].items():
        old = before.get("arms", {}).get(name)
        if old is not None:
            changed += [f"arms.{name}.{each}" for each in differences(completed(old["settings"]), arm["settings"])]
            if old["data"] != arm["data"]:
                changed.append(f"arms.{name} had other tokens ({old['data']}, now {arm['data']})")
            for what in ("teacher", "words"):  # what lies in a file that settings name
                if what in old and old[what] != arm[what]:
                    changed.append(f"arms.{name} had another file of {what}")
    if changed:
        raise SettingsError(
            f"{out} holds a comparison of other settings ({'; '.join(changed)}): use them again to resume it, "
            "or name another --out."
        )


def _flops(comparison: Comparison, arm: Arm, store: TokenStore, tokenizer: Tokenizer) -> float:
    seed = comparison.settings.compare.seeds[0]
    settings = replace_seed(arm.settings, seed)
    try:
        return flops_a_step(settings, store, tokenizer)
    except ClozeError as error:
        raise type(error)(f"[arms.{arm.name}] {error}") from None


def replace_seed(settings: PretrainSettings, seed: int) -> PretrainSettings:
    """Return the settings with another seed."""
    return settings.model_copy(update={"run": settings.run.model_copy(update={"seed": seed})})


def _jobs(comparison: Comparison, data: Path, out: Path, arms: Mapping[str, Any]) -> Iterator[Job]:
    for seed in comparison.settings.compare.seeds:
        for arm in comparison.arms:
            limits = comparison.settings.compare.limits(arms[arm.name].get("flops_a_step"))
            place = out / "arms" / arm.name / f"seed-{seed}"
            yield Job(arm, seed, arm.run(seed, limits), arm.store or data, place)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; what cannot be read is an error that names it."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("no JSON object")
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}): remove it, or name another --out.") from None
    return content


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all; of several processes that write it the last one wins."""
    aside = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    with disk_errors(path):
        aside.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        os.replace(aside, path)
