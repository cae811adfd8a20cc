"""Download a model directory from the Hugging Face Hub or a mirror; nothing else here opens a connection."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from clozelm.errors import DataError, ModelError
from clozelm.text.atomic import AtomicDirectory, check_free, disk_errors

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling

SOURCE_FILE = "source.json"

# The weights of one model in every form that can be read here, the first that is there is taken.
_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
# What else is taken where it is offered: no code, no other framework's weights, no optimiser states.
_BESIDE = frozenset(
    {
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "vocab.txt",
        "vocab.json",
        "merges.txt",
        "bpe.codes",
        "spiece.model",
        "sentencepiece.bpe.model",
        "tokenizer.model",
        "README.md",
        "LICENSE",
        "LICENSE.md",
        "LICENSE.txt",
        "NOTICE",
    }
)
_NAME = re.compile(r"(?!.*(?:--|\.\.))(?:\w[\w.-]{0,94}\b/)?\w[\w.-]{0,95}(?<![.-])", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_BAD_TOKEN = "Invalid credentials"
_TIMEOUT_SECONDS = 20.0


class FetchedFile(NamedTuple):
    """One file as it was downloaded."""

    name: str
    num_bytes: int
    sha256: str


@dataclass(frozen=True)
class Fetched:
    """A model that was downloaded to ``path``; ``revision`` is the commit, 40 hex digits, all files are of."""

    path: Path
    name: str
    revision: str
    files: tuple[FetchedFile, ...]


def fetch(
    name: str,
    to: str | Path,
    *,
    revision: str = "main",
    endpoint: str | None = None,
    token: str | None = None,
) -> Fetched:
    """Download model ``name`` into the new directory ``to``, whole or not at all.

    Takes config, tokenizer, licence, card and one set of weights, safetensors if there are any. ``revision``, a
    branch, tag or commit, is resolved once; sizes and hashes are checked against what the hub lists, and written
    to ``source.json`` with the commit. ``endpoint`` is a mirror's address; without it HF_ENDPOINT or
    https://huggingface.co. Without ``token`` HF_TOKEN or that of `hf auth login` is used, but never sent to a
    mirror named here.
    """
    if not is_hub_name(name):
        raise ModelError(
            f"{name!r} is no name of a model on the Hugging Face Hub: expected NAME or OWNER/NAME, such as "
            "google-bert/bert-base-uncased."
        )
    path = Path(to)
    try:
        check_free(path, replace=False, is_ours=_is_never_ours)
        with _reserved():
            repository = _open(name, revision, endpoint, token)
            place = AtomicDirectory(path, replace=False, is_ours=_is_never_ours)
            try:
                with disk_errors(place.path):
                    files = _download(repository, place.building)
                place.commit()
            finally:
                place.discard()
    except DataError as error:
        raise ModelError(str(error)) from error
    return Fetched(path, name, repository.commit, files)


def is_hub_name(text: str) -> bool:
    """Whether ``text`` could name a model on the Hub: NAME or OWNER/NAME, of ASCII letters, digits, _ . and -."""
    return _NAME.fullmatch(text) is not None


def hint(directory: Path) -> str:
    """Return how to download the model that a missing ``directory`` may be meant to name; else nothing."""
    name = directory.as_posix()
    is_path = "/" in name and directory.parent.is_dir()
    if directory.exists() or is_path or not is_hub_name(name):
        return ""
    return f"; `cloze fetch {name} --to DIR` downloads a model of that name"


@dataclass(frozen=True)
class _Repository:
    """A model on a hub at one commit, with the files it offers."""

    name: str
    revision: str
    endpoint: str
    token: str | bool | None
    commit: str = ""
    offered: tuple[RepoSibling, ...] = ()


def _open(name: str, revision: str, endpoint: str | None, token: str | None) -> _Repository:
    """Ask the hub for the commit of ``revision`` and its files."""
    from huggingface_hub import HfApi, constants

    address = (endpoint or constants.ENDPOINT).rstrip("/")
    if urlsplit(address).scheme not in ("http", "https") or not urlsplit(address).hostname:
        raise ModelError(f"{address!r} is no address of a hub: expected one like https://huggingface.co.")
    is_named_mirror = address != constants.ENDPOINT
    repository = _Repository(name, revision, address, token or (False if is_named_mirror else None))
    try:
        info = HfApi(endpoint=address, token=repository.token).model_info(
            name, revision=revision, files_metadata=True, timeout=_TIMEOUT_SECONDS
        )
    except _network_errors() as error:
        raise _mistake(error, repository) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{address} does not answer as a Hugging Face Hub does: check the address.") from error
    if not _COMMIT.fullmatch(info.sha or ""):
        raise ModelError(f"{address} names no commit for {revision!r} of {name}: check the address.")
    return _Repository(name, revision, address, repository.token, str(info.sha), tuple(info.siblings or ()))


def _download(repository: _Repository, directory: Path) -> tuple[FetchedFile, ...]:
    """Download what a model needs into ``directory`` and write where it came from."""
    offered = {one.rfilename: one for one in repository.offered}
    weights = next((one for one in _WEIGHTS if one in offered), None)
    if weights is None or "config.json" not in offered:
        missing = "config.json" if weights else "model.safetensors or pytorch_model.bin"
        raise ModelError(f"{repository.name} has no {missing} at {repository.endpoint}: it cannot be used here.")
    files = [_get(offered[one], repository, directory) for one in sorted({*_BESIDE & set(offered), weights})]
    if weights.endswith(".index.json"):
        files += [_get(one, repository, directory) for one in _shards(directory / weights, offered)]
    shutil.rmtree(directory / ".cache", ignore_errors=True)
    source = {
        "name": repository.name,
        "revision": repository.revision,
        "commit": repository.commit,
        "endpoint": repository.endpoint,
        "files": {one.name: {"bytes": one.num_bytes, "sha256": one.sha256} for one in files},
    }
    (directory / SOURCE_FILE).write_text(json.dumps(source, indent=2) + "\n", encoding="utf-8")
    return tuple(files)


def _shards(index: Path, offered: dict[str, RepoSibling]) -> list[RepoSibling]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ModelError(f"{index.name} of the model is damaged: it has no readable weight_map.") from error
    for name in names:
        if name not in offered or "/" in name:
            raise ModelError(f"{index.name} of the model names {name!r}, which is not a file beside it.")
    return [offered[name] for name in names]


def _get(file: RepoSibling, repository: _Repository, directory: Path) -> FetchedFile:
    """Download one file and check it against what the hub listed."""
    from huggingface_hub import hf_hub_download

    try:
        hf_hub_download(
            repository.name,
            file.rfilename,
            revision=repository.commit,
            local_dir=directory,
            cache_dir=directory / ".cache",
            endpoint=repository.endpoint,
            token=repository.token,
        )
    except _network_errors() as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the disk
        raise _mistake(error, repository, file.rfilename) from error
    return _checked(file, repository, directory / file.rfilename)


def _checked(file: RepoSibling, repository: _Repository, path: Path) -> FetchedFile:
    """Return size and hash of a downloaded file; large files are listed by SHA-256, others by git's SHA-1."""
    num_bytes = path.stat().st_size
    with path.open("rb") as handle:
        sha256 = hashlib.file_digest(handle, "sha256").hexdigest()
    is_right = file.size in (None, num_bytes)
    if file.lfs is not None:
        is_right &= file.lfs.sha256 == sha256
    elif file.blob_id is not None and is_right:
        blob = b"blob %d\0" % num_bytes + path.read_bytes()
        is_right = hashlib.sha1(blob, usedforsecurity=False).hexdigest() == file.blob_id
    if not is_right:
        raise ModelError(
            f"{file.rfilename} of {repository.name} is not what {repository.endpoint} lists: cut short at "
            f"{num_bytes:,} bytes, or changed on the way. Nothing was kept; try again."
        )
    return FetchedFile(file.rfilename, num_bytes, sha256)


