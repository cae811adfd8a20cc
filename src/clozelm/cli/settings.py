"""`cloze settings`: every setting of a command, from the classes that declare them."""

import sys
from enum import StrEnum
from importlib import import_module
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pydantic import BaseModel

    from clozelm.settings import SettingRow


class Settable(StrEnum):
    """The commands that take settings."""

    pretrain = "pretrain"
    prepare = "prepare"
    compare = "compare"
    finetune = "finetune"


_HOMES = {
    Settable.pretrain: ("clozelm.train.settings", "PretrainSettings"),
    Settable.prepare: ("clozelm.data.prepare", "PrepareSettings"),
    Settable.finetune: ("clozelm.train.finetune_settings", "FinetuneSettings"),
    Settable.compare: ("clozelm.flows.compare_settings", "ComparisonSettings"),
}


def settings(
    command: Annotated[Settable, typer.Argument(help="The command whose settings to show.")],
    section: Annotated[str | None, typer.Argument(help="Only this section, such as masking.")] = None,
) -> None:
    """Show every setting: type, default, meaning and where the default is from."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"settings of cloze {command}", title_justify="left", show_lines=False)
    for column in ("setting", "type", "default", "meaning", "source"):
        table.add_column(column, overflow="fold")
    for row in setting_rows(command, section):
        cells = (row.name, row.type, row.default, row.meaning, row.source)
        table.add_row(*(Text(cell) for cell in cells))
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def settings_class(command: Settable) -> "type[BaseModel]":
    """Import the settings class of a command."""
    module, name = _HOMES[command]
    found: type[BaseModel] = getattr(import_module(module), name)
    return found


def setting_rows(command: Settable, section: str | None = None) -> "list[SettingRow]":
    """List the settings of a command, or of one section of it; an unknown section is a user's mistake."""
    from clozelm.errors import SettingsError
    from clozelm.settings import describe

    rows = describe(settings_class(command))
    if section is None:
        return rows
    chosen = [row for row in rows if row.name == section or row.name.startswith(f"{section}.")]
    if not chosen:
        names = ", ".join(dict.fromkeys(row.name.partition(".")[0] for row in rows))
        raise SettingsError(f"The settings of {command} have no {section!r}; they have {names}.")
    return chosen
