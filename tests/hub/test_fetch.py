"""Downloading, from a hub of the test's own on this machine: what is taken, what is refused, what is left."""

import hashlib
import json
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from clozelm import hub
from clozelm.cli.main import main
from clozelm.errors import ModelError
from clozelm.hub.fetch import fetch, hint, is_hub_name
from tests import tiny_models
from tests.cli.conftest import Mistake, mistake  # noqa: F401
from tests.test_import import loaded_by

NAME = "someone/tiny-bert"
COMMIT, OLDER = "a1" * 20, "0b" * 20
SMALL = {"config.json": b'{"model_type": "bert"}', "tokenizer.json": b"{}", "README.md": b"# Tiny\n"}
NEVER = (
    *("tf_model.h5", "flax_model.msgpack", "onnx/model.onnx", "modeling_tiny.py", "training_args.bin"),
    *(".gitattributes", "optimizer.pt", "rust_model.ot", "model.fp16.safetensors", "1_Pooling/config.json"),
)


@dataclass
class Hub:
    """A server with the routes the library asks for, and the faults a test wants."""

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    revisions: dict[str, str] = field(default_factory=lambda: {"main": COMMIT, COMMIT: COMMIT, "v1": OLDER})
    error: tuple[int, str] | None = None
    message: str = ""
    file_error: tuple[int, str] | None = None
    cut: str = ""
    short: str = ""
    changed: str = ""
    html: bool = False
    asked: list[str] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)

    def downloads(self) -> set[str]:
        return {
            line.partition("/resolve/")[2] for line in self.asked if line.startswith("GET") and "/resolve/" in line
        }