def _mistake(error: Exception, repository: _Repository, file: str | None = None) -> ModelError:
    """Say in one line why the library gave up, at ``file`` or before the first."""
    from huggingface_hub import errors

    name, endpoint = repository.name, repository.endpoint
    cause: Any = error.__cause__ if isinstance(error, errors.LocalEntryNotFoundError) else error
    status = cause.response.status_code if isinstance(cause, errors.HfHubHTTPError) else None
    if isinstance(cause, errors.OfflineModeIsEnabled):
        said = f"HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set: unset it to download {name}."
    elif status == 401 and _BAD_TOKEN in cause.response.headers.get("X-Error-Message", ""):
        said = f"{endpoint} does not accept the token: renew HF_TOKEN or `hf auth login`, or go without."
    elif isinstance(cause, errors.GatedRepoError):
        said = (
            f"{name} is gated: accept its terms at {endpoint}/{name} and set HF_TOKEN to a token of your account."
        )
    elif isinstance(cause, errors.RevisionNotFoundError):
        said = f"{name} has no revision {repository.revision!r}: name a branch, a tag or a commit."
    elif isinstance(cause, errors.RepositoryNotFoundError) or (status in (401, 404) and file is None):
        said = f"There is no model {name!r} at {endpoint}: check the name; if it is private, set HF_TOKEN."
    elif status in (401, 403):
        said = f"{endpoint} refuses access to {name} (HTTP {status}): set HF_TOKEN to a token that may read it."
    elif status is not None:
        said = f"{endpoint} answered HTTP {status} for {file or name}: try again later."
    elif file is None:
        said = f"{endpoint} cannot be reached ({_reason(cause)}): check the network, or name a mirror as endpoint."
    else:
        said = (
            f"The download of {file} from {endpoint} was cut short ({_reason(cause)}). Nothing was kept; try again."
        )
    return ModelError(said)


def _reason(error: BaseException | None) -> str:
    said = str(error).partition("\n")[0].rstrip(". ") if error else ""
    return said or type(error).__name__


def _network_errors() -> tuple[type[Exception], ...]:
    """Return what the library raises when a download fails; its HTTP errors have no public name."""
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

    http: type[Exception] = next(one for one in HfHubHTTPError.__mro__ if one.__name__ == "HTTPError")
    return http, OSError, EntryNotFoundError, RuntimeError


@contextmanager
def _reserved() -> Iterator[None]:
    """Keep the library from logging its retries and from reporting to any other address."""
    from huggingface_hub import constants
    from huggingface_hub.utils.logging import get_verbosity, set_verbosity

    level, is_silent = get_verbosity(), constants.HF_HUB_DISABLE_TELEMETRY
    set_verbosity(logging.ERROR)
    constants.HF_HUB_DISABLE_TELEMETRY = True
    try:
        yield
    finally:
        set_verbosity(level)
        constants.HF_HUB_DISABLE_TELEMETRY = is_silent


def _is_never_ours(_: Path) -> bool:
    return False
