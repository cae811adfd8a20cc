"""The code blocks of a Markdown page, and how each kind is run.

All blocks of a page run in order, in one folder that holds `corpus.txt`, `corpus.jsonl` and the project's
`recipes/`:

- `python`: executed, all of a page in one namespace;
- `console`: lines that start with `$ ` are commands, the rest is their output and not compared;
- `sh`: every line is a command;
- `toml`: written to the file that its first line names (`# my.toml`);
- anything else (`text`, `json`, ...) is only shown.

A block behind `<!-- not run: why -->` is left alone. Of the commands, those of `cloze` run as written, except
that budgets of training are made small, and so does `make demo`; what sets the machine up does not run.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BLOCK = re.compile(
    r"^(?P<skip><!-- not run: [^\n]+-->\n+)?```(?P<language>\w+)[^\n]*\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
SETS_UP = re.compile(r"^(git|cd|make(?! demo)|pip|python3? -m (venv|pip)|source)\b")
BUDGET = re.compile(r"--(minutes|steps|tokens)[ =]\S+")


@dataclass(frozen=True)
class Block:
    """One block of code with the line its code starts in."""

    language: str
    code: str
    line: int


def blocks(text: str) -> list[Block]:
    """The blocks of a page that are to run, in order."""
    return [
        Block(found["language"], found["code"], text[: found.start("code")].count("\n") + 1)
        for found in BLOCK.finditer(text)
        if not found["skip"]
    ]


def commands(block: Block) -> Iterator[str]:
    """The commands of a `console` or `sh` block as they are run; continued lines are joined."""
    for line in block.code.replace("\\\n", " ").splitlines():
        if block.language == "console" and not line.startswith("$ "):
            continue
        command = line.removeprefix("$ ").strip()
        if command and not command.startswith("#") and not SETS_UP.match(command):
            yield small(command)


def small(command: str) -> str:
    """The same command with a budget of seconds, where it trains."""
    if command.startswith("make demo"):
        return "cloze demo --out runs/demo --minutes 0.2"
    if command.startswith("cloze demo"):
        return BUDGET.sub("", command) + " --minutes 0.2"
    if command.startswith("cloze pretrain") and "--dry-run" not in command:
        return BUDGET.sub("", command) + " --steps 4"
    return command


def run(block: Block, page: Path, folder: Path, namespace: dict[str, Any]) -> None:
    """Run one block in the folder; a failure names page and line."""
    if block.language == "python":
        exec(compile("\n" * (block.line - 1) + block.code, str(page), "exec"), namespace)
    elif block.language == "toml":
        (folder / block.code.splitlines()[0].lstrip("# ")).write_text(block.code, encoding="utf-8")
    elif block.language in ("console", "sh"):
        for command in commands(block):
            shell(command, f"{page.name}:{block.line}", folder)


def shell(command: str, where: str, folder: Path) -> None:
    """Run one command with this environment's programs first on the path."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, f"{where}: {command}\n{done.stdout[-1000:]}\n{done.stderr[-2000:]}"
