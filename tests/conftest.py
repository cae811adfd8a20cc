"""What every test shares: one thread per worker, no network, checked shapes, the path of the real data."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import jaxtyping
import pytest

if TYPE_CHECKING:
    from clozelm.text.tokenizer import Tokenizer

# The same examples in every run; HYPOTHESIS_PROFILE=explore looks for new ones.
hypothesis.settings.register_profile("steady", derandomize=True, deadline=None)  # a busy machine is no mistake
hypothesis.settings.register_profile("explore")
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))

ROOT = Path(__file__).resolve().parents[1]

# Read by torch and tokenizers when they are first imported, here and in the commands a test starts.
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MPLBACKEND"] = "Agg"
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["MKL_NUM_THREADS"] = "1"

# The shapes in annotations are checked in every call of these rooms; outside tests they cost nothing.
jaxtyping.install_import_hook([f"clozelm.{room}" for room in ("types", "nn", "objectives")], "beartype.beartype")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Seed PyTorch before every test and the fixtures it makes: none depends on what its worker ran before."""
    import torch  # here: it reads the settings above

    torch.manual_seed(0)


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's folder."""
    return ROOT


@pytest.fixture
def unchecked_shapes() -> Iterator[None]:
    """Turn the shape checks off for one test: `torch.compile` cannot see through them."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real corpora (`data/`) and checkpoints (`checkpoints/`); skips where there is none."""
    path = Path(os.environ.get("CLOZE_TEST_DATA", ROOT.parent / "shared")).resolve()
    if not (path / "data").is_dir():
        pytest.skip(f"no real data at {path}: set CLOZE_TEST_DATA to the folder that holds data/")
    return path


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """Real abstracts, a few."""
    from tests import tiny_runs

    return tiny_runs.abstracts(50)


@pytest.fixture(scope="session")
def tiny_tokenizer(texts: list[str]) -> "Tokenizer":
    """A WordPiece tokenizer of 320 pieces, learned from those abstracts."""
    from tests import tiny_runs

    return tiny_runs.tokenizer(texts)


@pytest.fixture(scope="session")
def tiny_store(texts: list[str], tiny_tokenizer: "Tokenizer", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The token store of those abstracts, some held out; do not write to it."""
    from tests import tiny_runs

    return tiny_runs.make_store(tmp_path_factory.mktemp("store"), texts, tiny_tokenizer)


@pytest.fixture
def known_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not measure the machine's matrix products, which takes seconds."""
    monkeypatch.setattr("clozelm.train.run.matrix_rate", lambda *_, **__: 1e11)
