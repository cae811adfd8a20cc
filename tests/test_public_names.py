"""The public names, pinned: adding one is a decision, removing one breaks users."""

import ast
import inspect
from pathlib import Path

import pytest

import clozelm

NAMES = {
    "Candidate",
    "ClozeError",
    "Model",
    "Predictor",
    "PretrainSettings",
    "StepReport",
    "TokenStore",
    "Tokenizer",
    "__version__",
    "adapt",
    "convert",
    "evaluate",
    "fetch",
    "finetune",
    "inspect",
    "load",
    "prepare",
    "pretrain",
    "recipe",
    "train_tokenizer",
}


def test_the_names_are_these() -> None:
    assert set(clozelm.__all__) == NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_each_name_loads_and_is_documented(name: str) -> None:
    value = getattr(clozelm, name)
    assert name in dir(clozelm)
    assert isinstance(value, str) or inspect.getdoc(value)


def test_type_checkers_and_the_interpreter_find_the_same() -> None:
    tree = ast.parse(Path(str(clozelm.__file__)).read_text(encoding="utf-8"))
    seen = {
        alias.asname or alias.name: f"{node.module}:{alias.name}"
        for branch in tree.body
        if isinstance(branch, ast.If)
        for node in branch.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == clozelm._HOMES
    assert seen.keys() | {"__version__"} == NAMES


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        clozelm.lode  # noqa: B018
