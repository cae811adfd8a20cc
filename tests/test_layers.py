"""Imports point strictly downwards (docs/explanation/architecture.md), those inside functions included."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "clozelm"

LAYERS = (
    {"errors", "settings", "types", "rng", "vocab", "hashes", "process", "shipped"},
    {"text", "data", "nn", "masking", "samples"},
    {"objectives", "families"},
    {"tasks", "hub"},
    {"infer", "export"},
    {"train", "explain"},
    {"report"},
    {"flows"},
    {"cli", "serve"},
    {"__main__"},
)
SIDEWAYS = {("data", "text"), ("hub", "tasks"), ("cli", "serve")}
ROOMS = {room: layer for layer, rooms in enumerate(LAYERS) for room in rooms}
TORCH_ROOMS = {"types", "nn", "objectives", "families", "tasks", "hub", "infer", "export", "train", "explain"}
NEVER = {"transformers", "accelerate", "datasets", "pytest"}
PROBE_ROOMS = {"flows", "tasks"}


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem != "__init__")


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[tuple[str, int]]:
    """Every imported module with its line, `from clozelm import x` as `clozelm.x`, relative ones resolved."""
    package = ("clozelm", *path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            names = [f"{module}.{alias.name}" for alias in node.names] if module == "clozelm" else [module]
            yield from ((name, node.lineno) for name in names)


def violations(path: Path) -> Iterator[str]:
    room = room_of(path)
    for name, line in imported(path):
        top, *rest = name.split(".")
        where = f"{path.relative_to(PACKAGE)}:{line} imports {name}"
        is_elsewhere = (top == "torch" and room not in TORCH_ROOMS) or (
            top == "sklearn" and room not in PROBE_ROOMS
        )
        if top in NEVER or is_elsewhere:
            yield f"{where}, which {room} must not know"
        if top == "clozelm" and rest and rest[0] in ROOMS and rest[0] != room:
            is_below = ROOMS[rest[0]] < ROOMS[room]
            if not is_below and rest[0] != "errors" and (room, rest[0]) not in SIDEWAYS:
                yield f"{where}: layer {ROOMS[room]} may not import layer {ROOMS[rest[0]]}"


def test_every_room_has_a_layer() -> None:
    assert {room_of(path) for path in modules()} <= set(ROOMS)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downwards(path: Path) -> None:
    assert not list(violations(path))


def test_a_violation_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    bad = tmp_path / "nn" / "bad.py"
    bad.parent.mkdir()
    bad.write_text("def f():\n    from clozelm import train\n    import transformers\n    from ..hub import load\n")
    assert len(list(violations(bad))) == 3
