"""What every test shares: one thread per worker, no network, checked shapes, the path of the real data."""

import os
from collections.abc import Iterator
from pathlib import Path

import jaxtyping
import pytest

ROOT = Path(__file__).resolve().parents[1]

# Read by torch and tokenizers when they are first imported, here and in the commands a test starts.
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MPLBACKEND"] = "Agg"
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["MKL_NUM_THREADS"] = "1"

# The shapes in annotations are checked in every call of these rooms; outside tests they cost nothing.
jaxtyping.install_import_hook(
    [f"clozelm.{room}" for room in ("types", "nn", "objectives")], "beartype.beartype"
)


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
