"""The generated pages say what the code says; `make docs` writes them."""

import pytest

from tools import docs


@pytest.mark.parametrize("name", ["settings.md", "cli.md"])
def test_the_page_is_up_to_date(name: str) -> None:
    assert docs.on_disk(name) == docs.pages()[name]


def test_every_command_and_setting_is_there_and_explained() -> None:
    from clozelm.cli.main import COMMANDS
    from clozelm.cli.settings import Settable, setting_rows

    pages = docs.pages()
    assert all(f"## cloze {command}" in pages["cli.md"] for command in COMMANDS)
    for row in (row for command in Settable for row in setting_rows(command)):
        assert f"`{row.name}`" in pages["settings.md"]
        assert row.meaning, f"{row.name} has no description"
