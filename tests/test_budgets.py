"""Budgets of size: raising one is a one-line change here, justified in its commit."""

import ast
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_CONSTRUCTOR_PARAMETERS = 9
MAX_ENCODER_FIELDS = 24
MAX_README_LINES = 150

SOURCES = sorted((ROOT / "src").rglob("*.py"))
EVERYTHING = [
    *SOURCES,
    *sorted(path for part in ("tests", "bench", "tools") for path in (ROOT / part).rglob("*.py")),
]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def is_record(node: ast.ClassDef) -> bool:
    """Settings and configurations are lists of named values, and so is a report: what was measured."""
    bases = {base.id for base in node.bases if isinstance(base, ast.Name)}
    return node.name.endswith(("Settings", "Config", "Report")) or "BaseModel" in bases


def constructor_parameters(node: ast.ClassDef) -> int:
    """Count what a caller may pass: of `__init__`, or of the constructor a dataclass is given."""
    for member in node.body:
        if isinstance(member, ast.FunctionDef) and member.name == "__init__":
            arguments = member.args
            return len(arguments.posonlyargs + arguments.args + arguments.kwonlyargs) - 1
    if any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
        return sum(
            isinstance(member, ast.AnnAssign) and "ClassVar" not in ast.unparse(member) for member in node.body
        )
    return 0


@pytest.mark.parametrize("path", EVERYTHING, ids=name_of)
def test_files_and_functions_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_FILE_LINES
    long = {each.name: (each.end_lineno or each.lineno) - each.lineno + 1 for each in functions(path)}
    assert {name: lines for name, lines in long.items() if lines > MAX_FUNCTION_LINES} == {}


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_constructors_take_few_parameters(path: Path) -> None:
    classes = [
        node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.ClassDef)
    ]
    counts = {node.name: constructor_parameters(node) for node in classes if not is_record(node)}
    assert {name: count for name, count in counts.items() if count > MAX_CONSTRUCTOR_PARAMETERS} == {}


def test_the_encoder_config_stays_small() -> None:
    from clozelm.nn.config import EncoderConfig

    assert len(dataclasses.fields(EncoderConfig)) <= MAX_ENCODER_FIELDS


def test_the_readme_stays_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= MAX_README_LINES
