"""The command line: one program, one file per command.

A command's module is imported when the command is carried out, as most import torch. Before that
the command line is checked with what the catalogue holds. The help of the program shows the first
lines of the modules' docstrings, which are the commands' own help.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import io
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from onefold._version import __version__
from onefold.cli.console import error, forget, say
from onefold.cli.interrupts import kept_interrupts
from onefold.cli.logs import Level, end, log_at
from onefold.errors import OnefoldError, SettingError, nearest
from onefold.usage import WrongUsage, sentence

ANYWHERE = ("--debug", "--details")  # of the program, and taken behind a command, too
SEE = "see `onefold --help`."
# The commands whose options make a document; the catalogue knows these.
DOCUMENTS = ("inspect", "compare", "align", "merge", "prune", "soft", "subspace", "persist", "eval")
COMMANDS = ("demo", *DOCUMENTS, "report", "methods")


class Commands(TyperGroup):
    """The commands by name; each is imported when it is run, and summarised without."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = {name: TyperCommand(name, help=summary(name)) for name in COMMANDS}

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[Any, Any, list[str]]:
        """The command that `args` begin with, built from its documents, and what follows.

        What the catalogue can tell is wrong is told before that. Files under --use are run first,
        as they may register methods that have options; the catalogue does not know those.
        """
        try:
            os.getcwd()
        except OSError:
            raise SettingError(
                "The working folder is gone; go to one that exists (cd), and run again."
            ) from None
        if args[0] not in COMMANDS:
            raise SettingError(
                f"There is no command '{args[0]}'; {nearest(args[0], COMMANDS, SEE)}"
            )
        found, _, rest = super().resolve_command(ctx, args)
        name = str(found)
        if name == "compare" and not ctx.resilient_parsing:
            files = importlib.import_module("onefold.cli.compare_files")
            if files.is_asked(rest):
                return name, files.command(), rest
        if ctx.resilient_parsing and name in DOCUMENTS:  # a shell asks how to complete a line
            return name, _checking(name), rest
        if name == "merge" and (files := _of_files(rest)) is not None:
            return name, files, rest
        if used := _values(rest, "--use"):
            reading = importlib.import_module("onefold.recipe.reading")
            reading.load_used({"use": used}, "The command")
        elif name in DOCUMENTS and "torch" not in sys.modules:
            checking = _checking(name)
            with checking.make_context(name, list(rest), parent=ctx) as inner:
                checking.invoke(inner)
        module = _loaded(name)
        if name in DOCUMENTS:
            return name, module.COMMAND.build(), rest
        app = typer.Typer(add_completion=False, rich_markup_mode="rich")
        app.command(name, help=module.__doc__)(module.command)
        return name, typer.main.get_command(app), rest


def _loaded(name: str) -> Any:
    """The module of a command. What it imports takes seconds."""
    from onefold.progress import waiting

    with waiting("Loading torch"):
        return importlib.import_module(f"onefold.cli.{name}")


def _of_files(arguments: Sequence[str]) -> Any:
    """The command that merges files of checkpoints, if the arguments are for it."""
    from onefold.cli import merge_checkpoints

    return merge_checkpoints.build() if merge_checkpoints.is_wanted(arguments) else None


def _checking(name: str) -> Any:
    from onefold.cli.catalogue import catalogue
    from onefold.cli.precheck import checking_command

    return checking_command(catalogue().commands[name])


def summary(name: str) -> str:
    """The first line of the docstring of a command's module, which is not imported for that."""
    spec = importlib.util.find_spec(f"onefold.cli.{name}")
    assert spec is not None
    assert spec.origin is not None
    text = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or ""
    return text.split("\n")[0]


def _values(arguments: Sequence[str], option: str) -> list[str]:
    """The values of an option that may be repeated."""
    pairs = zip(arguments, [*arguments[1:], ""], strict=False)
    return [
        after if argument == option else argument.removeprefix(f"{option}=")
        for argument, after in pairs
        if argument == option or argument.startswith(f"{option}=")
    ]


app = typer.Typer(
    name="onefold",
    cls=Commands,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _version(wanted: bool) -> None:
    if wanted:
        say(f"onefold {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads; left out, as many as torch likes.")
    ] = None,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the whole traceback of an error.")
    ] = False,
    details: Annotated[
        bool, typer.Option("--details", help="Show all columns and rows of tables.")
    ] = False,
    log_level: Annotated[
        Level | None, typer.Option(help="Show what the logger onefold is told, with the time.")
    ] = None,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Show the version and stop."
        ),
    ] = False,
) -> None:
    """Fold several trained networks into one better network. Begin with: onefold demo."""
    context.obj = threads
    if log_level is not None:
        log_at(log_level)
    if threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(threads)  # read when torch is imported, later
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(threads)


def run(arguments: list[str] | None = None) -> int:
    """Run the command line on `arguments`, or those of the process, and return its exit status.

    It is 0, 1, 2 or 130.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    forget(details="--details" in arguments)
    if placing := sys.modules.get("onefold.weights.placing"):
        placing.forget_placed()
    try:
        with warnings.catch_warnings(), kept_interrupts():
            if not debug:
                warnings.simplefilter("ignore")  # of libraries; ours are told by the commands
            given = [argument for argument in arguments if argument not in ANYWHERE]
            status = app(given or ["--help"], prog_name="onefold", standalone_mode=False)
    except SystemExit as stop:
        status = stop.code
    except (KeyboardInterrupt, typer.Abort):
        status = 130
    except WrongUsage as problem:
        error(sentence(problem))
        return 2
    except OnefoldError as problem:
        if debug:
            raise
        error(str(problem))
        return 2
    except Exception as problem:
        if debug:
            raise
        return _unexpected(problem)
    finally:
        end()
    if status == 130:
        error(_interrupted())
    return 2 if not arguments else _status(status)


def _interrupted() -> str:
    """What an interrupt leaves."""
    placing = sys.modules.get("onefold.weights.placing")
    there = placing.placed() if placing else []
    if not there:
        return "interrupted; no output was written."
    from onefold.explore.checkpoint import NAME

    more = f" and {len(there) - 3} more" if len(there) > 3 else ""
    names = ", ".join(str(path) for path in there[:3])
    resume = "; --resume goes on from there" if there[-1].name == NAME else ""
    return f"interrupted; what was written before is whole: {names}{more}{resume}."


def _unexpected(problem: Exception) -> int:
    """Tell of an error that is not ours: one of the user's own code by its file and line."""
    from onefold.sources.user_code import place_of, reason_of

    if place := place_of(problem):
        error(f"Your code failed{place} with {reason_of(problem)}; put it right.")
        return 2
    text = " ".join(str(problem).split())[:300]
    if isinstance(problem, MemoryError) or "allocate memory" in text or "out of memory" in text:
        error("This needs more memory than there is; ask for less at a time, or for smaller sizes.")
        return 2
    error(
        f"something unexpected went wrong ({type(problem).__name__}: {text}); run again with"
        " --debug to see where."
    )
    return 1


def main() -> None:
    """The `onefold` program.

    A request to end is taken like Ctrl-C, so that nothing half-written stays behind.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal may not know every letter
            stream.reconfigure(errors="backslashreplace")
    sys.exit(run())


def _status(code: Any) -> int:
    return code if isinstance(code, int) else 0 if code is None else 1
