"""The code in README and docs works as it is written."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests import tiny_runs
from tests.docs import blocks as doc_blocks

ROOT = Path(__file__).resolve().parents[2]
NOT_RUN = {"LOG.md", "decisions"}  # records of what was done once


def pages() -> list[Path]:
    found = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [page for page in found if NOT_RUN.isdisjoint(page.relative_to(ROOT).parts)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder a page's blocks run in; see blocks.py for what it holds."""
    texts = [" ".join(text.split()) for text in tiny_runs.abstracts(300)]
    records = [json.dumps({"text": text}) for text in texts]
    for name, lines in (("corpus.txt", texts), ("corpus.jsonl", records)):
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    if (ROOT / "recipes").is_dir():
        (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_the_blocks_of_a_page_run(page: Path, request: pytest.FixtureRequest) -> None:
    found = doc_blocks.blocks(page.read_text(encoding="utf-8"))
    if not found:
        return
    folder = request.getfixturevalue("folder")
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in found:
        doc_blocks.run(block, page, folder, namespace)


def test_blocks_are_found_and_shortened() -> None:
    text = (
        "a\n```console\n$ cloze pretrain r.toml --minutes 30 \\\n    --out a\nloss 3.1\n$ make test\n"
        "$ make demo\n```\n"
        "<!-- not run: needs a GPU -->\n```sh\nrm -rf /\n```\n```toml\n# my.toml\na = 1\n```\n"
    )
    shown, recipe = doc_blocks.blocks(text)
    pretrain, demo = doc_blocks.commands(shown)
    assert " ".join(pretrain.split()) == "cloze pretrain r.toml --out a --steps 4"
    assert demo == "cloze demo --out runs/demo --minutes 0.2"
    assert (recipe.language, recipe.line) == ("toml", 14)


def test_a_block_that_fails_names_its_page(tmp_path: Path) -> None:
    block = doc_blocks.Block("sh", "false\n", 7)
    with pytest.raises(AssertionError, match=r"page\.md:7: false"):
        doc_blocks.run(block, Path("page.md"), tmp_path, {})
