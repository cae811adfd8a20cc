"""Find out what a directory is - a run, a token store, a model - and make the checks an expert would."""

from __future__ import annotations

import json
from pathlib import Path

from clozelm.data.pack import check_store
from clozelm.data.store import MANIFEST, is_store, is_torn, read_manifest
from clozelm.errors import ClozeError, DataError, ModelError
from clozelm.flows.doctor_data import DAMAGED, DATA_CHECKS, counts, data_facts
from clozelm.flows.doctor_finding import Diagnosis, Finding
from clozelm.flows.doctor_journal import RunFacts
from clozelm.flows.doctor_model import MODEL_CHECKS, ModelFacts, model_facts
from clozelm.flows.doctor_run import RUN_CHECKS, run_facts
from clozelm.flows.doctor_store import StoreFacts
from clozelm.hub.load import family_of, read_config
from clozelm.hub.seq2seq import load_seq2seq
from clozelm.shipped import DIRECTORY, is_starter
from clozelm.train.record import RECORD

_ROW_LENGTH = 128


def examine(
    path: str | Path, *, data: str | Path | None = None, row_length: int | None = None, price: float | None = None
) -> Diagnosis:
    """Examine a run (with the model in it), a token store or a model directory.

    ``starter`` names the model that ships with the package. ``data`` is the token store that a run or a model was
    trained on: with it more can be checked. ``row_length``
    is that of the rows a store is meant for, ``price`` what an hour of the machine costs. Data, weights and
    checkpoints that are damaged are findings. Raises ``DataError`` or ``ModelError`` where there is nothing that
    can be examined: no such thing, or one whose ``run.json`` or ``manifest.json`` cannot be read.
    """
    path = DIRECTORY if is_starter(path) else Path(path)
    if not path.exists():
        raise DataError(f"There is no {path}: name a run, a token store or a model directory.")
    found = Diagnosis(str(path))
    if is_store(path) and data is not None:
        raise DataError(f"--data has no use here: {path} is a token store itself.")
    store = None if data is None else _whole_store(Path(data), row_length)
    if is_store(path):
        _examine_store(found, path, row_length)
    elif (path / RECORD).is_file():
        _examine_run(found, path, store, price)
    elif (path / "run" / RECORD).is_file():
        _examine_run(found, path / "run", store, price)
    elif (path / "config.json").is_file():
        _refuse_foreign(path)
        _examine_model(found, path, store, "Copy or download it again, or save it again from where it was trained.")
    elif is_torn(path / MANIFEST):
        _examine_store(found, path, row_length)
    else:
        raise DataError(
            f"{path} is no run ({RECORD}), no token store ({MANIFEST}) and no model (config.json): name one."
        )
    return found


def _unopened(kind: str, error: ClozeError, do: str) -> Finding:
    said = str(error).rstrip(".")
    return Finding("error", f"The {kind} cannot be opened: {said}.", "Nothing can use it.", do, "opens")


def _examine_store(found: Diagnosis, path: Path, row_length: int | None) -> None:
    read_manifest(path)  # without it nothing of the store can be told
    found.kinds.append("token store")
    try:
        facts = StoreFacts.of(path, row_length=row_length or _ROW_LENGTH)
    except ClozeError as error:
        found.findings.append(_unopened("token store", error, "Prepare the corpus again."))
        found.not_checked |= dict.fromkeys(DATA_CHECKS, "the token store does not open")
        return
    if not facts.store.num_tokens:
        raise DataError(f"{path} is a token store without a token: prepare it again from text.")
    _check_rows(facts, row_length)
    others = {name: check for name, check in DATA_CHECKS.items() if name != DAMAGED}
    found.apply({DAMAGED: DATA_CHECKS[DAMAGED]}, facts)
    if DAMAGED not in found.passed:
        found.facts |= counts(facts)
        found.not_checked |= dict.fromkeys(others, "files of the store are damaged")
        return
    found.facts |= data_facts(facts)
    found.apply(others, facts)


def _whole_store(path: Path, row_length: int | None) -> StoreFacts:
    """Open the store that something is examined with; one that is damaged is refused."""
    facts = StoreFacts.of(path, row_length=row_length or _ROW_LENGTH)
    _check_rows(facts, row_length)
    facts.store.verify()
    if facts.held_out is not None:
        facts.held_out.verify()
    return facts


def _check_rows(facts: StoreFacts, row_length: int | None) -> None:
    """Refuse rows that a person asked for and that the store cannot fill; the usual ones are merely not checked."""
    if row_length is not None:
        check_store(facts.store, row_length)


def _examine_run(found: Diagnosis, path: Path, store: StoreFacts | None, price: float | None) -> None:
    if _is_finetuning(path):
        raise DataError(
            f"{path} is a fine-tuning, whose report.html says more: name a pretraining run or its model."
        )
    tokens = None if store is None else store.store.num_tokens
    facts = RunFacts.of(path, store_tokens=tokens, price=price)
    _check_data(facts, store)
    found.kinds.append("run")
    found.facts |= run_facts(facts)
    found.apply(RUN_CHECKS, facts)
    _examine_models(found, path, store)


def _examine_models(found: Diagnosis, run: Path, store: StoreFacts | None) -> None:
    """Examine the model of a run that fills masks; of the others beside it, find out whether they are whole."""
    do = "Start the same `cloze pretrain` again: it writes a finished run's model anew, from the last checkpoint."
    there = [run / name for name in ("generator", "model", "seq2seq") if (run / name).is_dir()]
    if not there:
        found.not_checked["model"] = "the run has not saved one yet"
        return
    if there[-1].name == "seq2seq":  # the model beside it is its encoder, which has no head
        found.not_checked["model"] = "an encoder-decoder fills no masks"
    else:
        _examine_model(found, there.pop(0), store, do)
    for folder in there:
        try:
            load_seq2seq(folder) if folder.name == "seq2seq" else ModelFacts.of(folder)
        except ClozeError as error:
            found.findings.append(_unopened("model", error, do))


def _is_finetuning(path: Path) -> bool:
    """Tell a fine-tuning, whose record names a task, from a pretraining run and from what cannot be read."""
    try:
        record = json.loads((path / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(record, dict) and "task" in record


def _check_data(facts: RunFacts, store: StoreFacts | None) -> None:
    if store is not None and facts.record.get("data") not in (None, store.store.fingerprint):
        raise DataError(
            f"{facts.path} was trained on other tokens than {store.path}: name its own store with --data."
        )


def _examine_model(found: Diagnosis, path: Path, store: StoreFacts | None, do: str) -> None:
    """Examine a model; one that is damaged is a finding, and ``do`` says what to do about it."""
    found.kinds.append("model")
    try:
        facts = ModelFacts.of(path, store)
    except ClozeError as error:
        found.findings.append(_unopened("model", error, do))
        found.not_checked |= {name: "the model does not open" for name in MODEL_CHECKS if name != "opens"}
        return
    found.facts |= model_facts(facts)
    found.apply(MODEL_CHECKS, facts)


def _refuse_foreign(path: Path) -> None:
    """Refuse a model of a family that is not known here, which is no damage."""
    try:
        config = read_config(path)
    except ModelError:
        return
    if isinstance(config.get("model_type"), str):
        family_of(config, path)
