"""The record of a run, ``run.json``: what it is, and whether what is asked for now is the same."""

from __future__ import annotations

import hashlib
import json
import platform
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import ValidationError

from clozelm import __version__
from clozelm.data.prepare import HELD_OUT
from clozelm.data.store import TOKENIZER, TokenStore, read_manifest
from clozelm.errors import DataError, SettingsError
from clozelm.hub.load import model_directory
from clozelm.hub.weights import fingerprint
from clozelm.settings import load
from clozelm.text.atomic import check_writable, disk_errors
from clozelm.text.tokenizer import Tokenizer
from clozelm.train.hardware import DTYPES, describe_machine
from clozelm.train.settings import PretrainSettings

if TYPE_CHECKING:
    from clozelm.train.run import Run

RECORD = "run.json"
ASIDE = ".run.json.tmp"


def data_fingerprint(store: TokenStore) -> str:
    """Return a hash of what is in a store, from its manifest's counts and checksums."""
    return store.fingerprint


def teacher_fingerprint(settings: PretrainSettings) -> str | None:
    """Return a hash of the teacher of a distillation; None where there is none, or no directory of that name."""
    teacher = settings.objective.distill.teacher
    if settings.objective.name != "distill" or teacher is None:
        return None
    directory = model_directory(teacher)
    return fingerprint(directory) if (directory / "config.json").is_file() else None


def words_fingerprint(settings: PretrainSettings) -> str | None:
    """Return a hash of the list of words that masks are drawn by; None where there is none, or no such file."""
    file = settings.masking.chosen.file
    if file is None or not Path(file).is_file():
        return None
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16]


def read_record(out: Path) -> dict[str, Any] | None:
    """Return a run's record, or None when ``out`` holds no run."""
    path = out / RECORD
    if not path.exists():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        fault = _fault(record)
    except (OSError, ValueError) as error:
        fault = str(error)
    if fault is not None:
        raise DataError(
            f"{path}: not a run record ({fault}): {RECORD} is damaged; put the old one back, or name another --out."
        )
    checked: dict[str, Any] = record
    return checked


def _fault(record: Any) -> str | None:
    """Say what in a run's record cannot be; None where it can be used."""
    if not isinstance(record, dict):
        return "it is no JSON object"
    kinds = {"data": str, "num_steps": int, "precision": str, "settings": dict}
    for key, kind in kinds.items():
        if key not in record:
            return f"no {key}"
        if type(record[key]) is not kind:
            return f"{key}={json.dumps(record[key])[:40]}"
    if record["precision"] not in DTYPES:
        return f"precision={record['precision'][:40]}"
    return None if record["num_steps"] > 0 else f"num_steps={record['num_steps']}"


def open_data(data: Path) -> tuple[TokenStore, Tokenizer]:
    """Open a store and the tokenizer in it."""
    read_manifest(data)
    tokenizer = Tokenizer.load(data / TOKENIZER)
    return TokenStore.open(data, tokenizer), tokenizer


def open_heldout(data: Path, heldout: Path | str | None, tokenizer: Tokenizer) -> TokenStore | None:
    """Open the held-out store that is named, or the one that ``cloze prepare --hold-out`` left in ``data``."""
    if heldout is None and (data / HELD_OUT).is_dir():
        heldout = data / HELD_OUT
    return None if heldout is None else TokenStore.open(heldout, tokenizer)


def check_out(settings: PretrainSettings, store: TokenStore, out: Path) -> dict[str, Any] | None:
    """Return the record of the run in ``out`` if it is the one asked for, None if there is none; else refuse."""
    record = read_record(out)
    if record is None:
        _check_new(settings, out)
    else:
        _check_same(record, settings, store, out)
    return record


def _check_new(settings: PretrainSettings, out: Path) -> None:
    """Refuse to begin a run without a budget or where something else is."""
    if not settings.budget.model_dump(exclude_none=True):
        raise SettingsError("No budget: pass --minutes, --steps or --tokens, or set one in [budget].")
    if out.exists() and not out.is_dir():
        raise SettingsError(f"{out} is a file: name an empty or new directory with --out.")
    check_writable(out)
    if out.exists() and {path.name for path in out.iterdir()} - {ASIDE}:
        raise SettingsError(f"{out} is not empty and holds no run: name an empty or new directory with --out.")


