"""Find out what a directory is - a run, a token store, a model - and make the checks an expert would."""

from __future__ import annotations

from pathlib import Path

from clozelm.data.store import is_store
from clozelm.errors import ClozeError, DataError
from clozelm.flows.doctor_data import DATA_CHECKS, data_facts
from clozelm.flows.doctor_finding import Diagnosis
from clozelm.flows.doctor_journal import RunFacts
from clozelm.flows.doctor_model import MODEL_CHECKS, ModelFacts, model_facts
from clozelm.flows.doctor_run import RUN_CHECKS, run_facts
from clozelm.flows.doctor_store import StoreFacts
from clozelm.train.record import RECORD

_ROW_LENGTH = 128


def examine(
    path: str | Path, *, data: str | Path | None = None, row_length: int | None = None, price: float | None = None
) -> Diagnosis:
    """Examine a run (with the model in it), a token store or a model directory.

    ``data`` is the token store that a run or a model was trained on: with it more can be checked. ``row_length``
    is that of the rows a store is meant for, ``price`` what an hour of the machine costs. Raises ``DataError`` or
    ``ModelError`` where there is nothing that can be examined.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"There is no {path}: name a run, a token store or a model directory.")
    found = Diagnosis(str(path))
    store = None if data is None else StoreFacts.of(Path(data), row_length=row_length or _ROW_LENGTH)
    if is_store(path):
        if data is not None:
            raise DataError(f"--data has no use here: {path} is a token store itself.")
        _examine_store(found, path, row_length or _ROW_LENGTH)
    elif (path / RECORD).is_file():
        _examine_run(found, path, store, price)
    elif (path / "run" / RECORD).is_file():
        _examine_run(found, path / "run", store, price)
    elif (path / "config.json").is_file():
        _examine_model(found, path, store)
    else:
        raise DataError(f"{path} is no run ({RECORD}), no token store (manifest.json) and no model (config.json).")
    return found


def _examine_store(found: Diagnosis, path: Path, row_length: int) -> None:
    facts = StoreFacts.of(path, row_length=row_length)
    if not facts.store.num_tokens:
        raise DataError(f"{path} is a token store without a token: prepare it again from text.")
    found.kinds.append("token store")
    found.facts |= data_facts(facts)
    found.apply(DATA_CHECKS, facts)


def _examine_run(found: Diagnosis, path: Path, store: StoreFacts | None, price: float | None) -> None:
    if not _is_pretraining(path):
        raise DataError(
            f"{path} is a fine-tuning, whose report.html says more: name a pretraining run or its model."
        )
    tokens = None if store is None else store.store.num_tokens
    facts = RunFacts.of(path, store_tokens=tokens, price=price)
    _check_data(facts, store)
    found.kinds.append("run")
    found.facts |= run_facts(facts)
    found.apply(RUN_CHECKS, facts)
    folder = next((path / name for name in ("generator", "model") if (path / name / "config.json").is_file()), None)
    if folder is None:
        found.not_checked["model"] = "the run has not saved one yet"
        return
    try:
        _examine_model(found, folder, store)
    except ClozeError as error:
        found.not_checked["model"] = str(error).rstrip(".")


def _is_pretraining(path: Path) -> bool:
    """Tell a pretraining run, which has a number of steps and the entropy of its tokens, from a fine-tuning."""
    import json

    try:
        return "unigram_nats" in json.loads((path / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return True  # reading it will say what is wrong


def _check_data(facts: RunFacts, store: StoreFacts | None) -> None:
    if store is not None and facts.record.get("data") not in (None, store.store.fingerprint):
        raise DataError(
            f"{facts.path} was trained on other tokens than {store.path}: name its own store with --data."
        )


def _examine_model(found: Diagnosis, path: Path, store: StoreFacts | None) -> None:
    facts = ModelFacts.of(path, store)
    found.kinds.append("model")
    found.facts |= model_facts(facts)
    found.apply(MODEL_CHECKS, facts)
