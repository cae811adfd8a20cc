"""The `cloze` command: find the command's file, run it, and say a user's mistake in one line."""

import errno
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, NoReturn, get_args, get_type_hints

import typer
from typer.core import TyperGroup

from clozelm import __version__
from clozelm.errors import ClozeError
from clozelm.process import tune_process
from clozelm.text.valid import shortened

# Every command in the order of use, and the file of this folder it lives in (with _ for -): a function of the same
# name, or an `app` that groups several. Commands load when they are asked for, or listed by --help.
COMMANDS = (
    "demo",
    "tokenizer",
    "prepare",
    "masks",
    "pretrain",
    "adapt",
    "compare",
    "finetune",
    "predict",
    "evaluate",
    "errors",
    "doctor",
    "fill",
    "explain",
    "trace",
    "score",
    "minimal-pairs",
    "generate",
    "inspect",
    "convert",
    "fetch",
    "settings",
)


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_PLACES = (
    errno.ENAMETOOLONG,
    errno.EACCES,
    errno.EPERM,
    errno.ELOOP,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENOENT,
    errno.EROFS,
    errno.EIO,
)

# Newer versions of typer carry a click of their own, which has no public name.
_UsageError: type[Exception] = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "UsageError")


class LazyGroup(TyperGroup):
    """A group whose commands are imported on demand, so that no command pays for another."""

    def list_commands(self, ctx: Any) -> list[str]:
        """List the commands in the order of use."""
        return [name for name in COMMANDS if find_spec(_module(name)) is not None]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import one command; None for a name that is not one, which typer reports."""
        if cmd_name not in self.list_commands(ctx):
            return None
        module = import_module(_module(cmd_name))
        if hasattr(module, "app"):
            group = typer.main.get_group(module.app)
            group.name = cmd_name
            for command in group.commands.values():
                _refuse_empty_names(command)
            return group
        single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        single.command(cmd_name)(getattr(module, cmd_name.replace("-", "_")))
        command = typer.main.get_command(single)
        _refuse_empty_names(command)
        return command


def _refuse_empty_names(command: Any) -> None:
    """Refuse an empty name wherever a command takes a path: ``Path("")`` is the current directory."""
    hints = get_type_hints(inspect.unwrap(command.callback))
    for parameter in command.params:
        hint = hints.get(parameter.name)
        if Path in (hint, *get_args(hint)):
            parameter.process_value = partial(_processed, parameter, parameter.process_value)


def _processed(parameter: Any, process: Callable[[Any, Any], Any], context: Any, value: Any) -> Any:
    if value == "":
        what = parameter.opts[0] if parameter.opts[0].startswith("-") else parameter.name.upper()
        raise ClozeError(f"An empty name was given for {what}: name a file or directory.")
    return process(context, value)


def _module(command: str) -> str:
    return f"clozelm.cli.{command.replace('-', '_')}"


app = typer.Typer(cls=LazyGroup, add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 done, 2 a user's mistake, 130 interrupted; a traceback is a bug."""
    tune_process()
    if sys.stdout is None:  # closed, as by `cloze ... >&-`
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 the process's own
    try:
        status: Any = app(args=arguments, prog_name="cloze", standalone_mode=False)
    except ClozeError as error:
        status = _say(str(error))
    except _UsageError as error:
        status = _say(_usage(error))
    except OSError as error:
        if error.errno in _PLACES and error.filename is not None:
            status = _say(f"{shortened(str(error.filename))!r} cannot be used: {error.strerror}.")
        elif error.errno in _FULL and error.filename is None:
            status = _full(error)
        else:
            raise
    except KeyboardInterrupt:
        status = 130
    except SystemExit as exit_:
        status = exit_.code
    sys.exit(_flush(status))


def _say(mistake: str) -> int:
    """Print a mistake on standard error, if there is something left to say, and return its exit status."""
    if mistake:
        print(f"cloze: {mistake}", file=sys.stderr)  # noqa: T201
    return 2


def _usage(error: Any) -> str:
    """Return a mistake in the use of a command in one line; nothing when its help was shown instead."""
    said = " ".join(error.format_message().split()).rstrip(".")
    where = error.ctx.command_path if error.ctx else "cloze"
    return f"{said}. See `{where} --help`." if said else ""


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Masked language models, from raw text to a filled mask."""


def _flush(status: Any) -> Any:
    """Flush what was printed; a reader that has gone away (`cloze ... | head`) is no error of ours."""
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError) and not status:
            return _full(error)
    return status


def _full(error: OSError) -> int:
    return _say(f"Standard output could not be written: {error.strerror}.")