class Handler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.hub.asked.append(f"{self.command} {path}")
        self.hub.tokens.add(self.headers.get("Authorization"))
        if found := re.fullmatch(r"/api/models/(.+)/revision/([^/]+)", path):
            self.listing(*found.groups())
        elif found := re.fullmatch(r"/(.+)/resolve/([0-9a-f]{40})/(.+)", path):
            self.file(found[3], found[2])
        else:
            self.answer(404, {}, b"")

    def listing(self, name: str, revision: str) -> None:
        if self.hub.html:
            return self.answer(200, {"Content-Type": "text/html"}, b"<html>Sign in to this network</html>")
        if self.hub.error:
            headers = {"X-Error-Code": self.hub.error[1], "X-Error-Message": self.hub.message}
            return self.answer(self.hub.error[0], headers, b"")
        if name != NAME:
            return self.answer(404, {"X-Error-Code": "RepoNotFound"}, b"")
        if revision not in self.hub.revisions:
            return self.answer(404, {"X-Error-Code": "RevisionNotFound"}, b"")
        siblings = [listed(file, content) for file, content in self.hub.files.items()]
        content = {"id": name, "sha": self.hub.revisions[revision], "siblings": siblings}
        return self.answer(200, {"Content-Type": "application/json"}, json.dumps(content).encode())

    def file(self, name: str, commit: str) -> None:
        if self.hub.file_error:
            return self.answer(self.hub.file_error[0], {"X-Error-Code": self.hub.file_error[1]}, b"")
        content = self.hub.files[name]
        if name == self.hub.changed:
            content = content[:-1] + b"?"
        if name == self.hub.short:
            content = content[:-1]
        etag = hashlib.sha256(content).hexdigest()
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": commit, "Content-Type": "application/octet-stream"}
        if is_large(name):
            headers |= {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(len(content))}
        return self.answer(200, headers, content, is_cut=name == self.hub.cut)

    def answer(self, status: int, headers: dict[str, str], body: bytes, *, is_cut: bool = False) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[: len(body) // 2] if is_cut else body)


def is_large(name: str) -> bool:
    return name.endswith((".safetensors", ".bin", ".h5", ".onnx"))


def listed(name: str, content: bytes) -> dict[str, object]:
    """One file as the Hub lists it: git's hash of what git holds, SHA-256 of what is kept beside it."""
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    file: dict[str, object] = {"rfilename": name, "size": len(content), "blobId": blob}
    if is_large(name):
        lfs = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest(), "pointerSize": 134}
        file |= {"lfs": lfs, "blobId": "f" * 40}
    return file


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub at work; any other host cannot be found, and its name fails the test."""
    from huggingface_hub import constants
    from huggingface_hub.utils import close_session

    strangers: list[object] = []
    find = socket.getaddrinfo

    def find_only_this(host: object, *arguments: object, **others: object) -> object:
        if host != "127.0.0.1":
            strangers.append(host)
            raise socket.gaierror(-2, "Name or service not known")
        return find(host, *arguments, **others)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", find_only_this)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
    made = Hub(files={**SMALL, "model.safetensors": b"weights" * 100})
    serving = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": made}))
    made.address = f"http://127.0.0.1:{serving.server_port}"
    thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    close_session()
    yield made
    close_session()
    serving.shutdown()
    serving.server_close()
    thread.join()
    assert strangers in ([], ["nowhere.invalid"])


def refused(server: Hub, to: Path, *, name: str = NAME, revision: str = "main", endpoint: str = "") -> str:
    """What is said, in one line, and that nothing is left."""
    before = sorted(to.parent.iterdir())
    with pytest.raises(ModelError) as caught:
        fetch(name, to, revision=revision, endpoint=endpoint or server.address)
    assert "\n" not in str(caught.value)
    assert sorted(to.parent.iterdir()) == before
    return str(caught.value)


def test_a_model_comes_as_it_was(server: Hub, tmp_path: Path) -> None:
    model = tiny_models.tiny_model("bert")
    hub.save(model, tiny_models.wordpiece(), tmp_path / "original", family="bert")
    server.files = {path.name: path.read_bytes() for path in (tmp_path / "original").iterdir()}
    fetched = fetch(NAME, tmp_path / "copy", endpoint=server.address)
    assert (fetched.path, fetched.name, fetched.revision) == (tmp_path / "copy", NAME, COMMIT)
    assert {file.name for file in fetched.files} == set(server.files)
    for name, content in server.files.items():
        assert (tmp_path / "copy" / name).read_bytes() == content
    assert {path.name for path in (tmp_path / "copy").iterdir()} == {*server.files, "source.json"}
    loaded = hub.load(tmp_path / "copy")
    assert all((loaded.model.state_dict()[name] == value).all() for name, value in model.state_dict().items())


def test_the_source_is_written_down(server: Hub, tmp_path: Path) -> None:
    fetch(NAME, tmp_path / "a", revision="v1", endpoint=f"{server.address}/")
    fetch(NAME, tmp_path / "b", revision="v1", endpoint=server.address)
    source = json.loads((tmp_path / "a" / "source.json").read_text(encoding="utf-8"))
    assert source["name"] == NAME
    assert (source["revision"], source["commit"]) == ("v1", OLDER)
    assert source["endpoint"] == server.address
    assert source["files"] == {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in server.files.items()
    }
    assert (tmp_path / "a" / "source.json").read_bytes() == (tmp_path / "b" / "source.json").read_bytes()
    assert {line.split("/resolve/")[1].split("/")[0] for line in server.asked if "/resolve/" in line} == {OLDER}


@pytest.mark.parametrize(
    ("offered", "taken"),
    [
        (("model.safetensors", "pytorch_model.bin"), {"model.safetensors"}),
        (("pytorch_model.bin",), {"pytorch_model.bin"}),
        (
            ("model.safetensors.index.json", "part-1.safetensors", "part-2.safetensors", "pytorch_model.bin"),
            {"model.safetensors.index.json", "part-1.safetensors", "part-2.safetensors"},
        ),
        (
            ("pytorch_model.bin.index.json", "part-1.bin", "part-2.bin", "part-3.bin"),
            {"pytorch_model.bin.index.json", "part-1.bin", "part-2.bin"},
        ),
    ],
)
def test_only_what_a_model_needs(offered: tuple[str, ...], taken: set[str], server: Hub, tmp_path: Path) -> None:
    suffix = next(name.rpartition(".")[2] for name in offered if not name.endswith(".json"))
    index = {"weight_map": {"a": f"part-1.{suffix}", "b": f"part-2.{suffix}", "c": f"part-1.{suffix}"}}
    contents = {name: json.dumps(index).encode() if name.endswith(".json") else name.encode() for name in offered}
    others = {"vocab.txt": b"[PAD]\n", "spiece.model": b"\0", "LICENSE": b"Apache", **dict.fromkeys(NEVER, b"no")}
    server.files = {**SMALL, **others, **contents}
    fetched = fetch(NAME, tmp_path / "model", endpoint=server.address)
    expected = {*SMALL, "vocab.txt", "spiece.model", "LICENSE", *taken}
    assert {file.name for file in fetched.files} == expected
    assert {path.name for path in (tmp_path / "model").iterdir()} == {*expected, "source.json"}
    assert server.downloads() == {f"{COMMIT}/{name}" for name in expected}


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_a_repository_without_a_model(missing: str, server: Hub, tmp_path: Path) -> None:
    del server.files[missing]
    server.files["tf_model.h5"] = b"weights"
    assert f"{NAME} has no {missing}" in refused(server, tmp_path / "model")
    assert not server.downloads(), "said before anything is downloaded"


@pytest.mark.parametrize(
    "content", [b"{", b"{}", b'{"weight_map": {"a": "../secret"}}', b'{"weight_map": {"a": "b"}}']
)
def test_a_damaged_index(content: bytes, server: Hub, tmp_path: Path) -> None:
    del server.files["model.safetensors"]
    server.files["model.safetensors.index.json"] = content
    assert "model.safetensors.index.json of the model" in refused(server, tmp_path / "model")


@pytest.mark.parametrize(
    ("error", "file_error", "said"),
    [
        ((401, ""), None, f"There is no model '{NAME}' at http"),
        ((404, ""), None, f"There is no model '{NAME}' at http"),
        ((401, "GatedRepo"), None, f"{NAME} is gated: accept its terms at http"),
        ((403, ""), None, f"refuses access to {NAME} (HTTP 403): set HF_TOKEN"),
        ((500, ""), None, f"answered HTTP 500 for {NAME}: try again later."),
        (None, (401, "GatedRepo"), f"{NAME} is gated: accept its terms at http"),
        (None, (403, "GatedRepo"), f"{NAME} is gated: accept its terms at http"),
        (None, (401, ""), f"refuses access to {NAME} (HTTP 401): set HF_TOKEN"),
        (None, (403, ""), f"refuses access to {NAME} (HTTP 403): set HF_TOKEN"),
        (None, (404, "EntryNotFound"), "answered HTTP 404 for README.md"),
        (None, (503, ""), "answered HTTP 503 for README.md: try again later."),
    ],
)
def test_refusals(
    error: tuple[int, str] | None, file_error: tuple[int, str] | None, said: str, server: Hub, tmp_path: Path
) -> None:
    server.error, server.file_error = error, file_error
    assert said in refused(server, tmp_path / "model")


def test_a_token_that_has_expired(server: Hub, tmp_path: Path) -> None:
    server.error, server.message = (401, ""), "Invalid credentials in Authorization header"
    assert "does not accept the token: renew HF_TOKEN" in refused(server, tmp_path / "model")


def test_names_that_are_not_there(server: Hub, tmp_path: Path) -> None:
    to = tmp_path / "model"
    assert "There is no model 'someone/else'" in refused(server, to, name="someone/else")
    assert f"{NAME} has no revision 'v9': name a branch" in refused(server, to, revision="v9")
    assert "cannot be reached" in refused(server, to, endpoint="http://nowhere.invalid")
    assert "cannot be reached" in refused(server, to, endpoint="http://127.0.0.1:9")
    assert "'localhost:80' is no address of a hub" in refused(server, to, endpoint="localhost:80")
    for name in ("a/b/c", "../up", ".hidden", "a--b", "a b", "", "/root", "a/", "model.git/..", "café"):
        assert "is no name of a model" in refused(server, to, name=name)
    assert not server.downloads()


def test_a_network_that_asks_to_sign_in(server: Hub, tmp_path: Path) -> None:
    server.html = True
    assert "does not answer as a Hugging Face Hub does" in refused(server, tmp_path / "model")


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
@pytest.mark.parametrize("fault", ["cut", "short", "changed"])
def test_a_download_cut_short(fault: str, file: str, server: Hub, tmp_path: Path) -> None:
    setattr(server, fault, file)
    said = refused(server, tmp_path / "model")
    assert "cut short" in said
    assert file in said
    assert "Nothing was kept; try again." in said


def test_offline(server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set" in refused(server, tmp_path / "model")
    assert server.asked == []


def test_a_directory_that_is_there(server: Hub, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    fetch(NAME, tmp_path / "model", endpoint=server.address)
    asked = len(server.asked)
    assert "is not empty" in refused(server, tmp_path / "model")
    assert "is a file" in refused(server, tmp_path / "model" / "config.json")
    assert len(server.asked) == asked, "said before anything is asked"


def test_a_full_disk(server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("huggingface_hub.file_download.http_get", full)
    assert "the disk is full" in refused(server, tmp_path / "model")


def test_a_fetched_model_is_never_replaced_by_a_saved_one(server: Hub, tmp_path: Path) -> None:
    fetch(NAME, tmp_path / "model", endpoint=server.address)
    with pytest.raises(ModelError, match="not empty and holds something else"):
        hub.save(tiny_models.tiny_model("bert"), tiny_models.wordpiece(), tmp_path / "model", family="bert")
    assert (tmp_path / "model" / "source.json").is_file()


def test_saved_tokens_stay_from_mirrors(server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_saved")
    fetch(NAME, tmp_path / "a", endpoint=server.address)
    assert server.tokens == {None}
    fetch(NAME, tmp_path / "b", endpoint=server.address, token="hf_given")
    assert server.tokens == {None, "Bearer hf_given"}
    server.tokens.clear()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.address)
    template = f"{server.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    fetch(NAME, tmp_path / "c")
    assert server.tokens == {"Bearer hf_saved"}


def test_the_library_is_left_as_it_was(server: Hub, tmp_path: Path) -> None:
    from huggingface_hub import constants
    from huggingface_hub.utils.logging import get_verbosity

    before = get_verbosity(), constants.HF_HUB_DISABLE_TELEMETRY
    fetch(NAME, tmp_path / "model", endpoint=server.address)
    assert (get_verbosity(), constants.HF_HUB_DISABLE_TELEMETRY) == before


def test_the_command(server: Hub, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["fetch", NAME, "--to", str(tmp_path / "model"), "--endpoint", server.address])
    printed = capfd.readouterr()
    assert not caught.value.code, printed.err
    assert printed.err == ""
    first, second = printed.out.splitlines()
    assert first == f"{tmp_path / 'model'}: {NAME} at commit {COMMIT}, 4 files, 0.0 MB"
    assert second == f"Try:   cloze inspect {tmp_path / 'model'}"


def test_mistakes_of_the_command(server: Hub, tmp_path: Path, mistake: Mistake) -> None:  # noqa: F811
    common = ("--to", tmp_path / "model", "--endpoint", server.address)
    assert "There is no model 'other'" in mistake("fetch", "other", *common)
    assert "has no revision 'v9'" in mistake("fetch", NAME, *common, "--revision", "v9")
    assert "Missing option" in mistake("fetch", NAME)
    server.cut = "config.json"
    assert "cut short" in mistake("fetch", NAME, *common)


def test_a_missing_directory_may_be_a_name(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mistake: Mistake,  # noqa: F811
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("bert-base-uncased", "google-bert/bert-base-uncased"):
        assert f"`cloze fetch {name} --to DIR`" in mistake("fill", name, "a [MASK]")
        assert is_hub_name(name)
    (tmp_path / "runs").mkdir()
    (tmp_path / "text.txt").touch()
    for name in ("runs/first", "text.txt", "a/b/c", str(tmp_path / "nowhere"), "../elsewhere", ".hidden"):
        assert "cloze fetch" not in mistake("fill", name, "a [MASK]")
        assert hint(Path(name)) == ""


def test_nothing_else_loads_what_downloads() -> None:
    assert "huggingface_hub" not in loaded_by("import clozelm.flows.model, clozelm.hub.fetch, clozelm.cli.fetch")