def _check_same(record: dict[str, Any], settings: PretrainSettings, store: TokenStore, out: Path) -> None:
    """Refuse to resume under other settings or on other tokens, naming what differs."""
    differing = differences(completed(record["settings"]), settings.model_dump(mode="json"))
    if differing:
        raise SettingsError(
            f"{out} holds a run of other settings ({'; '.join(differing)}): use them again to resume it, or "
            "name another --out."
        )
    if record.get("teacher") != teacher_fingerprint(settings):
        raise DataError(
            f"{out} learned from another teacher than {settings.objective.distill.teacher} holds now: put the old "
            "one back, or name another --out."
        )
    if "words" in record and record["words"] != words_fingerprint(settings):  # older records do not say
        raise DataError(
            f"{out} drew its masks by other words than masking.chosen.file={settings.masking.chosen.file} holds: "
            "put the old list back, or name another --out."
        )
    if record["data"] != data_fingerprint(store):
        raise DataError(f"{out} was trained on other tokens than {store.path}: pass the store it began with.")


def check_collocations(record: dict[str, Any], fingerprint: str | None, store: TokenStore, out: Path) -> None:
    """Refuse to resume with other collocations than a run began with; older records do not say."""
    if record.get("collocations", fingerprint) != fingerprint:
        raise DataError(
            f"{out} drew its masks by other collocations than are mined from {store.path} now (then "
            f"{record['collocations']}, now {fingerprint}): resume it with the version it began with "
            f"({record.get('clozelm')}), or name another --out."
        )


def completed(recorded: dict[str, Any]) -> dict[str, Any]:
    """Return recorded settings with what has become a setting since, at its default, which changes nothing."""
    try:
        return PretrainSettings.model_validate(recorded).model_dump(mode="json")
    except ValidationError:
        return recorded


def known(recorded: dict[str, Any]) -> dict[str, Any]:
    """Return recorded settings, completed and without those that are none any more, or raise ``SettingsError``."""
    try:
        PretrainSettings.model_validate(recorded)
    except ValidationError as error:
        for detail in error.errors():
            if detail["type"] == "extra_forbidden":
                recorded = _without(recorded, detail["loc"])
    return load(PretrainSettings, recorded).model_dump(mode="json")


def _without(tree: dict[str, Any], place: Sequence[int | str]) -> dict[str, Any]:
    first, *rest = place
    if not rest:
        return {key: value for key, value in tree.items() if key != first}
    return {key: _without(value, rest) if key == first else value for key, value in tree.items()}


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Say of every setting in which two trees differ what it was and what it is, by its dotted name."""
    old, new = _flat(before), _flat(now)
    return [
        f"{key} was {old.get(key)}, now {new.get(key)}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def write_record(out: Path, record: dict[str, Any]) -> None:
    """Write a run's record whole or not at all."""
    path = out / RECORD
    aside = path.with_name(ASIDE)
    with disk_errors(path):
        aside.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        aside.replace(path)


def new_record(run: Run) -> dict[str, Any]:
    """Return what there is to say of a run before its first step."""
    return {
        "format": 1,
        "clozelm": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": describe_machine(run.device),
        "processes": run.ranks.world,
        "precision": run.precision,
        "matrix_gflops": round(run.matrix_rate / 1e9, 1),
        "num_steps": run.num_steps,
        "parameters": sum(parameter.numel() for parameter in run.objective.parameters()),
        "tokenizer": run.tokenizer.fingerprint,
        "data": data_fingerprint(run.store),
        "teacher": teacher_fingerprint(run.settings),
        "words": words_fingerprint(run.settings),
        "collocations": run.masks.fingerprint,
        "unigram_nats": run.unigram_nats,
        "settings": run.settings.model_dump(mode="json"),
    }


def changed_since(record: dict[str, Any], run: Run) -> list[str]:
    """Say in what a run is computed otherwise than it began, which may change its last bits."""
    now = {"machine": describe_machine(run.device), "torch": torch.__version__, "processes": run.ranks.world}
    then = {key: record.get(key, value) for key, value in now.items()}
    then["machine"] = re.sub(r"^1 threads of ", "1 thread of ", str(then["machine"]))  # as it was written before
    return [
        f"The run began with {key} {then[key]!r}, this is {value!r}: last bits may differ."
        for key, value in now.items()
        if then[key] != value
    ]
