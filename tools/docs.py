"""Write the generated pages of docs/reference from the code: settings.md and cli.md.

python tools/docs.py            write them
python tools/docs.py --check    exit 1, naming them, when a page on disk is not what the code says
"""

import inspect
import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import typer

from clozelm.cli.main import app
from clozelm.cli.settings import Settable, setting_rows
from clozelm.settings import SettingRow

REFERENCE = Path(__file__).resolve().parents[1] / "docs" / "reference"
NOTICE = "<!-- Written by `make docs` from the code; edit the code instead. -->"

KINDS = {str: "text", int: "integer", float: "number", bool: "flag", Path: "path"}


def pages() -> dict[str, str]:
    """The generated pages by file name."""
    return {"settings.md": settings_page(), "cli.md": cli_page()}


def settings_page() -> str:
    """Every setting of every command that takes settings, a table per section."""
    lines = ["# Settings", "", NOTICE, ""]
    lines += ["In a recipe (TOML) a section is a table; on the command line it is `--set section.key=value`."]
    for command in Settable:
        lines += ["", f"## cloze {command}"]
        for section, rows in sections(setting_rows(command)):
            lines += ["", f"### {section}", ""] if section else [""]
            lines += table(("setting", "type", "default", "meaning", "source"), map(setting_cells, rows))
    return "\n".join(lines) + "\n"


def sections(rows: list[SettingRow]) -> Iterator[tuple[str, list[SettingRow]]]:
    """Group rows by everything before the last dot, in order of first appearance."""
    groups: dict[str, list[SettingRow]] = {}
    for row in rows:
        groups.setdefault(row.name.rpartition(".")[0], []).append(row)
    yield from groups.items()


def setting_cells(row: SettingRow) -> tuple[str, ...]:
    """The cells of one setting."""
    return f"`{row.name}`", row.type, f"`{row.default}`", row.meaning, row.source


def cli_page() -> str:
    """Every command with its arguments and options, from typer's own tree."""
    group = typer.main.get_group(app)
    context: Any = group.context_class(group, info_name="cloze")
    lines = ["# The command line", "", NOTICE, ""]
    lines += ["Exit codes: 0 done; 2 a mistake in what was asked, said in one line; 130 interrupted."]
    for name, command in commands(group, context, "cloze"):
        lines += ["", f"## {name}", "", (command.help or "").strip(), "", usage(name, command), ""]
        kinds = get_type_hints(inspect.unwrap(command.callback))
        shown = [each for each in command.params if each.name in kinds]  # all but --help
        rows = [parameter_cells(each, kinds[each.name]) for each in shown]
        lines += table(("parameter", "type", "default", "meaning"), rows)
    return "\n".join(lines) + "\n"


def commands(group: Any, context: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """Walk the commands that do something, groups flattened into full names."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if hasattr(command, "list_commands"):
            inner = command.context_class(command, info_name=name, parent=context)
            yield from commands(command, inner, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}", command


def usage(name: str, command: Any) -> str:
    """The command as it is typed: its arguments in order, options left to the table."""
    arguments = [argument_name(each) for each in command.params if each.param_type_name == "argument"]
    return f"`{' '.join([name, *arguments, '[OPTIONS]'])}`"


def argument_name(argument: Any) -> str:
    """An argument as in a usage line: in brackets where it may be left out, with dots where it repeats."""
    shown = (argument.metavar or argument.name).upper() + ("..." if argument.nargs == -1 else "")
    return str(shown if argument.required else f"[{shown}]")


def parameter_cells(parameter: Any, annotation: Any) -> tuple[str, ...]:
    """The cells of one parameter."""
    is_argument = parameter.param_type_name == "argument"
    opts = [*parameter.opts, *parameter.secondary_opts]
    names = argument_name(parameter) if is_argument else ", ".join(opts)
    default = "required" if parameter.required else shown_default(parameter.default)
    return f"`{names}`", kind_of(annotation), default, parameter.help or ""


def kind_of(annotation: Any) -> str:
    """What a value may be, in words: choices spelt out, lists as what is repeated."""
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return " or ".join(str(each.value) for each in annotation)
    if get_origin(annotation) is Literal:
        return " or ".join(map(str, get_args(annotation)))
    if get_origin(annotation) is list:
        return f"{kind_of(get_args(annotation)[0])}, repeatable"
    if get_origin(annotation) in (Union, UnionType):
        return " or ".join(kind_of(each) for each in get_args(annotation) if each is not NoneType)
    return KINDS.get(annotation) or str(getattr(annotation, "__name__", annotation))


def shown_default(value: Any) -> str:
    """A default as it would be typed; empty where there is none."""
    if value is None or callable(value) or value in ((), []):
        return ""
    shown = str(value).lower() if isinstance(value, bool) else getattr(value, "value", value)
    return f"`{shown}`"


def table(head: tuple[str, ...], rows: Any) -> list[str]:
    """A Markdown table; bars inside cells are escaped."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for row in rows:
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|').replace(chr(10), ' ') for cell in row)} |")
    return lines


def main() -> None:
    """Write the pages, or check them."""
    stale = [name for name, text in pages().items() if on_disk(name) != text]
    if "--check" in sys.argv[1:]:
        sys.exit(f"out of date, run `make docs`: {', '.join(stale)}" if stale else 0)
    REFERENCE.mkdir(parents=True, exist_ok=True)
    for name in stale:
        (REFERENCE / name).write_text(pages()[name], encoding="utf-8")
        print(f"wrote docs/reference/{name}")


def on_disk(name: str) -> str | None:
    """A page as it is on disk; None where there is none."""
    path = REFERENCE / name
    return path.read_text(encoding="utf-8") if path.exists() else None


if __name__ == "__main__":
    main()
